"""What two models find for several wordings of one wish: models, galleries, rankings. The page is in `app.py`."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image, ImageOps
from torch.nn import functional as F
from transformers import AutoImageProcessor, AutoTokenizer

from dataset_builder import scenes
from eval.data import is_unicode
from eval.encoders import TransformersTowers
from eval.files import read_json
from eval.metrics.average_overlap.average_overlap import average_overlap
from eval.ranking import rank
from modeling_paraclip.architectures import DUAL_ENCODERS
from modeling_paraclip.compatibility import check_compatible
from modeling_paraclip.errors import InputError, said
from modeling_paraclip.pictures import open_picture, read_file
from modeling_paraclip.publish import RESULTS
from modeling_paraclip.weights import find_file, open_config, open_model, open_processor

DEPTH = 10  # of the average overlap
MAX_TEXT = 500  # characters of a wording
MAX_PICTURES = 1000  # of a folder: gradio takes no more files at once, either
MAX_NUMBERS = 2**26  # of an index: 256 MiB in float32
BATCH = 64  # pictures embedded at a time
THUMBNAIL = 144  # pixels of the longer side
IDS, EMBEDS = ("ids", "image_id"), "image_embeds"  # the columns of an index


@dataclass(frozen=True)
class Model:
    """A dual encoder; `label` is its heading."""

    label: str
    towers: TransformersTowers

    @classmethod
    def open(cls, label: str, name: str | Path) -> Model:
        """Open a folder or Hub model: safetensors only, no remote code. InputError where that cannot be done."""
        kind = DUAL_ENCODERS.get(open_config(name).model_type)
        if kind is None:
            raise InputError(f"{name} is no dual encoder of the types {', '.join(DUAL_ENCODERS)}.")
        model = open_model(kind, name, dtype=torch.float32)
        tokenizer, image_processor = (open_processor(name, part) for part in (AutoTokenizer, AutoImageProcessor))
        check_compatible(name, model, tokenizer, image_processor)
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        return cls(label, TransformersTowers(model, tokenizer, image_processor))


@dataclass(frozen=True)
class Gallery:
    """Pictures to search in.

    Args:
        title: what they are, in words of ours.
        ids: (m) names, which may be anything a user calls a file.
        embeds: (m, dim), L2-normalised, by the `image_key` of the towers that made them.
        thumbnails: (m) data URIs; None for an index, which has no pictures.
    """

    title: str
    ids: list[str]
    embeds: dict[str, np.ndarray]
    thumbnails: list[str] | None


@dataclass(frozen=True)
class Found:
    """What one model finds.

    Args:
        ranked: (n, min(10, m)) gallery indices, best first: a row for the wish and one for each rewording.
        overlaps: (n - 1) AO@10 of each rewording with the wish, in 0..1; empty in a gallery of 10 pictures or fewer.
    """

    label: str
    ranked: np.ndarray
    overlaps: np.ndarray

    @property
    def overlap(self) -> float | None:
        """The mean of `overlaps`."""
        return float(self.overlaps.mean()) if len(self.overlaps) else None


def wordings_of(wish: str, *rewordings: str) -> list[str]:
    """The wish and those rewordings that are not blank. InputError says what cannot be searched with."""
    if not wish.strip():
        raise InputError("Type a wish first, e.g. “a red circle above a blue star”.")
    wordings = [text.strip() for text in (wish, *rewordings) if text.strip()]
    if max(map(len, wordings)) > MAX_TEXT:
        raise InputError(f"A wording has more than {MAX_TEXT} characters. Shorten it.")
    if not all(map(is_unicode, wordings)):
        raise InputError("A wording has half of a surrogate pair, which is no text. Type it again.")
    return wordings


def find(model: Model, gallery: Gallery, wordings: Sequence[str]) -> Found:
    """Rank a gallery for each wording. InputError where the index was made with a model of another size."""
    texts = model.towers.embed_texts(list(wordings), model.label)
    pictures = gallery.embeds[model.towers.image_key]
    if texts.shape[1] != pictures.shape[1]:
        raise InputError(
            f"The vectors of the index have {pictures.shape[1]} numbers, those of {model.label} {texts.shape[1]}. "
            "Make the index with the image tower of this model."
        )
    return found_in(model.label, rank(texts, pictures, DEPTH), len(pictures))


def found_in(label: str, ranked: np.ndarray, size: int) -> Found:
    """`Found` of (n, k) rankings of a gallery of `size` pictures. Where it has only 10, all wordings find the same."""
    if len(ranked) == 1 or size <= DEPTH:
        return Found(label, ranked, np.empty(0))
    wish = np.repeat(ranked[:1], len(ranked) - 1, axis=0)
    return Found(label, ranked, average_overlap(wish, ranked[1:], DEPTH))


def links(left: Sequence[int], right: Sequence[int]) -> list[tuple[int, int]]:
    """The places (i, j) at which two rankings have the same picture."""
    places = {picture: j for j, picture in enumerate(right)}
    return [(i, places[picture]) for i, picture in enumerate(left) if picture in places]


# ----------------------------------------------------------------------------------------------------------- galleries
def embedded(title: str, pictures: Iterable[tuple[str, Image.Image]], models: Sequence[Model]) -> Gallery:
    """Embed pictures, given one at a time with their names. Models that share an image tower share its work."""
    towers = {model.towers.image_key: model.towers for model in models}
    ids: list[str] = []
    thumbnails: list[str] = []
    waiting: dict[str, list[torch.Tensor]] = {key: [] for key in towers}
    rows: dict[str, list[np.ndarray]] = {key: [] for key in towers}

    def flush() -> None:
        for key, tower in towers.items():
            if waiting[key]:
                with torch.inference_mode():
                    embeds = F.normalize(tower.embed_images(torch.stack(waiting[key])).float(), dim=-1)
                rows[key].append(embeds.cpu().numpy())
                waiting[key].clear()

    for name, picture in pictures:
        ids.append(name)
        thumbnails.append(thumbnail(picture))
        for key, tower in towers.items():
            waiting[key].append(_preprocess(tower)(picture))
        if len(ids) % BATCH == 0:
            flush()
    flush()
    return Gallery(title, ids, {key: np.concatenate(vectors) for key, vectors in rows.items() if vectors}, thumbnails)


def _preprocess(tower: TransformersTowers) -> Callable[[Image.Image], torch.Tensor]:
    assert tower.preprocess is not None  # `Model.open` gave it an image processor
    return tower.preprocess


def thumbnail(picture: Image.Image) -> str:
    """A small JPEG as a data URI, without anything that the file said besides its pixels."""
    is_large, file = max(picture.size) > THUMBNAIL, io.BytesIO()
    small = ImageOps.contain(picture, (THUMBNAIL, THUMBNAIL)) if is_large else picture.copy()
    small.info.clear()  # e.g. a comment, which Pillow would write again
    small.save(file, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def drawn_rows(num_rows: int = 500) -> list[dict]:
    """The first rows of the test split of the embedded scenes, whose rewordings no training text has."""
    return list(scenes.generate("test", num_rows))


def drawn_scenes(rows: list[dict], models: Sequence[Model]) -> Gallery:
    """The pictures of `drawn_rows`."""
    title = f"{len(rows):,} drawn scenes, none of them trained on"
    return embedded(title, ((row["image_id"], row["image"]) for row in rows), models)


def uploaded_pictures(files: Sequence[str], models: Sequence[Model]) -> tuple[Gallery, list[str]]:
    """A gallery of files, and what is wrong with those that are left out.

    Raises:
        InputError: none of them is a picture that can be read, or there are too many.
    """
    if len(files) > MAX_PICTURES:
        raise InputError(f"{len(files):,} files are more than {MAX_PICTURES:,}. Choose fewer, or bring an index.")
    problems: list[str] = []

    def opened() -> Iterator[tuple[str, Image.Image]]:
        for file in files:
            name = Path(file).name
            try:
                yield name, open_picture(read_file(file))
            except (OSError, ValueError) as error:
                problems.append(f"{name}: {getattr(error, 'strerror', None) or error}")

    gallery = embedded("your pictures", opened(), models)
    if not gallery.ids:
        raise InputError(f"None of the {len(files)} files can be read as a picture, e.g. {problems[0]}.")
    return gallery, problems


def uploaded_index(file: str, models: Sequence[Model]) -> Gallery:
    """A gallery of vectors that a search has already: `.npz` or `.parquet` with `ids` and `image_embeds`.

    Raises:
        InputError: it cannot be read as one, or is too large.
    """
    name, kind = Path(file).name, Path(file).suffix.lower()
    readers = {".npz": _read_npz, ".parquet": _read_parquet}
    if kind not in readers:
        raise InputError(f"{name} is no index: give a .npz or .parquet file with ids and image_embeds.")
    try:
        ids, embeds = readers[kind](file)
        embeds = np.asarray(embeds, np.float32)
    except InputError:
        raise
    # what a broken file makes numpy, zipfile or Arrow raise is anything, e.g. NotImplementedError, zlib.error
    except Exception as error:
        raise InputError(f"{name} cannot be read as an index: {said(error, 200)}") from error
    if embeds.ndim != 2 or len(ids) != len(embeds) or not len(ids):
        raise InputError(f"{name}: {len(ids)} ids and image_embeds of shape {embeds.shape} do not belong together.")
    norms = np.linalg.norm(embeds, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or not norms.all():
        raise InputError(f"{name}: a vector is all zeros, or not all finite numbers. Repair or remove it.")
    embeds /= norms
    return Gallery("your index", ids, {model.towers.image_key: embeds for model in models}, None)


def _read_npz(file: str) -> tuple[list[str], np.ndarray]:
    with np.load(file, allow_pickle=False) as arrays:
        _check_index(list(arrays.files), sum(entry.file_size for entry in arrays.zip.infolist()) // 2)
        return [str(image_id) for image_id in arrays[_id_column(arrays.files)]], arrays[EMBEDS]


def _read_parquet(file: str) -> tuple[list[str], np.ndarray]:
    with pq.ParquetFile(file) as parquet:
        columns, metadata = parquet.schema_arrow.names, parquet.metadata
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        _check_index(columns, sum(g.column(c).num_values for g in groups for c in range(g.num_columns)))
        table = parquet.read([_id_column(columns), EMBEDS])
    vectors = table[EMBEDS].combine_chunks()
    lengths = set(pa.compute.list_value_length(vectors).to_pylist())
    if len(lengths) != 1 or None in lengths:
        raise ValueError("the vectors in image_embeds differ in length")
    numbers = vectors.flatten().to_numpy(zero_copy_only=False)
    return list(map(str, table[_id_column(columns)].to_pylist())), numbers.reshape(len(vectors), -1)


def _id_column(columns: Sequence[str]) -> str:
    return next(name for name in IDS if name in columns)


def _check_index(columns: Sequence[str], numbers: int) -> None:
    """Before anything is read: what is there, and how much of it."""
    if EMBEDS not in columns or not set(IDS) & set(columns):
        raise ValueError(f"ids and image_embeds are needed; found are {', '.join(columns)[:100] or 'none'}")
    if numbers > MAX_NUMBERS:
        raise ValueError(f"it has more than {MAX_NUMBERS:,} numbers; bring a part of it")


# ------------------------------------------------------------------------------------------------------- what changed
def results_of(name: str | Path) -> list[dict]:
    """The entries of the results.json of a model, base and tuned. Empty where there is none.

    Raises:
        InputError: it cannot be read.
    """
    try:
        file = find_file(name, RESULTS)
    except InputError:  # a Hub model, and no network
        return []
    if file is None:
        return []
    rows = read_json(file)
    kinds: dict[str, Any] = {"model": str, "dataset": str, "metric": str, "value": (int, float)}
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and all(isinstance(row.get(key), kind) for key, kind in kinds.items()) for row in rows
    ):
        raise InputError(f"{file.name}: a list of entries with model, dataset, metric and value is needed.")
    return rows


def changes(rows: list[dict]) -> list[tuple[str, str, float, float]]:
    """(queries, metric, value of the first model, value of the last) of what both were measured on, in order."""
    by_model: dict[str, dict[tuple[str, str], float]] = {}
    for row in rows:
        by_model.setdefault(row["model"], {})[row["dataset"], row["metric"]] = row["value"]
    if len(by_model) < 2:
        return []
    first, *_, last = by_model.values()
    return [(*key, value, last[key]) for key, value in first.items() if key in last]
