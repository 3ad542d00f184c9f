"""When is "nothing found" the better answer? A threshold on the similarity of the best picture, and its worth.

    python -m eval calibrate --models BASE TUNED --data DIR
    python -m eval calibrate --models BASE TUNED --triples validation.parquet --index vectors.parquet

Protocol. A search always returns its nearest pictures, also for a wish that no picture shows. Here the pictures are
divided in two halves, and each half is an index once: queries whose picture is in it should find something, and the
others nothing. Rows with the same caption are one wish, for which each of their pictures is right. A query is answered
if the similarity of its best picture is at or above the threshold. The threshold with the best F1 is chosen on
every other wish. On the rest are measured: precision (of the answered queries, how many have their
picture in the index), recall (of those that have, how many are answered), AUC (which needs no threshold) and `flips`:
the share of pairs of wordings of one wish, x with x' and x with x'', of which one is answered and the other is not.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from scipy import stats

from .ranking import best_scores

if TYPE_CHECKING:
    from .encoders import Encoder

HEADER = ("model", "threshold", "precision", "recall", "F1", "AUC", "flips")


@dataclass(frozen=True)
class Calibration:
    """A threshold on a cosine and what it does to queries it was not chosen on. Shares are in 0..1."""

    threshold: float
    precision: float
    recall: float
    f1: float
    auc: float
    flips: float
    queries: int


def calibrate(
    text_embeds: np.ndarray, gallery_embeds: np.ndarray, picture_of_text: np.ndarray, captions: Sequence[str]
) -> Calibration:
    """See the top of this file.

    Args:
        text_embeds: (n, 3, dim) of x, x', x'', L2-normalised.
        gallery_embeds: (m, dim), L2-normalised.
        picture_of_text: (n,) indices into `gallery_embeds`.
        captions: the n texts x. A log has one as often as it found something.

    Raises:
        ValueError: there are fewer than 4 wishes; there would be nothing to choose on, or to measure on.
    """
    wishes, wish = np.unique(np.asarray(captions, dtype=object), return_inverse=True)
    if len(wishes) < 4:
        raise ValueError(f"a threshold needs at least 4 different captions, here are {len(wishes)}")
    order = np.random.default_rng(0).permutation(len(gallery_embeds))  # neighbours in a file may be alike
    half = np.empty(len(gallery_embeds), int)
    half[order] = np.arange(len(order)) % 2
    chosen_on = wish % 2 == 0
    scores, present = [], []
    for index in (0, 1):
        best = best_scores(text_embeds.reshape(-1, text_embeds.shape[-1]), gallery_embeds[half == index])
        scores.append(best.reshape(len(text_embeds), -1))
        has_picture = np.bincount(wish, weights=half[picture_of_text] == index)[wish] > 0
        present.append(np.repeat(has_picture[:, None], text_embeds.shape[1], axis=1))
    score, has = np.stack(scores), np.stack(present)  # (2 indices, n, 3 wordings)
    threshold = _best_threshold(score[:, chosen_on].ravel(), has[:, chosen_on].ravel())
    score, has = score[:, ~chosen_on], has[:, ~chosen_on]
    answered = score >= threshold
    right = (answered & has).sum()
    precision, recall = right / max(answered.sum(), 1), right / max(has.sum(), 1)
    return Calibration(
        threshold=threshold,
        precision=float(precision),
        recall=float(recall),
        f1=float(2 * precision * recall / max(precision + recall, 1e-12)),
        auc=_auc(score.ravel(), has.ravel()),
        flips=float((answered[..., 1:] != answered[..., :1]).mean()),
        queries=int(score.size),
    )


def _best_threshold(scores: np.ndarray, present: np.ndarray) -> float:
    """Where F1 is highest, halfway between two scores: others will not fall exactly on these."""
    values, of_query = np.unique(-scores, return_inverse=True)  # the highest first; equal scores are answered together
    right = np.bincount(of_query, weights=present).cumsum()
    answered = np.bincount(of_query).cumsum()
    best = int((2 * right / (answered + present.sum())).argmax())
    return float(-values[best : best + 2].mean())


def _auc(scores: np.ndarray, present: np.ndarray) -> float:
    """The chance that a query with its picture scores above one without; a tie is half. NaN without either kind."""
    ranks, positives = stats.rankdata(scores), int(present.sum())
    negatives = len(scores) - positives
    if not positives or not negatives:
        return float("nan")
    return float((ranks[present].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def main(argv: list[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m eval calibrate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--models", nargs="+", required=True, help="folders or Hub ids, e.g. the base and the tuned one"
    )
    queries = parser.add_mutually_exclusive_group(required=True)
    queries.add_argument(
        "--data", type=Path, metavar="DIR", help="folder with FOLDER/*triples_val.jsonl and FOLDER/images"
    )
    queries.add_argument(
        "--triples",
        metavar="NAME",
        help="or, without pictures, a .jsonl or .parquet file, or the folder or Hub id of a data set, of which the "
        "split validation is read: image_id, caption, paraphrase_1, paraphrase_2",
    )
    parser.add_argument(
        "--index",
        metavar="NAME",
        help="with --triples: likewise, all that is searched: image_id, image_embeds (default: the image_embeds of "
        "the triples; but where more is searched, the best of it is nearer)",
    )
    parser.add_argument("--device", help="e.g. cpu, cuda (default: a GPU where there is one)")
    parser.add_argument(
        "--cache_dir", help="where embeddings are kept between runs (default: ~/.cache/huggingface/paraclip)"
    )
    args = parser.parse_args(argv)
    if args.index and not args.triples:
        parser.error("--index: goes with --triples; with --data the pictures are searched.")

    from modeling_paraclip import InputError
    from modeling_paraclip.embedding_cache import DEFAULT_CACHE_DIR
    from modeling_paraclip.errors import one_line
    from modeling_paraclip.terminal import set_up_output

    from .encoders import load_encoder
    from .report import aligned

    set_up_output(sys.stderr)
    try:
        options = {"device": args.device, "cache_dir": args.cache_dir or DEFAULT_CACHE_DIR}
        encoders = [load_encoder(model, **options) for model in args.models]
        sets = _with_pictures(args.data) if args.data else _with_vectors(args.triples, args.index or args.triples)
        for name, rows, image_ids, searched in sets:
            lines = []
            for encoder in encoders:
                found = _calibrated(encoder, rows, image_ids, searched)
                shares = (found.precision, found.recall, found.f1, found.auc, found.flips)
                lines.append([encoder.name, f"{found.threshold:.4f}", *(f"{100 * share:.1f}" for share in shares)])
            print(f"{one_line(name)}: {found.queries:,} queries against half of {len(image_ids):,} pictures")
            print(aligned(list(HEADER), lines), end="\n\n")
    except (InputError, OSError, ValueError) as error:
        sys.exit(f"eval calibrate: {error}")


# name, triples, and what is searched: `image_id`s, and pictures as `Encoder.pictures` takes them or (m, dim) vectors
Queries: TypeAlias = tuple[str, list[dict], list[str], list[dict] | np.ndarray]


def _with_pictures(data_dir: Path) -> Iterator[Queries]:
    from .tasks.paraphrased_retrieval import triples_in

    for name, rows, gallery, _ in triples_in(data_dir):
        yield name, rows, list(gallery), list(gallery.values())


def _with_vectors(triples: str, index: str) -> Iterator[Queries]:
    from modeling_paraclip import TEXT_COLUMNS, InputError

    from .vectors import load_texts, load_vectors

    rows, (image_ids, vectors) = load_texts(triples, ("image_id", *TEXT_COLUMNS)), load_vectors(index)
    missing = {row["image_id"] for row in rows}.difference(image_ids)
    if missing:
        raise InputError(f"{index} lacks {len(missing)} image_id of {triples}, e.g. {min(missing)[:80]}.")
    yield triples, rows, image_ids, vectors


def _calibrated(
    encoder: Encoder, rows: list[dict], image_ids: list[str], searched: list[dict] | np.ndarray
) -> Calibration:
    from modeling_paraclip import TEXT_COLUMNS, InputError

    vectors = encoder.pictures(searched) if isinstance(searched, list) else searched
    place = {image_id: i for i, image_id in enumerate(image_ids)}
    texts = np.stack([encoder.texts([row[column] for row in rows]) for column in TEXT_COLUMNS], axis=1)
    if texts.shape[2] != vectors.shape[1]:
        raise InputError(
            f"{encoder.name} gives vectors of {texts.shape[2]} numbers, but those that are searched have "
            f"{vectors.shape[1]}. Give the model whose image tower made them, or what was tuned from it."
        )
    picture_of_text = np.array([place[row["image_id"]] for row in rows])
    return calibrate(texts, vectors, picture_of_text, [row["caption"] for row in rows])
