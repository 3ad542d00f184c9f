"""ARO (Yuksekgonul et al. 2023): does a model notice the order of the words?

Protocol. VG-Relation and VG-Attribution: a picture, cropped to the box that the caption is about, against its caption
and the caption with the two objects (attributes) swapped; a tie is wrong. There are two averages. `accuracy_micro` is
over all items. `accuracy_macro` is that of the authors' notebook: over relations without those of `SYMMETRIC`, and
over attribute pairs with at least 25 items.

COCO-Order, Flickr30k-Order and the like (`SET-Order`): a caption against four perturbations of it. The first shuffles
the nouns among themselves and the adjectives among themselves, the second all other words, the third the words
within each group of three, the fourth these groups. Captions and perturbations go through BLIP's cleaning, which
keeps at most 30 words. The caption is the seed, so that it always gets the same perturbations. The authors tag the
words with a spaCy model; here it is TextBlob (`pip install 'paraclip[order]'`), whose tagger comes with the package.
A perturbation that equals its caption is drawn again up to 10 times and then left out; the authors keep it. A tie is
wrong here too; the authors' `argmax` gives it to the caption.

Local data: `DIR/aro/visual_genome_relation.json` and `visual_genome_attribution.json` with the pictures in
`DIR/aro/images`, the authors' own files; for the orders, what `image_text_retrieval` reads. From the Hub: MTEB's
copies of the first two, which are not cropped here: `accuracy_micro` only.
"""

import importlib.util
import logging
import random
import re
from pathlib import Path

import numpy as np

from modeling_paraclip.errors import InputError

from ..data import HubSource, MissingData, pictures_in, rows_of
from ..encoders import Encoder
from .choices import first_is_best, macro
from .image_text_retrieval import captions_in

logger = logging.getLogger(__name__)
CAPTIONS = ("true_caption", "false_caption")
HUB = {
    name: HubSource(repo, revision, "test", {"image": "image", **{column: column for column in CAPTIONS}})
    for name, repo, revision in (
        ("VG-Relation", "mteb/ARO-Visual-Relation", "53c1115ab5871ab33b09d5bb8856236d46bdaf2d"),
        ("VG-Attribution", "mteb/ARO-Visual-Attribution", "25fe9b460426ff67cdb0608a737c94f8f49a901e"),
    )
}
FILES = {"VG-Relation": "visual_genome_relation.json", "VG-Attribution": "visual_genome_attribution.json"}
MIN_PER_ATTRIBUTES = 25
MAX_WORDS = 30

# relations whose swap may be true too; the authors' list
SYMMETRIC = frozenset(
    """
adjusting, attached to, between, bigger than, biting, boarding, brushing, chewing, cleaning, climbing, close to,
coming from, coming out of, contain, crossing, dragging, draped over, drinking, drinking from, driving, driving
down, driving on, eating from, eating in, enclosing, exiting, facing, filled with, floating in, floating on,
flying, flying above, flying in, flying over, flying through, full of, going down, going into, going through,
grazing in, growing in, growing on, guiding, hanging from, hanging in, hanging off, hanging over, higher than,
holding onto, hugging, in between, jumping off, jumping on, jumping over, kept in, larger than, leading, leaning
over, leaving, licking, longer than, looking in, looking into, looking out, looking over, looking through, lying
next to, lying on top of, making, mixed with, mounted on, moving, on the back of, on the edge of, on the front of,
on the other side of, opening, painted on, parked at, parked beside, parked by, parked in, parked in front of,
parked near, parked next to, perched on, petting, piled on, playing, playing in, playing on, playing with, pouring,
reaching for, reading, reflected on, riding on, running in, running on, running through, seen through, sitting
behind, sitting beside, sitting by, sitting in front of, sitting near, sitting next to, sitting under, skiing down,
skiing on, sleeping in, sleeping on, smiling at, sniffing, splashing, sprinkled on, stacked on, standing against,
standing around, standing behind, standing beside, standing in front of, standing near, standing next to, staring
at, stuck in, surrounding, swimming in, swinging, talking to, topped with, touching, traveling down, traveling on,
tying, typing on, underneath, wading in, waiting for, walking across, walking by, walking down, walking next to,
walking through, working in, working on, worn on, wrapped around, wrapped in, by, of, near, next to, with, beside,
on the side of, around
""".replace("\n", " ")
    .strip()
    .split(", ")
)


def aro(encoder: Encoder, data_dir: Path | None) -> dict[tuple[str, str], np.ndarray]:
    """(data set, "accuracy_micro" | "accuracy_macro") -> (n,) values."""
    measured: dict[tuple[str, str], np.ndarray] = {}
    reasons = []
    for name, source in HUB.items():
        try:
            measured |= _visual_genome(encoder, data_dir, name, source)
        except MissingData as error:
            reasons.append(str(error))
    try:
        measured |= _orders(encoder, data_dir)
    except MissingData as error:
        reasons.append(str(error))
    if not measured:
        raise MissingData("; ".join(reasons))
    for reason in reasons:
        logger.warning("aro, in part: %s", reason)
    return measured


def _visual_genome(encoder: Encoder, data_dir: Path | None, name: str, source: HubSource):
    if data_dir is None:
        rows = rows_of(None, source, CAPTIONS, pictures=("image",))
        right = first_is_best(encoder, [row["image"] for row in rows], [[row[c] for c in CAPTIONS] for row in rows])
        return {(name, "accuracy_micro"): right}
    is_relation = name == "VG-Relation"
    folder, box = data_dir / "aro", ("bbox_x", "bbox_y", "bbox_w", "bbox_h")
    rows = rows_of(
        folder / FILES[name],
        None,
        ("image_path", *CAPTIONS, *(["relation_name"] if is_relation else [])),
        numbers=box,
        lists=() if is_relation else ("attributes",),
    )
    corners = ([row[column] for column in box] for row in rows)
    boxes: list[tuple | None] = [(x, y, x + w, y + h) for x, y, w, h in corners]
    pictures = pictures_in(folder / "images", [row["image_path"] for row in rows], boxes)
    right = first_is_best(encoder, pictures, [[row[column] for column in CAPTIONS] for row in rows])
    if is_relation:
        groups, keep = [row["relation_name"] for row in rows], lambda group, size: group not in SYMMETRIC
    else:
        groups = ["_".join(row["attributes"][:2]) for row in rows]
        keep = lambda group, size: size >= MIN_PER_ATTRIBUTES  # noqa: E731
    measured = {(name, "accuracy_micro"): right}
    try:
        measured[name, "accuracy_macro"] = macro(right, groups, keep)
    except InputError as error:
        raise InputError(f"{folder / FILES[name]}: {error}") from error
    return measured


def _orders(encoder: Encoder, data_dir: Path | None) -> dict[tuple[str, str], np.ndarray]:
    if data_dir is None:
        raise MissingData("orders are made from local captions and pictures; give them with --data")
    sets = captions_in(data_dir)
    if importlib.util.find_spec("textblob") is None:
        raise MissingData("the orders need a tagger: pip install 'paraclip[order]'")
    measured = {}
    for name, texts, pictures, picture_of_text in sets:
        choices = [[clean(text), *perturbations(text)] for text in texts]
        kept = [i for i, options in enumerate(choices) if len(options) > 1]
        if not kept:
            raise InputError(
                f"{data_dir / name.partition(' ')[0]}: no caption has words that can be put in another order."
            )
        folder, _, split = name.partition(" ")
        measured[f"{folder}-Order {split}".strip(), "accuracy_micro"] = first_is_best(
            encoder, [pictures[picture_of_text[i]] for i in kept], [choices[i] for i in kept]
        )
    return measured


def clean(caption: str) -> str:
    """BLIP's `pre_caption`: lower case, spaces for some punctuation, at most 30 words."""
    return " ".join(re.sub(r"([.!\"()*#:;~])", " ", caption.lower()).split()[:MAX_WORDS])


def perturbations(caption: str) -> list[str]:
    """Up to four cleaned perturbations of a caption, none equal to the cleaned caption; none of a single word."""
    from nltk.tokenize import NLTKWordTokenizer
    from textblob.en import tag

    words = NLTKWordTokenizer().tokenize(caption)
    tags = [name for _, name in tag(" ".join(words), tokenize=False)]
    nouns = [i for i, name in enumerate(tags) if name.startswith("NN")]
    adjectives = [i for i, name in enumerate(tags) if name.startswith("JJ")]
    others = [i for i in range(len(tags)) if i not in {*nouns, *adjectives}]
    threes = [words[i : i + 3] for i in range(0, len(words), 3)]
    rng = random.Random(caption)

    def shuffled(*places: list[int]) -> list[str]:
        moved = list(words)
        for own in places:
            for place, origin in zip(own, rng.sample(own, len(own))):
                moved[place] = words[origin]
        return moved

    kinds = (
        lambda: shuffled(nouns, adjectives),
        lambda: shuffled(others),
        lambda: [word for three in threes for word in rng.sample(three, len(three))],
        lambda: [word for three in rng.sample(threes, len(threes)) for word in three],
    )
    made, original = [], clean(" ".join(words))
    for kind in kinds:
        for _ in range(10):
            perturbed = clean(" ".join(kind()))
            if perturbed not in (original, clean(caption)):
                made.append(perturbed)
                break
    return made
