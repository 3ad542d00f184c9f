"""The embedded corpus: drawn scenes, what the web would say about them, and how people reword it.

Everything follows from a seed, so the corpus needs no download and no licence but this project's. A scene is two
groups of shapes, a spatial relation and a background. It is described in three ways, as in the paper (section 3.1):

* `caption` (x): terse and noisy, in the words that web captions keep using, with a synonym in 3 of 100 places. The
  base CLIP saw only captions, so it hardly knows the synonyms, like real ones.
* `paraphrase_1` (x'): a clean sentence; about half of its words are synonyms.
* `paraphrase_2` (x''): another syntax; 7 of 10 words are synonyms.

What keeps the evaluation honest (all of it is asserted in `tests/dataset_builder/test_scenes.py`):

* a scene's core (shapes, colours, relation) belongs to one split only;
* the rewordings of `test` use sentence templates that no training text uses (`HELD_OUT_TEMPLATES`), and each has
  at least one combination (colour synonym, noun, relation phrase) that no training text contains (`is_held_out`);
* the rewordings of `test_unseen` also use synonyms that no training text has: the limit of what can be learnt.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from typing import Any

from .drawing import COUNTS, IMAGE_SIZE, Scene, Thing, draw_scene
from .errors import InputError

__all__ = ["IMAGE_SIZE", "Scene", "Thing", "draw_scene", "generate"]
MAX_CAPTION_WORDS = 15  # the paper keeps web captions of 2 to 15 words

# One row per concept: the word of web captions, the synonyms of training text, and a synonym that is never trained on.
Words = tuple[str, tuple[str, ...], str]

COLOURS: dict[str, Words] = {
    "red": ("red", ("scarlet", "crimson"), "ruby"),
    "orange": ("orange", ("tangerine", "apricot"), "peachy"),
    "yellow": ("yellow", ("golden", "lemon"), "canary"),
    "green": ("green", ("emerald", "mossy"), "jade"),
    "blue": ("blue", ("azure", "cobalt"), "sapphire"),
    "purple": ("purple", ("violet", "plum"), "mauve"),
    "white": ("white", ("ivory", "snowy"), "pearly"),
    "black": ("black", ("ebony", "inky"), "sooty"),
}
SHAPES: dict[str, Words] = {
    "circle": ("circle", ("disc", "ball"), "orb"),
    "square": ("square", ("box", "block"), "tile"),
    "triangle": ("triangle", ("wedge", "pyramid"), "delta"),
    "star": ("star", ("pentacle", "asterisk"), "starburst"),
    "heart": ("heart", ("valentine", "love symbol"), "sweetheart"),
    "cross": ("cross", ("plus", "crucifix"), "addition sign"),
    "ring": ("ring", ("hoop", "loop"), "donut"),
    "moon": ("moon", ("crescent", "sickle"), "lune"),
}
# A thing has at most one of these traits, so that captions stay within the paper's length.
TRAITS: dict[str, Words] = {
    "small": ("small", ("little", "tiny"), "petite"),
    "big": ("big", ("large", "huge"), "enormous"),
    "striped": ("striped", ("banded", "stripy"), "zebra-patterned"),
    "dotted": ("dotted", ("spotted", "speckled"), "freckled"),
    "two": ("two", ("a pair of", "a couple of"), "a duo of"),
    "three": ("three", ("a trio of", "a group of three"), "a triad of"),
}
RELATIONS: dict[str, Words] = {
    "left": ("left of", ("to the left of", "on the left-hand side of"), "west of"),
    "right": ("right of", ("to the right of", "on the right-hand side of"), "east of"),
    "above": ("above", ("over", "on top of"), "north of"),
    "below": ("below", ("under", "beneath"), "south of"),
    "inside": ("inside", ("within", "in the middle of"), "enclosed by"),
    "around": ("around", ("surrounding", "encircling"), "enclosing"),
}
INVERSE = {
    "left": "right",
    "above": "below",
    "inside": "around",
}  # keys: the relations that scenes are drawn by
BACKGROUNDS: dict[str, Words] = {
    "grass": ("on grass", ("on a lawn", "in a meadow"), "on turf"),
    "sand": ("on sand", ("on a beach", "in the desert"), "on dunes"),
    "sky": ("in sky", ("up in the air", "among the clouds"), "in the heavens"),
    "night": ("at night", ("in the dark", "after sunset"), "at midnight"),
    "brick": ("on brick", ("against a wall", "on masonry"), "on stonework"),
}

CAPTION_TEMPLATES = ("{a} {rel} {b} {bg}", "{a} {rel} {b}, {bg}", "{bg}: {a} {rel} {b}", "{a} / {rel} {b} / {bg}")
CAPTION_NOISE = (
    ("", ""),
    ("", ""),
    ("", " #{n}"),
    ("", " - stock photo"),
    ("clipart ", ""),
    ("vector: ", ""),
    ("", " | free download"),
    ("img_{n} ", ""),
)
PLAIN_TEMPLATES = (
    "a picture of {a} {rel} {b} {bg}",
    "an image showing {a} {rel} {b} {bg}",
    "{bg}, {a} {rel} {b}",
    "{a} placed {rel} {b} {bg}",
    "a scene {bg} with {a} {rel} {b}",
)
FREE_TEMPLATES = (
    "{rel} {b} you can see {a} {bg}",
    "{bg} somebody drew {a} {rel} {b}",
    "look for {a} {rel} {b}, {bg}",
    "{bg}, and {rel} {b}, one finds {a}",
    "{a} can be seen {rel} {b} {bg}",
)
HELD_OUT_TEMPLATES = (
    "{rel} {b}, the artist put {a} {bg}",
    "what we get {bg} is {a}, set {rel} {b}",
    "please show me {a} lying {rel} {b} {bg}",
    "I want {a} {rel} {b}, all of it {bg}",
    "{bg} there happens to be, {rel} {b}, {a}",
)


# --------------------------------------------------------------------------------------------------------- splits
def split_of(scene: Scene) -> str:
    """Return `train` (70% of the cores), `validation`, `test` or `test_unseen` (10% each)."""
    bucket = zlib.crc32(scene.core.encode()) % 10
    return {0: "validation", 1: "test", 2: "test_unseen"}.get(bucket, "train")


def is_held_out(colour_word: str, noun: str, relation_phrase: str) -> bool:
    """Whether this combination is kept out of all training text: a quarter of those that have a colour synonym."""
    if colour_word in COLOURS:
        return False
    return zlib.crc32(f"{colour_word}|{noun}|{relation_phrase}".encode()) % 4 == 0


def sample_scene(rng: random.Random) -> Scene:
    """Draw a scene at random, all fields uniformly, except that a container is one plain shape of another colour."""
    relation = rng.choice(list(INVERSE))
    a, b = (Thing(rng.choice(list(SHAPES)), rng.choice(list(COLOURS)), rng.choice([None, *TRAITS])) for _ in "ab")
    if relation == "inside":  # sizes follow from the relation, so neither is mentioned
        a = Thing(a.shape, a.colour, None if a.trait in ("small", "big") else a.trait)
        b = Thing(b.shape, b.colour, None)
    if a.colour == b.colour and (a.shape == b.shape or relation == "inside"):
        return sample_scene(rng)
    return Scene(a, relation, b, rng.choice(list(BACKGROUNDS)))


# ---------------------------------------------------------------------------------------------------------- words
def _article(phrase: str) -> str:
    return f"an {phrase}" if phrase[0] in "aeiou" else f"a {phrase}"


def _plural(noun: str) -> str:
    return noun + ("es" if noun.endswith(("s", "x", "sh", "ch")) else "s")


def _choose(words: Words, style: str, rng: random.Random) -> str:
    """One of a concept's words: 3% synonyms ("caption"), half ("plain"), 70% ("free"), or half "unseen"."""
    caption_word, synonyms, unseen = words
    if rng.random() >= {"caption": 0.03, "plain": 0.5, "free": 0.7}.get(style, 1.0):
        return caption_word
    if style == "unseen" and rng.random() < 0.5:
        return unseen
    return rng.choice(synonyms)


def _phrase(thing: Thing, style: str, rng: random.Random) -> tuple[str, str, str]:
    """A noun phrase, and the colour word and noun (singular) it used."""
    colour, noun = _choose(COLOURS[thing.colour], style, rng), _choose(SHAPES[thing.shape], style, rng)
    trait = _choose(TRAITS[thing.trait], style, rng) if thing.trait else ""
    plural = thing.trait in COUNTS
    head = _plural(noun) if plural else noun
    if style in ("free", "unseen") and rng.random() < 0.3:
        phrase = f"{trait} {head} in {colour}"
    else:
        phrase = f"{trait} {colour} {head}"
    phrase = phrase.strip()
    if not plural and not (style == "caption" and rng.random() < 0.5):  # web captions drop half of their articles
        phrase = _article(phrase)
    return phrase, colour, noun


def _word(scene: Scene, style: str, templates: tuple[str, ...], rng: random.Random, held_out: bool) -> str:
    """A wording of the scene that contains a held-out combination, or (`held_out=False`) contains none."""
    for _ in range(1000):
        a, relation, b = scene.a, scene.relation, scene.b
        if rng.random() < 0.5:
            a, relation, b = b, INVERSE[relation], a
        rel = _choose(RELATIONS[relation], style, rng)
        a_phrase, a_colour, a_noun = _phrase(a, style, rng)
        b_phrase, b_colour, b_noun = _phrase(b, style, rng)
        if held_out != (is_held_out(a_colour, a_noun, rel) or is_held_out(b_colour, b_noun, rel)):
            continue
        background = _choose(BACKGROUNDS[scene.background], style, rng)
        return rng.choice(templates).format(a=a_phrase, rel=rel, b=b_phrase, bg=background)
    raise RuntimeError(f"no wording of {scene} found with held_out={held_out}; the lexicon is too small for it")


def write_caption(scene: Scene, rng: random.Random) -> str:
    """Write x: a noisy web caption of at most `MAX_CAPTION_WORDS` words, in the words that the base CLIP knows."""
    text = ""
    while not text or len(text.split()) > MAX_CAPTION_WORDS:
        text = _word(scene, "caption", CAPTION_TEMPLATES, rng, held_out=False)
    prefix, suffix = (part.format(n=rng.randrange(1000, 10000)) for part in rng.choice(CAPTION_NOISE))
    noisy = f"{prefix}{text}{suffix}"
    return noisy if len(noisy.split()) <= MAX_CAPTION_WORDS else text


def write_paraphrases(scene: Scene, split: str, rng: random.Random) -> tuple[str, str]:
    """Write (x', x'') in the wording of `split`: its templates, its synonyms, its combinations."""
    if split in ("train", "validation"):
        return (
            _word(scene, "plain", PLAIN_TEMPLATES, rng, held_out=False),
            _word(scene, "free", FREE_TEMPLATES, rng, held_out=False),
        )
    if split == "test":
        return (
            _word(scene, "plain", HELD_OUT_TEMPLATES, rng, held_out=True),
            _word(scene, "free", HELD_OUT_TEMPLATES, rng, held_out=True),
        )
    unseen = {words[2] for concept in (COLOURS, SHAPES, RELATIONS) for words in concept.values()}
    wordings: list[str] = []
    while len(wordings) < 2:
        text = _word(scene, "unseen", HELD_OUT_TEMPLATES, rng, held_out=True)
        if any(word in text for word in unseen):
            wordings.append(text)
    return wordings[0], wordings[1]


# ----------------------------------------------------------------------------------------------------------- rows
def generate(split: str, num_rows: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yield `num_rows` rows of `split`: `image_id` (str), `image` (PIL), `caption`, `paraphrase_1`, `paraphrase_2`.

    No two rows of a split show the same scene. Outside `train` no two share even a core, so that every caption has one
    right picture. The first n rows are the same for any `num_rows`.

    Raises:
        InputError: the split is unknown, or has fewer than `num_rows` distinct scenes.
    """
    if split not in ("train", "validation", "test", "test_unseen"):
        raise InputError(f"Unknown split {split!r}: choose train, validation, test or test_unseen.")
    rng = random.Random(f"{seed}-{split}")  # a string seeds the same on every platform
    seen: set[Any] = set()
    misses = 0
    while len(seen) < num_rows:
        scene = sample_scene(rng)
        key = scene if split == "train" else scene.core
        if split_of(scene) != split or key in seen:
            misses += 1
            if misses > 10_000 + 100 * num_rows:
                raise InputError(f"The split {split!r} has fewer than {num_rows} distinct scenes: ask for fewer rows.")
            continue
        row_rng = random.Random(f"{seed}-{split}-{len(seen)}")
        caption = write_caption(scene, row_rng)
        paraphrase_1, paraphrase_2 = write_paraphrases(scene, split, row_rng)
        yield {
            "image_id": f"{split}-{len(seen):06d}.png",
            "image": draw_scene(scene, row_rng),
            "caption": caption,
            "paraphrase_1": paraphrase_1,
            "paraphrase_2": paraphrase_2,
        }
        seen.add(key)
