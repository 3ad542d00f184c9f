"""Does a text that ought to differ from another say the same after all? Only where words alone can tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from .contradictions import contradiction
from .lexicon import BEINGS
from .reading import read
from .senses import FUNCTION_WORDS, NEGATIONS

_ARTICLES = ("a", "an", "the")
_MUTUAL = ("and", "or", "near", "beside", "next_to", "close_to")  # what stands around them can change places
_WEIGHTY = NEGATIONS | {"by"}  # without "by", who does it becomes to whom it is done: "is held by two women"
_LONGEST = 5  # words of what changes places


def says_the_same(text: str, other: str) -> bool:
    """Whether `other` surely holds wherever `text` does.

    It does if it only leaves words out, and no negation; or if it contradicts nothing, and only changes the order of
    what "and" joins ("a cat and a dog"), puts a phrase to the front ("on the beach, a dog runs"), or takes synonyms.
    """
    words, others = _keys(text), _keys(other)
    rest = iter(words)
    if all(word in rest for word in others):  # in this order, with nothing new
        return not (Counter(words) - Counter(others)).keys() & _WEIGHTY
    return not contradiction(text, other) and any(others == moved for moved in _moved(words))


def shared_words(text: str, other: str) -> float:
    """The share of words that two texts have in common, from 0 to 1, whatever their order (Dice's coefficient)."""
    one, two = (Counter(_keys(said, articles=True)) for said in (text, other))
    return 2 * (one & two).total() / max(1, one.total() + two.total())


def _keys(text: str, articles: bool = False) -> list[str]:
    """The words without inflection, each synonym as one word; articles, where they are wanted, as one word too."""
    reading = read(text.lower())
    pairs = zip(reading.names, ("a" if word in _ARTICLES else word for word in reading.words))
    return [name or word for name, word in pairs if word[0].isalnum() and (articles or word not in _ARTICLES)]


def _moved(words: list[str]) -> Iterator[list[str]]:
    """The orders of words that mean the same."""
    for i in range(1, len(words)):
        if words[i] in FUNCTION_WORDS:
            yield words[i:] + words[:i]
        if words[i] not in _MUTUAL:
            continue
        for first in range(max(0, i - _LONGEST), i):
            if first and words[first - 1] not in FUNCTION_WORDS and words[first - 1] not in BEINGS:
                continue  # "red hat and coat" is no "red coat and hat"
            for last in range(i + 1, min(i + 1 + _LONGEST, len(words))):
                yield [*words[:first], *words[i + 1 : last + 1], words[i], *words[first:i], *words[last + 1 :]]
