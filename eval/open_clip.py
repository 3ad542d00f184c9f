"""Models of open_clip (`pip install open_clip_torch`) as models under test.

They are named as there: `openclip:ARCH/PRETRAINED` (a tag of its list or a file), `openclip:hf-hub:org/name`,
`openclip:local-dir:PATH`. open_clip prefers safetensors and unpickles other files with torch's `weights_only`, which
runs no code.
"""

from __future__ import annotations

import importlib.util
import json
import os

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from modeling_paraclip.architectures import CHUNK_TOKENS
from modeling_paraclip.embedding_cache import describe_tokenizer, weights_key
from modeling_paraclip.errors import InputError, said
from modeling_paraclip.pictures import DECODER

PREFIX = "openclip:"
WITH_CONFIG = ("hf-hub:", "local-dir:")  # what follows has a configuration of its own, and weights


class OpenClipTowers:
    """A model of open_clip by its name, `PREFIX` included, in "float32" or "bfloat16".

    Raises:
        InputError: the package is not installed; the name is wrong, or names no weights or an architecture that they
            were not trained as; or the model cannot be opened.
    """

    def __init__(self, name: str, dtype: str = "float32", max_tokens: int = CHUNK_TOKENS):
        if importlib.util.find_spec("open_clip") is None:
            raise InputError("models of open_clip need a package that is not installed: pip install open_clip_torch")
        import open_clip

        try:
            architecture, pretrained = _parts(name)
            config = open_clip.get_model_config(architecture)
            # `from_pretrained`: the other functions make a random model where there are no weights
            self.model, self.preprocess = open_clip.create_model_from_pretrained(
                architecture, pretrained, weights_only=True
            )
            # over what a configuration from elsewhere says
            no_code = {"trust_remote_code": False} if config["text_cfg"].get("hf_tokenizer_name") else {}
            self._tokenizer = open_clip.get_tokenizer(architecture, **no_code)
        except InputError:
            raise
        # it raises nearly anything on an unknown name or a broken file
        except Exception as error:
            raise InputError(f"{name} cannot be opened as a model: {said(error)}") from error
        self.model.eval().to(getattr(torch, dtype))
        # all texts have the length of the context: some of its models read the last position
        self._batch = max(1, max_tokens // self._tokenizer(["a"]).shape[1])
        described = json.dumps(config, sort_keys=True, default=str)
        tokens = getattr(self._tokenizer, "tokenizer", None)
        tokens = describe_tokenizer(tokens) if tokens is not None else ""
        self.text_key = weights_key([self.model], described, tokens)
        self.image_key = weights_key([self.model], described, f"{self.preprocess!r} {DECODER}")

    @torch.inference_mode()
    def embed_texts(self, texts: list[str], name: str) -> np.ndarray:
        """(n, dim), L2-normalised. `name` is shown on the progress bar."""
        rows, device = [], next(self.model.parameters()).device
        for start in tqdm(range(0, len(texts), self._batch), desc=f"{name}: texts", leave=False):
            ids = self._tokenizer(texts[start : start + self._batch]).to(device)
            rows.append(F.normalize(self.model.encode_text(ids).float(), dim=-1).cpu().numpy())
        return np.concatenate(rows)

    def embed_images(self, pixel_values: Tensor) -> Tensor:
        """(n, 3, height, width) -> (n, dim)."""
        parameter = next(self.model.parameters())
        return self.model.encode_image(pixel_values.to(parameter.device, parameter.dtype))


def _parts(name: str) -> tuple[str, str | None]:
    """Architecture and weights, as open_clip takes them, checked."""
    import open_clip

    given = name.removeprefix(PREFIX)
    if given.startswith(WITH_CONFIG):
        return given, None
    architecture, _, pretrained = given.partition("/")
    if architecture not in open_clip.list_models():
        raise InputError(f"{name}: open_clip knows no architecture {architecture}; see open_clip.list_models().")
    if not pretrained:
        known = open_clip.list_pretrained_tags_by_model(architecture)
        raise InputError(
            f"{name} names no weights, and without them the model would be random: give {PREFIX}{architecture}/TAG, "
            f"e.g. {known[0] if known else 'a file'}."
        )
    tag = open_clip.get_pretrained_cfg(architecture, pretrained)
    if not tag and not os.path.isfile(pretrained):
        raise InputError(f"{name}: {pretrained} is no file, and no tag of open_clip.list_pretrained().")
    trained = bool(tag.get("quick_gelu")) if tag else None
    if trained is not None and trained != bool(open_clip.get_model_config(architecture).get("quick_gelu")):
        right = architecture.removesuffix("-quickgelu") + ("-quickgelu" if trained else "")
        raise InputError(
            f"{name}: {pretrained} was trained {'with' if trained else 'without'} QuickGELU, so its architecture is "
            f"{right}: give {PREFIX}{right}/{pretrained}."
        )
    return architecture, pretrained
