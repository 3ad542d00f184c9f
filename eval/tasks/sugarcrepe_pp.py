"""SugarCrepe++ by text alone (Dumpala et al. 2024): is the paraphrase nearer to the caption than the hard negative is?

Protocol: right where cos(caption, caption2) is above cos(caption, negative) *and* above cos(caption2, negative), the
benchmark's text-only score; a tie is wrong. No picture is needed. Data: `DIR/sugarcrepe_pp/NAME.tsv`, one file a kind
of negative, with `caption`, `caption2`, `negative_caption`.
"""

from pathlib import Path

import numpy as np

from ..encoders import TextEncoder
from ..metrics.multiple_choice_accuracy.multiple_choice_accuracy import is_right
from ..tables import read_tsv


def sugarcrepe_pp(encoder: TextEncoder, data_dir: Path) -> dict[str, np.ndarray]:
    """Kind of negative -> (n,) of 0 and 1."""
    found = {}
    for file in sorted((data_dir / "sugarcrepe_pp").glob("*.tsv")):
        rows = read_tsv(file, ("caption", "caption2", "negative_caption"))
        caption, paraphrase, negative = (
            encoder([row[column] for row in rows]) for column in ("caption", "caption2", "negative_caption")
        )
        scores = np.stack(
            [(a * b).sum(axis=1) for a, b in ((caption, paraphrase), (caption, negative), (paraphrase, negative))],
            axis=1,
        )
        found[f"SugarCrepe++ {file.stem}"] = np.array([is_right(list(row), 0) for row in scores], dtype=float)
    return found
