import json
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor, AutoTokenizer, CLIPModel

from modeling_paraclip import InputError
from modeling_paraclip import __main__ as cli
from modeling_paraclip.exports import export_model, from_open_clip
from modeling_paraclip.exports.open_clip import CONFIG, MODEL, to_open_clip, to_transformers
from modeling_paraclip.exports.tower import TEXTS, open_tower


def test_there_and_back_is_bit_for_bit(exported, clip, tmp_path):
    folder, _ = exported("open_clip")
    from_open_clip(folder, tmp_path / "back")
    ours, back = load_file(clip / "model.safetensors"), load_file(tmp_path / "back" / "model.safetensors")
    assert ours.keys() == back.keys() and all(torch.equal(weight, back[name]) for name, weight in ours.items())
    again = to_open_clip(back)
    assert all(torch.equal(weight, again[name]) for name, weight in load_file(folder / MODEL).items())
    configs = [CLIPModel.from_pretrained(path).config for path in (clip, tmp_path / "back")]
    for part in ("text_config", "vision_config"):
        mine, other = (getattr(config, part).to_dict() for config in configs)
        assert mine == other | {name: mine[name] for name in ("bos_token_id", "dtype") if name in mine}
    processors = [AutoProcessor.from_pretrained(path) for path in (clip, tmp_path / "back")]
    assert processors[0].tokenizer(TEXTS)["input_ids"] == processors[1].tokenizer(TEXTS)["input_ids"]
    assert processors[1].image_processor.crop_size == processors[0].image_processor.crop_size


def test_layout_is_the_published_one(exported, clip):
    folder, _ = exported("open_clip")
    config, state = json.loads((folder / CONFIG).read_text()), load_file(folder / MODEL)
    model = CLIPModel.from_pretrained(clip).config
    assert config["model_cfg"]["quick_gelu"] is True and model.text_config.hidden_act == "quick_gelu"
    assert config["model_cfg"]["vision_cfg"]["head_width"] == 8 and config["model_cfg"]["text_cfg"]["heads"] == 2
    assert config["preprocess_cfg"]["size"] == model.vision_config.image_size
    assert state["transformer.resblocks.0.attn.in_proj_weight"].shape == (48, 16)
    assert state["text_projection"].shape == state["visual.proj"].shape == (16, 8)


def edit(folder, change):
    config = json.loads((folder / CONFIG).read_text())
    change(config["model_cfg"])
    (folder / CONFIG).write_text(json.dumps(config))


@pytest.fixture
def checkpoint(exported, tmp_path):
    shutil.copytree(exported("open_clip")[0], tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def test_openai_layout_and_custom_text_and_distributed_names(checkpoint, clip):
    state = load_file(checkpoint / MODEL)
    expected = load_file(clip / "model.safetensors")
    openai = state | {name: torch.tensor(1) for name in ("input_resolution", "context_length", "vocab_size")}
    custom = {name if name.startswith(("visual.", "logit")) else f"text.{name}": w for name, w in state.items()}
    for layout in (openai, custom, {f"module.{name}": weight for name, weight in state.items()}):
        found = to_transformers(layout)
        assert found.keys() == expected.keys() and all(torch.equal(w, expected[n]) for n, w in found.items())


def test_activation_is_asked_for_where_nothing_says_it(checkpoint, clip, tmp_path):
    (checkpoint / CONFIG).unlink()
    with pytest.raises(InputError, match="Pass --activation quick_gelu"):
        from_open_clip(checkpoint / MODEL, tmp_path / "out")
    arguments = ["from-open-clip", str(checkpoint / MODEL), "--activation", "gelu", "--tokenizer", str(clip)]
    # without a configuration heads are taken to be 64 wide, which these are not
    with pytest.raises(SystemExit, match=r"put its open_clip_config\.json beside it"):
        cli.main([*arguments, "--output", str(tmp_path / "out")])
    assert not (tmp_path / "out" / "config.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda cfg: cfg["vision_cfg"].update(timm_model_name="resnet50"), "says timm_model_name 'resnet50'"),
        (lambda cfg: cfg["text_cfg"].update(no_causal_mask=True), "says no_causal_mask True"),
        (lambda cfg: cfg["text_cfg"].update(pool_type="last"), "says pool_type 'last'"),
        (lambda cfg: cfg["text_cfg"].update(heads="two"), "describes no model that can be built"),
        (lambda cfg: cfg.update(vision_cfg=7), "describes no model that can be built"),
    ],
)
def test_what_no_clip_has_is_refused(change, message, checkpoint, tmp_path):
    edit(checkpoint, change)
    with pytest.raises(InputError, match=message):
        from_open_clip(checkpoint, tmp_path / "out")


def test_other_checkpoints_are_refused(checkpoint, tmp_path):
    state = load_file(checkpoint / MODEL)
    save_file(state | {"logit_bias": torch.zeros(())}, checkpoint / MODEL)
    with pytest.raises(InputError, match="has a tensor logit_bias, which a CLIP of transformers does not have"):
        from_open_clip(checkpoint, tmp_path / "out")
    save_file({name: weight for name, weight in state.items() if "visual" not in name}, checkpoint / MODEL)
    with pytest.raises(InputError, match="it is no CLIP with a vision transformer"):
        from_open_clip(checkpoint, tmp_path / "out")
    (checkpoint / MODEL).write_bytes(b"x" * 100)
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        from_open_clip(checkpoint, tmp_path / "out")
    (tmp_path / "weights.pt").write_bytes(b"")
    with pytest.raises(InputError, match="Pickled weights are not opened"):
        from_open_clip(tmp_path / "weights.pt", tmp_path / "out")


def test_clips_tokenizer_comes_with_open_clip_or_is_asked_for(checkpoint, tmp_path, monkeypatch):
    (checkpoint / "tokenizer.json").unlink()
    monkeypatch.setattr("modeling_paraclip.exports.open_clip.find_spec", lambda name: None)
    with pytest.raises(InputError, match="Pass --tokenizer"):
        from_open_clip(checkpoint, tmp_path / "out")


def test_gelu_and_quick_gelu_are_not_mixed_up(clip, tmp_path):
    shutil.copytree(clip, tmp_path / "gelu")
    config = json.loads((clip / "config.json").read_text())
    config["text_config"]["hidden_act"] = "gelu"
    (tmp_path / "gelu" / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="open_clip takes gelu or quick_gelu for all"):
        export_model(tmp_path / "gelu", "open_clip", tmp_path / "out")
    config["vision_config"]["hidden_act"] = "gelu"
    (tmp_path / "gelu" / "config.json").write_text(json.dumps(config))
    export_model(tmp_path / "gelu", "open_clip", tmp_path / "out")
    assert json.loads((tmp_path / "out" / CONFIG).read_text())["model_cfg"]["quick_gelu"] is False


@pytest.mark.slow
@pytest.mark.parametrize("quick_gelu", [True, False])
def test_the_real_open_clip_gives_the_same_vectors(quick_gelu, tmp_path):
    try:
        import open_clip
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"open_clip cannot be imported: {error}")
    torch.manual_seed(0)
    size = {"layers": 2, "width": 64}
    cfg = {"embed_dim": 32, "quick_gelu": quick_gelu, "vision_cfg": {**size, "image_size": 32, "patch_size": 8},
           "text_cfg": {**size, "heads": 2, "context_length": 77, "vocab_size": 49408}}  # fmt: skip
    theirs = open_clip.CLIP(**cfg).eval()
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.add_(torch.randn_like(weight) * 0.05)
    (tmp_path / "theirs").mkdir()
    save_file({name: weight.contiguous() for name, weight in theirs.state_dict().items()}, tmp_path / "theirs" / MODEL)
    (tmp_path / "theirs" / CONFIG).write_text(json.dumps({"model_cfg": cfg}))
    from_open_clip(tmp_path / "theirs", tmp_path / "ours")
    ours, tokenizer = (
        CLIPModel.from_pretrained(tmp_path / "ours").eval(),
        AutoTokenizer.from_pretrained(tmp_path / "ours"),
    )
    pictures = torch.randn(3, 3, 32, 32)
    inputs = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        texts = theirs.encode_text(open_clip.get_tokenizer("ViT-B-32")(TEXTS))
        torch.testing.assert_close(ours.get_text_features(**inputs).pooler_output, texts, rtol=0, atol=1e-5)
        images = ours.get_image_features(pixel_values=pictures).pooler_output
        torch.testing.assert_close(images, theirs.encode_image(pictures), rtol=0, atol=1e-5)
    lines = export_model(tmp_path / "ours", "open_clip", tmp_path / "back", tmp_path / "ours")
    assert "read back" not in lines[1]
    given, back = theirs.state_dict(), load_file(tmp_path / "back" / MODEL)
    assert given.keys() == back.keys() and all(torch.equal(weight, back[name]) for name, weight in given.items())


def test_parity_works_without_open_clip(clip, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    lines = export_model(clip, "open_clip", tmp_path / "out")
    assert "read back: 100 texts" in lines[0]
    assert open_tower(clip).encode(TEXTS).shape == (100, 8)
