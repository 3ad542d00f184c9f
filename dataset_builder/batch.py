"""Batch files: what is still to be asked as JSONL for the OpenAI Batch API or `vllm run-batch`, and its results.

Both take lines {"custom_id", "method", "url", "body"} and give lines {"id", "custom_id", "response", "error"}, in any
order. The custom id is the key of the answer in the journal, in hexadecimal digits. Sources: OpenAI's API reference,
"The request input object" and "The request output object" of Batch; vllm/entrypoints/openai/run_batch.py.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from tqdm.auto import tqdm

from .errors import InputError, printable, short
from .estimate import Estimate
from .files import checked_file, lines, parsed_json
from .generators import CallFailed
from .generators.openai import OpenAIGenerator
from .generators.replies import read_answer
from .job import Job, ask_again, begun, listed, made, settle
from .journal import ADD_ANSWER, Answer, Journal, storable
from .paraphrase import Request
from .records import journals

MOST_REQUESTS, MOST_BYTES = 50_000, 200 * 10**6  # of a file (OpenAI)
GROUP = 1000  # results that are kept in one transaction
NAMED = 3  # examples of what is wrong with a results file


# ------------------------------------------------------------------------------------------------------- requests
def write_requests(job: Job, path: Path, tell: Callable[[str], None]) -> int:
    """Settle the rows that the journal has answers for, and write the requests that the others need to `path`.

    A file takes `MOST_REQUESTS` requests and `MOST_BYTES` bytes; more files are called as `path` with -2, -3 ... A
    request in a file that is still there, whose result is not in, is not written again.

    Args:
        job: what to do; its generator is an endpoint's.
        path: the first file.
        tell: is given what was done.

    Returns:
        How many requests were written.

    Raises:
        InputError: as `job.run`; or a file cannot be written.
        Fatal: nearly nothing of what was answered can be kept.
    """
    generator = job.make_generator()
    assert isinstance(generator, OpenAIGenerator)
    with begun(job, generator) as journal:
        ask_again(job, journal, tell)
        estimate = Estimate(generator, job.prompts, journal.tokens_per_answer())
        requests = _Requests(journal, generator, path, estimate)
        try:
            read = asyncio.run(settle(job, generator, journal, job.checks(), missing=requests))
            files = requests.keep()
        finally:
            requests.discard()
            asyncio.run(generator.close())
        tell(f"{made(read):,} rows are settled without a call; {read.outcomes['open']:,} wait for answers.")
        for file, count in files.items():
            tell(f"{file}: {count:,} requests")
        if awaited := {file: count for file, count in journal.awaited().items() if file not in files}:
            tell(f"Written before, and without a result yet: {listed(awaited)}.")
        tell(estimate.told(job.cost))
        return sum(files.values())


class _Requests:
    """Writes each request once, aside; the files take their places when the journal knows what is in them."""

    def __init__(self, journal: Journal, generator: OpenAIGenerator, path: Path, estimate: Estimate):
        self._journal, self._generator, self._path, self._estimate = journal, generator, path, estimate
        self._seen: set[int] = set()  # as in `Estimate`
        self._files: list[tuple[Path, BinaryIO]] = []
        self._count = self._bytes = 0
        self._awaited = set(journal.awaited())
        with journal.transaction() as db:
            self._taken = {file for (file,) in db.execute("SELECT DISTINCT file FROM asked")}

    def __call__(self, request: Request) -> None:
        hashed = int.from_bytes(request.key[:8], "big")
        if hashed in self._seen:
            return
        self._seen.add(hashed)
        if self._journal.asked_in(request.key) in self._awaited:
            return
        self._estimate(request)
        body = self._generator.request_body(request.prompt)
        row = {"custom_id": request.key.hex(), "method": "POST", "url": "/v1/chat/completions", "body": body}
        line = json.dumps(row).encode() + b"\n"
        if not self._files or self._count >= MOST_REQUESTS or self._bytes + len(line) > MOST_BYTES:
            self._next_file()
        self._files[-1][1].write(line)
        self._count += 1
        self._bytes += len(line)

    def _next_file(self) -> None:
        names = (self._path.with_stem(f"{self._path.stem}-{n}") if n > 1 else self._path for n in itertools.count(1))
        opened = {target for target, _ in self._files}
        target = next(
            name
            for name in names
            if not (name.exists() or name in opened or _kept_as(name, self._journal) in self._taken)
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        self._files.append((target, open(_aside(target), "wb")))  # noqa: SIM115 (see `discard`)
        self._count = self._bytes = 0

    def keep(self) -> dict[str, int]:
        """Put the files in their places. Returns their names, as `Journal.awaited` has them, and what is in them."""
        counts = {}
        with self._journal.transaction() as db:
            for target, file in self._files:
                file.flush()
                os.fsync(file.fileno())
                name = _kept_as(target, self._journal)
                with open(_aside(target), "rb") as written:
                    keys = (bytes.fromhex(json.loads(line)["custom_id"]) for line in written)
                    values = ((key, name, self._generator.max_tokens) for key in keys)
                    counts[name] = db.executemany(
                        "INSERT OR REPLACE INTO asked (key, file, max_tokens) VALUES (?, ?, ?)", values
                    ).rowcount
        # killed from here on, a file is missing, and what is in it is written again
        for target, _ in self._files:
            os.replace(_aside(target), target)
        return counts

    def discard(self) -> None:
        """Remove what did not take its place."""
        for target, file in self._files:
            file.close()
            _aside(target).unlink(missing_ok=True)


def _aside(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def _kept_as(file: Path, journal: Journal) -> str:
    """The name of a file in the journal: relative to it in its folder, so that a corpus can be moved."""
    folder, file = journal.path.parent.resolve(), file.resolve()
    return str(file.relative_to(folder) if file.is_relative_to(folder) else file)


# -------------------------------------------------------------------------------------------------------- results
@dataclass
class Imported:
    """What was in files of results."""

    answers: int = 0  # new ones
    duplicates: int = 0  # whose request has its answer already
    known_files: int = 0  # that were imported before
    failed: Counter[str] = field(default_factory=Counter)  # by the server's words; `requests` writes them again
    unknown: int = 0  # lines with a custom id that no file of requests of this corpus had
    unreadable: int = 0  # lines that are no result
    examples: list[str] = field(default_factory=list)  # of the last two
    awaited: dict[str, int] = field(default_factory=dict)  # requests without a result yet, by their file

    def told(self) -> Iterator[str]:
        """All of it in words, line by line."""
        yield f"{self.answers:,} answers"
        if self.duplicates:
            yield f"{self.duplicates:,} lines whose requests have their answers already"
        if self.known_files:
            yield f"{self.known_files:,} files that were imported before"
        for words, count in self.failed.most_common(NAMED):
            yield f"{count:,} calls failed: {words}"
        if len(self.failed) > NAMED:
            yield f"{self.failed.total():,} calls failed in all. `requests` writes them again."
        if self.unknown:
            yield f"{self.unknown:,} lines have a custom_id that no request of this corpus has"
        if self.unreadable:
            yield f"{self.unreadable:,} lines are no results"
        if self.examples:
            yield f"for example: {', '.join(self.examples)}"
        if self.awaited:
            yield (
                f"Without a result yet: {listed(self.awaited)}. If a batch ended without them, remove its file of "
                "requests: `requests` then writes them again."
            )
        yield "Give the command `requests` again: it settles the rows, and writes what is left to ask."


def import_answers(corpus_dir: str | Path, files: Iterable[str | Path]) -> Imported:
    """Keep the answers in files of results. Reading a file again changes nothing.

    Raises:
        InputError: there is no such file, or no corpus that `write_requests` began.
    """
    paths = [checked_file(file) for file in files]
    (path, *others) = journals(corpus_dir)
    if others or path.name != "journal.sqlite":
        raise InputError(f"{corpus_dir}: was begun in parts, which ask no requests by files. Give another folder.")
    imported = Imported()
    journal = Journal(path)
    try:
        for file in tqdm(paths, unit="file", desc="Importing"):
            _import_file(journal, file, imported)
        imported.awaited = journal.awaited()
    finally:
        journal.close()
    return imported


def _import_file(journal: Journal, file: Path, imported: Imported) -> None:
    digest = hashlib.sha256()
    with open(file, "rb") as opened:
        for block in iter(lambda: opened.read(2**20), b""):
            digest.update(block)
    with journal.transaction() as db:
        if db.execute("SELECT 1 FROM imports WHERE digest = ?", (digest.digest(),)).fetchone():
            imported.known_files += 1
            return
    numbered = enumerate(lines(file), start=1)
    while group := list(itertools.islice(numbered, GROUP)):
        with journal.transaction() as db:
            for number, line in group:
                if line is None or line.strip():
                    _import_line(db, line, f"{printable(file.name)} line {number}", imported)
    with journal.transaction() as db:
        db.execute("INSERT INTO imports (digest) VALUES (?)", (digest.digest(),))


def _import_line(db: Any, line: str | None, place: str, imported: Imported) -> None:
    result = parsed_json(line)
    custom_id = result.get("custom_id") if isinstance(result, dict) else None
    if not isinstance(custom_id, str):
        imported.unreadable += 1
        imported.examples += [place][len(imported.examples) // NAMED :]
        return
    key = bytes.fromhex(custom_id) if re.fullmatch("[0-9a-f]{64}", custom_id) else b""
    asked = db.execute("SELECT max_tokens FROM asked WHERE key = ?", (key,)).fetchone()
    if asked is None:
        if db.execute("SELECT 1 FROM answers WHERE key = ?", (key,)).fetchone():
            imported.duplicates += 1
        else:
            imported.unknown += 1
            imported.examples += [f"{short(custom_id, 32)} in {place}"][len(imported.examples) // NAMED :]
        return
    try:
        answer = read_result(result)
    except CallFailed as error:
        words = error.said or str(error)
        db.execute("UPDATE asked SET error = ? WHERE key = ?", (words, key))
        imported.failed[words] += 1
        return
    values = (storable(value) if isinstance(value, str) else value for value in astuple(answer))
    db.execute(ADD_ANSWER, (key, *values, asked[0]))
    db.execute("DELETE FROM asked WHERE key = ?", (key,))
    imported.answers += 1


def read_result(result: dict) -> Answer:
    """The answer in one line of results.

    Raises:
        CallFailed: an error, in `response` (OpenAI's, of the call) or in `error` (OpenAI's, of the batch; vLLM's), or
            anything else that is no answer.
    """
    response, error = result.get("response"), result.get("error")
    body = response.get("body") if isinstance(response, dict) else None
    if error or not body:
        status = response.get("status_code") if isinstance(response, dict) else None
        is_body = isinstance(error, dict) and ("error" in error or error.get("object") == "error")
        body = error if is_body else {"error": error or f"no answer, status {status}"}
    return read_answer(body)
