"""Triples in every format, with everything that people and programs do to them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from .box import Box, Case, Result, either, model_is_whole, refused, works

ROW = {
    "image_id": "a.png",
    "caption": "a red dog",
    "paraphrase_1": "a dog in red",
    "paraphrase_2": "the crimson hound",
}
HOSTILE = "\x1b]0;evil\x07\x1b[2J\u202eevil\u2066"


def _file(name: str, content: bytes | str | Callable[[list[dict]], bytes | str], *more: object):
    """Train on a file of this name and content."""

    def run(box: Box) -> Result:
        box.pairs()
        Path("pairs.jsonl").unlink()
        data = content(box.rows()) if callable(content) else content
        Path(name).write_bytes(data.encode() if isinstance(data, str) else data)
        box.protect(name, "pictures")
        return box.train("--train_file", name, *more)

    return run


def _rows(change: Callable[[list[dict]], object], suffix: str = "jsonl", *more: object):
    """Train on the good rows after a change."""

    def content(rows: list[dict]) -> str:
        changed = change(rows)
        rows = changed if isinstance(changed, list) else rows
        if suffix == "json":
            return json.dumps(rows)
        return "".join(json.dumps(row) + "\n" for row in rows)

    return _file(f"pairs.{suffix}", content, *more)


def _set(column: str, value: object, row: int = 3):
    def change(rows: list[dict]) -> None:
        if value is MISSING:
            rows[row].pop(column)
        else:
            rows[row][column] = value

    return change


MISSING = object()


def _csv(content: str | Callable[[str], str], encoding: str = "utf-8"):
    """The good rows as CSV, after a change of the text."""

    def made(rows: list[dict]) -> bytes:
        columns = ("image_id", "caption", "paraphrase_1", "paraphrase_2")
        text = (
            ",".join(columns)
            + "\n"
            + "".join(",".join(row[c].replace(",", "") for c in columns) + "\n" for row in rows)
        )
        return (content(text) if callable(content) else content).encode(encoding, errors="surrogatepass")

    return _file("pairs.csv", made)


def _parquet(change: Callable, *more: object, pictures: bool = True):
    """The good rows as Parquet, after a change of the columns (a dict of lists), or of its bytes."""

    def run(box: Box) -> Result:
        import pyarrow as pa
        import pyarrow.parquet as pq

        box.pairs(pictures=pictures)
        rows = box.rows()
        columns = {name: [row[name] for row in rows] for name in ROW}
        changed = change(columns)
        table = changed if isinstance(changed, pa.Table) else pa.table(columns)
        pq.write_table(table, "pairs.parquet")
        if isinstance(changed, bytes):
            Path("pairs.parquet").write_bytes(changed)
        box.protect("pairs.parquet")
        return box.train("--train_file", "pairs.parquet", *more)

    return run


def _embeds(vectors: Callable[[int], list], kind: str = "jsonl", row: int | None = 3):
    """`image_embeds` in every row; `vectors(i)` says which, from row `row` on (None: in all)."""

    def run(box: Box) -> Result:
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = box.rows()
        for i, entry in enumerate(rows):
            entry["image_embeds"] = vectors(i) if row is None or i == row else [0.1 * (i + 1)] * 7 + [1.0]
        if kind == "jsonl":
            Path("pairs.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in rows))
        else:
            pq.write_table(pa.Table.from_pylist(rows), "pairs.parquet")
        return box.train("--train_file", f"pairs.{kind}")

    return run


def _saved(change: Callable[[Path], None], splits: bool = False, streaming: bool = False):
    """A data set as `save_to_disk` writes it, then spoiled."""

    def run(box: Box) -> Result:
        import datasets

        box.pairs()
        data = datasets.Dataset.from_list([{name: row[name] for name in ROW} for row in box.rows()])
        saved = datasets.DatasetDict({"train": data}) if splits else data
        saved.save_to_disk("saved")
        change(Path("saved"))
        return box.train_bare(*_dataset_arguments(box, "saved"))

    return run


def _dataset_arguments(box: Box, name: str) -> list[str]:
    arguments = box.train_arguments()
    at = arguments.index("--train_file")
    return [*arguments[:at], "--dataset_name", name, *arguments[at + 2 :]]


def _folder(files: dict[str, bytes]):
    """A folder of data files, or of anything else, as `--dataset_name`."""

    def run(box: Box) -> Result:
        box.pairs()
        for name, content in files.items():
            file = Path("set") / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        Path("set").mkdir(exist_ok=True)
        return box.train_bare(*_dataset_arguments(box, "set"))

    return run


def _named(name: str):
    def run(box: Box) -> Result:
        box.pairs()
        return box.train("--train_file", name)

    return run


def _special(prepare: Callable[[], None], name: str):
    def run(box: Box) -> Result:
        box.pairs()
        prepare()
        return box.train("--train_file", name)

    return run


def _validation(*files: tuple[str, str]):
    def run(box: Box) -> Result:
        box.pairs()
        for name, content in files:
            Path(name).parent.mkdir(exist_ok=True)
            Path(name).write_text(content)
        return box.train("--validation_file", *(name for name, _ in files))

    return run


def _good_lines(rows: list[dict]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _long_line(rows: list[dict]) -> str:
    rows[3]["caption"] = "word " * 40_000_000
    return _good_lines(rows)


def _many_bad(rows: list[dict]) -> str:
    return _good_lines(rows) + '{"image_id": ""}\n' * 100_000


def _inserted(line: str | bytes, at: int = 3):
    def made(rows: list[dict]) -> bytes:
        lines = [json.dumps(row).encode() for row in rows]
        lines.insert(at, line.encode("utf-8", errors="surrogatepass") if isinstance(line, str) else line)
        return b"\n".join(lines) + b"\n"

    return made


BAD_LINES: dict[str, str | bytes] = {
    "no JSON": "{",
    "a list": "[1]",
    "a number": "7",
    "a text": '"x"',
    "null": "null",
    "true": "true",
    "an empty object": "{}",
    "NaN": "NaN",
    "nested deep": "[" * 100_000,
    "nested objects": '{"a":' * 100_000,
    "closed nesting": "[" * 100_000 + "]" * 100_000,
    "not UTF-8": b'{"image_id": "\xff"}',
    "NUL": b"\0\0\0",
    "Latin-1": '{"image_id": "é"}'.encode("latin-1"),
    "half a line": json.dumps(ROW)[:40],
    "two objects": json.dumps(ROW) * 2,
    "digits": '{"image_id": ' + "9" * 5000 + "}",
    "infinite id": json.dumps({**ROW, "image_id": float("inf")}),
    "surrogate": '{"image_id": "\\ud800", "caption": "a b", "paraphrase_1": "c d", "paraphrase_2": "e f"}',
    "raw surrogate": '{"image_id": "\ud800"}',
    "UTF-16": '{"image_id": "a"}'.encode("utf-16"),
}
BAD_VALUES: dict[str, object] = {
    "empty": "",
    "blank": "  \n\t ",
    "null": None,
    "missing": MISSING,
    "a list": ["a"],
    "an object": {"a": 1},
    "true": True,
    "a fraction": 1.5,
    "a zero-width space only": "\u200b",
}


def cases(args) -> Iterator[Case]:
    """Every format crossed with every mistake."""
    for name, line in BAD_LINES.items():
        for suffix in ("jsonl", "json"):
            yield Case(
                "triples",
                f"{suffix}: a line that is {name}",
                _file(f"pairs.{suffix}", _inserted(line)),
                refused("picture") if name == "two objects" else refused("pairs", "line 4"),  # two rows on one line
            )
    for name, line in BAD_LINES.items():
        yield Case(
            "triples",
            f"jsonl: first line that is {name}",
            _file("pairs.jsonl", _inserted(line, 0)),
            refused("picture") if name == "two objects" else refused("pairs.jsonl", "line 1"),
        )
    for column in ROW:
        for name, value in BAD_VALUES.items():
            right = (
                either("pairs", check=model_is_whole)
                if name.startswith("a zero-width")
                else refused("pairs", "4", column)
            )
            if column == "image_id" and name == "a zero-width space only":
                right = refused("picture")
            for suffix in ("jsonl", "json"):
                yield Case("triples", f"{suffix}: {column} {name}", _rows(_set(column, value), suffix), right)
            if not isinstance(value, (list, dict)) and value is not MISSING:
                if isinstance(value, (bool, float)):  # in all rows
                    right = refused("pairs", "1", column)
                yield Case("triples", f"parquet: {column} {name}", _parquet(_cell(column, value)), right)
        yield Case(
            "triples",
            f"jsonl: {column} missing in all",
            _rows(lambda rows, c=column: [r.pop(c) for r in rows] and None),
            refused("pairs.jsonl", column),
        )
        yield Case(
            "triples",
            f"jsonl: {column} twice in a row",
            _file(
                "pairs.jsonl", lambda rows, c=column: _good_lines(rows).replace(f'"{c}":', f'"{c}": "x y", "{c}":', 1)
            ),
            either("pairs", check=model_is_whole),
        )
        yield Case(
            "triples",
            f"jsonl: {column} a number in all",
            _rows(lambda rows, c=column: [r.update({c: 7}) for r in rows] and None),
            refused("7") if column == "image_id" else refused("pairs.jsonl", column),
        )
    hostile = {
        "hostile text": HOSTILE + " dog",
        "Jinja": "{{ 7*'x' }} {% raw %}",
        "YAML": "--- !!python/object:os.system x: [",
        "HTML": "<script>alert(1)</script>",
        "table": "a | b | c",
        "backticks": "``` `rm` ```",
        "NUL": "a\0b dog",
        "end of text": "a dog <|endoftext|> a cat",
        "10,000 words": "dog " * 10_000,
        "emoji": "\U0001f600 dog \U0001f468\u200d\U0001f469",
        "combining": "a" + "\u0301" * 5000 + " dog",
        "right to left": "\u05d0\u05d1 \u05d2",
        "BOM": "\ufeffa dog",
        "private use": "\ue000 dog",
        "noncharacter": "\ufffe dog",
        "one long word": "w" * 100_000,
        "newlines": "a\ndog\r\nruns",
        "start token": "<|startoftext|>",
        "date": "2020-01-01",
        "NA": "NA",
        "nan": "nan",
        "digits": "007",
        "quote": '"',
        "comma": ",",
    }
    for name, text in hostile.items():
        for column in ("caption", "paraphrase_2"):
            yield Case(
                "triples", f"{column} of {name}", _rows(_set(column, text)), either("pairs", check=model_is_whole)
            )
        # control characters are refused by their row, with pictures or without
        no_id = name in ("hostile text", "NUL", "newlines")
        said = refused("image_id") if no_id else refused("picture")
        yield Case("triples", f"image_id of {name}", _rows(_set("image_id", text)), said)
        yield Case(
            "triples",
            f"image_id of {name}, skipped",
            _rows(_set("image_id", text), "jsonl", "--skip_bad_images"),
            said if no_id else works(model_is_whole),
        )
    outside = (
        "../pairs.jsonl",
        "/etc/passwd",
        "../../../../../../../etc/passwd",
        "/dev/zero",
        "/dev/stdin",
        ".",
        "..",
        "http://127.0.0.1:9/x.png",
        "https://127.0.0.1/x.png",
        "file:///etc/passwd",
        "hf://datasets/evil/x",
        "zip://a.png::b.zip",
        "s3://evil/x.png",
        "~/.ssh/id_rsa",
        "a/b/c.png",
        "x" * 5000,
        "$HOME",
        "gzip://x::http://127.0.0.1/x",
    )
    for name in outside:
        yield Case("triples", f"image_id {name[:40]!r}", _rows(_set("image_id", name)), refused("picture"))
        yield Case("triples", f"column image {name[:40]!r}", _image_column(name), refused("picture"))
    yield from _csv_cases()
    yield from _parquet_cases()
    yield from _embeds_cases()
    yield from _dataset_cases()
    yield from _other_cases()


def _cell(column: str, value: object):
    def change(columns: dict) -> None:
        if isinstance(value, (bool, float)):
            columns[column] = [value] * len(columns[column])
        else:
            columns[column][3] = value

    return change


def _image_column(name: str):
    """Files in the column image, without --image_dir."""

    def run(box: Box) -> Result:
        rows = box.rows()
        for row in rows:
            row["image"] = f"photos/{row['image_id']}"
        rows[3]["image"] = name
        box.pairs(rows)
        Path("pictures").rename("photos")
        box.protect("photos", "pairs.jsonl")
        return box.train()

    return run


def _csv_cases() -> Iterator[Case]:
    """CSV as spreadsheets, pandas and people write it."""
    spoiled: dict[str, tuple[Callable[[str], str], Callable]] = {
        "semicolons": (lambda t: t.replace(",", ";"), refused("pairs.csv", "semicolon")),
        "tabs": (lambda t: t.replace(",", "\t"), refused("pairs.csv", "tab")),
        "bars": (lambda t: t.replace(",", "|"), refused("pairs.csv", "bar")),
        "no header": (lambda t: t.split("\n", 1)[1], refused("pairs.csv")),
        "header only": (lambda t: t.split("\n")[0] + "\n", refused("pairs.csv", "no rows")),
        "header twice": (lambda t: t.split("\n")[0] + "\n" + t, either("pairs.csv")),
        "a column twice": (lambda t: t.replace("paraphrase_2", "caption", 1), refused("pairs.csv", "line 1")),
        "an open quote": (lambda t: t.replace("\n", '\n"', 1), refused("pairs.csv", "line 2")),
        "a quote in a field": (lambda t: t.replace("a ", 'a "x" ', 1), either("pairs.csv", check=model_is_whole)),
        "a comma too many": (lambda t: t + "a,b,c,d,e\n", refused("pairs.csv", "line 14")),
        "a comma too few": (lambda t: t + "a,b,c\n", refused("pairs.csv", "line 14")),
        "an empty field": (lambda t: t + "a.png,,c d,e f\n", refused("pairs.csv", "line 14", "caption")),
        "blank lines": (lambda t: t.replace("\n", "\n\n\n"), works(model_is_whole)),
        "lines of spaces": (lambda t: t.replace("\n", "\n   \n", 3), works(model_is_whole)),
        "CR line ends": (lambda t: t.replace("\n", "\r"), either("pairs.csv", check=model_is_whole)),
        "CRLF line ends": (lambda t: t.replace("\n", "\r\n"), works(model_is_whole)),
        "NUL": (lambda t: t + "a\0b,b c,c d,d e\n", refused("pairs.csv")),
        "an index column": (
            lambda t: "\n".join(f"{i},{x}" if i else f",{x}" for i, x in enumerate(t.strip().split("\n"))),
            works(model_is_whole),
        ),
        "a byte order mark": (lambda t: "\ufeff" + t, works(model_is_whole)),
        "a formula": (lambda t: t + "=cmd|' /C calc'!A0,b c,c d,d e\n", refused("picture")),
        "empty": (lambda t: "", refused("pairs.csv", "empty")),
        "only newlines": (lambda t: "\n\n\n", refused("pairs.csv")),
        "a field of 20 MB": (
            lambda t: t.replace("a ", "a " + "w" * 20_000_000, 1),
            either("pairs.csv", check=model_is_whole),
        ),
        "10,000 columns": (
            lambda t: "\n".join(
                line + ",x" * 10_000 if i else line + "".join(f",c{j}" for j in range(10_000))
                for i, line in enumerate(t.strip().split("\n"))
            ),
            either("pairs.csv", check=model_is_whole),
        ),
        "no last newline": (lambda t: t.rstrip("\n"), works(model_is_whole)),
        "spaces after commas in the header": (
            lambda t: t.replace(",", ", ", 3),
            either("pairs.csv", check=model_is_whole),
        ),
        "upper-case header": (lambda t: t.replace("image_id", "IMAGE_ID", 1), refused("pairs.csv", "image_id")),
        "a comment": (lambda t: "# made by hand\n" + t, refused("pairs.csv", "line")),
        "hostile header": (lambda t: t.replace("image_id", HOSTILE, 1), refused("pairs.csv", "image_id")),
    }
    for name, (change, right) in spoiled.items():
        yield Case("triples", f"csv: {name}", _csv(change), right)
    for encoding in ("utf-16", "utf-32", "cp1252", "utf-7"):
        text = "image_id,caption,paraphrase_1,paraphrase_2\n" + "é.png,a é,b é,c é\n" * 2
        right = (
            either("picture")
            if encoding == "utf-7"
            else refused("pairs.csv", "line 1" if encoding != "cp1252" else "line 2")
        )
        yield Case("triples", f"csv: {encoding}", _csv(text, encoding), right)


def _parquet_cases() -> Iterator[Case]:
    def cut(fraction: float):
        def change(columns: dict) -> bytes:
            import io

            import pyarrow as pa
            import pyarrow.parquet as pq

            buffer = io.BytesIO()
            pq.write_table(pa.table(columns), buffer)
            return buffer.getvalue()[: int(fraction * buffer.tell())]

        return change

    def inverted(place: float):
        def change(columns: dict) -> bytes:
            data = bytearray(cut(1)(columns))
            at = int(place * (len(data) - 40))
            data[at : at + 40] = bytes(255 - byte for byte in data[at : at + 40])
            return bytes(data)

        return change

    def typed(column: str, kind: str, value):
        def change(columns: dict):
            import pyarrow as pa

            types = {
                "binary": pa.binary(),
                "dictionary": pa.dictionary(pa.int32(), pa.string()),
                "large": pa.large_string(),
                "list": pa.list_(pa.string()),
                "int64": pa.int64(),
                "double": pa.float64(),
                "null": pa.null(),
                "struct": pa.struct([("a", pa.string())]),
                "timestamp": pa.timestamp("s"),
                "view": pa.string_view(),
            }
            values = columns[column] if value is None else [value] * len(columns[column])
            if kind == "binary":
                values = [v.encode() for v in columns[column]]
            if kind == "null":
                values = [None] * len(values)
            array = pa.array(values, types[kind])
            return pa.table({**columns, column: array})

        return change

    for fraction in (0, 0.001, 0.1, 0.5, 0.9, 0.999):
        yield Case("triples", f"parquet: cut to {fraction}", _parquet(cut(fraction)), refused("pairs.parquet"))
    for tenth in range(10):
        yield Case(
            "triples",
            f"parquet: 40 bytes inverted at {tenth}/10",
            _parquet(inverted(tenth / 10)),
            either(check=model_is_whole),
        )
    for column in ("image_id", "caption"):
        for kind, value in (
            ("binary", None),
            ("dictionary", None),
            ("large", None),
            ("view", None),
            ("list", ["a"]),
            ("double", 1.5),
            ("null", None),
            ("struct", {"a": "b"}),
            ("timestamp", 0),
        ):
            fine = kind in ("dictionary", "large", "view")
            yield Case(
                "triples",
                f"parquet: {column} as {kind}",
                _parquet(typed(column, kind, value)),
                either("pairs.parquet", column, check=model_is_whole) if fine else refused("pairs.parquet", column),
            )
    for name, columns in {
        "a column twice": ["image_id", "caption", "paraphrase_1", "paraphrase_2", "caption"]
    }.items():

        def twice(found: dict, names=columns):
            import pyarrow as pa

            return pa.Table.from_arrays([pa.array(found[n]) for n in names], names=names)

        yield Case("triples", f"parquet: {name}", _parquet(twice), refused("pairs.parquet"))
    yield Case(
        "triples",
        "parquet: no rows",
        _parquet(lambda c: [c.update({n: []}) for n in ROW] and None),
        refused("pairs.parquet"),
    )
    for name, data in {
        "text": b"hello",
        "JSON": b"{}",
        "a picture": b"\x89PNG\r\n\x1a\n",
        "zeros": b"\0" * 10_000,
        "magic only": b"PAR1PAR1",
        "huge footer": b"PAR1" + b"\xff\xff\xff\x7f" + b"PAR1",
    }.items():
        yield Case("triples", f"parquet: really {name}", _parquet(lambda c, d=data: d), refused("pairs.parquet"))


def _embeds_cases() -> Iterator[Case]:
    nan, inf = float("nan"), float("inf")
    spoiled: dict[str, Callable[[int], object]] = {
        "NaN": lambda i: [nan] + [1.0] * 7,
        "infinite": lambda i: [inf] + [1.0] * 7,
        "zeros": lambda i: [0.0] * 8,
        "short": lambda i: [1.0] * 7,
        "long": lambda i: [1.0] * 9,
        "empty": lambda i: [],
        "null": lambda i: None,
        "a null inside": lambda i: [None] + [1.0] * 7,
        "too large for float16": lambda i: [1e6] * 8,
        "too small for float16": lambda i: [1e-30] * 8,
        "1e308": lambda i: [1e308] * 8,
        "tiny": lambda i: [1e-320] * 8,
    }
    for name, vectors in spoiled.items():
        for kind in ("jsonl", "parquet"):
            fine = name in ("too large for float16", "too small for float16", "1e308", "tiny")
            right = either("image_embeds", check=model_is_whole) if fine else refused("image_embeds", "4")
            yield Case("triples", f"image_embeds {name} in one row, {kind}", _embeds(vectors, kind), right)
    everywhere: dict[str, Callable[[int], object]] = {
        **spoiled,
        "texts": lambda i: ["a"] * 8,
        "one text": lambda i: "abc",
        "nested": lambda i: [[1.0]] * 8,
        "objects": lambda i: [{"a": 1}] * 8,
        "numbers": lambda i: 1.0,
        "integers": lambda i: [1] * 8,
        "booleans": lambda i: [True] * 8,
        "an object": lambda i: {"a": 1.0},
    }
    for name, vectors in everywhere.items():
        fine = name in (
            "integers",
            "booleans",
            "too large for float16",
            "too small for float16",
            "1e308",
            "tiny",
            "short",
            "long",
        )
        right = (
            either("image_embeds", check=model_is_whole)
            if fine and name not in ("short", "long")
            else refused("image_embeds")
        )
        for kind in ("jsonl", "parquet"):
            yield Case("triples", f"image_embeds {name} in all rows, {kind}", _embeds(vectors, kind, None), right)


def _dataset_cases() -> Iterator[Case]:
    def arrow(folder: Path) -> Path:
        return next(folder.rglob("*.arrow"))

    spoiled: dict[str, Callable[[Path], object]] = {
        "untouched": lambda f: None,
        "state missing": lambda f: next(f.rglob("state.json")).unlink(),
        "state not JSON": lambda f: next(f.rglob("state.json")).write_text("{"),
        "state a list": lambda f: next(f.rglob("state.json")).write_text("[]"),
        "info not JSON": lambda f: next(f.rglob("dataset_info.json")).write_text("{"),
        "info a list": lambda f: next(f.rglob("dataset_info.json")).write_text("[]"),
        "info nested": lambda f: next(f.rglob("dataset_info.json")).write_text("[" * 100_000),
        "arrow missing": lambda f: arrow(f).unlink(),
        "arrow empty": lambda f: arrow(f).write_bytes(b""),
        "arrow cut": lambda f: arrow(f).write_bytes(arrow(f).read_bytes()[:700]),
        "arrow garbage": lambda f: arrow(f).write_bytes(b"x" * 5000),
        "arrow a folder": lambda f: (arrow(f).rename(f / "x"), (f / "data-00000-of-00001.arrow").mkdir()),
        "state to elsewhere": lambda f: next(f.rglob("state.json")).write_text(
            next(f.rglob("state.json")).read_text().replace("data-00000-of-00001.arrow", "/etc/passwd")
        ),
    }
    for name, change in spoiled.items():
        for splits in (False, True):
            right = works(model_is_whole) if name == "untouched" else refused("saved")
            yield Case("triples", f"saved data set{' with splits' * splits}: {name}", _saved(change, splits), right)
    for name, text in {
        "not JSON": "{",
        "a list": "[]",
        "no splits": '{"splits": []}',
        "unknown splits": '{"splits": ["x"]}',
        "null": "null",
    }.items():
        yield Case(
            "triples",
            f"saved data set with splits: dict {name}",
            _saved(lambda f, t=text: (f / "dataset_dict.json").write_text(t) and None, True),
            refused("saved"),
        )
    row = json.dumps(ROW).encode() + b"\n"
    folders: dict[str, dict[str, bytes]] = {
        "nothing": {},
        "an unknown file": {"x.xyz": b"?"},
        "a script": {"set.py": b"open('PWNED', 'w')\n"},
        "a script and data": {"set.py": b"open('PWNED', 'w')\n", "train.jsonl": row * 4},
        "broken JSONL": {"train.jsonl": b"{"},
        "an empty JSONL": {"train.jsonl": b""},
        "two kinds of files": {"a.csv": b"a,b\n1,2\n", "b.jsonl": row},
        "two schemas": {"a.jsonl": row, "b.jsonl": b'{"x": 1}\n'},
        "other columns": {"train.jsonl": b'{"a": 1}\n'},
        "captions only": {"train.jsonl": b'{"image_id": "a", "caption": "x y"}\n'},
        "a broken card": {"README.md": b"---\n: [\n---\n", "train.jsonl": row * 4},
        "a card with evil data_files": {
            "README.md": b"---\nconfigs:\n- config_name: default\n  data_files: /etc/passwd\n---\n",
            "train.jsonl": row,
        },
        "a card to another host": {
            "README.md": b"---\nconfigs:\n- config_name: default\n  data_files: http://127.0.0.1:9/x.jsonl\n---\n"
        },
        "an image folder": {"train/a/1.png": b"\x89PNG"},
        "a pickle": {"train.pkl": b"cos\nsystem\n(S'touch PWNED'\ntR."},
        "a zip bomb name": {"train.zip": b"PK\x03\x04"},
        "XML": {"a.xml": b"<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><x>&a;</x>"},
        "a pandas pickle": {"train.pandas": b"cos\nsystem\n(S'touch PWNED'\ntR."},
        "no split train": {"test.jsonl": row * 4},
    }
    for name, files in folders.items():
        yield Case("triples", f"data set folder with {name}", _folder(files), either())


def _other_cases() -> Iterator[Case]:
    for name in (
        "nowhere.jsonl",
        "pictures",
        "",
        ".",
        "/",
        "pairs.jsonl/x",
        "x\0.jsonl",
        "y" * 5000 + ".jsonl",
        "/dev/zero",
        "/dev/null",
        "http://127.0.0.1:9/pairs.jsonl",
        "pairs",
        "~/pairs.jsonl",
        "-",
        "*.jsonl",
        "pairs.jsonl\n",
        "org/name",
        HOSTILE,
    ):
        yield Case("triples", f"train_file {name[:30]!r}", _named(name), refused())
    good = works(model_is_whole)
    files: dict[str, tuple[str, object, Callable]] = {
        "json: one object per line": ("pairs.json", _good_lines, good),
        "json: a list": ("pairs.json", lambda rows: json.dumps(rows), good),
        "json: an indented list": ("pairs.json", lambda rows: json.dumps(rows, indent=2), good),
        "json: a list that is never closed": (
            "pairs.json",
            lambda rows: json.dumps(rows)[:-1],
            refused("pairs.json", "line 1"),
        ),
        "json: an empty list": ("pairs.json", "[]", refused("pairs.json")),
        "json: an object of rows": ("pairs.json", lambda rows: json.dumps({"data": rows}), refused("pairs.json")),
        "json: columns": (
            "pairs.json",
            lambda rows: json.dumps({n: [r[n] for r in rows] for n in ROW}),
            either("pairs.json", check=model_is_whole),
        ),
        "jsonl: really a list": (
            "pairs.jsonl",
            lambda rows: json.dumps(rows),
            either("pairs.jsonl", check=model_is_whole),
        ),
        "jsonl: an empty file": ("pairs.jsonl", "", refused("pairs.jsonl", "empty")),
        "jsonl: blank lines only": ("pairs.jsonl", "\n\n", refused("pairs.jsonl")),
        "jsonl: spaces only": ("pairs.jsonl", "   ", refused("pairs.jsonl")),
        "jsonl: NULs only": ("pairs.jsonl", b"\0" * 1000, refused("pairs.jsonl")),
        "jsonl: a byte order mark": ("pairs.jsonl", lambda rows: "\ufeff" + _good_lines(rows), good),
        "jsonl: blank lines between": ("pairs.jsonl", lambda rows: _good_lines(rows).replace("\n", "\n\n"), good),
        "jsonl: CRLF": ("pairs.jsonl", lambda rows: _good_lines(rows).replace("\n", "\r\n"), good),
        "jsonl: UTF-16": ("pairs.jsonl", lambda rows: _good_lines(rows).encode("utf-16"), refused("pairs.jsonl")),
        "jsonl: gzip": ("pairs.jsonl", b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + b"x" * 100, refused("pairs.jsonl")),
        "jsonl: a line of 200 MB": ("pairs.jsonl", _long_line, either("pairs.jsonl", check=model_is_whole)),
        "jsonl: 100,000 bad rows": ("pairs.jsonl", _many_bad, refused("pairs.jsonl", "line 13")),
        "jsonl: one row": ("pairs.jsonl", lambda rows: _good_lines(rows[:1]), refused("2")),
        "jsonl: two rows": ("pairs.jsonl", lambda rows: _good_lines(rows[:2]), good),
        "jsonl: the same row 12 times": (
            "pairs.jsonl",
            lambda rows: _good_lines(rows[:1] * 12),
            either(check=model_is_whole),
        ),
        "jsonl: every row twice": ("pairs.jsonl", lambda rows: _good_lines(rows * 2), good),
        "jsonl: all texts equal": (
            "pairs.jsonl",
            lambda rows: _good_lines(
                [{**r, "caption": "a b", "paraphrase_1": "a b", "paraphrase_2": "a b"} for r in rows]
            ),
            either(check=model_is_whole),
        ),
        "jsonl: extra columns": (
            "pairs.jsonl",
            lambda rows: _good_lines(
                [{**r, "loss": 1, "labels": [1], "__class__": "x", "input_ids": "x"} for r in rows]
            ),
            good,
        ),
        "jsonl: a column pixel_values": (
            "pairs.jsonl",
            lambda rows: _good_lines([{**r, "pixel_values": [1], "text_embeds": [1.0]} for r in rows]),
            either(check=model_is_whole),
        ),
        "jsonl: a column base_caption_embeds": (
            "pairs.jsonl",
            lambda rows: _good_lines([{**r, "base_caption_embeds": [1.0]} for r in rows]),
            either(check=model_is_whole),
        ),
        "jsonl: 5,000 columns": (
            "pairs.jsonl",
            lambda rows: _good_lines([{**r, **{f"c{i}": i for i in range(5000)}} for r in rows]),
            good,
        ),
        "jsonl: mixed types in an extra column": (
            "pairs.jsonl",
            lambda rows: _good_lines([{**r, "x": i if i % 2 else str(i)} for i, r in enumerate(rows)]),
            either("pairs.jsonl", check=model_is_whole),
        ),
        "txt": ("pairs.txt", "a dog\n", refused("pairs.txt")),
        "tsv": ("pairs.tsv", "a\tb\n", refused("pairs.tsv")),
        "xlsx": ("pairs.xlsx", b"PK\x03\x04", refused("pairs.xlsx")),
        "py": ("pairs.py", "open('PWNED', 'w')", refused("pairs.py")),
        "pkl": ("pairs.pkl", b"cos\nsystem\n(S'touch PWNED'\ntR.", refused("pairs.pkl")),
        "no suffix": ("pairs", "x", refused("pairs")),
        "upper-case suffix": ("PAIRS.JSONL", _good_lines, good),
        "hostile name": (f"{HOSTILE}.jsonl", "{", refused("jsonl")),
        "glob name": ("[a]*.jsonl", _good_lines, good),
        "name with ::": ("zip:::x::y.jsonl", _good_lines, either(check=model_is_whole)),
        "name with %": ("a%2e%s{0}.jsonl", _good_lines, good),
        "name -x": ("./-x.jsonl", _good_lines, good),
    }
    for name, (file, content, right) in files.items():
        yield Case("triples", name, _file(file, content), right)
    zeros = ["007.png", "7.png"]
    yield Case("triples", "ids with leading zeros", _leading_zeros(zeros), works(model_is_whole))
    for suffix in ("jsonl", "csv", "parquet"):
        yield Case("triples", f"ids with leading zeros keep them, {suffix}", _ids_kept(suffix), works())
    yield Case("triples", "a FIFO", _special(lambda: os.mkfifo("fifo.jsonl"), "fifo.jsonl"), refused("fifo.jsonl"))
    yield Case(
        "triples", "a folder named .jsonl", _special(lambda: os.mkdir("x.jsonl"), "x.jsonl"), refused("x.jsonl")
    )
    yield Case(
        "triples", "a dead link", _special(lambda: os.symlink("nowhere", "x.jsonl"), "x.jsonl"), refused("x.jsonl")
    )
    yield Case(
        "triples",
        "a link to itself",
        _special(lambda: os.symlink("x.jsonl", "x.jsonl"), "x.jsonl"),
        refused("x.jsonl"),
    )
    yield Case(
        "triples",
        "a link to /dev/zero",
        _special(lambda: os.symlink("/dev/zero", "x.jsonl"), "x.jsonl"),
        refused("x.jsonl"),
    )
    yield Case("triples", "validation file broken", _validation(("v.jsonl", "{")), refused("v.jsonl", "line 1"))
    yield Case(
        "triples", "validation files of one name", _validation(("a/v.jsonl", "{"), ("b/v.jsonl", "{")), refused("v")
    )
    yield Case("triples", "validation file empty", _validation(("v.jsonl", "")), refused("v.jsonl"))
    yield Case("triples", "validation without pictures", _validation(("v.jsonl", json.dumps(ROW))), refused("a.png"))


def _leading_zeros(names: list[str]):
    def run(box: Box) -> Result:
        box.pairs()
        rows = box.rows()
        for i, row in enumerate(rows):
            name = names[i % 2]
            Path("pictures", name).write_bytes(Path("pictures", row["image_id"]).read_bytes())
            row["image_id"] = name
        Path("pairs.jsonl").write_text(_good_lines(rows))
        return box.train()

    return run


def _ids_kept(suffix: str):
    def run(box: Box) -> Result:
        import pyarrow as pa
        import pyarrow.parquet as pq

        from dataset_builder import load_triples

        ids = ["007", "0", "00", "1e5", "NA", "2020-01-01", "true", "1_000", " x ", "null", "0x1F", "+1"]
        rows = [{**row, "image_id": name} for row, name in zip(box.rows(), ids)]
        rows = [{name: row[name] for name in ROW} for row in rows]
        file = Path(f"pairs.{suffix}")
        if suffix == "jsonl":
            file.write_text(_good_lines(rows))
        elif suffix == "csv":
            file.write_text(
                ",".join(ROW)
                + "\n"
                + "".join(",".join(v.replace(",", "") for v in row.values()) + "\n" for row in rows)
            )
        else:
            pq.write_table(pa.Table.from_pylist(rows), file)
        Path("pictures").mkdir()
        found = load_triples(file, image_dir="pictures")["image_id"][:]
        return Result(0 if found == ids else 1, "", "", message=f"{found} instead of {ids}")

    return run
