"""NegCLIP's word swaps (Yuksekgonul et al. 2023): a picture's caption against captions with two words swapped.

Protocol: right where the caption is above *all* its negatives in cosine to the picture; a tie is wrong. The authors
made these lists for training; the figure is ours. Local data: `DIR/aro/negclip_*.tsv` with
`image`, `caption`, `negatives_json` (a JSON list), and the COCO val2014 pictures in `DIR/aro/images`. Not on the Hub.
"""

from pathlib import Path

import numpy as np

from modeling_paraclip.errors import InputError

from ..data import MissingData, is_unicode, parsed, pictures_in, rows_of
from ..encoders import Encoder
from .choices import first_is_best


def negclip(encoder: Encoder, data_dir: Path | None) -> dict[tuple[str, str], np.ndarray]:
    """(list, "multiple_choice_accuracy") -> (n,) of 0 and 1. Rows without a negative are left out."""
    files = sorted((data_dir / "aro").glob("negclip_*.tsv")) if data_dir else []
    if not data_dir or not files:
        raise MissingData("give negclip_*.tsv with --data, in the folder aro; it is not on the Hub")
    measured = {}
    for file in files:
        rows, choices = rows_of(file, None, ("image", "caption", "negatives_json")), []
        for number, row in enumerate(rows, start=2):
            where = f"{file}, line {number}: negatives_json"
            negatives = parsed(row["negatives_json"], where)
            if not isinstance(negatives, list) or not all(isinstance(n, str) and is_unicode(n) for n in negatives):
                raise InputError(f"{where}: a list of texts is needed.")
            choices.append([row["caption"], *(negative for negative in negatives if negative.strip())])
        kept = [i for i, texts in enumerate(choices) if len(texts) > 1]
        if not kept:
            raise InputError(f"{file}: no row has a negative.")
        pictures = pictures_in(data_dir / "aro" / "images", [rows[i]["image"] for i in kept])
        measured[f"NegCLIP {file.stem.removeprefix('negclip_')}", "multiple_choice_accuracy"] = first_is_best(
            encoder, pictures, [choices[i] for i in kept]
        )
    return measured
