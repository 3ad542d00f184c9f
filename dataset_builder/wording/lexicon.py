"""`senses.py`, ready to be looked up."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from . import senses
from .words import stem


@dataclass(frozen=True, eq=False)  # looked up by identity, which is quick
class Contrast:
    """Senses that exclude each other.

    Attributes:
        reason: the key of `filters.REASONS` that is counted.
        name: its first word.
        inverse: whether its two senses are one relation, seen from either end.
    """

    reason: str
    name: str
    inverse: bool


@dataclass(frozen=True)
class Sense:
    """What a word may mean in one contrast.

    Attributes:
        contrast: which.
        indices: of the senses in it.
        certain: whether its loss proves something.
    """

    contrast: Contrast
    indices: frozenset[int]
    certain: bool


def _forms(entry: str) -> set[str]:
    """All forms of an entry: "dog+" is dog and dogs, "push*" is push, pushes, pushed and pushing."""
    word = entry.strip("~+*")
    plural = word[:-1] + "ies" if word[-1] == "y" and word[-2] not in "aeiou" else word + "s"
    if word.endswith(("s", "x", "ch", "sh")):
        plural = word + "es"
    if entry.endswith("+"):
        return {word, plural}
    if entry.endswith("*"):
        base = word.removesuffix("e")
        double = base + base[-1] if base[-1] in "bgptm" and base[-2] in "aeiou" and base[-3] not in "aeiou" else base
        return {word, plural, f"{base}ing", f"{base}ed", f"{double}ing", f"{double}ed"}
    return {word}


def _load() -> dict[str, list[Sense]]:
    words: dict[str, list[Sense]] = defaultdict(list)
    for reason, texts in senses.CONTRASTS.items():
        for text in texts:
            name = text.split()[0].strip("~+*")
            contrast = Contrast(reason, name, name in senses.INVERSES)
            found: dict[str, tuple[set[int], bool]] = {}
            for index, sense in enumerate(text.split(" / ")):
                for entry in sense.split():
                    for form in _forms(entry):
                        indices, certain = found.get(form, (set(), False))
                        found[form] = (indices | {index}, certain or not entry.startswith("~"))
            for form, (indices, certain) in found.items():
                words[form].append(Sense(contrast, frozenset(indices), certain))
    return dict(words)


SENSES = _load()  # word -> what it may mean
PHRASES = sorted((phrase for phrase in SENSES if "_" in phrase), key=len, reverse=True)
ATTRIBUTES = {  # what a thing is like: red, big, open
    word for word, found in SENSES.items() if any(sense.contrast.reason in ("colours", "opposites") for sense in found)
}
NAMES = {stem(word): text.split()[0] for text in senses.SAME for word in text.split()}  # stem -> name of the thing
BEINGS = {form for word in senses.BEINGS for form in _forms(f"{word}+")} | {  # persons and animals, in all forms
    word
    for word, found in SENSES.items()
    if any(sense.contrast.name in ("man", "dog", "duck") for sense in found) and word not in senses.NO_BEINGS
}
