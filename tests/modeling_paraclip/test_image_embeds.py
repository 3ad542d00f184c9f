import logging

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPModel

from modeling_paraclip import InputError, add_base_caption_embeds, add_image_embeds, encode_texts


def dataset_of(paths):
    rows = {"image_id": [path.name for path in paths], "image": [str(path) for path in paths]}
    return datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())


class Counting:
    """Counts the pictures that go through the tower."""

    def __init__(self, model):
        self.seen = 0
        model.vision_model.register_forward_hook(lambda module, inputs, output: self.count(output))

    def count(self, output):
        self.seen += len(output.pooler_output)


def test_embeds_are_the_towers_own(model, image_processor, pictures, tmp_path, tiny_clip):
    dataset = add_image_embeds(dataset_of(pictures), model, image_processor, cache_dir=tmp_path / "cache")
    assert "image" not in dataset.column_names
    assert dataset.features["image_embeds"] == datasets.List(datasets.Value("float16"), length=8)
    pixels = image_processor([Image.open(path) for path in pictures], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        expected = CLIPModel.from_pretrained(tiny_clip).get_image_features(pixels).pooler_output
    expected = torch.nn.functional.normalize(expected, dim=-1).numpy()
    np.testing.assert_allclose(np.array(dataset["image_embeds"], dtype=np.float32), expected, atol=1e-3)


def test_each_picture_is_embedded_once(model, image_processor, pictures, tmp_path):
    counting = Counting(model)
    repeated = dataset_of([*pictures, pictures[0], pictures[2]])
    first = add_image_embeds(repeated, model, image_processor, cache_dir=tmp_path / "cache", batch_size=2)
    assert counting.seen == 3
    assert first[0]["image_embeds"] == first[3]["image_embeds"]
    again = add_image_embeds(repeated, model, image_processor, cache_dir=tmp_path / "cache")
    assert counting.seen == 3
    assert again["image_embeds"][:] == first["image_embeds"][:]


def test_changed_picture_is_embedded_anew(model, image_processor, pictures, tmp_path):
    before = add_image_embeds(dataset_of(pictures), model, image_processor, cache_dir=tmp_path / "cache")
    Image.new("RGB", (40, 50), "red").save(pictures[1])
    after = add_image_embeds(dataset_of(pictures), model, image_processor, cache_dir=tmp_path / "cache")
    same = [a == b for a, b in zip(before["image_embeds"], after["image_embeds"])]
    assert same == [True, False, True]


def test_corpus_with_image_embeds_needs_no_pictures(model, image_processor, tmp_path):
    dataset = datasets.Dataset.from_dict({"image_id": ["a"], "image_embeds": [[1.0] * 8]})
    assert add_image_embeds(dataset, model, image_processor, cache_dir=tmp_path) is not None
    assert not list(tmp_path.iterdir())
    other = datasets.Dataset.from_dict({"image_id": ["a"], "image_embeds": [[0.0] * 512]})
    with pytest.raises(ValueError, match="a vector of 512 numbers in row 1, but the model projects to 8"):
        add_image_embeds(other, model, image_processor)


BREAK = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-800]),
    "no picture": lambda path: path.write_text("hello"),
    "empty": lambda path: path.write_bytes(b""),
    "missing": lambda path: path.unlink(),
    "bomb": lambda path: Image.new("1", (10_000, 10_000)).save(path),
}


def test_workers_give_the_same_as_none(model, image_processor, pictures, tmp_path):
    embeds = [
        add_image_embeds(
            dataset_of([*pictures, pictures[0]]), model, image_processor, cache_dir=tmp_path / str(n), num_workers=n
        )["image_embeds"][:]
        for n in (0, 2)
    ]
    assert embeds[0] == embeds[1]


@pytest.mark.parametrize("how", BREAK)
def test_bad_picture_is_named_or_skipped(how, model, image_processor, pictures, tmp_path, caplog):
    BREAK[how](pictures[1])
    dataset = dataset_of([*pictures, pictures[1]])
    with pytest.raises(ValueError, match=r"b\.png.*--skip_bad_images"):
        add_image_embeds(dataset, model, image_processor, cache_dir=tmp_path / "cache")
    with caplog.at_level(logging.WARNING):
        kept = add_image_embeds(dataset, model, image_processor, cache_dir=tmp_path / "cache", skip_bad_images=True)
    assert kept["image_id"][:] == ["a.png", "c.png"]
    assert "b.png" in caplog.text
    assert "1 bad pictures, 2 rows left out" in caplog.text


def test_bfloat16_is_near_and_kept_apart(model, image_processor, pictures, tmp_path):
    embeds = [
        np.array(
            add_image_embeds(dataset_of(pictures), model, image_processor, cache_dir=tmp_path, bf16=bf16)[
                "image_embeds"
            ],
            np.float32,
        )
        for bf16 in (False, True)
    ]
    assert ((embeds[0] * embeds[1]).sum(axis=1) > 0.999).all()
    assert not np.array_equal(*embeds)
    assert len(list(tmp_path.glob("image_embeds-*.sqlite"))) == 2


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        ([1.0] * 7, "a vector of 7 numbers in row 3"),
        (None, "a vector of 0 numbers in row 3"),
        ([1.0, float("nan")] * 4, "image_embeds of row 3 is all zeros, or not all finite"),
        ([0.0] * 8, "image_embeds of row 3 is all zeros"),
        ([1.0] * 7 + [None], "image_embeds of row 3"),
    ],
)
def test_a_vector_that_cannot_be_trained_on_is_named_by_its_row(vector, message, model, image_processor):
    good = [1.0] * 8
    dataset = datasets.Dataset.from_dict({"image_id": list("abcd"), "image_embeds": [good, good, vector, good]})
    with pytest.raises(InputError, match=message):
        add_image_embeds(dataset, model, image_processor)


def test_a_model_whose_vectors_are_zero_is_named(model, image_processor, pictures, tmp_path, tiny_clip):
    torch.nn.init.zeros_(model.visual_projection.weight)
    with pytest.raises(InputError, match=rf"{tiny_clip}'s vector of .*a\.png' is zero"):
        add_image_embeds(dataset_of(pictures), model, image_processor, cache_dir=tmp_path)


def test_base_caption_embeds_are_the_bases_and_kept(model, tokenizer, tmp_path, monkeypatch):
    texts = ["a red circle", "two stars", "a red circle"]
    dataset = datasets.Dataset.from_dict({"caption": texts})
    found = add_base_caption_embeds(dataset, model, tokenizer, cache_dir=tmp_path)
    expected = encode_texts(model, tokenizer, texts).numpy()
    np.testing.assert_allclose(np.array(found["base_caption_embeds"], np.float32), expected, atol=1e-3)
    monkeypatch.setattr("modeling_paraclip.image_embeds.encode_texts", lambda *args: pytest.fail("encoded again"))
    again = add_base_caption_embeds(dataset, model, tokenizer, cache_dir=tmp_path)
    assert again["base_caption_embeds"][:] == found["base_caption_embeds"][:]


def test_pictures_inside_the_data_set_are_embedded_from_their_bytes(model, image_processor, pictures, tmp_path):
    by_path = dataset_of(pictures)
    rows = [{"image_id": path.name, "image": {"bytes": path.read_bytes(), "path": None}} for path in pictures]
    by_bytes = datasets.Dataset.from_list(rows).cast_column("image", datasets.Image())
    found = [
        add_image_embeds(dataset, model, image_processor, cache_dir=tmp_path / name)["image_embeds"][:]
        for name, dataset in (("paths", by_path), ("bytes", by_bytes))
    ]
    assert found[0] == found[1]
