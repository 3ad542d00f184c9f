"""Crisscrossed Captions, caption to caption (Parekh et al. 2021): cosine against people's ratings from 0 to 5.

Protocol, two figures. `spearman_sampled` is the authors': a caption recurs in many pairs, so half of the first
captions are drawn, then one pair of each, and Spearman's correlation is taken; the figure is the mean of 1,000 such
samples (seeded, the same for every model), with their 2.5 and 97.5 percentiles. `spearman` is the correlation over all
pairs. Local data: `DIR/cxc/cxc_sts_val.tsv` or `..._test.tsv` with `score`, `caption1`, `caption2`. Not on the Hub.
"""

from pathlib import Path

import numpy as np
from scipy import stats

from modeling_paraclip.errors import InputError

from ..data import MissingData, rows_of
from ..encoders import Encoder
from .sts import similarities

SAMPLES = 1000


def cxc_sts(encoder: Encoder, data_dir: Path | None) -> dict[tuple[str, str], np.ndarray]:
    """("CxC-STS SPLIT", metric) -> (n, 2): cosine and rating, or the (1000,) correlations of the samples."""
    if data_dir is None:
        raise MissingData("is not on the Hub; give the authors' file with --data")
    measured = {}
    for split in ("val", "test"):
        file = data_dir / "cxc" / f"cxc_sts_{split}.tsv"
        if not file.is_file():
            continue
        rows = rows_of(file, None, ("caption1", "caption2"), numbers=("score",))
        firsts = [row["caption1"] for row in rows]
        pairs = similarities(encoder, firsts, [row["caption2"] for row in rows], [row["score"] for row in rows], file)
        try:
            measured[f"CxC-STS {split}", "spearman_sampled"] = sampled_spearman(pairs, firsts)
        except InputError as error:
            raise InputError(f"{file}: {error}") from error
        measured[f"CxC-STS {split}", "spearman"] = pairs
    if not measured:
        raise MissingData(f"{data_dir / 'cxc' / 'cxc_sts_val.tsv'} is not there")
    return measured


def sampled_spearman(pairs: np.ndarray, queries: list[str], seed: int = 0) -> np.ndarray:
    """(n, 2) cosines and ratings, and the query of each pair -> (SAMPLES,) correlations of samples of the pairs.

    Raises:
        InputError: fewer than 4 queries; half of them would not make a ranking.
    """
    of_query: dict[str, list[int]] = {}
    for i, query in enumerate(queries):
        of_query.setdefault(query, []).append(i)
    groups = [np.array(rows) for rows in of_query.values()]
    if len(groups) < 4:
        raise InputError(f"CxC-STS needs pairs of at least 4 first captions, got {len(groups)}")
    rng = np.random.default_rng(seed)
    starts = np.cumsum([0, *map(len, groups)])[:-1]
    flat, sizes = np.concatenate(groups), np.array(list(map(len, groups)))
    correlations = np.empty(SAMPLES)
    for i in range(SAMPLES):
        chosen = rng.choice(len(groups), len(groups) // 2, replace=False)
        rows = flat[starts[chosen] + rng.integers(0, sizes[chosen])]
        correlations[i] = stats.pearsonr(*(stats.rankdata(column) for column in pairs[rows].T)).statistic
    return np.nan_to_num(correlations)  # a constant sample of few pairs ranks nothing
