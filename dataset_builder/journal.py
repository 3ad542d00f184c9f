"""The journal of a corpus: one SQLite file in which every answer is durable before anyone counts it.

Two things are kept apart. `answers` are what the generator said, by the hash of the exact request: paid for once,
whatever becomes of them. `rows` are the captions with their outcome under a recipe (prompts, model, sampling,
filters). They are made again from the answers, without a call, when the recipe changes.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
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


class Journal:
    """A journal that is being written, by one process at a time.

    `add_answer` and `add_row` return futures of the running event loop that are done when the write is on the disk.
    One thread writes. It puts everything that is waiting into one transaction, so that durability costs one fsync per
    group.

    Args:
        path: the file; made if it is not there.
        recipe: everything but the captions that decides what becomes of the rows.

    Raises:
        InputError: another process is writing to it.
    """

    def __init__(self, path: str | Path, recipe: dict):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(self.path, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._lock = sqlite3.connect(f"{self.path}.lock", timeout=0)
        try:
            self._lock.execute("BEGIN EXCLUSIVE")  # held until close, and freed by the system if we are killed
        except sqlite3.OperationalError as error:
            raise InputError(f"{self.path} is being written by another process. Wait for it or stop it.") from error
        self._db.execute("PRAGMA synchronous=FULL")  # a power cut loses nothing either
        self._db.executescript(SCHEMA)
        text = json.dumps(recipe, sort_keys=True)
        with self._db:
            self._db.execute("INSERT OR IGNORE INTO recipes (recipe) VALUES (?)", (text,))
        (self.recipe_id,) = self._db.execute("SELECT id FROM recipes WHERE recipe = ?", (text,)).fetchone()
        self._reader = sqlite3.connect(self.path)
        self._queue: queue.SimpleQueue = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        self._thread.start()

    def answer(self, key: bytes) -> Answer | None:
        """The answer that was kept for a request, if there is one."""
        found = self._reader.execute(
            "SELECT text, finish_reason, tokens_in, tokens_out FROM answers WHERE key = ?", (key,)
        ).fetchone()
        return Answer(*found) if found else None

    def settled(self, first: int, last: int) -> dict[int, Row]:
        """The rows `first`..`last` that need no more work under this recipe, by `idx`."""
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
        for connection in (self._reader, self._db, self._lock):
            connection.close()

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
            error = None
            try:
                with self._db:
                    for statement, values, _, _ in group:
                        self._db.execute(statement, values)
            except Exception as caught:  # usually a full disk; whatever it is, whoever waits has to know
                error = OSError(f"{self.path}: {caught}")
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


def read(path: Path) -> sqlite3.Connection:
    """Open a journal for reading only."""
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)


def latest_recipe(corpus_dir: str | Path) -> dict:
    """The recipe of the newest run."""
    with closing(read(journals(corpus_dir)[0])) as db:
        (text,) = db.execute("SELECT recipe FROM recipes ORDER BY id DESC LIMIT 1").fetchone()
    return json.loads(text)


def done_rows(path: Path) -> Iterator[tuple]:
    """(idx, image_id, caption, paraphrase_1, paraphrase_2, recipe) of the finished rows, by `idx`."""
    yield from read(path).execute(
        "SELECT idx, image_id, caption, paraphrase_1, paraphrase_2, recipes.recipe FROM rows "
        "JOIN recipes ON recipes.id = rows.recipe WHERE status = 'done' ORDER BY idx"
    )
