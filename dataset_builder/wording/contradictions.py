"""Whether two texts contradict each other; the package says what proves it."""

from __future__ import annotations

import re

from . import senses
from .counts import counts_differ
from .lexicon import ATTRIBUTES, SENSES, Contrast
from .reading import Hit, Reading, read

# Not replaced: "a man in front of a house" has a house behind him; and numbers may be added up, see `counts.py`.
_ONLY_OF_NOUNS = ("above", "in_front_of", "number")
_ABSENCE = re.compile(senses.ABSENCE)
_OF_NOUNS = ("numbers", "colours", "directions", "opposites")  # what can be said of one thing, and not of another


def contradiction(text: str, paraphrase: str) -> str | None:
    """The reason (a key of `filters.REASONS`) why the paraphrase cannot mean what the text says, or None."""
    text, paraphrase = text.lower(), paraphrase.lower()
    if counts_differ(text, paraphrase):
        return "numbers"
    one, other = read(text), read(paraphrase)
    if _negation_differs(one, other):
        return "negation"
    for contrast in filter(other.hits.__contains__, one.hits):
        if contrast.name not in _ONLY_OF_NOUNS and _is_replaced(contrast, one, other):
            return contrast.reason
        if contrast.reason in _OF_NOUNS and _is_swapped(contrast, one, other):
            return contrast.reason
    return "roles" if _roles_differ(one, other) else None


# ------------------------------------------------------------------------------------------------------------ senses
def _is_replaced(contrast: Contrast, one: Reading, other: Reading) -> bool:
    """Whether a sense is gone while one that excludes it has come."""
    hits, others = one.hits[contrast], other.hits[contrast]
    said, heard = (frozenset().union(*(hit.senses for hit in found)) for found in (hits, others))
    gone = [hit for hit in hits if hit.certain and not hit.senses & heard]
    come = [hit for hit in others if hit.certain and not hit.senses & said]
    if not gone or not come:
        return False
    return not contrast.inverse or _is_same_order(one, gone[0], other, come[0])


def _is_swapped(contrast: Contrast, one: Reading, other: Reading) -> bool:
    """Whether the same thing is said to be this in one text, and that in the other."""
    hits, others = one.hits[contrast], other.hits[contrast]
    if contrast.inverse:  # of two things of one name it is not clear which is meant
        hits = [hit for hit in hits if hit.noun not in _before(one, hit)]
        others = [hit for hit in others if hit.noun not in _before(other, hit)]
    nouns, other_nouns = _by_noun(hits), _by_noun(others)
    return any(not nouns[noun] & other_nouns[noun] for noun in nouns.keys() & other_nouns.keys())


def _by_noun(hits: list[Hit]) -> dict[str, set]:
    """What is certain of each thing; what "one" is, or nothing that is named, may be said of anything."""
    somewhere = {sense for hit in hits if not hit.noun or not hit.certain for sense in hit.senses}
    senses: dict[str, set] = {}
    for hit in hits:
        if hit.noun and hit.certain:
            senses.setdefault(hit.noun, set(somewhere)).update(hit.senses)
    return senses


# ------------------------------------------------------------------------------------------------------------- roles
def _roles_differ(one: Reading, other: Reading) -> bool:
    """Whether two that stand before and after the same verb or preposition changed places."""
    for contrast in filter(other.hits.__contains__, one.hits):
        hits, others = one.hits[contrast], other.hits[contrast]
        alone = contrast.inverse and len(hits) == len(others) == 1
        if alone and hits[0].senses == others[0].senses and _is_reversed(one, hits[0], other, others[0]):
            return True
    if len(one.beings) < 2 or len(other.beings) < 2:
        return False
    for name in set(one.names) & set(other.names) - {""}:
        if one.names.count(name) == other.names.count(name) == 1:
            roles, other_roles = _roles(one, one.names.index(name)), _roles(other, other.names.index(name))
            if roles and other_roles and roles == other_roles[::-1]:
                return True
    return False


def _roles(reading: Reading, position: int) -> tuple[str, str] | None:
    """(who does it, to whom) where the word at a position is surely a verb between two beings."""
    words, names = reading.words, reading.names
    before = max((i for i in reading.beings if position - 4 < i < position), default=None)
    after = min((i for i in reading.beings if position < i < position + 7), default=None)
    if before is None or after is None or position in reading.beings or words[position].endswith("ly"):
        return None
    if names[before] == names[after] or any(names.count(names[i]) > 1 for i in (before, after)):
        return None
    between = words[before + 1 : after]
    if senses.TOGETHER & set(between) or _governed(reading, before):
        return None
    word = words[position]
    participle = word.endswith(("ed", "en")) or word in senses.PARTICIPLES
    if participle and (senses.BE & set(words[before + 1 : position]) or "by" in between):
        return (names[after], names[before]) if "by" in between else None
    return names[before], names[after]


def _governed(reading: Reading, position: int) -> bool:
    """Whether a noun follows a preposition, so that it is no subject."""
    for word in reversed(reading.words[max(0, position - 3) : position]):
        if word in senses.FUNCTION_WORDS and word not in senses.DETERMINERS:
            return word not in ("and", "or", "while", "as", "that", "who")
    return False


def _is_same_order(one: Reading, hit: Hit, other: Reading, other_hit: Hit) -> bool:
    """Whether the same thing stands before both words, or after both; or they have no object, as in "turns left"."""
    if not hit.noun or not other_hit.noun:
        return hit.noun == other_hit.noun
    before, other_before = _before(one, hit), _before(other, other_hit)
    crossed = hit.noun in other_before or other_hit.noun in before
    return (hit.noun == other_hit.noun or before[-1:] == other_before[-1:]) and not crossed


def _is_reversed(one: Reading, hit: Hit, other: Reading, other_hit: Hit) -> bool:
    """Whether what follows a preposition in one text stands right before it in the other, and the other way round."""
    if not hit.noun or not other_hit.noun or hit.noun == other_hit.noun:
        return False
    for reading, at in ((one, hit), (other, other_hit)):
        # "rides a rail on his board"
        if set(reading.words[at.position + 1 : at.position + 3]) & {"his", "her", "its", "their", "by"}:
            return False
    return hit.noun in _before(other, other_hit) and other_hit.noun in _before(one, hit)


def _before(reading: Reading, hit: Hit) -> list[str]:
    """Names of the last things before a word."""
    pairs = zip(reading.words[: hit.position], reading.names)
    return [name for word, name in pairs if name and word not in ATTRIBUTES][-2:]


# ---------------------------------------------------------------------------------------------------------- negation
def _negation_differs(one: Reading, other: Reading) -> bool:
    """Whether a negation is in one text only, or on a word that the other affirms."""
    for reading, against in ((one, other), (other, one)):
        if reading.denies and not against.denies and not _explains(against, reading):
            return True
        if not reading.negated:
            continue
        moved = (reading.negated - reading.affirmed()) & (against.affirmed() - against.negated)
        if moved and not any(_ABSENCE.fullmatch(word) for word in against.words):
            return True
    return False


def _explains(reading: Reading, denial: Reading) -> bool:
    """Whether a text says in other words that something is not: empty, bare, unpaved, or shallow for not deep."""
    if any(_ABSENCE.fullmatch(word) for word in reading.words):
        return True
    for i in denial.scope:
        for sense in SENSES.get(denial.words[i], ()) if i < len(denial.words) else ():
            if any(not hit.senses & sense.indices for hit in reading.hits.get(sense.contrast, ())):
                return True
    return False
