"""From a trained folder to the search that people already run: one small file per application.

Each has `export(folder, tower, output)`, which writes; `encode(output, texts)`, which reads what was written, as the
application does, and gives vectors by file; and says which `VECTORS` of torch these have to be, which packages it
`NEEDS`, by which files (`MARKS`, patterns) its folder is known, and how a person puts the result in place (`INSTALL`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from ..errors import CheckpointError, InputError, said
from ..output_dir import LOCK, claimed
from ..publish import PUBLISHING, staged
from . import diffusers, fastembed, immich, onnx, open_clip, transformersjs, weaviate
from .open_clip import from_open_clip
from .tower import TEXTS, TOLERANCE, Tower, check_image_tower, largest_difference, need, open_tower, ranking_overlap

__all__ = ["EXPORTS", "compare_exports", "export_model", "from_open_clip"]

EXPORTS = {
    "onnx": onnx,
    "transformersjs": transformersjs,
    "immich": immich,
    "fastembed": fastembed,
    "weaviate": weaviate,
    "open_clip": open_clip,
    "diffusers": diffusers,
}
LOSSY = ("_fp16.onnx", "_quantized.onnx")  # these are reported, the others have to agree
SAME_MODEL = 90.0  # AO@10 of a lossy file: fp16 and int8 cost 0 to 3 points, another model far more


def export_model(
    folder: str | Path, application: str, output: str | Path, base: str | Path | None = None
) -> list[str]:
    """Write a model for one of `EXPORTS` and compare it with torch on 100 texts, before a file is in its place.

    Args:
        folder: folder or Hub id of a CLIP or dual encoder.
        base: what it was trained from: all but the text tower is then compared, byte for byte.

    Returns:
        Lines to print: what was compared, and how the result is put in place.

    Raises:
        InputError: the model cannot be exported, the base is another one, or `output` holds files.
        CheckpointError: it could not be written, or differs from torch by more than 1e-4.
    """
    module = EXPORTS[application]
    need(*module.NEEDS)
    tower = open_tower(folder)
    lines = []
    if base is not None:
        lines = [f"{check_image_tower(folder, base)} tensors beside the text tower are the base's, byte for byte: "
                 "the index of pictures stays valid"]  # fmt: skip
    with claimed(output, sources=tuple(source for source in (folder, base) if source is not None)):
        _check_free(output)
        with staged(output) as aside:
            module.export(folder, tower, aside)
            for name, difference, overlap in _compare(module, aside, tower):
                line = f"{name}: {len(TEXTS)} texts, largest difference from torch {difference:.1e}"
                if overlap is None and difference > TOLERANCE:
                    raise CheckpointError(f"{line}, more than {TOLERANCE:g}")
                lossy = "" if overlap is None else f"; AO@10 of its ranking against float32 {overlap:.1f}"
                lines.append(line + lossy)
    return [*lines, "", *module.INSTALL.format(output=output, dim=tower.dim, vectors=tower.output_name).splitlines()]


def compare_exports(folder: str | Path, places: Sequence[str | Path]) -> list[tuple[str, str, bool]]:
    """Compare the exports of a model that lie in `places` with it, on 100 texts.

    Returns:
        For each file (what it is, what was found, whether it is of this model), and so for each export that cannot be
        read. Nothing for a place that holds no export.
    """
    found = []
    tower = cache(lambda: open_tower(folder))
    known = {module.MARKS: (name, module) for name, module in reversed(EXPORTS.items())}  # two have the same files
    for place in map(Path, places):
        here = [known[marks] for marks in known if all(any(place.glob(mark)) for mark in marks)]
        for name, module in here:
            try:
                need(*module.NEEDS)
                compared = _compare(module, place, tower())
            except Exception as error:  # whatever a library raises on a file that is broken
                found.append((f"export {name}", f"{place}: {said(error)}", False))
                continue
            for file, difference, overlap in compared:
                line = f"largest difference from torch {difference:.1e} on {len(TEXTS)} texts"
                if overlap is not None:
                    line = f"AO@10 of its ranking against float32 {overlap:.1f}"
                holds = difference <= TOLERANCE if overlap is None else overlap >= SAME_MODEL
                reason = (
                    ": not this model" if overlap is None else f", below {SAME_MODEL:g}: another model, or too coarse"
                )
                found.append((f"export {name}, {place / file}", line + ("" if holds else reason), holds))
    return found


def _compare(module, output: Path, tower: Tower) -> list[tuple[str, float, float | None]]:
    """Of each file its name, its largest difference from torch and, where precision was given up, its AO@10."""
    expected, compared = tower.encode(TEXTS, module.VECTORS), []
    for name, found in module.encode(output, TEXTS).items():
        difference, overlap = largest_difference(found, expected), None
        if name.endswith(LOSSY):
            overlap = ranking_overlap(found, expected) if np.isfinite(difference) else 0.0
        compared.append((name, difference, overlap))
    return compared


def _check_free(output: str | Path) -> None:
    """InputError where an earlier export, or anything else, is in `output`: two are never mixed."""
    found = sorted(path.name for path in Path(output).iterdir() if path.name not in (LOCK, PUBLISHING))
    if found:
        raise InputError(f"{output} holds {', '.join(found[:3])}: name another folder, or empty this one.")
