"""SugarCrepe (Hsieh et al. 2023): is a picture nearer to its caption than to a hard negative?

Protocol: right where cos(picture, caption) > cos(picture, negative), a tie is wrong. One figure for each kind of
negative, as the authors report it. Local data: `DIR/sugarcrepe/KIND.tsv` with `image`, `caption`, `negative_caption`,
and the COCO val2017 pictures in `DIR/sugarcrepe/images`. From the Hub: MTEB's copy, which mixes the kinds.
"""

from pathlib import Path

import numpy as np

from ..data import HubSource, MissingData, pictures_in, rows_of
from ..encoders import Encoder
from .choices import first_is_best

HUB = HubSource(
    "mteb/SUGARCREPE_fmt",
    "e9e0e3ce40c94023c819d3413edb5d090ec9f0d8",
    "train",  # the only split, though it is for testing
    {"image": "images", "caption": "caption", "negative_caption": "negative_caption"},
)


def sugarcrepe(encoder: Encoder, data_dir: Path | None) -> dict[tuple[str, str], np.ndarray]:
    """(kind of negative, "multiple_choice_accuracy") -> (n,) of 0 and 1."""
    texts = ("caption", "negative_caption")
    if data_dir is None:
        rows = rows_of(None, HUB, texts, pictures=("image",))
        found = {"SugarCrepe": (rows, [row["image"] for row in rows])}
    else:
        folder, found = data_dir / "sugarcrepe", {}
        for file in sorted(folder.glob("*.tsv")):
            rows = rows_of(file, None, ("image", *texts))
            found[f"SugarCrepe {file.stem}"] = rows, pictures_in(folder / "images", [row["image"] for row in rows])
        if not found:
            raise MissingData(f"{folder} has no .tsv files")
    return {
        (name, "multiple_choice_accuracy"): first_is_best(
            encoder, pictures, [[row["caption"], row["negative_caption"]] for row in rows]
        )
        for name, (rows, pictures) in found.items()
    }
