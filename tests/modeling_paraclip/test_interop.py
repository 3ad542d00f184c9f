import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoProcessor, CLIPModel

from modeling_paraclip import __main__ as cli
from modeling_paraclip import add_lora, interpolate, load_clip, publish


@pytest.fixture
def processor(tiny_clip):
    return AutoProcessor.from_pretrained(tiny_clip)


def randomise(model):
    """Stand in for training: move every weight that trains."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)


def test_lora_is_on_the_text_tower_only(tiny_clip):
    model = add_lora(load_clip(tiny_clip), r=4)
    adapted = {name.split(".lora_A")[0] for name, _ in model.named_parameters() if "lora_A" in name}
    assert len(adapted) == 2 * 6  # layers times q, k, v, out, fc1, fc2
    assert all(".text_model.encoder.layers." in name for name in adapted)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert all("lora_" in name or "text_projection.modules_to_save" in name for name in trained)
    assert any("text_projection" in name for name in trained)


def test_merged_and_unmerged_agree_and_peft_reads_the_adapter(tiny_clip, processor, tmp_path):
    model = add_lora(load_clip(tiny_clip), r=4)
    randomise(model)
    input_ids = processor.tokenizer(["a red circle", "two stars"], padding=True, return_tensors="pt")["input_ids"]
    model.eval()
    with torch.no_grad():
        unmerged = model.get_base_model().encode_text(input_ids)
        base = CLIPModel.from_pretrained(tiny_clip).get_text_features(input_ids).pooler_output
        publish(model, processor, tmp_path, tiny_clip)
        merged = CLIPModel.from_pretrained(tmp_path).get_text_features(input_ids).pooler_output
        plain = CLIPModel.from_pretrained(tiny_clip)
        adapted = PeftModel.from_pretrained(plain, tmp_path / "adapter").get_base_model().get_text_features(input_ids)
    assert (merged - base).abs().max() > 1e-2
    torch.testing.assert_close(merged, unmerged, rtol=0, atol=1e-5)
    torch.testing.assert_close(adapted.pooler_output, unmerged, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("use_lora", [False, True])
def test_frozen_tensors_are_the_bases_byte_for_byte(dtype, use_lora, tiny_clip, processor, tmp_path):
    CLIPModel.from_pretrained(tiny_clip).to(dtype).save_pretrained(tmp_path / "base")
    model = load_clip(tmp_path / "base")
    model = add_lora(model) if use_lora else model
    randomise(model)
    publish(model, processor, tmp_path / "out", tmp_path / "base")
    before, after = (load_file(tmp_path / folder / "model.safetensors") for folder in ("base", "out"))
    assert before.keys() == after.keys()
    assert {tensor.dtype for tensor in after.values()} == {dtype}
    for name, tensor in before.items():
        same = torch.equal(tensor.flatten().view(torch.uint8), after[name].flatten().view(torch.uint8))
        if name.startswith(("vision_model", "visual_projection", "logit_scale")):
            assert same, name
        elif name == "text_projection.weight":
            assert not same


def test_config_is_kept_and_names_the_plain_class(tiny_clip, processor, tmp_path):
    """A QuickGELU model saved as GELU, or the old eos_token_id mended, would silently embed differently."""
    base = CLIPModel.from_pretrained(tiny_clip)
    base.config.text_config.hidden_act = base.config.vision_config.hidden_act = "quick_gelu"
    base.config.text_config.eos_token_id = 2
    base.config.logit_scale_init_value = 1.25
    base.save_pretrained(tmp_path / "base")
    model = load_clip(tmp_path / "base")
    publish(model, processor, tmp_path / "out", tmp_path / "base")
    before, after = (CLIPModel.from_pretrained(tmp_path / folder).config.to_dict() for folder in ("base", "out"))
    before.pop("_name_or_path", None)
    after.pop("_name_or_path", None)
    assert after == before
    assert after["architectures"] == ["CLIPModel"]


def test_interpolation_runs_from_base_to_tuned(tiny_clip, processor, tmp_path):
    model = load_clip(tiny_clip)
    randomise(model)
    tuned = publish(model, processor, tmp_path / "tuned", tiny_clip)
    base = CLIPModel.from_pretrained(tiny_clip)
    cli.main([str(tiny_clip), str(tmp_path / "tuned"), "--alpha", "0.25", "--output", str(tmp_path / "between")])
    between = CLIPModel.from_pretrained(tmp_path / "between").state_dict()
    for name, weight in base.state_dict().items():
        torch.testing.assert_close(between[name], 0.75 * weight + 0.25 * tuned.state_dict()[name])
    for alpha, end in ((0, base), (1, tuned)):
        ends = interpolate(base, tuned, alpha).state_dict()
        assert all(torch.equal(ends[name], weight) for name, weight in end.state_dict().items())


def test_models_of_two_bases_are_not_interpolated(tiny_clip):
    base, other = CLIPModel.from_pretrained(tiny_clip), CLIPModel.from_pretrained(tiny_clip)
    other.visual_projection.weight.data += 1
    with pytest.raises(ValueError, match="not of one base"):
        interpolate(base, other, 0.5)
