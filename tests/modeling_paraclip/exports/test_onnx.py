import json

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    VisionTextDualEncoderModel,
)

from modeling_paraclip.exports import export_model, onnx
from modeling_paraclip.exports.tower import TEXTS, largest_difference, open_tower

from .conftest import needs_onnx

pytestmark = [pytest.mark.slow, needs_onnx]


def test_three_models_and_what_they_cost(exported, clip):
    folder, lines = exported("onnx")
    expected = open_tower(clip).encode(TEXTS)
    vectors = onnx.encode(folder, TEXTS)
    assert list(vectors) == [f"onnx/{name}" for name in (onnx.FULL, onnx.HALF, onnx.INT8)]
    assert largest_difference(vectors[f"onnx/{onnx.FULL}"], expected) < 1e-4
    assert largest_difference(vectors[f"onnx/{onnx.HALF}"], expected) < 0.1 * np.abs(expected).max()
    sizes = [(folder / name).stat().st_size for name in vectors]
    assert sizes[0] > sizes[1] > sizes[2]
    assert (
        "byte for byte" in lines[0]
        and "largest difference" in lines[1]
        and "AO@10" in lines[2]
        and "AO@10" in lines[3]
    )


def test_any_batch_any_length_alone_or_padded(exported):
    folder, _ = exported("onnx")
    together = onnx.encode(folder, TEXTS)[f"onnx/{onnx.FULL}"]
    for i in (0, 7, 98):
        alone = onnx.encode(folder, [TEXTS[i]])[f"onnx/{onnx.FULL}"]
        np.testing.assert_allclose(alone[0], together[i], rtol=0, atol=1e-4)


def test_end_of_text_that_was_cut_off_is_put_back(exported, clip):
    folder, _ = exported("onnx")
    tower = open_tower(clip)
    ids = np.array([tower.tokenizer(TEXTS[98])["input_ids"][:77]])  # as transformers.js truncates
    assert tower.tokenizer.eos_token_id not in ids
    found = onnx.run(folder / "onnx" / onnx.FULL, [{"input_ids": ids}])
    assert largest_difference(found, tower.encode([TEXTS[98]])) < 1e-4


@pytest.mark.parametrize("model", ["siglip", "siglip2"])
def test_siglip_is_padded_in_the_graph(model, request, tmp_path):
    """With texts of any length, and with the end cut off, as transformers.js truncates."""
    folder = request.getfixturevalue(model)
    export_model(folder, "transformersjs", tmp_path / "out")  # which compares
    tower, file = open_tower(folder), tmp_path / "out" / "onnx" / onnx.FULL
    expected, ids = tower.encode([TEXTS[0], TEXTS[98]]), tower.tokenizer([TEXTS[0], TEXTS[98]])["input_ids"]
    for text, vector in zip(ids, expected):
        found = onnx.run(file, [{"input_ids": np.array([text[: tower.limit]])}])
        assert largest_difference(found[0], vector) < 1e-4
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file))
    assert [entry.name for entry in session.get_inputs()] == ["input_ids"]
    assert session.get_outputs()[0].name == "pooler_output"


def test_the_file_says_nothing_of_this_machine(exported):
    import onnx as library

    folder, _ = exported("onnx")
    model = library.load(folder / "onnx" / onnx.FULL)
    assert model.opset_import[0].version >= 19
    text = (folder / "onnx" / onnx.FULL).read_bytes()
    assert b"site-packages" not in text and b"modeling_clip" not in text


def test_old_configurations_are_read_at_the_highest_id(clip, tmp_path):
    config = CLIPConfig.from_pretrained(clip)
    model = open_tower(clip).model
    config.text_config.eos_token_id = 2
    model.config.text_config.eos_token_id = 2
    model.save_pretrained(tmp_path / "old")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "old" / name).write_bytes((clip / name).read_bytes())
    assert open_tower(tmp_path / "old").model.text_model.eos_token_id == 2
    export_model(tmp_path / "old", "fastembed", tmp_path / "out")  # which compares


def test_weights_beside_a_model_too_large_for_one_file(clip, tmp_path, monkeypatch):
    import onnx as library

    monkeypatch.setattr(onnx, "ONE_FILE", 0)
    for application, file in (("onnx", f"onnx/{onnx.FULL}"), ("fastembed", "model.onnx")):
        export_model(clip, application, tmp_path / application)
        model = library.load(tmp_path / application / file, load_external_data=False)
        named = {entry.value for t in model.graph.initializer for entry in t.external_data if entry.key == "location"}
        beside = tmp_path / application / f"{file}.data"
        assert named == {beside.name}
        weights = open_tower(clip).model.text_model.embeddings.token_embedding.weight
        assert beside.stat().st_size > weights.nbytes and beside.with_suffix("").stat().st_size < weights.nbytes


@pytest.mark.parametrize("application", ["onnx", "immich"])
@pytest.mark.parametrize(("text_class", "config"), [(BertModel, BertConfig), (RobertaModel, RobertaConfig)])
def test_other_text_towers_get_their_mask(application, text_class, config, tmp_path):
    vocabulary = {
        token: n for n, token in enumerate(["[BOS]", "[PAD]", "[EOS]", "[UNK]", "a", "dog", "red", "circle"])
    }
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 0), ("[EOS]", 2)]
    )
    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = text_class(config(vocab_size=8, max_position_embeddings=34, pad_token_id=1, initializer_range=0.5, **size))
    vision = CLIPVisionModel(CLIPVisionConfig(image_size=8, patch_size=4, **size))
    model = VisionTextDualEncoderModel(vision_model=vision, text_model=text)
    model.save_pretrained(tmp_path / "model")
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "bos_token": "[BOS]", "eos_token": "[EOS]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=32, **special).save_pretrained(
        tmp_path / "model"
    )
    folder = tmp_path / "out"
    export_model(tmp_path / "model", application, folder)  # which compares, with texts of different lengths
    if application == "immich":
        assert json.loads((folder / "config.json").read_text())["text_cfg"]["context_length"] == 32
