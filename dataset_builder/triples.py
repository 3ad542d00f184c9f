"""Anybody's triples (caption, two paraphrases and a picture) as a `datasets.Dataset`, checked row by row."""

from __future__ import annotations

import codecs
import glob
import itertools
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, get_dataset_split_names, load_dataset, load_from_disk

from .errors import HOSTILE, InputError, one_sentence, printable
from .files import checked_file, kind_of, open_bytes
from .formats import separator_hint
from .hub import open_dataset
from .journal import storable
from .strict import check_json_lines, csv_columns, file_rows

TEXT_COLUMNS = ("caption", "paraphrase_1", "paraphrase_2")
COLUMNS = ("image_id", *TEXT_COLUMNS)
NEGATIVE = "negative"  # optional: a text that sounds like the caption and means something else
FILE_TYPES = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}


# ---------------------------------------------------------------------------------------------------------- reading
def load_triples(source: str | Path, split: str = "train", image_dir: str | Path | None = None) -> Dataset:
    """Read and check triples: columns `image_id`, `caption`, `paraphrase_1`, `paraphrase_2`, and the picture.

    A column `negative` is kept: a text, or nothing, that sounds like the caption and means something else.

    Args:
        source: a JSONL (e.g. one written by the authors' script), JSON, CSV or Parquet file; or a data set's folder or
            Hub id.
        split: which split of a data set.
        image_dir: the folder in which `image_id` is a file name. Not needed with a column `image` or `image_embeds`.

    Raises:
        InputError: it cannot be read, a column is missing, a text is empty, or there is no picture. The message names
            the line, counted from 1 as an editor does (Parquet and data sets: the row, from 1), and a remedy.
    """
    path = Path(source)
    if kind_of(path) in (*FILE_TYPES, ".txt") or os.path.isfile(path):
        dataset = _load_file(checked_file(path))
    elif os.path.isfile(path / "dataset_dict.json"):  # as save_to_disk writes
        splits = _load_saved(path)
        if split not in splits:
            raise InputError(f"{source}: has no split {split!r}; its splits are {', '.join(splits) or 'none'}.")
        dataset = splits[split]
    elif os.path.isfile(path / "dataset_info.json"):
        dataset = _load_saved(path)
    else:
        dataset = open_dataset(str(source), split, COLUMNS)
    with one_sentence(f"{source}: has values that cannot be read", "Write it again."):  # e.g. the year 10,000
        return _with_pictures(_with_negatives(_checked(dataset, path), path), str(source), image_dir)


def split_names(source: str | Path) -> list[str]:
    """The splits of a data set's folder or Hub id.

    Raises:
        InputError: there is no such data set.
    """
    path = Path(source)
    if os.path.isfile(path / "dataset_dict.json"):
        return list(_load_saved(path))
    if os.path.isfile(path / "dataset_info.json"):
        return ["train"]
    with one_sentence(f"{source}: this data set cannot be opened", "Check the name."):
        return get_dataset_split_names(str(source))


def _load_saved(path: Path):
    with one_sentence(f"{path}: this saved data set cannot be opened", "Save it again."):
        return load_from_disk(path)


def _load_file(path: Path) -> Dataset:
    suffix = kind_of(path)
    if suffix == ".txt":
        raise InputError(f"{path}: a text file holds captions without paraphrases. {_paraphrase_first(path)}")
    if suffix not in FILE_TYPES:
        raise InputError(f"{path}: unknown file type {suffix!r}. The known types are {', '.join(FILE_TYPES)}.")
    options: dict = {}
    if suffix == ".csv":  # pandas moves the columns of a row that is too long, so each is checked first
        columns = csv_columns(path)
        _check_columns(columns, path)
        _refuse_bad_rows(file_rows(path), path)
        text = datasets.Value("string")  # ids keep their leading zeros, and the caption "NA" is a text
        # the index that pandas writes has no name, and is not read
        features = datasets.Features(dict.fromkeys(filter(None, columns), text))
        options = {"features": features, "keep_default_na": False, "encoding": "utf-8-sig"}
    elif suffix != ".parquet":
        check_json_lines(path)
        if _starts_with_null(path):  # pyarrow 26 crashes on it
            _refuse_bad_rows(file_rows(path), path)
    with one_sentence(f"{path}: cannot be read as {suffix}", "Write it again."):
        try:
            return load_dataset(FILE_TYPES[suffix], data_files=glob.escape(str(path)), split="train", **options)
        except Exception:
            if suffix != ".parquet":
                _refuse_bad_rows(file_rows(path), path)
            raise


def _starts_with_null(path: Path) -> bool:
    with open_bytes(path) as file:
        return file.read(2**16).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"null")


# --------------------------------------------------------------------------------------------------------- checking
def problem_of(row: object) -> str | None:
    """What keeps a row from being a triple, in words, or None."""
    if not isinstance(row, dict):
        return "is not an object with columns" if row is not None else "cannot be parsed"
    for name in COLUMNS:
        value = row.get(name)
        if value is None or (isinstance(value, str) and not value.strip()):
            return f"has an empty {name}" if name in row else f"has no {name}"
        if name == "image_id" and isinstance(value, int) and not isinstance(value, bool):
            continue
        if not isinstance(value, str):
            expected = "a text or a whole number" if name == "image_id" else "a text"
            return f"has {value!r:.40} as its {name}, which must be {expected}"
        if storable(value) != value:
            return f"has half a surrogate pair in its {name}"
        if name == "image_id" and printable(value) != value:
            return f"has a control character in its {name}"
    return None


def _refuse_bad_rows(rows: Iterator[tuple[str, object]], source: str | Path) -> None:
    """Raises InputError for the first row that is no triple."""
    empty = True
    for where, row in rows:
        empty = False
        if problem := problem_of(row):
            raise InputError(f"{source}, {where}: {problem}. Fix or remove it.")
    if empty:
        raise InputError(f"{source}: has no rows.")


def _check_columns(found: list[str], source: Path) -> None:
    missing = [column for column in COLUMNS if column not in found]
    if not missing:
        return
    place = f"{source}, line 1" if kind_of(source) == ".csv" else f"{source}"
    if hint := separator_hint(found):
        raise InputError(f"{place}: no column {missing[0]!r}. {hint}")
    if "caption" in found and {"paraphrase_1", "paraphrase_2"} <= set(missing):
        raise InputError(f"{place}: has captions, but no paraphrases of them. {_paraphrase_first(source)}")
    raise InputError(
        f"{place}: missing column{'s' * (len(missing) > 1)} {', '.join(missing)}; the columns found are "
        f"{', '.join(found) or 'none'}. Rename or add them."
    )


def _paraphrase_first(source: Path) -> str:
    option = "--captions" if source.is_file() else "--dataset_name"
    return (
        f"Write them first: run `python -m dataset_builder paraphrase {option} {source} --output my-corpus "
        "--generator rules`, or with a language model (see its --help), and then "
        "`python -m dataset_builder export my-corpus --format jsonl --output pairs.jsonl`."
    )


def _checked(dataset: Dataset, source: Path) -> Dataset:
    """The data set with `image_id` as a text. Raises InputError."""
    _check_columns(dataset.column_names, source)
    if len(dataset) == 0:
        raise InputError(f"{source}: has no rows.")
    text = datasets.Value("string")
    for name in COLUMNS:
        if dataset.features[name] in (datasets.Value("large_string"), datasets.Value("string_view")):
            dataset = dataset.cast_column(name, text)
    if not _is_clean(dataset):

        def rows() -> Iterator[tuple[str, object]]:
            if source.is_file() and kind_of(source) != ".parquet":
                return file_rows(source)
            texts = dataset.select_columns(list(COLUMNS))
            return ((f"row {number}", row) for number, row in enumerate(texts, start=1))

        _refuse_bad_rows(rows(), source)
        # Good rows of an odd type: the reader of JSON makes times of texts such as 2020-01-01.
        good = [row for _, row in rows() if isinstance(row, dict)]
        for name in COLUMNS:
            dataset = dataset.remove_columns(name).add_column(name, [str(row[name]) for row in good])
    return dataset if dataset.features["image_id"] == text else dataset.cast_column("image_id", text)


def _is_clean(dataset: Dataset) -> bool:
    """Whether all four columns are surely texts with something in them (`image_id`: or integers)."""
    for table in dataset.select_columns(list(COLUMNS)).with_format("arrow").iter(batch_size=10_000):
        for name in COLUMNS:
            column = table[name]
            if column.null_count:
                return False
            if pa.types.is_integer(column.type) and name == "image_id":
                continue
            if not pa.types.is_string(column.type):
                return False
            if pc.min(pc.utf8_length(pc.utf8_trim_whitespace(column))).as_py() == 0:
                return False
            if name == "image_id" and pc.any(pc.match_substring_regex(column, f"[{HOSTILE}]")).as_py():
                return False
    return True


def _with_negatives(dataset: Dataset, source: Path) -> Dataset:
    """The data set with its negatives, where it has any, as texts or None. Raises InputError."""
    if NEGATIVE not in dataset.column_names:
        return dataset
    try:
        dataset = dataset.cast_column(NEGATIVE, datasets.Value("string"))
    except (pa.ArrowException, TypeError) as error:
        raise InputError(f"{source}: the column {NEGATIVE} has values that are no texts.") from error
    for row, texts in enumerate(dataset.select_columns([*TEXT_COLUMNS, NEGATIVE]), start=1):
        if texts[NEGATIVE] in [texts[name] for name in TEXT_COLUMNS]:
            raise InputError(
                f"{source}, row {row}: its {NEGATIVE} is also its caption or paraphrase. Leave it empty or remove "
                "the row."
            )
    return dataset


def _with_pictures(dataset: Dataset, source: str, image_dir: str | Path | None) -> Dataset:
    vectors = [name for name in dataset.column_names if name.endswith("_embeds")]
    columns = [*COLUMNS, *({NEGATIVE} & set(dataset.column_names)), *vectors]
    for name in vectors:
        if not isinstance(dataset.features[name], (datasets.List, datasets.LargeList)):
            raise InputError(
                f"{source}: the column {name} is {dataset.features[name]}. Each row of it must be a list of numbers."
            )
    if "image_embeds" in columns:
        return dataset.select_columns([*columns, *({"image"} & set(dataset.column_names))])
    if image_dir is not None:
        if not Path(image_dir).is_dir():
            raise InputError(f"--image_dir {image_dir}: no such folder. Check the path.")
        paths = [str(Path(image_dir) / image_id) for image_id in dataset["image_id"]]
        dataset = dataset.select_columns(columns).add_column("image", paths)
    elif "image" not in dataset.column_names:
        raise InputError(
            f"{source}: has neither a column image nor image_embeds. Name the folder of the pictures with "
            "--image_dir; in it, image_id is the file name."
        )
    try:
        return dataset.select_columns([*columns, "image"]).cast_column("image", datasets.Image())
    except (pa.ArrowException, TypeError) as error:
        raise InputError(
            f"{source}: the column image has neither pictures nor their file names ({error}). Give one of the two."
        ) from error


# -------------------------------------------------------------------------------------------------------- splitting
def is_in_validation(image_id: str, percentage: float) -> bool:
    """Whether a picture is held back: about `percentage` percent are, by a stable hash of `image_id`."""
    return zlib.crc32(image_id.encode()) % 10_000 < percentage * 100


def split_by_image_id(dataset: Dataset, percentage: float) -> tuple[Dataset, Dataset]:
    """Split into (the rest, about `percentage` percent), so that a picture is never in both."""
    in_second = [is_in_validation(str(image_id), percentage) for image_id in dataset["image_id"]]
    rows = range(len(dataset))
    return (
        dataset.select(list(itertools.compress(rows, (not second for second in in_second)))),
        dataset.select(list(itertools.compress(rows, in_second))),
    )
