import json

import numpy as np
import pytest
from transformers import AutoProcessor

from eval import report, suite
from modeling_paraclip import load_clip


@pytest.fixture
def measured(tiny_clip, eval_set):
    model = load_clip(tiny_clip)
    return suite.evaluate_model("tiny", model, AutoProcessor.from_pretrained(tiny_clip).tokenizer, {"val": eval_set})


def test_results_file_has_the_documented_form(measured, tmp_path):
    report.write_results(tmp_path / "results.json", measured)
    entries = json.loads((tmp_path / "results.json").read_text())
    assert set(entries[0]) == {"model", "task", "dataset", "metric", "value", "ci95", "n", "seconds"}
    assert all(0 <= entry["ci95"][0] <= entry["value"] <= entry["ci95"][1] <= 1 for entry in entries)
    by = {(entry["dataset"], entry["metric"]): entry for entry in entries}
    assert by["val/paraphrase_2", "average_overlap@10"]["n"] == 24
    assert by["val/caption", "image_to_text_recall@1"]["n"] == 12  # pictures, not rows
    assert ("val/caption", "average_overlap@10") not in by


def test_comparison_is_paired():
    """A small gain on every query is beyond noise even where queries differ much."""
    values = np.random.default_rng(0).uniform(0, 0.9, 200)
    base, tuned = (
        [suite.Measurement(name, "t", "d", "average_overlap@10", v, 0)]
        for name, v in (("base", values), ("tuned", values + 0.01))
    )
    (row,) = report.compare(base, tuned)
    assert row.beyond_noise
    assert row.ci95 == pytest.approx([0.01, 0.01])
    assert "+1.0*" in report.table([row])
    assert "**+1.0**" in report.table([row], markdown=True)
    (same,) = report.compare(base, base)
    assert not same.beyond_noise


def test_a_correlation_is_compared_in_pairs():
    ratings = np.linspace(0, 5, 60)
    noise = np.random.default_rng(0).normal(size=60)
    worse, better = (np.stack([ratings + scale * noise, ratings], axis=1) for scale in (4, 0.5))
    (row,) = report.compare(
        [suite.Measurement("a", "sts", "d", "spearman", worse, 0)],
        [suite.Measurement("b", "sts", "d", "spearman", better, 0)],
    )
    assert row.ci95[0] > 0
    assert row.beyond_noise
    assert row.ci95[0] < row.tuned - row.base < row.ci95[1]
    with pytest.raises(ValueError, match="different pairs"):
        suite.difference_ci95(worse, better[::-1])


def test_card_gets_its_model_index(encoder, folder, tmp_path):
    card = tmp_path / "README.md"
    card.write_text("---\nlicense: mit\n---\n\n# Mine\n")
    measured, _ = suite.evaluate(encoder, ["sts"], folder)
    for _ in range(2):  # a second time changes nothing
        report.add_to_card(card, measured)
        text = card.read_text()
        assert text.endswith("# Mine\n")
        assert "license: mit" in text
        assert text.count("type: spearman") == 1
