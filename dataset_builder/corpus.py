"""A corpus out of its journals: what is there, as Parquet or JSONL, and in numbers."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from .errors import InputError, printable
from .journal import makes_negatives
from .records import done_rows, journals, latest_source, negatives_tally, recipes, tally
from .triples import NEGATIVE, TEXT_COLUMNS

BATCH = 10_000


def triples(corpus_dir: str | Path, counts: Counter | None = None) -> Iterator[dict]:
    """The finished rows: `index, image_id, caption, paraphrase_1, paraphrase_2`, and which model wrote them.

    Where a job asked for negatives, each row also has a `negative`: a text, or None.

    The same caption of the same picture comes once; how often it came again is added to `counts["duplicate"]`.
    """
    seen: set[int] = set()  # 64-bit hashes: about 60 bytes per row, however long the texts are
    with_negatives = NEGATIVE in text_columns(corpus_dir)
    for path in journals(corpus_dir):
        for idx, image_id, *texts, recipe, negative in done_rows(path):
            if (key := hash((image_id, " ".join(texts[0].casefold().split())))) in seen:
                if counts is not None:
                    counts["duplicate"] += 1
                continue
            seen.add(key)
            yield {
                "index": idx,
                "image_id": image_id,
                **dict(zip(TEXT_COLUMNS, texts)),
                **({NEGATIVE: negative} if with_negatives else {}),
                "generator": recipe["generator"],
                "model": recipe["model"],
            }


def text_columns(corpus_dir: str | Path) -> tuple[str, ...]:
    """The columns of texts that a corpus has: `negative` only where a job asked for it, and finished a row."""
    with_negatives = any(makes_negatives(recipe) and recipe["rows"] for recipe in recipes(corpus_dir))
    return (*TEXT_COLUMNS, NEGATIVE) if with_negatives else TEXT_COLUMNS


def schema(corpus_dir: str | Path) -> pa.Schema:
    """The columns of a corpus as Parquet."""
    return pa.schema([(name, pa.string()) for name in ("image_id", *text_columns(corpus_dir), "generator", "model")])


def export(corpus_dir: str | Path, output: str | Path, file_format: str) -> int:
    """Write the finished rows to `output`, whole or not at all. Returns how many.

    `jsonl` has the authors' columns; `parquet` also says which generator and model wrote each row. Both have
    `negative` where a job asked for it.
    """
    output = Path(output)
    first = journals(corpus_dir)[0]
    if output.name.startswith("journal") and os.path.realpath(output.parent) == os.path.realpath(first.parent):
        raise InputError(f"{output}: is where the corpus keeps its answers. Give another --output.")
    with _whole(output) as aside:
        rows = tqdm(triples(corpus_dir), unit="row", desc=printable(f"Writing {output.name}"))
        if file_format == "jsonl":
            return _write_jsonl(rows, aside)
        return write_parquet(rows, aside, schema(corpus_dir))


@contextlib.contextmanager
def _whole(output: Path) -> Iterator[Path]:
    """A file to write instead of `output`, which takes its place at the end; without an end nothing stays.

    Raises:
        InputError: it cannot be written, e.g. as the disk is full.
    """
    aside = output.parent / f".{output.name}.part"
    try:
        if output.exists() and not output.is_file():  # not even /dev/null is replaced by a file
            raise InputError(f"{output}: the output cannot be written: it is a folder or a device. Give a file name.")
        output.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield aside
            os.replace(aside, output)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{output}: the output cannot be written: {error.strerror or error}. Check the path and the free space, "
            "and give the same command again."
        ) from error


def _write_jsonl(rows: Iterable[dict], path: Path) -> int:
    count = 0
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            kept = {name: value for name, value in row.items() if name not in ("generator", "model")}
            file.write(json.dumps(kept, ensure_ascii=False) + "\n")
            count += 1
    return count


def write_parquet(rows: Iterable[dict], path: Path, columns: pa.Schema) -> int:
    """Write some columns of the rows. Returns how many rows there were."""
    rows, count = iter(rows), 0
    with pq.ParquetWriter(path, columns, compression="zstd") as writer:
        while batch := list(itertools.islice(rows, BATCH)):
            writer.write_table(pa.Table.from_pylist(batch).select(columns.names).cast(columns))
            count += len(batch)
    return count


def statistics(corpus_dir: str | Path) -> dict:
    """Count `rows` by status, `reasons` why rows are missing, `answers` and tokens.

    `recipes` are those that made rows, in the order they ran, each with the number of its finished `rows`; `source` is
    the fingerprint of the captions. Where negatives were asked for, `negatives` counts them by status, and
    `negative_reasons` why they are missing.
    """
    rows: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    answers: Counter[str] = Counter()
    negatives: Counter[str] = Counter()
    negative_reasons: Counter[str] = Counter()
    for path in journals(corpus_dir):
        for total, found in zip((rows, reasons, answers), tally(path)):
            total.update(found)
        for total, found in zip((negatives, negative_reasons), negatives_tally(path)):
            total.update(found)
    more = {"negatives": dict(negatives), "negative_reasons": dict(negative_reasons.most_common())}
    return {
        "rows": dict(rows),
        "reasons": dict(reasons.most_common()),
        **(more if negatives else {}),
        **answers,
        "recipes": recipes(corpus_dir),
        "source": latest_source(corpus_dir),
    }
