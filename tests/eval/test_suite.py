import json

import datasets
import numpy as np
import pytest
from transformers import AutoProcessor

from eval import report, suite
from modeling_paraclip import encode_texts, load_clip


@pytest.fixture
def eval_set():
    rng = np.random.default_rng(0)
    return datasets.Dataset.from_dict(
        {
            "image_id": [f"{i // 2}.png" for i in range(24)],  # two rows a picture
            "caption": [f"a red circle {i}" for i in range(24)],
            "paraphrase_1": [f"circle {i} in red" for i in range(24)],
            "paraphrase_2": [f"the scarlet disc {i}" for i in range(24)],
            "image_embeds": np.repeat(rng.normal(size=(12, 8)), 2, axis=0),
        }
    )


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


def test_gallery_is_the_distinct_pictures_of_all_sets(eval_set):
    other = datasets.Dataset.from_dict({"image_id": ["0.png", "new.png"], "image_embeds": [[9.0] * 8, [2.0] * 8]})
    image_ids, embeds = suite.gallery_of({"val": eval_set, "other": other})
    assert image_ids == [f"{i}.png" for i in range(12)] + ["new.png"]
    np.testing.assert_allclose(np.linalg.norm(embeds, axis=1), 1, rtol=1e-6)


def test_embed_triples_keeps_rows_and_views(tiny_clip, eval_set):
    model = load_clip(tiny_clip)
    tokenizer = AutoProcessor.from_pretrained(tiny_clip).tokenizer
    embeds = suite.embed_triples(model, tokenizer, eval_set)
    assert embeds.shape == (24, 3, 8)
    expected = encode_texts(model, tokenizer, [eval_set[5]["paraphrase_1"]])[0]
    np.testing.assert_allclose(embeds[5, 1], expected, atol=1e-6)


def test_bootstrap_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    intervals = [suite.bootstrap_ci95(rng.normal(size=100)) for _ in range(200)]
    assert 0.90 <= np.mean([low <= 0 <= high for low, high in intervals]) <= 0.985
    assert suite.bootstrap_ci95(np.ones(5)) == [1.0, 1.0]
    assert suite.bootstrap_ci95(np.array([0.5])) == [0.5, 0.5]


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
