"""Image-text retrieval: does a text find its picture, and a picture one of its texts?

Protocol: cosine similarity; R@k is the share of queries with a right answer among their first k. In text-to-image each
query has one right picture; in image-to-text all captions of a picture are right. Ties break by lower index.
Local data: `DIR/FOLDER/captions.jsonl` with `image`, `captions` (a list) and, optionally, `split` (the `test` rows are
measured, or `val` where there are none), and `DIR/FOLDER/images`. Karpathy's splits of Flickr30k and COCO are easily
written in this form. From the Hub: the Flickr30k test split of MTEB (1,000 pictures, 5 captions each).
"""

import functools
import logging
from pathlib import Path

import numpy as np

from modeling_paraclip.errors import InputError

from ..data import HubSource, MissingData, pictures_in, rows_of
from ..encoders import Encoder

logger = logging.getLogger(__name__)
SMALL_GALLERY = 50
HUB_REPO, HUB_REVISION = "mteb/flickr30kt2i", "e819702b287bfbe084e129a61f308a802b7c108e"


def image_text_retrieval(encoder: Encoder, data_dir: Path | None) -> dict[tuple[str, str], np.ndarray]:
    """(data set, "text_to_image_recall@k" | "image_to_text_recall@k") -> one value per query."""
    measured: dict[tuple[str, str], np.ndarray] = {}
    for name, texts, pictures, picture_of_text in captions_in(data_dir) if data_dir else [_from_hub()]:
        warn_of_small_gallery(len(pictures))
        values = image_text_retrieval_values(
            encoder.texts(texts), encoder.pictures(pictures), np.array(picture_of_text)
        )
        measured |= {(name, metric): v for metric, v in values.items()}
    return measured


@functools.cache
def warn_of_small_gallery(size: int) -> None:
    """Say once per size that figures mean little where nearly everything is found."""
    if size < SMALL_GALLERY:
        logger.warning("Retrieval figures mean little in a gallery of %d pictures; measure on more.", size)


def captions_in(data_dir: Path) -> list[tuple[str, list[str], list[dict], list[int]]]:
    """(name, texts, pictures, index of each text's picture) of each folder with captions and pictures."""
    found, reason = [], f"{data_dir} has no FOLDER/captions.jsonl"
    for file in sorted(data_dir.glob("*/captions.jsonl")):
        rows = rows_of(file, None, ("image",), lists=("captions",), optional=("split",))
        splits = [row.get("split") for row in rows]
        split = next((name for name in ("test", "val") if name in splits), None)
        rows = [row for row in rows if split is None or row.get("split") == split]
        names = [row["image"] for row in rows]
        repeated = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else None
        if repeated:
            raise InputError(
                f"{file}: the picture {repeated.pop()} is there more than once; put its captions together."
            )
        try:
            pictures = pictures_in(file.parent / "images", names)
        except MissingData as error:
            reason = str(error)
            continue
        texts = [caption for row in rows for caption in row["captions"]]
        picture_of_text = [i for i, row in enumerate(rows) for _ in row["captions"]]
        found.append((f"{file.parent.name} {split}" if split else file.parent.name, texts, pictures, picture_of_text))
    if not found:
        raise MissingData(reason)
    return found


def _from_hub() -> tuple[str, list[str], list[dict], list[int]]:
    def part(name: str, columns: dict[str, str], **kinds) -> list[dict]:
        return rows_of(None, HubSource(HUB_REPO, HUB_REVISION, "test", columns, name), **kinds)

    queries = part("query", {"id": "id", "text": "text"}, texts=("text",), optional=("id",))
    corpus = part("corpus", {"id": "id", "image": "image"}, pictures=("image",), optional=("id",))
    right = part("qrels", {"query": "query-id", "picture": "corpus-id"}, optional=("query", "picture"))
    index = {row["id"]: i for i, row in enumerate(corpus)}
    try:
        picture_of = {row["query"]: index[row["picture"]] for row in right}
        picture_of_text = [picture_of[q["id"]] for q in queries]
    except KeyError as error:
        raise InputError(f"{HUB_REPO}: a text has no picture: there is no {error}.") from error
    return "Flickr30k test", [q["text"] for q in queries], [c["image"] for c in corpus], picture_of_text


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
    scores = text_embeds @ gallery_embeds.T
    text_rank = _rank_of(scores, picture_of_text)
    # a picture's rank is that of its best text
    pictures = np.unique(picture_of_text)
    is_own = picture_of_text[:, None] == pictures[None, :]
    own_scores = np.where(is_own, scores[:, pictures], -np.inf)
    image_rank = _rank_of(scores[:, pictures].T, own_scores.argmax(axis=0))
    return {
        **{f"text_to_image_recall@{k}": (text_rank < k).astype(float) for k in ks},
        **{f"image_to_text_recall@{k}": (image_rank < k).astype(float) for k in ks},
    }


def _rank_of(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Rank, from 0, of column `right[i]` in row i; ties break by lower column."""
    own = np.take_along_axis(scores, right[:, None], axis=1)
    ahead = np.arange(scores.shape[1])[None, :] < right[:, None]
    return ((scores > own) | ((scores == own) & ahead)).sum(axis=1)
