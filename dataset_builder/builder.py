"""The corpus as a `datasets` builder: the embedded scenes, and files of triples of any size."""

from __future__ import annotations

import itertools
import logging
import lzma
import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import datasets
from datasets import DatasetDict

from . import scenes
from .errors import InputError
from .sources import LONGEST_LINE, checked_file, jsonl_rows, parquet_rows, parsed_json
from .triples import COLUMNS, TEXT_COLUMNS, is_in_validation, problem_of

CITATION = """@inproceedings{kim-etal-2024-fine,
    title = {Fine-tuning {CLIP} Text Encoders with Two-step Paraphrasing},
    author = {Kim, Hyunjae and Yoon, Seunghyun and Bui, Trung and Zhao, Handong and Tran, Quan and Dernoncourt, Franck
        and Kang, Jaewoo},
    booktitle = {Findings of the Association for Computational Linguistics: EACL 2024},
    year = {2024}
}"""
PICTURES = ("jpg", "jpeg", "png", "webp")
COMPRESSION = (zlib.error, lzma.LZMAError)
LARGEST_PICTURE = 2**28  # bytes; more is no picture, but a header that lies or an archive that fills the memory
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
    * `jsonl`, `parquet`: files with the columns `image_id`, `caption`, `paraphrase_1`, `paraphrase_2`.
    * `webdataset`: tar shards as img2dataset writes them, compressed or not, the texts in each sample's JSON. A shard
      that is cut is refused.

    The configs that read files have the splits `train` and `validation`, by a stable hash of `image_id`: a picture is
    never in both. Rows without the texts are named, counted and left out. `num_proc` and `as_streaming_dataset` work.

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
            raise InputError(f"The config {self.config.name!r} reads files: name them with data_files=...")
        files = [str(file) for split in self.config.data_files.values() for file in split]
        return [
            datasets.SplitGenerator(name=name, gen_kwargs={"split": name, "files": files})
            for name in ("train", *(["validation"] if self.config.validation_percentage else []))
        ]

    def _generate_examples(self, split: str, num_rows: int = 0, files: Sequence[str] = ()):
        if self.config.name == "scenes":
            yield from enumerate(scenes.generate(split, num_rows, self.config.seed))
            return
        read = {"jsonl": _jsonl_rows, "parquet": _parquet_rows, "webdataset": _webdataset_rows}[self.config.name]
        seen: set[int] = set()  # hashes: 60 bytes per row
        bad = 0
        for file in files:
            for where, row in read(file):
                problem = problem_of(row)
                if problem is None and self.config.name == "webdataset" and not row["image"]:
                    problem = "has no picture"
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
                if "image" in self.info.features:
                    example["image"] = row.get("image") or str(Path(self.config.image_dir) / image_id)
                yield f"{file} {where}", example
        if bad and split == "train":
            logger.warning("%d bad rows left out", bad)


def _jsonl_rows(file: str) -> Iterator[tuple[str, Any]]:
    return ((f"line {number}", row) for number, row in enumerate(jsonl_rows(file), start=1))


def _parquet_rows(file: str) -> Iterator[tuple[str, Any]]:
    return ((f"row {number}", row) for number, row in enumerate(parquet_rows(file, COLUMNS), start=1))


def _webdataset_rows(file: str) -> Iterator[tuple[str, Any]]:
    """A sample's files follow one another in the tar and share their name up to the first dot of the base name."""
    key = None
    try:
        with tarfile.open(checked_file(file), "r|*", tarinfo=_Member) as tar:
            for key, group in itertools.groupby(_members(tar), key=lambda item: item[0]):
                parts = {suffix: data for _, suffix, data in group}
                row = parsed_json(parts.get("json"))
                if isinstance(row, dict):
                    row = {"image_id": key, **row}
                    picture = next((parts[suffix] for suffix in PICTURES if suffix in parts), None)
                    row["image"] = picture and {"path": None, "bytes": picture}
                yield f"sample {key}", row
            while rest := tar.fileobj.read(2**16):  # type: ignore[union-attr]
                if rest.strip(b"\0"):
                    raise tarfile.ReadError("more follows its end, as if two shards were joined")
    except (tarfile.TarError, OSError, EOFError, TypeError, ValueError, OverflowError, *COMPRESSION) as error:
        if isinstance(error, InputError):
            raise
        place = "before the first sample" if key is None else f"after sample {key}"
        raise InputError(
            f"{file}, {place}: cannot be read as a tar file: {error}. The shard is cut or damaged: download it again."
        ) from error


class _Member(tarfile.TarInfo):
    """A header. Without this class, tarfile takes a damaged header or the end of the file for the end of the tar."""

    @classmethod
    def frombuf(cls, *args, **kwargs):
        member = super().frombuf(*args, **kwargs)
        if member.size < 0 or (member.size > LONGEST_LINE and not member.isreg()):
            raise tarfile.ReadError("a header says an impossible size")
        return member

    @classmethod
    def fromtarfile(cls, tarfile_):
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            if tarfile_.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("its end marker is cut") from None
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"it has no end marker ({error})") from error


def _members(tar: tarfile.TarFile) -> Iterator[tuple[str, str, bytes]]:
    """(sample's name, suffix, content) of each file that is read; links, folders and devices are not."""
    for member in tar:
        name = re.fullmatch(r"(?:\./)*((?:.*/)?[^./][^./]*)\.([^/]*)", member.name, re.DOTALL)
        if name is None or not member.isreg() or (suffix := name[2].lower()) not in ("json", *PICTURES):
            continue
        if member.size > (LARGEST_PICTURE if suffix in PICTURES else LONGEST_LINE):
            raise tarfile.ReadError(f"{member.name} is said to have {member.size:,} bytes")
        content = tar.extractfile(member)
        assert content is not None  # it is a regular file
        data = content.read()
        if len(data) != member.size:
            raise tarfile.ReadError(f"{member.name} is cut")
        yield name[1], suffix, data


def load_scenes(**config) -> DatasetDict:
    """The embedded corpus; `config` goes to `ParaCLIPConfig`. Kept in the `datasets` cache after the first call."""
    builder = ParaCLIPParaphrases(config_name="scenes", **config)
    builder.download_and_prepare()
    return builder.as_dataset()
