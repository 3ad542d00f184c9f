"""The same job on many machines: Ray Data gives each part to a worker, which keeps a journal of its own.

Captions and corpus lie on a file system that all machines see. A journal is written on the worker's local disk, since
SQLite's write-ahead log needs one, and copied to the corpus now and then and at the end. Ray runs a part that dies
again, and it goes on where it was: from the local journal where that is still there, else from the last copy.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import json
import os
import shutil
import sqlite3
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub import get_token

from .database import NEGATIVES, told
from .errors import InputError, check_range
from .generators import Fatal
from .job import Job, Part, check_layout, check_source, foretell, run
from .journal import Journal, snapshot
from .records import latest_source

MARK, OLD_MARK = "partitions.json", "partitions.txt"  # the latter is version 0.2's
COPY_EVERY = 300.0  # seconds
PASSED_ON = (
    *("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"),
    *("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE"),
)


class _Environment(dict):
    """Variables with keys in them. Ray logs its own `runtime_env`, and what a task is given only by its `repr`."""

    def __repr__(self) -> str:
        return f"<{len(self)} variables>"


@dataclass(frozen=True)
class Layout:
    """How a corpus is divided. Kept in `MARK`; `corpus_id` tells it from others that lay at the same path."""

    partitions: int
    by_number: bool
    corpus_id: str


def run_on_ray(job: Job, partitions: int, tell: Callable[[str], None]) -> None:
    """Run the job in `partitions` parts, with `job.concurrency` calls in flight in all of them together.

    Args:
        job: what to do.
        partitions: the number of parts.
        tell: is given what is worth saying before the first call.

    Raises:
        InputError: Ray is not installed, or the corpus was begun with another number of parts.
        Fatal: what ended a part; the other parts ran on.
    """
    try:
        import ray.data
    except ImportError as error:
        raise InputError("--runner ray needs the package ray: pip install 'paraclip[ray]'") from error

    check_range("--partitions", partitions, 1, 10**5)
    layout = lay_out(job.output, partitions)
    if next(job.output.glob("journal*.sqlite"), None):  # the workers check it too, in folders of their own
        check_source(job.output, latest_source(job.output), job.source.fingerprint())
    generator = job.make_generator()
    with snapshot(job.output, job.recipe(generator)) as reader:
        asyncio.run(foretell(job, generator, reader, (), tell))
    asyncio.run(generator.close())
    if not ray.is_initialized():
        # Ray's ports listen on every interface. Its token, kept in the home folder, guards them: leave it on.
        ray.init(log_to_driver=False)
    context = ray.data.DataContext.get_current()
    context.max_errored_blocks = 0
    at_once = int(max(1, min(partitions, job.concurrency, ray.cluster_resources().get("CPU", 1))))
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    if token := get_token():
        environment["HF_TOKEN"] = token
    given = {
        "job": replace(job, output=job.output.absolute(), concurrency=job.concurrency // at_once),
        "layout": layout,
        "environment": _Environment(environment),
    }
    parts = ray.data.range(partitions, override_num_blocks=partitions)
    slots = ray.data.TaskPoolStrategy(size=at_once)
    for part in parts.map(_run_part, fn_kwargs=given, num_cpus=1, compute=slots).materialize().iter_rows():
        if part["error"]:
            raise Fatal(part["error"])


def lay_out(output: Path, partitions: int) -> Layout:
    """How the corpus is divided, which is written down when it begins.

    Raises:
        InputError: it was begun with another number of parts.
    """
    mark, old = output / MARK, output / OLD_MARK
    begun_with: Any = None
    if mark.exists():
        begun_with = json.loads(mark.read_text())
    elif old.exists():  # by_number: what was paid for stays where it is
        begun_with = {"partitions": int(old.read_text()), "by_number": True, "corpus_id": uuid.uuid4().hex}
    if begun_with and begun_with["partitions"] != partitions:
        raise InputError(
            f"{output} was begun with --partitions {begun_with['partitions']}: give the same number again."
        )
    check_layout(output, Part(0, partitions))
    layout = Layout(**begun_with) if begun_with else Layout(partitions, False, uuid.uuid4().hex)
    if not mark.exists():
        output.mkdir(parents=True, exist_ok=True)
        aside = output / f".{MARK}.part"
        aside.write_text(json.dumps(vars(layout)))
        os.replace(aside, mark)
    return layout


def _run_part(row: dict, job: Job, layout: Layout, environment: dict[str, str]) -> dict:
    os.environ.update(environment)
    part, error = Part(int(row["id"]), layout.partitions, layout.by_number), ""
    try:
        with on_local_disk(job.output, part, layout.corpus_id) as folder:
            run(replace(job, output=folder), part)
    except (InputError, Fatal, OSError) as caught:  # Ray would bury it in a traceback, and lose its class
        error = str(caught)
    return {"id": part.index, "error": error}


@contextlib.contextmanager
def on_local_disk(output: Path, part: Part, corpus_id: str) -> Iterator[Path]:
    """A folder on this machine's disk with the part's journal, which is copied to `output` in the end."""
    folder = _own_folder() / corpus_id
    folder.mkdir(exist_ok=True)
    local, shared = folder / part.journal, output / part.journal
    _fetch(shared, local)
    done = threading.Event()

    def copy_now_and_then() -> None:
        while not done.wait(COPY_EVERY):
            with contextlib.suppress(OSError, sqlite3.Error):  # the copy in the end will tell
                _copy(local, shared)

    copier = threading.Thread(target=copy_now_and_then, name="copier", daemon=True)
    copier.start()
    try:
        yield folder
    finally:
        done.set()
        copier.join()
        if local.exists():
            _copy(local, shared)
            _remove(local)
            with contextlib.suppress(OSError):  # other parts may be at work in it
                folder.rmdir()


def _own_folder() -> Path:
    """Where local journals lie: nobody else may write there."""
    folder = Path(tempfile.gettempdir()) / f"paraclip-{getpass.getuser()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise InputError(f"{folder}: belongs to somebody else. Set TMPDIR to a folder on a local disk.")
    return folder


def _fetch(shared: Path, local: Path) -> None:
    """Bring to the local disk what the shared journal has; one that a dead worker left here has more, or the same."""
    if not shared.exists():
        return
    fetched = local.with_name(f"{local.stem}.fetched")
    _remove(fetched)
    for suffix in ("-wal", ""):  # version 0.2 wrote there directly
        if Path(f"{shared}{suffix}").exists():
            shutil.copyfile(f"{shared}{suffix}", f"{fetched}{suffix}")
    absorb(local, fetched)
    _remove(fetched)


def absorb(journal: Path, other: Path) -> None:
    """Add to a journal, which may not be there yet, what another one of the same part has and it lacks."""
    for path in (journal, other):
        Journal(path).close()  # begins it, or adds what version 0.2 lacks
    with told(journal), closing(sqlite3.connect(journal)) as db:
        db.execute("ATTACH ? AS other", (str(other),))
        with db:
            db.execute("INSERT OR IGNORE INTO answers SELECT * FROM other.answers")
            db.execute("INSERT OR IGNORE INTO recipes (recipe) SELECT recipe FROM other.recipes ORDER BY id")
            db.execute(
                "INSERT OR IGNORE INTO rows SELECT idx, mine.id, image_id, caption, paraphrase_1, paraphrase_2, "
                "status, reason, answer FROM other.rows JOIN other.recipes AS theirs ON theirs.id = other.rows.recipe "
                "JOIN main.recipes AS mine ON mine.recipe = theirs.recipe"
            )
            if db.execute("SELECT 1 FROM other.sqlite_master WHERE name = 'negatives'").fetchone():
                db.execute(NEGATIVES)
                db.execute(
                    "INSERT OR IGNORE INTO negatives SELECT idx, mine.id, negative, status, reason, answer "
                    "FROM other.negatives JOIN other.recipes AS theirs ON theirs.id = other.negatives.recipe "
                    "JOIN main.recipes AS mine ON mine.recipe = theirs.recipe"
                )


def _copy(local: Path, shared: Path) -> None:
    """Replace the shared journal by one that is as the local one now, whole or not at all."""
    copied, aside = local.with_name(f"{local.stem}.copy"), shared.with_name(f".{shared.name}.part")
    _remove(copied)
    with closing(sqlite3.connect(local)) as db, closing(sqlite3.connect(copied)) as copy:
        db.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")  # so that reading it needs no log either
    shutil.copyfile(copied, aside)
    with open(aside, "rb") as file:
        os.fsync(file.fileno())
    for suffix in ("-wal", "-shm", ".lock"):  # version 0.2's; a log of another file would damage this one
        Path(f"{shared}{suffix}").unlink(missing_ok=True)
    os.replace(aside, shared)
    _remove(copied)


def _remove(journal: Path) -> None:
    for suffix in ("", "-wal", "-shm", ".lock", "-journal"):
        Path(f"{journal}{suffix}").unlink(missing_ok=True)
