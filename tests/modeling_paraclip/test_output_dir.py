import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from modeling_paraclip import InputError
from modeling_paraclip.output_dir import check_output_dir, check_space, claimed


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

        def refuse(self, data, number=number):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(Path, "write_bytes", refuse)
        with pytest.raises(InputError, match=f"cannot be written to: {os.strerror(number)}"), claimed(tmp_path):
            pass


def test_room_is_checked(tmp_path):
    check_space(tmp_path, 1)
    with pytest.raises(InputError, match=r"has room for [\d,]+ MiB, but .* take [\d,]+ MiB"):
        check_space(tmp_path, 2**60)
