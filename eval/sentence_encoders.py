"""Sentence encoders as models under test: their files say how a text becomes a vector, or they are refused.

| file of sentence-transformers               | what is read there                                                    |
|---------------------------------------------|-----------------------------------------------------------------------|
| `modules.json`                              | Transformer, Pooling, then any Dense (tanh or none), then Normalize   |
| `sentence_bert_config.json`                 | length of a text, lower case                                          |
| `1_Pooling/config.json`                     | first or last token, means, maximum, or several of them               |
| `2_Dense/config.json`, `.safetensors`       | a linear map of the pooled vector                                     |
| `config_sentence_transformers.json`         | the prompt that is put before a text by default; dimensions kept      |

Where there is no `modules.json`, means are taken or, of a causal language model, the last token, as
sentence-transformers does. The result is `SentenceTransformer(name).encode(texts, normalize_embeddings=True)`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import normalizers
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from modeling_paraclip.architectures import CHUNK_TOKENS, encode_texts, mean_pooling
from modeling_paraclip.compatibility import check_compatible
from modeling_paraclip.embedding_cache import describe_tokenizer, weights_key
from modeling_paraclip.errors import InputError, said
from modeling_paraclip.weights import find_file, open_model, open_processor, read_json

logger = logging.getLogger(__name__)
SETTINGS = [f"sentence_{kind}_config.json" for kind in ("bert", "roberta", "distilbert", "camembert", "albert",
                                                        "xlm-roberta", "xlnet")]  # fmt: skip
# what a Transformer may say; everything else has to be empty
UNUSED = {"query_length", "document_length", "query_expansion", "unpad_inputs"}  # of no effect on `encode`
USUAL = {
    "transformer_task": "feature-extraction",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    "module_output_name": "token_embeddings",
}


def _first(states: Tensor, mask: Tensor) -> Tensor:
    return states[:, 0]


def _last(states: Tensor, mask: Tensor) -> Tensor:
    return states[torch.arange(len(states)), mask.sum(dim=1) - 1]


def _maximum(states: Tensor, mask: Tensor) -> Tensor:
    return states.masked_fill(mask[..., None] == 0, -torch.inf).amax(dim=1)


def _mean_by_root(states: Tensor, mask: Tensor) -> Tensor:
    return mean_pooling(states, mask) * mask.sum(dim=1, keepdim=True).sqrt()


def _weighted_mean(states: Tensor, mask: Tensor) -> Tensor:
    """The weight of a token is its place, from 1."""
    return mean_pooling(states, mask * torch.arange(1, mask.shape[1] + 1, device=mask.device))


# by their names in the files; each is (texts, length, dim) states, padded on the right, and the mask -> (texts, dim)
POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": _first,
    "max": _maximum,
    "mean": mean_pooling,
    "mean_sqrt_len_tokens": _mean_by_root,
    "weightedmean": _weighted_mean,
    "lasttoken": _last,
}
# and in older files, one key each, in the order in which several are joined
OLD_KEYS = ("cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
ACTIVATIONS = {"torch.nn.modules.activation.Tanh": nn.Tanh, "torch.nn.modules.linear.Identity": nn.Identity}


@dataclass(frozen=True)
class Recipe:
    """How a text becomes a vector, beside the transformer itself.

    Args:
        poolings: names of `POOLINGS`; the vectors of several are joined.
        dense: layers after them, in float32.
        max_tokens: to which a text is truncated. None: what tokenizer and model allow.
        lower_case: whether texts are put in lower case first.
        prompt: put before each text.
        dims: how many dimensions are kept, from the first. None: all.
    """

    poolings: tuple[str, ...] = ("mean",)
    dense: nn.Sequential = field(default_factory=nn.Sequential)
    max_tokens: int | None = None
    lower_case: bool = False
    prompt: str = ""
    dims: int | None = None

    def __call__(self, states: Tensor, mask: Tensor) -> Tensor:
        """Last states (texts, length, dim) and mask (texts, length) -> (texts, dim), not normalised."""
        vectors = torch.cat([POOLINGS[name](states.float(), mask) for name in self.poolings], dim=-1)
        return self.dense.to(vectors.device)(vectors)[:, : self.dims]


class SentenceTowers:
    """A sentence encoder of a folder or the Hub, with the attributes of the other towers. It embeds no pictures.

    Raises:
        InputError: it cannot be opened, or its files ask for something that is not done here.
    """

    preprocess = None
    image_key = ""
    model: PreTrainedModel

    def __init__(self, name: str, config: Any, dtype: str, max_tokens: int = CHUNK_TOKENS):
        self._recipe, self._max_tokens = read_recipe(name, config), max_tokens
        self.model = open_model(AutoModel, name, dtype=getattr(torch, dtype)).eval()
        self._tokenizer: PreTrainedTokenizerBase = open_processor(name, AutoTokenizer)
        if self._recipe.lower_case:
            backend = self._tokenizer.backend_tokenizer
            backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *filter(None, [backend.normalizer])])
        if self._recipe.max_tokens:
            self._tokenizer.model_max_length = self._recipe.max_tokens
        if any(self._tokenizer("a").get("token_type_ids", ())):
            raise InputError(f"the tokenizer of {name} gives the tokens of a text types, which are not used here.")
        check_compatible(name, self.model, self._tokenizer, pooling=self._recipe, may_collapse=True)
        described = f"{config.to_json_string()} {self._recipe}", describe_tokenizer(self._tokenizer)
        self.text_key = weights_key([self.model, self._recipe.dense], *described)

    def embed_texts(self, texts: list[str], name: str) -> np.ndarray:
        """(n, dim), L2-normalised. `name` is shown on the progress bar."""
        prompted = [self._recipe.prompt + text for text in texts]
        options: dict[str, Any] = {"max_tokens": self._max_tokens, "name": name, "pooling": self._recipe}
        return encode_texts(self.model, self._tokenizer, prompted, **options).numpy()


def read_recipe(name: str, config: Any) -> Recipe:
    """What the files of a sentence encoder say.

    Args:
        name: folder or Hub id.
        config: of the transformer.

    Raises:
        InputError: they ask for something that is not done here, or cannot be read.
    """
    if getattr(config, "is_encoder_decoder", False):
        raise InputError(f"{name} is a {config.model_type} with encoder and decoder: only encoders are measured.")
    modules = _read(name, "modules.json", list)
    if modules is None:
        is_causal = (config.architectures or [""])[0].endswith("ForCausalLM") and getattr(config, "is_causal", True)
        return Recipe(("lasttoken",) if is_causal else ("mean",))
    kinds, paths = zip(*(_kind(name, module) for module in modules)) if modules else ((), ())
    dense = [path for kind, path in zip(kinds, paths) if kind == "Dense"]
    understood = ["Transformer", "Pooling", *["Dense"] * len(dense)]
    if list(kinds) not in (understood, [*understood, "Normalize"]):
        raise InputError(
            f"modules.json of {name} names {', '.join(kinds) or 'nothing'}; understood are Transformer, Pooling, any "
            "number of Dense, and perhaps Normalize."
        )
    if paths[0]:
        raise InputError(
            f"modules.json of {name} puts its Transformer into the folder {paths[0]}: save it again with "
            "sentence-transformers 3 or later."
        )
    pooling, keeps_prompt = _pooling(name, paths[1])
    layers = nn.Sequential(*(_dense(name, path) for path in dense))
    recipe = Recipe(pooling, layers, *_settings(name), *_defaults(name))
    if recipe.prompt and not keeps_prompt:
        raise InputError(f"{name} leaves its prompt out of the pooling (include_prompt), which is not done here.")
    return recipe


def _kind(name: str, module: Any) -> tuple[str, str]:
    """The class of a module, and its folder."""
    try:
        kind, path = module["type"], module["path"]
        is_known = kind.startswith("sentence_transformers.") and path in ("", Path(path).name)
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(f"modules.json of {name} cannot be read: {module!r} is no module.") from error
    if not is_known:
        raise InputError(
            f"modules.json of {name} names {kind} in {path!r}, which is not part of sentence-transformers."
        )
    return kind.rpartition(".")[2], path


def _settings(name: str) -> tuple[int | None, bool]:
    """The longest text in tokens, and whether texts are put in lower case."""
    read = (_read(name, file, dict) for file in SETTINGS)
    settings: dict[str, Any] = next((found for found in read if found), {})
    length, lower = settings.get("max_seq_length"), settings.get("do_lower_case", False)
    others = settings.keys() - {"max_seq_length", "do_lower_case"} - UNUSED
    strange = sorted(key for key in others if settings[key] and settings[key] != USUAL.get(key))
    if strange:
        raise InputError(f"sentence_bert_config.json of {name} says {strange[0]}, which is not understood here.")
    if not (length is None or (type(length) is int and length > 0)) or type(lower) is not bool:
        raise InputError(f"sentence_bert_config.json of {name}: max_seq_length {length!r}, do_lower_case {lower!r}.")
    return length, lower


def _pooling(name: str, path: str) -> tuple[tuple[str, ...], bool]:
    """Names of `POOLINGS`, and whether the tokens of a prompt count."""
    settings = _read(name, f"{path}/config.json", dict)
    if settings is None:
        raise InputError(f"{name} has no {path}/config.json, which its modules.json names. Download it again.")
    old = {f"pooling_mode_{key}": mode for key, mode in zip(OLD_KEYS, POOLINGS)}
    named = settings.get("pooling_mode") or [mode for key, mode in old.items() if settings.get(key)] or "mean"
    modes = [named] if isinstance(named, str) else named
    strange = [key for key in settings if key.startswith("pooling_mode_") and key not in old]
    if strange or not isinstance(modes, list) or any(mode not in list(POOLINGS) for mode in modes):
        raise InputError(
            f"{path}/config.json of {name} asks for the pooling {', '.join(strange) or named}; known are "
            f"{', '.join(POOLINGS)}."
        )
    return tuple(modes), settings.get("include_prompt", True)


def _dense(name: str, path: str) -> nn.Sequential:
    settings = _read(name, f"{path}/config.json", dict) or {}
    activation = settings.get("activation_function", "torch.nn.modules.activation.Tanh")
    wired = {settings.get(f"module_{end}_name") or "sentence_embedding" for end in ("input", "output")}
    if activation not in ACTIVATIONS or settings.get("use_residual") or wired != {"sentence_embedding"}:
        raise InputError(
            f"{path}/config.json of {name} describes more than a linear map and one of {', '.join(ACTIVATIONS)}."
        )
    file = find_file(name, f"{path}/model.safetensors")
    if file is None:
        raise InputError(
            f"{name} has no {path}/model.safetensors. Pickled weights are not opened, as they can run code: save it "
            "again with sentence-transformers."
        )
    try:
        weights = load_file(file)
        out, given = weights["linear.weight"].shape
        layer = nn.Sequential(nn.Linear(given, out, bias=settings.get("bias", True)), ACTIVATIONS[activation]())
        layer[0].load_state_dict({key.removeprefix("linear."): weight for key, weight in weights.items()})
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}/model.safetensors of {name} cannot be read: {said(error)}") from error
    return layer


def _defaults(name: str) -> tuple[str, int | None]:
    """The prompt, and how many dimensions are kept."""
    settings = _read(name, "config_sentence_transformers.json", dict) or {}
    if settings.get("model_type", "SentenceTransformer") != "SentenceTransformer":
        raise InputError(f"{name} is a {settings['model_type']} of sentence-transformers, not a sentence encoder.")
    prompts, default = settings.get("prompts") or {}, settings.get("default_prompt_name")
    dims = settings.get("truncate_dim")
    if not (dims is None or (type(dims) is int and dims > 0)) or not isinstance(prompts, dict):
        raise InputError(f"config_sentence_transformers.json of {name}: truncate_dim {dims!r}, prompts {prompts!r}.")
    if default is not None and default not in prompts:
        raise InputError(f"config_sentence_transformers.json of {name} has no prompt {default!r}, its default.")
    if default is None and any(prompts.values()):
        shown: Sequence[str] = [key for key, prompt in prompts.items() if prompt]
        logger.warning("%s: texts are encoded without its prompts (%s): none is the default.", name, ", ".join(shown))
    return prompts.get(default) or "", dims


def _read(name: str, file: str, kind: type) -> Any:
    """A JSON file of a folder or Hub model; None where there is none."""
    found = find_file(name, file)
    return None if found is None else read_json(found, kind)
