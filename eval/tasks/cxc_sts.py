"""Crisscrossed Captions, caption to caption (Parekh et al. 2021): cosine against ratings of 0 to 5 by people.

Protocol: Spearman's correlation over all pairs of the split. The authors' own figure is a mean over samples of the
pairs, as one caption recurs in many; that sampling is not done here. Data: `DIR/cxc/cxc_sts_val.tsv` with `score`,
`caption1`, `caption2`.
"""

from pathlib import Path

import numpy as np

from ..encoders import TextEncoder
from ..tables import read_tsv
from .sts import similarities


def cxc_sts(encoder: TextEncoder, data_dir: Path) -> dict[str, np.ndarray]:
    """{"CxC-STS val": (n, 2) of cosine and rating}, or nothing where the file is not."""
    file = data_dir / "cxc" / "cxc_sts_val.tsv"
    if not file.is_file():
        return {}
    rows = read_tsv(file, ("score", "caption1", "caption2"), numbers=("score",))
    texts = [row["caption1"] for row in rows], [row["caption2"] for row in rows]
    return {"CxC-STS val": similarities(encoder, *texts, [row["score"] for row in rows], file)}
