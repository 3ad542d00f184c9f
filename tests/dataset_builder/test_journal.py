"""What was paid for is durable, and one process writes."""

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys

import pytest

from benchmarks import kill
from dataset_builder import InputError, corpus
from dataset_builder.journal import Answer, Journal, request_key

from .jobs import RECIPE, source


def test_two_writers_are_refused(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite", RECIPE)
    with pytest.raises(InputError, match="another process"):
        Journal(tmp_path / "journal.sqlite", RECIPE)
    journal.close()
    Journal(tmp_path / "journal.sqlite", RECIPE).close()


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
def test_a_journal_that_cannot_be_read_is_one_sentence(trouble, message, tmp_path):
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


def test_a_full_disk_is_told_to_whoever_waits(tmp_path):
    async def job():
        journal._db.execute("PRAGMA max_page_count = 1")
        with pytest.raises(InputError, match=r"journal.sqlite: the disk is full. Free some space .* is kept"):
            await journal.add_answer(request_key("x", {}), Answer("y" * 100_000))
        journal._db.execute("PRAGMA max_page_count = 1000000")
        await journal.add_answer(request_key("z", {}), Answer("z"))
        assert journal.answer(request_key("z", {})) == Answer("z")

    journal = Journal(tmp_path / "journal.sqlite", RECIPE)
    try:
        asyncio.run(job())
    finally:
        journal.close()


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(tmp_path):
    """The large version, 50 kills, is `python benchmarks/kill.py`."""
    counted = kill.run(tmp_path, source(120, distinct=110), kills=4)
    assert (counted["kills"], counted["rows"]) == (4, 120)
