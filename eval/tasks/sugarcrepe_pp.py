"""SugarCrepe++ (Dumpala et al. 2024): are a caption and its paraphrase nearer than a hard negative?

Protocol, the authors' two figures. By text alone (`text_accuracy`): right where cos(caption, caption2) is above
cos(caption, negative) *and* above cos(caption2, negative). With
pictures (`image_accuracy`): right where cos(picture, caption) and cos(picture, caption2) are both above cos(picture,
negative). A tie is wrong. Local data: `DIR/sugarcrepe_pp/KIND.tsv` with `caption`, `caption2`, `negative_caption` and,
for pictures, `image`, in `DIR/sugarcrepe_pp/images`; without that folder, by text alone.
"""

from pathlib import Path

import numpy as np

from ..data import MissingData, pictures_in, rows_of
from ..encoders import Encoder

COLUMNS = ("caption", "caption2", "negative_caption")


def sugarcrepe_pp(encoder: Encoder, data_dir: Path | None) -> dict[tuple[str, str], np.ndarray]:
    """(kind of negative, metric) -> (n,) of 0 and 1."""
    if data_dir is None:
        raise MissingData("its revision on the Hub is not pinned; give local files with --data")
    folder, measured = data_dir / "sugarcrepe_pp", {}
    for file in sorted(folder.glob("*.tsv")):
        name, has_pictures = f"SugarCrepe++ {file.stem}", encoder.has_images and (folder / "images").is_dir()
        rows = rows_of(file, None, (*COLUMNS, "image") if has_pictures else COLUMNS)
        caption, paraphrase, negative = (encoder.texts([row[column] for row in rows]) for column in COLUMNS)
        same = _cosine(caption, paraphrase)
        right = (same > _cosine(caption, negative)) & (same > _cosine(paraphrase, negative))
        # a negative that repeats a caption is a tie by definition, whatever the rounding
        repeats = np.array([row["negative_caption"] in (row["caption"], row["caption2"]) for row in rows])
        measured[name, "text_accuracy"] = (right & ~repeats).astype(float)
        if has_pictures:
            image = encoder.pictures(pictures_in(folder / "images", [row["image"] for row in rows]))
            wrong = _cosine(image, negative)
            right = (_cosine(image, caption) > wrong) & (_cosine(image, paraphrase) > wrong)
            measured[name, "image_accuracy"] = (right & ~repeats).astype(float)
    if not measured:
        raise MissingData(f"{folder} has no .tsv files")
    return measured


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=1)
