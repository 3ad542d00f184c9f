"""A caption as the checks by words see it: which things, which senses, what is denied."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection
from dataclasses import dataclass, field

from . import senses
from .lexicon import ATTRIBUTES, BEINGS, NAMES, PHRASES, SENSES, Contrast
from .words import stem, tokens

_PHRASES = re.compile(rf"\b(?:{'|'.join(re.escape(phrase.replace('_', ' ')) for phrase in PHRASES)})\b")
_NUMBER = Contrast("numbers", "number", inverse=False)
_LESS = re.compile(r"(?!un|nonethe|neverthe|regard)(\w{3,})less")
_UP_AND_DOWN = {stem(word) for word in senses.UP_AND_DOWN}


@dataclass(frozen=True)
class Hit:
    """A word with senses of a contrast.

    Attributes:
        position: of the word in the text.
        senses: indices of the senses; of a number, itself.
        certain: whether the loss of the word proves something.
        noun: name of the thing that it stands with, or "".
    """

    position: int
    senses: frozenset
    certain: bool
    noun: str


@dataclass
class Reading:
    """A text as the checks see it.

    Attributes:
        words: in lower case, numbers as digits, phrases of the lexicon as one word.
        names: of the thing that each word is: its stem, or a synonym's; "" for function words and punctuation.
        hits: contrast -> its words in the text.
        beings: positions of persons and animals.
        denies: whether there is a negation.
        negated: names of what the text says is not there.
        scope: positions of words that are negated.
    """

    words: list[str]
    names: list[str]
    hits: dict[Contrast, list[Hit]] = field(default_factory=dict)
    beings: list[int] = field(default_factory=list)
    denies: bool = False
    negated: set[str] = field(default_factory=set)
    scope: set[int] = field(default_factory=set)

    def affirmed(self) -> set[str]:
        """Names of what is not negated."""
        return {name for i, name in enumerate(self.names) if i not in self.scope}


@functools.lru_cache(maxsize=2**12)
def read(text: str) -> Reading:
    """Read a text in lower case."""
    joined = _PHRASES.sub(lambda match: match[0].replace(" ", "_"), text)
    words = [part for token in tokens(joined) for part in token.split("-") if part]
    reading = Reading(words, [_name(word) for word in words])
    reading.beings = [i for i, word in enumerate(words) if word in BEINGS]
    _read_negation(reading)
    for i, word in enumerate(words):
        if word.isdecimal() and word != "1":
            hit = Hit(i, frozenset({word}), True, _noun_after(reading, i))
            reading.hits.setdefault(_NUMBER, []).append(hit)
        elif word in SENSES and i not in reading.scope:
            _read_senses(reading, i)
    return reading


@functools.lru_cache(maxsize=2**16)
def _name(word: str) -> str:
    if word in senses.FUNCTION_WORDS or not word[0].isalpha():
        return ""
    found = stem(word)
    return NAMES.get(found, found)


def _read_senses(reading: Reading, position: int) -> None:
    word = reading.words[position]
    for sense in SENSES[word]:
        if not _means_it(reading.words, position, sense.contrast.reason):
            continue
        noun = _noun_after(
            reading,
            position,
            senses.AFTER_RELATIONS if sense.contrast.inverse or sense.contrast.reason == "directions" else (),
        )
        certain = sense.certain
        if (word in ("up", "down") and noun not in _UP_AND_DOWN) or (
            sense.contrast.name == "big" and noun in senses.YOUNG
        ):
            certain = False
        reading.hits.setdefault(sense.contrast, []).append(Hit(position, sense.indices, certain, noun))


def _means_it(words: list[str], position: int, reason: str) -> bool:
    """Whether a word has its senses here, as far as its neighbours tell."""
    word = words[position]
    before = words[position - 1] if position else ""
    after = words[position + 1] if position + 1 < len(words) else ""
    if reason == "units":
        return before.isdecimal()
    only_after, only_before = senses.ONLY_AFTER.get(word, ()), senses.ONLY_BEFORE.get(word, ())
    if (only_after or only_before) and before not in only_after and after not in only_before:
        return False
    return before not in senses.NOT_AFTER.get(word, ()) and after not in senses.NOT_BEFORE.get(word, ())


def _noun_after(reading: Reading, position: int, skipped: Collection[str] = ()) -> str:
    """The name of the thing that a word stands with: after "red" in "a red and blue cup", cup."""
    for i in range(position + 1, min(position + 9, len(reading.words))):
        word = reading.words[i]
        if word in ATTRIBUTES or word in skipped or word == "of" or (word.isdecimal() and word != "1"):
            continue
        if reading.names[i]:
            return reading.names[i]
        if not (word in ("and", ",") and i + 1 < len(reading.words) and reading.words[i + 1] in ATTRIBUTES):
            return ""
    return ""


def _read_negation(reading: Reading) -> None:
    for i, word in enumerate(reading.words):
        after = reading.words[i + 1 : i + 2]
        if word.endswith("less") and (less := _LESS.fullmatch(word)):
            reading.negated.add(_name(less[1]))
            reading.denies |= less[1] not in senses.WORDS_IN_LESS
        elif (word in senses.NEGATIONS and after != ["but"]) or (word in senses.WITHOUT_OF and after == ["of"]):
            reading.denies = True
            reading.scope |= {i + 1, i + 2}
            if word in senses.WITHOUT | senses.WITHOUT_OF and (noun := _noun_after(reading, i, senses.DETERMINERS)):
                reading.negated.add(noun)
                reading.scope.add(reading.names.index(noun, i))
