import shutil

import numpy as np
import pytest

from eval.statistics import About
from eval.tasks import paraphrased_retrieval as task
from eval.tasks.paraphrased_retrieval import overlaps, paraphrased_retrieval
from tests.eval.samples import replace


def test_paraphrased_retrieval_of_the_same_wording_is_1():
    embeds = np.random.default_rng(0).normal(size=(5, 4))
    assert all((values == 1).all() for values in overlaps(embeds, embeds, embeds, k=3).values())


OVERLAPS = {"average_overlap@10", "jaccard_similarity@10"}


@pytest.fixture
def warned(caplog):
    """The messages about small galleries so far; each is said once per process."""
    task.warn_of_small_gallery.cache_clear()
    task.warn_of_left_out_overlaps.cache_clear()
    return lambda: [record.getMessage() for record in caplog.records if "gallery" in record.getMessage()]


def test_overlaps_have_fixed_names(folder, encoder, warned):
    measured = paraphrased_retrieval(encoder, folder)
    assert {dataset.partition("/")[2] for dataset, _ in measured} == {
        *("caption", "paraphrase_1", "paraphrase_2", "paraphrase_1+paraphrase_2")
    }
    about = measured["photos few_triples_val/caption", "text_to_image_recall@1"].about
    assert (about.source, about.split, about.gallery) == (
        *("photos/few_triples_val.jsonl, photos/captions.jsonl", "val", 16),
    )
    for column in ("paraphrase_1", "paraphrase_2"):
        names = {metric for dataset, metric in measured if dataset.endswith(column) and "recall" not in metric}
        assert names == {*OVERLAPS, "top_result_agreement"}
    (message,) = warned()
    assert "gallery of 16 pictures" in message


def test_overlaps_of_a_gallery_that_every_query_finds_are_left_out(folder, encoder, tmp_path, warned):
    root = tmp_path / "data"
    shutil.copytree(folder / "photos", root / "photos")
    (root / "photos/captions.jsonl").unlink()  # the gallery is the 5 pictures of the triples
    measured = paraphrased_retrieval(encoder, root)
    names = {metric for dataset, metric in measured if dataset.endswith("paraphrase_1")}
    assert "top_result_agreement" in names
    assert "text_to_image_recall@1" in names
    assert not any("overlap" in metric or "jaccard" in metric for _, metric in measured)
    small, left_out = warned()
    assert "gallery of 5 pictures" in small
    assert "left out: the gallery has only 5 pictures" in left_out


@pytest.mark.parametrize(
    ("size", "kept", "warns"), [(10, False, True), (11, True, True), (49, True, True), (50, True, False)]
)
def test_the_bounds_of_a_small_gallery(size, kept, warns, warned):
    embeds = np.random.default_rng(0).normal(size=(size, 4)).astype(np.float32)
    values = task.rewording_values(embeds[:3], embeds[3:6], embeds)
    assert (values.keys() >= OVERLAPS) == kept
    top = (embeds[:3] @ embeds.T).argmax(axis=1) == (embeds[3:6] @ embeds.T).argmax(axis=1)
    assert values["top_result_agreement"].tolist() == top.tolist()
    assert bool(warned()) == warns


def test_retrieval_of_triples_is_its_description():
    rng = np.random.default_rng(0)
    texts, gallery = rng.normal(size=(6, 3, 4)).astype(np.float32), rng.normal(size=(12, 4)).astype(np.float32)
    own = np.array([0, 0, 3, 3, 5, 7])
    found = task.retrieval_of_triples(texts, gallery, own, about=About("x", protocol="p"))
    columns = ("paraphrase_1", "paraphrase_2", "paraphrase_1+paraphrase_2")
    recalls = {f"{way}_recall@{k}" for way in ("text_to_image", "image_to_text") for k in (1, 5, 10)}
    expected = {(column, metric) for column in columns for metric in (*OVERLAPS, "top_result_agreement")}
    assert found.keys() == expected | {(column, m) for column in ("caption", *columns[:2]) for m in recalls}

    def first(view, k):
        return [sorted(range(12), key=lambda j: (-(text @ gallery[j]), j))[:k] for text in texts[:, view]]

    pairs = zip(columns, ((0, 1), (0, 2), (1, 2)))
    for column, (a, b) in pairs:
        same = [
            np.mean([len({*x[:d]} & {*y[:d]}) / d for d in range(1, 11)]) for x, y in zip(first(a, 10), first(b, 10))
        ]
        assert found[column, "average_overlap@10"].values.tolist() == pytest.approx(same)
        union = [len({*x} & {*y}) / len({*x} | {*y}) for x, y in zip(first(a, 10), first(b, 10))]
        assert found[column, "jaccard_similarity@10"].values.tolist() == pytest.approx(union)
    for view, column in enumerate(("caption", *columns[:2])):
        hits = [picture in ranked for picture, ranked in zip(own, first(view, 5))]
        assert found[column, "text_to_image_recall@5"].values.tolist() == hits
    assert found["caption", "text_to_image_recall@1"].statistic.units.tolist() == own.tolist()
    assert found["caption", "image_to_text_recall@1"].statistic.units is None
    assert len(found["caption", "image_to_text_recall@1"].values) == 4
    assert all(scored.about == About("x", protocol="p", gallery=12) for scored in found.values())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(
            replace("photos/few_triples_val.jsonl", b"1.png", b"absent.png"), "e.g. absent.png", id="no such picture"
        ),
        pytest.param(
            replace("photos/few_triples_val.jsonl", b'"caption"', b'"text"'), "no column cap", id="no caption"
        ),
    ],
)
def test_bad_input_is_one_clear_sentence(spoil, message, refused):
    refused("paraphrased_retrieval", spoil, message)
