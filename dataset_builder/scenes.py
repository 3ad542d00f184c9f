"""The embedded corpus: scenes that we draw, what the web would say of them, and how people reword it.

Everything follows from a seed, so the corpus needs no download and no licence but this project's. A scene is two
groups of shapes, a spatial relation and a background. It is told in three ways, as in the paper (section 3.1):

* `caption` (x): terse, noisy, in the words that web captions keep using, a synonym in 3 of 100 places. The base
  CLIP saw only these, so it knows the synonyms little, as real ones do.
* `paraphrase_1` (x'): a clean sentence, in which about half of the words are synonyms.
* `paraphrase_2` (x''): another syntax, and 7 of 10 words are synonyms.

What keeps the evaluation honest, all of it asserted in `tests/dataset_builder/test_scenes.py`:

* a scene's core (shapes, colours, relation) belongs to one split only;
* the rewordings of `test` use sentence templates that no training text uses (`HELD_OUT_TEMPLATES`), and each has
  at least one combination (colour synonym, noun, relation phrase) that no training text contains (`is_held_out`);
* the rewordings of `test_unseen` moreover use synonyms that no training text has: the limit of what can be learnt.
"""

from __future__ import annotations

import functools
import itertools
import math
import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw

IMAGE_SIZE = 96  # pixels, square
MAX_CAPTION_WORDS = 15  # the paper keeps web captions of 2 to 15 words

# One row a concept: the word of web captions, the synonyms of training text, and the synonym nobody trains on.
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
COUNTS = {"two": 2, "three": 3}
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


@dataclass(frozen=True)
class Thing:
    """One group of equal shapes: keys of `SHAPES` and `COLOURS`, and a key of `TRAITS` or None."""

    shape: str
    colour: str
    trait: str | None


@dataclass(frozen=True)
class Scene:
    """`a` stands in `relation` (a key of `INVERSE`) to `b`, in front of `background` (a key of `BACKGROUNDS`)."""

    a: Thing
    relation: str
    b: Thing
    background: str

    @property
    def core(self) -> str:
        """What every wording of the scene says, and what decides its split."""
        return f"{self.a.colour} {self.a.shape} {self.relation} {self.b.colour} {self.b.shape}"


# --------------------------------------------------------------------------------------------------------- splits
def split_of(scene: Scene) -> str:
    """`train` (70% of the cores), `validation`, `test` or `test_unseen` (10% each)."""
    bucket = zlib.crc32(scene.core.encode()) % 10
    return {0: "validation", 1: "test", 2: "test_unseen"}.get(bucket, "train")


def is_held_out(colour_word: str, noun: str, relation_phrase: str) -> bool:
    """Whether this combination is kept out of all training text: a quarter of those that have a colour synonym."""
    if colour_word in COLOURS:
        return False
    return zlib.crc32(f"{colour_word}|{noun}|{relation_phrase}".encode()) % 4 == 0


def sample_scene(rng: random.Random) -> Scene:
    """Draw a scene; all fields are uniform except that a container is a single, untextured, other-coloured shape."""
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
        a_phrase, *a_words = _phrase(a, style, rng)
        b_phrase, *b_words = _phrase(b, style, rng)
        if held_out != (is_held_out(*a_words, rel) or is_held_out(*b_words, rel)):
            continue
        background = _choose(BACKGROUNDS[scene.background], style, rng)
        return rng.choice(templates).format(a=a_phrase, rel=rel, b=b_phrase, bg=background)
    raise RuntimeError(f"no wording of {scene} found with held_out={held_out}; the lexicon is too small for it")


def write_caption(scene: Scene, rng: random.Random) -> str:
    """x: a noisy web caption of at most `MAX_CAPTION_WORDS` words, in the words the base CLIP knows."""
    text = ""
    while not text or len(text.split()) > MAX_CAPTION_WORDS:
        text = _word(scene, "caption", CAPTION_TEMPLATES, rng, held_out=False)
    prefix, suffix = (part.format(n=rng.randrange(1000, 10000)) for part in rng.choice(CAPTION_NOISE))
    noisy = f"{prefix}{text}{suffix}"
    return noisy if len(noisy.split()) <= MAX_CAPTION_WORDS else text


def write_paraphrases(scene: Scene, split: str, rng: random.Random) -> tuple[str, str]:
    """(x', x'') in the wording that belongs to `split`: its templates, its synonyms, its combinations."""
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


# ------------------------------------------------------------------------------------------------------- pictures
_RGB = {
    "red": (214, 39, 40),
    "orange": (255, 140, 20),
    "yellow": (250, 220, 40),
    "green": (30, 130, 50),
    "blue": (35, 85, 215),
    "purple": (128, 45, 165),
    "white": (250, 250, 250),
    "black": (25, 25, 25),
}
_SCALE = 2  # drawn larger, then reduced: smooth edges
_SIDE = IMAGE_SIZE * _SCALE


def _polygon(points: int, inner: float, turn: float = -math.pi / 2) -> list[tuple[float, float]]:
    """Corners on the unit circle, every other one pulled in to `inner`."""
    step = math.pi / points
    return [
        (radius * math.cos(turn + i * step), radius * math.sin(turn + i * step))
        for i, radius in zip(range(2 * points), itertools.cycle((1.0, inner)))
    ]


_CORNERS = {
    "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
    "triangle": [(0, -1), (1, 0.85), (-1, 0.85)],
    "star": _polygon(5, 0.42),
    "heart": [
        (math.sin(t) ** 3, -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 15)
        for t in (2 * math.pi * i / 40 for i in range(40))
    ],
    "cross": [
        (x, y)
        for x, y in [
            (-0.35, -1), (0.35, -1), (0.35, -0.35), (1, -0.35), (1, 0.35), (0.35, 0.35),
            (0.35, 1), (-0.35, 1), (-0.35, 0.35), (-1, 0.35), (-1, -0.35), (-0.35, -0.35),
        ]
    ],
}  # fmt: skip


@functools.lru_cache(maxsize=256)
def _mask(shape: str, radius: int) -> Image.Image:
    """The shape in white on black, `2 * radius + 1` pixels square."""
    mask = Image.new("L", (2 * radius + 1,) * 2)
    draw = ImageDraw.Draw(mask)
    box = (0, 0, 2 * radius, 2 * radius)
    if shape in _CORNERS:
        draw.polygon([(radius + x * radius, radius + y * radius) for x, y in _CORNERS[shape]], fill=255)
    else:
        draw.ellipse(box, fill=255)
        if shape == "ring":
            hole = 0.45 * radius
            draw.ellipse((hole, hole, 2 * radius - hole, 2 * radius - hole), fill=0)
        elif shape == "moon":
            draw.ellipse((0.7 * radius, -0.15 * radius, 2.6 * radius, 1.75 * radius), fill=0)
    return mask


def _stamp(canvas: Image.Image, thing: Thing, x: float, y: float, radius: float) -> None:
    rim = 3
    r = round(radius)
    left, top = round(x) - r, round(y) - r
    outline = (235, 235, 235) if thing.colour == "black" else (20, 20, 20)
    canvas.paste(outline, (left - rim, top - rim), _mask(thing.shape, r + rim))
    fill = Image.new("RGB", (2 * r + 1,) * 2, _RGB[thing.colour])
    draw = ImageDraw.Draw(fill)
    pattern = (245, 245, 245) if thing.colour in ("black", "blue", "purple", "red", "green") else (60, 60, 60)
    if thing.trait == "striped":
        for offset in range(0, 4 * r, 12):
            draw.line((offset - 2 * r, 2 * r, offset, 0), fill=pattern, width=4)
    elif thing.trait == "dotted":
        for px, py in itertools.product(range(5, 2 * r, 13), repeat=2):
            draw.ellipse((px - 3, py - 3, px + 3, py + 3), fill=pattern)
    canvas.paste(fill, (left, top), _mask(thing.shape, r))


def _background(name: str, rng: random.Random) -> Image.Image:
    base = {
        "grass": (150, 200, 120),
        "sand": (226, 205, 160),
        "sky": (175, 215, 245),
        "night": (40, 45, 85),
        "brick": (190, 120, 100),
    }[name]
    shade = rng.randint(-10, 10)
    canvas = Image.new("RGB", (_SIDE, _SIDE), tuple(channel + shade for channel in base))
    draw = ImageDraw.Draw(canvas)
    spots = [(rng.randrange(_SIDE), rng.randrange(_SIDE)) for _ in range(40)]
    if name == "grass":
        for x, y in spots:
            draw.line((x, y, x + rng.randint(-4, 4), y - 12), fill=(110, 165, 85), width=2)
    elif name == "sand":
        for x, y in spots:
            draw.ellipse((x, y, x + 3, y + 3), fill=(200, 175, 125))
    elif name == "sky":
        for x, y in spots[:4]:
            draw.ellipse((x - 26, y - 9, x + 26, y + 9), fill=(225, 238, 250))
    elif name == "night":
        for x, y in spots:
            draw.ellipse((x, y, x + 2, y + 2), fill=(220, 220, 190))
    else:
        for row in range(0, _SIDE, 24):
            draw.line((0, row, _SIDE, row), fill=(225, 200, 185), width=2)
            for x in range((row // 24 % 2) * 24, _SIDE, 48):
                draw.line((x, row, x, row + 24), fill=(225, 200, 185), width=2)
    return canvas


def draw_scene(scene: Scene, rng: random.Random) -> Image.Image:
    """The scene as an RGB picture of `IMAGE_SIZE` pixels a side; `rng` moves things about within the relation."""
    canvas = _background(scene.background, rng)

    def jitter() -> float:
        return rng.uniform(-0.04, 0.04) * _SIDE

    middle, near, far = 0.5 * _SIDE, 0.26 * _SIDE, 0.74 * _SIDE
    if scene.relation == "left":
        placed = [(scene.a, near + jitter(), middle + jitter()), (scene.b, far + jitter(), middle + jitter())]
    elif scene.relation == "above":
        placed = [(scene.a, middle + jitter(), near + jitter()), (scene.b, middle + jitter(), far + jitter())]
    else:
        placed = [(scene.b, middle + jitter(), middle + jitter()), (scene.a, middle + jitter(), middle + jitter())]
    for thing, x, y in placed:
        radius = {"small": 0.1, "big": 0.22}.get(thing.trait or "", 0.16) * _SIDE
        if scene.relation == "inside":
            radius = (0.14 if thing is scene.a else 0.43) * _SIDE
        count = COUNTS.get(thing.trait or "", 1)
        for i in range(count):
            if count == 1:
                _stamp(canvas, thing, x, y, radius)
            else:
                angle = 2 * math.pi * i / count + (0.7 if count == 2 else -math.pi / 2)
                dx, dy = (0.7 * radius * part for part in (math.cos(angle), math.sin(angle)))
                _stamp(canvas, thing, x + dx, y + dy, 0.55 * radius)
    return canvas.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BOX)


# ----------------------------------------------------------------------------------------------------------- rows
def generate(split: str, num_rows: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yield `num_rows` rows of `split`: `image_id` (str), `image` (PIL), `caption`, `paraphrase_1`, `paraphrase_2`.

    No two rows of a split show the same scene; outside `train` no two even share a core, so that every caption has one
    right picture. The first n rows are the same whatever `num_rows` is.

    Raises:
        ValueError: the split is unknown, or has fewer than `num_rows` distinct scenes.
    """
    if split not in ("train", "validation", "test", "test_unseen"):
        raise ValueError(f"unknown split {split!r}: one of train, validation, test, test_unseen")
    rng = random.Random(f"{seed}-{split}")  # a string seeds the same on every platform
    seen: set[Any] = set()
    misses = 0
    while len(seen) < num_rows:
        scene = sample_scene(rng)
        key = scene if split == "train" else scene.core
        if split_of(scene) != split or key in seen:
            misses += 1
            if misses > 10_000 + 100 * num_rows:
                raise ValueError(f"split {split!r} has fewer than {num_rows} distinct scenes")
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
