"""NegCLIP's word swaps (Yuksekgonul et al. 2023): a picture's caption against captions with two words swapped.

Protocol: right where the caption is above *all* its negatives in cosine to the picture; a tie is wrong. The authors
made these lists for training; the figure is ours.

Local data: the authors' `DIR/aro/*_neg_clip.tsv` (their `temp_data/valid_neg_clip.tsv`: `title`, `filepath`, of which
the file's name counts, and `neg_caption`, a list as Python writes it), or `DIR/aro/negclip_*.tsv` with `image`,
`caption`, `negatives_json` (a JSON list); and the pictures, COCO's val2014 for the authors' list, in
`DIR/aro/images`. Not on the Hub.
"""

import ast
import logging
from pathlib import Path
from typing import Any

from modeling_paraclip.errors import InputError

from ..data import file_about, is_unicode, pictures_in, rows_of, share_of
from ..encoders import Encoder
from ..files import MissingData, parsed
from ..statistics import Mean, Scored
from .choices import first_is_best, units_of

logger = logging.getLogger(__name__)
AUTHORS = "_neg_clip"  # end of the names of the authors' files
NOT_ON_THE_HUB = "give valid_neg_clip.tsv or negclip_*.tsv with --data, in the folder aro; it is not on the Hub"


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
        name = f"NegCLIP {name_of(file)}"
        measured[name, "multiple_choice_accuracy"] = Scored(right, Mean(units_of(pictures)), about)
    return measured


def name_of(file: Path) -> str:
    """What a list is called: `valid` for `valid_neg_clip.tsv`, `x` for `negclip_x.tsv`."""
    return file.stem.removesuffix(AUTHORS).removeprefix("negclip_")


def swaps_in(data_dir: Path) -> list[tuple[Path, list[dict]]]:
    """(file, rows with `image`, `caption`, `negatives` and perhaps `paraphrase`) of each list."""
    folder = data_dir / "aro"
    files = sorted([*folder.glob("negclip_*.tsv"), *folder.glob(f"*{AUTHORS}.tsv")])
    if not files:
        raise MissingData(NOT_ON_THE_HUB)
    return [(file, _authors_rows(file) if file.stem.endswith(AUTHORS) else _own_rows(file)) for file in files]


def _own_rows(file: Path) -> list[dict]:
    rows = rows_of(file, None, ("image", "caption", "negatives_json"), optional=("paraphrase",))
    for number, row in enumerate(rows, start=2):
        where = f"{file}, line {number}: negatives_json"
        row["negatives"] = _negatives(parsed(row["negatives_json"], where), where)
    return rows


def _authors_rows(file: Path) -> list[dict]:
    rows = rows_of(file, None, ("title", "filepath", "neg_caption"), quoted=True)
    found = []
    for number, row in enumerate(rows, start=1):  # some captions end with a line end, so lines are not rows
        where = f"{file}, row {number}: neg_caption"
        try:
            negatives = ast.literal_eval(row["neg_caption"])  # data; it runs nothing
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
            raise InputError(f"{where} is not a list as Python writes it.") from error
        image = Path(row["filepath"]).name
        found.append({"image": image, "caption": row["title"], "negatives": _negatives(negatives, where)})
    return found


def _negatives(value: Any, where: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(text, str) and is_unicode(text) for text in value):
        raise InputError(f"{where}: a list of texts is needed.")
    return [text for text in value if text.strip()]
