"""Whether a published folder is what it promises to be: one screen, one line per promise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from huggingface_hub import ModelCard
from transformers import AutoImageProcessor, AutoTokenizer

from .architectures import DUAL_ENCODERS
from .compatibility import check_compatible
from .errors import InputError, said
from .exports import compare_exports
from .exports.tower import check_image_tower
from .publish import CARD, COPIED, published_files
from .readers import FILES
from .weights import find_file, open_config, open_model, open_processor, read_json

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")  # or formats that can run code
PRIVATE = {"_name_or_path", "auto_map", "transformers_version"}


def check(folder: str | Path, base: str | Path | None = None) -> list[tuple[str, str, bool]]:
    """Check a published folder.

    Args:
        base: folder or Hub id of what it was trained from: what did not train is then compared.

    Returns:
        (promise, what was found, whether it holds) of each.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder.")
    checks: dict[str, Callable[[], str]] = {
        "opens plainly": lambda: _opens(folder),
        "safetensors only": lambda: _no_pickles(folder),
        "no remote code": lambda: _no_remote_code(folder),
        "opens in sentence-transformers": lambda: _has_files(folder),
        "card": lambda: _card(folder),
    }
    if base is not None:
        checks["image tower is the base's"] = lambda: f"{check_image_tower(folder, base)} tensors, byte for byte"
        checks["settings are the base's"] = lambda: _same_config(folder, base)
        checks["tokenizer and processor are the base's"] = lambda: _same_files(folder, base)
    found = []
    for promise, run in checks.items():
        try:
            found.append((promise, run(), True))
        except InputError as error:
            found.append((promise, str(error), False))
    return found


def check_exports(folder: str | Path, named: Sequence[str | Path] = ()) -> list[tuple[str, str, bool]]:
    """Check the exports of a model that lie in its folder and in the folders `named`, or one level below.

    Returns:
        As `check`, for each file of each export.
    """
    found = []
    for place in map(Path, [folder, *named]):
        compared = compare_exports(folder, [place, *sorted(path for path in place.glob("*") if path.is_dir())])
        if place in map(Path, named) and not compared:
            compared = [("exports", f"{place}: there is no export of a model.", False)]
        found += compared
    return found or [("exports", "none in the folder", True)]


def _opens(folder: Path) -> str:
    model_type = open_config(folder).model_type
    if model_type not in DUAL_ENCODERS:
        raise InputError(f"it is of type {model_type!r}, not one of {', '.join(DUAL_ENCODERS)}.")
    model = open_model(DUAL_ENCODERS[model_type], folder)
    tokenizer, image_processor = (open_processor(folder, kind) for kind in (AutoTokenizer, AutoImageProcessor))
    check_compatible(folder, model, tokenizer, image_processor)
    return f"{type(model).__name__} of {sum(p.numel() for p in model.parameters()):,} parameters"


def _no_pickles(folder: Path) -> str:
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix.lower() in PICKLES)
    found = [name for name in found if not name.startswith("checkpoint-")]  # a run's own, never uploaded
    if found:
        raise InputError(f"{', '.join(found[:3])}: not safetensors. Remove it.")
    return f"{sum(name.endswith('.safetensors') for name in published_files(folder))} files of weights"


def _no_remote_code(folder: Path) -> str:
    for name in ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json"):
        if "auto_map" in _json(folder / name):
            raise InputError(f"{name} asks for code of a repository (auto_map). Remove that entry.")
    if found := sorted(path.name for path in folder.glob("*.py")):
        raise InputError(f"{found[0]}: code has no place in the folder of a model.")
    return "none"


def _has_files(folder: Path) -> str:
    missing = [name for name in FILES[:3] if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{', '.join(missing)} is missing: publish the model again.")
    return "its files are there"


def _card(folder: Path) -> str:
    if not (folder / CARD).is_file():  # publish makes none of a checkpoint
        raise InputError(f"there is no {CARD}: write one, with its licence at least, as people look there first.")
    try:
        card = ModelCard.load(folder / CARD)
        results = card.data.to_dict().get("model-index") or []
    except Exception as error:  # no file, no metadata, broken YAML: each fails in its own way
        raise InputError(f"{CARD} cannot be read: {said(error, 200)}") from error
    count = sum(len(entry["results"]) for entry in results)
    return f"licence {getattr(card.data, 'license', None) or 'not named'}, {count} results"


def _same_config(folder: Path, base: str | Path) -> str:
    ours, theirs = _json(folder / "config.json"), _json(find_file(base, "config.json"))
    differ = sorted(n for n in {*ours, *theirs} - PRIVATE if ours.get(n) != theirs.get(n))
    if differ:
        raise InputError(f"config.json differs in {', '.join(differ)}: activation, end token or dtype were not kept.")
    return "activation, end token, dtype and the rest"


def _same_files(folder: Path, base: str | Path) -> str:
    compared = 0
    for name in COPIED:
        theirs = find_file(base, name)
        if theirs is not None:
            if not (folder / name).is_file() or (folder / name).read_bytes() != theirs.read_bytes():
                raise InputError(f"{name} is not the base's.")
            compared += 1
    return f"{compared} files, byte for byte"


def _json(file: Path | None) -> dict:
    return read_json(file) if file is not None and file.is_file() else {}
