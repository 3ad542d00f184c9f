"""Semantic textual similarity: does the cosine of two sentences rank pairs as people do?

Protocol, that of MTEB: the pairs of all subsets of a year are put together and Spearman's correlation is taken once.
Local files name the subsets, so each subset's correlation is given too; the Hub's data do not. Texts are encoded like
queries, without a prompt. Equal sentences have the cosine 1; MTEB leaves it to rounding. Test splits. Known leaks:
STS15-images and part of STS-B are captions of Flickr8k; STS-B overlaps STS12 to 16.

Local data: `DIR/sts/NAME.tsv` with `score`, `sentence1`, `sentence2`, one file for each subset. From the Hub: MTEB's
copies; repositories, revisions, splits and columns are those of its tasks (mteb 2.26).
"""

import logging
from pathlib import Path

import numpy as np

from modeling_paraclip.errors import InputError

from ..data import file_about, rows_of, share_of
from ..encoders import Encoder
from ..files import MissingData
from ..hub import HubSource
from ..metrics.sts_spearman.sts_spearman import checked
from ..statistics import Scored, Spearman
from .choices import cosines

logger = logging.getLogger(__name__)
COLUMNS = {name: name for name in ("sentence1", "sentence2", "score")}
HUB = {
    name: HubSource(f"mteb/{repo}", revision, "test", COLUMNS)
    for name, repo, revision in (
        ("STS12", "sts12-sts", "a0d554a64d88156834ff5ae9920b964011b16384"),
        ("STS13", "sts13-sts", "7e90230a92c190f1bf69ae9002b8cea547a64cca"),
        ("STS14", "sts14-sts", "6031580fec1f6af667f0bd2da0a551cf4f0b2375"),
        ("STS15", "sts15-sts", "ae752c7c21bf194d8b67fd573edf7ae58183cbe3"),
        ("STS16", "sts16-sts", "4d8694f8f0e0100860b497b999b3dbed754a0513"),
        ("STS-B", "stsbenchmark-sts", "b0fddb56ed78048fa8b90373c8a3cfc37b684831"),
        ("SICK-R", "sickr-sts", "20a6d6f312dd54037fe07a32d58e5e168867909d"),
    )
}
SUBSETS = {
    "STS12": ("STS12-MSRpar", "STS12-MSRvid", "STS12-OnWN", "STS12-SMTeuroparl", "STS12-SMTnews"),
    "STS13": ("STS13-FNWN", "STS13-OnWN", "STS13-headlines"),
    "STS14": tuple(
        f"STS14-{name}" for name in ("OnWN", "deft-forum", "deft-news", "headlines", "images", "tweet-news")
    ),
    "STS15": tuple(
        f"STS15-{name}" for name in ("answers-forums", "answers-students", "belief", "headlines", "images")
    ),
    "STS16": tuple(
        f"STS16-{name}" for name in ("answer-answer", "headlines", "plagiarism", "postediting", "question-question")
    ),
    "STS-B": ("STSB-test",),
    "STS-B dev": ("STSB-dev",),
    "SICK-R": ("SICKR-test",),
    "SICK-R train": ("SICKR-train",),
    "SICK-R trial": ("SICKR-trial",),
}


# pairs of the test sets as MTEB counts them
PUBLISHED = {"STS12": 3108, "STS13": 1500, "STS14": 3750, "STS15": 3000, "STS16": 1186, "STS-B": 1379, "SICK-R": 9927}


def sts(encoder: Encoder, data_dir: Path | None) -> dict[tuple[str, str], Scored]:
    """(data set or subset, "spearman") -> one cosine per pair."""
    measured: dict[tuple[str, str], Scored] = {}
    reasons = []
    for name in SUBSETS if data_dir else HUB:
        try:
            measured |= _local(encoder, data_dir, name) if data_dir else _from_hub(encoder, name)
        except MissingData as error:
            reasons.append(f"{name} is not measured: {error}")
    if not measured:
        raise MissingData("; ".join(reasons[:2]))
    for reason in reasons:
        logger.warning("%s", reason)
    return measured


def _local(encoder: Encoder, data_dir: Path, name: str) -> dict[tuple[str, str], Scored]:
    files = [data_dir / "sts" / f"{subset}.tsv" for subset in SUBSETS[name]]
    parts = [similarities(encoder, _rows(file, None), file) for file in files]
    values, ratings = (np.concatenate(column) for column in zip(*parts))
    about = file_about(data_dir, *files, share=share_of(ratings, PUBLISHED.get(name)))
    measured = {(name, "spearman"): Scored(values, Spearman(ratings), about)}
    if len(files) > 1:
        for subset, file, (values, ratings) in zip(SUBSETS[name], files, parts):
            key = f"{name}/{subset.split('-', 1)[1]}", "spearman"
            measured[key] = Scored(values, Spearman(ratings), file_about(data_dir, file))
    return measured


def _from_hub(encoder: Encoder, name: str) -> dict[tuple[str, str], Scored]:
    source = HUB[name]
    values, ratings = similarities(encoder, _rows(None, source), source.repo)
    about = source.about(share=share_of(ratings, PUBLISHED.get(name)))
    return {(name, "spearman"): Scored(values, Spearman(ratings), about)}


def _rows(file: Path | None, source: HubSource | None) -> list[dict]:
    return rows_of(file, source, ("sentence1", "sentence2"), numbers=("score",))


def similarities(
    encoder: Encoder, rows: list[dict], source: Path | str, firsts: str = "sentence1", seconds: str = "sentence2"
) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and ratings of pairs, (n,) float64 each. InputError, naming `source`, where they cannot be ranked."""
    columns = [[row[name] for row in rows] for name in (firsts, seconds)]
    found = cosines(*(encoder.texts(column) for column in columns))
    found[[first == second for first, second in zip(*columns)]] = 1.0  # a tie by definition, whatever the rounding
    try:
        return checked(found, np.array([row["score"] for row in rows]))
    except ValueError as error:
        raise InputError(f"{source}: {error}") from error
