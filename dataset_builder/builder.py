"""The corpus as `datasets`: the builder of the embedded scenes, and the reader of anybody's triples."""

from __future__ import annotations

import itertools
import zlib
from pathlib import Path

import datasets
from datasets import Dataset, DatasetDict, get_dataset_split_names, load_dataset, load_from_disk

from . import scenes

TEXT_COLUMNS = ("caption", "paraphrase_1", "paraphrase_2")
FILE_TYPES = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}


class ParaCLIPConfig(datasets.BuilderConfig):
    """A config of the corpus: how many `train` triples, and the seed that all scenes follow from."""

    def __init__(self, num_train: int = 12_000, num_eval: int = 500, seed: int = 0, **kwargs):
        super().__init__(version=datasets.Version("1.0.0"), **kwargs)
        self.num_train = num_train
        self.num_eval = num_eval
        self.seed = seed


class ParaCLIPParaphrases(datasets.GeneratorBasedBuilder):
    """`ParaCLIPParaphrases().download_and_prepare()`, then `.as_dataset()`: nothing is downloaded, it is drawn.

    Splits: `train`, `validation` (worded as `train`), `test` and `test_unseen` (see `scenes.py`).
    """

    BUILDER_CONFIG_CLASS = ParaCLIPConfig
    BUILDER_CONFIGS = [
        ParaCLIPConfig(name="scenes", description="Drawn scenes, each with a caption and two rewordings.")
    ]
    DEFAULT_CONFIG_NAME = "scenes"

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(
            description=scenes.__doc__,
            features=datasets.Features(
                {
                    "image_id": datasets.Value("string"),
                    "image": datasets.Image(),
                    **{column: datasets.Value("string") for column in TEXT_COLUMNS},
                }
            ),
            license="apache-2.0",
        )

    def _split_generators(self, dl_manager: datasets.DownloadManager) -> list[datasets.SplitGenerator]:
        sizes = {"train": self.config.num_train}
        sizes |= dict.fromkeys(("validation", "test", "test_unseen"), self.config.num_eval)
        return [
            datasets.SplitGenerator(name=name, gen_kwargs={"split": name, "num_rows": num_rows})
            for name, num_rows in sizes.items()
        ]

    def _generate_examples(self, split: str, num_rows: int):
        yield from enumerate(scenes.generate(split, num_rows, self.config.seed))


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


def split_by_image_id(dataset: Dataset, percentage: float) -> tuple[Dataset, Dataset]:
    """(the rest, about `percentage` percent), by a stable hash of `image_id`: a picture is never in both."""
    in_second = [zlib.crc32(image_id.encode()) % 10_000 < percentage * 100 for image_id in dataset["image_id"]]
    rows = range(len(dataset))
    return (
        dataset.select(list(itertools.compress(rows, (not second for second in in_second)))),
        dataset.select(list(itertools.compress(rows, in_second))),
    )
