"""Paraphrased retrieval (paper, section 4.2): do two wordings of one wish find the same pictures?

Protocol: every pair is two of a caption, its paraphrase and the paraphrase of that; each ranks the whole gallery by
cosine similarity, and ties break by lower gallery index. AO@10 and JS@10 compare the two rankings (the paper's
figures), `top_result_agreement` their first places. The recall of each wording, defined as in `image_text_retrieval`,
is given here, also by `train.py`. In a gallery of 10 pictures or fewer every wording finds all of them, so AO@10 and
JS@10 are left out.

Not on the Hub. Local data: `DIR/FOLDER/*triples_val.jsonl` (or `..._test.jsonl`) with `image_id`, `caption`,
`paraphrase_1`, `paraphrase_2`, and `DIR/FOLDER/images`; the gallery is the pictures of that split in
`DIR/FOLDER/captions.jsonl`, else those of the triples.
"""

import functools
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from modeling_paraclip import TEXT_COLUMNS

from ..data import file_about, pictures_in, rows_of
from ..encoders import Encoder
from ..files import MissingData
from ..metrics.average_overlap.average_overlap import average_overlap
from ..metrics.jaccard_similarity.jaccard_similarity import jaccard_similarity
from ..ranking import rank
from ..statistics import About, Mean, Scored
from .image_text_retrieval import image_text_retrieval_values, unit_of, warn_of_small_gallery

logger = logging.getLogger(__name__)
NOT_ON_THE_HUB = "give DIR/FOLDER/*triples_val.jsonl and DIR/FOLDER/images with --data; it is not on the Hub"


def overlaps(
    caption_embeds: np.ndarray, rewording_embeds: np.ndarray, gallery_embeds: np.ndarray, k: int = 10
) -> dict[str, np.ndarray]:
    """Metric name -> (n,) values, one per pair. Inputs are L2-normalised: (n, dim), (n, dim), (m, dim) with m >= k."""
    a, b = rank(caption_embeds, gallery_embeds, k), rank(rewording_embeds, gallery_embeds, k)
    return {
        f"average_overlap@{k}": average_overlap(a, b, k),
        f"jaccard_similarity@{k}": jaccard_similarity(a, b, k),
        "top_result_agreement": (a[:, 0] == b[:, 0]).astype(float),
    }


def rewording_values(
    caption_embeds: np.ndarray, rewording_embeds: np.ndarray, gallery_embeds: np.ndarray, k: int = 10
) -> dict[str, np.ndarray]:
    """`overlaps`, without those at `k` where the gallery has `k` pictures or fewer."""
    warn_of_small_gallery(len(gallery_embeds))
    if len(gallery_embeds) > k:
        return overlaps(caption_embeds, rewording_embeds, gallery_embeds, k)
    warn_of_left_out_overlaps(len(gallery_embeds), k)
    top = overlaps(caption_embeds, rewording_embeds, gallery_embeds, 1)["top_result_agreement"]
    return {"top_result_agreement": top}


@functools.cache
def warn_of_left_out_overlaps(size: int, k: int) -> None:
    """Say once per size why the overlaps at `k` are not there."""
    logger.warning(
        "average_overlap@%d and jaccard_similarity@%d are left out: the gallery has only %d pictures; "
        "more than %d are needed.",
        *(k, k, size, k),
    )


def retrieval_of_triples(
    text_embeds: np.ndarray,
    gallery_embeds: np.ndarray,
    picture_of_text: np.ndarray,
    k: int = 10,
    about: About = About(),  # noqa: B008 (it is frozen)
) -> dict[tuple[str, str], Scored]:
    """(column, metric) -> what is measured of triples: by this task, during training and at its end.

    Columns are those of `TEXT_COLUMNS`: the overlaps of x' and of x'' with x, and the recall of each of the three. The
    overlaps of x' with x'' are under "paraphrase_1+paraphrase_2".

    Args:
        text_embeds: (n, 3, dim) of x, x', x'', L2-normalised.
        gallery_embeds: (m, dim), L2-normalised.
        picture_of_text: (n,) indices into `gallery_embeds`: the picture of each triple.
        k: depth of the overlaps. Where m <= k they are left out.
        about: where the triples come from.
    """
    about = replace(about, gallery=len(gallery_embeds))
    x, x1, x2 = (text_embeds[:, view] for view in range(len(TEXT_COLUMNS)))
    measured = {}
    for column, first, second in zip((*TEXT_COLUMNS[1:], "+".join(TEXT_COLUMNS[1:])), (x, x, x1), (x1, x2, x2)):
        for metric, values in rewording_values(first, second, gallery_embeds, k).items():
            measured[column, metric] = Scored(values, Mean(picture_of_text), about)
    for column, embeds in zip(TEXT_COLUMNS, (x, x1, x2)):
        for metric, values in image_text_retrieval_values(embeds, gallery_embeds, picture_of_text).items():
            measured[column, metric] = Scored(values, unit_of(metric, picture_of_text), about)
    return measured


def paraphrased_retrieval(encoder: Encoder, data_dir: Path | None) -> dict[tuple[str, str], Scored]:
    """("SET/COLUMN", metric) -> one value per triple or picture, see `retrieval_of_triples`."""
    if data_dir is None:
        raise MissingData(NOT_ON_THE_HUB)
    measured: dict[tuple[str, str], Scored] = {}
    for name, rows, gallery, about in triples_in(data_dir):
        gallery_embeds = encoder.pictures(list(gallery.values()))
        index = {image_id: i for i, image_id in enumerate(gallery)}
        picture_of_text = np.array([index[row["image_id"]] for row in rows])
        text_embeds = np.stack([encoder.texts([row[column] for row in rows]) for column in TEXT_COLUMNS], axis=1)
        found = retrieval_of_triples(text_embeds, gallery_embeds, picture_of_text, about=about)
        measured |= {(f"{name}/{column}", metric): scored for (column, metric), scored in found.items()}
    return measured


def triples_in(data_dir: Path) -> list[tuple[str, list[dict], dict[str, dict], About]]:
    """(name, rows, gallery: `image_id` -> picture, origin) of each set of triples. MissingData where there is none."""
    found = []
    for split in ("val", "test"):
        for file in sorted(data_dir.glob(f"*/*triples_{split}.jsonl")):
            rows = rows_of(file, None, ("image_id", *TEXT_COLUMNS))
            ids = dict.fromkeys(row["image_id"] for row in rows)
            captions = file.parent / "captions.jsonl"
            if captions.is_file():
                ids |= dict.fromkeys(
                    row["image"]
                    for row in rows_of(captions, None, ("image",), optional=("split",))
                    if row.get("split") == split
                )
            pictures = pictures_in(file.parent / "images", list(ids))
            about = file_about(data_dir, *filter(Path.is_file, (file, captions)), split=split)
            found.append((f"{file.parent.name} {file.stem}", rows, dict(zip(ids, pictures)), about))
    if not found:
        raise MissingData(NOT_ON_THE_HUB)
    return found
