"""Hostile texts in every place that is shown. Cards parse as YAML, and Jinja in them is inert."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from .box import Box, Case, Result, either, model_is_whole, refused

TEXTS = {
    "ESC": "a\x1b]0;evil\x07\x1b[2Jb dog",
    "bidi": "a \u202etxt.exe\u2066 dog",
    "C1": "a \x9b2J dog",
    "bar": "a | b | dog",
    "backtick": "a `x` ```dog",
    "HTML": "<script>alert(1)</script> <img src=x onerror=y> dog",
    "Jinja": "{{ 7*191 }} dog",
    "Jinja block": "{% for i in range(10**9) %}x{% endfor %} dog",
    "Jinja raw": "{{ ''.__class__.__mro__ }} dog",
    "YAML": "x: !!python/object/apply:os.system ['touch PWNED']",
    "YAML end": "---\nevil: true\n---\ndog",
    "a link": "[x](javascript:alert(1)) dog",
    "a heading": "# dog\n## cat",
    "newline": "a\nb dog",
    "CR": "a\rb dog",
    "quotes": "\"'\\ dog",
    "percent": "%s %(x)s {0} {x} dog",
    "surrogate-free emoji": "\U0001f600 dog",
    "zero width": "a\u200bb dog",
    "null byte": "a\0b dog",
    "long": "dog " * 5000,
    "LaTeX": "$\\input{/etc/passwd}$ dog",
    "matplotlib": "$\\frac{ dog",
    "shell": "$(touch PWNED) `touch PWNED` dog",
}
COMPUTED = "1337"  # 7 * 191: what Jinja would make of it


def card_problem(path: str | Path) -> str:
    """ "" where a card's metadata is one YAML object without foreign keys, and its Jinja was not run."""
    import yaml

    text = Path(path).read_text(encoding="utf-8")
    found = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    if not found:
        return "the card has no metadata"
    try:
        data = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        return f"the card's metadata is no YAML: {error}"
    if not isinstance(data, dict) or "evil" in data:
        return f"the card's metadata is {data!r:.200}"
    if COMPUTED in text or "<class" in text:
        return "Jinja in a foreign text was run"
    if re.search("<(script|img)", re.sub(r"(`+).*?\1", "", text, flags=re.DOTALL)):  # in code it is only shown
        return "HTML is in the card as it is"
    return ""


def _cards(*paths: str) -> Callable[[Box, Result], str]:
    return lambda box, result: next((problem for path in paths if (problem := card_problem(path))), "")


def _caption(text: str, column: str):
    """A measured run with the text in one column of all rows; the sheet of rankings is drawn too."""

    def run(box: Box) -> Result:
        rows = box.rows()
        for i, row in enumerate(rows):
            row[column] = f"{text} {i}"
        box.pairs(rows)
        return box.train("--validation_split_percentage", 40)

    return run


def _usable(name: str) -> str | None:
    """As a file's name, if it can be one."""
    return None if "\0" in name or "/" in name or len(name.encode()) > 200 else name


def _named_file(name: str):
    def run(box: Box) -> Result:
        box.pairs()
        Path("pairs.jsonl").rename(f"{name}.jsonl")
        return box.train("--train_file", f"{name}.jsonl", "--validation_split_percentage", 40)

    return run


def _named_validation(name: str):
    def run(box: Box) -> Result:
        box.pairs()
        Path(f"{name}.jsonl").write_bytes(Path("pairs.jsonl").read_bytes())
        return box.train("--validation_file", f"{name}.jsonl")

    return run


def _named_model(name: str):
    def run(box: Box) -> Result:
        box.pairs()
        box.copy("tiny", name)
        return box.train("--model_name_or_path", name, "--validation_split_percentage", 40, "--use_lora")

    return run


def _named_output(name: str):
    def run(box: Box) -> Result:
        box.pairs()
        return box.train("--output_dir", name, "--validation_split_percentage", 40)

    return run


def _named_pictures(name: str):
    def run(box: Box) -> Result:
        box.pairs()
        rows = box.rows()
        for i, row in enumerate(rows):
            (Path("pictures") / row["image_id"]).rename(Path("pictures") / f"{name}{i}.png")
            row["image_id"] = f"{name}{i}.png"
        Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return box.train("--validation_split_percentage", 40)

    return run


def _bad_picture(name: str):
    def run(box: Box) -> Result:
        box.pairs()
        rows = box.rows()
        (Path("pictures") / f"{name}.png").write_bytes(b"x")
        rows[2]["image_id"] = f"{name}.png"
        Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return box.train()

    return run


def _measured(name: str):
    """eval of a model folder of this name, with every file that it writes."""

    def run(box: Box) -> Result:
        box.copy("data")
        box.copy("tiny", name)
        Path("card.md").write_text("---\ntags: [x]\n---\n# Mine\n")
        return box.evaluate(
            "--models",
            name,
            box.fixtures / "other",
            "--tasks",
            "sts,paraphrased_retrieval",
            "--plots",
            "plots",
            "--report",
            "report.md",
            "--output",
            "r.json",
            "--card",
            "card.md",
        )

    return run


def _measured_set(name: str):
    def run(box: Box) -> Result:
        box.copy("data")
        Path("data/photos/few_triples_val.jsonl").rename(f"data/photos/{name}_triples_val.jsonl")
        Path("card.md").write_text("---\ntags: [x]\n---\n# Mine\n")
        return box.evaluate(
            "--tasks",
            "paraphrased_retrieval",
            "--plots",
            "plots",
            "--report",
            "report.md",
            "--output",
            "r.json",
            "--card",
            "card.md",
        )

    return run


def _corpus(text: str, where: str):
    """The card of a corpus whose captions, ids, model, prompts or answers hold the text, as `publish` makes it."""

    def run(box: Box) -> Result:
        import sqlite3

        from dataset_builder import publishing
        from dataset_builder.card import make_card
        from dataset_builder.errors import InputError, one_sentence

        box.copy("corpus")
        for file in Path("corpus").glob("journal.sqlite-*"):
            file.unlink()
        with sqlite3.connect("corpus/journal.sqlite") as db:
            if where in ("caption", "image_id", "paraphrase_1", "reason"):
                db.execute(f"UPDATE rows SET {where} = ? || idx", (text,))
                if where == "reason":
                    db.execute("UPDATE rows SET status = 'rejected' WHERE idx % 2")
                    db.execute("UPDATE rows SET reason = NULL WHERE status = 'done'")
            else:
                recipe = json.loads(db.execute("SELECT recipe FROM recipes").fetchone()[0])
                recipe[where] = [text, text] if where == "prompts" else {"x": text} if where == "sampling" else text
                db.execute("UPDATE recipes SET recipe = ?", (json.dumps(recipe),))

        def published(argv: list[str]) -> None:
            """What `publish` does, up to the upload."""
            try:
                with one_sentence("you/x cannot be published", "Mend it."), tempfile.TemporaryDirectory() as folder:
                    files, facts = publishing._write_splits("corpus", Path(folder), 1.0)
                    info = publishing._info(files)
                    make_card("you/x", info=info, license="mit", config_name="default", **facts).save("card.md")
            except InputError as error:
                sys.exit(str(error))

        return box.call(published)

    return run


def _repo(name: str):
    """The repository's name on the card of a model."""

    def run(box: Box) -> Result:
        box.pairs()
        return box.train(f"--hub_model_id={name}", "--validation_split_percentage", 40)

    return run


def cases(args) -> Iterator[Case]:
    """Each text in each place."""
    card = either(check=_cards("out/README.md"))
    for name, text in TEXTS.items():
        for column in ("caption", "paraphrase_1"):
            yield Case("texts", f"{name} as {column}", _caption(text, column), card)
        yield Case("texts", f"{name} as hub_model_id", _repo(text), card)
        for where in (
            "caption",
            "image_id",
            "paraphrase_1",
            "reason",
            "model",
            "generator",
            "prompts",
            "sampling",
            "limits",
            "similarity_model",
        ):
            yield Case(
                "texts", f"{name} as {where} of a corpus", _corpus(text, where), either(check=_cards("card.md"))
            )
        usable = _usable(text)
        if usable is None:
            continue
        yield Case("texts", f"{name} as a file's name", _named_file(usable), card)
        yield Case("texts", f"{name} as a validation file's name", _named_validation(usable), card)
        yield Case(
            "texts",
            f"{name} as the base's name",
            _named_model(usable),
            either(check=_cards("out/README.md", "out/adapter/README.md")),
        )
        yield Case(
            "texts",
            f"{name} as the output's name",
            _named_output(usable),
            either(
                check=lambda box, result, n=usable: (
                    card_problem(Path(n) / "README.md") or model_is_whole(box, result, n)
                )
            ),
        )
        yield Case("texts", f"{name} as pictures' names", _named_pictures(usable), card)
        yield Case("texts", f"{name} as a bad picture's name", _bad_picture(usable), refused())
        yield Case(
            "texts",
            f"{name} as a measured model's name",
            _measured(usable),
            either(check=_cards("card.md")),
            deadline=120,
        )
        yield Case(
            "texts",
            f"{name} as a measured set's name",
            _measured_set(usable),
            either(check=_cards("card.md")),
            deadline=120,
        )
