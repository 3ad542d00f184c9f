"""What differs between dual encoders: where their towers are, and how a batch of texts is encoded.

Everything else asks here. The names of `TEXT_TOWER` and `IMAGE_TOWER` are attributes of the model and, with a dot,
beginnings of its weights' names; a model has those that exist in it.

| `model_type`               | text tower               | how texts are encoded                                     |
|----------------------------|--------------------------|-----------------------------------------------------------|
| `clip`                     | CLIP's, causal           | packed, see `packing`; read at the end-of-text token      |
| `vision-text-dual-encoder` | CLIP's                   | packed                                                    |
| `vision-text-dual-encoder` | any other, e.g. RoBERTa  | by length, with a mask: at most 5% of a chunk is padding  |
| `siglip`                   | SigLIP's                 | padded to 64 tokens, without a mask, as it was trained    |

SigLIP 2 of fixed resolution is of the type `siglip`, too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm
from transformers import (
    CLIPModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    SiglipModel,
    VisionTextDualEncoderModel,
)

from .errors import InputError
from .packing import Chunk, encode_packed, pack, to_device

logger = logging.getLogger(__name__)
DUAL_ENCODERS = {  # by config.model_type
    "clip": CLIPModel,
    "vision-text-dual-encoder": VisionTextDualEncoderModel,
    "siglip": SiglipModel,
}
TEXT_TOWER = ("text_model", "text_projection")
IMAGE_TOWER = ("vision_model", "visual_projection")
CHUNK_TOKENS = 8192  # texts are encoded in chunks of about this many tokens
MAX_PADDING = 0.05  # of the tokens of a chunk
Ids = Sequence[tuple[int, ...]]


def plain_class(model: PreTrainedModel) -> type[PreTrainedModel]:
    """The class of transformers that a published model opens with."""
    return DUAL_ENCODERS[model.config.model_type]


def text_tower(model: PreTrainedModel) -> list[nn.Module]:
    """The modules that embed a text."""
    return [getattr(model, name) for name in TEXT_TOWER if hasattr(model, name)]


def image_tower(model: PreTrainedModel) -> list[nn.Module]:
    """The modules that embed a picture."""
    return [getattr(model, name) for name in IMAGE_TOWER if hasattr(model, name)]


def is_text_weight(name: str) -> bool:
    """Whether a weight of this name belongs to the text tower."""
    return name.startswith(tuple(f"{module}." for module in TEXT_TOWER))


def embedding_dim(model: PreTrainedModel) -> int:
    """The length of a vector: of a picture, and of a text."""
    config = model.config
    return config.vision_config.hidden_size if config.model_type == "siglip" else config.projection_dim


def token_limit(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """How many tokens a text may have: the smaller of what the tokenizer and the positions of the model allow."""
    config = getattr(model.config, "text_config", model.config)
    positions = getattr(config, "max_position_embeddings", tokenizer.model_max_length)
    if config.model_type in ("roberta", "xlm-roberta", "camembert"):  # whose positions begin after the padding's
        positions -= config.pad_token_id + 1
    return min(tokenizer.model_max_length, positions)


def token_ids(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], limit: int
) -> tuple[list[tuple[int, ...]], list[bool]]:
    """Texts -> their token ids, and whether each had to be truncated.

    A truncated text keeps its last token: CLIP reads the embedding at the end-of-text token. Whatever follows the
    first end-of-text token (e.g. where a caption spells it out) never reaches the embedding, and is cut.
    """
    end = tokenizer.eos_token_id
    ids = [tuple(text) for text in tokenizer(list(texts), verbose=False)["input_ids"]]
    ids = [text[: text.index(end) + 1] if end in text else text for text in ids]
    truncated = [len(text) > limit for text in ids]
    return [text[: limit - 1] + text[-1:] if cut else text for text, cut in zip(ids, truncated)], truncated


class Chunking:
    """How distinct texts of one model become chunks, and how a chunk is encoded. Worker processes can be given it.

    Args:
        model: a dual encoder, or a sentence encoder.
        pad_token_id: what texts are padded with.

    Raises:
        InputError: from a call, where the tokenizer does not belong to the model.
    """

    def __init__(self, model: PreTrainedModel, pad_token_id: int | None):
        config = getattr(model.config, "text_config", model.config)
        self._pad_token_id = pad_token_id or 0
        is_dual = isinstance(model, tuple(DUAL_ENCODERS.values()))
        self.is_packed = is_dual and config.model_type == "clip_text_model"
        self._end = config.eos_token_id if self.is_packed else None
        # SigLIP was trained without a mask: padding is part of what it reads
        self._length = config.max_position_embeddings if config.model_type == "siglip_text_model" else None

    def __call__(self, ids: Ids, max_tokens: int) -> tuple[list[dict], np.ndarray, float]:
        """Distinct texts, in ascending order, as chunks of at most `max_tokens` (a longer text is one of its own).

        Returns:
            The chunks: `packing.Chunk`, or `input_ids` and where there is a mask `attention_mask`, (texts, length);
            (texts,) int64: where in them, counted through, each text is; the share of their tokens that are filling.
        """
        if self.is_packed:
            self._check_ends(ids)
            return pack(list(ids), max_tokens)  # type: ignore[return-value]
        lengths = [self._length or len(text) for text in ids]
        groups = chunks_by_tokens(lengths, max_tokens)
        chunks = [self._padded([ids[i] for i in group]) for group in groups]
        real, all_tokens = sum(lengths), sum(chunk["input_ids"].numel() for chunk in chunks)
        return chunks, np.argsort(np.concatenate(groups)), (all_tokens - real) / all_tokens

    def _check_ends(self, ids: Ids) -> None:
        """CLIP reads the first end-of-text token or, in old configurations (`eos_token_id` 2), the highest id."""
        if any(text[-1] != (max(text) if self._end == 2 else self._end) for text in ids):
            raise InputError(
                "the tokenizer does not end a text with the token at which this CLIP reads the embedding "
                f"(eos_token_id {self._end}): the two do not belong together."
            )

    def _padded(self, ids: Ids) -> dict[str, Tensor]:
        longest = self._length or max(map(len, ids))
        input_ids = torch.tensor([[*text, *[self._pad_token_id] * (longest - len(text))] for text in ids])
        if self._length:
            return {"input_ids": input_ids}
        lengths = torch.tensor([len(text) for text in ids])
        return {"input_ids": input_ids, "attention_mask": (torch.arange(longest) < lengths[:, None]).long()}


def mean_pooling(states: Tensor, mask: Tensor) -> Tensor:
    """Last states of a sentence encoder, (texts, length, dim), and attention mask -> their means, (texts, dim).

    In float32, as sentence-transformers adds them up.
    """
    return (states.float() * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)


def encode_chunk(
    model: PreTrainedModel,
    chunk: Chunk | dict[str, Tensor],
    pooling: Callable[[Tensor, Tensor], Tensor] = mean_pooling,
    **packed,
) -> Tensor:
    """(texts, dim) of a chunk of `Chunking`, not normalised. `pooling` is that of a sentence encoder; `packed` goes to
    `encode_packed`.
    """
    if "end_nodes" in chunk:
        return encode_packed(model, chunk, **packed)  # type: ignore[arg-type]
    if isinstance(model, (CLIPModel, VisionTextDualEncoderModel, SiglipModel)):
        return model.get_text_features(**chunk).pooler_output
    return pooling(model(**chunk).last_hidden_state, chunk["attention_mask"])  # type: ignore[typeddict-item]


def encode_texts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    max_tokens: int = CHUNK_TOKENS,
    name: str = "",
    pooling: Callable[[Tensor, Tensor], Tensor] = mean_pooling,
) -> Tensor:
    """Texts -> (n, dim) L2-normalised float32 embeddings on the CPU, in the order of `texts`.

    Texts that are too long are truncated, and counted in a warning.

    Args:
        model: a dual encoder, or a sentence encoder.
        max_tokens: how many tokens are encoded at a time.
        name: shown on the progress bar.
        pooling: of a sentence encoder: last states, (texts, length, dim), and mask, (texts, length) -> (texts, dim).
    """
    limit = token_limit(model, tokenizer)
    ids, truncated = token_ids(tokenizer, texts, limit)
    if any(truncated):
        first = texts[truncated.index(True)]
        logger.warning(
            "%d of %d texts were truncated to %d tokens, e.g. %r", sum(truncated), len(texts), limit, first[:60]
        )
    distinct = sorted(set(ids))
    chunks, where, _ = Chunking(model, tokenizer.pad_token_id)(distinct, max_tokens)
    training = model.training
    model.eval()
    embeds = []
    label = f"{name}: texts" if name else "Encoding texts"
    with torch.inference_mode(), tqdm(total=len(distinct), desc=label, leave=False) as progress:
        for chunk in chunks:
            piece = encode_chunk(model, to_device(chunk, model.device), pooling)
            embeds.append(F.normalize(piece.float(), dim=-1).cpu())
            progress.update(len(piece))
    model.train(training)
    row = {text: int(i) for text, i in zip(distinct, where)}
    return torch.cat(embeds)[[row[text] for text in ids]]


def chunks_by_tokens(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Indices of all texts, shortest first, in chunks whose padded size (texts times the longest) is at most
    `max_tokens`, and of which at most `MAX_PADDING` is padding. A text that is longer than that is a chunk of its own.
    """
    chunks: list[list[int]] = []
    real = 0
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        padded = (len(chunks[-1]) + 1) * lengths[i] if chunks else 0
        if chunks and padded <= max_tokens and real + lengths[i] >= (1 - MAX_PADDING) * padded:
            chunks[-1].append(i)
            real += lengths[i]
        else:
            chunks.append([i])
            real = lengths[i]
    return chunks
