"""The journal of a corpus: one SQLite file in which every answer is durable before anyone counts it.

Two things are kept apart. `answers` are what the generator said, by the hash of the exact request: paid for once,
whatever becomes of them. `rows` are the captions with their outcome under a recipe (prompts, model, sampling,
filters). They are made again from the answers, without a call, when the recipe changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import json
import os
import queue
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import astuple, dataclass
from pathlib import Path

from .errors import InputError

SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key BLOB PRIMARY KEY, text TEXT NOT NULL, finish_reason TEXT NOT NULL, tokens_in INTEGER, tokens_out INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS recipes (id INTEGER PRIMARY KEY, recipe TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS rows (
    idx INTEGER PRIMARY KEY, recipe INTEGER NOT NULL REFERENCES recipes, image_id TEXT NOT NULL, caption TEXT NOT NULL,
    paraphrase_1 TEXT, paraphrase_2 TEXT, status TEXT NOT NULL, reason TEXT
);
"""


@dataclass(frozen=True)
class Answer:
    """What a generator said to one prompt, as it said it. Token counts are None where it does not tell them."""

    text: str
    finish_reason: str = "stop"
    tokens_in: int | None = None
    tokens_out: int | None = None


@dataclass(frozen=True)
class Row:
    """One caption's outcome. `status`: "done", "rejected" (final, by reason) or "failed" (tried again next time)."""

    idx: int
    image_id: str
    caption: str
    paraphrase_1: str | None
    paraphrase_2: str | None
    status: str
    reason: str | None = None


def request_key(prompt: str, identity: dict) -> bytes:
    """Hash of a request: the whole prompt, and all else that decides the answer (model, sampling)."""
    return hashlib.sha256(json.dumps([prompt, identity], sort_keys=True).encode()).digest()


def storable(text: str) -> str:
    """Half of a surrogate pair, which JSON can escape but no database can store, becomes U+FFFD."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


REMEDIES = {  # a part of what SQLite says -> what it means, and the way out
    "is full": "the disk is full. Free some space and give the same command again; what was answered before is kept.",
    "readonly": "may not be written. Check the rights of the file and of its folder.",
    "disk I/O": "cannot be read or written. Check the path: is it a folder, or on a disk that fails?",
    "unable to open": "cannot be opened. Check the path, and the rights of the file and of its folder.",
    "locked": "is being written by another process. Wait for it or stop it.",
    "no such": "is no journal of a corpus, or its first run was stopped before it began. Run `paraphrase` again, or "
    "move the file away.",
    "malformed|not a database|encrypted|constraint|decode": "is damaged. Recover it with "
    "`sqlite3 journal.sqlite .recover | sqlite3 recovered.sqlite` and put the copy in its place.",
}


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turns what SQLite and the system say about a journal into one sentence, an InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: the output cannot be written: {error.strerror}. Check the path.") from error
    except sqlite3.Error as error:
        said = str(error)
        remedy = next((remedy for words, remedy in REMEDIES.items() if re.search(words, said)), "Check the disk.")
        raise InputError(f"{path}: {remedy} (SQLite says: {said})") from error


def _check_plain(path: Path) -> None:
    """Raises InputError for what is no file, beside the journal too: SQLite would wait for a pipe for ever."""
    for file in (f"{path}{suffix}" for suffix in ("", ".lock", "-wal", "-shm", "-journal")):
        if os.path.exists(file) and not os.path.isfile(file):
            raise InputError(f"{file}: is a folder, a device or a pipe, and no file of a journal. Move it away.")


class Journal:
    """A journal that is being written, by one process at a time.

    `add_answer` and `add_row` return futures of the running event loop that are done when the write is on the disk.
    One thread writes. It puts everything that is waiting into one transaction, so that durability costs one fsync per
    group.

    Args:
        path: the file; made if it is not there.
        recipe: everything but the captions that decides what becomes of the rows.

    Raises:
        InputError: another process is writing to it, or it cannot be written.
    """

    def __init__(self, path: str | Path, recipe: dict):
        self.path = Path(path)
        text = json.dumps(recipe, sort_keys=True)
        _check_plain(self.path)
        with contextlib.ExitStack() as opened, _told(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = opened.enter_context(closing(sqlite3.connect(f"{self.path}.lock", timeout=0)))
            self._lock.execute("BEGIN EXCLUSIVE")  # held until close, and freed by the system if we are killed
            self._db = opened.enter_context(closing(sqlite3.connect(self.path, check_same_thread=False)))
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")  # a power cut loses nothing either
            self._db.executescript(SCHEMA)
            with self._db:
                self._db.execute("INSERT OR IGNORE INTO recipes (recipe) VALUES (?)", (text,))
            (self.recipe_id,) = self._db.execute("SELECT id FROM recipes WHERE recipe = ?", (text,)).fetchone()
            self._reader = opened.enter_context(closing(sqlite3.connect(self.path)))
            self._opened = opened.pop_all()
        self._queue: queue.SimpleQueue = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        self._thread.start()

    def answer(self, key: bytes) -> Answer | None:
        """The answer that was kept for a request, if there is one."""
        with _told(self.path):
            found = self._reader.execute(
                "SELECT text, finish_reason, tokens_in, tokens_out FROM answers WHERE key = ?", (key,)
            ).fetchone()
            if found:
                _check_texts("an answer", *found[:2])
        return Answer(*found) if found else None

    def settled(self, first: int, last: int) -> dict[int, Row]:
        """The rows `first`..`last` that need no more work under this recipe, by `idx`."""
        with _told(self.path):
            found = self._reader.execute(
                "SELECT idx, image_id, caption, paraphrase_1, paraphrase_2, status, reason FROM rows "
                "WHERE idx BETWEEN ? AND ? AND recipe = ? AND status != 'failed'",
                (first, last, self.recipe_id),
            )
            return {values[0]: Row(*values) for values in found}

    def add_answer(self, key: bytes, answer: Answer) -> asyncio.Future:
        """Keep an answer under its request."""
        return self._put("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)", (key, *astuple(answer)))

    def add_row(self, row: Row) -> asyncio.Future:
        """Keep what became of a row."""
        idx, *rest = astuple(row)
        return self._put("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (idx, self.recipe_id, *rest))

    def close(self) -> None:
        """Write what is waiting, and close."""
        self._queue.put(None)
        self._thread.join()
        with _told(self.path):
            self._opened.close()

    def _put(self, statement: str, values: tuple) -> asyncio.Future:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        values = tuple(storable(value) if isinstance(value, str) else value for value in values)
        self._queue.put((statement, values, loop, future))
        return future

    def _write(self) -> None:
        stopping = False
        while not stopping:
            group = [self._queue.get()]
            while not self._queue.empty():
                group.append(self._queue.get())
            stopping = None in group
            group = [item for item in group if item is not None]
            error: Exception | None = None
            try:
                with _told(self.path), self._db:
                    for statement, values, _, _ in group:
                        self._db.execute(statement, values)
            except Exception as caught:  # usually a full disk; whatever it is, whoever waits has to know
                error = caught
            for loop in {item[2] for item in group}:
                futures = [item[3] for item in group if item[2] is loop]
                try:
                    loop.call_soon_threadsafe(_settle, futures, error)
                except RuntimeError:  # that loop was stopped; nobody waits any more
                    continue


def _settle(futures: list[asyncio.Future], error: Exception | None) -> None:
    for future in futures:
        if future.done():  # whoever waited was cancelled
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)


# ------------------------------------------------------------------------------------------------ reading a corpus
def journals(corpus_dir: str | Path) -> list[Path]:
    """The journals of a corpus: one, or one per partition. Raises InputError without any."""
    found = sorted(Path(corpus_dir).glob("journal*.sqlite"))
    if not found:
        raise InputError(
            f"{corpus_dir}: no corpus here (no journal*.sqlite). Name the folder that `paraphrase --output` wrote."
        )
    return found


@contextlib.contextmanager
def read(path: Path) -> Iterator[sqlite3.Connection]:
    """A journal, opened for reading only. Raises InputError, also while it is being read."""
    _check_plain(path)
    # where nothing may be written, SQLite has to be told that nobody else writes either
    alone = not os.access(path.parent, os.W_OK) and not Path(f"{path}-wal").exists()
    uri = f"{path.absolute().as_uri()}?mode=ro" + "&immutable=1" * alone
    with _told(path), closing(sqlite3.connect(uri, uri=True)) as db:
        yield db


def tally(path: Path) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """How many rows a journal has by status, and by reason; and how many answers and tokens."""
    with read(path) as db:
        rows = dict(db.execute("SELECT status, COUNT(*) FROM rows GROUP BY status"))
        reasons = dict(db.execute("SELECT reason, COUNT(*) FROM rows WHERE reason IS NOT NULL GROUP BY reason"))
        _check_texts("a status or a reason", *rows, *reasons)
        found = db.execute("SELECT COUNT(*), TOTAL(tokens_in), TOTAL(tokens_out) FROM answers").fetchone()
        return rows, reasons, dict(zip(("answers", "tokens_in", "tokens_out"), map(int, found)))


def latest_recipe(corpus_dir: str | Path) -> dict:
    """The recipe of the newest run, or {} if none has begun."""
    with read(journals(corpus_dir)[0]) as db:
        found = db.execute("SELECT recipe FROM recipes ORDER BY id DESC LIMIT 1").fetchone()
        return _recipe(found[0]) if found else {}


def done_rows(path: Path) -> Iterator[tuple[int, str, str, str, str, dict]]:
    """(idx, image_id, caption, paraphrase_1, paraphrase_2, recipe) of the finished rows, by `idx`."""
    parsed = functools.cache(_recipe)  # a corpus has few recipes, and each row names one
    with read(path) as db:
        for idx, *texts, recipe in db.execute(
            "SELECT idx, image_id, caption, paraphrase_1, paraphrase_2, recipes.recipe FROM rows "
            "JOIN recipes ON recipes.id = rows.recipe WHERE status = 'done' ORDER BY idx"
        ):
            _check_texts(f"row {idx + 1}", *texts)
            yield idx, *texts, parsed(recipe)


# SQLite finds damaged pages and wrong types of its own schema; what somebody edited is found here, and told alike.
def _recipe(text: str) -> dict:
    try:
        recipe = json.loads(text)
        _check_texts("a recipe", recipe["generator"], recipe["model"])
        return recipe
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise sqlite3.DatabaseError("a recipe is malformed") from error


def _check_texts(what: str, *values: object) -> None:
    if not all(isinstance(value, str) and value for value in values):
        raise sqlite3.DatabaseError(f"{what} is malformed")
