"""ARO (Yuksekgonul et al. 2023): does a model notice the order of the words?

VG-Relation and VG-Attribution: a picture against its caption and the caption with the two objects (attributes)
swapped; a tie is wrong. `cropped` is the authors' protocol: the picture is cut to the box that the caption is about.
Of it there are two averages: `accuracy_micro` over all items, and `accuracy_macro`, that of the authors' notebook:
over relations without those of `SYMMETRIC`, and over attribute pairs with at least 25 items. `uncropped` is MTEB's
protocol: whole pictures.

Orders: a caption against four perturbations of it. The first shuffles the nouns among themselves and the adjectives
among themselves, the second all other words, the third the words within each group of three, the fourth these groups.
Captions and perturbations went through BLIP's cleaning, which keeps at most 30 words. A perturbation that equals its
caption is left out, and a caption that has no other; the authors and MTEB keep it, and their `argmax` gives a tie to
the caption. `COCO-Order MTEB` and `Flickr30k-Order MTEB` are MTEB's fixed perturbations, so figures can be compared.
`SET-Order` is made here of local captions: the caption is the seed, so that it always gets the same perturbations;
words are tagged by TextBlob (`pip install 'paraclip[order]'`), whose tagger comes with the package, and not by the
authors' spaCy model, so compare it only with figures made here; a perturbation is drawn up to 10 times.

Local data: `DIR/aro/visual_genome_relation.json` and `visual_genome_attribution.json` with the pictures in
`DIR/aro/images`, the authors' own files; for the orders, what `image_text_retrieval` reads. From the Hub: MTEB's
copies of all four; repositories, revisions, splits and columns are those of `mteb.tasks.ARO*`.
"""

import importlib.util
import logging
import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from modeling_paraclip.errors import InputError

from ..data import file_about, pictures_in, rows_of, share_of
from ..encoders import Encoder
from ..files import MissingData
from ..hub import HubSource
from ..statistics import About, Macro, Mean, Scored
from .choices import first_is_best, units_of
from .image_text_retrieval import captions_in

logger = logging.getLogger(__name__)
CAPTIONS = ("true_caption", "false_caption")
ORDERS = ("correct_caption", *(f"hard_text_{number}" for number in range(1, 5)))
HUB = {
    "VG-Relation": ("mteb/ARO-Visual-Relation", "53c1115ab5871ab33b09d5bb8856236d46bdaf2d", "image", CAPTIONS),
    "VG-Attribution": ("mteb/ARO-Visual-Attribution", "25fe9b460426ff67cdb0608a737c94f8f49a901e", "image", CAPTIONS),
    "COCO-Order": ("mteb/ARO-COCO-order", "53c20afc02a87fed8c0245dde2e00f054da4b861", "images", ORDERS),
    "Flickr30k-Order": ("mteb/ARO-Flickr-Order", "e5d7f3502345b2c398a6645b4d09b44e650287bf", "images", ORDERS),
}
FILES = {"VG-Relation": "visual_genome_relation.json", "VG-Attribution": "visual_genome_attribution.json"}
# items as MTEB counts them
PUBLISHED = {"VG-Relation": 23_937, "VG-Attribution": 28_748, "COCO-Order": 25_010, "Flickr30k-Order": 5_000}
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


def aro(encoder: Encoder, data_dir: Path | None) -> dict[tuple[str, str], Scored]:
    """(data set and protocol, "accuracy_micro" | "accuracy_macro") -> one 0 or 1 per item."""
    measured: dict[tuple[str, str], Scored] = {}
    reasons = []
    for name in (*FILES, "orders") if data_dir else HUB:
        try:
            if data_dir is None:
                measured |= _from_hub(encoder, name)
            elif name in FILES:
                measured |= _visual_genome(encoder, data_dir, name)
            else:
                measured |= _orders(encoder, data_dir)
        except MissingData as error:
            reasons.append(str(error))
    if not measured:
        raise MissingData("; ".join(reasons))
    for reason in reasons:
        logger.warning("aro, in part: %s", reason)
    return measured


def _from_hub(encoder: Encoder, name: str) -> dict[tuple[str, str], Scored]:
    repo, revision, image, texts = HUB[name]
    source = HubSource(repo, revision, "test", {"image": image, **{column: column for column in texts}})
    rows = rows_of(None, source, texts, pictures=("image",))
    pictures, choices = [row["image"] for row in rows], [[row[column] for column in texts] for row in rows]
    share = share_of(rows, PUBLISHED[name])
    if name in FILES:
        about = source.about(protocol="uncropped", share=share)
        return _scored(encoder, f"{name} uncropped", pictures, choices, about)
    about = source.about(protocol="MTEB's perturbations", share=share)
    return _different(encoder, f"{name} MTEB", pictures, choices, about, repo)


def _different(encoder: Encoder, name: str, pictures, choices: list[list[str]], about: About, source: Path | str):
    """Without perturbations that equal their caption, and captions that have no other. Errors name `source`."""
    choices = [[own, *(other for other in others if other != own)] for own, *others in choices]
    kept = [i for i, texts in enumerate(choices) if len(texts) > 1]
    if not kept:
        raise InputError(f"{source}: no caption has words that can be put in another order.")
    if len(kept) < len(choices):
        logger.info("%s: %d captions without a perturbation are left out.", name, len(choices) - len(kept))
    return _scored(encoder, name, [pictures[i] for i in kept], [choices[i] for i in kept], about)


def _scored(encoder: Encoder, name: str, pictures, choices: list[list[str]], about: About):
    right = first_is_best(encoder, pictures, choices)
    return {(name, "accuracy_micro"): Scored(right, Mean(units_of(pictures)), about)}


def _visual_genome(encoder: Encoder, data_dir: Path, name: str) -> dict[tuple[str, str], Scored]:
    is_relation = name == "VG-Relation"
    folder, box = data_dir / "aro", ("bbox_x", "bbox_y", "bbox_w", "bbox_h")
    file = folder / FILES[name]
    rows = rows_of(
        file,
        None,
        ("image_path", *CAPTIONS, *(["relation_name"] if is_relation else [])),
        numbers=box,
        lists=() if is_relation else ("attributes",),
    )
    corners = ([row[column] for column in box] for row in rows)
    boxes: list[tuple | None] = [(x, y, x + w, y + h) for x, y, w, h in corners]
    pictures = pictures_in(folder / "images", [row["image_path"] for row in rows], boxes)
    about = file_about(data_dir, file, protocol="cropped", share=share_of(rows, PUBLISHED[name]))
    name = f"{name} cropped"
    measured = _scored(encoder, name, pictures, [[row[column] for column in CAPTIONS] for row in rows], about)
    if is_relation:
        groups = np.array([row["relation_name"] for row in rows])
        counts = np.array([group not in SYMMETRIC for group in groups])
    else:
        groups = np.array(["_".join(row["attributes"][:2]) for row in rows])
        _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        counts = sizes[group] >= MIN_PER_ATTRIBUTES
    if not counts.any():
        raise InputError(f"{file}: no group of items counts for the macro average; see the top of eval/tasks/aro.py.")
    right = measured[name, "accuracy_micro"].values
    measured[name, "accuracy_macro"] = Scored(right[counts], Macro(groups[counts]), about)
    return measured


def _orders(encoder: Encoder, data_dir: Path) -> dict[tuple[str, str], Scored]:
    sets = captions_in(data_dir)
    if importlib.util.find_spec("textblob") is None:
        raise MissingData("the orders need a tagger: pip install 'paraclip[order]'")
    measured: dict[tuple[str, str], Scored] = {}
    for found in sets:
        folder, _, split = found.name.partition(" ")
        choices = [[clean(text), *perturbations(text)] for text in found.texts]
        pictures = [found.pictures[picture] for picture in found.picture_of_text]
        about = replace(found.about, protocol="perturbed here, tagged by TextBlob")
        file = data_dir / found.about.source
        measured |= _different(encoder, f"{folder}-Order {split}".strip(), pictures, choices, about, file)
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
