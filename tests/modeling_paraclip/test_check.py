import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor, CLIPModel

from modeling_paraclip import load_clip, publish_model
from modeling_paraclip.__main__ import main
from modeling_paraclip.check import check, check_exports
from modeling_paraclip.exports import export_model
from tests.hub_double import HubDouble
from tests.modeling_paraclip.exports.conftest import needs_onnx


@pytest.fixture
def published(tiny_clip, tmp_path):
    publish_model(load_clip(tiny_clip), tiny_clip, tmp_path / "model")
    (tmp_path / "model" / "README.md").write_text("---\nlicense: mit\n---\n\n# Mine\n")
    return tmp_path / "model"


def test_a_published_folder_keeps_its_promises(published, tiny_clip, capsys):
    main(["check", str(published), "--base", str(tiny_clip)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9 and all(line.startswith("ok ") for line in lines)
    assert lines[-1] == "ok      exports: none in the folder"


def test_exports_in_the_folder_and_elsewhere_are_compared_with_the_model(published, tiny_clip, tmp_path, capsys):
    for place in (published / "for-diffusers", tmp_path / "out" / "open_clip"):
        application = "diffusers" if "diffusers" in place.name else "open_clip"
        export_model(published, application, place)
    main(["check", str(published), "--exports", str(tmp_path / "out")])
    lines = capsys.readouterr().out.splitlines()[-2:]
    assert lines[0].startswith(f"ok      export diffusers, {published}/for-diffusers/text_encoder: largest difference")
    assert lines[1].startswith(f"ok      export open_clip, {tmp_path}/out/open_clip/open_clip_model.safetensors")


@pytest.mark.slow
@needs_onnx
def test_each_export_is_known_by_its_files(published, tmp_path):
    """One each, in the folder and one level below: fastembed's model.onnx is no part of Immich's."""
    for application in ("immich", "fastembed", "weaviate"):
        export_model(published, application, tmp_path / application)
    rows = check_exports(published, [tmp_path, tmp_path / "immich"])
    assert all(holds for _, _, holds in rows)
    assert [name.split(",")[0] for name, _, _ in rows] == [
        f"export {application}" for application in ("fastembed", "immich", "weaviate", "immich")
    ]


def move_text_tower(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["text_model.final_layer_norm.bias"] += 0.01
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_an_export_of_an_earlier_model_a_broken_one_and_none_are_told(published, tmp_path):
    export_model(published, "diffusers", tmp_path / "old")
    move_text_tower(published)
    export_model(published, "diffusers", tmp_path / "broken")
    (tmp_path / "broken" / "text_encoder" / "model.safetensors").write_bytes(b"no weights")
    (tmp_path / "none").mkdir()
    rows = check_exports(published, [tmp_path / name for name in ("old", "broken", "none", "absent")])
    assert not any(holds for _, _, holds in rows)
    assert [said.endswith("not this model") for _, said, _ in rows] == [True, False, False, False]
    assert rows[1][0] == "export diffusers"
    assert all(said.endswith("there is no export of a model.") for _, said, _ in rows[2:])
    with pytest.raises(SystemExit, match="is not what it promises to be"):
        main(["check", str(published), "--exports", str(tmp_path / "old")])


@pytest.mark.slow
@needs_onnx
def test_a_lossy_file_of_another_model_is_told_by_its_ranking(published, tmp_path):
    export_model(published, "onnx", tmp_path / "out")
    holds = {Path(name).name: holds for name, _, holds in check_exports(published, [tmp_path / "out"])}
    assert holds == dict.fromkeys(["text_model.onnx", "text_model_fp16.onnx", "text_model_quantized.onnx"], True)
    tensors = load_file(published / "model.safetensors")
    tensors["text_projection.weight"] = tensors["text_projection.weight"].flip(1)
    save_file(tensors, published / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "out" / "onnx" / "text_model.onnx").unlink()  # only the quantised ones are there
    rows = check_exports(published, [tmp_path / "out"])
    assert len(rows) == 2 and not any(holds for _, _, holds in rows)


def change_json(folder, name, **values):
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**content, **values}))


def change_image_tower(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["visual_projection.weight"][0, 0] += 1
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "promise", "said"),
    [
        (lambda f: (f / "config.json").unlink(), "opens plainly", "cannot be opened as a model"),
        (lambda f: (f / "old.bin").write_bytes(b""), "safetensors only", "old.bin"),
        (lambda f: change_json(f, "config.json", auto_map={"AutoModel": "x.Y"}), "no remote code", "auto_map"),
        (lambda f: (f / "modeling.py").write_text(""), "no remote code", "modeling.py"),
        (lambda f: (f / "modules.json").unlink(), "opens in sentence-transformers", "modules.json is missing"),
        (lambda f: (f / "README.md").write_text("---\na: [\n---\n"), "card", "cannot be read"),
        (lambda f: (f / "README.md").unlink(), "card", "there is no README.md: write one"),
        (change_image_tower, "image tower is the base's", "visual_projection.weight differs"),
        (
            lambda f: change_json(f, "config.json", initializer_factor=7.0),
            "settings are the base's",
            "initializer_factor",
        ),
        (lambda f: (f / "tokenizer_config.json").write_text("{}"), "tokenizer and processor are the base's", "is not"),
    ],
)
def test_each_broken_promise_is_named(spoil, promise, said, published, tiny_clip):
    spoil(published)
    broken = {name: found for name, found, holds in check(published, tiny_clip) if not holds}
    assert said in broken[promise]
    with pytest.raises(SystemExit, match="is not what it promises to be"):
        main(["check", str(published), "--base", str(tiny_clip)])


@pytest.fixture
def hub(monkeypatch):
    """A Hub, for the client in this process."""
    with HubDouble() as hub:
        for name, value in (
            ("ENDPOINT", hub.url),
            ("HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"),
            ("HF_HUB_OFFLINE", False),
            ("HF_HUB_DISABLE_XET", True),
        ):
            monkeypatch.setattr(huggingface_hub.constants, name, value)
        monkeypatch.setattr("transformers.utils.hub._hf_api", None)  # it keeps the endpoint that it was made with
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        yield hub


def test_push_sends_the_published_files_with_a_tag(published, hub):
    (published / "secrets.env").write_text("private")
    before = set(published.rglob("*"))
    main(["push", str(published), "paraclip", "--private", "--tag", "v1"])
    pushed = hub.repos["tester/paraclip"]
    assert "model.safetensors" in pushed and "secrets.env" not in pushed
    assert hub.private == {"tester/paraclip"} and list(hub.tags) == [("tester/paraclip", "v1")]
    assert set(published.rglob("*")) == before
    with pytest.raises(SystemExit, match=r"tester/paraclip has a tag v1 already: name another one"):
        main(["push", str(published), "paraclip", "--tag", "v1"])
    (published / "weights.pkl").write_bytes(b"")
    with pytest.raises(SystemExit, match=r"is not uploaded: safetensors only: weights\.pkl"):
        main(["push", str(published), "paraclip"])


def test_nothing_private_goes_to_a_repository_that_is_public(published, hub):
    hub.repos["tester/paraclip"] = {"README.md": b"mine"}
    with pytest.raises(SystemExit, match="is there already, and public"):
        main(["push", str(published), "paraclip", "--private"])
    assert hub.repos["tester/paraclip"] == {"README.md": b"mine"} and not hub.received


def test_a_push_that_was_killed_goes_on_with_what_was_not_sent(tiny_clip, tmp_path):
    """Killed while it sends: of five files of weights two have arrived. Whatever arrived is not sent again."""
    CLIPModel.from_pretrained(tiny_clip).save_pretrained(tmp_path / "base", max_shard_size="15KB")
    for path in tiny_clip.glob("*.json"):
        if path.name not in ("config.json", "model.safetensors.index.json"):
            shutil.copy(path, tmp_path / "base")
    publish_model(load_clip(tmp_path / "base"), tmp_path / "base", tmp_path / "model")
    (tmp_path / "model" / "README.md").write_text("---\nlicense: mit\n---\n")
    weights = {path.read_bytes() for path in (tmp_path / "model").glob("*.safetensors")}
    assert len(weights) > 3
    before = sorted((tmp_path / "model").rglob("*"))
    with HubDouble() as hub:
        hub.silent_after = 2
        command = [sys.executable, "-m", "modeling_paraclip", "push", str(tmp_path / "model"), "org/paraclip"]
        with subprocess.Popen(command, env=hub.environment(tmp_path), stderr=subprocess.PIPE) as killed:
            while len(hub.received) < 2 and killed.poll() is None:
                time.sleep(0.05)
            killed.kill()
            assert len(hub.received) == 2, killed.stderr.read().decode()
        assert hub.repos == {"org/paraclip": {}}  # no half of a model is seen
        hub.silent_after = None
        done = subprocess.run(command, env=hub.environment(tmp_path), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert weights <= set(hub.repos["org/paraclip"].values())
        assert len(hub.received) == len(set(hub.received)) == len(weights)
    assert sorted((tmp_path / "model").rglob("*")) == before


def test_what_is_pushed_opens_by_revision_by_tag_and_with_a_token(published, hub, tmp_path):
    for tag in ("v1", "v2"):
        main(["push", str(published), "org/paraclip", "--private", "--tag", tag])
        move_text_tower(published)

    def vector(**kwargs):
        kwargs = {"cache_dir": tmp_path / "cache", "token": "hf_secret", **kwargs}
        processor = AutoProcessor.from_pretrained("org/paraclip", **kwargs)
        model = CLIPModel.from_pretrained("org/paraclip", **kwargs)
        return model.get_text_features(**processor.tokenizer(["a red circle"], return_tensors="pt")).pooler_output

    new, old = vector(), vector(revision=hub.tags["org/paraclip", "v1"])
    assert torch.equal(vector(revision="v1"), old) and torch.equal(vector(revision="v2"), new)
    assert not torch.equal(new, old)
    with pytest.raises(OSError, match="not a valid model identifier"):
        vector(token=False, cache_dir=tmp_path / "other")


def test_ctrl_c_is_one_sentence(monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("modeling_paraclip.__main__._push", stopped)
    with pytest.raises(SystemExit, match=r"stopped\. Nothing is half done; give the command again"):
        main(["push", "model", "org/paraclip"])
