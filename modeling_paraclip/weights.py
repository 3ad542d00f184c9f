"""Opening models that come from elsewhere: safetensors only, no remote code, and nothing left to chance.

`from_pretrained` fills what the files lack with random numbers and warns; here that is an error.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import get_session, hf_hub_download, is_offline_mode
from huggingface_hub.errors import (
    EntryNotFoundError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import AutoConfig, AutoProcessor, PreTrainedModel
from transformers.utils.hub import extract_commit_hash

from .errors import InputError, said

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
PROCESSOR = ("processor_config.json", "preprocessor_config.json")
HUB_SECONDS = 120.0  # to connect to the Hub, and between two bytes
# Older versions of transformers saved these counting numbers; no model of today has them.
NOT_WEIGHTS = re.compile(r"(^|\.)position_ids$")
# What in a configuration says how many modules are built, one after the other
COUNTS = re.compile(r"layers|blocks|depth|repeats")


def bound_waits() -> None:
    """Make the Hub's client give up after `HUB_SECONDS` without a byte, where it would wait for ever."""
    hooks = get_session().event_hooks["request"]
    if _bounded not in hooks:
        hooks.append(_bounded)


def _bounded(request: Any) -> None:
    """A hook of the HTTP client: many calls of the Hub's client ask for no time-out at all."""
    asked = request.extensions.get("timeout", {})
    for phase in ("connect", "read", "write", "pool"):
        if asked.get(phase) is None:
            asked[phase] = HUB_SECONDS
    request.extensions["timeout"] = asked


def find_file(name_or_path: str | Path, file: str, **hub_kwargs) -> Path | None:
    """A file of a folder or Hub model, downloaded if need be; None where there is no such file.

    Raises:
        InputError: the Hub cannot be read.
    """
    if os.path.isdir(name_or_path):
        found = Path(name_or_path, file)
        return found if found.is_file() else None
    bound_waits()
    try:
        return Path(hf_hub_download(str(name_or_path), file, **hub_kwargs))
    except LocalEntryNotFoundError as error:  # neither reached nor cached
        if is_offline_mode():
            return None
        raise InputError(f"{file} of {name_or_path} cannot be read: {said(error)}") from error
    except EntryNotFoundError:
        return None
    except (HFValidationError, RepositoryNotFoundError) as error:
        raise InputError(
            f"{name_or_path} cannot be opened as a model: there is no such folder, and no such name on the Hub that "
            "you may read. Check it; log in with `hf auth login` if it is private."
        ) from error
    except Exception as error:  # errors of the Hub's client and of its HTTP library; a NUL in the name
        raise InputError(f"{file} of {name_or_path} cannot be read: {said(error)}") from error


def commit_of(name_or_path: str | Path, **hub_kwargs) -> str | None:
    """The commit of a Hub model that is read; None of a folder. (transformers 5 no longer keeps it in the config.)"""
    if os.path.isdir(name_or_path):
        return None
    return extract_commit_hash(str(find_file(name_or_path, "config.json", **hub_kwargs)), None)


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


def read_json(file: Path, kind: type = dict) -> Any:
    """What is in a JSON file of a model.

    Raises:
        InputError: it cannot be read, or holds no `kind`. The message names the file.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, kind):
            raise ValueError(f"a {kind.__name__} is needed")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file} cannot be read as JSON: {said(error)}") from error
    return content


def open_config(name_or_path: str | Path, **hub_kwargs) -> Any:
    """The configuration of a folder or Hub model.

    Raises:
        InputError: it cannot be found, or describes no model.
    """
    find_file(name_or_path, "config.json", **hub_kwargs)  # says what the Hub says, where it gives none
    try:
        return AutoConfig.from_pretrained(name_or_path, trust_remote_code=False, **hub_kwargs)
    # on a broken config.json transformers raises nearly anything: TypeError, KeyError, errors of its own, ...
    except Exception as error:
        raise InputError(f"{name_or_path} cannot be opened as a model: {said(error)}") from error


def open_processor(name_or_path: str | Path, auto_class: Any = AutoProcessor, **hub_kwargs) -> Any:
    """The tokenizer, image processor or both (`auto_class`) of a folder or Hub model.

    Raises:
        InputError: they cannot be found or read.
    """
    kind = {"AutoTokenizer": "tokenizer", "AutoImageProcessor": "image processor"}.get(
        auto_class.__name__, "tokenizer or image processor"
    )
    find_file(name_or_path, "tokenizer.json", **hub_kwargs)  # without it, from_pretrained makes another tokenizer
    try:
        opened = auto_class.from_pretrained(name_or_path, trust_remote_code=False, **hub_kwargs)
        if auto_class is AutoProcessor:
            _ = opened.tokenizer, opened.image_processor  # it opens with one of the two, too
    # as above; the tokenizers library raises a bare Exception
    except Exception as error:
        for file in (find_file(name_or_path, name, **hub_kwargs) for name in (*TOKENIZER, *PROCESSOR)):
            if file is not None:
                read_json(file)  # of a broken file transformers does not say the name
        raise InputError(f"{name_or_path} has no {kind} that can be read: {said(error)}") from error
    return opened


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
    except Exception as error:  # as above
        raise InputError(f"the weights of {name_or_path} cannot be read: {said(error)}") from error
    is_encoder = not _is_model_class(model_class)
    missing = {name for name in info["missing_keys"] if not (is_encoder and name.startswith("pooler."))}
    unexpected = set() if is_encoder else {name for name in info["unexpected_keys"] if not NOT_WEIGHTS.search(name)}
    misshaped = {name for name, *_ in info["mismatched_keys"]}
    broken = {name for name, tensor in model.state_dict().items() if not torch.isfinite(tensor).all()}
    _refuse(name_or_path, "have other shapes than config.json says", misshaped)
    _refuse(name_or_path, "are missing", missing - misshaped)
    _refuse(name_or_path, "are not part of such a model", unexpected)
    _refuse(name_or_path, "hold numbers that are not finite", broken - missing)
    return model


def _is_model_class(model_class: Any) -> bool:
    return isinstance(model_class, type) and issubclass(model_class, PreTrainedModel)


def _check_size(model_class: Any, config: Any, files: list[Path], name: str | Path, build: dict) -> None:
    """Refuse a configuration that asks for more than twice what the weights hold, without allocating it."""
    sizes: dict[str, int] = {}
    for file in files:
        try:
            with safe_open(file, "pt") as weights:
                for key in weights.keys():  # noqa: SIM118 (it is not a dictionary)
                    sizes[key] = math.prod(weights.get_slice(key).get_shape())
        except (OSError, SafetensorError) as error:
            raise InputError(f"{file} cannot be read as safetensors: {said(error)}. Download it again.") from error
    for key, number in _numbers(config.to_dict()):
        if COUNTS.search(key) and number > len(sizes):  # a module takes memory and time even without weights
            raise InputError(
                f"the config.json of {name} says {key} {number:g}, but its weights are {len(sizes)} tensors."
            )
        if "dropout" in key and not 0 <= number < 1:  # found out in training only
            raise InputError(f"the config.json of {name} says {key} {number:g}: it has to be at least 0 and below 1.")
    make = model_class if _is_model_class(model_class) else model_class.from_config
    try:
        with torch.device("meta"):
            model = make(config, **build)
        asked = sum(parameter.numel() for parameter in model.parameters())
    # sizes that are negative, no numbers, or overflow: each fails in its own way
    except Exception as error:
        raise InputError(f"the config.json of {name} describes no model that can be built: {said(error)}") from error
    if asked > 2 * sum(sizes.values()):
        raise InputError(
            f"the config.json of {name} asks for {asked:,} parameters, but its weights hold {sum(sizes.values()):,}. "
            "The two do not belong together."
        )
    if _is_model_class(model_class):
        _refuse(name, "are missing", model.state_dict().keys() - sizes.keys())


def _numbers(config: dict) -> Iterator[tuple[str, float]]:
    """The numbers of a configuration by name; of a list its sum."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _numbers(value)
        else:
            numbers = [n for n in (value if isinstance(value, list) else [value]) if isinstance(n, (int, float))]
            if numbers:
                yield str(key), sum(numbers)


def _refuse(name: str | Path, problem: str, tensors: set[str]) -> None:
    """Raise InputError if there are such tensors."""
    if tensors:
        shown = ", ".join(sorted(tensors)[:3]) + (f" and {len(tensors) - 3} more" if len(tensors) > 3 else "")
        raise InputError(
            f"the weights of {name} do not fit its config.json: {shown} {problem}. Download or save the model again."
        )


def as_bytes(tensor: Tensor) -> Tensor:
    """The bytes of a tensor, so that NaN equals itself."""
    return tensor.contiguous().flatten().view(torch.uint8)
