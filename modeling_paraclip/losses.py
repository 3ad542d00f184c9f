"""The equations of the paper (Kim et al. 2024, section 3.2), and how they are computed when the batch is large.

`TERMS` is the loss: a new term is one more entry there, and one argument `NAME_weight` of `ParaCLIPTrainingArguments`.
Every column of the data set whose name ends in `_embeds` reaches the terms, so a term may need a column of its own.

A batch may be spread over processes (torchrun, accelerate). Every process then calls with its own rows, all with the
same number, and the negatives come from all of them. The mean over processes of what is returned is the loss of the
whole batch, and the mean of the gradients, which is what DDP and FSDP take, is its gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

PLAIN_ROWS = 1024  # up to here the whole similarity matrix is in memory: 4 MB
TILE = 2**21  # similarities in memory at a time beyond that: 8 MB in float32


def info_nce(
    queries: Tensor,
    keys: Tensor,
    logit_scale: Tensor | float,
    *,
    positives: Tensor | None = None,
    group_ids: Tensor | None = None,
    negatives: Tensor | None = None,
    negative_weights: Tensor | None = None,
) -> Tensor:
    """Symmetric InfoNCE over a batch: row i of `queries` belongs to row i of `keys`, all other rows are negatives.

    With cosine similarities `s_ij` and temperature scale `t = exp(logit_scale)`:

        1/2 * mean_i[ -log( exp(t s_ii) / sum_j exp(t s_ij) ) ] + 1/2 * mean_i[ the same over columns ]

    A negative `n_i` of a row adds `w_i exp(t cos(queries_i, n_i))` to the denominator of that row alone (NegCLIP,
    Yuksekgonul et al. 2023, section 5, takes it for all rows); the columns are as they were.

    Args:
        queries: (batch, dim), any float dtype. Normalised here.
        keys: (batch, dim), likewise.
        logit_scale: scalar, the *logarithm* of the temperature scale, as CLIP stores it. Above 88 its exponential
            does not fit in float32 and the loss is not finite.
        positives: (batch, batch) bool. Where it is true off the diagonal, the two rows mean the same and leave each
            other's denominator. The diagonal always counts. Of one process only, and for a batch that fits in memory.
        group_ids: (batch,) integers: the same for rows that mean the same, on all processes. Needs no matrix.
        negatives: (batch, dim): for each row one more key that it must not find. Normalised here.
        negative_weights: (batch,) `w` of the rows, 0 where a row has no negative. Default: 1 each.

    Returns:
        Scalar float32 (float64 for float64 input), whatever the autocast. A batch of one gives 0.
    """
    with torch.autocast(queries.device.type, enabled=False):
        # at least float32: in bfloat16 a logit near 100 is off by up to 0.25
        queries, keys = (F.normalize(x if x.dtype == torch.float64 else x.float(), dim=-1) for x in (queries, keys))
        scale = torch.as_tensor(logit_scale, dtype=queries.dtype, device=queries.device).exp()
        extra = None if negatives is None else _negative_logits(queries, negatives, scale, negative_weights)
        if positives is None and (len(queries) > PLAIN_ROWS or _processes() > 1):
            return _TiledInfoNCE.apply(queries, keys, scale, group_ids, extra)
        logits = queries @ keys.T * scale
        if group_ids is not None:
            same = group_ids[:, None] == group_ids
            positives = same if positives is None else positives | same
        if positives is not None:
            diagonal = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
            logits = logits.masked_fill(positives & ~diagonal, float("-inf"))
        target = torch.arange(len(logits), device=logits.device)
        rows = logits if extra is None else torch.cat([logits, extra[:, None]], dim=1)
        return (F.cross_entropy(rows, target) + F.cross_entropy(logits.T, target)) / 2


def _negative_logits(queries: Tensor, negatives: Tensor, scale: Tensor, weights: Tensor | None) -> Tensor:
    """(batch,) logits of each row's negative, -inf where its weight is 0."""
    logits = (queries * F.normalize(negatives.to(queries.dtype), dim=-1)).sum(dim=1) * scale
    return logits if weights is None else logits + weights.to(logits.dtype).log()


class _TiledInfoNCE(torch.autograd.Function):
    """`info_nce` of normalised rows, with never more than `TILE` similarities in memory; exact.

    The matrix has a row for each query of this process and a column for each key of all processes. The forward goes
    over it once, in blocks of rows, and keeps the log-sum-exp of each row and column. The backward computes each block
    again. With n rows here, every similarity has the gradient

        (softmax over its row + softmax over its column - 2 if it is a positive) / (2 n)

    and the logit of a row's negative, its share of the row's denominator / (2 n).

    (Streaming log-sum-exp: Milakov & Gimelshein 2018; in blocks of a contrastive loss: Cheng et al. 2024, Inf-CL.)
    """

    @staticmethod
    def forward(
        ctx, queries: Tensor, keys: Tensor, scale: Tensor, group_ids: Tensor | None, extra: Tensor | None
    ) -> Tensor:
        ctx.first = len(queries) * _rank()  # the first column of this process's own keys
        own = slice(ctx.first, ctx.first + len(queries))
        keys = _gather(keys)
        groups = () if group_ids is None else (group_ids, *_gather(group_ids).sort())
        row_lse, positives = torch.empty_like(queries[:, 0]), torch.empty_like(queries[:, 0])
        column_lse = torch.full_like(keys[:, 0], float("-inf"))
        for rows in _row_blocks(len(queries), len(keys)):
            logits = _logits(queries, keys, scale, groups, rows, ctx.first)
            positives[rows] = logits.diagonal(ctx.first + rows.start)
            row_lse[rows] = logits.logsumexp(dim=1)
            column_lse = torch.logaddexp(column_lse, logits.logsumexp(dim=0))
        column_lse = _gather(column_lse[None]).logsumexp(dim=0)
        if extra is not None:
            row_lse = torch.logaddexp(row_lse, extra)
        ctx.save_for_backward(queries, keys, scale, row_lse, column_lse, extra, *groups)
        return ((row_lse + column_lse[own]) / 2 - positives).mean()

    @staticmethod
    def backward(ctx, grad: Tensor):
        queries, keys, scale, row_lse, column_lse, extra, *groups = ctx.saved_tensors
        needs_queries = ctx.needs_input_grad[0] or ctx.needs_input_grad[2]  # pictures are frozen, as is the scale
        grad_queries = torch.empty_like(queries) if needs_queries else None
        grad_keys = torch.zeros_like(keys)
        for rows in _row_blocks(len(queries), len(keys)):
            logits = _logits(queries, keys, scale, groups, rows, ctx.first)
            grad_logits = (logits - row_lse[rows, None]).exp_()
            grad_logits += logits.sub_(column_lse).exp_()
            grad_logits.diagonal(ctx.first + rows.start).sub_(2)
            grad_logits *= grad * scale / (2 * len(queries))
            if grad_queries is not None:
                torch.mm(grad_logits, keys, out=grad_queries[rows])
            grad_keys.addmm_(grad_logits.T, queries[rows])
        needs_scale = grad_queries is not None and ctx.needs_input_grad[2]
        grad_scale = (grad_queries * queries).sum() / scale if needs_scale else None
        if _processes() > 1:  # the rows of all processes have a say in the keys that came from here
            dist.all_reduce(grad_keys)
        grad_extra = None if extra is None else (extra - row_lse).exp() * grad / (2 * len(queries))
        return grad_queries, grad_keys[ctx.first : ctx.first + len(queries)], grad_scale, None, grad_extra


def _logits(queries: Tensor, keys: Tensor, scale: Tensor, groups: Sequence[Tensor], rows: slice, first: int) -> Tensor:
    """The block `rows` of the similarity matrix, -inf where two rows are of one group but on the diagonal.

    `groups`: none, or the group of each row here, and the groups of all columns sorted, and the columns in that order.
    """
    logits = (queries[rows] @ keys.T).mul_(scale)
    if groups:
        group_ids, ordered, columns = groups
        own = group_ids[rows]
        start = torch.searchsorted(ordered, own)
        size = torch.searchsorted(ordered, own, right=True) - start
        # for each row the columns of its group, one after the other: few, where a mask would be as large as the block
        row = torch.arange(len(own), device=own.device).repeat_interleave(size)
        within = torch.arange(len(row), device=own.device) - (size.cumsum(0) - size).repeat_interleave(size)
        diagonal = logits.diagonal(first + rows.start)
        positives = diagonal.clone()
        logits[row, columns[start.repeat_interleave(size) + within]] = float("-inf")
        diagonal.copy_(positives)
    return logits


def _row_blocks(rows: int, columns: int) -> list[slice]:
    step = max(1, TILE // columns)
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def _processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _rank() -> int:
    return dist.get_rank() if _processes() > 1 else 0


def _gather(rows: Tensor) -> Tensor:
    """(n, ...) here -> (processes * n, ...), in the order of the processes, without gradient."""
    if _processes() == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(_processes())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


@dataclass(frozen=True)
class Term:
    """One term of the loss.

    Attributes:
        name: it is logged as `loss_NAME` and weighted by `NAME_weight`.
        symbol: how a formula writes it.
        needs: the embeddings it takes, each (batch, dim), by name.
        compute: (*those embeddings, scale=..., group_ids=...) -> scalar. `scale` is the logarithm of the temperature
            scale: the model's, or that of the text-text terms where no images are needed.
        weight: default weight.
        takes_negatives: whether `compute` also takes `negatives` and `negative_weights`, see `info_nce`.
    """

    name: str
    symbol: str
    needs: tuple[str, ...]
    compute: Callable[..., Tensor]
    weight: float = 1.0
    takes_negatives: bool = False


def _contrast(queries: Tensor, keys: Tensor, *, scale: Tensor | float, **options: Tensor | None) -> Tensor:
    return info_nce(queries, keys, scale, **options)


def _distance(embeds: Tensor, *others: Tensor, **_) -> Tensor:
    dtype = torch.promote_types(embeds.dtype, torch.float32)
    cosines = [F.cosine_similarity(embeds.to(dtype), other.to(dtype)) for other in others]
    return (len(others) - torch.stack(cosines).sum(dim=0)).mean()


# The first three are the paper's; the others are not, and their weight is 0 here. What each is for:
# image_text: keeps the text tower in the space of the image tower.
# caption_paraphrase: a web caption and its plain rewording.
# paraphrase_paraphrase: two rewordings that share few words.
# image_caption: captions, which the image_text term never sees, keep finding their pictures.
# alignment: a contrast is content once a rewording is nearer than all other texts; rankings agree when it is near.
# distillation: what the base knew.
TERMS = (
    Term("image_text", "L1(images, x'')", ("image_embeds", "paraphrase_2_embeds"), _contrast, takes_negatives=True),
    Term(
        "caption_paraphrase", "L2(x, x')", ("caption_embeds", "paraphrase_1_embeds"), _contrast, takes_negatives=True
    ),
    Term("paraphrase_paraphrase", "L3(x', x'')", ("paraphrase_1_embeds", "paraphrase_2_embeds"), _contrast),
    Term("image_caption", "L1(images, x)", ("image_embeds", "caption_embeds"), _contrast, 0, takes_negatives=True),
    Term(
        "alignment",
        "mean(2 - cos(x, x') - cos(x, x''))",
        ("caption_embeds", "paraphrase_1_embeds", "paraphrase_2_embeds"),
        _distance,
        0,
    ),
    Term("distillation", "mean(1 - cos(x, x of the base))", ("caption_embeds", "base_caption_embeds"), _distance, 0),
)


class ParaCLIPLoss(nn.Module):
    """The weighted sum of `TERMS`: `L = w1 L1(images, x'') + w2 L2(x, x') + w3 L3(x', x'')` (paper, equation 1).

    Args:
        text_logit_scale: logarithm of the temperature scale of the text-text terms. None: the model's, as in the
            paper.
        negative_weight: how often a row's negative, a text that sounds like its caption and means something else,
            counts in the denominator of that row in both L1 and in L2. Not in the paper.
        weights: `NAME_weight=...` for each term whose weight is not the default; 1 each in the paper.

    Raises:
        ValueError: there is no such term; all weights are 0; `negative_weight` is below 0, or no term with a weight
            takes the negatives.
    """

    def __init__(self, *, text_logit_scale: float | None = None, negative_weight: float = 0.0, **weights: float):
        super().__init__()
        self.text_logit_scale = text_logit_scale
        self.negative_weight = negative_weight
        self.weights = {term.name: weights.pop(f"{term.name}_weight", term.weight) for term in TERMS}
        if weights:
            raise ValueError(f"{', '.join(weights)}: no such weight; there are {', '.join(self.weights)}")
        if not any(self.weights.values()):
            raise ValueError("all weights of the loss are 0: there is nothing to train")
        if negative_weight < 0:
            raise ValueError(f"negative_weight {negative_weight}: is below 0")
        if negative_weight and not self._with_negatives():
            raise ValueError("negative_weight: none of the terms that take negatives has a weight")

    def _with_negatives(self) -> list[str]:
        return [term.symbol for term in TERMS if term.takes_negatives and self.weights[term.name]]

    def formula(self) -> str:
        """E.g. `L = L1(images, x'') + 0.3 L2(x, x') + 0.3 L3(x', x'')`."""
        used = [(self.weights[term.name], term.symbol) for term in TERMS if self.weights[term.name]]
        formula = "L = " + " + ".join(symbol if weight == 1 else f"{weight:g} {symbol}" for weight, symbol in used)
        if not self.negative_weight:
            return formula
        times = "" if self.negative_weight == 1 else f"{self.negative_weight:g} times "
        return f"{formula}, negatives {times}in the denominators of {', '.join(self._with_negatives())}"

    def forward(
        self,
        image_embeds: Tensor,
        caption_embeds: Tensor,
        paraphrase_1_embeds: Tensor,
        paraphrase_2_embeds: Tensor,
        logit_scale: Tensor | float,
        group_ids: Tensor | None = None,
        negative_embeds: Tensor | None = None,
        has_negative: Tensor | None = None,
        **more_embeds: Tensor,
    ) -> dict[str, Tensor]:
        """All embeddings are (batch, dim). Returns the scalar `loss` (weighted sum) and each term, unweighted.

        A term of the paper is always returned, so that it can be followed; with weight 0 it is not in the sum.

        Args:
            group_ids: (batch,) integers, the same for rows that are the same image or text: never each other's
                negatives.
            negative_embeds: of each row's negative; anything where it has none.
            has_negative: (batch,) bool. Default: all have one.
            more_embeds: what further terms need, by name, e.g. `base_caption_embeds`.

        Raises:
            ValueError: a term or the negatives have a weight, but their embeddings are missing.
        """
        embeds = {
            "image_embeds": image_embeds,
            "caption_embeds": caption_embeds,
            "paraphrase_1_embeds": paraphrase_1_embeds,
            "paraphrase_2_embeds": paraphrase_2_embeds,
            **more_embeds,
        }
        text_scale = logit_scale if self.text_logit_scale is None else self.text_logit_scale
        options: dict[str, Tensor | None] = {}
        if self.negative_weight:
            if negative_embeds is None:
                raise ValueError("negative_weight needs negative_embeds")
            count = negative_embeds.new_ones(len(negative_embeds)) if has_negative is None else has_negative
            options = {"negatives": negative_embeds, "negative_weights": self.negative_weight * count.float()}
        losses = {}
        for term in TERMS:
            if not self.weights[term.name] and not term.weight:
                continue
            missing = [name for name in term.needs if name not in embeds]
            if missing:
                raise ValueError(f"the term {term.name} needs {', '.join(missing)}")
            losses[f"loss_{term.name}"] = term.compute(
                *(embeds[name] for name in term.needs),
                scale=logit_scale if "image_embeds" in term.needs else text_scale,
                group_ids=group_ids,
                **(options if term.takes_negatives else {}),
            )
        weighted = [self.weights[name] * losses[f"loss_{name}"] for name in self.weights if self.weights[name]]
        return {"loss": torch.stack(weighted).sum(), **losses}
