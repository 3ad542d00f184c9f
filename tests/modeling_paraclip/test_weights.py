import contextlib
import json
import shutil
import socket
import subprocess
import sys

import pytest
import torch
from huggingface_hub import HfApi, close_session, constants
from huggingface_hub.errors import HTTPError
from safetensors.torch import load_file, save_file
from transformers import CLIPModel

from modeling_paraclip import InputError, load_clip, weights
from modeling_paraclip.weights import open_config, open_model, open_processor, weight_files
from tests.hub_double import HubDouble
from tests.processes import succeeds


@pytest.fixture
def folder(tiny_clip, tmp_path):
    """A copy of a tiny CLIP, to be damaged."""
    return shutil.copytree(tiny_clip, tmp_path / "model")


def change_weights(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def change_config(folder, part, **values):
    config = json.loads((folder / "config.json").read_text())
    (config[part] if part else config).update(values)
    (folder / "config.json").write_text(json.dumps(config))


FC1 = "text_model.encoder.layers.0.mlp.fc1.weight"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop(FC1), f"{FC1} are missing"),
        (lambda t: t.pop("vision_model.post_layernorm.weight"), "vision_model.post_layernorm.weight are missing"),
        (lambda t: t.pop("logit_scale"), "logit_scale are missing"),
        (lambda t: t.update({FC1: t[FC1][:-1].clone()}), f"{FC1} have other shapes"),
        (lambda t: t.update({"text_model.extra": torch.ones(2)}), "text_model.extra are not part of such a model"),
        (lambda t: t[FC1].fill_(float("nan")), f"{FC1} hold numbers that are not finite"),
    ],
)
def test_weights_that_do_not_fit_are_named(folder, change, said):
    change_weights(folder, change)
    with pytest.raises(InputError, match=r"do not fit its config\.json") as error:
        load_clip(folder)
    assert said in str(error.value)


def test_counting_numbers_of_old_checkpoints_are_no_weights(folder):
    change_weights(folder, lambda t: t.update({"text_model.embeddings.position_ids": torch.arange(77)[None]}))
    load_clip(folder)


def test_what_is_not_built_need_not_fit(folder):
    load_clip(folder, vision=False)
    change_weights(folder, lambda t: t.pop("vision_model.post_layernorm.weight"))
    load_clip(folder, vision=False)


@pytest.mark.parametrize("part", ["text_config", "vision_config"])
@pytest.mark.parametrize("name", ["hidden_size", "intermediate_size", "num_hidden_layers"])
@pytest.mark.parametrize("value", [10**12, 10**6, -1, 0, "many", None])
def test_absurd_sizes_are_refused_before_they_are_allocated(folder, part, name, value):
    change_config(folder, part, **{name: value})
    with pytest.raises(InputError, match=r"config\.json|cannot be opened|cannot be read"):
        open_model(CLIPModel, folder)


def test_more_parameters_than_weights_are_refused(folder):
    change_config(folder, "vision_config", image_size=8_000)  # 1,562,500 positions, for one of which there are weights
    with pytest.raises(InputError, match=r"asks for [\d,]+ parameters, but its weights hold"):
        open_model(CLIPModel, folder)


@pytest.mark.parametrize(
    "content", ["", "[]", "null", "{", '{"model_type": 7}', '{"model_type": "nothing"}', "[" * 10**5]
)
def test_broken_config_is_one_sentence(folder, content):
    (folder / "config.json").write_text(content)
    with pytest.raises(InputError, match="cannot be opened as a model") as error:
        open_config(folder)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", ["", "[]", "{", '{"model": 3}', "[" * 10**5])
def test_broken_tokenizer_is_one_sentence(folder, name, content):
    (folder / name).write_text(content)
    with contextlib.suppress(InputError):  # some open nonetheless; nothing else may come out
        open_processor(folder)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "processor_config.json"])
@pytest.mark.parametrize("content", ["[]", "{", "[" * 10**5])
def test_a_broken_file_of_the_tokenizer_or_processor_is_named(folder, name, content):
    (folder / name).write_text(content)
    with pytest.raises(InputError, match=rf"{folder / name} cannot be read as JSON"):
        open_processor(folder)


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 100, (10**15).to_bytes(8, "little") + b"{}", b"\x02" + bytes(7) + b"[]"]
)
def test_broken_safetensors_are_one_sentence(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        load_clip(folder)


def test_a_missing_shard_is_named(folder):
    CLIPModel.from_pretrained(folder).save_pretrained(folder, max_shard_size="20KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    shard = weight_files(folder)[1]
    shard.unlink()
    with pytest.raises(InputError, match=f"no {shard.name}"):
        load_clip(folder)


@pytest.mark.parametrize("index", ["", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": 3}}', "[" * 10**5])
def test_broken_index_is_one_sentence(folder, index):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(InputError, match="is no index of weights"):
        load_clip(folder)


def test_code_of_a_repository_is_never_run(folder):
    canary = folder.parent / "ran"
    (folder / "code.py").write_text(f"open({str(canary)!r}, 'w')\nclass Model: pass\nclass Config: pass\n")
    hooks = {"AutoConfig": "code.Config", "AutoModel": "code.Model", "AutoProcessor": "code.Model"}
    for model_type in ("clip", "nothing"):
        change_config(folder, None, auto_map=hooks, model_type=model_type)
        with contextlib.suppress(InputError) if model_type == "nothing" else contextlib.nullcontext():
            load_clip(folder)
            open_processor(folder)
    assert not canary.exists()


def test_a_tokenizer_that_the_hub_does_not_give_is_not_replaced(tiny_clip, tmp_path):
    """`from_pretrained` would make another tokenizer of the other files."""
    script = "from modeling_paraclip.weights import open_processor; open_processor('tester/base')"
    with HubDouble() as hub:
        hub.repos["tester/base"] = {path.name: path.read_bytes() for path in tiny_clip.iterdir()}
        hub.refuse = "tokenizer.json"
        environment = hub.environment(tmp_path)
        done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert "InputError: tokenizer.json of tester/base cannot be read" in done.stderr


def test_a_silent_hub_is_given_up(monkeypatch):
    """`model_info` asks for no time-out, and would wait for ever."""
    monkeypatch.setattr(weights, "HUB_SECONDS", 0.2)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    close_session()  # that of other tests may be bounded already, by more
    weights.bound_waits()
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as silent:
        hub = HfApi(endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(HTTPError, match="timed out"):
            hub.model_info("org/clip")


def test_a_branch_of_the_hub_is_pinned_to_its_commit(tiny_clip, tmp_path):
    """What is published has to be what was trained on, also where the branch moves in the meantime."""
    script = "from modeling_paraclip.publish import check_base; print(check_base('tester/base'))"
    with HubDouble() as hub:
        hub.repos["tester/base"] = {path.name: path.read_bytes() for path in tiny_clip.iterdir()}
        done = succeeds([sys.executable, "-c", script], env=hub.environment(tmp_path))
        assert done.stdout.split()[-1] == hub.sha_of(hub.repos["tester/base"])
    assert weights.commit_of(tiny_clip) is None
