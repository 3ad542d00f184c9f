"""Winoground (Thrush et al. 2022): two pictures, two captions of the same words; which belongs to which?

Protocol, the authors' three scores of each item, ties being wrong. Text: each picture is nearer to its own caption.
Image: each caption is nearer to its own picture. Group: both. From the Hub: `facebook/winoground` (needs a login).
Local data: `DIR/winoground/examples.jsonl` with `image_0`, `image_1`, `caption_0`, `caption_1`, and
`DIR/winoground/images/` with a `.png` of each name, the layout of the authors' archive.
"""

from pathlib import Path

import numpy as np

from ..data import HubSource, pictures_in, rows_of
from ..encoders import Encoder

COLUMNS = ("image_0", "image_1", "caption_0", "caption_1")
HUB = HubSource(
    "facebook/winoground", "b400e173549071916ad1b3d449293bc8d8b4b763", "test", {name: name for name in COLUMNS}
)


def winoground(encoder: Encoder, data_dir: Path | None) -> dict[tuple[str, str], np.ndarray]:
    """("Winoground", "text_score" | "image_score" | "group_score") -> (n,) of 0 and 1."""
    captions = COLUMNS[2:]
    if data_dir is None:
        rows = rows_of(None, HUB, captions, pictures=COLUMNS[:2])
        pictures = [[row[column] for row in rows] for column in COLUMNS[:2]]
    else:
        folder = data_dir / "winoground"
        rows = rows_of(folder / "examples.jsonl", None, COLUMNS)
        pictures = [
            pictures_in(folder / "images", [f"{row[column].removesuffix('.png')}.png" for row in rows])
            for column in COLUMNS[:2]
        ]
    images = [encoder.pictures(column) for column in pictures]
    texts = [encoder.texts([row[column] for row in rows]) for column in captions]
    score = {(i, c): (images[i] * texts[c]).sum(axis=1) for i in (0, 1) for c in (0, 1)}
    text = (score[0, 0] > score[0, 1]) & (score[1, 1] > score[1, 0])
    image = (score[0, 0] > score[1, 0]) & (score[1, 1] > score[0, 1])
    return {
        ("Winoground", f"{name}_score"): right.astype(float)
        for name, right in (("text", text), ("image", image), ("group", text & image))
    }
