import json
import subprocess
import sys

import pytest
from safetensors.torch import load_file, save_file

from modeling_paraclip import load_clip, publish_model
from modeling_paraclip.__main__ import main
from modeling_paraclip.check import check
from tests.hub_double import HubDouble


@pytest.fixture
def published(tiny_clip, tmp_path):
    publish_model(load_clip(tiny_clip), tiny_clip, tmp_path / "model")
    (tmp_path / "model" / "README.md").write_text("---\nlicense: mit\n---\n\n# Mine\n")
    return tmp_path / "model"


def test_a_published_folder_keeps_its_promises(published, tiny_clip, capsys):
    main(["check", str(published), "--base", str(tiny_clip)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8 and all(line.startswith("ok ") for line in lines)


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


def test_push_sends_the_published_files_with_a_tag(published, tmp_path):
    (published / "secrets.env").write_text("private")
    with HubDouble() as hub:
        command = [
            sys.executable,
            "-m",
            "modeling_paraclip",
            "push",
            str(published),
            "paraclip",
            "--private",
            "--tag",
            "v1",
        ]
        done = subprocess.run(command, env=hub.environment(tmp_path), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        pushed = hub.repos["tester/paraclip"]
        assert "model.safetensors" in pushed and "secrets.env" not in pushed
        assert hub.private == {"tester/paraclip"} and hub.tags == {("tester/paraclip", "v1")}
        (published / "weights.pkl").write_bytes(b"")
        done = subprocess.run(command, env=hub.environment(tmp_path), capture_output=True, text=True)
        assert done.returncode == 1 and "is not uploaded: safetensors only: weights.pkl" in done.stderr
