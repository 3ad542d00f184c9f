"""Opening models that come from elsewhere: safetensors only, no remote code, and nothing left to chance.

`from_pretrained` fills what the files lack with random numbers and warns; here that is an error.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoProcessor, PreTrainedModel
from transformers.utils.hub import cached_file

from .errors import InputError

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
# Older versions of transformers saved these counting numbers; no model of today has them.
NOT_WEIGHTS = re.compile(r"(^|\.)position_ids$")
# What in a configuration says how many modules are built, one after the other
COUNTS = re.compile(r"layers|blocks|depth|repeats")


def find_file(name_or_path: str | Path, file: str, **hub_kwargs) -> Path | None:
    """A file of a folder or Hub model, downloaded if need be; None where there is no such file.

    Raises:
        InputError: the Hub cannot be read.
    """
    try:
        found = cached_file(str(name_or_path), file, _raise_exceptions_for_missing_entries=False, **hub_kwargs)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"{file} of {name_or_path} cannot be read: {error}") from error
    return Path(found) if found else None


def shards(index: Path) -> list[str]:
    """The files that an index of weights names, which lie next to it."""
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        return sorted(name for name in names if name == Path(name).name and name.endswith(".safetensors"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{index} cannot be read: it is no index of weights.") from error


def weight_files(name_or_path: str | Path, **hub_kwargs) -> list[Path]:
    """The safetensors files of a folder or Hub model.

    Raises:
        InputError: there are none, or one that the index names is missing.
    """
    whole = find_file(name_or_path, WEIGHTS, **hub_kwargs)
    if whole is not None:
        return [whole]
    index = find_file(name_or_path, INDEX, **hub_kwargs)
    if index is None:
        raise InputError(
            f"{name_or_path} has no {WEIGHTS}. Pickled weights are not opened, as they can run code. Convert them "
            "once where you trust them: model.save_pretrained(DIR) writes safetensors."
        )
    files = []
    for name in shards(index):
        file = find_file(name_or_path, name, **hub_kwargs)
        if file is None:
            raise InputError(f"{name_or_path} has no {name}, which {INDEX} names. Download it again.")
        files.append(file)
    return files


def open_config(name_or_path: str | Path, **hub_kwargs) -> Any:
    """The configuration of a folder or Hub model.

    Raises:
        InputError: it cannot be found, or describes no model.
    """
    try:
        return AutoConfig.from_pretrained(name_or_path, trust_remote_code=False, **hub_kwargs)
    # on a broken config.json transformers raises nearly anything: TypeError, KeyError, errors of its own, ...
    except Exception as error:
        raise InputError(f"{name_or_path} cannot be opened as a model: {_said(error)}") from error


def open_processor(name_or_path: str | Path, auto_class: Any = AutoProcessor, **hub_kwargs) -> Any:
    """The tokenizer, image processor or both (`auto_class`) of a folder or Hub model.

    Raises:
        InputError: they cannot be found or read.
    """
    try:
        return auto_class.from_pretrained(name_or_path, trust_remote_code=False, **hub_kwargs)
    # as above; the tokenizers library raises a bare Exception
    except Exception as error:
        kind = {"AutoTokenizer": "tokenizer", "AutoImageProcessor": "image processor"}.get(
            auto_class.__name__, "tokenizer or image processor"
        )
        raise InputError(f"{name_or_path} has no {kind} that can be read: {_said(error)}") from error


def open_model(model_class: Any, name_or_path: str | Path, *, dtype: Any = "auto", hub_kwargs=None, **build) -> Any:
    """`model_class.from_pretrained`, or an error.

    Before anything is allocated, the size that the configuration asks for is compared with that of the weights.

    Args:
        model_class: a class of models, or `AutoModel`, which is for sentence encoders: a checkpoint may have heads
            that the encoder lacks, or lack the pooler, which is not used.
        hub_kwargs: `revision` and the like.
        build: further arguments of the model's constructor.

    Raises:
        InputError: there are no safetensors; they cannot be read; they lack a tensor of the model, have one too many
            or one of another shape, or numbers that are not finite; or the configuration does not belong to them.
    """
    hub_kwargs = hub_kwargs or {}
    config = open_config(name_or_path, **hub_kwargs)
    _check_size(model_class, config, weight_files(name_or_path, **hub_kwargs), name_or_path, build)
    try:
        model, info = model_class.from_pretrained(
            name_or_path,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # they are listed, as the others are
            output_loading_info=True,
            **hub_kwargs,
            **build,
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise InputError(f"the weights of {name_or_path} cannot be read: {_said(error)}") from error
    is_encoder = not _is_model_class(model_class)
    missing = {name for name in info["missing_keys"] if not (is_encoder and name.startswith("pooler."))}
    unexpected = set() if is_encoder else {name for name in info["unexpected_keys"] if not NOT_WEIGHTS.search(name)}
    misshaped = {name for name, *_ in info["mismatched_keys"]}
    broken = {name for name, tensor in model.state_dict().items() if not torch.isfinite(tensor).all()}
    for problem, names in (
        ("have other shapes than config.json says", misshaped),
        ("are missing", missing - misshaped),
        ("are not part of such a model", unexpected),
        ("hold numbers that are not finite", broken - missing),
    ):
        if names:
            shown = ", ".join(sorted(names)[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise InputError(
                f"the weights of {name_or_path} do not fit its config.json: {shown} {problem}. Download or save the "
                "model again."
            )
    return model


def _is_model_class(model_class: Any) -> bool:
    return isinstance(model_class, type) and issubclass(model_class, PreTrainedModel)


def _check_size(model_class: Any, config: Any, files: list[Path], name: str | Path, build: dict) -> None:
    """Refuse a configuration that asks for more than twice what the weights hold, without allocating it."""
    sizes: list[int] = []
    for file in files:
        try:
            with safe_open(file, "pt") as weights:
                sizes += (math.prod(weights.get_slice(key).get_shape()) for key in weights.keys())  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise InputError(f"{file} cannot be read as safetensors: {_said(error)}. Download it again.") from error
    # a module takes memory and time even without numbers
    too_many = next((f"{key} {count:g}" for key, count in _counts(config.to_dict()) if count > len(sizes)), None)
    if too_many:
        raise InputError(f"the config.json of {name} says {too_many}, but its weights are {len(sizes)} tensors.")
    make = model_class if _is_model_class(model_class) else model_class.from_config
    try:
        with torch.device("meta"):
            asked = sum(parameter.numel() for parameter in make(config, **build).parameters())
    # sizes that are negative, no numbers, or overflow: each fails in its own way
    except Exception as error:
        raise InputError(f"the config.json of {name} describes no model that can be built: {_said(error)}") from error
    if asked > 2 * sum(sizes):
        raise InputError(
            f"the config.json of {name} asks for {asked:,} parameters, but its weights hold {sum(sizes):,}. The two "
            "do not belong together."
        )


def _counts(config: dict) -> Iterator[tuple[str, float]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _counts(value)
        elif COUNTS.search(str(key)):
            numbers = value if isinstance(value, list) else [value]
            yield str(key), sum(number for number in numbers if isinstance(number, (int, float)))


def _said(error: Exception) -> str:
    """The first lines of what a library says; some print the whole file."""
    text = str(error) or type(error).__name__
    return text if len(text) <= 500 else text[:500] + " ..."
