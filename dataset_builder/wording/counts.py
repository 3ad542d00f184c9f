"""Numbers in a caption, in digits and in words, and whether two texts can agree on them."""

from __future__ import annotations

import functools
import re
from collections import Counter
from dataclasses import dataclass

from .lexicon import ATTRIBUTES, BEINGS
from .senses import FUNCTION_WORDS, NUMBERS, ONE_MORE, ORDINALS, PAIRED, TWO
from .words import is_plural, stem, tokens

_PAIRED = {stem(word) for word in PAIRED}
_PARTS = {"half": "1/2", "third": "1/3", "quarter": "1/4"}
_DIGITS = re.compile(r"(\d+(?:[.:/]\d+)*)(st|nd|rd|th)?(?:kgs?|g|km|cm|mm|m|ft|lbs?|oz|am|pm|mph|kph|s)?")


@dataclass(frozen=True)
class Counts:
    """What a text says about numbers.

    Attributes:
        needs: numbers that the other text has to account for; not 1, which is hardly ever a count.
        offers: numbers that it can account for, e.g. 2 by "a boy and a girl".
        order: ordinals and fractions.
    """

    needs: frozenset[str]
    offers: frozenset[str]
    order: frozenset[str]


def counts_differ(text: str, paraphrase: str) -> bool:
    """Whether one of the texts has a number that the other cannot account for."""
    one, other = counts(text), counts(paraphrase)
    for said, heard in ((one, other), (other, one)):
        # two boys and a girl may have been added up to three children
        is_added_up = heard.needs & (said.offers - said.needs)
        if said.needs - heard.offers and not is_added_up:
            return True
    return bool(one.order - other.order) and bool(other.order - one.order)


def digits_differ(text: str, paraphrase: str) -> bool:
    """Whether the numbers in digits differ: all that is understood of another language than English."""
    return sorted(re.findall(r"\d+", text)) != sorted(re.findall(r"\d+", paraphrase))


@functools.lru_cache(maxsize=2**12)
def counts(text: str) -> Counts:
    """Read the numbers of a text."""
    words = tokens(text)
    needs: set[str] = set()
    offers: set[str] = set()
    order: set[str] = set()
    addends: list[int] = []  # what may be counted together: a girl and two boys are three children
    mentions: Counter[str] = Counter()  # a white car and a yellow car are two
    for i, word in enumerate(words):
        after = words[i + 1 : i + 7]
        if digits := _DIGITS.fullmatch(word):
            if digits[2]:
                order.add(f"{digits[1]}th")
                continue
            offers.add(digits[1])
            if digits[1] not in ("0", "1") and not _goes_without_saying(digits[1], after):
                needs.add(digits[1])
            if digits[1].isdecimal() and digits[1] != "1":
                addends.append(int(digits[1]))
        elif "-" in word or word[0].isdecimal():  # two-tone, 4x4: they need no counterpart
            offers |= {str(NUMBERS.get(part, part)) for part in re.split("[-x]", word)}
        elif word in _PARTS and after[:1] == ("of",):
            order.add(_PARTS[word])
        elif word in ORDINALS:
            order.add(f"{ORDINALS[word]}th")
        if word in ("a", "an", "another", "1"):
            mentions[_noun(after)] += 1
        if word in TWO:
            offers.add("2")
            addends.append(2)
        elif word in BEINGS and not is_plural(word):
            addends.append(1)
        elif word in ONE_MORE and not any(other in BEINGS for other in after[:3]):
            addends.append(1)  # "another"; the man of "another man" is counted already
    sums = {0}
    for addend in addends[:10]:
        sums |= {total + addend for total in sums}
    offers |= {str(total) for total in (*sums, *mentions.values())}
    return Counts(frozenset(needs), frozenset(offers), frozenset(order))


def _noun(after: tuple[str, ...]) -> str:
    """What an article belongs to: in "a brown and a black dog" both belong to the dog."""
    return next((word for word in after if word not in ATTRIBUTES and word not in ("and", "a", "an")), "")


def _goes_without_saying(number: str, after: tuple[str, ...]) -> bool:
    """Whether two are parts of one body, or a garment; or four belong to the name of a thing, as a four wheeler."""
    if (
        after
        and after[0].rstrip("s") in ("wheeler", "wheeled", "wheel", "legged", "seater", "sided")
        and after[0] != "wheels"
    ):
        return True
    if number != "2":
        return False
    for word in after:
        if word in FUNCTION_WORDS and word != "of":
            return False
        if stem(word) in _PAIRED:
            return True
    return False
