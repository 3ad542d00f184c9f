"""Word order by text alone: is another wording of a caption nearer to it than the caption with two words swapped?

This is no ARO, which asks pictures. It measures the text tower alone, on the word swaps of `negclip`: the triple is a
caption, a paraphrase and a negative, as in SugarCrepe++, but the negative has the caption's own words.

Protocol: right where cos(caption, paraphrase) is above cos(caption, negative) for *all* negatives of the caption; a
tie is wrong. Each paraphrase is an item; those of one picture are resampled together. The paraphrases are the column
`paraphrase` of `DIR/aro/negclip_*.tsv`; where it is not there, the other captions of the same picture in
`DIR/captions/*.jsonl` (`image`, `captions`), which mention other things too, so that figures are low. Rows without
either, or without a negative, are left out; the share says how many. COCO's pictures are known by the number at the
end of their names. Not on the Hub. The figure is ours.
"""

import re
from pathlib import Path

import numpy as np

from modeling_paraclip.errors import InputError

from ..data import file_about, rows_of
from ..encoders import Encoder
from ..files import MissingData
from ..metrics.multiple_choice_accuracy.multiple_choice_accuracy import multiple_choice_accuracy
from ..statistics import Mean, Scored
from .negclip import NOT_ON_THE_HUB, name_of, swaps_in


def order_text(encoder: Encoder, data_dir: Path | None) -> dict[tuple[str, str], Scored]:
    """("Order by text LIST", "text_accuracy") -> one 0 or 1 per caption and paraphrase."""
    if data_dir is None:
        raise MissingData(NOT_ON_THE_HUB)
    measured = {}
    for file, rows in swaps_in(data_dir):
        if "paraphrase" in rows[0]:
            files, protocol = [file], "given paraphrases"
            pairs = [(row, row["paraphrase"]) for row in rows]
        else:
            captions, files = _captions_in(data_dir)
            files, protocol = [file, *files], "other captions of the picture"
            pairs = [(row, caption) for row in rows for caption in captions.get(_number(row["image"]), [])]
        # not the caption itself, nor an empty field
        items = [
            (row, text) for row, text in pairs if row["negatives"] and _words(text) not in ("", _words(row["caption"]))
        ]
        if not items:
            raise InputError(f"{file}: no caption has a paraphrase and a negative.")
        kept = len({id(row) for row, _ in items})
        about = file_about(data_dir, *files, protocol=protocol, share=(kept, len(rows)) if kept < len(rows) else None)
        units = np.unique([row["image"] for row, _ in items], return_inverse=True)[1]
        name = f"Order by text {name_of(file)}"
        measured[name, "text_accuracy"] = Scored(_right(encoder, items), Mean(units), about)
    return measured


def _right(encoder: Encoder, items: list[tuple[dict, str]]) -> np.ndarray:
    """(n,) of 0 and 1."""
    choices = [[paraphrase, *row["negatives"]] for row, paraphrase in items]
    captions = encoder.texts([row["caption"] for row, _ in items]).astype(np.float64)
    embeds = encoder.texts([text for texts in choices for text in texts])
    starts = np.cumsum([len(texts) for texts in choices])[:-1]
    scores = [own @ caption for own, caption in zip(np.split(embeds, starts), captions)]
    return multiple_choice_accuracy(scores, choices=choices)


def _captions_in(data_dir: Path) -> tuple[dict[int, list[str]], list[Path]]:
    """Number of a picture -> its captions, and the files that they are from."""
    files = sorted((data_dir / "captions").glob("*.jsonl"))
    if not files:
        raise MissingData("the word swaps have no column paraphrase, and DIR/captions/*.jsonl is not there")
    found: dict[int, list[str]] = {}
    for file in files:
        for row in rows_of(file, None, ("image",), lists=("captions",)):
            found.setdefault(_number(row["image"]), []).extend(row["captions"])
    return found, files


def _number(image: str) -> int:
    """That of a COCO picture: `COCO_val2014_000000184613.jpg` and `000000184613.jpg` are one. -1: it has none."""
    digits = re.search(r"(\d+)\.\w+$", image)
    return int(digits[1]) if digits else -1


def _words(text: str) -> str:
    return " ".join(text.split()).lower().rstrip(" .")
