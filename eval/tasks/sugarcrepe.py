"""SugarCrepe (Hsieh et al. 2023): is a picture nearer to its caption than to a hard negative?

Protocol, that of the authors' `main_eval.py`: right where cos(picture, caption) > cos(picture, negative), a tie is
wrong. One figure for each kind of negative.

Local data: the authors' `DIR/sugarcrepe/KIND.json` (their folder `data`), or `KIND.tsv` with `image`, `caption`,
`negative_caption`; the COCO val2017 pictures in `DIR/sugarcrepe/images`.

From the Hub: all kinds together from MTEB's copy (its only split is called "train"; revision and columns are those of
`mteb.tasks.SugarCrepe`), and five of the seven kinds from HuggingFaceM4's copies of August 2023, whose rows hold the
caption and the negative, in this order, as `tested_labels`. These commits were read from the Hub's pages. Of `add_att`
and `replace_att` these pages show the first seven digits alone (a75d095, e9c00ca), and the Hub takes a commit in full:
for these two kinds give the authors' files. `swap_obj` has 246 rows there, 245 with the authors.
"""

from pathlib import Path

from modeling_paraclip.errors import InputError

from ..data import file_about, pictures_in, rows_of, share_of
from ..encoders import Encoder
from ..hub import HubSource
from ..statistics import Mean, Scored
from .choices import first_is_best, image_names, kinds_in, units_of

TEXTS = ("caption", "negative_caption")
HUB = HubSource(
    "mteb/SUGARCREPE_fmt",
    "e9e0e3ce40c94023c819d3413edb5d090ec9f0d8",
    "train",
    {"image": "images", "caption": "caption", "negative_caption": "negative_caption"},
)
HUB_KINDS = {
    kind: HubSource(
        f"HuggingFaceM4/SugarCrepe_{kind}", revision, "test", {"image": "image", "tested_labels": "tested_labels"}
    )
    for kind, revision in (
        ("add_obj", "52f76cac28ea4c62f60df9479e44d7103f576e49"),
        ("replace_obj", "f8821b384f1593eea9d7e918652d5255666a5e33"),
        ("replace_rel", "ce4e6ee36cf468d228d1160f72977002b07d4881"),
        ("swap_att", "6a00094a51bd114da1af8b431eebf1811284205e"),
        ("swap_obj", "ab00ee1d8013758ca0cbde7149a5514f7579cbab"),
    )
}
# rows of the authors' files
PUBLISHED = {
    **{"add_att": 692, "add_obj": 2062, "replace_att": 788, "replace_obj": 1652, "replace_rel": 1406},
    **{"swap_att": 666, "swap_obj": 245},
}


def sugarcrepe(encoder: Encoder, data_dir: Path | None) -> dict[tuple[str, str], Scored]:
    """("SugarCrepe KIND", "multiple_choice_accuracy") -> one 0 or 1 per item."""
    if data_dir is None:
        return _from_hub(encoder)
    folder = data_dir / "sugarcrepe"
    measured: dict[tuple[str, str], Scored] = {}
    for kind, (file, rows) in kinds_in(folder, TEXTS).items():
        pictures = pictures_in(folder / "images", image_names(file, rows))
        about = file_about(data_dir, file, share=share_of(rows, PUBLISHED.get(kind)))
        measured |= _scored(
            encoder, f"SugarCrepe {kind}", pictures, [[row[name] for name in TEXTS] for row in rows], about
        )
    return measured


def _from_hub(encoder: Encoder) -> dict[tuple[str, str], Scored]:
    rows = rows_of(None, HUB, TEXTS, pictures=("image",))
    texts = [[row[name] for name in TEXTS] for row in rows]
    about = HUB.about(protocol="all kinds together", share=share_of(rows, sum(PUBLISHED.values())))
    measured = _scored(encoder, "SugarCrepe", [row["image"] for row in rows], texts, about)
    for kind, source in HUB_KINDS.items():
        rows = rows_of(None, source, lists=("tested_labels",), pictures=("image",))
        texts = [row["tested_labels"] for row in rows]
        if any(len(choices) != len(TEXTS) for choices in texts):
            raise InputError(f"{source.repo}: tested_labels have to be two texts.")
        about = source.about(share=share_of(rows, PUBLISHED[kind]))
        measured |= _scored(encoder, f"SugarCrepe {kind}", [row["image"] for row in rows], texts, about)
    return measured


def _scored(encoder: Encoder, name: str, pictures, texts, about) -> dict[tuple[str, str], Scored]:
    right = first_is_best(encoder, pictures, texts)
    return {(name, "multiple_choice_accuracy"): Scored(right, Mean(units_of(pictures)), about)}
