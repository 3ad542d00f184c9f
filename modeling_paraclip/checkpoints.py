"""Checkpoints that are complete or absent, and that belong to one run.

A checkpoint is a folder `checkpoint-STEP`. It holds what trains (`trained.safetensors`: no model, so nobody can
mistake it for one), the state of optimiser, schedule and random numbers, and `complete.json`, which is written last
and lists the files with sizes and checksums, and what the run's weights depend on. A folder without it is not a
checkpoint.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import zlib
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .errors import CheckpointError, InputError

logger = logging.getLogger(__name__)
COMPLETE = "complete.json"
TRAINED = "trained.safetensors"
MARKER: dict[str, type | tuple[type, ...]] = {
    "global_step": int,
    "max_steps": int,
    "seconds": (int, float),
    "run": dict,
    "files": dict,
}


def checkpoints_in(run_dir: str | Path) -> list[Path]:
    """The folders `checkpoint-STEP`, complete or not, by step."""
    found = [path for path in Path(run_dir).glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))


def read_marker(checkpoint: str | Path) -> dict:
    """What `complete.json` says: `global_step`, `max_steps`, `seconds`, `run` (see `ParaCLIPTrainer`), `files`.

    Raises:
        InputError: the checkpoint is not complete; the message says why.
    """
    checkpoint = Path(checkpoint)
    try:
        marker = json.loads((checkpoint / COMPLETE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{checkpoint} is not a complete checkpoint: it has no readable {COMPLETE}.") from error
    if not isinstance(marker, dict) or any(not isinstance(marker.get(name), kind) for name, kind in MARKER.items()):
        raise InputError(f"{checkpoint} is not a checkpoint of this version of ParaCLIP.")
    for name, written in marker["files"].items():
        path = checkpoint / name
        if not isinstance(written, dict) or not {"size", "crc32"} <= written.keys():
            raise InputError(f"{checkpoint} is not a checkpoint of this version of ParaCLIP.")
        if not path.is_file() or path.stat().st_size != written["size"]:
            raise InputError(f"{checkpoint} is not a complete checkpoint: {name} is missing or not whole.")
    return marker


def check_intact(checkpoint: str | Path) -> dict:
    """`read_marker` of a checkpoint whose files are, byte for byte, those that were written.

    Raises:
        InputError: it is not complete, or a file has changed, e.g. on a bad disk.
    """
    marker = read_marker(checkpoint)
    for name, written in marker["files"].items():
        if _crc32(Path(checkpoint) / name) != written["crc32"]:
            raise InputError(f"{checkpoint} is damaged: {name} is not as it was written. Use another checkpoint.")
    return marker


def _crc32(file: Path) -> int:
    value = 0
    with open(file, "rb") as blocks:
        while block := blocks.read(2**20):
            value = zlib.crc32(block, value)
    return value


def last_checkpoint(run_dir: str | Path) -> str | None:
    """The newest complete checkpoint in a folder, or None. Incomplete ones are skipped with a warning."""
    for path in reversed(checkpoints_in(run_dir)):
        try:
            read_marker(path)
        except InputError as error:
            logger.warning("%s It is skipped.", error)
            continue
        return str(path)
    return None


def check_same_run(checkpoint: str | Path, run: dict) -> None:
    """Raise InputError, naming each difference, where a checkpoint belongs to another run than `run`."""
    theirs = read_marker(checkpoint)["run"]
    names = [name for name in {**theirs, **run} if theirs.get(name) != run.get(name)]
    if names:
        differences = "; ".join(f"{name} was {theirs.get(name)}, now {run.get(name)}" for name in names)
        raise InputError(
            f"{checkpoint} belongs to another run: {differences}. Give the arguments and data of that run to go on "
            "with it, or another --output_dir."
        )


def mark_complete(checkpoint: Path, *, global_step: int, max_steps: int, seconds: float, run: dict) -> None:
    """Write `complete.json` and sync everything to the disk."""
    files = [path for path in checkpoint.rglob("*") if path.is_file()]
    written = {
        str(path.relative_to(checkpoint)): {"size": path.stat().st_size, "crc32": _crc32(path)} for path in files
    }
    marker = {"global_step": global_step, "max_steps": max_steps, "seconds": seconds, "run": run, "files": written}
    (checkpoint / COMPLETE).write_text(json.dumps(marker, indent=1), encoding="utf-8")
    for path in [*checkpoint.rglob("*"), checkpoint]:
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)


def remove(checkpoint: Path) -> None:
    """Remove a checkpoint, at once as far as others see it, and what a kill left of others in its folder."""
    checkpoint.rename(checkpoint.with_name(f".{checkpoint.name}.removing"))
    for path in checkpoint.parent.glob(".checkpoint-*.removing"):
        shutil.rmtree(path)


def rotate(run_dir: str | Path, keep: int | None, best: str | None, run: dict) -> None:
    """Remove the oldest complete checkpoints of this run beyond `keep`, but neither the newest nor the best.

    Whatever else is in the folder, e.g. `checkpoint-best` or a checkpoint of another run, stays.
    """
    if not keep:
        return
    own = []
    for path in checkpoints_in(run_dir):
        try:
            if read_marker(path)["run"] == run:
                own.append(path)
        except InputError:
            continue
    kept = {*own[-keep:], *([Path(best)] if best else [])}
    for path in own:
        if path not in kept:
            remove(path)


def save_trained(tensors: dict[str, Tensor], folder: str | Path) -> None:
    """Write what trains into a checkpoint."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, Path(folder) / TRAINED)


def load_trained(model: nn.Module, checkpoint: str | Path) -> None:
    """Put the trained weights of a checkpoint into `model`, which has to train the same ones.

    Raises:
        InputError: it trains others, e.g. because one of the two uses LoRA.
        CheckpointError: the file cannot be read.
    """
    file = Path(checkpoint) / TRAINED
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}. Resume from another checkpoint.") from error
    expected = {name: p.shape for name, p in model.named_parameters() if p.requires_grad}
    if {name: tensor.shape for name, tensor in tensors.items()} != expected:
        raise InputError(f"{checkpoint} holds other weights than those that train here: another base, or other LoRA.")
    model.load_state_dict(tensors, strict=False)
