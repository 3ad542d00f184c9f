"""The corpus as `datasets`: the builder of the embedded scenes, and the reader of anybody's triples."""

from __future__ import annotations

import itertools
import json
import logging
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import datasets
from datasets import Dataset, DatasetDict, get_dataset_split_names, load_dataset, load_from_disk

from . import scenes
from .captions import jsonl_rows, parquet_rows
from .journal import storable

TEXT_COLUMNS = ("caption", "paraphrase_1", "paraphrase_2")
CITATION = """@inproceedings{kim-etal-2024-fine,
    title = {Fine-tuning {CLIP} Text Encoders with Two-step Paraphrasing},
    author = {Kim, Hyunjae and Yoon, Seunghyun and Bui, Trung and Zhao, Handong and Tran, Quan and Dernoncourt, Franck
        and Kang, Jaewoo},
    booktitle = {Findings of the Association for Computational Linguistics: EACL 2024},
    year = {2024}
}"""
logger = logging.getLogger(__name__)
FILE_TYPES = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}


class ParaCLIPConfig(datasets.BuilderConfig):
    """A config of the corpus.

    Args:
        num_train, num_eval, seed: `scenes`: how many triples, and the seed that all scenes follow from.
        image_dir: `jsonl` and `parquet`: the folder of the pictures; without it there is no column `image`.
        validation_percentage: the others: how many percent of the pictures are held back.
    """

    def __init__(
        self,
        num_train: int = 12_000,
        num_eval: int = 500,
        seed: int = 0,
        image_dir: str | None = None,
        validation_percentage: float = 5.0,
        **kwargs,
    ):
        super().__init__(version=datasets.Version("1.0.0"), **kwargs)
        self.num_train = num_train
        self.num_eval = num_eval
        self.seed = seed
        self.image_dir = image_dir
        self.validation_percentage = validation_percentage


class ParaCLIPParaphrases(datasets.GeneratorBasedBuilder):
    """With `config_name="jsonl", data_files="pairs.jsonl"` or another: `download_and_prepare()`, then `as_dataset()`.

    * `scenes`: the embedded corpus. Splits `train`, `validation` (worded as `train`), `test`, `test_unseen`.
    * `jsonl`, `parquet`: files with the columns `image_id`, `caption`, `paraphrase_1`, `paraphrase_2`.
    * `webdataset`: tar shards as img2dataset writes them, the texts in each sample's JSON.

    Those with files have the splits `train` and `validation`, by a stable hash of `image_id`: a picture is never in
    both. Rows without the texts are named, counted and left out. `num_proc` and `as_streaming_dataset` work.

    Raises:
        ValueError: a file cannot be read, or has the same caption of the same picture twice (checked within each of
            `num_proc` processes), or the config has no `data_files`.
    """

    BUILDER_CONFIG_CLASS = ParaCLIPConfig
    BUILDER_CONFIGS = [
        ParaCLIPConfig(name="scenes", description="Drawn scenes, each with a caption and two rewordings."),
        ParaCLIPConfig(name="jsonl", description="JSON lines, as the authors' script or `export` writes them."),
        ParaCLIPConfig(name="parquet", description="Parquet files, as `export` writes them."),
        ParaCLIPConfig(name="webdataset", description="Tar shards, as img2dataset writes them."),
    ]
    DEFAULT_CONFIG_NAME = "scenes"

    def _info(self) -> datasets.DatasetInfo:
        has_pictures = self.config.name in ("scenes", "webdataset") or self.config.image_dir is not None
        return datasets.DatasetInfo(
            description=scenes.__doc__ if self.config.name == "scenes" else self.config.description,
            features=datasets.Features(
                {
                    "image_id": datasets.Value("string"),
                    **({"image": datasets.Image()} if has_pictures else {}),
                    **{column: datasets.Value("string") for column in TEXT_COLUMNS},
                }
            ),
            citation=CITATION,
            license="apache-2.0" if self.config.name == "scenes" else "",
        )

    def _split_generators(self, dl_manager: datasets.DownloadManager) -> list[datasets.SplitGenerator]:
        if self.config.name == "scenes":
            sizes = {"train": self.config.num_train}
            sizes |= dict.fromkeys(("validation", "test", "test_unseen"), self.config.num_eval)
            return [
                datasets.SplitGenerator(name=name, gen_kwargs={"split": name, "num_rows": num_rows})
                for name, num_rows in sizes.items()
            ]
        if not self.config.data_files:
            raise ValueError(f"the config {self.config.name!r} reads files: name them with data_files=...")
        files = [str(file) for split in self.config.data_files.values() for file in split]
        return [
            datasets.SplitGenerator(name=name, gen_kwargs={"split": name, "files": files})
            for name in ("train", *(["validation"] if self.config.validation_percentage else []))
        ]

    def _generate_examples(self, split: str, num_rows: int = 0, files: list[str] = ()):
        if self.config.name == "scenes":
            yield from enumerate(scenes.generate(split, num_rows, self.config.seed))
            return
        read = {"jsonl": _jsonl_rows, "parquet": _parquet_rows, "webdataset": _webdataset_rows}[self.config.name]
        seen: set[int] = set()  # hashes: 60 bytes a row
        bad = 0
        for file in files:
            for where, row in read(file):
                problem = _problem(row)
                if problem:
                    bad += 1
                    if bad <= 20 and split == "train":  # the other split reads the same rows
                        logger.warning("%s, %s: %s; left out", file, where, problem)
                    continue
                image_id = str(row["image_id"])
                if is_in_validation(image_id, self.config.validation_percentage) != (split == "validation"):
                    continue
                key = hash((image_id, row["caption"]))
                if key in seen:
                    raise ValueError(
                        f"{file}, {where}: the caption {row['caption']!r} of picture {image_id} came before. Remove "
                        "one of the two; `python -m dataset_builder export` writes each once."
                    )
                seen.add(key)
                example = {"image_id": image_id, **{column: row[column] for column in TEXT_COLUMNS}}
                if "image" in self.info.features:
                    example["image"] = row.get("image") or str(Path(self.config.image_dir) / image_id)
                yield f"{file} {where}", example
        if bad and split == "train":
            logger.warning("%d bad rows left out", bad)


def _problem(row: object) -> str | None:
    """What keeps a row from being a triple, in words, or None."""
    if not isinstance(row, dict):
        return "cannot be parsed"
    if row.get("image_id") in (None, ""):
        return "no image_id"
    for column in TEXT_COLUMNS:
        if not isinstance(row.get(column), str) or not row[column].strip():
            return f"no {column}"
    if any(storable(str(row[column])) != str(row[column]) for column in ("image_id", *TEXT_COLUMNS)):
        return "half a surrogate pair"
    return None


def _jsonl_rows(file: str) -> Iterator[tuple[str, object]]:
    return ((f"line {number}", row) for number, row in enumerate(jsonl_rows(file), start=1))


def _parquet_rows(file: str) -> Iterator[tuple[str, object]]:
    return ((f"row {number}", row) for number, row in enumerate(parquet_rows(file, ("image_id", *TEXT_COLUMNS))))


def _webdataset_rows(file: str) -> Iterator[tuple[str, object]]:
    """A sample's files lie side by side in the tar and share their name up to the first dot."""
    try:
        with tarfile.open(file, "r|*") as tar:
            members = (
                (member.name.split(".", 1), tar.extractfile(member).read()) for member in tar if member.isfile()
            )
            for key, group in itertools.groupby(members, key=lambda item: item[0][0]):
                parts = {name[1].lower(): data for name, data in group if len(name) == 2}
                picture = next((parts[suffix] for suffix in ("jpg", "jpeg", "png", "webp") if suffix in parts), None)
                try:
                    row = json.loads(parts.get("json", b"null"))
                except ValueError:
                    row = None
                if isinstance(row, dict):
                    if picture is None:
                        row = None
                    else:
                        row = {"image_id": key, **row, "image": {"path": None, "bytes": picture}}
                yield f"sample {key}", row
    except tarfile.TarError as error:
        raise ValueError(f"{file} cannot be read as a tar file: {error}") from error


def load_scenes(**config) -> DatasetDict:
    """The embedded corpus; `config` goes to `ParaCLIPConfig`. Kept in the `datasets` cache after the first call."""
    builder = ParaCLIPParaphrases(config_name="scenes", **config)
    builder.download_and_prepare()
    return builder.as_dataset()


def load_triples(source: str | Path, split: str = "train", image_dir: str | Path | None = None) -> Dataset:
    """Read and check triples: columns `image_id`, `caption`, `paraphrase_1`, `paraphrase_2`, and the picture.

    Args:
        source: a JSONL (the authors' script's is accepted as it is), JSON, CSV or Parquet file; or a dataset's folder
            or Hub id.
        split: which split of a dataset.
        image_dir: where `image_id` is a file name. Not needed where there is a column `image` or `image_embeds`.

    Raises:
        ValueError: unreadable, a column is missing, a text is empty, or there is no picture to be had.
    """
    path = Path(source)
    if path.is_file():
        if path.suffix.lower() not in FILE_TYPES:
            raise ValueError(f"{source}: unknown file type {path.suffix!r}; known are {', '.join(FILE_TYPES)}.")
        try:
            dataset = load_dataset(FILE_TYPES[path.suffix.lower()], data_files=str(path), split="train")
        except (datasets.exceptions.DatasetGenerationError, ValueError) as error:
            raise ValueError(f"{source} cannot be read as {path.suffix}: {error.__cause__ or error}") from error
    elif path.suffix.lower() in FILE_TYPES:
        raise ValueError(f"{source}: no such file.")
    elif (path / "dataset_dict.json").is_file():  # as save_to_disk writes
        dataset = load_from_disk(path)[split]
    elif (path / "dataset_info.json").is_file():
        dataset = load_from_disk(path)
    else:
        dataset = load_dataset(str(source), split=split)
    return _with_pictures(_checked(dataset, str(source)), str(source), image_dir)


def split_names(source: str | Path) -> list[str]:
    """The splits of a dataset's folder or Hub id."""
    path = Path(source)
    if (path / "dataset_dict.json").is_file():
        return list(load_from_disk(path))
    if (path / "dataset_info.json").is_file():
        return ["train"]
    return get_dataset_split_names(str(source))


def _checked(dataset: Dataset, source: str) -> Dataset:
    missing = [column for column in ("image_id", *TEXT_COLUMNS) if column not in dataset.column_names]
    if missing:
        raise ValueError(
            f"{source}: missing column{'s' * (len(missing) > 1)} {', '.join(missing)}; "
            f"the columns found are {', '.join(dataset.column_names)}."
        )
    if len(dataset) == 0:
        raise ValueError(f"{source}: has no rows.")
    for column in TEXT_COLUMNS:
        for row, text in enumerate(dataset[column]):
            if not isinstance(text, str) or not text.strip():
                raise ValueError(f"{source}: row {row} has an empty {column} ({text!r}). Fill or remove it.")
    for row, image_id in enumerate(dataset["image_id"]):
        if image_id is None or image_id == "":
            raise ValueError(f"{source}: row {row} has an empty image_id. Fill it in or remove the row.")
    return dataset.cast_column("image_id", datasets.Value("string"))


def _with_pictures(dataset: Dataset, source: str, image_dir: str | Path | None) -> Dataset:
    columns = ["image_id", *TEXT_COLUMNS]
    if "image_embeds" in dataset.column_names:
        return dataset.select_columns([*columns, "image_embeds", *({"image"} & set(dataset.column_names))])
    if image_dir is not None:
        if not Path(image_dir).is_dir():
            raise ValueError(f"--image_dir {image_dir}: no such folder.")
        paths = [str(Path(image_dir) / image_id) for image_id in dataset["image_id"]]
        dataset = dataset.select_columns(columns).add_column("image", paths)
    elif "image" not in dataset.column_names:
        raise ValueError(
            f"{source}: has neither a column image nor image_embeds; name the folder of the pictures with --image_dir "
            "(image_id is then the file name in it)."
        )
    return dataset.select_columns([*columns, "image"]).cast_column("image", datasets.Image())


def is_in_validation(image_id: str, percentage: float) -> bool:
    """Whether a picture is held back: about `percentage` percent are, by a stable hash of `image_id`."""
    return zlib.crc32(image_id.encode()) % 10_000 < percentage * 100


def split_by_image_id(dataset: Dataset, percentage: float) -> tuple[Dataset, Dataset]:
    """(the rest, about `percentage` percent), so that a picture is never in both."""
    in_second = [is_in_validation(image_id, percentage) for image_id in dataset["image_id"]]
    rows = range(len(dataset))
    return (
        dataset.select(list(itertools.compress(rows, (not second for second in in_second)))),
        dataset.select(list(itertools.compress(rows, in_second))),
    )
