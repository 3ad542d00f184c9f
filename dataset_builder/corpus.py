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
from .records import done_rows, journals, latest_source, recipes, tally
from .triples import TEXT_COLUMNS

SCHEMA = pa.schema([(name, pa.string()) for name in ("image_id", *TEXT_COLUMNS, "generator", "model")])
BATCH = 10_000


def triples(corpus_dir: str | Path, counts: Counter | None = None) -> Iterator[dict]:
    """The finished rows: `index, image_id, caption, paraphrase_1, paraphrase_2`, and which model wrote them.

    The same caption of the same picture comes once; how often it came again is added to `counts["duplicate"]`.
    """
    seen: set[int] = set()  # 64-bit hashes: about 60 bytes per row, however long the texts are
    for path in journals(corpus_dir):
        for idx, image_id, *texts, recipe in done_rows(path):
            if (key := hash((image_id, " ".join(texts[0].casefold().split())))) in seen:
                if counts is not None:
                    counts["duplicate"] += 1
                continue
            seen.add(key)
            yield {
                "index": idx,
                "image_id": image_id,
                **dict(zip(TEXT_COLUMNS, texts)),
                "generator": recipe["generator"],
                "model": recipe["model"],
            }


def export(corpus_dir: str | Path, output: str | Path, file_format: str) -> int:
    """Write the finished rows to `output`, whole or not at all. Returns how many.

    `jsonl` has the authors' columns; `parquet` also says which generator and model wrote each row.
    """
    output = Path(output)
    first = journals(corpus_dir)[0]
    if output.name.startswith("journal") and os.path.realpath(output.parent) == os.path.realpath(first.parent):
        raise InputError(f"{output}: is where the corpus keeps its answers. Give another --output.")
    with _whole(output) as aside:
        rows = tqdm(triples(corpus_dir), unit="row", desc=printable(f"Writing {output.name}"))
        return _write_jsonl(rows, aside) if file_format == "jsonl" else write_parquet(rows, aside)


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
            kept = {name: row[name] for name in ("index", "image_id", *TEXT_COLUMNS)}
            file.write(json.dumps(kept, ensure_ascii=False) + "\n")
            count += 1
    return count


def write_parquet(rows: Iterable[dict], path: Path) -> int:
    """Write rows of the columns `SCHEMA`. Returns how many."""
    rows, count = iter(rows), 0
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        while batch := list(itertools.islice(rows, BATCH)):
            writer.write_table(pa.Table.from_pylist(batch).select(SCHEMA.names).cast(SCHEMA))
            count += len(batch)
    return count


def statistics(corpus_dir: str | Path) -> dict:
    """Count `rows` by status, `reasons` why rows are missing, `answers` and tokens.

    `recipes` are those that made rows, in the order they ran, each with the number of its finished `rows`; `source` is
    the fingerprint of the captions.
    """
    rows: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    answers: Counter[str] = Counter()
    for path in journals(corpus_dir):
        for total, found in zip((rows, reasons, answers), tally(path)):
            total.update(found)
    return {
        "rows": dict(rows),
        "reasons": dict(reasons.most_common()),
        **answers,
        "recipes": recipes(corpus_dir),
        "source": latest_source(corpus_dir),
    }
