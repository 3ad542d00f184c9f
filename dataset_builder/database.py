"""The file of a journal, in SQLite: its tables, how it is opened, and what its errors mean."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
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
CREATE TABLE IF NOT EXISTS sources (id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS asked (
    key BLOB PRIMARY KEY, file TEXT NOT NULL, max_tokens INTEGER, error TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS imports (digest BLOB PRIMARY KEY) WITHOUT ROWID;
"""
# Only in the journal of a job that makes negatives. `status` and `reason` are as those of a row; a negative that is
# dropped or failed leaves its row as it is.
NEGATIVES = """
CREATE TABLE IF NOT EXISTS negatives (
    idx INTEGER PRIMARY KEY, recipe INTEGER NOT NULL REFERENCES recipes, negative TEXT, status TEXT NOT NULL,
    reason TEXT, answer BLOB
)
"""
# What journals of version 0.2 lack: the limit that an answer was asked with, whether it is to be asked again, and the
# answer for which a row was rejected.
ADDED = {
    "answers": {"max_tokens": "INTEGER", "stale": "INTEGER NOT NULL DEFAULT 0"},
    "rows": {"answer": "BLOB"},
}
# `?1` is a reason with or without its step, e.g. "step 1: refused"; NULL is any.
OF_REASON = (
    "(?1 IS NULL OR reason = ?1 "
    "OR reason IN ('caption: ' || ?1, 'step 1: ' || ?1, 'step 2: ' || ?1, 'step 3: ' || ?1))"
)

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
def told(path: Path) -> Iterator[None]:
    """Turns what SQLite and the system say about a journal into one sentence, an InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: the output cannot be written: {error.strerror}. Check the path.") from error
    except sqlite3.Error as error:
        said = str(error)
        remedy = next((remedy for words, remedy in REMEDIES.items() if re.search(words, said)), "Check the disk.")
        raise InputError(f"{path}: {remedy} (SQLite says: {said})") from error


def check_plain(path: Path) -> None:
    """Raises InputError for what is no file, beside the journal too: SQLite would wait for a pipe for ever."""
    for file in (f"{path}{suffix}" for suffix in ("", ".lock", "-wal", "-shm", "-journal")):
        if os.path.exists(file) and not os.path.isfile(file):
            raise InputError(f"{file}: is a folder, a device or a pipe, and no file of a journal. Move it away.")


@contextlib.contextmanager
def read(path: Path) -> Iterator[sqlite3.Connection]:
    """A journal, opened for reading only. Raises InputError, also while it is being read."""
    check_plain(path)
    # where nothing may be written, SQLite has to be told that nobody else writes either
    alone = not os.access(path.parent, os.W_OK) and not Path(f"{path}-wal").exists()
    uri = f"{path.absolute().as_uri()}?mode=ro" + "&immutable=1" * alone
    with told(path), closing(sqlite3.connect(uri, uri=True)) as db:
        for table, columns in missing(db).items():
            more = ", ".join(
                f"{'0' if 'NOT NULL' in kind else 'NULL'} AS {column}" for column, kind in columns.items()
            )
            db.execute(f"CREATE TEMP VIEW {table} AS SELECT *, {more} FROM main.{table}")  # hides the table itself
        yield db


def has_negatives(db: sqlite3.Connection) -> bool:
    """Whether a journal has the table `negatives`."""
    return db.execute("SELECT 1 FROM sqlite_master WHERE name = 'negatives'").fetchone() is not None


def missing(db: sqlite3.Connection) -> dict[str, dict[str, str]]:
    """The columns of `ADDED` that the tables of a journal lack."""
    lacks: dict[str, dict[str, str]] = {}
    for table, columns in ADDED.items():
        found = {name for _, name, *_ in db.execute(f"PRAGMA main.table_info({table})")}
        lacking = {column: kind for column, kind in columns.items() if found and column not in found}
        lacks |= {table: lacking} if lacking else {}
    return lacks


def check_texts(what: str, *values: object) -> None:
    """Raises what a damaged page does for a value that is no text: SQLite does not see what somebody edited."""
    if not all(isinstance(value, str) and value for value in values):
        raise sqlite3.DatabaseError(f"{what} is malformed")
