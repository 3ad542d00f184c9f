"""The folder that a run writes to: its own, writable, with room enough, and never that of another run."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from . import checkpoints
from .errors import InputError
from .publish import CARD, PUBLISHING, published_files

STATE = ("trainer_state.json", "not_finite_batch.json")  # written by a run, never published
LOCK = ".paraclip.lock"


@contextmanager
def claimed(output_dir: str | Path, sources: tuple[str | Path, ...] = ()) -> Iterator[None]:
    """Have `output_dir`, which is made if need be, to oneself. A run that is killed gives it back.

    Args:
        sources: what is read, which `output_dir` may not be.

    Raises:
        InputError: it cannot be written to, another run is writing to it, or it is read from.
    """
    output_dir = Path(output_dir)
    for source in sources:
        if Path(source).exists() and output_dir.exists() and os.path.samefile(source, output_dir):
            raise InputError(f"{output_dir} is read from, so it cannot be the output: name another folder.")
    lock = FileLock(output_dir / LOCK)
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output_dir) as probe:
            probe.write(bytes(4096))  # a full disk takes a new file, but nothing in it
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(f"{output_dir}: another run writes to it. Wait for it, or name another folder.") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"{output_dir} cannot be written to: {getattr(error, 'strerror', None) or error}.") from error
    try:
        yield
    finally:
        (output_dir / LOCK).unlink(missing_ok=True)
        lock.release()


def check_space(output_dir: str | Path, needed: int) -> None:
    """Find out before the work whether `needed` bytes have room in `output_dir`. InputError where they do not."""
    free = shutil.disk_usage(output_dir).free
    if free < needed:
        raise InputError(
            f"{output_dir} has room for {free / 2**20:,.0f} MiB, but the model and its checkpoints take "
            f"{needed / 2**20:,.0f} MiB. Make room, pass a smaller --save_total_limit, or name another folder."
        )


def earlier_files(output_dir: str | Path) -> list[str]:
    """What an earlier run left in `output_dir`: published files, its state and checkpoints, by name."""
    files = [*published_files(output_dir, pictures=True), *(n for n in STATE if (Path(output_dir) / n).is_file())]
    return files + [path.name for path in checkpoints.checkpoints_in(output_dir)]


def remove_earlier_files(output_dir: str | Path) -> None:
    """Remove what `earlier_files` names, and nothing else. `check_output_dir` says first whether that is right."""
    for path in checkpoints.checkpoints_in(output_dir):
        checkpoints.remove(path)
    for name in earlier_files(output_dir):
        (Path(output_dir) / name).unlink()


def check_output_dir(
    output_dir: str | Path,
    *,
    overwrite: bool | None = False,
    resume: str | bool | None = None,
) -> None:
    """Find out before the work whether `output_dir` is free for a run: two are never mixed. Removes nothing.

    Args:
        overwrite: whether an earlier run in it will be removed, see `remove_earlier_files`. None: that is no option.
        resume: the checkpoint to resume from, or "last".

    Raises:
        InputError: it holds files of an earlier run, which are named.
    """
    output_dir = Path(output_dir)
    if overwrite and resume:
        raise InputError("--overwrite_output_dir removes the checkpoints that --resume_from_checkpoint needs.")
    found, last = earlier_files(output_dir), checkpoints.last_checkpoint(output_dir)
    if (output_dir / PUBLISHING).is_dir():  # killed while it published into a folder that was found free, as here
        found = [path.name for path in checkpoints.checkpoints_in(output_dir)]
    if resume in ("last", True):
        resume = last
    if not found or (resume and os.path.dirname(os.path.realpath(str(resume))) == os.path.realpath(output_dir)):
        return
    shown = ", ".join(found[:4]) + (f" and {len(found) - 4} more" if len(found) > 4 else "")
    if not overwrite:
        advice = ", or pass --overwrite_output_dir to remove them (and nothing else)" if overwrite is False else ""
        advice += ", or --resume_from_checkpoint last to go on" if advice and last and not resume else ""
        raise InputError(f"{output_dir} holds files of an earlier run: {shown}. Name another folder{advice}.")
    foreign = [path for path in checkpoints.checkpoints_in(output_dir) if not (path / checkpoints.COMPLETE).is_file()]
    if foreign:
        raise InputError(f"{foreign[0]} is no complete checkpoint of train.py: move or remove it yourself.")
    if not (last or _is_card_of_ours(output_dir / CARD)):
        raise InputError(f"{output_dir} holds {shown}, but no run of train.py: name another folder.")


def _is_card_of_ours(path: Path) -> bool:
    try:
        return "\n- paraclip\n" in path.read_text(encoding="utf-8")  # a tag
    except (OSError, ValueError):
        return False
