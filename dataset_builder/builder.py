"""The corpus as a `datasets` builder: the embedded scenes, and files of triples of any size."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import datasets
from datasets import DatasetDict

from . import parquet, scenes
from .errors import InputError
from .files import COMPRESSION, kind_of, lines, parsed_json
from .partners import Paraphrases
from .shards import PICTURES, read_samples, texts_of
from .triples import COLUMNS, NEGATIVE, TEXT_COLUMNS, is_in_validation, problem_of

CITATION = """@inproceedings{kim-etal-2024-fine,
    title = {Fine-tuning {CLIP} Text Encoders with Two-step Paraphrasing},
    author = {Kim, Hyunjae and Yoon, Seunghyun and Bui, Trung and Zhao, Handong and Tran, Quan and Dernoncourt, Franck
        and Kang, Jaewoo},
    booktitle = {Findings of the Association for Computational Linguistics: EACL 2024},
    year = {2024}
}"""
logger = logging.getLogger(__name__)


class ParaCLIPConfig(datasets.BuilderConfig):
    """A config of the corpus.

    Args:
        num_train, num_eval, seed: `scenes`: how many triples, and the seed that all scenes follow from.
        image_dir: `jsonl` and `parquet`: the folder of the pictures; without it there is no column `image`.
        validation_percentage: all but `scenes`: how many percent of the pictures are held back.
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
    """A `datasets` builder. Name a config and its files, `download_and_prepare()`, then `as_dataset()`.

        ParaCLIPParaphrases(config_name="jsonl", data_files="pairs.jsonl")

    * `scenes`: the embedded corpus. Splits `train`, `validation` (worded as `train`), `test`, `test_unseen`.
    * `jsonl`, `parquet`: files with the columns `image_id`, `caption`, `paraphrase_1`, `paraphrase_2`, and `negative`
      where the first row of any of them has it.
    * `webdataset`: tar shards as img2dataset writes them, compressed or not. The texts are in each sample's JSON, or
      in files of triples that are named beside the shards, `data_files=["shards/*.tar", "pairs.parquet"]`: these are
      joined by the sample's key (see `partners.Paraphrases`). A shard that is cut is refused.

    The configs that read files have the splits `train` and `validation`, by a stable hash of `image_id`: a picture is
    never in both. Rows without the texts are named, counted and left out, and so are samples and triples without a
    partner. `num_proc` and `as_streaming_dataset` work (a stream does not know which triples have no picture).

    Raises:
        InputError: the config has no `data_files`, a file cannot be read, or it has the same caption of the same
            picture twice (checked within each of the `num_proc` processes). While files are being read, `datasets`
            raises its own DatasetGenerationError with this error as the cause.
    """

    BUILDER_CONFIG_CLASS = ParaCLIPConfig
    BUILDER_CONFIGS: ClassVar = [
        ParaCLIPConfig(name="scenes", description="Drawn scenes, each with a caption and two rewordings."),
        ParaCLIPConfig(name="jsonl", description="JSON lines, as the authors' script or `export` writes them."),
        ParaCLIPConfig(name="parquet", description="Parquet files, as `export` writes them."),
        ParaCLIPConfig(name="webdataset", description="Tar shards, as img2dataset writes them."),
    ]
    DEFAULT_CONFIG_NAME = "scenes"
    _paraphrases: Paraphrases | None = None

    def _info(self) -> datasets.DatasetInfo:
        has_pictures = self.config.name in ("scenes", "webdataset") or self.config.image_dir is not None
        return datasets.DatasetInfo(
            description=scenes.__doc__ if self.config.name == "scenes" else self.config.description,
            features=datasets.Features(
                {
                    "image_id": datasets.Value("string"),
                    **({"image": datasets.Image()} if has_pictures else {}),
                    **{column: datasets.Value("string") for column in TEXT_COLUMNS},
                    **({NEGATIVE: datasets.Value("string")} if self._have_negatives() else {}),
                }
            ),
            citation=CITATION,
            license="apache-2.0" if self.config.name == "scenes" else "",
        )

    def _have_negatives(self) -> bool:
        """Whether any of the files of triples has negatives."""
        return any(_names_negatives(str(file)) for split in (self.config.data_files or {}).values() for file in split)

    def _split_generators(self, dl_manager: datasets.DownloadManager) -> list[datasets.SplitGenerator]:
        if self.config.name == "scenes":
            sizes = {"train": self.config.num_train}
            sizes |= dict.fromkeys(("validation", "test", "test_unseen"), self.config.num_eval)
            return [
                datasets.SplitGenerator(name=name, gen_kwargs={"split": name, "num_rows": num_rows})
                for name, num_rows in sizes.items()
            ]
        if not self.config.data_files:
            raise InputError(f"The config {self.config.name!r} reads files: name them with data_files=...")
        files = [str(file) for split in self.config.data_files.values() for file in split]
        if self.config.name == "webdataset":
            texts = [file for file in files if kind_of(file) in (".jsonl", ".parquet")]
            files = [file for file in files if file not in texts]
            self._paraphrases = Paraphrases(self._triples(texts)) if texts else None
        return [
            datasets.SplitGenerator(
                name=name, gen_kwargs={"split": name, "files": files, "paraphrases": self._paraphrases}
            )
            for name in ("train", *(["validation"] if self.config.validation_percentage else []))
        ]

    def _triples(self, files: list[str]) -> datasets.Dataset:
        """Files of triples of one kind, as the config of that kind reads them."""
        config_name = kind_of(files[0]).removeprefix(".")
        builder = ParaCLIPParaphrases(
            config_name=config_name, data_files=files, validation_percentage=0, cache_dir=self._cache_dir_root
        )
        builder.download_and_prepare()
        return builder.as_dataset("train")

    def download_and_prepare(self, *args, **kwargs):
        """As of any builder; then, name the triples that found no picture."""
        super().download_and_prepare(*args, **kwargs)
        if self._paraphrases is not None:
            self._paraphrases.report_missing(self.as_dataset())

    def _generate_examples(
        self, split: str, num_rows: int = 0, files: Sequence[str] = (), paraphrases: Paraphrases | None = None
    ):
        if self.config.name == "scenes":
            yield from enumerate(scenes.generate(split, num_rows, self.config.seed))
            return
        read = {"jsonl": _jsonl_rows, "parquet": _parquet_rows, "webdataset": _webdataset_rows}[self.config.name]
        if paraphrases is not None:
            read = functools.partial(_joined_rows, paraphrases)
        seen: set[int] = set()  # hashes: 60 bytes per row
        bad = 0
        for file in files:
            for where, row in read(file):
                problem = row if isinstance(row, str) else problem_of(row)
                if problem is None and self.config.name == "webdataset" and not row["image"]:
                    problem = "has no picture"
                if problem is None and not isinstance(row.get(NEGATIVE), str | None):
                    problem = f"has {row[NEGATIVE]!r:.40} as its {NEGATIVE}, which must be a text or null"
                if problem is not None:
                    bad += 1
                    if bad <= 20 and split == "train":  # the other split reads the same rows
                        logger.warning("%s, %s: %s; left out", file, where, problem)
                    continue
                image_id = str(row["image_id"])
                if is_in_validation(image_id, self.config.validation_percentage) != (split == "validation"):
                    continue
                key = hash((image_id, row["caption"]))
                if key in seen:
                    raise InputError(
                        f"{file}, {where}: the caption {row['caption']!r:.200} of picture {image_id} came before. "
                        "Remove one of the two; `python -m dataset_builder export` writes each one once."
                    )
                seen.add(key)
                example = {"image_id": image_id, **{column: row[column] for column in TEXT_COLUMNS}}
                if NEGATIVE in self.info.features:
                    example[NEGATIVE] = row.get(NEGATIVE)
                if "image" in self.info.features:
                    example["image"] = row.get("image") or str(Path(self.config.image_dir) / image_id)
                yield f"{file} {where}", example
        if bad and split == "train":
            logger.warning("%d bad rows left out", bad)
        if paraphrases is not None and split == "train":
            paraphrases.report_others()


def _names_negatives(file: str) -> bool:
    """Whether a file of triples has negatives; what cannot be read is told when its rows are."""
    with contextlib.suppress(InputError, OSError, *COMPRESSION):
        if kind_of(file) == ".parquet":
            return NEGATIVE in parquet.columns(file)
        if kind_of(file) == ".jsonl":
            row = parsed_json(next(lines(file), None))
            return isinstance(row, dict) and NEGATIVE in row
    return False


def _jsonl_rows(file: str) -> Iterator[tuple[str, Any]]:
    return ((f"line {number}", parsed_json(line)) for number, line in enumerate(lines(file), start=1))


def _parquet_rows(file: str) -> Iterator[tuple[str, Any]]:
    found = [name for name in (*COLUMNS, NEGATIVE) if name in parquet.columns(file)]
    rows = parquet.rows(file, found)
    return ((f"row {number}", dict(zip(found, values))) for number, values in enumerate(rows, start=1))


def _webdataset_rows(file: str) -> Iterator[tuple[str, Any]]:
    for key, parts in read_samples(file, ("json", *PICTURES)):
        row = parsed_json(parts.get("json"))
        if isinstance(row, dict):
            row = {"image_id": key, **row}
            picture = next((parts[suffix] for suffix in PICTURES if suffix in parts), None)
            row["image"] = picture and {"path": None, "bytes": picture}
        yield f"sample {key}", row


def _joined_rows(paraphrases: Paraphrases, file: str) -> Iterator[tuple[str, Any]]:
    """The triples of each sample, or what keeps it from being used."""
    for key, parts in read_samples(file, ("json", "txt", *PICTURES)):
        picture = next((parts[suffix] for suffix in PICTURES if suffix in parts), None)
        triples = paraphrases.of(key, texts_of(key, parts) or {})
        if not triples:
            yield f"sample {key}", "has no paraphrases"
        for number, triple in enumerate(triples, start=1):
            yield f"sample {key} ({number})", {**triple, "image": picture and {"path": None, "bytes": picture}}


def load_scenes(**config) -> DatasetDict:
    """The embedded corpus; `config` goes to `ParaCLIPConfig`. Kept in the `datasets` cache after the first call."""
    builder = ParaCLIPParaphrases(config_name="scenes", **config)
    builder.download_and_prepare()
    return builder.as_dataset()
