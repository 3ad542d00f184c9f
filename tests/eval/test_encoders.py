import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AltCLIPConfig,
    AutoProcessor,
    AutoTokenizer,
    CLIPModel,
    CLIPTextConfig,
    Siglip2Config,
    SiglipModel,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
)

from eval import suite
from eval.encoders import load_between, load_encoder
from modeling_paraclip import InputError, architectures, packing
from modeling_paraclip.embedding_cache import EmbeddingCache
from tests.eval.samples import WORDS, pictures
from tests.hub_double import HubDouble

ROOT = Path(__file__).parents[2]


def test_other_weights_find_nothing_in_the_cache(tiny_clip, tmp_path):
    model = CLIPModel.from_pretrained(tiny_clip)
    load = {"cache_dir": tmp_path / "cache"}
    before = load_encoder(str(tiny_clip), **load).texts(["a"])
    with torch.no_grad():
        model.text_projection.weight += 0.1 * torch.randn_like(model.text_projection.weight)
    model.save_pretrained(tmp_path / "changed")
    for file in ("tokenizer.json", "tokenizer_config.json", "processor_config.json"):
        (tmp_path / "changed" / file).write_bytes((tiny_clip / file).read_bytes())
    assert not np.allclose(before, load_encoder(str(tmp_path / "changed"), **load).texts(["a"]))


def test_a_picture_is_cropped_to_its_box(folder, encoder):
    (file,) = pictures(folder, "photos/images/0.png")
    cropped = encoder.pictures([{**file, "box": (5, 5, 35, 45)}])
    inner = Image.open(file["path"]).crop((5, 5, 35, 45))
    pixels = encoder._towers.preprocess(inner)[None]
    with torch.no_grad():
        expected = encoder._towers.embed_images(pixels)[0].numpy()
    np.testing.assert_allclose(cropped[0], expected / np.linalg.norm(expected), atol=1e-5)


def test_dual_encoders(tiny_clip, folder, tmp_path):
    clip = CLIPModel.from_pretrained(tiny_clip)
    config = VisionTextDualEncoderConfig.from_vision_text_configs(
        clip.config.vision_config, clip.config.text_config, projection_dim=8
    )
    VisionTextDualEncoderModel(config).save_pretrained(tmp_path)
    for file in ("tokenizer.json", "tokenizer_config.json", "processor_config.json"):
        (tmp_path / file).write_bytes((tiny_clip / file).read_bytes())
    encoder = load_encoder(str(tmp_path), cache_dir=tmp_path)
    assert encoder.has_images
    alone = load_encoder(str(tmp_path), cache_dir=tmp_path / "other").texts([WORDS[0]])
    np.testing.assert_allclose(encoder.texts(WORDS)[0], alone[0], atol=1e-6)  # padding is masked
    assert encoder.pictures(pictures(folder, "photos/images/0.png")).shape == (1, 8)


def test_an_empty_text_cannot_be_encoded(encoder):
    with pytest.raises(ValueError, match="empty text"):
        encoder.texts(["a", " "])


@pytest.mark.parametrize(("value", "what"), [(float("nan"), "not finite"), (float("inf"), "not finite"), (0, "zero")])
def test_a_vector_that_is_no_direction_is_refused_by_model_and_what_it_is_of(value, what, tiny_clip, folder, tmp_path):
    """NaN is neither above nor below another score, so that every rank would be the first."""
    encoder = load_encoder(str(tiny_clip), cache_dir=tmp_path)
    with torch.no_grad():
        for projection in (encoder._towers.model.text_projection, encoder._towers.model.visual_projection):
            projection.weight.fill_(value)
    with pytest.raises(InputError, match=f"{encoder.name}'s vector of 'a red circle' is {what}"):
        encoder.texts(["a red circle"])
    with pytest.raises(InputError, match=rf"{encoder.name}'s vector of '.*0\.png' is {what}"):
        encoder.pictures(pictures(folder, "photos/images/0.png"))
    for file in tmp_path.glob("*.sqlite"):
        with EmbeddingCache(file, np.float32) as cache:
            assert not cache.known()


def test_a_collapsed_model_is_undefined_and_the_run_goes_on(tiny_clip, folder, tmp_path):
    model = CLIPModel.from_pretrained(tiny_clip)
    with torch.no_grad():  # the same state for every token
        model.text_model.final_layer_norm.weight.zero_()
        model.text_model.final_layer_norm.bias.fill_(1)
    model.save_pretrained(tmp_path / "collapsed")
    AutoProcessor.from_pretrained(tiny_clip).save_pretrained(tmp_path / "collapsed")
    encoder = load_encoder(str(tmp_path / "collapsed"), cache_dir=tmp_path)
    assert len(np.unique(encoder.texts(WORDS), axis=0)) == 1
    measured, _ = suite.evaluate(encoder, ["sts", "sugarcrepe_pp"], folder)
    figures = {m.metric: m.value for m in measured}
    assert np.isnan(figures["spearman"])
    assert figures["text_accuracy"] == 0


def test_siglip_is_padded_to_the_length_it_was_trained_with(tiny_siglip, folder, tmp_path):
    encoder = load_encoder(str(tiny_siglip), cache_dir=tmp_path)
    model, processor = SiglipModel.from_pretrained(tiny_siglip), AutoProcessor.from_pretrained(tiny_siglip)
    length = model.config.text_config.max_position_embeddings
    ids = processor.tokenizer(WORDS, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    photo = Image.open(folder / "photos/images/0.png")
    with torch.no_grad():
        texts = model.get_text_features(input_ids=ids["input_ids"]).pooler_output
        pixels = processor.image_processor(photo, return_tensors="pt")
        image = model.get_image_features(**pixels).pooler_output
    np.testing.assert_allclose(encoder.texts(WORDS), torch.nn.functional.normalize(texts).numpy(), atol=1e-6)
    found = encoder.pictures(pictures(folder, "photos/images/0.png"))
    np.testing.assert_allclose(found, torch.nn.functional.normalize(image).numpy(), atol=1e-6)


@pytest.mark.parametrize("config", [Siglip2Config(), AltCLIPConfig(), CLIPTextConfig()], ids=lambda c: c.model_type)
def test_other_types_are_one_sentence(config, tmp_path):
    config.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=f"is a model of type '{config.model_type}'; models with pictures have to be"):
        load_encoder(str(tmp_path), cache_dir=tmp_path)


def test_texts_are_encoded_as_in_training(tiny_clip, tmp_path, monkeypatch):
    """Causal towers are packed: without padding, and what texts share at their beginning once."""
    packed = []
    monkeypatch.setattr(architectures, "pack", lambda *args: packed.append(args) or packing.pack(*args))
    embeds = load_encoder(str(tiny_clip), cache_dir=tmp_path).texts(WORDS)
    assert len(packed) == 2  # the first is the check of a model that is opened
    model, tokenizer = CLIPModel.from_pretrained(tiny_clip), AutoTokenizer.from_pretrained(tiny_clip)
    with torch.no_grad():
        padded = model.get_text_features(**tokenizer(WORDS, padding=True, return_tensors="pt")).pooler_output
    np.testing.assert_allclose(embeds, torch.nn.functional.normalize(padded).numpy(), atol=1e-6)
    np.testing.assert_array_equal(embeds, architectures.encode_texts(model, tokenizer, WORDS).numpy())


def test_pictures_are_decoded_by_other_processes(tiny_clip, folder, tmp_path):
    encoders_of = [load_encoder(str(tiny_clip), cache_dir=tmp_path / str(n), num_workers=n) for n in (0, 2)]
    names = [f"photos/images/{i}.png" for i in range(16)]
    here, there = (encoder.pictures(pictures(folder, *names)) for encoder in encoders_of)
    np.testing.assert_array_equal(here, there)


def test_about_names_model_and_weights(tiny_clip, tmp_path):
    encoder = load_encoder(str(tiny_clip), cache_dir=tmp_path, device="cpu")
    text, image = encoder._towers.text_key, encoder._towers.image_key
    expected = {"model": tiny_clip.name, "revision": f"sha256:{text}+{image}", "dtype": "float32", "device": "cpu"}
    assert encoder.about == expected
    other = load_encoder(str(tiny_clip), cache_dir=tmp_path, device="cpu", dtype="bfloat16")
    assert other.about["dtype"] == "bfloat16"
    assert other.about["revision"] != expected["revision"]
    between = [load_between(*[str(tiny_clip)] * 2, 0.5, cache_dir=tmp_path, dtype=d) for d in ("float32", "bfloat16")]
    assert between[0].about["revision"] != between[1].about["revision"]


@pytest.mark.slow
def test_about_names_the_commit_of_a_model_of_the_hub(tiny_clip, tmp_path):
    with HubDouble() as hub:
        hub.repos["org/tiny"] = {file.name: file.read_bytes() for file in tiny_clip.iterdir()}
        code = f"from eval.encoders import *; print(load_encoder('org/tiny', cache_dir={str(tmp_path)!r}).about)"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=hub.environment(tmp_path / "home"),
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
    assert done.returncode == 0, done.stderr
    about = ast.literal_eval(done.stdout)
    assert about["model"] == "org/tiny"
    assert about["revision"] == hub.sha("org/tiny")
