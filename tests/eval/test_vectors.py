import datasets
import numpy as np
import pytest

from eval.vectors import load_texts, load_vectors
from modeling_paraclip import InputError


def write(path, **columns):
    datasets.Dataset.from_dict(columns).to_parquet(path)
    return str(path)


def test_vectors_are_normalised_and_each_picture_is_there_once(tmp_path):
    source = write(tmp_path / "x.parquet", image_id=[7, 8, 7], image_embeds=[[3.0, 4.0], [0.0, 2.0], [3.0, 4.0]])
    image_ids, vectors = load_vectors(source)
    assert image_ids == ["7", "8"]
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, [[0.6, 0.8], [0, 1]], rtol=1e-6)


def test_texts_are_read_without_the_pictures_beside_them(tmp_path):
    source = write(tmp_path / "x.parquet", image_id=["a"], caption=["a dog"], image=[b"no picture"])
    assert load_texts(source, ("image_id", "caption")) == [{"image_id": "a", "caption": "a dog"}]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image_id": ["a", "b"], "image_embeds": [[1.0, 0.0], [1.0]]}, "all of one length"),
        ({"image_id": ["a", "b"], "image_embeds": [[1.0, 0.0], None]}, "all of one length"),
        ({"image_id": ["a"], "image_embeds": ["no list"]}, "all of one length"),
        ({"image_id": ["a", "b"], "image_embeds": [[1.0, 0.0], [0.0, 0.0]]}, "the vector of b is all zeros"),
        ({"image_id": ["a", "b"], "image_embeds": [[float("nan"), 0.0], [1.0, 0.0]]}, "the vector of a is"),
        ({"image_id": ["a"], "vector": [[1.0]]}, "no column image_embeds; found are image_id, vector"),
    ],
)
def test_vectors_that_cannot_be_compared_are_refused(columns, message, tmp_path):
    with pytest.raises(InputError, match=rf"x\.parquet: .*{message}"):
        load_vectors(write(tmp_path / "x.parquet", **columns))


def test_what_is_no_data_or_no_text_is_refused(tmp_path):
    source = write(tmp_path / "x.parquet", image_id=["a", "b"], caption=["a dog", None])
    with pytest.raises(InputError, match="row 2: caption is empty"):
        load_texts(source, ("image_id", "caption"))
    (tmp_path / "x.jsonl").write_text("no JSON\n")
    for name in ("x.jsonl", "absent.parquet", "absent"):
        with pytest.raises(InputError, match=f"{name} cannot be read: "):
            load_vectors(str(tmp_path / name))
