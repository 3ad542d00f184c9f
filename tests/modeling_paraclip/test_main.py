import shutil

import pytest
import torch
from transformers import AutoProcessor, CLIPModel

from modeling_paraclip import __main__ as cli
from modeling_paraclip import add_lora, load_clip, train_last_layers
from tests.modeling_paraclip.rows import make_rows, train
from tests.modeling_paraclip.test_publish import randomise


@pytest.mark.parametrize(("lora", "layers"), [(None, None), ({"r": 4, "alpha": 8, "dropout": 0.0}, None), (None, 1)])
def test_a_checkpoint_becomes_a_model(lora, layers, tiny_clip, tokenizer, tmp_path, monkeypatch, capsys):
    model = load_clip(tiny_clip, vision=False)
    if layers is not None:
        train_last_layers(model, layers)
    model = add_lora(model, **lora) if lora else model
    run = {"base": str(tiny_clip), "revision": "main", "lora": lora, "trained_layers": layers}
    trainer = train(tiny_clip, tmp_path / "run", tokenizer, make_rows(8), model=model, run=run, max_steps=2,
                    save_strategy="steps", save_steps=2)  # fmt: skip
    cli.main(["publish", str(tmp_path / "run" / "checkpoint-2"), "--output", str(tmp_path / "out")])
    assert "is ready: CLIPModel.from_pretrained(" in capsys.readouterr().out
    AutoProcessor.from_pretrained(tmp_path / "out")
    input_ids = tokenizer("a red circle", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        found = CLIPModel.from_pretrained(tmp_path / "out").get_text_features(input_ids).pooler_output
        expected = trainer.clip.eval().encode_text(input_ids)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (tmp_path / "out" / "adapter").is_dir() == bool(lora)


def test_interpolated_model_is_plain(tiny_clip, tmp_path):
    from modeling_paraclip import publish_model

    model = load_clip(tiny_clip)
    randomise(model)
    publish_model(model, tiny_clip, tmp_path / "tuned")
    between = tmp_path / "between"
    cli.main(["interpolate", str(tiny_clip), str(tmp_path / "tuned"), "--alpha", "0.25", "--output", str(between)])
    states = [CLIPModel.from_pretrained(folder).state_dict() for folder in (tiny_clip, tmp_path / "tuned", between)]
    for name, weight in states[0].items():
        torch.testing.assert_close(states[2][name], 0.75 * weight + 0.25 * states[1][name])
    AutoProcessor.from_pretrained(between)


@pytest.mark.parametrize("command", ["publish", "interpolate"])
def test_a_base_with_a_broken_tokenizer_or_processor_is_not_published(command, tiny_clip, tokenizer, tmp_path):
    arguments, more = ["publish", str(tmp_path / "run" / "checkpoint-2"), "--base"], []
    if command == "publish":
        run = {"base": str(tiny_clip), "revision": "main", "lora": None}
        train(tiny_clip, tmp_path / "run", tokenizer, make_rows(8), run=run, max_steps=2, save_strategy="steps",
              save_steps=2)  # fmt: skip
    else:
        arguments, more = ["interpolate", "--alpha", "0.5"], [str(tiny_clip)]
    for name in ("tokenizer.json", "tokenizer_config.json", "processor_config.json"):
        for content in ("[]", "{", "[" * 10**5):
            base = shutil.copytree(tiny_clip, tmp_path / "base")
            (base / name).write_text(content)
            with pytest.raises(SystemExit, match=rf"{base / name} cannot be read as JSON"):
                cli.main([*arguments, str(base), *more, "--output", str(tmp_path / "out")])
            assert not (tmp_path / "out" / "config.json").exists()
            shutil.rmtree(base)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["publish", "CLIP", "--output", "OUT"], "is not a complete checkpoint"),
        (["interpolate", "CLIP", "CLIP", "--alpha", "7", "--output", "OUT"], "alpha 7: has to be between 0"),
        (["interpolate", "CLIP", "CLIP", "--alpha", "0.5", "--output", "CLIP"], "is read from, so it cannot be the"),
        (["interpolate", "absent", "CLIP", "--alpha", "0.5", "--output", "OUT"], "absent cannot be opened"),
    ],
)
def test_refuses_in_one_sentence(arguments, message, tiny_clip, tmp_path):
    places = {"CLIP": str(tiny_clip), "OUT": str(tmp_path / "out")}
    with pytest.raises(SystemExit, match=message):
        cli.main([places.get(argument, argument) for argument in arguments])
    assert not list(tmp_path.rglob("*.safetensors"))
