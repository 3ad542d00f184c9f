"""Caches of embeddings and journals that are damaged, foreign, read-only or hold nonsense."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from .box import Box, Case, Result, either, model_is_whole, refused, works

Spoil = Callable[[Path], object]


def _sql(*statements: str) -> Spoil:
    def spoil(file: Path) -> None:
        with closing(sqlite3.connect(file)) as db, db:
            for statement in statements:
                db.execute(statement)

    return spoil


def _bytes(change: Callable[[bytes], bytes]) -> Spoil:
    return lambda file: file.write_bytes(change(file.read_bytes()))


def _inverted(at: float, size: int = 64) -> Spoil:
    def change(data: bytes) -> bytes:
        start = int(at * (len(data) - size))
        return data[:start] + bytes(255 - byte for byte in data[start : start + size]) + data[start + size :]

    return _bytes(change)


def _replaced(make: Callable[[Path], object]) -> Spoil:
    def spoil(file: Path) -> None:
        file.unlink()
        make(file)

    return spoil


def _vectors(value: bytes) -> Spoil:
    def spoil(file: Path) -> None:
        with closing(sqlite3.connect(file)) as db, db:
            db.execute("UPDATE embeddings SET vector = ?", (value,))

    return spoil


def _one_vector(value: bytes) -> Spoil:
    def spoil(file: Path) -> None:
        with closing(sqlite3.connect(file)) as db, db:
            db.execute("UPDATE embeddings SET vector = ? WHERE rowid = 3", (value,))

    return spoil


HALF_NAN, HALF_INF = b"\x00\x7e", b"\x00\x7c"
DAMAGE: dict[str, Spoil] = {
    "empty": _bytes(lambda data: b""),
    "text": _bytes(lambda data: b"hello"),
    "zeros": _bytes(lambda data: bytes(len(data))),
    "header only": _bytes(lambda data: data[:100]),
    **{f"cut to {f}": _bytes(lambda data, f=f: data[: int(f * len(data))]) for f in (0.25, 0.5, 0.75, 0.99)},
    **{f"bytes inverted at {tenth}/10": _inverted(tenth / 10) for tenth in range(11)},
    "page size 0": _bytes(lambda data: data[:16] + b"\0\0" + data[18:]),
    "a version of the future": _bytes(lambda data: data[:18] + b"\x09\x09" + data[20:]),
    "a folder": _replaced(lambda file: file.mkdir()),
    "a FIFO": _replaced(os.mkfifo),
    "a dead link": _replaced(lambda file: file.symlink_to("/nowhere/x")),
    "a link to itself": _replaced(lambda file: file.symlink_to(file.name)),
    "/dev/null": _replaced(lambda file: file.symlink_to("/dev/null")),
    "/dev/zero": _replaced(lambda file: file.symlink_to("/dev/zero")),
    "a hot journal of garbage": lambda file: Path(f"{file}-journal").write_bytes(b"x" * 5000),
    "a WAL of garbage": lambda file: Path(f"{file}-wal").write_bytes(b"x" * 5000),
}
CACHE: dict[str, Spoil] = {
    **DAMAGE,
    "no tables": _sql("DROP TABLE embeddings", "DROP TABLE files"),
    "other columns": _sql("DROP TABLE embeddings", "CREATE TABLE embeddings (a, b)"),
    "other columns of files": _sql("DROP TABLE files", "CREATE TABLE files (a, b)"),
    "a view": _sql("ALTER TABLE embeddings RENAME TO v", "CREATE VIEW embeddings AS SELECT * FROM v"),
    "a trigger": _sql("CREATE TRIGGER t AFTER INSERT ON embeddings BEGIN DELETE FROM embeddings; END"),
    "NaN in all vectors": _vectors(HALF_NAN * 8),
    "infinite vectors": _vectors(HALF_INF * 8),
    "zero vectors": _vectors(bytes(16)),
    "NaN in one vector": _one_vector(HALF_NAN * 8),
    "short vectors": _vectors(bytes(14)),
    "one short vector": _one_vector(b"\x00\x3c" * 7),
    "odd vectors": _vectors(bytes(15)),
    "empty vectors": _vectors(b""),
    "one empty vector": _one_vector(b""),
    "vectors of text": _sql("UPDATE embeddings SET vector = 'abcdefgh12345678'"),
    "one vector of text": _sql("UPDATE embeddings SET vector = 'abcdefgh12345678' WHERE rowid = 3"),
    "vectors of numbers": _sql("UPDATE embeddings SET vector = 7"),
    "long vectors": _vectors(b"\x00\x3c" * 80),
    "vectors of another scale": _vectors(b"\x00\x70" * 8),
    "digests of numbers": _sql("UPDATE embeddings SET digest = rowid"),
    "digests of blobs": _sql("UPDATE embeddings SET digest = CAST(digest AS BLOB)"),
    "digest of invalid UTF-8": _sql("UPDATE embeddings SET digest = CAST(x'ff' AS TEXT) WHERE rowid = 1"),
    "files to other digests": _sql("UPDATE files SET digest = 'x'"),
    "files with texts as sizes": _sql("UPDATE files SET size = 'x'"),
    "a path of invalid UTF-8": _sql("UPDATE files SET path = CAST(x'ff' AS TEXT) WHERE rowid = 1"),
    "locked": lambda file: None,
}
JOURNAL: dict[str, Spoil] = {
    **DAMAGE,
    "no tables": _sql("DROP TABLE rows", "DROP TABLE answers", "DROP TABLE recipes"),
    "other columns": _sql("DROP TABLE rows", "CREATE TABLE rows (a, b)"),
    "no recipes": _sql("DELETE FROM recipes"),
    "recipe not JSON": _sql("UPDATE recipes SET recipe = '{'"),
    "recipe a list": _sql("UPDATE recipes SET recipe = '[]'"),
    "recipe nested": _sql("UPDATE recipes SET recipe = '" + "[" * 100_000 + "'"),
    "recipe without model": _sql("UPDATE recipes SET recipe = '{}'"),
    "null captions": _sql(
        "ALTER TABLE rows RENAME TO r",
        "CREATE TABLE rows AS SELECT * FROM r",
        "UPDATE rows SET caption = NULL",
    ),
    "captions of blobs": _sql("UPDATE rows SET caption = x'ff'"),
    "captions of numbers": _sql("UPDATE rows SET caption = 7"),
    "captions of invalid UTF-8": _sql("UPDATE rows SET caption = CAST(x'ff' AS TEXT)"),
    "ids of blobs": _sql("UPDATE rows SET image_id = x'00'"),
    "paraphrases null": _sql("UPDATE rows SET paraphrase_2 = NULL"),
    "unknown status": _sql("UPDATE rows SET status = 'evil'"),
    "null status": _sql(
        "ALTER TABLE rows RENAME TO r",
        "CREATE TABLE rows AS SELECT * FROM r",
        "UPDATE rows SET status = NULL",
    ),
    "unknown recipe": _sql("UPDATE rows SET recipe = 99"),
    "hostile reason": _sql("UPDATE rows SET status = 'rejected', reason = char(27) || ']0;evil' || char(7)"),
    "tokens of text": _sql("UPDATE answers SET tokens_in = 'x'"),
    "negative tokens": _sql("UPDATE answers SET tokens_in = -9223372036854775807"),
    "huge tokens": _sql("UPDATE answers SET tokens_in = 9223372036854775807"),
    "answers of blobs": _sql("UPDATE answers SET text = x'ff'"),
    "hostile captions": _sql("UPDATE rows SET caption = char(27) || ']0;evil' || char(7)"),
    "no rows": _sql("DELETE FROM rows"),
}


def _train(spoil: Spoil):
    """Train twice; between the two the cache is spoiled. The second has to end as the first, or say what is wrong."""

    def run(box: Box) -> Result:
        box.pairs()
        for path in Path("pictures").iterdir():
            os.utime(path, (1e9, 1e9))  # so that the cache trusts size, time and inode
        first = box.train("--output_dir", "first")
        assert first.status == 0, first.err
        (file,) = Path("cache").glob("*.sqlite")
        spoil(file)
        return box.train()

    return run


def _same_model(box: Box, result: Result) -> str:
    same = Path("first/model.safetensors").read_bytes() == Path("out/model.safetensors").read_bytes()
    return model_is_whole(box, result) or ("" if same else "other weights than with a good cache")


def _evaluate(spoil: Spoil):
    def run(box: Box) -> Result:
        box.copy("data")
        arguments = ("--tasks", "sts,image_text_retrieval", "--output")
        first = box.evaluate(*arguments, "first.json")
        assert first.status == 0, first.err
        for file in Path("cache").glob("*.sqlite"):
            spoil(file)
        return box.evaluate(*arguments, "second.json")

    return run


def _same_figures(box: Box, result: Result) -> str:
    import json

    figures = [
        [entry["value"] for entry in json.loads(Path(name).read_text())] for name in ("first.json", "second.json")
    ]
    return "" if figures[0] == figures[1] else "other figures than with a good cache"


def _corpus(spoil: Spoil, *argv: str):
    def run(box: Box) -> Result:
        box.copy("corpus")
        for file in Path("corpus").glob("journal.sqlite-*"):
            file.unlink()
        spoil(Path("corpus/journal.sqlite"))
        captions = ["--captions", str(box.fixtures / "captions.txt")] if argv[0] == "paraphrase" else []
        return box.corpus(*argv, *captions)

    return run


def _exported(box: Box, result: Result) -> str:
    """Every line is a triple of texts."""
    import json

    for line in Path("x.jsonl").read_text().splitlines():
        row = json.loads(line)
        if not all(
            isinstance(row[name], str) and row[name]
            for name in ("image_id", "caption", "paraphrase_1", "paraphrase_2")
        ):
            return f"exported {row}"
    return ""


def _locked(box: Box) -> Result:
    box.pairs()
    box.train("--output_dir", "first")
    (file,) = Path("cache").glob("*.sqlite")
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        return box.train()


def cases(args) -> Iterator[Case]:
    """Every damage to each kind of file."""
    for name, spoil in CACHE.items():
        if name == "locked":
            continue
        odd = "vectors of another scale", "long vectors"
        yield Case(
            "caches",
            f"train: {name}",
            _train(spoil),
            either("cache", check=_same_model if name not in odd else model_is_whole),
        )
        if "vector" not in name:  # those are of 8 half floats
            yield Case("caches", f"eval: {name}", _evaluate(spoil), either("cache", check=_same_figures))
    for name, vector in {
        "NaN": b"\0\0\xc0\x7f" * 8,
        "infinite": b"\0\0\x80\x7f" * 8,
        "zeros": bytes(32),
        "short": bytes(28),
        "odd": bytes(31),
        "empty": b"",
    }.items():
        yield Case("caches", f"eval: vectors {name}", _evaluate(_vectors(vector)), refused("cache"))
    yield Case("caches", "train: locked", _locked, refused("cache"), deadline=150)
    for name, spoil in JOURNAL.items():
        for argv in (
            ("stats", "corpus"),
            ("stats", "corpus", "--json"),
            ("export", "corpus", "--format", "jsonl", "--output", "x.jsonl"),
            ("export", "corpus", "--output", "x.parquet"),
            ("paraphrase", "--output", "corpus", "--generator", "rules"),
        ):
            right = either("journal", check=_exported) if "jsonl" in argv else either("journal")
            if argv[0] == "paraphrase" and re.search("caption|ids", name):
                right = either()  # other captions than those that the corpus was started with: they are named
            yield Case("caches", f"{' '.join(argv[:3])}: {name}", _corpus(spoil, *argv), right)
    for name, prepare in {
        "a folder as the cache file's folder": lambda: Path("cache").write_text("mine"),
        "a dead link as the cache": lambda: Path("cache").symlink_to("/nowhere/x"),
    }.items():

        def run(box: Box, prepare=prepare) -> Result:
            box.pairs()
            prepare()
            return box.train()

        yield Case("caches", f"train: {name}", run, refused("cache"))
    yield Case("caches", "another model's cache", _foreign_cache, works(model_is_whole))


def _foreign_cache(box: Box) -> Result:
    """The same folder for two bases: each has its own vectors."""
    box.pairs()
    box.train("--model_name_or_path", box.fixtures / "other", "--output_dir", "first")
    shutil.rmtree("first")
    return box.train()
