import json
import zlib

import pytest
import torch
from torch import nn

from modeling_paraclip import CheckpointError, InputError, checkpoints


def make(folder, step, run=None):
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "state").write_text("1234")
    checkpoints.mark_complete(path, global_step=step, max_steps=9, seconds=1.5, run=run or {"seed": 1})
    return path


def test_marker_lists_files_and_notices_what_is_gone_or_short(tmp_path):
    path = make(tmp_path, 3)
    assert checkpoints.read_marker(path) == {
        "global_step": 3,
        "max_steps": 9,
        "seconds": 1.5,
        "run": {"seed": 1},
        "files": {"state": {"size": 4, "crc32": zlib.crc32((path / "state").read_bytes())}},
    }
    (path / "state").write_text("12")
    with pytest.raises(InputError, match="state is missing or not whole"):
        checkpoints.read_marker(path)
    (path / "state").unlink()
    with pytest.raises(InputError, match="state is missing or not whole"):
        checkpoints.read_marker(path)
    (path / checkpoints.COMPLETE).write_text('{"global_step": 3}')
    with pytest.raises(InputError, match="not a checkpoint of this version"):
        checkpoints.read_marker(path)
    (path / checkpoints.COMPLETE).write_text("{")
    with pytest.raises(InputError, match=r"no readable complete\.json"):
        checkpoints.read_marker(path)


def test_last_is_the_newest_complete_one(tmp_path, caplog):
    assert checkpoints.last_checkpoint(tmp_path) is None
    make(tmp_path, 9)
    newest = make(tmp_path, 10)
    (tmp_path / "checkpoint-best").mkdir()
    assert checkpoints.last_checkpoint(tmp_path) == str(newest)
    (newest / "state").unlink()
    assert checkpoints.last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-9")
    assert "checkpoint-10 is not a complete checkpoint" in caplog.text


def test_differences_between_runs_are_named(tmp_path):
    path = make(tmp_path, 1, {"seed": 1, "lora": None})
    checkpoints.check_same_run(path, {"seed": 1, "lora": None})
    with pytest.raises(InputError, match=r"lora was None, now \{'r': 4\}; data was None, now abc"):
        checkpoints.check_same_run(path, {"seed": 1, "lora": {"r": 4}, "data": "abc"})


def test_rotation_keeps_newest_best_and_what_is_not_its_own(tmp_path):
    for step in (1, 2, 3, 4):
        make(tmp_path, step)
    make(tmp_path, 5, {"seed": 2})
    make(tmp_path, 6)
    (tmp_path / "checkpoint-7").mkdir()
    checkpoints.rotate(tmp_path, 2, str(tmp_path / "checkpoint-2"), {"seed": 1})
    assert [path.name for path in checkpoints.checkpoints_in(tmp_path)] == [
        f"checkpoint-{step}" for step in (2, 4, 5, 6, 7)
    ]
    checkpoints.rotate(tmp_path, None, None, {"seed": 1})
    assert len(checkpoints.checkpoints_in(tmp_path)) == 5


def test_half_removed_checkpoints_are_none_and_go_with_the_next(tmp_path, monkeypatch):
    first, second = make(tmp_path, 1), make(tmp_path, 2)

    def killed(folder):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.remove(first)
    assert checkpoints.checkpoints_in(tmp_path) == [second]
    checkpoints.remove(second)
    assert not list(tmp_path.iterdir())


def test_weights_of_another_model_are_not_loaded(tmp_path):
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1).requires_grad_(False))
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    checkpoints.save_trained(trained, tmp_path)
    other = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1).requires_grad_(False))
    checkpoints.load_trained(other, tmp_path)
    assert torch.equal(other[0].weight, model[0].weight)
    with pytest.raises(InputError, match="holds other weights than those that train here"):
        checkpoints.load_trained(nn.Linear(2, 3), tmp_path)
    (tmp_path / checkpoints.TRAINED).write_bytes(b"short")
    with pytest.raises(CheckpointError, match=r"trained.safetensors cannot be read"):
        checkpoints.load_trained(other, tmp_path)


def test_marker_is_json(tmp_path):
    assert json.loads((make(tmp_path, 1) / checkpoints.COMPLETE).read_text())["global_step"] == 1


def test_a_changed_byte_is_noticed(tmp_path):
    path = make(tmp_path, 3)
    assert checkpoints.check_intact(path)["global_step"] == 3
    content = (path / "state").read_bytes()
    (path / "state").write_bytes(bytes(255 - byte for byte in content))
    with pytest.raises(InputError, match=r"checkpoint-3 is damaged: state is not as it was written\. Use another"):
        checkpoints.check_intact(path)


@pytest.mark.parametrize("name", ["global_step", "max_steps", "seconds", "run", "files"])
@pytest.mark.parametrize("value", [None, "a text", [1]])
def test_a_marker_of_another_form_is_one_sentence(name, value, tmp_path):
    path = make(tmp_path, 3)
    marker = json.loads((path / checkpoints.COMPLETE).read_text())
    (path / checkpoints.COMPLETE).write_text(json.dumps({**marker, name: value}))
    with pytest.raises(InputError, match="not a checkpoint of this version"):
        checkpoints.read_marker(path)


@pytest.mark.parametrize("files", [{"state": 4}, {"state": {}}, {"state": {"size": "4", "crc32": None}}])
def test_a_marker_whose_files_are_told_otherwise_is_one_sentence(files, tmp_path):
    path = make(tmp_path, 3)
    marker = json.loads((path / checkpoints.COMPLETE).read_text())
    (path / checkpoints.COMPLETE).write_text(json.dumps({**marker, "files": files}))
    with pytest.raises(InputError, match=r"not a checkpoint of this version|not a complete"):
        checkpoints.check_intact(path)


def test_a_marker_nested_deep_is_one_sentence(tmp_path):
    path = make(tmp_path, 3)
    (path / checkpoints.COMPLETE).write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"no readable complete\.json"):
        checkpoints.read_marker(path)
