import errno
import os
import signal
import subprocess
import sys
import tempfile

import pytest

from modeling_paraclip import InputError
from modeling_paraclip.output_dir import check_output_dir, check_space, claimed
from modeling_paraclip.publish import staged


def test_a_checkpoint_of_another_program_is_not_removed(tmp_path):
    (tmp_path / "checkpoint-5").mkdir()
    (tmp_path / "checkpoint-5" / "pytorch_model.bin").write_text("weeks of work")
    with pytest.raises(InputError, match="checkpoint-5 is no complete checkpoint of"):
        check_output_dir(tmp_path, overwrite=True)
    assert (tmp_path / "checkpoint-5" / "pytorch_model.bin").exists()


def test_a_folder_that_no_run_wrote_is_not_cleared(tmp_path):
    (tmp_path / "README.md").write_text("of my project")
    for overwrite, message in ((False, r"README.md. Name another folder"), (True, r"but no run of train\.py")):
        with pytest.raises(InputError, match=message):
            check_output_dir(tmp_path, overwrite=overwrite)


def test_a_folder_is_one_runs_at_a_time(tmp_path):
    with claimed(tmp_path / "out"):
        with pytest.raises(InputError, match="out: another run writes to it"), claimed(tmp_path / "out"):
            pass
        with claimed(tmp_path / "other"):
            pass
    with claimed(tmp_path / "out"):
        pass


def test_a_killed_run_gives_its_folder_back(tmp_path):
    code = (
        "import sys, time; from modeling_paraclip.output_dir import claimed\n"
        "with claimed(sys.argv[1]): print('has it', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "has it\n"
        with pytest.raises(InputError, match="another run"), claimed(tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
    with claimed(tmp_path):
        pass


@pytest.mark.parametrize("name", ["a file", "nul\0", "x" * 300])
def test_a_folder_that_cannot_be_is_one_sentence(name, tmp_path):
    (tmp_path / "a file").write_text("mine")
    with pytest.raises(InputError, match="cannot be written to"), claimed(tmp_path / name):
        pass
    assert (tmp_path / "a file").read_text() == "mine"


def test_a_full_or_read_only_disk_is_found_before_the_work(tmp_path, monkeypatch):
    for number in (errno.ENOSPC, errno.EROFS, errno.EACCES):

        def refuse(dir, number=number):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
        with pytest.raises(InputError, match=f"cannot be written to: {os.strerror(number)}"), claimed(tmp_path):
            pass


def test_room_is_checked(tmp_path):
    check_space(tmp_path, 1)
    with pytest.raises(InputError, match=r"has room for [\d,]+ MiB, but .* take [\d,]+ MiB"):
        check_space(tmp_path, 2**60)


@pytest.mark.parametrize(
    "name", ["config.json", "trainer_state.json", "results.json", "README.md", "model.safetensors"]
)
def test_one_file_of_that_name_is_no_run(name, tmp_path):
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=r"no run of train\.py"):
        check_output_dir(tmp_path, overwrite=True)
    assert (tmp_path / name).read_text() == "mine"


def publish_two_files(folder):
    with staged(folder) as aside:
        for name in ("tokenizer.json", "config.json"):
            (aside / name).write_text("{}")


def test_a_publication_that_was_killed_can_be_given_again(tmp_path, monkeypatch):
    moved = []

    def killed(source, target):
        if moved:
            raise KeyboardInterrupt
        moved.append(target)
        source.rename(target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", killed)
        patched.setattr("shutil.rmtree", lambda *args, **kwargs: None)  # SIGKILL runs no `finally`
        with pytest.raises(KeyboardInterrupt):
            publish_two_files(tmp_path)
    assert len(moved) == 1 and moved[0].exists()
    check_output_dir(tmp_path)


def test_no_link_in_the_folder_is_followed(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for name in (".paraclip.lock", ".writable", ".publishing"):
        (tmp_path / name).symlink_to(tmp_path / "notes.txt")
    with pytest.raises(InputError, match="cannot be written to"), claimed(tmp_path):
        pass
    assert (tmp_path / "notes.txt").read_text() == "mine"
