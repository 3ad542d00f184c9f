import json

import pytest

from experiments import render
from experiments.render import beyond_noise, over_seeds, part, write_page
from experiments.run import ROOT

CONFIG = {
    "question": "What does it do?",
    "bases": {"small": {}, "large": {}},
    "variants": {"full": {}, "none": {}},
    "rows": {"overlap": [["val/x", "average_overlap@10"]], "STS, mean": [["STS12", "rho"], ["STS13", "rho"]]},
}


def one(seed, overlap, low, high, variant="full"):
    figures = [
        {"dataset": "val/x", "metric": "average_overlap@10", "base": 0.2, "tuned": overlap, "ci95": [low, high]},
        {"dataset": "STS12", "metric": "rho", "base": 0.3, "tuned": 0.5, "ci95": [0.1, 0.3]},
        {"dataset": "STS13", "metric": "rho", "base": 0.5, "tuned": 0.4, "ci95": [-0.2, 0.0]},
    ]
    return {"base": "small", "variant": variant, "seed": seed, "figures": figures}


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Of two seeds."""
    runs = [one(0, 0.4, 0.1, 0.3), one(1, 0.5, 0.2, 0.4), one(0, 0.2, -0.1, 0.1, "none")]
    (tmp_path / "small.json").write_text(json.dumps({"config": CONFIG, "runs": runs}))
    monkeypatch.setattr(render, "RESULTS", tmp_path)
    return runs


def test_the_table_is_worked_out_by_hand(results):
    text = part("small")
    # differences 20 and 30 points: mean 25, Student's t of one degree 12.706 times 5
    assert "| overlap | 20.0 | 45.0 (+25.0 ± 63.5) | 20.0 (+0.0) |" in text
    # +20 and -10, the same with both seeds
    assert "| STS, mean | 40.0 | 45.0 (**+5.0**) | 45.0 (+5.0) |" in text
    assert "| small | base | full (2) | none (1) |" in text and "large" not in text


def test_many_variants_have_rows(results, monkeypatch):
    monkeypatch.setattr(render, "COLUMNS", 1)
    assert part("small").splitlines()[2:6] == [
        "| small | overlap | STS, mean |",
        "| --- | ---: | ---: |",
        "| base | 20.0 | 40.0 |",
        "| full (2) | 45.0 (+25.0 ± 63.5) | 45.0 (**+5.0**) |",
    ]


def test_beyond_noise_is_of_seeds_and_of_queries():
    assert over_seeds([0.1]) is None
    close = [one(0, 0.40, 0.1, 0.3), one(1, 0.41, 0.1, 0.3)]
    assert beyond_noise(CONFIG, "overlap", close)
    assert not beyond_noise(CONFIG, "overlap", [close[0], one(1, 0.41, -0.1, 0.5)])  # one run's queries
    assert not beyond_noise(CONFIG, "overlap", [one(0, 0.40, 0.1, 0.3), one(1, 0.21, 0.001, 0.3)])  # the seeds
    assert not beyond_noise(CONFIG, "STS, mean", close[:1])  # of one seed nothing is known


def test_only_what_is_between_the_comments_changes(results, tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- experiment: small -->\nold\n<!-- end of experiment -->\nafter\n")
    monkeypatch.setattr(render, "PAGE", page)
    write_page()
    assert page.read_text().startswith("before\n<!-- experiment: small -->\nWhat does it do?\n")
    assert page.read_text().endswith("<!-- end of experiment -->\nafter\n") and "old" not in page.read_text()


def test_a_plot_has_a_point_for_each_variant(results, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    config = {**CONFIG, "plot": {"x": "overlap", "y": "STS, mean", "says": "gain against loss"}}
    (tmp_path / "small.json").write_text(json.dumps({"config": config, "runs": results}))
    (tmp_path / "results.md").write_text("<!-- experiment: small -->\n<!-- end of experiment -->\n")
    monkeypatch.setattr(render, "PAGE", tmp_path / "results.md")
    write_page()
    assert "![gain against loss](small.png)" in (tmp_path / "results.md").read_text()
    assert (tmp_path / "small.png").stat().st_size > 1000


def test_the_page_shows_the_results_that_are_here():
    """`python -m experiments render` was run after the last change of the results."""
    text = (ROOT / "docs" / "results.md").read_text()
    shown = [found[2] for found in render.PLACE.finditer(text)]
    assert shown == sorted(set(shown), key=shown.index)
    for found in render.PLACE.finditer(text):
        table = [line for line in part(found[2]).splitlines() if line.startswith("|")]
        assert table == [line for line in found[0].splitlines() if line.startswith("|")]
