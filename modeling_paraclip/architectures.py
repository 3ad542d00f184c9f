"""What differs between dual encoders: where their towers are, and how a batch of texts is encoded.

Everything else asks here. The names of `TEXT_TOWER` and `IMAGE_TOWER` are attributes of the model and, with a dot,
beginnings of its weights' names.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm
from transformers import CLIPModel, PreTrainedModel, PreTrainedTokenizerBase, VisionTextDualEncoderModel

from .errors import InputError
from .packing import encode_packed, pack, to_device

logger = logging.getLogger(__name__)
DUAL_ENCODERS = {"clip": CLIPModel, "vision-text-dual-encoder": VisionTextDualEncoderModel}  # by config.model_type
TEXT_TOWER = ("text_model", "text_projection")
IMAGE_TOWER = ("vision_model", "visual_projection")
CHUNK_TOKENS = 8192  # texts are encoded in chunks of about this many tokens


def text_tower(model: PreTrainedModel) -> list[nn.Module]:
    """The modules that embed a text."""
    return [getattr(model, name) for name in TEXT_TOWER]


def image_tower(model: PreTrainedModel) -> list[nn.Module]:
    """The modules that embed a picture."""
    return [getattr(model, name) for name in IMAGE_TOWER]


def is_text_weight(name: str) -> bool:
    """Whether a weight of this name belongs to the text tower."""
    return name.startswith(tuple(f"{module}." for module in TEXT_TOWER))


def token_limit(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """How many tokens a text may have: the smaller of what the tokenizer and the positions of the model allow."""
    config = getattr(model.config, "text_config", model.config)
    return min(tokenizer.model_max_length, getattr(config, "max_position_embeddings", tokenizer.model_max_length))


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


def encode_texts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    max_tokens: int = CHUNK_TOKENS,
    name: str = "",
) -> Tensor:
    """Texts -> (n, dim) L2-normalised float32 embeddings on the CPU, in the order of `texts`.

    Texts that are too long are truncated, and counted in a warning.

    Args:
        model: a dual encoder, or a sentence encoder, whose last states are then averaged.
        max_tokens: how many tokens are encoded at a time.
        name: shown on the progress bar.
    """
    limit = token_limit(model, tokenizer)
    ids, truncated = token_ids(tokenizer, texts, limit)
    if any(truncated):
        first = texts[truncated.index(True)]
        logger.warning(
            "%d of %d texts were truncated to %d tokens, e.g. %r", sum(truncated), len(texts), limit, first[:60]
        )
    distinct = sorted(set(ids))
    pieces, where = _pieces(model, distinct, max_tokens, tokenizer.pad_token_id or 0)
    training = model.training
    model.eval()
    embeds = []
    label = f"{name}: texts" if name else "Encoding texts"
    with torch.inference_mode(), tqdm(total=len(distinct), desc=label, leave=False) as progress:
        for piece in pieces:
            embeds.append(F.normalize(piece.float(), dim=-1).cpu())
            progress.update(len(piece))
    model.train(training)
    row = {text: int(i) for text, i in zip(distinct, where)}
    return torch.cat(embeds)[[row[text] for text in ids]]


def _pieces(
    model: PreTrainedModel, ids: list[tuple[int, ...]], max_tokens: int, pad_token_id: int
) -> tuple[Iterator[Tensor], np.ndarray]:
    """Embeddings, chunk by chunk, and (n,) which of them, counted through, belongs to each text."""
    if is_packable(model, ids):
        chunks, where, _ = pack(ids, max_tokens)
        return (encode_packed(model, to_device(chunk, model.device)) for chunk in chunks), where
    groups = chunks_by_tokens([len(text) for text in ids], max_tokens)
    where = np.argsort(np.concatenate(groups))
    return (_encode_padded(model, [ids[i] for i in group], pad_token_id) for group in groups), where


def is_packable(model: PreTrainedModel, ids: Sequence[Sequence[int]]) -> bool:
    """Whether `packing` computes what `model` does: a text tower of CLIP, which reads each text's last token.

    CLIP reads the first end-of-text token or, in old configurations (`eos_token_id` 2), the highest id.
    """
    if not isinstance(model, (CLIPModel, VisionTextDualEncoderModel)):
        return False
    config = model.config.text_config
    if config.model_type != "clip_text_model":
        return False
    if any(text[-1] != max(text) if config.eos_token_id == 2 else text[-1] != config.eos_token_id for text in ids):
        raise InputError(
            "the tokenizer does not end a text with the token at which this CLIP reads the embedding "
            f"(eos_token_id {config.eos_token_id}): the two do not belong together."
        )
    return True


def _encode_padded(model: PreTrainedModel, ids: list[tuple[int, ...]], pad_token_id: int) -> Tensor:
    """(n, dim) of any other model: texts padded on the right to the longest."""
    longest = max(map(len, ids))
    input_ids = torch.tensor([[*text, *[pad_token_id] * (longest - len(text))] for text in ids], device=model.device)
    mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in ids], device=model.device)
    if isinstance(model, (CLIPModel, VisionTextDualEncoderModel)):
        return model.get_text_features(input_ids=input_ids, attention_mask=mask).pooler_output
    states = model(input_ids=input_ids, attention_mask=mask).last_hidden_state
    return (states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)


def chunks_by_tokens(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Indices of all texts, shortest first, in chunks whose padded size (texts times the longest) is at most
    `max_tokens`. A text that is longer than that is a chunk of its own."""
    chunks: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if chunks and (len(chunks[-1]) + 1) * lengths[i] <= max_tokens:
            chunks[-1].append(i)
        else:
            chunks.append([i])
    return chunks
