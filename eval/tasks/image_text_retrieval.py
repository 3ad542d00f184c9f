"""Image-text retrieval: does a text find its picture, and a picture one of its texts?

Protocol: cosine similarity; R@k is the share of queries with a right answer among their first k. In text-to-image each
query has one right picture; in image-to-text all captions of a picture are right. Ties break by lower index.

Local data, with the pictures in `DIR/FOLDER/images`: Karpathy's own `DIR/FOLDER/dataset_*.json` (Flickr8k, Flickr30k,
COCO; the test split, 5,000 pictures of COCO; pictures of COCO may lie in `images/val2014`), or
`DIR/FOLDER/captions.jsonl` with `image`, `captions` (a list) and, optionally, `split` (the `test` rows are measured,
or `val` where there are none).

From the Hub: MTEB's copies of the test sets of Flickr30k (1,000 pictures) and COCO (5,000). Their configurations,
splits and columns were read from the data sets' cards (of MTEB's COCO, and of the repositories that MTEB copied), the
revisions from `mteb.tasks`. A caption of two pictures is a query for each, as in Karpathy's files; MTEB takes any of
them as right. COCO lacks 21 of the 25,010 captions: they are twice with one picture.
"""

import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from modeling_paraclip.errors import InputError

from ..data import file_about, is_unicode, pictures_in, rows_of, share_of
from ..encoders import Encoder
from ..files import MissingData, read_json
from ..hub import HubSource
from ..metrics.retrieval_recall.retrieval_recall import retrieval_recall
from ..ranking import best_rank
from ..statistics import MEAN, About, Mean, Scored

logger = logging.getLogger(__name__)
SMALL_GALLERY = 50
MAX_KARPATHY = 2**28  # bytes; that of COCO has 2**27
HUB = {
    "Flickr30k test": ("mteb/flickr30kt2i", "e819702b287bfbe084e129a61f308a802b7c108e", 5_000),
    "COCO test": ("mteb/mbeir_mscoco_task0", "8dfc4d250094f4e241bcb93211d6c5fbc99bb0bd", 25_010),
}


@dataclass(frozen=True)
class Captions:
    """A set of captions and pictures.

    Args:
        name: of the set and its split.
        texts: the captions.
        pictures: as `embed_pictures` takes them.
        picture_of_text: (n,) the index of each caption's picture.
        about: where they come from.
    """

    name: str
    texts: list[str]
    pictures: Sequence[Mapping]
    picture_of_text: np.ndarray
    about: About


def image_text_retrieval(encoder: Encoder, data_dir: Path | None) -> dict[tuple[str, str], Scored]:
    """(data set, "text_to_image_recall@k" | "image_to_text_recall@k") -> one 0 or 1 per query."""
    measured: dict[tuple[str, str], Scored] = {}
    for found in captions_in(data_dir) if data_dir else map(_from_hub, HUB):
        warn_of_small_gallery(len(found.pictures))
        values = image_text_retrieval_values(
            encoder.texts(found.texts), encoder.pictures(found.pictures), found.picture_of_text
        )
        about = replace(found.about, gallery=len(found.pictures))
        measured |= {(found.name, m): Scored(v, unit_of(m, found.picture_of_text), about) for m, v in values.items()}
    return measured


def unit_of(metric: str, picture_of_text: np.ndarray) -> Mean:
    """The statistic of a metric of retrieval: texts of one picture are not independent, pictures are."""
    return MEAN if metric.startswith("image_to_text") else Mean(picture_of_text)


@functools.cache
def warn_of_small_gallery(size: int) -> None:
    """Say once per size that figures mean little where nearly everything is found."""
    if size < SMALL_GALLERY:
        logger.warning("Retrieval figures mean little in a gallery of %d pictures; measure on more.", size)


def captions_in(data_dir: Path) -> list[Captions]:
    """The set of each folder that has captions and pictures.

    Raises:
        MissingData: there is none.
        InputError: a file is wrong, or a folder has two.
    """
    found: list[Captions] = []
    reason = f"{data_dir} has no FOLDER/captions.jsonl or dataset_*.json"
    for file in sorted([*data_dir.glob("*/captions.jsonl"), *data_dir.glob("*/dataset_*.json")]):
        others = [
            other for other in (file.parent / "captions.jsonl", *file.parent.glob("dataset_*.json")) if other.is_file()
        ]
        if not (file.parent / "images").is_dir():
            reason = f"pictures are needed in {file.parent / 'images'}"
            continue
        if len(others) > 1:
            raise InputError(f"{file.parent} has {' and '.join(sorted(other.name for other in others))}. Keep one.")
        rows, split = _split_of(_karpathy_rows(file) if file.suffix == ".json" else _plain_rows(file))
        names = [row["image"] for row in rows]
        if len(set(names)) < len(names):
            repeated = next(name for name in names if names.count(name) > 1)
            raise InputError(f"{file}: the picture {repeated} is there more than once; put its captions together.")
        found.append(
            Captions(
                f"{file.parent.name} {split}" if split else file.parent.name,
                [caption for row in rows for caption in row["captions"]],
                pictures_in(file.parent / "images", names),
                np.array([i for i, row in enumerate(rows) for _ in row["captions"]]),
                file_about(data_dir, file, split=split),
            )
        )
    if not found:
        raise MissingData(reason)
    return found


def _split_of(rows: list[dict]) -> tuple[list[dict], str | None]:
    """The rows to measure, and the name of their split."""
    splits = {row.get("split") for row in rows}
    split = next((name for name in ("test", "val") if name in splits), None)
    return [row for row in rows if split is None or row.get("split") == split], split


def _plain_rows(file: Path) -> list[dict]:
    return rows_of(file, None, ("image",), lists=("captions",), optional=("split",))


def karpathy(file: Path) -> list[dict]:
    """The `images` of one of Karpathy's files, their `split`, `filename` and `sentences` (`sentid`, `raw`) checked."""
    images = read_json(file, MAX_KARPATHY)
    images = images.get("images") if isinstance(images, dict) else None
    if not isinstance(images, list) or not images:
        raise InputError(f"{file} is none of Karpathy's files: it has no list of images.")
    for number, image in enumerate(images, start=1):
        where = f"{file}, image {number}"
        if not isinstance(image, dict) or not all(isinstance(image.get(key), str) for key in ("split", "filename")):
            raise InputError(f"{where}: split and filename have to be texts.")
        sentences = image.get("sentences")
        if not isinstance(sentences, list) or not sentences or not all(map(_is_sentence, sentences)):
            raise InputError(f"{where}: sentences have to be a list of objects with a text raw and a number sentid.")
    return images


def _is_sentence(sentence: object) -> bool:
    raw, number = (sentence.get("raw"), sentence.get("sentid")) if isinstance(sentence, dict) else (None, None)
    return isinstance(raw, str) and bool(raw.strip()) and is_unicode(raw) and isinstance(number, int)


def _karpathy_rows(file: Path) -> list[dict]:
    """As `_plain_rows`. COCO's pictures are in a folder of their year where there is one."""
    rows = []
    for image in karpathy(file):
        year, name = str(image.get("filepath") or ""), image["filename"]
        if year and (file.parent / "images" / year).is_dir():
            name = f"{year}/{name}"
        rows.append({"image": name, "captions": [s["raw"] for s in image["sentences"]], "split": image["split"]})
    return rows


def _from_hub(name: str) -> Captions:
    repo, revision, published = HUB[name]

    def part(configuration: str, split: str, columns: dict[str, str], **kinds) -> list[dict]:
        return rows_of(None, HubSource(repo, revision, split, columns, configuration), **kinds)

    texts = part("query", "test", {"id": "id", "text": "text"}, texts=("text",), optional=("id",))
    corpus = part("corpus", "corpus", {"id": "id", "image": "image"}, pictures=("image",), optional=("id",))
    right = part("qrels", "test", {"query": "query-id", "picture": "corpus-id"}, optional=("query", "picture"))
    text_of = {row["id"]: row["text"] for row in texts}
    index = {row["id"]: i for i, row in enumerate(corpus)}
    try:
        pairs = [(text_of[row["query"]], index[row["picture"]]) for row in right]
    except KeyError as error:
        raise InputError(f"{repo}: the right answers name {error}, which is not there.") from error
    source = HubSource(repo, revision, "test", {}, "query")
    return Captions(
        name,
        [text for text, _ in pairs],
        [row["image"] for row in corpus],
        np.array([picture for _, picture in pairs]),
        source.about(protocol="one right picture per caption", share=share_of(pairs, published)),
    )


def image_text_retrieval_values(
    text_embeds: np.ndarray,
    gallery_embeds: np.ndarray,
    picture_of_text: np.ndarray,
    ks: tuple[int, ...] = (1, 5, 10),
) -> dict[str, np.ndarray]:
    """Metric name -> one value per query.

    Args:
        text_embeds: (n, dim) L2-normalised.
        gallery_embeds: (m, dim) L2-normalised. A picture without a text is a distractor, never an image-to-text query.
        picture_of_text: (n,) the gallery index of each text's picture.
    """
    pictures = np.unique(picture_of_text)
    text_ranks = 1 + best_rank(text_embeds, gallery_embeds, picture_of_text, np.arange(len(gallery_embeds)))
    image_ranks = 1 + best_rank(gallery_embeds[pictures], text_embeds, pictures, picture_of_text)
    return {
        **{f"text_to_image_recall@{k}": retrieval_recall(text_ranks, k) for k in ks},
        **{f"image_to_text_recall@{k}": retrieval_recall(image_ranks, k) for k in ks},
    }
