"""NegCLIP's word swaps (Yuksekgonul et al. 2023): a picture's caption against captions with two words swapped.

Protocol: right where the caption is above *all* its negatives in cosine to the picture; a tie is wrong. The authors
made these lists for training; the figure is ours. Local data: `DIR/aro/negclip_*.tsv` with `image`, `caption`,
`negatives_json` (a JSON list), and the COCO val2014 pictures in `DIR/aro/images`. Not on the Hub.
"""

import logging
from pathlib import Path

from modeling_paraclip.errors import InputError

from ..data import file_about, is_unicode, pictures_in, rows_of, share_of
from ..encoders import Encoder
from ..files import MissingData, parsed
from ..statistics import Mean, Scored
from .choices import first_is_best, units_of

logger = logging.getLogger(__name__)
NOT_ON_THE_HUB = "give negclip_*.tsv with --data, in the folder aro; it is not on the Hub"


def negclip(encoder: Encoder, data_dir: Path | None) -> dict[tuple[str, str], Scored]:
    """("NegCLIP LIST", "multiple_choice_accuracy") -> one 0 or 1 per caption that has a negative."""
    if data_dir is None:
        raise MissingData(NOT_ON_THE_HUB)
    measured = {}
    for file, rows in swaps_in(data_dir):
        kept = [row for row in rows if row["negatives"]]
        if not kept:
            raise InputError(f"{file}: no row has a negative.")
        if len(kept) < len(rows):
            logger.info("%s: %d of %d rows have no negative and are left out.", file, len(rows) - len(kept), len(rows))
        pictures = pictures_in(data_dir / "aro" / "images", [row["image"] for row in kept])
        right = first_is_best(encoder, pictures, [[row["caption"], *row["negatives"]] for row in kept])
        about = file_about(data_dir, file, share=share_of(kept, len(rows)))
        name = f"NegCLIP {file.stem.removeprefix('negclip_')}"
        measured[name, "multiple_choice_accuracy"] = Scored(right, Mean(units_of(pictures)), about)
    return measured


def swaps_in(data_dir: Path) -> list[tuple[Path, list[dict]]]:
    """(file, rows with `image`, `caption`, `negatives` and perhaps `paraphrase`) of each list."""
    files = sorted((data_dir / "aro").glob("negclip_*.tsv"))
    if not files:
        raise MissingData(NOT_ON_THE_HUB)
    found = []
    for file in files:
        rows = rows_of(file, None, ("image", "caption", "negatives_json"), optional=("paraphrase",))
        for number, row in enumerate(rows, start=2):
            where = f"{file}, line {number}: negatives_json"
            negatives = parsed(row["negatives_json"], where)
            if not isinstance(negatives, list) or not all(isinstance(n, str) and is_unicode(n) for n in negatives):
                raise InputError(f"{where}: a list of texts is needed.")
            row["negatives"] = [negative for negative in negatives if negative.strip()]
        found.append((file, rows))
    return found
