"""The pictures of the embedded corpus: two groups of shapes in front of a background, drawn with Pillow."""

from __future__ import annotations

import functools
import itertools
import math
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

IMAGE_SIZE = 96  # pixels, square
COUNTS = {"two": 2, "three": 3}  # traits that say how many shapes a thing has


@dataclass(frozen=True)
class Thing:
    """One group of equal shapes: keys of `scenes.SHAPES` and `scenes.COLOURS`, and one of `scenes.TRAITS` or None."""

    shape: str
    colour: str
    trait: str | None


@dataclass(frozen=True)
class Scene:
    """`a` is in `relation` (a key of `scenes.INVERSE`) to `b`, in front of `background` (of `scenes.BACKGROUNDS`)."""

    a: Thing
    relation: str
    b: Thing
    background: str

    @property
    def core(self) -> str:
        """What every wording of the scene says, and what decides its split."""
        return f"{self.a.colour} {self.a.shape} {self.relation} {self.b.colour} {self.b.shape}"


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


_CORNERS: dict[str, list[tuple[float, float]]] = {
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
    """Draw an RGB picture of `IMAGE_SIZE` by `IMAGE_SIZE` pixels; `rng` moves things within their relation."""
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
