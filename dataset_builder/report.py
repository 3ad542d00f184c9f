"""What the commands print."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator

from .errors import printable, short

WIDTH = 60  # characters of a text in a table


def say(text: str) -> None:
    """Print for a person: other people's text in it cannot move the cursor."""
    encoding = sys.stdout.encoding or "utf-8"
    print(printable(text).encode(encoding, "backslashreplace").decode(encoding))


def print_statistics(info: dict) -> None:
    """Print what `corpus.statistics` gives."""
    total = sum(info["rows"].values())
    say(f"{total:,} rows: " + ", ".join(f"{count:,} {status}" for status, count in sorted(info["rows"].items())))
    for reason, count in info["reasons"].items():
        say(f"  {count:>9,}  {count / total:6.1%}  {reason}")
    if negatives := info.get("negatives"):
        say("Negatives: " + ", ".join(f"{count:,} {status}" for status, count in sorted(negatives.items())))
        for reason, count in info["negative_reasons"].items():
            say(f"  {count:>9,}  {count / sum(negatives.values()):6.1%}  {reason}")
    say(f"{info['answers']:,} answers, {info['tokens_in']:,} tokens in, {info['tokens_out']:,} out")
    if has_failed(info):
        say("Give the same command again to retry the failed rows.")


def has_failed(info: dict) -> bool:
    """Whether rows or negatives failed, which the next run tries again."""
    return bool(info["rows"].get("failed") or info.get("negatives", {}).get("failed"))


def print_lost(rows: Iterable[dict], as_table: bool) -> None:
    """Print what `records.lost_rows` gives, one row per line: as JSON, or cut to the width of a table."""
    for line in _table(rows) if as_table else (json.dumps(row) for row in rows):
        say(line)


def _table(rows: Iterable[dict]) -> Iterator[str]:
    yield f"{'row':>9}  {'step':<7}  {'reason':<24}  {'caption':<{WIDTH}}  answer"
    for row in rows:
        caption, answer = (_cut(row[name] or "") for name in ("caption", "answer"))
        reason = _cut(row["reason"])[:24]
        yield f"{row['index'] + 1:>9}  {row['step']:<7}  {reason:<24}  {caption:<{WIDTH}}  {answer}".rstrip()


def _cut(text: str) -> str:
    return short(" ".join(text.split()), WIDTH // 2 - 3)
