"""The optional filter by meaning: how close are two texts to a sentence encoder?"""

from __future__ import annotations

import torch
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer

from .errors import InputError


class SentenceSimilarity:
    """Cosine similarity of mean-pooled embeddings, as encoders of the sentence-transformers family are used.

    Raises:
        InputError: the model cannot be opened.
    """

    def __init__(self, model: str):
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(model)
            self._model = AutoModel.from_pretrained(model, use_safetensors=True).eval()
        except (OSError, ValueError) as error:
            raise InputError(f"--similarity_model {model} cannot be opened: {error}") from error

    @torch.inference_mode()
    def __call__(self, texts: list[str], others: list[str]) -> list[float]:
        """Two lists of n texts -> n cosines in -1..1."""
        inputs = self._tokenizer([*texts, *others], padding=True, truncation=True, return_tensors="pt")
        states = self._model(**inputs).last_hidden_state
        mask = inputs["attention_mask"][..., None]
        embeds = normalize((states * mask).sum(dim=1) / mask.sum(dim=1), dim=-1)
        return (embeds[: len(texts)] * embeds[len(texts) :]).sum(dim=1).tolist()
