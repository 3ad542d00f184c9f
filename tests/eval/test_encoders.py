import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizerFast,
    CLIPModel,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
)

from eval import encoders, suite
from eval.encoders import load_encoder
from tests.eval.samples import WORDS, pictures


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


def test_open_clip_names(folder, monkeypatch, tmp_path):
    """A stand-in for the package, as large as what is used of it."""

    class Model(torch.nn.Linear):
        def encode_text(self, ids):
            return torch.nn.functional.one_hot(ids, 4).sum(dim=1).float() @ self.weight.T

        def encode_image(self, pixels):
            return pixels.mean(dim=(2, 3)) @ self.weight[:, :3].T

    asked = {}

    def create(architecture, pretrained, weights_only):
        asked.update(architecture=architecture, pretrained=pretrained, weights_only=weights_only)
        return Model(4, 6), None, lambda image: torch.from_numpy(np.asarray(image) / 255).permute(2, 0, 1).float()

    module = types.SimpleNamespace(
        create_model_and_transforms=create,
        get_tokenizer=lambda architecture: lambda texts: torch.tensor([[len(text) % 4, 3] for text in texts]),
    )
    monkeypatch.setattr(encoders.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install open_clip_torch"):
        load_encoder("openclip:ViT-B-32/laion2b")
    monkeypatch.setattr(encoders.importlib.util, "find_spec", lambda name: module)
    monkeypatch.setitem(sys.modules, "open_clip", module)
    encoder = load_encoder("openclip:ViT-B-32/laion2b", cache_dir=tmp_path)
    assert asked == {"architecture": "ViT-B-32", "pretrained": "laion2b", "weights_only": True}
    assert encoder.name == "openclip:ViT-B-32/laion2b"
    measured, _ = suite.evaluate(encoder, ["sugarcrepe"], folder)
    assert len(measured[0].values) == 5


def test_an_empty_text_cannot_be_encoded(encoder):
    with pytest.raises(ValueError, match="empty text"):
        encoder.texts(["a", " "])


def test_a_sentence_encoder_is_mean_pooled_without_its_padding(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "runs"]))
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=8, **sizes)).save_pretrained(tmp_path)
    encoder = load_encoder(str(tmp_path), cache_dir=tmp_path / "cache")
    together = encoder.texts(["a dog", "a dog runs a dog runs", "a dog"])
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)
    alone = load_encoder(str(tmp_path), cache_dir=tmp_path / "other").texts(["a dog"])
    np.testing.assert_allclose(together[0], alone[0], atol=1e-6)
    np.testing.assert_array_equal(together[0], together[2])
