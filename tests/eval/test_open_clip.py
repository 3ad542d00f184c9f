"""Models of open_clip: the package itself where it works here, and a stand-in as large as what is used of it."""

import importlib.util
import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image

from dataset_builder import scenes
from eval import suite
from eval.encoders import load_encoder
from eval.open_clip import OpenClipTowers
from modeling_paraclip import InputError
from modeling_paraclip.exports import export_model
from tests.eval.samples import WORDS, pictures


class Model(torch.nn.Linear):
    """Takes ids and pixels for vectors."""

    def encode_text(self, ids):
        return torch.nn.functional.one_hot(ids, 4).sum(dim=1).float() @ self.weight.T

    def encode_image(self, pixels):
        return pixels.mean(dim=(2, 3)) @ self.weight[:, :3].T


CONFIGS = {
    "ViT-B-32": {"text_cfg": {}},
    "ViT-B-32-quickgelu": {"text_cfg": {}, "quick_gelu": True},
    "RN50": {"text_cfg": {}},
    "hf-hub:org/name": {
        "text_cfg": {"hf_tokenizer_name": "org/name", "tokenizer_kwargs": {"trust_remote_code": True}}
    },
    "local-dir:some/DIR": {"text_cfg": {}},
}
TAGS = {
    ("ViT-B-32", "laion2b"): {"url": ""},
    ("ViT-B-32", "openai"): {"quick_gelu": True},
    ("ViT-B-32-quickgelu", "laion2b"): {"url": ""},
    ("ViT-B-32-quickgelu", "openai"): {"quick_gelu": True},
}


@pytest.fixture
def asked(monkeypatch):
    """What the stand-in was asked for."""
    asked = {}

    def create(architecture, pretrained, weights_only):
        asked.update(architecture=architecture, pretrained=pretrained, weights_only=weights_only)
        torch.manual_seed(0)
        return Model(4, 6), lambda image: torch.from_numpy(np.asarray(image) / 255).permute(2, 0, 1).float()

    def get_tokenizer(architecture, **options):
        asked.update(tokenizer=architecture, **options)
        return lambda texts: torch.tensor([[len(text) % 4, 3] for text in texts])

    module = types.SimpleNamespace(
        create_model_from_pretrained=create,
        get_tokenizer=get_tokenizer,
        get_model_config=CONFIGS.get,
        list_models=lambda: [name for name in CONFIGS if ":" not in name],
        list_pretrained_tags_by_model=lambda name: [tag for model, tag in TAGS if model == name],
        get_pretrained_cfg=lambda name, tag: TAGS.get((name, tag), {}),
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: module)
    monkeypatch.setitem(sys.modules, "open_clip", module)
    return asked


def test_an_architecture_and_a_tag(asked, folder, tmp_path):
    encoder = load_encoder("openclip:ViT-B-32/laion2b", cache_dir=tmp_path)
    expected = {"architecture": "ViT-B-32", "pretrained": "laion2b", "weights_only": True, "tokenizer": "ViT-B-32"}
    assert asked == expected
    assert encoder.name == encoder.about["model"] == "openclip:ViT-B-32/laion2b"
    measured, _ = suite.evaluate(encoder, ["sugarcrepe"], folder)
    assert len(measured[0].scored.values) == 5


@pytest.mark.parametrize(
    ("name", "architecture", "pretrained", "model"),
    [
        ("openclip:hf-hub:org/name", "hf-hub:org/name", None, "openclip:hf-hub:org/name"),
        ("openclip:local-dir:some/DIR", "local-dir:some/DIR", None, "DIR"),
        ("openclip:ViT-B-32-quickgelu/openai", "ViT-B-32-quickgelu", "openai", "openclip:ViT-B-32-quickgelu/openai"),
    ],
)
def test_other_names(name, architecture, pretrained, model, asked, tmp_path):
    encoder = load_encoder(name, cache_dir=tmp_path)
    assert (asked["architecture"], asked["pretrained"], asked["tokenizer"]) == (architecture, pretrained, architecture)
    assert encoder.about["model"] == model
    assert not asked.get("trust_remote_code", False)


def test_a_file_of_weights(asked, tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"")
    load_encoder(f"openclip:ViT-B-32/{tmp_path}/weights.safetensors", cache_dir=tmp_path)
    assert asked["pretrained"] == f"{tmp_path}/weights.safetensors"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("openclip:ViT-B-32", "the model would be random: give openclip:ViT-B-32/TAG, e.g. laion2b"),
        ("openclip:ViT-B-32/", "the model would be random"),
        ("openclip:RN50", "the model would be random: give openclip:RN50/TAG, e.g. a file"),
        ("openclip:ViT-Z/openai", "open_clip knows no architecture ViT-Z"),
        ("openclip:", "open_clip knows no architecture"),
        ("openclip:ViT-B-32/nothing", "nothing is no file, and no tag of"),
        ("openclip:ViT-B-32/openai", "with QuickGELU, so its architecture is ViT-B-32-quickgelu: give openclip:ViT-"),
        ("openclip:ViT-B-32-quickgelu/laion2b", "without QuickGELU, so its architecture is ViT-B-32: give openclip:V"),
    ],
)  # fmt: skip
def test_names_that_would_measure_another_model(name, message, asked, tmp_path):
    with pytest.raises(InputError, match=message):
        load_encoder(name, cache_dir=tmp_path)
    assert not asked


def test_a_vector_that_is_not_finite_is_refused(asked, folder, tmp_path):
    encoder = load_encoder("openclip:ViT-B-32/laion2b", cache_dir=tmp_path)
    encoder._towers.model.weight.data.fill_(float("nan"))
    for embed in (lambda: encoder.texts(WORDS), lambda: encoder.pictures(pictures(folder, "photos/images/0.png"))):
        with pytest.raises(InputError, match=r"openclip:ViT-B-32/laion2b's vector of '.*' is not finite"):
            embed()


def test_another_configuration_finds_nothing_in_the_cache(asked, monkeypatch):
    keys = []
    for quick_gelu in (True, False):
        monkeypatch.setitem(CONFIGS, "local-dir:some/DIR", {"text_cfg": {}, "quick_gelu": quick_gelu})
        towers = OpenClipTowers("openclip:local-dir:some/DIR")
        keys += [towers.text_key, towers.image_key]
    towers = OpenClipTowers("openclip:local-dir:some/DIR", "bfloat16")
    keys += [towers.text_key, towers.image_key]
    assert len(set(keys)) == 6


def test_the_package_is_optional(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install open_clip_torch"):
        load_encoder("openclip:ViT-B-32/laion2b")


# ------------------------------------------------------------------------------ the package itself


@pytest.fixture
def open_clip():
    try:
        import open_clip
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision that does not fit torch
        pytest.skip(f"open_clip cannot be imported: {error}")
    return open_clip


@pytest.fixture
def exported(open_clip, tiny_clip, tmp_path):
    export_model(tiny_clip, "open_clip", tmp_path / "exported")
    return tmp_path / "exported"


def test_the_vectors_are_those_of_the_same_model_elsewhere(exported, tiny_clip, tmp_path):
    theirs = load_encoder(f"openclip:local-dir:{exported}", cache_dir=tmp_path, device="cpu")
    ours = load_encoder(str(tiny_clip), cache_dir=tmp_path, device="cpu")
    assert theirs.name == theirs.about["model"] == "exported"
    np.testing.assert_allclose(theirs.texts(WORDS), ours.texts(WORDS), atol=1e-5)
    pixels = np.random.default_rng(0).integers(0, 255, (scenes.IMAGE_SIZE, scenes.IMAGE_SIZE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")  # of the size of its input: each resizes in its own way
    photo = pictures(tmp_path, "photo.png")
    np.testing.assert_allclose(theirs.pictures(photo), ours.pictures(photo), atol=1e-5)


def test_a_folder_without_weights_is_refused(exported, tmp_path):
    for file in exported.glob("*.safetensors"):
        file.unlink()
    with pytest.raises(InputError, match="could not be loaded"):
        load_encoder(f"openclip:local-dir:{exported}", cache_dir=tmp_path)


@pytest.mark.parametrize(("tag", "right"), [("openai", "RN50-quickgelu"), ("cc12m", "RN50-quickgelu")])
def test_its_own_tags_are_known(tag, right, open_clip, tmp_path):
    with pytest.raises(InputError, match=f"give openclip:{right}/{tag}"):
        load_encoder(f"openclip:RN50/{tag}", cache_dir=tmp_path)
    with pytest.raises(InputError, match="the model would be random: give openclip:RN50/TAG"):
        load_encoder("openclip:RN50", cache_dir=tmp_path)
