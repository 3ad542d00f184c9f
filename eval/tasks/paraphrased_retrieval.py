"""Paraphrased retrieval (paper, section 4.2): do two wordings of one wish find the same pictures?

Protocol: every pair is a caption and one rewording of it; each ranks the whole gallery by cosine similarity, and ties
break by lower gallery index. AO@10 and JS@10 compare the two rankings (the paper's figures), `top_result_agreement`
their first places; the recall of each wording is that of `image_text_retrieval`. In a gallery of 10 pictures or fewer
every wording finds all of them, so AO@10 and JS@10 are left out. Not on the Hub. Local data:
`DIR/FOLDER/*triples_val.jsonl` (or `..._test.jsonl`) with `image_id`, `caption`, `paraphrase_1`, `paraphrase_2`, and
`DIR/FOLDER/images`; the gallery is the pictures of that split in `DIR/FOLDER/captions.jsonl`, else those of the
triples.
"""

import functools
import logging
from pathlib import Path

import numpy as np

from ..data import MissingData, pictures_in, rows_of
from ..encoders import Encoder
from ..metrics.average_overlap.average_overlap import average_overlap
from ..metrics.jaccard_similarity.jaccard_similarity import jaccard_similarity
from ..ranking import rank
from .image_text_retrieval import image_text_retrieval_values, warn_of_small_gallery

logger = logging.getLogger(__name__)
TEXT_COLUMNS = ("caption", "paraphrase_1", "paraphrase_2")


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


def paraphrased_retrieval(encoder: Encoder, data_dir: Path | None) -> dict[tuple[str, str], np.ndarray]:
    """("SET/REWORDING", metric) -> (n,) values."""
    measured: dict[tuple[str, str], np.ndarray] = {}
    for name, rows, gallery in triples_in(data_dir):
        gallery_embeds = encoder.pictures(list(gallery.values()))
        index = {image_id: i for i, image_id in enumerate(gallery)}
        picture_of_text = np.array([index[row["image_id"]] for row in rows])
        embeds = {column: encoder.texts([row[column] for row in rows]) for column in TEXT_COLUMNS}
        for column in TEXT_COLUMNS[1:]:
            values = rewording_values(embeds["caption"], embeds[column], gallery_embeds)
            values |= image_text_retrieval_values(embeds[column], gallery_embeds, picture_of_text)
            measured |= {(f"{name}/{column}", metric): v for metric, v in values.items()}
        values = image_text_retrieval_values(embeds["caption"], gallery_embeds, picture_of_text)
        measured |= {(f"{name}/caption", metric): v for metric, v in values.items()}
    return measured


def triples_in(data_dir: Path | None) -> list[tuple[str, list[dict], dict[str, dict]]]:
    """(name, rows, gallery: `image_id` -> picture) of each set of triples. MissingData where there is none."""
    found = []
    for split in ("val", "test"):
        for file in sorted(data_dir.glob(f"*/*triples_{split}.jsonl")) if data_dir else []:
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
            found.append((f"{file.parent.name} {file.stem}", rows, dict(zip(ids, pictures))))
    if not found:
        raise MissingData("give DIR/FOLDER/*triples_val.jsonl and DIR/FOLDER/images with --data; it is not on the Hub")
    return found
