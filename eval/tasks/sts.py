"""Semantic textual similarity: does the cosine of two sentences rank pairs as people do?

Protocol, as MTEB's: the pairs of all subsets of a year are put together and Spearman's correlation is taken once; that
of each subset stands beside it. A text is encoded as a query is, no prompt. Data: `DIR/sts/NAME.tsv` with the columns
`score`, `sentence1`, `sentence2`. Known leaks: STS-B overlaps STS12 to 16, and has captions of Flickr8k.
"""

from pathlib import Path

import numpy as np

from ..encoders import TextEncoder
from ..metrics.sts_spearman.sts_spearman import checked
from ..tables import read_tsv

DATASETS = {
    "STS12": ("STS12-MSRpar", "STS12-MSRvid", "STS12-OnWN", "STS12-SMTeuroparl", "STS12-SMTnews"),
    "STS13": ("STS13-FNWN", "STS13-OnWN", "STS13-headlines"),
    "STS-B": ("STSB-test",),
    "STS-B dev": ("STSB-dev",),
    "SICK-R train": ("SICKR-train",),
    "SICK-R trial": ("SICKR-trial",),
}


def sts(encoder: TextEncoder, data_dir: Path) -> dict[str, np.ndarray]:
    """Data set (or subset) -> (n, 2) of cosine and rating, for each whose files are all in `data_dir/sts`."""
    found = {}
    for name, subsets in DATASETS.items():
        files = [data_dir / "sts" / f"{subset}.tsv" for subset in subsets]
        if not all(file.is_file() for file in files):
            continue
        parts = [_pairs(encoder, file) for file in files]
        found[name] = np.concatenate(parts)
        if len(parts) > 1:
            found |= {f"{name}/{subset.split('-', 1)[1]}": part for subset, part in zip(subsets, parts)}
    return found


def _pairs(encoder: TextEncoder, file: Path) -> np.ndarray:
    rows = read_tsv(file, ("score", "sentence1", "sentence2"), numbers=("score",))
    return similarities(
        encoder,
        [row["sentence1"] for row in rows],
        [row["sentence2"] for row in rows],
        [row["score"] for row in rows],
        file,
    )


def similarities(
    encoder: TextEncoder, firsts: list[str], seconds: list[str], ratings: list[float], source: Path
) -> np.ndarray:
    """(n, 2) of cosine and rating. Raises ValueError, naming `source`, where they cannot be ranked."""
    cosines = (encoder(firsts) * encoder(seconds)).sum(axis=1)
    try:
        return np.stack(checked(cosines, np.array(ratings)), axis=1)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
