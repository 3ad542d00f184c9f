"""The optional filter by meaning: how near are two texts for a sentence encoder?"""

from __future__ import annotations

import torch
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer


class SentenceSimilarity:
    """Cosine similarity of mean-pooled embeddings, as the sentence-transformers family of encoders is used."""

    def __init__(self, model: str):
        self._tokenizer = AutoTokenizer.from_pretrained(model)
        self._model = AutoModel.from_pretrained(model, use_safetensors=True).eval()

    @torch.inference_mode()
    def __call__(self, texts: list[str], others: list[str]) -> list[float]:
        """Two lists of n texts -> n cosines in -1..1."""
        inputs = self._tokenizer([*texts, *others], padding=True, truncation=True, return_tensors="pt")
        states = self._model(**inputs).last_hidden_state
        mask = inputs["attention_mask"][..., None]
        embeds = F.normalize((states * mask).sum(dim=1) / mask.sum(dim=1), dim=-1)
        return (embeds[: len(texts)] * embeds[len(texts) :]).sum(dim=1).tolist()
