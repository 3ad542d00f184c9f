import json
import re

import numpy as np
import pytest
import torch
from transformers import AutoProcessor, BertConfig, BertModel, CLIPModel

from dataset_builder import scenes
from modeling_paraclip import (
    BASE_MODEL_DIR,
    InputError,
    ParaCLIPLoss,
    add_lora,
    encode_texts,
    load_clip,
    train_last_layers,
)

TEXTS = ["a red circle", "two small blue stars left of a big green square on grass", "moon"]


def test_views_in_one_forward_are_clips_own_embeddings(tiny_clip):
    model = load_clip(tiny_clip)
    tokenizer = AutoProcessor.from_pretrained(tiny_clip).tokenizer
    plain = CLIPModel.from_pretrained(tiny_clip)
    # the reference: each text by itself, padded to 77 with its mask, as the tokenizer gives it
    expected = torch.cat(
        [
            plain.get_text_features(
                **tokenizer(text, padding="max_length", max_length=77, return_tensors="pt")
            ).pooler_output
            for text in TEXTS
        ]
    )
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")["input_ids"]
    outputs = model(batch[None], image_embeds=torch.randn(1, 8))
    torch.testing.assert_close(outputs["text_embeds"][0], expected, rtol=1e-4, atol=1e-5)


def test_pixel_values_and_their_embeddings_give_one_loss(tiny_clip):
    model = load_clip(tiny_clip)
    input_ids = torch.randint(0, 500, (3, 3, 6))
    pixel_values = torch.randn(3, 3, scenes.IMAGE_SIZE, scenes.IMAGE_SIZE)
    from_pixels = model(input_ids, pixel_values=pixel_values)
    from_embeds = model(input_ids, image_embeds=model.encode_image(pixel_values))
    assert from_pixels["loss"].item() == from_embeds["loss"].item()
    with pytest.raises(ValueError, match="image_embeds or pixel_values"):
        model(input_ids)


def test_loss_is_of_the_right_views(tiny_clip):
    model = load_clip(tiny_clip)
    image_embeds = torch.randn(4, 8)
    outputs = model(torch.randint(0, 500, (4, 3, 6)), image_embeds)
    x, x1, x2 = outputs["text_embeds"].unbind(1)
    expected = ParaCLIPLoss()(image_embeds, x, x1, x2, model.logit_scale)
    assert all(outputs[name] == value for name, value in expected.items())


def test_only_text_model_and_text_projection_train(tiny_clip):
    model = load_clip(tiny_clip)
    trained = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    frozen = {name.split(".")[0] for name, p in model.named_parameters() if not p.requires_grad}
    assert trained == {"text_model", "text_projection"}
    assert frozen == {"vision_model", "visual_projection"}
    assert "logit_scale" in dict(model.named_buffers())


def test_half_precision_base_trains_in_float32(tiny_clip, tmp_path):
    CLIPModel.from_pretrained(tiny_clip).half().save_pretrained(tmp_path)
    model = load_clip(tmp_path)
    assert model.dtype == torch.float32


def test_refuses_what_is_not_clip(tmp_path):
    tiny = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=10)
    BertModel(tiny).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="type 'bert'"):
        load_clip(tmp_path)


def test_refuses_pickled_weights(tiny_clip, tmp_path):
    (tmp_path / "config.json").write_text((tiny_clip / "config.json").read_text())
    torch.save(CLIPModel.from_pretrained(tiny_clip).state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"has no model\.safetensors\. Pickled weights are not opened"):
        load_clip(tmp_path)


@pytest.mark.slow
def test_the_shipped_base_finds_its_captions():
    """At least 60% R@1, captions to 500 pictures, in the style it was trained on; and far less when reworded."""
    model = CLIPModel.from_pretrained(BASE_MODEL_DIR)
    processor = AutoProcessor.from_pretrained(BASE_MODEL_DIR)
    rows = list(scenes.generate("test", 500))
    pixels = processor.image_processor([row["image"] for row in rows], return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        pictures = torch.cat([model.get_image_features(p).pooler_output for p in pixels.split(100)])
    pictures = torch.nn.functional.normalize(pictures, dim=-1)
    recall = {}
    for column in ("caption", "paraphrase_1", "paraphrase_2"):
        found = (encode_texts(model, processor.tokenizer, [row[column] for row in rows]) @ pictures.T).argmax(dim=1)
        recall[column] = np.mean(found.numpy() == np.arange(500))
    assert recall["caption"] >= 0.6
    assert recall["caption"] - recall["paraphrase_1"] > 0.2
    assert recall["paraphrase_1"] > recall["paraphrase_2"]


def test_the_shipped_base_is_small_and_plain():
    assert sum(path.stat().st_size for path in BASE_MODEL_DIR.iterdir()) <= 8_000_000
    assert {path.suffix for path in BASE_MODEL_DIR.iterdir()} <= {".json", ".safetensors"}
    assert json.loads((BASE_MODEL_DIR / "config.json").read_text())["architectures"] == ["CLIPModel"]


def test_lora_is_on_the_text_tower_only(tiny_clip):
    model = add_lora(load_clip(tiny_clip), r=4)
    adapted = {name.split(".lora_A")[0] for name, _ in model.named_parameters() if "lora_A" in name}
    assert len(adapted) == 2 * 6  # layers times q, k, v, out, fc1, fc2
    assert all(".text_model.encoder.layers." in name for name in adapted)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert all("lora_" in name or "text_projection.modules_to_save" in name for name in trained)
    assert any("text_projection" in name for name in trained)


@pytest.mark.parametrize("name", ["tiny_clip", "tiny_siglip", "tiny_dual"])
@pytest.mark.parametrize("layers", [0, 1])
def test_only_the_last_layers_and_what_follows_them_train(name, layers, request):
    model = load_clip(request.getfixturevalue(name), vision=False)
    names = [name for name, _ in model.named_parameters() if "embedding" not in name]
    places = [re.search(r"\.layers?\.(\d+)\.", name) for name in names]
    count = 1 + max(int(place[1]) for place in places if place)
    train_last_layers(model, layers)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {n for n, place in zip(names, places) if not place or int(place[1]) >= count - layers}
    assert 0 < len(trained) < len(names)
    with pytest.raises(InputError, match=f"--trained_layers 99: the text tower has {count}."):
        train_last_layers(model, 99)
