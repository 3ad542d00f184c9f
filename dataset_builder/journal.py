"""The journal of a corpus: one SQLite file in which every answer is durable before anyone counts it.

Two things are kept apart. `answers` are what the generator said, by the hash of the exact request: paid for once,
whatever becomes of them. `rows` are the captions with their outcome under a recipe (prompts, model, sampling,
filters). They are made again from the answers, without a call, when the recipe changes.
"""

from __future__ import annotations

import asyncio
import contextlib
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

from .database import NEGATIVES, OF_REASON, SCHEMA, check_plain, check_texts, has_negatives, missing, read, told

ENOUGH = 20  # answers whose average of tokens says something

ADD_ANSWER = """
INSERT INTO answers (key, text, finish_reason, tokens_in, tokens_out, max_tokens) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET text = excluded.text, finish_reason = excluded.finish_reason,
    tokens_in = coalesce(tokens_in + excluded.tokens_in, excluded.tokens_in, tokens_in),
    tokens_out = coalesce(tokens_out + excluded.tokens_out, excluded.tokens_out, tokens_out),
    max_tokens = excluded.max_tokens, stale = 0
"""
ADD_ROW = """
INSERT OR REPLACE INTO rows (recipe, idx, image_id, caption, paraphrase_1, paraphrase_2, status, reason, answer)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
ADD_NEGATIVE = """
INSERT OR REPLACE INTO negatives (recipe, idx, negative, status, reason, answer) VALUES (?, ?, ?, ?, ?, ?)
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
    """One caption's outcome. `status`: "done", "rejected" (final, by reason) or "failed" (tried again next time).

    `answer` is the key of the answer for which it was rejected, if it was not for the caption itself.
    """

    idx: int
    image_id: str
    caption: str
    paraphrase_1: str | None
    paraphrase_2: str | None
    status: str
    reason: str | None = None
    answer: bytes | None = None


@dataclass(frozen=True)
class Negative:
    """What became of a finished row's negative: `status`, `reason` and `answer` as of a `Row`."""

    idx: int
    negative: str | None
    status: str
    reason: str | None = None
    answer: bytes | None = None


def request_key(prompt: str, identity: dict) -> bytes:
    """Hash of a request: the whole prompt, and all else that decides the answer (model, sampling).

    The longest answer is no part of it: another limit changes only the answers that were cut.
    """
    return hashlib.sha256(json.dumps([prompt, identity], sort_keys=True).encode()).digest()


def storable(text: str) -> str:
    """Half of a surrogate pair, which JSON can escape but no database can store, becomes U+FFFD."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


ENOUGH = 20  # answers whose average of tokens says something


class Reader:
    """What the journals of a corpus hold while a job runs. Nothing is written.

    Args:
        journals: path and database of each: none yet, one, or one per part.
        recipe: everything but the captions that decides what becomes of the rows.
    """

    def __init__(self, journals: list[tuple[Path, sqlite3.Connection]], recipe: dict | None = None):
        self._journals = journals
        self._recipe = _json(recipe)
        self._makes_negatives = makes_negatives(recipe)
        self._old_limits: set[int] = set()
        for path, db in journals:
            with told(path):
                self._old_limits |= {_old_limit(text) for (text,) in db.execute("SELECT recipe FROM recipes")} - {0}

    def answer(self, prompt: str, identity: dict, max_tokens: int | None) -> tuple[bytes, Answer | None]:
        """The key of a request, and the answer that was kept for it.

        One that is to be asked again, or that was cut at a lower limit than `max_tokens`, is none.
        """
        key = request_key(prompt, identity)
        if (answer := self._answer(key, max_tokens)) is not None:
            return key, answer
        for limit in self._old_limits:
            old = request_key(prompt, {**identity, "max_tokens": limit})
            if (answer := self._answer(old, max_tokens, limit)) is not None:
                return old, answer
        return key, None

    def _answer(self, key: bytes, max_tokens: int | None, asked_with: int | None = None) -> Answer | None:
        for path, db in self._journals:
            with told(path):
                found = db.execute(
                    "SELECT text, finish_reason, tokens_in, tokens_out, coalesce(max_tokens, ?) FROM answers "
                    "WHERE key = ? AND NOT stale",
                    (asked_with, key),
                ).fetchone()
                if found is None:
                    continue
                *values, limit = found
                check_texts("an answer", values[0] or "nothing", values[1])  # one that was refused may be empty
                higher = limit != max_tokens and (limit is None or max_tokens is None or max_tokens > limit)
                if not (higher and values[1] == "length"):
                    return Answer(*values)
        return None

    def known(self, first: int, last: int) -> dict[int, tuple[str, str, bool]]:
        """The rows `first`..`last` by `idx`: image_id, caption, and whether this recipe needs no more work on it."""
        rows: dict[int, tuple[str, str, bool]] = {}
        for path, db in self._journals:
            settled = "status != 'failed'"
            with told(path):
                if self._makes_negatives and has_negatives(db):
                    settled = (
                        "(status = 'rejected' OR status = 'done' AND EXISTS (SELECT 1 FROM negatives AS n "
                        "WHERE n.idx = rows.idx AND n.recipe = rows.recipe AND n.status != 'failed'))"
                    )
                found = db.execute(
                    f"SELECT idx, image_id, caption, {settled} AND recipes.recipe = ? FROM rows "
                    "JOIN recipes ON recipes.id = rows.recipe WHERE idx BETWEEN ? AND ?",
                    (self._recipe, first, last),
                )
                rows |= {idx: (image_id, caption, bool(settled)) for idx, image_id, caption, settled in found}
        return rows

    def has_other_recipes(self) -> bool:
        """Whether there are rows that another recipe made: they are made again."""
        for path, db in self._journals:
            with told(path):
                if db.execute(
                    "SELECT 1 FROM rows JOIN recipes ON recipes.id = rows.recipe WHERE recipes.recipe != ? LIMIT 1",
                    (self._recipe,),
                ).fetchone():
                    return True
        return False

    def tokens_per_answer(self) -> tuple[float, float] | None:
        """Tokens in and out of an answer on average; None if there are too few that tell."""
        counts = [0, 0, 0]
        for path, db in self._journals:
            with told(path):
                found = db.execute(
                    "SELECT COUNT(*), TOTAL(tokens_in), TOTAL(tokens_out) FROM answers "
                    "WHERE tokens_in IS NOT NULL AND tokens_out IS NOT NULL"
                ).fetchone()
                counts = [count + more for count, more in zip(counts, found)]
        return (counts[1] / counts[0], counts[2] / counts[0]) if counts[0] >= ENOUGH else None

    async def add_row(self, row: Row) -> None:
        """Keep nothing."""

    async def add_negative(self, negative: Negative) -> None:
        """Keep nothing."""


@contextlib.contextmanager
def snapshot(corpus_dir: str | Path, recipe: dict) -> Iterator[Reader]:
    """The journals of a corpus, of which there may be none yet, opened for reading only."""
    with contextlib.ExitStack() as opened:
        paths = sorted(Path(corpus_dir).glob("journal*.sqlite"))
        yield Reader([(path, opened.enter_context(read(path))) for path in paths], recipe)


class Journal(Reader):
    """A journal that is being written, by one process at a time.

    `add_answer` and `add_row` return futures of the running event loop that are done when the write is on the disk.
    One thread writes. It puts everything that is waiting into one transaction, so that durability costs one fsync per
    group.

    Args:
        path: the file; made if it is not there.
        recipe: everything but the captions that decides what becomes of the rows; None where no row is made.

    Raises:
        InputError: another process is writing to it, or it cannot be written.
    """

    def __init__(self, path: str | Path, recipe: dict | None = None):
        self.path = Path(path)
        check_plain(self.path)
        with contextlib.ExitStack() as opened, told(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = opened.enter_context(closing(sqlite3.connect(f"{self.path}.lock", timeout=0)))
            self._lock.execute("BEGIN EXCLUSIVE")  # held until close, and freed by the system if we are killed
            self._db = opened.enter_context(closing(sqlite3.connect(self.path, check_same_thread=False)))
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")  # a power cut loses nothing either
            self._db.executescript(SCHEMA)
            for table, columns in missing(self._db).items():
                for column, kind in columns.items():
                    self._db.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
            if makes_negatives(recipe):
                self._db.execute(NEGATIVES)
            if recipe is not None:
                with self._db:
                    self._db.execute("INSERT OR IGNORE INTO recipes (recipe) VALUES (?)", (_json(recipe),))
            found = self._db.execute("SELECT id FROM recipes WHERE recipe = ?", (_json(recipe),)).fetchone()
            self._recipe_id = found[0] if found else None
            super().__init__([(self.path, opened.enter_context(closing(sqlite3.connect(self.path))))], recipe)
            self._opened = opened.pop_all()
        self._writing = threading.Lock()
        self._queue: queue.SimpleQueue = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        self._thread.start()

    def add_answer(self, key: bytes, answer: Answer, max_tokens: int | None = None) -> asyncio.Future:
        """Keep an answer under its request. The tokens of an answer that it replaces were paid for: they add up."""
        return self._put(ADD_ANSWER, (key, *astuple(answer), max_tokens))

    def add_row(self, row: Row) -> asyncio.Future:  # type: ignore[override]
        """Keep what became of a row."""
        return self._put(ADD_ROW, (self._recipe_id, *astuple(row)))

    def add_negative(self, negative: Negative) -> asyncio.Future:  # type: ignore[override]
        """Keep what became of a row's negative."""
        return self._put(ADD_NEGATIVE, (self._recipe_id, *astuple(negative)))

    def source(self) -> dict:
        """The fingerprint of the captions, or {} where none was kept yet."""
        with self.transaction() as db:
            found = db.execute("SELECT fingerprint FROM sources ORDER BY id DESC LIMIT 1").fetchone()
        return json.loads(found[0]) if found else {}

    def keep_source(self, fingerprint: dict) -> None:
        """Keep the fingerprint of the captions that are read from now on."""
        if fingerprint != self.source():
            with self.transaction() as db:
                db.execute("INSERT INTO sources (fingerprint) VALUES (?)", (json.dumps(fingerprint, sort_keys=True),))

    def awaited(self) -> dict[str, int]:
        """The files of requests that are there, each with how many of its requests have no result yet."""
        with self.transaction() as db:
            found = db.execute("SELECT file, COUNT(*) FROM asked WHERE error IS NULL GROUP BY file ORDER BY file")
            return {file: count for file, count in found if (self.path.parent / file).exists()}

    def asked_in(self, key: bytes) -> str | None:
        """The file in which a request was written whose result is not in, or None."""
        (path, db) = self._journals[0]
        with told(path):
            found = db.execute("SELECT file FROM asked WHERE key = ? AND error IS NULL", (key,)).fetchone()
        return found[0] if found else None

    def ask_again(self, reason: str) -> int:
        """Have the rows whose answers were rejected for `reason` done again, with new ones. Returns how many."""
        rejected = f"status = 'rejected' AND {OF_REASON}"
        count = 0
        with self.transaction() as db:
            for table in _with_reasons(db):
                (answers,) = db.execute(f"SELECT COUNT(answer) FROM {table} WHERE {rejected}", (reason,)).fetchone()
                db.execute(
                    f"UPDATE answers SET stale = 1 WHERE key IN (SELECT answer FROM {table} WHERE {rejected})",
                    (reason,),
                )
                db.execute(
                    f"UPDATE {table} SET status = 'failed', "
                    "reason = 'step ' || substr(reason, 6, 1) || ': to be asked again' "
                    f"WHERE answer IS NOT NULL AND {rejected}",
                    (reason,),
                )
                count += answers
        return count

    def rejected_answers(self) -> list[str]:
        """The reasons for which answers were rejected."""
        with self.transaction() as db:
            return sorted(
                reason
                for table in _with_reasons(db)
                for (reason,) in db.execute(
                    f"SELECT DISTINCT reason FROM {table} WHERE answer IS NOT NULL AND status = 'rejected'"
                )
            )

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The database, for several statements that are kept together or not at all."""
        with self._writing, told(self.path), self._db:
            yield self._db

    def close(self) -> None:
        """Write what is waiting, and close."""
        self._queue.put(None)
        self._thread.join()
        with told(self.path):
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
                with self.transaction() as db:
                    for statement, values, _, _ in group:
                        db.execute(statement, values)
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


def _with_reasons(db: sqlite3.Connection) -> tuple[str, ...]:
    """The tables that say why an answer was rejected."""
    return ("rows", "negatives") if has_negatives(db) else ("rows",)


def makes_negatives(recipe: dict | None) -> bool:
    """Whether a job asks for negatives, too: its recipe has a third prompt."""
    return len((recipe or {}).get("prompts", ())) > 2


def _old_limit(recipe: str) -> int:
    """The longest answer of a recipe of version 0.2, which had it in the key; 0 for a newer recipe, or without one."""
    try:
        parsed = json.loads(recipe)
        limit = 0 if "filters" in parsed else parsed.get("sampling", {}).get("max_tokens") or 0
        return int(limit)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise sqlite3.DatabaseError("a recipe is malformed") from error


def _json(recipe: dict | None) -> str:
    return json.dumps(recipe, sort_keys=True)
