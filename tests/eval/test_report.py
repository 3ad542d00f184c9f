import json

import numpy as np
import pytest
from transformers import AutoProcessor

from eval import report, suite
from eval.statistics import MEAN, Scored, Spearman
from modeling_paraclip import load_clip


@pytest.fixture
def measured(tiny_clip, eval_set):
    model = load_clip(tiny_clip)
    return suite.evaluate_model("tiny", model, AutoProcessor.from_pretrained(tiny_clip).tokenizer, {"val": eval_set})


def test_results_file_has_the_documented_form(measured, tmp_path):
    report.write_results(tmp_path / "results.json", measured)
    entries = json.loads((tmp_path / "results.json").read_text())
    assert {"model", "task", "dataset", "metric", "value", "ci95", "n", "seconds"} <= set(entries[0])
    assert {"source", "gallery", "versions", "date"} <= set(entries[0])
    assert all(0 <= entry["ci95"][0] <= entry["value"] <= entry["ci95"][1] <= 1 for entry in entries)
    by = {(entry["dataset"], entry["metric"]): entry for entry in entries}
    assert by["val/paraphrase_2", "average_overlap@10"]["n"] == 24
    assert by["val/caption", "image_to_text_recall@1"]["n"] == 12  # pictures, not rows
    assert ("val/caption", "average_overlap@10") not in by


def scored(model, values, statistic=MEAN):
    return suite.Measurement(model, "t", "d", "metric", Scored(values, statistic))


def test_what_is_beyond_noise_is_marked_and_more_so_among_many():
    rng = np.random.default_rng(0)
    base, noise = rng.uniform(0, 0.9, 200), rng.normal(0, 0.1, 200)
    noise -= noise.mean()
    clear, weak = ((scored("base", base), scored("tuned", base + noise + gain)) for gain in (0.05, 0.016))
    alone, *rows = report.compare([weak])[0], *report.compare([clear] + [weak] * 9)
    assert (alone.survives, [row.survives for row in rows]) == (True, [True] + [False] * 9)
    assert all(row.difference.beyond_noise for row in rows)
    assert "+5.0 **" in report.table(rows)
    assert "+1.6 *" in report.table(rows)
    assert "all 10 comparisons" in report.table(rows)
    assert "**+5.0**" in report.table(rows, markdown=True)
    assert "| *+1.6* |" in report.table(rows, markdown=True)
    (same,) = report.compare([(scored("base", base), scored("tuned", base))])
    assert "+0.0*" not in report.table([same]).replace(" ", "")


def test_an_undefined_figure_is_said_and_is_null_in_the_results(tmp_path):
    ratings = Spearman(np.arange(4.0))
    good, flat = scored("a", np.array([0.1, 0.3, 0.2, 0.4]), ratings), scored("b", np.ones(4), ratings)
    assert report.side_by_side([[good], [flat]]).count("undefined") == 2  # the figure and the difference
    report.write_results(tmp_path / "results.json", [flat])
    (entry,) = json.loads((tmp_path / "results.json").read_text())
    assert (entry["value"], entry["ci95"]) == (None, [None, None])
