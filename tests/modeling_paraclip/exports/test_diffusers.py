import torch
from safetensors.torch import load_file
from transformers import CLIPTextModel, CLIPTokenizer

from modeling_paraclip.exports.tower import TEXTS, open_tower


def test_its_loading_call_gives_the_same_states(exported, clip):
    folder, lines = exported("diffusers")
    model = CLIPTextModel.from_pretrained(folder / "text_encoder").eval()
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    inputs = tokenizer(TEXTS, padding="max_length", truncation=True, return_tensors="pt")
    with torch.inference_mode():
        found = model(inputs["input_ids"])[0]
    torch.testing.assert_close(found, torch.from_numpy(open_tower(clip).encode(TEXTS, "states")), rtol=0, atol=1e-4)
    assert any("only the one at the end was trained" in line for line in lines)


def test_weights_are_the_models_own(exported, clip):
    ours = load_file(exported("diffusers")[0] / "text_encoder" / "model.safetensors")
    theirs = load_file(clip / "model.safetensors")
    assert ours.keys() == {name for name in theirs if name.startswith("text_model.")}
    assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())
