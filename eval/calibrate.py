"""When is "nothing found" the better answer? A threshold on the similarity of the best picture, and its worth.

    python -m eval calibrate --models BASE TUNED --data DIR

Protocol. A search always returns its nearest pictures, also for a wish that no picture shows. Here the pictures of a
set of triples are divided in two halves, and each half is an index once: queries whose picture is in it should find
something, and the others nothing. A query is answered if the similarity of its best picture is at or above the
threshold. The threshold with the best F1 is chosen on the queries of every other picture. On the rest are measured:
precision (of the answered queries, how many have their picture in the index), recall (of those that have, how many are
answered), AUC (which needs no threshold) and `flips`: the share of pairs of wordings of one wish, x with x' and x with
x'', of which one is answered and the other is not.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from .ranking import best_scores

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


def calibrate(text_embeds: np.ndarray, gallery_embeds: np.ndarray, picture_of_text: np.ndarray) -> Calibration:
    """See the top of this file.

    Args:
        text_embeds: (n, 3, dim) of x, x', x'', L2-normalised.
        gallery_embeds: (m, dim), L2-normalised.
        picture_of_text: (n,) indices into `gallery_embeds`.

    Raises:
        ValueError: fewer than 4 pictures have queries; there would be nothing to choose on, or to measure on.
    """
    asked = np.unique(picture_of_text)
    if len(asked) < 4:
        raise ValueError(f"a threshold needs queries of at least 4 pictures, here are {len(asked)}")
    order = np.random.default_rng(0).permutation(len(gallery_embeds))  # neighbours in a file may be alike
    half = np.empty(len(gallery_embeds), int)
    half[order] = np.arange(len(order)) % 2
    chosen_on = np.isin(picture_of_text, asked[::2])
    scores, present = [], []
    for index in (0, 1):
        best = best_scores(text_embeds.reshape(-1, text_embeds.shape[-1]), gallery_embeds[half == index])
        scores.append(best.reshape(len(text_embeds), -1))
        present.append(np.repeat((half[picture_of_text] == index)[:, None], text_embeds.shape[1], axis=1))
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
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder with FOLDER/*triples_val.jsonl and FOLDER/images",
    )
    parser.add_argument("--device", help="e.g. cpu, cuda (default: a GPU where there is one)")
    args = parser.parse_args(argv)

    from modeling_paraclip import InputError
    from modeling_paraclip.errors import one_line
    from modeling_paraclip.terminal import set_up_output

    from .encoders import load_encoder
    from .report import aligned
    from .tasks.paraphrased_retrieval import TEXT_COLUMNS, triples_in

    set_up_output(sys.stderr)
    try:
        encoders = [load_encoder(model, device=args.device) for model in args.models]
        for name, rows, gallery, _ in triples_in(args.data):
            place = {image_id: i for i, image_id in enumerate(gallery)}
            picture_of_text = np.array([place[row["image_id"]] for row in rows])
            lines = []
            for encoder in encoders:
                texts = np.stack([encoder.texts([row[column] for row in rows]) for column in TEXT_COLUMNS], axis=1)
                found = calibrate(texts, encoder.pictures(list(gallery.values())), picture_of_text)
                shares = (found.precision, found.recall, found.f1, found.auc, found.flips)
                lines.append([encoder.name, f"{found.threshold:.4f}", *(f"{100 * share:.1f}" for share in shares)])
            print(f"{one_line(name)}: {found.queries:,} queries against half of {len(gallery):,} pictures")
            print(aligned(list(HEADER), lines), end="\n\n")
    except (InputError, OSError, ValueError) as error:
        sys.exit(f"eval calibrate: {error}")
