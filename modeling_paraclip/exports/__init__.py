"""From a trained folder to the search that people already run: one small file per application.

Each has `export(folder, tower, output)`, which writes; `encode(output, texts)`, which reads what was written, as the
application does, and gives vectors by file; and says which `VECTORS` of torch these have to be, which packages it
`NEEDS`, and how a person puts the result in place (`INSTALL`).
"""

from __future__ import annotations

from pathlib import Path

from ..errors import CheckpointError, InputError
from ..output_dir import LOCK, claimed
from ..publish import PUBLISHING, staged
from . import diffusers, fastembed, immich, onnx, open_clip, transformersjs, weaviate
from .open_clip import from_open_clip
from .tower import TEXTS, TOLERANCE, check_image_tower, largest_difference, need, open_tower, ranking_overlap

__all__ = ["EXPORTS", "export_model", "from_open_clip"]

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
        expected = tower.encode(TEXTS, module.VECTORS)
        with staged(output) as aside:
            module.export(folder, tower, aside)
            for name, found in module.encode(aside, TEXTS).items():
                lines.append(_compare(name, found, expected))
    return [*lines, "", *module.INSTALL.format(output=output, dim=tower.model.config.projection_dim).splitlines()]


def _compare(name: str, found, expected) -> str:
    """One line about one file."""
    difference = largest_difference(found, expected)
    line = f"{name}: {len(TEXTS)} texts, largest difference from torch {difference:.1e}"
    if name.endswith(LOSSY):
        return f"{line}; AO@10 of its ranking against float32 {ranking_overlap(found, expected):.1f}"
    if difference > TOLERANCE:
        raise CheckpointError(f"{line}, more than {TOLERANCE:g}")
    return line


def _check_free(output: str | Path) -> None:
    """InputError where an earlier export, or anything else, is in `output`: two are never mixed."""
    found = sorted(path.name for path in Path(output).iterdir() if path.name not in (LOCK, PUBLISHING))
    if found:
        raise InputError(f"{output} holds {', '.join(found[:3])}: name another folder, or empty this one.")
