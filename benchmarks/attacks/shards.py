"""Tar shards for the `datasets` builder: cut anywhere, with hostile names and members."""

from __future__ import annotations

import io
import json
import logging
import random
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from .box import Box, Case

TEXTS = {"caption": "a red dog", "paraphrase_1": "a dog in red", "paraphrase_2": "the crimson hound"}
CHUNK = 100
HOSTILE = "\x1b]0;evil\x07\u202e"


def picture() -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, "JPEG")
    return buffer.getvalue()


def shard(
    members: list[tuple[str | tarfile.TarInfo, bytes]], kind: str = "w", form: int = tarfile.USTAR_FORMAT
) -> bytes:
    """A tar file of (name or header, content)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=kind, format=form) as tar:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            if info.isreg():
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def good(count: int = 8, **more: object) -> list[tuple[str | tarfile.TarInfo, bytes]]:
    """Members of good samples."""
    members: list[tuple[str | tarfile.TarInfo, bytes]] = []
    for i in range(count):
        row = {**TEXTS, "caption": f"{TEXTS['caption']} {i}", **more}
        members += [(f"{i:05d}.jpg", picture()), (f"{i:05d}.json", json.dumps(row).encode())]
    return members


def read(file: str | list[str], **config) -> tuple[list[dict], Exception | None]:
    """(rows before an error, error) of all rows, as a stream."""
    import datasets

    from dataset_builder import ParaCLIPParaphrases

    rows: list[dict] = []
    try:
        builder = ParaCLIPParaphrases(config_name="webdataset", data_files=file, validation_percentage=0, **config)
        stream = builder.as_streaming_dataset()["train"].cast_column("image", datasets.Image(decode=False))
        rows.extend(stream)
    except Exception as error:
        return rows, error
    return rows, None


def clear(error: Exception | None, file: str) -> str:
    """Whether this is an error that the builder promises: InputError, by itself or as a cause, that names the file."""
    from dataset_builder.errors import InputError

    cause = error
    while cause is not None and not isinstance(cause, InputError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return f"{type(error).__name__}: {error} (cause {error.__cause__!r})" if error else ""
    return "" if file in str(cause) else f"the message does not name {file}: {cause}"


def _cut(start: int, stop: int):
    def run(box: Box) -> dict:
        logging.disable(logging.WARNING)
        whole = {kind: shard(good(), kind) for kind in ("w", "w:gz", "w:bz2", "w:xz")}
        problems = []
        for number in range(start, stop):
            rng = random.Random(f"{box.seed} {number}")
            kind = rng.choice(("w", "w", "w", "w:gz", "w:bz2", "w:xz"))
            data = whole[kind]
            at = rng.choice((rng.randrange(len(data)), rng.randrange(len(data) // 512) * 512))
            Path("cut.tar").write_bytes(data[:at])
            rows, error = read("cut.tar")
            problem = clear(error, "cut.tar")
            if any(row["caption"] != f"a red dog {i}" or not row["image"]["bytes"] for i, row in enumerate(rows)):
                problem = f"other rows than those before the cut: {rows}"
            if error is None and len(rows) < 8:
                problem = f"{8 - len(rows)} of 8 samples were lost without a word"
            if problem:
                problems.append(f"shard {number} ({kind}, cut at {at} of {len(data)}): {problem[:600]}")
        return {"tried": stop - start, "wrong": len(problems), "problems": problems}

    return run


def _link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def _typed(name: str, kind: bytes, size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info


def _sized(size: int) -> bytes:
    """A member whose header claims a size that is not there."""
    data = bytearray(shard(good(2)))
    info = tarfile.TarInfo("x.json")
    info.size = size
    return bytes(data[: -data.count(0) or None][: 512 * 8]) + info.tobuf(tarfile.GNU_FORMAT) + b"{}"


def _one(data: Callable[[], bytes], count: int | None, name: str = "x.tar", **config):
    """Right is: so many rows, or (None) whatever was read and a clear error or a warning."""

    def run(box: Box) -> dict:
        Path(name).write_bytes(data())
        rows, error = read(name, **config)
        problem = clear(error, name)
        if count is not None and not error and len(rows) != count:
            problem = f"{len(rows)} rows instead of {count}"
        if count is not None and error and not problem and count > 0:
            problem = f"refused: {error.__cause__ or error}"
        if any(not row["image"]["bytes"] for row in rows):
            problem = "a row without its picture"
        return {"tried": 1, "wrong": int(bool(problem)), "problems": [problem] * bool(problem)}

    return run


def _sample(name: str, json_text: bytes, count: int):
    members = [*good(2), ("z.jpg", picture()), ("z.json", json_text)]
    return name, (lambda: shard(members)), count


def cases(args) -> Iterator[Case]:
    """Cut shards, in pieces; then one shard for each trick."""
    for start in range(0, args.shards, CHUNK):
        yield Case(
            "shards", f"cut {start} to {start + CHUNK - 1}", _cut(start, min(start + CHUNK, args.shards)), deadline=300
        )
    hostile = json.dumps({**TEXTS, "caption": HOSTILE}).encode()
    made: list[tuple[str, Callable[[], bytes], int | None]] = [
        ("good", lambda: shard(good()), 8),
        ("gz", lambda: shard(good(), "w:gz"), 8),
        ("bz2", lambda: shard(good(), "w:bz2"), 8),
        ("xz", lambda: shard(good(), "w:xz"), 8),
        ("PAX", lambda: shard(good(), form=tarfile.PAX_FORMAT), 8),
        ("GNU", lambda: shard(good(), form=tarfile.GNU_FORMAT), 8),
        ("empty file", lambda: b"", None),
        ("no members", lambda: shard([]), None),
        ("text", lambda: b"hello" * 1000, None),
        ("zeros", lambda: bytes(10_240), None),
        ("random", lambda: random.Random(1).randbytes(10_240), None),
        ("ZIP", lambda: b"PK\x03\x04" + bytes(1000), None),
        ("gzip of nothing", lambda: b"\x1f\x8b" + bytes(1000), None),
        *(
            _sample(f"JSON {n}", text, rows)
            for n, text, rows in (
                ("broken", b"{", 2),
                ("a list", b"[]", 2),
                ("a number", b"7", 2),
                ("null", b"null", 2),
                ("nested", b"[" * 100_000, 2),
                ("nested objects", b'{"a":' * 100_000, 2),
                ("not UTF-8", b'{"caption": "\xff"}', 2),
                ("UTF-16", json.dumps(TEXTS).encode("utf-16"), 3),
                ("empty", b"", 2),
                ("without texts", b"{}", 2),
                ("empty caption", json.dumps({**TEXTS, "caption": ""}).encode(), 2),
                ("null caption", json.dumps({**TEXTS, "caption": None}).encode(), 2),
                ("number caption", json.dumps({**TEXTS, "caption": 7}).encode(), 2),
                ("hostile caption", hostile, 3),
                ("list id", json.dumps({**TEXTS, "image_id": [1]}).encode(), 2),
                ("hostile id", json.dumps({**TEXTS, "image_id": HOSTILE}).encode(), 2),
                ("surrogate", b'{"caption": "\\ud800 x", "paraphrase_1": "a b", "paraphrase_2": "c d"}', 2),
                ("digits", b'{"image_id": ' + b"9" * 5000 + b"}", 2),
                ("an image of its own", json.dumps({**TEXTS, "image": "/etc/passwd"}).encode(), 3),
                ("NaN", b'{"caption": NaN}', 2),
            )
        ),
        ("without picture", lambda: shard([*good(2), ("z.json", json.dumps(TEXTS).encode())]), 2),
        ("without JSON", lambda: shard([*good(2), ("z.jpg", picture())]), 2),
        ("picture empty", lambda: shard([*good(2), ("z.jpg", b""), ("z.json", json.dumps(TEXTS).encode())]), None),
        ("upper-case suffixes", lambda: shard([("a.JPG", picture()), ("a.JSON", json.dumps(TEXTS).encode())]), 1),
        ("no suffix", lambda: shard([*good(2), ("z", b"x")]), 2),
        ("only a dot", lambda: shard([*good(2), (".", b"x")]), 2),
        (
            "two dots",
            lambda: shard([*good(2), ("a.b.jpg", picture()), ("a.b.json", json.dumps(TEXTS).encode())]),
            None,
        ),
        (
            "an absolute name",
            lambda: shard([*good(2), ("/etc/evil.jpg", picture()), ("/etc/evil.json", json.dumps(TEXTS).encode())]),
            3,
        ),
        (
            "a name with ..",
            lambda: shard([*good(2), ("../../evil.jpg", picture()), ("../../evil.json", json.dumps(TEXTS).encode())]),
            None,
        ),
        (
            "a name with ESC",
            lambda: shard(
                [*good(2), (f"{HOSTILE}z.jpg", picture()), (f"{HOSTILE}z.json", b"{")], form=tarfile.PAX_FORMAT
            ),
            2,
        ),
        (
            "a name of 100,000 characters",
            lambda: shard([*good(2), ("z" * 100_000 + ".jpg", picture())], form=tarfile.GNU_FORMAT),
            2,
        ),
        (
            "a name that is not UTF-8",
            lambda: shard([*good(2), ("\udcff.jpg", picture()), ("\udcff.json", json.dumps(TEXTS).encode())]),
            None,
        ),
        ("an empty name", lambda: shard([*good(2), ("", b"x")]), None),
        ("a NUL in the name", lambda: shard([*good(2), ("a\0b.jpg", picture())]), None),
        *(
            (
                f"link to {t}",
                lambda t=t: shard([*good(2), (_link("z.jpg", t), b""), ("z.json", json.dumps(TEXTS).encode())]),
                2,
            )
            for t in ("/etc/passwd", "../../x", "z.jpg", "00000.jpg", "")
        ),
        (
            "hard link",
            lambda: shard(
                [*good(2), (_link("z.jpg", "00000.jpg", tarfile.LNKTYPE), b""), ("z.json", json.dumps(TEXTS).encode())]
            ),
            None,
        ),
        (
            "hard link to elsewhere",
            lambda: shard(
                [
                    *good(2),
                    (_link("z.jpg", "/etc/passwd", tarfile.LNKTYPE), b""),
                    ("z.json", json.dumps(TEXTS).encode()),
                ]
            ),
            None,
        ),
        (
            "FIFO",
            lambda: shard(
                [*good(2), (_typed("z.jpg", tarfile.FIFOTYPE), b""), ("z.json", json.dumps(TEXTS).encode())]
            ),
            2,
        ),
        ("device", lambda: shard([*good(2), (_typed("z.jpg", tarfile.CHRTYPE), b"")]), 2),
        ("folder", lambda: shard([*good(2), (_typed("z.jpg", tarfile.DIRTYPE), b"")]), 2),
        ("unknown type", lambda: shard([*good(2), (_typed("z.jpg", b"Q"), b"")]), None),
        ("sample twice", lambda: shard([*good(2), *good(2)]), None),
        (
            "members of a sample apart",
            lambda: shard(
                [
                    ("a.jpg", picture()),
                    ("b.jpg", picture()),
                    ("a.json", json.dumps(TEXTS).encode()),
                    ("b.json", json.dumps(TEXTS).encode()),
                ]
            ),
            None,
        ),
        (
            "a suffix twice",
            lambda: shard([("a.jpg", picture()), ("a.jpg", b"evil"), ("a.json", json.dumps(TEXTS).encode())]),
            None,
        ),
        *(
            (f"claims {size} bytes", lambda size=size: _sized(size), None)
            for size in (10, 10**6, 2**33, 2**40, 8**11 - 1)
        ),
        (
            "a compressed bomb",
            lambda: shard([*good(2), ("z.jpg", bytes(600 * 2**20)), ("z.json", json.dumps(TEXTS).encode())], "w:gz"),
            None,
        ),
        ("bad checksum", lambda: _spoiled(148), None),
        ("bad magic", lambda: _spoiled(257), None),
        ("bad size field", lambda: _spoiled(124), None),
        ("extra bytes", lambda: shard(good()) + b"x" * 1000, None),
        ("two archives", lambda: shard(good()) + shard(good()), None),
    ]
    for name, data, count in made:
        yield Case("shards", name, _one(data, count))
    for name in (
        "a b.tar",
        "*.tar",
        "[x].tar",
        f"{HOSTILE}.tar",
        "x.tar.gz",
        "x.TAR",
        "é.tar",
        "x.txt",
        "#.tar",
        "%20.tar",
    ):
        yield Case("shards", f"file named {name!r}", _one(lambda: shard(good()), None, name))
    for number in range(100):
        yield Case("shards", f"damaged {number}", _one(lambda n=number: _damaged(n), None))


def _spoiled(at: int) -> bytes:
    data = bytearray(shard(good()))
    data[at + 4 * 512 : at + 4 * 512 + 6] = b"\xff" * 6
    return bytes(data)


def _damaged(number: int) -> bytes:
    from .mutated import mutate

    rng = random.Random(number)
    return mutate(shard(good(), rng.choice(("w", "w", "w:gz"))), rng)
