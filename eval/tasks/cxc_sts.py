"""Crisscrossed Captions, caption to caption (Parekh et al. 2021): cosine against people's ratings from 0 to 5.

Protocol, two figures. `spearman_sampled` is the authors': a caption recurs in many pairs, so half of the first
captions are drawn, then one pair of each, and Spearman's correlation is taken; the figure is the mean of 1,000 such
samples (seeded, the same for every model), with their 2.5 and 97.5 percentiles. `spearman` is the correlation over all
pairs.

Local data: the authors' `DIR/cxc/sts_val.csv` or `sts_test.csv`, which have the numbers of COCO's captions, and the
captions themselves, Karpathy's `DIR/FOLDER/dataset_coco.json`; or both put together, a part or all,
`DIR/cxc/cxc_sts_val.tsv` or `..._test.tsv` with `score`, `caption1`, `caption2`. Not on the Hub.
"""

from pathlib import Path

import numpy as np
from scipy import stats

from modeling_paraclip.errors import InputError

from ..data import file_about, rows_of, share_of
from ..encoders import Encoder
from ..files import MissingData
from ..statistics import SAMPLED, Scored, Spearman
from .image_text_retrieval import karpathy
from .sts import similarities

SAMPLES = 1000
PUBLISHED = {"val": 44_009}  # pairs of `sts_val.csv`


def cxc_sts(encoder: Encoder, data_dir: Path | None) -> dict[tuple[str, str], Scored]:
    """("CxC-STS SPLIT", "spearman_sampled" | "spearman") -> the correlation of each sample, or one cosine per pair."""
    if data_dir is None:
        raise MissingData("is not on the Hub; give the authors' files with --data")
    measured = {}
    for split in ("val", "test"):
        published, joined = data_dir / "cxc" / f"sts_{split}.csv", data_dir / "cxc" / f"cxc_sts_{split}.tsv"
        if published.is_file() and joined.is_file():
            raise InputError(f"{published} and {joined} are both there. Remove one.")
        if published.is_file():
            rows, files = _published(data_dir, published)
        elif joined.is_file():
            rows, files = rows_of(joined, None, ("caption1", "caption2"), numbers=("score",)), [joined]
        else:
            continue
        values, ratings = similarities(encoder, rows, files[0], "caption1", "caption2")
        try:
            samples = sampled_spearman(values, ratings, [row["caption1"] for row in rows])
        except InputError as error:
            raise InputError(f"{files[0]}: {error}") from error
        about = file_about(data_dir, *files, split=split, share=share_of(rows, PUBLISHED.get(split)))
        measured[f"CxC-STS {split}", "spearman_sampled"] = Scored(samples, SAMPLED, about, len(rows))
        measured[f"CxC-STS {split}", "spearman"] = Scored(values, Spearman(ratings), about)
    if not measured:
        raise MissingData(f"{data_dir / 'cxc' / 'sts_val.csv'} is not there")
    return measured


def _published(data_dir: Path, file: Path) -> tuple[list[dict], list[Path]]:
    """The rows of the authors' file with their captions, and the files that were read."""
    captions_file = next(iter(sorted(data_dir.glob("*/dataset_coco.json"))), None)
    if captions_file is None:
        raise MissingData(
            f"{file} has only numbers of captions; put Karpathy's dataset_coco.json into a folder of DIR"
        )
    captions = {
        sentence["sentid"]: sentence["raw"] for image in karpathy(captions_file) for sentence in image["sentences"]
    }
    rows = []
    for number, row in enumerate(rows_of(file, None, ("caption1", "caption2"), numbers=("agg_score",)), start=2):
        try:  # COCO_val2014:sentid:190268
            texts = {name: captions[int(row[name].rpartition(":")[2])] for name in ("caption1", "caption2")}
        except (ValueError, KeyError) as error:
            raise InputError(f"{file}, line {number}: {captions_file} has no caption {error}.") from error
        rows.append({"score": row["agg_score"], **texts})
    return rows, [file, captions_file]


def sampled_spearman(cosines: np.ndarray, ratings: np.ndarray, queries: list[str], seed: int = 0) -> np.ndarray:
    """(n,) cosines and ratings, and the query of each pair -> (SAMPLES,) correlations of samples of the pairs.

    NaN for a sample that is constant.

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
    with np.errstate(invalid="ignore"):  # of what is constant
        for i in range(SAMPLES):
            chosen = rng.choice(len(groups), len(groups) // 2, replace=False)
            rows = flat[starts[chosen] + rng.integers(0, sizes[chosen])]
            correlations[i] = np.corrcoef(stats.rankdata(cosines[rows]), stats.rankdata(ratings[rows]))[0, 1]
    return correlations
