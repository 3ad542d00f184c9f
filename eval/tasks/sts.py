"""Semantic textual similarity: does the cosine of two sentences rank pairs as people do?

Protocol, that of MTEB: the pairs of all subsets of a year are put together and Spearman's correlation is taken once.
Local files name the subsets, so each subset's correlation is given too; the Hub's data do not. Texts are encoded like
queries, without a prompt. Test splits. Known leaks: STS15-images and part of STS-B are captions of Flickr8k; STS-B
overlaps STS12 to 16. Local data: `DIR/sts/NAME.tsv` with `score`, `sentence1`, `sentence2`, one file for each subset.
"""

import logging
from pathlib import Path

import numpy as np

from modeling_paraclip.errors import InputError

from ..data import HubSource, MissingData, rows_of
from ..encoders import Encoder
from ..metrics.sts_spearman.sts_spearman import checked

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


def sts(encoder: Encoder, data_dir: Path | None) -> dict[tuple[str, str], np.ndarray]:
    """(data set or subset, "spearman") -> (n, 2): cosine and rating."""
    measured, reasons = {}, []
    for name in SUBSETS if data_dir else HUB:
        files = [data_dir / "sts" / f"{subset}.tsv" for subset in SUBSETS[name]] if data_dir else [None]
        try:
            parts = [_pairs(encoder, file, HUB.get(name)) for file in files]
        except MissingData as error:
            reasons.append(f"{name} is not measured: {error}")
            continue
        measured[name, "spearman"] = np.concatenate(parts)
        if len(parts) > 1:
            for subset, part in zip(SUBSETS[name], parts):
                measured[f"{name}/{subset.split('-', 1)[1]}", "spearman"] = part
    if not measured:
        raise MissingData("; ".join(reasons[:2]))
    for reason in reasons:
        logger.warning("%s", reason)
    return measured


def _pairs(encoder: Encoder, file: Path | None, source: HubSource | None) -> np.ndarray:
    rows = rows_of(file, source, ("sentence1", "sentence2"), numbers=("score",))
    firsts, seconds, ratings = ([row[column] for row in rows] for column in ("sentence1", "sentence2", "score"))
    return similarities(encoder, firsts, seconds, ratings, file or (source.repo if source else ""))


def similarities(
    encoder: Encoder, firsts: list[str], seconds: list[str], ratings: list[float], source: Path | str
) -> np.ndarray:
    """(n, 2): cosine and rating. InputError, naming `source`, where they cannot be ranked."""
    cosines = (encoder.texts(firsts) * encoder.texts(seconds)).sum(axis=1)
    try:
        return np.stack(checked(cosines, np.array(ratings)), axis=1)
    except ValueError as error:
        raise InputError(f"{source}: {error}") from error
