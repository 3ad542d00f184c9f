"""What the journals of a corpus hold, read back: its rows, its counts, and how it was made."""

from __future__ import annotations

import functools
import itertools
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from .database import OF_REASON, check_texts, has_negatives, read
from .errors import InputError


def journals(corpus_dir: str | Path) -> list[Path]:
    """The journals of a corpus: one, or one per partition. Raises InputError without any."""
    found = sorted(Path(corpus_dir).glob("journal*.sqlite"))
    if not found:
        raise InputError(
            f"{corpus_dir}: no corpus here (no journal*.sqlite). Name the folder that `paraphrase --output` wrote."
        )
    return found


def tally(path: Path) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """How many rows a journal has by status, and by reason; and how many answers and tokens."""
    with read(path) as db:
        rows = dict(db.execute("SELECT status, COUNT(*) FROM rows GROUP BY status"))
        reasons = dict(db.execute("SELECT reason, COUNT(*) FROM rows WHERE reason IS NOT NULL GROUP BY reason"))
        check_texts("a status or a reason", *rows, *reasons)
        found = db.execute("SELECT COUNT(*), TOTAL(tokens_in), TOTAL(tokens_out) FROM answers").fetchone()
        return rows, reasons, dict(zip(("answers", "tokens_in", "tokens_out"), map(int, found)))


def negatives_tally(path: Path) -> tuple[dict[str, int], dict[str, int]]:
    """How many negatives of finished rows a journal has by status, and by reason; nothing where none was wanted."""
    with read(path) as db:
        if not has_negatives(db):
            return {}, {}
        found = [
            dict(
                db.execute(
                    f"SELECT n.{name}, COUNT(*) FROM negatives AS n JOIN rows ON rows.idx = n.idx "
                    f"AND rows.recipe = n.recipe WHERE rows.status = 'done' AND n.{name} IS NOT NULL GROUP BY n.{name}"
                )
            )
            for name in ("status", "reason")
        ]
        check_texts("a status or a reason", *found[0], *found[1])
        return found[0], found[1]


def recipes(corpus_dir: str | Path) -> list[dict]:
    """The recipes of the rows, in the order they ran, each with the number of its finished `rows`."""
    counts: Counter[str] = Counter()
    for path in journals(corpus_dir):
        with read(path) as db:
            for text, count in db.execute(
                "SELECT recipe, (SELECT COUNT(*) FROM rows WHERE rows.recipe = recipes.id AND status = 'done') "
                "FROM recipes WHERE id IN (SELECT recipe FROM rows) ORDER BY id"
            ):
                counts[text] += count
            found = [{**_recipe(text), "rows": count} for text, count in counts.items()]
    return found


def latest_source(corpus_dir: str | Path) -> dict:
    """The fingerprint of the captions, or {} where version 0.2 wrote the corpus."""
    with read(journals(corpus_dir)[0]) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'sources'").fetchone():
            return {}
        found = db.execute("SELECT fingerprint FROM sources ORDER BY id DESC LIMIT 1").fetchone()
        return json.loads(found[0]) if found else {}


def done_rows(path: Path) -> Iterator[tuple[int, str, str, str, str, dict, str | None]]:
    """(idx, image_id, caption, paraphrase_1, paraphrase_2, recipe, negative) of the finished rows, by `idx`."""
    parsed = functools.cache(_recipe)  # a corpus has few recipes, and each row names one
    with read(path) as db:
        column, joined = "NULL", ""
        if has_negatives(db):
            column = "n.negative"
            joined = "LEFT JOIN negatives AS n ON n.idx = rows.idx AND n.recipe = rows.recipe "
        for idx, *texts, recipe, negative in db.execute(
            f"SELECT rows.idx, image_id, caption, paraphrase_1, paraphrase_2, recipes.recipe, {column} FROM rows "
            f"JOIN recipes ON recipes.id = rows.recipe {joined}WHERE rows.status = 'done' ORDER BY rows.idx"
        ):
            check_texts(f"row {idx + 1}", *texts, *([] if negative is None else [negative]))
            yield idx, *texts, parsed(recipe), negative


def lost_rows(path: Path, reason: str | None = None) -> Iterator[dict]:
    """The rows that are rejected or failed, by `idx`, with the answer as it came; of one `reason` or all.

    Then come the negatives of finished rows that are rejected or failed, as rows of "step 3".

    A reason is one of `filters.REASONS`, or with its step as in `tally`, e.g. "step 1: refused".
    """
    lost = (
        "SELECT idx, image_id, caption, status, reason, text, finish_reason FROM {} AS lost "
        f"LEFT JOIN answers ON answers.key = lost.answer WHERE status != 'done' AND {OF_REASON} ORDER BY idx"
    )
    of_finished = (
        "(SELECT rows.idx, image_id, caption, n.status, n.reason, n.answer FROM negatives AS n JOIN rows "
        "ON rows.idx = n.idx AND rows.recipe = n.recipe WHERE rows.status = 'done')"
    )
    with read(path) as db:
        tables = ["rows", of_finished] if has_negatives(db) else ["rows"]
        found = itertools.chain.from_iterable(db.execute(lost.format(table), (reason,)) for table in tables)
        for idx, image_id, caption, status, why, *answer in found:
            check_texts(f"row {idx + 1}", image_id, status, why)
            step, _, why = why.partition(": ")
            row = {"index": idx, "image_id": image_id, "caption": caption, "status": status, "step": step}
            yield row | {"reason": why} | dict(zip(("answer", "finish_reason"), answer))


def _recipe(text: str) -> dict:
    try:
        recipe = json.loads(text)
        check_texts("a recipe", recipe["generator"], recipe["model"])
        return recipe
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise sqlite3.DatabaseError("a recipe is malformed") from error
