"""The checks by words on the pairs of pairs.tsv, which are labelled by hand."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from dataset_builder.filters import Limits, Rejected, check_paraphrase
from dataset_builder.wording import digits_differ

with open(Path(__file__).parent / "pairs.tsv", encoding="utf-8", newline="") as file:
    PAIRS = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def is_kept(pair):
    try:
        check_paraphrase(pair["paraphrase"], pair["caption"], Limits())
    except Rejected:
        return False
    return True


def test_both_errors_on_the_pairs():
    """The filters were written with one half in view. The other was read once, and has one lost pair."""
    kept = Counter((pair["half"], pair["label"], is_kept(pair)) for pair in PAIRS)
    for half in ("tuned", "held out"):
        assert kept[half, "false", True] <= 0.25 * (kept[half, "false", True] + kept[half, "false", False])
    lost = kept["tuned", "true", False] + kept["held out", "true", False]
    assert lost <= 0.02 * sum(pair["label"] == "true" for pair in PAIRS)


def test_the_pairs_are_enough_and_half_of_them_true():
    labels = Counter(pair["label"] for pair in PAIRS)
    assert len(PAIRS) >= 150
    assert abs(labels["true"] - labels["false"]) <= 0.1 * len(PAIRS)
    assert sum(pair["half"] == "held out" for pair in PAIRS) >= 0.35 * len(PAIRS)
    assert len({(pair["caption"], pair["paraphrase"]) for pair in PAIRS}) == len(PAIRS)


def test_other_languages_are_compared_by_digits_only():
    check_paraphrase("ein Hund ohne Leine läuft am Strand", "am Strand rennt ein Hund umher", Limits())
    with pytest.raises(Rejected, match="numbers"):
        check_paraphrase("3 Hunde laufen am Strand", "am Strand rennen 2 Hunde umher", Limits())
    assert digits_differ("2 cani", "3 cani")
    assert not digits_differ("2 cani e 3 gatti", "3 gatti e 2 cani")
