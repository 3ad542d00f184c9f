"""SugarCrepe++ (Dumpala et al. 2024): are a caption and its paraphrase nearer than a hard negative?

Protocol, two figures, those of the authors' `evaluate_ulms.py` (TOT) and `VLMs/test_Variants_CLIP.py` (ITT). By text
alone (`text_accuracy`): right where cos(caption, caption2) is above cos(caption, negative) *and* above cos(caption2,
negative). With pictures (`image_accuracy`): right where cos(picture, caption) and cos(picture, caption2) are both
above cos(picture, negative). A tie is wrong. Some published negatives are word for word the caption: ties.

Local data: the authors' `DIR/sugarcrepe_pp/KIND.json` (their folder `data`), or `KIND.tsv` with `caption`, `caption2`,
`negative_caption` and, for pictures, `image`, in `DIR/sugarcrepe_pp/images`; without that folder, by text alone.

From the Hub, by text alone: the authors' `Aman-J/SugarCrepe_pp`, which names the COCO pictures but has none. Its
configurations (one is misspelt there), its split and its columns were read from the authors' Croissant file, the
commit from the Hub's pages.
"""

from pathlib import Path

import numpy as np

from ..data import file_about, pictures_in, rows_of, share_of
from ..encoders import Encoder
from ..hub import HubSource
from ..metrics.multiple_choice_accuracy.multiple_choice_accuracy import multiple_choice_accuracy
from ..statistics import MEAN, About, Mean, Scored
from .choices import cosines, image_names, kinds_in, units_of

TEXTS = ("caption", "caption2", "negative_caption")
HUB = {
    kind: HubSource(
        "Aman-J/SugarCrepe_pp",
        "5d265737efeae563ce08a0ed462de33eac2fef5d",
        "train",
        {**{name: name for name in TEXTS}, "image": "filename"},
        configuration,
    )
    for kind, configuration in (
        ("replace_att", "replace_attribute"),
        ("replace_obj", "replace_object"),
        ("replace_rel", "replace_relation"),
        ("swap_att", "swap_atribute"),
        ("swap_obj", "swap_object"),
    )
}
# rows of the authors' files
PUBLISHED = {"replace_att": 788, "replace_obj": 1652, "replace_rel": 1406, "swap_att": 666, "swap_obj": 245}


def sugarcrepe_pp(encoder: Encoder, data_dir: Path | None) -> dict[tuple[str, str], Scored]:
    """("SugarCrepe++ KIND", "text_accuracy" | "image_accuracy") -> one 0 or 1 per item."""
    measured: dict[tuple[str, str], Scored] = {}
    if data_dir is None:
        for kind, source in HUB.items():
            rows = rows_of(None, source, TEXTS, optional=("image",))
            measured |= _measured(encoder, kind, rows, source.about(share=share_of(rows, PUBLISHED[kind])))
        return measured
    folder = data_dir / "sugarcrepe_pp"
    for kind, (file, rows) in kinds_in(folder, TEXTS).items():
        pictures = None
        if encoder.has_images and (folder / "images").is_dir():
            pictures = pictures_in(folder / "images", image_names(file, rows))
        about = file_about(data_dir, file, share=share_of(rows, PUBLISHED.get(kind)))
        measured |= _measured(encoder, kind, rows, about, pictures)
    return measured


def _measured(
    encoder: Encoder, kind: str, rows: list[dict], about: About, pictures: list[dict] | None = None
) -> dict[tuple[str, str], Scored]:
    name, texts = f"SugarCrepe++ {kind}", [[row[column] for column in TEXTS] for row in rows]
    caption, paraphrase, negative = (encoder.texts(column) for column in zip(*texts))
    same = cosines(caption, paraphrase)
    text = _both(texts, same, same, cosines(caption, negative), cosines(paraphrase, negative))
    images = [image for row in rows if isinstance(image := row.get("image"), str)]
    statistic = Mean(np.unique(images, return_inverse=True)[1]) if len(images) == len(rows) else MEAN
    measured = {(name, "text_accuracy"): Scored(text, statistic, about)}
    if pictures:
        image = encoder.pictures(pictures)
        wrong = cosines(image, negative)
        right = _both(texts, cosines(image, caption), cosines(image, paraphrase), wrong, wrong)
        measured[name, "image_accuracy"] = Scored(right, Mean(units_of(pictures)), about)
    return measured


def _both(texts: list[list[str]], first, second, first_wrong, second_wrong) -> np.ndarray:
    """(n,) of 0 and 1: whether both right cosines are above the wrong ones. A negative that is a caption ties."""
    pairs = (
        (first, first_wrong, [[text[0], text[2]] for text in texts]),
        (
            *(second, second_wrong),
            [[text[1], text[2]] for text in texts],
        ),
    )
    return np.prod(
        [multiple_choice_accuracy(np.stack([right, wrong], 1), choices=choices) for right, wrong, choices in pairs], 0
    )
