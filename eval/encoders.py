"""The models under test as text encoders: CLIP's text tower, or any sentence encoder to anchor the harness with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from tqdm.auto import tqdm
from transformers import AutoConfig, AutoModel, AutoTokenizer, CLIPModel

from modeling_paraclip import encode_texts

BATCH = 128


class TextEncoder:
    """`TextEncoder(ID_OR_DIR)(texts)` -> (n, dim) float32, L2-normalised. Each distinct text is encoded once.

    CLIP models give their retrieval embedding; any other text encoder of `transformers` its mean-pooled states, as the
    sentence-transformers family is used. Weights are safetensors only.
    """

    def __init__(self, name: str):
        self.name = Path(name).name or name
        config = AutoConfig.from_pretrained(name)
        self._tokenizer = AutoTokenizer.from_pretrained(name)
        kind = CLIPModel if config.model_type == "clip" else AutoModel
        self._model = kind.from_pretrained(name, use_safetensors=True, dtype=torch.float32).eval()
        if torch.cuda.is_available():
            self._model.to("cuda")
        self._known: dict[str, np.ndarray] = {}

    def __call__(self, texts: list[str]) -> np.ndarray:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known.update(zip(new, self._encode(new)))
        return np.stack([self._known[text] for text in texts])

    def _encode(self, texts: list[str]) -> np.ndarray:
        if isinstance(self._model, CLIPModel):
            return encode_texts(self._model, self._tokenizer, texts).numpy()
        return self._mean_pooled(texts).numpy()

    @torch.inference_mode()
    def _mean_pooled(self, texts: list[str]) -> torch.Tensor:
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # alike lengths together: little padding
        embeds = torch.empty(len(texts), self._model.config.hidden_size)
        for start in tqdm(range(0, len(order), BATCH), desc="Encoding texts", leave=False):
            chunk = order[start : start + BATCH]
            inputs = self._tokenizer([texts[i] for i in chunk], padding=True, truncation=True, return_tensors="pt")
            inputs = inputs.to(self._model.device)
            mask = inputs["attention_mask"][..., None]
            states = self._model(**inputs).last_hidden_state
            embeds[chunk] = F.normalize((states * mask).sum(dim=1) / mask.sum(dim=1), dim=-1).cpu()
        return embeds
