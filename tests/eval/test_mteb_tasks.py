"""Our tasks for MTEB give the figures of the suite."""

import datasets
import numpy as np
import pytest

from eval import mteb as command
from tests.eval.samples import WORDS, write_tsv
from tests.eval.test_mteb import measured_by_the_suite, scores_by_mteb

mteb = pytest.importorskip("mteb")
SUITE_AND_MTEB = {"average_overlap@10": "average_overlap_at_10", "jaccard_similarity@10": "jaccard_similarity_at_10"}


def test_paraphrased_retrieval_both_ways(encoder, folder, tmp_path):
    ours = measured_by_the_suite(encoder, "paraphrased_retrieval", folder)
    ((subset, theirs),) = scores_by_mteb(encoder, command.task_named("ParaphrasedImageRetrieval", folder)).items()
    assert subset == "photos-few_triples_val"
    for metric, name in SUITE_AND_MTEB.items():
        x1, x2, x12 = (
            ours[f"photos few_triples_val/{column}", metric]
            for column in ("paraphrase_1", "paraphrase_2", "paraphrase_1+paraphrase_2")
        )
        assert 0 < x1 < 1
        assert theirs[f"{name}_caption_paraphrase_1"] == pytest.approx(x1, abs=1e-12)
        assert theirs[f"{name}_caption_paraphrase_2"] == pytest.approx(x2, abs=1e-12)
        assert theirs[f"{name}_paraphrase_1_paraphrase_2"] == pytest.approx(x12, abs=1e-12)
        assert theirs[name] == pytest.approx((x1 + x2) / 2, abs=1e-12)
    recalls = [ours[f"photos few_triples_val/{column}", "text_to_image_recall@1"]
               for column in ("caption", "paraphrase_1", "paraphrase_2")]  # fmt: skip
    assert theirs["recall_at_1"] == pytest.approx(np.mean(recalls), abs=1e-5)


def test_ties_break_by_place_in_the_corpus():
    from eval.mteb_tasks import ParaphrasedImageRetrieval

    task = ParaphrasedImageRetrieval()
    task.dataset = {"default": {"test": {"corpus": datasets.Dataset.from_dict({"id": [f"{i}" for i in range(11)]})}}}
    tied = {f"{i}": 0.5 for i in range(11)}
    backwards = dict(reversed(tied.items()))
    last = {**tied, "10": 0.9}  # ten of eleven: "10" instead of "9", and first
    queries = {"0/caption": tied, "0/other": backwards, "a/b/caption": tied, "a/b/other": last}
    found = task.task_specific_scores({}, {}, queries, "test", "default")
    expected = (1 + sum((d - 1) / d for d in range(1, 11)) / 10) / 2
    assert found["average_overlap_at_10"] == pytest.approx(expected)
    assert found["jaccard_similarity_at_10"] == pytest.approx((1 + 9 / 11) / 2)
    task.dataset["default"]["test"]["corpus"] = datasets.Dataset.from_dict({"id": ["0"]})
    with pytest.raises(ValueError, match="1 pictures: every wording finds the same 10"):
        task.task_specific_scores({}, {}, queries, "test", "default")


@pytest.mark.parametrize(("name", "metric"), [("Text", "text_accuracy"), ("Image", "image_accuracy")])
def test_sugarcrepe_pp_both_ways(name, metric, encoder, folder, tmp_path):
    captions = [f"{a} {i}" for i, a in enumerate(WORDS * 3)]
    rows = [(f"{i}.png", a, f"{a} there", captions[(i + 4) % 15]) for i, a in enumerate(captions)]
    rows.append(("0.png", "a ring", "the ring", "a ring"))  # a tie by definition
    (tmp_path / "sugarcrepe_pp").mkdir()
    (tmp_path / "sugarcrepe_pp/images").symlink_to(folder / "sugarcrepe_pp/images")
    header = ("image", "caption", "caption2", "negative_caption")
    for kind, part in (("swap_obj", rows[:9]), ("replace_att", rows[9:])):
        write_tsv(tmp_path / f"sugarcrepe_pp/{kind}.tsv", header, part)
    ours = measured_by_the_suite(encoder, "sugarcrepe_pp", tmp_path)
    theirs = scores_by_mteb(encoder, command.task_named(f"SugarCrepePlusPlus{name}", tmp_path))
    assert theirs.keys() == {"swap_obj", "replace_att"}
    for kind, scores in theirs.items():
        assert scores["accuracy"] == pytest.approx(ours[f"SugarCrepe++ {kind}", metric], abs=1e-9)
    assert len({scores["accuracy"] for scores in theirs.values()}) == 2


def test_metadata_and_statistics_are_those_of_a_contribution(folder):
    for name in ("ParaphrasedImageRetrieval", "SugarCrepePlusPlusText", "SugarCrepePlusPlusImage"):
        task = command.task_named(name, folder)
        assert task.metadata.is_filled()
        with pytest.raises(KeyError):
            mteb.get_task(name)
        (subset,), (split,) = task.hf_subsets, task.metadata.eval_splits
        statistics = task._calculate_descriptive_statistics_from_split(split, hf_subset=subset)
        assert statistics["num_samples"] == (16 + 15 if "Retrieval" in name else 5)
