"""Winoground (Thrush et al. 2022): two pictures, two captions of the same words; which belongs to which?

Protocol, the authors' three scores of each item, ties being wrong. Text: each picture is nearer to its own caption.
Image: each caption is nearer to its own picture. Group: both. From the Hub: `facebook/winoground` (needs a login), at
the revision of `mteb.tasks.Winoground`. Local data: `DIR/winoground/examples.jsonl` with `image_0`, `image_1`,
`caption_0`, `caption_1`, and `DIR/winoground/images/` with a `.png` of each name, the layout of the authors' archive.
"""

from pathlib import Path

import numpy as np

from ..data import file_about, pictures_in, rows_of, share_of
from ..encoders import Encoder
from ..hub import HubSource
from ..metrics.multiple_choice_accuracy.multiple_choice_accuracy import multiple_choice_accuracy
from ..statistics import MEAN, Scored
from .choices import cosines

COLUMNS = ("image_0", "image_1", "caption_0", "caption_1")
HUB = HubSource(
    "facebook/winoground", "b400e173549071916ad1b3d449293bc8d8b4b763", "test", {name: name for name in COLUMNS}
)
PUBLISHED = 400


def winoground(encoder: Encoder, data_dir: Path | None) -> dict[tuple[str, str], Scored]:
    """("Winoground", "text_score" | "image_score" | "group_score") -> one 0 or 1 per item."""
    captions = COLUMNS[2:]
    if data_dir is None:
        rows = rows_of(None, HUB, captions, pictures=COLUMNS[:2])
        about = HUB.about(share=share_of(rows, PUBLISHED))
        pictures = [[row[column] for row in rows] for column in COLUMNS[:2]]
    else:
        folder = data_dir / "winoground"
        file = folder / "examples.jsonl"
        rows = rows_of(file, None, COLUMNS)
        about = file_about(data_dir, file, share=share_of(rows, PUBLISHED))
        pictures = [
            pictures_in(folder / "images", [f"{row[column].removesuffix('.png')}.png" for row in rows])
            for column in COLUMNS[:2]
        ]
    images = [encoder.pictures(column) for column in pictures]
    texts = [encoder.texts([row[column] for row in rows]) for column in captions]
    score = {(i, c): cosines(images[i], texts[c]) for i in (0, 1) for c in (0, 1)}

    def above(right: tuple[int, int], wrong: tuple[int, int]) -> np.ndarray:
        return multiple_choice_accuracy(np.stack([score[right], score[wrong]], axis=1))

    text = above((0, 0), (0, 1)) * above((1, 1), (1, 0))
    image = above((0, 0), (1, 0)) * above((1, 1), (0, 1))
    return {
        ("Winoground", f"{name}_score"): Scored(right, MEAN, about)
        for name, right in (("text", text), ("image", image), ("group", text * image))
    }
