"""The file of a journal: whatever is wrong with it is told in one sentence, and nothing hangs."""

import contextlib
import functools
import os
import sqlite3
import subprocess
import sys

import pytest

from benchmarks import kill
from dataset_builder import InputError, corpus
from dataset_builder.database import ADDED, missing, read
from dataset_builder.journal import Journal

from .jobs import RECIPE, of_version_0_2


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ("folder", "is a folder, a device or a pipe"),
        ("pipe", "is a folder, a device or a pipe"),
        ("link to itself", "cannot be opened. Check the path"),
        ("garbage", "is damaged. Recover it with"),
        ("foreign", "is no journal of a corpus"),
        ("empty", "is no journal of a corpus"),
        ("cut", "is damaged. Recover it with"),
        ("locked", "is being written by another process"),
    ],
)
def test_a_journal_that_cannot_be_read_is_one_sentence(trouble, message, tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite3, "connect", functools.partial(sqlite3.connect, timeout=0.01))
    path = tmp_path / "journal.sqlite"
    with contextlib.ExitStack() as opened:
        if trouble == "folder":
            path.mkdir()
        elif trouble == "pipe":
            os.mkfifo(path)
        elif trouble == "link to itself":
            path.symlink_to(path.name)
        elif trouble == "garbage":
            path.write_text("garbage" * 1000)
        elif trouble == "empty":
            path.write_text("")
        elif trouble in ("cut", "locked"):
            Journal(path, RECIPE).close()
            with open(path, "r+b") as file:
                file.truncate(path.stat().st_size // (2 if trouble == "cut" else 1))
        if trouble in ("foreign", "locked"):
            other = opened.enter_context(contextlib.closing(sqlite3.connect(path)))
            other.execute("CREATE TABLE other (a)")
            if trouble == "locked":
                other.executescript("PRAGMA journal_mode=DELETE; BEGIN EXCLUSIVE")
        for read in (corpus.statistics, lambda folder: list(corpus.triples(folder))):
            with pytest.raises(InputError, match=f"journal.sqlite: {message}"):
                read(tmp_path)
        if trouble not in ("foreign", "empty"):  # which are begun
            with pytest.raises(InputError, match=f"journal.sqlite: {message}"):
                Journal(path, RECIPE)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX")
def test_where_nothing_may_be_written_a_corpus_can_be_read(tmp_path):
    Journal(tmp_path / "journal.sqlite", RECIPE).close()
    script = f"""
import os, sys
from pathlib import Path
from dataset_builder import InputError, corpus
from dataset_builder.journal import Journal
folder = Path({str(tmp_path)!r})
if os.getuid() == 0:
    for parent in [folder, *folder.parents][:-1]:
        parent.chmod(0o755)  # pytest's folders are private
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
else:
    folder.chmod(0o555)
print(corpus.statistics(folder)["answers"])
try:
    Journal(folder / "journal.sqlite", {{}})
except InputError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=kill.ROOT)
    tmp_path.chmod(0o755)
    assert said.stdout.startswith("0\n"), said.stderr
    assert "Check the rights of the file and of its folder" in said.stdout


def test_what_version_0_2_lacks_is_there_when_it_is_read_and_added_when_it_is_written(tmp_path):
    path = of_version_0_2(tmp_path)
    columns = "max_tokens, stale", "answer"
    with read(path) as db:
        assert missing(db) == ADDED
        assert {tuple(row) for row in db.execute(f"SELECT {columns[0]} FROM answers")} == {(None, 0)}
        assert {tuple(row) for row in db.execute(f"SELECT {columns[1]} FROM rows")} == {(None,)}
    Journal(path).close()
    with read(path) as db:
        assert missing(db) == {}
        assert {tuple(row) for row in db.execute(f"SELECT {columns[0]} FROM answers")} == {(None, 0)}
