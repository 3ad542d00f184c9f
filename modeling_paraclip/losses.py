"""The equations of the paper (Kim et al. 2024, section 3.2), and nothing else."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def info_nce(queries: Tensor, keys: Tensor, logit_scale: Tensor | float, *, positives: Tensor | None = None) -> Tensor:
    """Symmetric InfoNCE over a batch: row i of `queries` belongs to row i of `keys`, all other rows are negatives.

    With cosine similarities `s_ij` and temperature scale `t = exp(logit_scale)`:

        1/2 * mean_i[ -log( exp(t s_ii) / sum_j exp(t s_ij) ) ] + 1/2 * mean_i[ the same over columns ]

    Args:
        queries: (batch, dim), any float dtype. Normalised here.
        keys: (batch, dim), likewise.
        logit_scale: scalar, the *logarithm* of the temperature scale, as CLIP stores it. Above 88 its exponential
            does not fit in float32 and the loss is not finite.
        positives: (batch, batch) bool. Where it is true off the diagonal, the two rows mean the same and leave each
            other's denominator. The diagonal always counts.

    Returns:
        Scalar float32 (float64 for float64 input), whatever the autocast. A batch of one gives 0.
    """
    with torch.autocast(queries.device.type, enabled=False):
        # at least float32: in bfloat16 a logit near 100 is off by up to 0.25
        queries, keys = (F.normalize(x if x.dtype == torch.float64 else x.float(), dim=-1) for x in (queries, keys))
        logits = queries @ keys.T * torch.as_tensor(logit_scale, dtype=queries.dtype, device=queries.device).exp()
        if positives is not None:
            diagonal = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
            logits = logits.masked_fill(positives & ~diagonal, float("-inf"))
        target = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


class ParaCLIPLoss(nn.Module):
    """`L = w1 * L1(images, x'') + w2 * L2(x, x') + w3 * L3(x', x'')`, each term an `info_nce` (paper, equation 1).

    | term                         | pulls together        | what for                                      |
    |------------------------------|-----------------------|-----------------------------------------------|
    | `loss_image_text`            | image and x''         | keeps the text tower in the image tower's space |
    | `loss_caption_paraphrase`    | caption x and x'      | web caption and its plain rewording           |
    | `loss_paraphrase_paraphrase` | x' and x''            | two rewordings that share few words           |

    Args:
        image_text_weight, caption_paraphrase_weight, paraphrase_paraphrase_weight: w1, w2, w3; 1 each in the paper.
    """

    def __init__(
        self,
        image_text_weight: float = 1.0,
        caption_paraphrase_weight: float = 1.0,
        paraphrase_paraphrase_weight: float = 1.0,
    ):
        super().__init__()
        self.image_text_weight = image_text_weight
        self.caption_paraphrase_weight = caption_paraphrase_weight
        self.paraphrase_paraphrase_weight = paraphrase_paraphrase_weight

    def forward(
        self,
        image_embeds: Tensor,
        caption_embeds: Tensor,
        paraphrase_1_embeds: Tensor,
        paraphrase_2_embeds: Tensor,
        logit_scale: Tensor | float,
        group_ids: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """All embeddings are (batch, dim). Returns the scalars `loss` (weighted sum) and the three unweighted terms.

        `group_ids`, (batch,) integers, marks rows that are the same image or text: never each other's negatives.
        """
        positives = None if group_ids is None else group_ids[:, None] == group_ids[None, :]
        image_text = info_nce(image_embeds, paraphrase_2_embeds, logit_scale, positives=positives)
        caption_paraphrase = info_nce(caption_embeds, paraphrase_1_embeds, logit_scale, positives=positives)
        paraphrases = info_nce(paraphrase_1_embeds, paraphrase_2_embeds, logit_scale, positives=positives)
        return {
            "loss": self.image_text_weight * image_text
            + self.caption_paraphrase_weight * caption_paraphrase
            + self.paraphrase_paraphrase_weight * paraphrases,
            "loss_image_text": image_text,
            "loss_caption_paraphrase": caption_paraphrase,
            "loss_paraphrase_paraphrase": paraphrases,
        }
