import logging
import sys

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, CLIPModel

from modeling_paraclip import add_image_embeds, load_clip
from modeling_paraclip.image_embeds import tower_key


@pytest.fixture
def model(tiny_clip):
    return load_clip(tiny_clip)


@pytest.fixture
def image_processor(tiny_clip):
    return AutoProcessor.from_pretrained(tiny_clip).image_processor


@pytest.fixture
def pictures(tmp_path):
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    for i, path in enumerate(paths):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (50, 40, 3), dtype=np.uint8)).save(path)
    return paths


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


def test_key_changes_with_weights_config_and_processor_but_not_with_text(model, image_processor, tiny_clip):
    key = tower_key(model, image_processor)
    with torch.no_grad():
        model.text_projection.weight += 1
        assert tower_key(model, image_processor) == key
        model.visual_projection.weight[0, 0] += 1
        assert tower_key(model, image_processor) != key
        model.visual_projection.weight[0, 0] -= 1
    model = load_clip(tiny_clip)
    model.config.vision_config.hidden_act = "gelu"
    assert tower_key(model, image_processor) != key
    model = load_clip(tiny_clip)
    image_processor.image_mean = [0.5, 0.5, 0.5]
    assert tower_key(model, image_processor) != key


def test_corpus_with_image_embeds_needs_no_pictures(model, image_processor, tmp_path):
    dataset = datasets.Dataset.from_dict({"image_id": ["a"], "image_embeds": [[0.0] * 8]})
    assert add_image_embeds(dataset, model, image_processor, cache_dir=tmp_path) is not None
    assert not list(tmp_path.iterdir())
    other = datasets.Dataset.from_dict({"image_id": ["a"], "image_embeds": [[0.0] * 512]})
    with pytest.raises(ValueError, match="vectors of 512 numbers, but the model projects to 8"):
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


def test_on_ray_it_is_the_same(model, image_processor, pictures, tmp_path, caplog):
    pytest.importorskip("ray", reason="ray is an extra: pip install paraclip[ray]")
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    dataset = dataset_of([*pictures, bad, pictures[0]])
    options = {"skip_bad_images": True, "batch_size": 2}
    local = add_image_embeds(dataset, model, image_processor, cache_dir=tmp_path / "local", **options)
    for _ in range(2):  # and from the cache
        on_ray = add_image_embeds(dataset, model, image_processor, cache_dir=tmp_path / "ray", runner="ray", **options)
        assert on_ray["image_id"] == local["image_id"] == ["a.png", "b.png", "c.png", "a.png"]
        np.testing.assert_allclose(np.array(on_ray["image_embeds"]), np.array(local["image_embeds"]), atol=1e-3)
    assert "1 bad pictures, 1 rows left out" in caplog.text


def test_ray_that_is_not_there_is_named(model, image_processor, pictures, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"Ray is not installed: pip install"):
        add_image_embeds(dataset_of(pictures), model, image_processor, cache_dir=tmp_path, runner="ray")


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
