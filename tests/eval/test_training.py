"""What train.py measures, and what it says before it trains."""

from types import SimpleNamespace

import datasets
import numpy as np
import pytest
from transformers import AutoProcessor, EvalPrediction

from eval import suite
from eval.statistics import Scored
from eval.training import Evaluation, check_best_metric, retrieval_metric_names, retrieval_metrics
from modeling_paraclip import InputError, load_clip


def triples(n, seed=0):
    return datasets.Dataset.from_dict(
        {
            "image_id": [f"{i}.png" for i in range(n)],
            "caption": [f"a red circle {i}" for i in range(n)],
            "paraphrase_1": [f"circle {i} in red" for i in range(n)],
            "paraphrase_2": [f"the scarlet disc {i}" for i in range(n)],
            "image_embeds": np.random.default_rng(seed).normal(size=(n, 8)).tolist(),
        }
    )


@pytest.mark.parametrize("n", [4, 12])
def test_metrics_of_rewordings_have_names_that_are_known_before(n):
    text_embeds = np.random.default_rng(1).normal(size=(n, 3, 8)).astype(np.float32)
    found = retrieval_metrics(triples(n))(EvalPrediction(text_embeds, None))
    assert list(found) == retrieval_metric_names(n)
    assert ("average_overlap@10" in found) == (n > 10)
    assert all(0 <= value <= 1 for value in found.values())


def test_a_best_metric_that_no_evaluation_gives_is_refused_before_training():
    arguments = {"load_best_model_at_end": True, "metric_for_best_model": "average_overlap@10"}
    arguments["eval_strategy"] = "epoch"
    check_best_metric(SimpleNamespace(**arguments), triples(12), [])
    with pytest.raises(InputError, match=r"average_overlap@10: there is no such figure .*more than 10 pictures"):
        check_best_metric(SimpleNamespace(**arguments), triples(4), [])
    check_best_metric(SimpleNamespace(**{**arguments, "metric_for_best_model": "eval_loss"}), triples(4), [])
    of_a_task = suite.Measurement("base", "sts", "STS B", "spearman", Scored(np.ones(3)))
    check_best_metric(
        SimpleNamespace(**{**arguments, "metric_for_best_model": "STS_B_spearman"}), triples(4), [of_a_task]
    )
    check_best_metric(SimpleNamespace(**{**arguments, "eval_strategy": "no"}), triples(4), [])


def test_sets_and_tasks_are_measured_together(tiny_clip, tmp_path):
    (tmp_path / "sts").mkdir()
    rows = ["score\tsentence1\tsentence2", "5\ta red circle\tred circle", "1\ta star\ttwo moons", "3\ta ring\ta disc"]
    (tmp_path / "sts" / "STSB-test.tsv").write_text("\n".join(rows) + "\n")
    processor = AutoProcessor.from_pretrained(tiny_clip)
    evaluation = Evaluation({"val": triples(12)}, processor, ["sts"], str(tmp_path), str(tmp_path / "cache"))
    measured = evaluation.measure("tiny", load_clip(tiny_clip))
    assert {m.model for m in measured} == {"tiny"}
    wordings = ("caption", "paraphrase_1", "paraphrase_2", "paraphrase_1+paraphrase_2")
    assert {m.dataset for m in measured} == {*(f"val/{wording}" for wording in wordings), "STS-B"}
    assert len(evaluation.gallery[0]) == 12
    only_sets = Evaluation({"val": triples(12)}, processor, [], None, "")
    assert [m.value for m in only_sets.measure("tiny", load_clip(tiny_clip))] == [
        m.value for m in measured if m.task != "sts"
    ]
    assert isinstance(measured[0], suite.Measurement)
