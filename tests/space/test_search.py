"""Rankings, overlaps and what users bring, without a page."""

import base64
import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import search
from PIL import Image

from modeling_paraclip.errors import InputError


# ------------------------------------------------------------------------------------------------------------ rankings
def test_links_are_the_places_of_the_same_pictures():
    assert search.links([5, 3, 9], [9, 5, 1]) == [(0, 1), (2, 0)]
    assert search.links([1, 2], [3, 4]) == []


def test_overlaps_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    ranked = np.array([rng.permutation(14)[:10] for _ in range(4)])
    found = search.found_in("x", ranked, 14)
    expected = [np.mean([len(set(ranked[0][:d]) & set(row[:d])) / d for d in range(1, 11)]) for row in ranked[1:]]
    np.testing.assert_allclose(found.overlaps, expected)
    assert found.overlap == pytest.approx(np.mean(expected))


@pytest.mark.parametrize(("wordings", "size"), [(1, 500), (3, 10)])
def test_no_overlap_without_rewording_or_where_every_wording_finds_everything(wordings, size):
    found = search.found_in("x", np.tile(np.arange(10), (wordings, 1)), size)
    assert found.overlap is None and len(found.overlaps) == 0


def test_wordings():
    assert search.wordings_of(" a cat ", "", "  ", "a kitty\n") == ["a cat", "a kitty"]
    for wish in ("", "   ", "x" * 501, "\ud800"):
        with pytest.raises(InputError):
            search.wordings_of(wish, "a cat")


def test_a_gallery_is_ranked_by_cosine(base, drawn):
    wordings = ["a red circle above a blue star", "a scarlet disc over an azure pentacle"]
    found = search.find(base, drawn, wordings)
    scores = base.towers.embed_texts(wordings, "") @ drawn.embeds[base.towers.image_key].T
    np.testing.assert_array_equal(found.ranked, np.argsort(-scores, axis=1, kind="stable")[:, :10])
    assert len(drawn.ids) == len(drawn.thumbnails) == 40


def test_models_with_one_image_tower_embed_a_picture_once(base):
    embedded = []
    towers = SimpleNamespace(
        image_key="same",
        preprocess=base.towers.preprocess,
        embed_images=lambda pixels: embedded.append(len(pixels)) or base.towers.embed_images(pixels),
    )
    pictures = [("a", Image.new("RGB", (20, 20)))] * (search.BATCH + 1)
    gallery = search.embedded("x", pictures, [search.Model("a", towers), search.Model("b", towers)])
    assert embedded == [search.BATCH, 1]
    assert gallery.embeds["same"].shape == (search.BATCH + 1, 128)


def test_a_model_that_is_no_dual_encoder_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="no dual encoder"):
        search.Model.open("x", tmp_path)


# ------------------------------------------------------------------------------------------------------------ pictures
def save(folder, name, picture=None, **kwargs):
    (picture or Image.new("RGB", (30, 20), "red")).save(folder / name, **kwargs)
    return str(folder / name)


def test_bad_pictures_are_named_and_left_out(base, tmp_path):
    good = save(tmp_path, "good.png")
    (tmp_path / "notes.txt").write_text("hello")
    gallery, problems = search.uploaded_pictures(
        [good, str(tmp_path / "notes.txt"), str(tmp_path / "gone.png")], [base]
    )
    assert gallery.ids == ["good.png"]
    assert [problem.split(":")[0] for problem in problems] == ["notes.txt", "gone.png"]
    assert str(tmp_path) not in " ".join(problems)


@pytest.mark.parametrize("name", ["x.eps", "x.pdf", "x.ico"])
def test_formats_outside_of_the_list_are_refused(base, tmp_path, name):
    with pytest.raises(InputError, match="None of the 1 files"):
        search.uploaded_pictures([save(tmp_path, name)], [base])


def test_too_many_pictures(base):
    with pytest.raises(InputError, match="more than 1,000"):
        search.uploaded_pictures(["x.png"] * 1001, [base])


def test_thumbnails_are_small_and_say_nothing_but_pixels():
    picture = Image.effect_noise((2000, 1000), 50).convert("RGB")
    picture.info["exif"] = picture.info["comment"] = b"a secret"
    uri = search.thumbnail(picture)
    data = io.BytesIO(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,")))
    assert Image.open(data).size == (144, 72) and b"secret" not in data.getvalue()
    assert picture.size == (2000, 1000)


# ------------------------------------------------------------------------------------------------------------- indices
IDS = ["a", "b", "c"]
VECTORS = np.eye(3, 128, dtype=np.float16) * 5


def write(path, columns):
    if path.suffix == ".npz":
        np.savez(path, **columns)
    else:
        pq.write_table(pa.table({name: list(values) for name, values in columns.items()}), path)
    return str(path)


@pytest.mark.parametrize("kind", ["npz", "parquet"])
@pytest.mark.parametrize("column", ["ids", "image_id"])
def test_an_index(base, tmp_path, kind, column):
    file = write(tmp_path / f"index.{kind}", {column: np.array(IDS), "image_embeds": VECTORS})
    gallery = search.uploaded_index(file, [base])
    assert gallery.ids == IDS and gallery.thumbnails is None
    np.testing.assert_allclose(gallery.embeds[base.towers.image_key], np.eye(3, 128))
    assert search.find(base, gallery, ["a wish"]).ranked.shape == (1, 3)


@pytest.mark.parametrize("kind", ["npz", "parquet"])
@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"ids": np.array(IDS)}, "found are ids"),
        ({"image_embeds": VECTORS}, "found are image_embeds"),
        ({"ids": np.array(IDS), "image_embeds": VECTORS * np.nan}, "finite"),
        ({"ids": np.array(IDS), "image_embeds": VECTORS * 0}, "zeros"),
        ({"ids": np.array([]), "image_embeds": VECTORS[:0]}, "index"),
        ({"ids": np.array(IDS), "image_embeds": np.array(IDS)}, "cannot be read"),
    ],
)
def test_a_bad_index_is_one_sentence(base, tmp_path, kind, columns, said):
    file = write(tmp_path / f"index.{kind}", columns)
    with pytest.raises(InputError, match=said) as error:
        search.uploaded_index(file, [base])
    assert "\n" not in str(error.value) and str(tmp_path) not in str(error.value)


def test_an_index_that_does_not_belong_together(base, tmp_path):
    file = write(tmp_path / "x.npz", {"ids": np.array(IDS[:2]), "image_embeds": VECTORS})
    with pytest.raises(InputError, match="do not belong together"):
        search.uploaded_index(file, [base])
    pq.write_table(pa.table({"ids": ["a", "b"], "image_embeds": [[1.0], [1.0, 2.0]]}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match="differ in length"):
        search.uploaded_index(str(tmp_path / "x.parquet"), [base])


def test_an_index_of_another_model(base, tmp_path):
    gallery = search.uploaded_index(write(tmp_path / "x.npz", {"ids": IDS, "image_embeds": VECTORS[:, :64]}), [base])
    with pytest.raises(InputError, match="64 numbers, those of Base 128"):
        search.find(base, gallery, ["a wish"])


@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_an_index_that_is_too_large_is_refused_unread(base, tmp_path, kind, monkeypatch):
    file = write(tmp_path / f"x.{kind}", {"ids": np.array(IDS), "image_embeds": VECTORS})
    monkeypatch.setattr(search, "MAX_NUMBERS", 300)
    with pytest.raises(InputError, match="more than 300 numbers"):
        search.uploaded_index(file, [base])


@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_broken_bytes_are_one_sentence(base, tmp_path, kind):
    whole = Path(write(tmp_path / f"x.{kind}", {"ids": np.array(IDS), "image_embeds": VECTORS})).read_bytes()
    for data in (b"", b"hello", whole[: len(whole) // 2], whole[:50] + b"\xff" * 60 + whole[110:]):
        (tmp_path / f"y.{kind}").write_bytes(data)
        with pytest.raises(InputError):
            search.uploaded_index(str(tmp_path / f"y.{kind}"), [base])


def test_an_index_with_objects_runs_nothing(base, tmp_path):
    class Trap:
        def __reduce__(self):
            return open, (str(tmp_path / "opened"), "w")

    np.savez(tmp_path / "x.npz", ids=np.array([Trap()], dtype=object), image_embeds=VECTORS[:1])
    (tmp_path / "opened").unlink(missing_ok=True)
    with pytest.raises(InputError, match="cannot be read"):
        search.uploaded_index(str(tmp_path / "x.npz"), [base])
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize("name", ["x.pkl", "x.npy", "x"])
def test_other_files_are_no_index(base, tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match="is no index"):
        search.uploaded_index(str(tmp_path / name), [base])


# -------------------------------------------------------------------------------------------------------- what changed
def entry(model, value, metric="average_overlap@10"):
    return {"model": model, "dataset": "x'", "metric": metric, "value": value}


def test_results(tmp_path):
    assert search.results_of(tmp_path) == []
    rows = [entry("base", 0.4), entry("base", 0.1, "R@1"), entry("tuned", 0.6)]
    (tmp_path / "results.json").write_text(json.dumps(rows))
    assert search.changes(search.results_of(tmp_path)) == [("x'", "average_overlap@10", 0.4, 0.6)]
    assert search.changes(rows[:2]) == []


@pytest.mark.parametrize(
    "text", ["{", "{}", "[1]", '[{"model": "a", "dataset": 1, "metric": "m", "value": 0}]', "[[]]"]
)
def test_broken_results_are_one_sentence(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(InputError, match=r"results\.json"):
        search.results_of(tmp_path)
