"""The data files of every task, and the files that `python -m eval` reads and writes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from .box import Box, Case, Result, either, figures_are_finite, refused, works

HOSTILE = "\x1b]0;evil\x07\x1b[2J\u202eevil"
FILES = {
    "sts": ("sts/STSB-test.tsv",),
    "cxc_sts": ("cxc/cxc_sts_val.tsv",),
    "sugarcrepe": ("sugarcrepe/swap.tsv",),
    "sugarcrepe_pp": ("sugarcrepe_pp/swap.tsv",),
    "negclip": ("aro/negclip_x.tsv",),
    "image_text_retrieval": ("photos/captions.jsonl",),
    "paraphrased_retrieval": ("photos/few_triples_val.jsonl",),
    "winoground": ("winoground/examples.jsonl",),
    "aro": ("aro/visual_genome_relation.json", "aro/visual_genome_attribution.json"),
}
Change = Callable[[bytes], bytes]


def _lines(change: Callable[[list[bytes]], object]) -> Change:
    def changed(data: bytes) -> bytes:
        lines = data.split(b"\n")
        change(lines)
        return b"\n".join(lines)

    return changed


ANY: dict[str, Change] = {
    "empty": lambda d: b"",
    "blank": lambda d: b" \n\n",
    "NULs": lambda d: bytes(1000),
    "not UTF-8": lambda d: d.replace(b"red", b"r\xffd", 1),
    "UTF-16": lambda d: d.decode().encode("utf-16"),
    "Latin-1": lambda d: d.replace(b"red", b"r\xe9d", 1),
    "half": lambda d: d[: len(d) // 2],
    "random": lambda d: bytes(range(256)) * 20,
    "HTML": lambda d: b"<html><body>404</body></html>",
    "JSON null": lambda d: b"null",
    "nested": lambda d: b"[" * 100_000,
    "nested objects": lambda d: b'{"a":' * 100_000,
    "closed nesting": lambda d: b"[" * 100_000 + b"]" * 100_000,
    "a huge number": lambda d: b"[" + b"9" * 5000 + b"]",
    "a pickle": lambda d: b"cos\nsystem\n(S'touch PWNED'\ntR.",
    "a byte order mark": lambda d: b"\xef\xbb\xbf" + d,
    "CRLF": lambda d: d.replace(b"\n", b"\r\n"),
    "CR": lambda d: d.replace(b"\n", b"\r"),
    "an ESC in a text": lambda d: d.replace(
        b"red", HOSTILE.encode() if not d.startswith((b"{", b"[")) else json.dumps(HOSTILE)[1:-1].encode(), 1
    ),
    "a NUL in a text": lambda d: d.replace(b"red", b"r\0d", 1),
    "an empty text": lambda d: d.replace(b"a red circle", b"", 1),
    "a blank text": lambda d: d.replace(b"a red circle", b"   ", 1),
    "a text of 1 MB": lambda d: d.replace(b"red", b"red " * 250_000, 1),
    "end of text": lambda d: d.replace(b"red", b"<|endoftext|>", 1),
    "line separators": lambda d: d.replace(b"red", "\u2028\x85".encode(), 1),
}
MAY_WORK = (
    "a byte order mark",
    "CRLF",
    "CR",
    "an ESC in a text",
    "a NUL in a text",
    "a text of 1 MB",
    "end of text",
    "line separators",
    "Latin-1",
    "not UTF-8",
    "half",
)
TSV: dict[str, Change] = {
    "header only": _lines(lambda lines: lines.__delitem__(slice(1, None))),
    "no header": _lines(lambda lines: lines.pop(0)),
    "commas": lambda d: d.replace(b"\t", b","),
    "semicolons": lambda d: d.replace(b"\t", b";"),
    "a field too many": _lines(lambda lines: lines.__setitem__(2, lines[2] + b"\tx")),
    "a field too few": _lines(lambda lines: lines.__setitem__(2, lines[2].rsplit(b"\t", 1)[0])),
    "a column twice": _lines(lambda lines: lines.__setitem__(0, lines[0].split(b"\t")[0] + b"\t" + lines[0])),
    "a blank line": _lines(lambda lines: lines.insert(2, b"")),
    "upper-case header": _lines(lambda lines: lines.__setitem__(0, lines[0].upper())),
    "hostile header": _lines(lambda lines: lines.__setitem__(0, HOSTILE.encode() + b"\t" + lines[0])),
}
SCORES = ("x", "", "nan", "inf", "-inf", "1e400", "1,5", " ", "0x10", "1_0", "\u0663", HOSTILE)
ROWS: dict[str, Callable[[list[dict]], object]] = {
    "a row that is a list": lambda rows: rows.__setitem__(2, [1]),
    "a row that is null": lambda rows: rows.__setitem__(2, None),
    "a row that is a text": lambda rows: rows.__setitem__(2, "x"),
    "an empty row": lambda rows: rows.__setitem__(2, {}),
}
VALUES: dict[str, object] = {
    "null": None,
    "a number": 7,
    "a list": [1],
    "an empty list": [],
    "a list of lists": [["a"]],
    "a list of an empty text": [""],
    "an object": {"a": 1},
    "true": True,
    "a fraction": 0.5,
    "empty": "",
    "blank": " ",
    "a huge number": 10**400,
    "negative": -5,
    "hostile": HOSTILE,
    "a path": "../../../../etc/passwd",
    "/dev/zero": "/dev/zero",
}


def _file(task: str, name: str, change: Change, *more: str):
    def run(box: Box) -> Result:
        box.copy("data")
        file = Path("data") / name
        file.write_bytes(change(file.read_bytes()))
        box.protect("data")
        return box.evaluate("--tasks", task, "--output", "results.json", *more)

    return run


def _json_rows(change: Callable[[list], object]) -> Change:
    def changed(data: bytes) -> bytes:
        is_list = data.lstrip().startswith(b"[")
        rows = json.loads(data) if is_list else [json.loads(line) for line in data.splitlines()]
        change(rows)
        return (json.dumps(rows) if is_list else "".join(json.dumps(row) + "\n" for row in rows)).encode()

    return changed


def cases(args) -> Iterator[Case]:
    """Every file of every task with every mistake."""
    for task, names in FILES.items():
        for name in names:
            short = name.rpartition("/")[2]
            for what, change in ANY.items():
                right = either(short, check=figures_are_finite) if what in MAY_WORK else refused(short)
                yield Case("evaluation", f"{task}: {short} {what}", _file(task, name, change), right)
            if name.endswith("tsv"):
                for what, change in TSV.items():
                    yield Case("evaluation", f"{task}: {short} {what}", _file(task, name, change), refused(short))
            else:
                for what, change in ROWS.items():
                    yield Case(
                        "evaluation", f"{task}: {short} {what}", _file(task, name, _json_rows(change)), refused(short)
                    )
    for task, name in (("sts", "sts/STSB-test.tsv"), ("cxc_sts", "cxc/cxc_sts_val.tsv")):
        for score in SCORES:

            def change(lines: list[bytes], score=score) -> None:
                lines[2] = score.encode() + b"\t" + lines[2].split(b"\t", 1)[1]

            right = (
                either(check=figures_are_finite)
                if score in ("0x10", "1_0", "\u0663")
                else refused(name.rpartition("/")[2], "line 3")
            )
            yield Case("evaluation", f"{task}: score {score[:8]!r}", _file(task, name, _lines(change)), right)
        yield Case(
            "evaluation",
            f"{task}: all scores equal",
            _file(
                task,
                name,
                _lines(
                    lambda lines: lines.__setitem__(
                        slice(1, None), [b"1\t" + line.split(b"\t", 1)[1] for line in lines[1:] if line] + [b""]
                    )
                ),
            ),
            either(check=figures_are_finite),
        )
        yield Case(
            "evaluation",
            f"{task}: one pair",
            _file(task, name, _lines(lambda lines: lines.__delitem__(slice(2, None)))),
            either(check=figures_are_finite),
        )
        yield Case(
            "evaluation",
            f"{task}: all texts equal",
            _file(
                task,
                name,
                _lines(lambda lines: lines.__setitem__(slice(1, None), [b"%d\ta b\ta b" % i for i in range(4)])),
            ),
            either(check=figures_are_finite),
        )
    columns = {
        "image_text_retrieval": ("photos/captions.jsonl", ("image", "captions", "split")),
        "paraphrased_retrieval": (
            "photos/few_triples_val.jsonl",
            ("image_id", "caption", "paraphrase_1", "paraphrase_2"),
        ),
        "winoground": ("winoground/examples.jsonl", ("image_0", "image_1", "caption_0", "caption_1")),
        "aro": (
            "aro/visual_genome_relation.json",
            ("image_path", "true_caption", "false_caption", "relation_name", "bbox_x", "bbox_w", "bbox_h"),
        ),
    }
    for task, (name, keys) in columns.items():
        short = name.rpartition("/")[2]
        for key in keys:
            for what, value in VALUES.items():
                yield Case(
                    "evaluation",
                    f"{task}: {key} {what}",
                    _file(task, name, _json_rows(lambda rows, k=key, v=value: rows[1].update({k: v}))),
                    either(check=figures_are_finite),
                )
            yield Case(
                "evaluation",
                f"{task}: {key} missing",
                _file(task, name, _json_rows(lambda rows, k=key: rows[1].pop(k))),
                either(short, check=figures_are_finite) if key == "split" else refused(short),
            )
    for value in (
        "[",
        "null",
        "7",
        '"x"',
        "[]",
        "[7]",
        "[null]",
        "[[]]",
        '{"a": 1}',
        "[" * 100_000,
        '["' + HOSTILE + '"]',
        '[""]',
    ):
        yield Case(
            "evaluation",
            f"negclip: negatives {value[:10]!a}",
            _file(
                "negclip",
                FILES["negclip"][0],
                _lines(lambda lines, v=value: lines.__setitem__(2, lines[2].rsplit(b"\t", 1)[0] + b"\t" + v.encode())),
            ),
            either("negclip_x.tsv", check=figures_are_finite),
        )
    for value in (
        {},
        [],
        "x",
        None,
        {"cat": 7},
        {"cat": None},
        {"cat": ""},
        {"nobody": "x"},
        {"cat": HOSTILE},
        {"cat": "red dog"},
        {"cat": ["a"]},
    ):
        yield Case(
            "evaluation",
            f"zero_shot: classes {ascii(value)[:30]}",
            _zero_shot("classes.json", json.dumps(value)),
            either(check=figures_are_finite),
        )
    for value in (
        [],
        {},
        "x",
        None,
        ["no braces"],
        ["{} {}"],
        ["{0.__class__}"],
        ["{x}"],
        [7],
        [""],
        ["{}" * 10_000],
        ["{"],
        ["%s {}"],
    ):
        yield Case(
            "evaluation",
            f"zero_shot: templates {ascii(value)[:30]}",
            _zero_shot("templates.json", json.dumps(value)),
            either(check=figures_are_finite),
        )
    for text in ("", "{", "[" * 100_000):
        for name in ("classes.json", "templates.json"):
            yield Case("evaluation", f"zero_shot: {name} {text[:3]!r}", _zero_shot(name, text), refused(name))
    yield from _folders()
    yield from _files()


def _zero_shot(name: str, text: str):
    def run(box: Box) -> Result:
        box.copy("data")
        (Path("data/zeroshot/pets") / name).write_text(text)
        return box.evaluate("--tasks", "zero_shot", "--output", "results.json")

    return run


def _folders() -> Iterator[Case]:
    """Folders that are empty, missing, or no folders."""

    def after(change: Callable[[], object], tasks: str):
        def run(box: Box) -> Result:
            box.copy("data")
            change()
            return box.evaluate("--tasks", tasks, "--output", "results.json")

        return run

    def emptied(name: str):
        def change() -> None:
            import shutil

            shutil.rmtree(name)
            Path(name).mkdir()

        return change

    tasks = {
        "sts": "sts",
        "cxc": "cxc_sts",
        "sugarcrepe": "sugarcrepe",
        "sugarcrepe_pp": "sugarcrepe_pp",
        "aro": "negclip",
        "winoground": "winoground",
        "zeroshot": "zero_shot",
        "photos": "image_text_retrieval",
    }
    for folder, task in tasks.items():
        yield Case("evaluation", f"{task}: an empty folder", after(emptied(f"data/{folder}"), task), refused())
        if Path("x") and folder not in ("sts", "cxc", "zeroshot"):
            yield Case(
                "evaluation",
                f"{task}: no pictures",
                after(emptied(f"data/{folder}/images"), task),
                either("images", check=figures_are_finite),
            )
    yield Case(
        "evaluation",
        "zero_shot: an empty class",
        after(lambda: Path("data/zeroshot/pets/empty").mkdir(), "zero_shot"),
        either(check=figures_are_finite),
    )
    yield Case(
        "evaluation",
        "zero_shot: one class",
        after(emptied("data/zeroshot/pets/cat"), "zero_shot"),
        either(check=figures_are_finite),
    )
    yield Case(
        "evaluation",
        "zero_shot: a text among the pictures",
        after(lambda: Path("data/zeroshot/pets/cat/notes.txt").write_text("x"), "zero_shot"),
        either("notes.txt", check=figures_are_finite),
    )
    yield Case(
        "evaluation",
        "zero_shot: a hostile class",
        after(lambda: Path("data/zeroshot/pets/cat").rename(f"data/zeroshot/pets/{HOSTILE}"), "zero_shot"),
        either(check=figures_are_finite),
    )
    yield Case(
        "evaluation",
        "zero_shot: a hostile set",
        after(lambda: Path("data/zeroshot/pets").rename(f"data/zeroshot/{HOSTILE}"), "zero_shot"),
        either(check=figures_are_finite),
    )
    yield Case(
        "evaluation",
        "retrieval: a hostile folder",
        after(lambda: Path("data/photos").rename(f"data/{HOSTILE}"), "image_text_retrieval"),
        either(check=figures_are_finite),
    )
    yield Case(
        "evaluation",
        "sugarcrepe: a hostile kind",
        after(lambda: Path("data/sugarcrepe/swap.tsv").rename(f"data/sugarcrepe/{HOSTILE}.tsv"), "sugarcrepe"),
        either(check=figures_are_finite),
    )
    yield Case(
        "evaluation",
        "sts: a FIFO",
        after(lambda: (os.unlink("data/sts/STSB-test.tsv"), os.mkfifo("data/sts/STSB-test.tsv")), "sts"),
        refused("STSB"),
    )
    yield Case(
        "evaluation",
        "sts: a folder",
        after(lambda: (os.unlink("data/sts/STSB-test.tsv"), os.mkdir("data/sts/STSB-test.tsv")), "sts"),
        refused("STSB"),
    )
    yield Case(
        "evaluation",
        "sts: /dev/zero",
        after(lambda: (os.unlink("data/sts/STSB-test.tsv"), os.symlink("/dev/zero", "data/sts/STSB-test.tsv")), "sts"),
        refused("STSB"),
    )
    yield Case(
        "evaluation", "everything, as it is", after(lambda: None, "all"), works(figures_are_finite), deadline=180
    )


def _files() -> Iterator[Case]:
    """The card that is updated, and files that are written."""
    cards = {
        "good": "---\ntags: [x]\n---\n\n# Mine\n",
        "no metadata": "# Mine\n",
        "empty": "",
        "broken YAML": "---\n: [\n---\n",
        "a YAML bomb": "---\n"
        + "a0: &a0 [x, x, x]\n"
        + "".join(f"a{i}: &a{i} [" + ", ".join([f"*a{i - 1}"] * 9) + "]\n" for i in range(1, 12))
        + "---\n",
        "YAML that runs": "---\nx: !!python/object/apply:os.system ['touch PWNED']\n---\n",
        "a list as metadata": "---\n- a\n---\n",
        "a number as metadata": "---\n7\n---\n",
        "model-index a text": "---\nmodel-index: evil\n---\n",
        "model-index null": "---\nmodel-index:\n---\n",
        "model-index of lists": "---\nmodel-index: [[]]\n---\n",
        "model-index without results": "---\nmodel-index:\n- name: x\n---\n",
        "model-index of nonsense": "---\nmodel-index:\n- name: x\n  results:\n  - task: 7\n---\n",
        "two model-index": "---\nmodel-index:\n- name: x\n  results: []\n- name: y\n  results: []\n---\n",
        "Jinja": "---\ntags: [x]\n---\n{{ 7*7 }} {% for i in range(10**9) %}x{% endfor %}\n",
        "NUL": "---\ntags: [x]\n---\n\0\n",
        "a date": "---\nx: 2020-01-01\n---\n",
        "no end": "---\ntags: [x]\n",
        "nested": "---\nx: " + "[" * 10_000 + "\n---\n",
        "base_model a number": "---\nbase_model: 7\nlicense: 7\n---\n",
    }
    for name, text in cards.items():

        def run(box: Box, text=text) -> Result:
            box.copy("data")
            Path("card.md").write_text(text)
            return box.evaluate("--tasks", "sts", "--card", "card.md")

        def right(box: Box, result: Result, text=text) -> str:
            if result.status:
                return refused("card.md")(box, result) or (
                    "" if Path("card.md").read_text() == text else "the card was changed"
                )
            kept = text.rpartition("---\n")[2].strip() if text.startswith("---") else text
            return "" if kept.strip() in Path("card.md").read_text() else "the card's text was changed"

        yield Case("evaluation", f"card: {name}", run, right)
    for name, content in {
        "Latin-1": b"---\ntags: [x]\n---\n\xe9\n",
        "random": bytes(range(256)),
        "UTF-16": "---\ntags: [x]\n---\n".encode("utf-16"),
    }.items():

        def run_bytes(box: Box, content=content) -> Result:
            box.copy("data")
            Path("user").mkdir()
            Path("user/card.md").write_bytes(content)
            box.protect("user")
            return box.evaluate("--tasks", "sts", "--card", "user/card.md")

        yield Case("evaluation", f"card: {name}", run_bytes, refused("card.md"))
