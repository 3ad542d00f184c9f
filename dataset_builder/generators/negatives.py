"""Captions of another picture in nearly the same words, by rule: hard negatives of an English caption.

A change is made only where grammar tells that the meaning differs: who does something and to whom change places, two
things swap their attributes, or a word becomes one that excludes it. A caption for which there is no such
change has no negative. The same caption always gets the same one.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from functools import cached_property

from ..wording import says_the_same
from ..wording.lexicon import BEINGS, NAMES, SENSES
from ..wording.senses import PAIRED
from ..wording.words import is_plural, stem
from .contrasts import (
    ACTIONS,
    ADJECTIVES,
    ANIMAL_COLOURS,
    ANIMALS,
    ASYMMETRIC,
    BASIC_COLOURS,
    COLOURLESS,
    COMPARATIVES,
    COUNTS,
    DIRECTIONS,
    GENDERED,
    GENDERED_THINGS,
    HAIR,
    MEASURES,
    NOT_ONE,
    ONLY_COLOURS,
    PRONOUNS,
    RESTING,
    SHADES,
    SPATIAL,
    THINGS,
    WORN,
)
from .grammar import (
    COLOURS,
    COMMON_ADJECTIVES,
    DETERMINERS,
    LINKS,
    NUMBERS,
    PLURALS,
    PREPOSITIONS,
    inflected,
    is_adjective,
    is_first_half,
    is_name,
    is_verb_here,
    lemmas_of,
    with_articles,
)

VERSION = "negatives-3"  # the choice among the changes depends on it
_WORD = re.compile(r"\w[\w'\N{RIGHT SINGLE QUOTATION MARK}-]*|[^\w\s]")
_SOMEONE = BEINGS | {"people"}
_AFTER = (PREPOSITIONS | LINKS | {"during"}) - {"on", "that", "and"}  # what a noun ends before
_ANYONE = frozenset({"person", "individual", "family", "human", "someone", "animal"})
_UNSWAPPED = frozenset({"beard", "bearded", "mustache", "pregnant", "bikini", "baby", "infant", "who", "that", "like"})
_NO_HALVES = frozenset(GENDERED) | {"is", "are", "was", "were", "child"}  # of a compound: "a boy steers"
_ONE_SIDED = frozenset(
    {"in", "on", "onto", "into", "inside", "under", "over", "above", "below", "behind", "through", "across", "atop"}
)
_MUTUAL = frozenset(
    {"and", "or", "by", "near", "next", "close", "beside", "alongside", "against", "between", "like", "of", "together"}
    | {"from", "with"}
)
# What is on someone as much as someone is on it: a dog on a leash, a man on skis, a girl on the phone
_ATTACHED = frozenset(
    {"leash", "lead", "string", "rope", "chain", "strap", "harness", "cord", "line", "hook", "wire", "tether"}
    | {"leashes", "skis", "ski", "skate", "skates", "stilts", "crutches", "phone", "cellphone", "telephone"}
)
Edit = tuple[int, int, str]  # first word, last word, what takes their place


def negative(caption: str) -> str | None:
    """A caption of nearly the same words that is not of the same picture, or None where no change is certain.

    "A dog chases a cat" becomes "A cat chases a dog", and "a man in a red shirt" e.g. "a man in a blue shirt". Among
    the changes that apply one is drawn by the caption itself, and more often one of the order than of a word.
    """
    body = " ".join(caption.split()).rstrip(".!? ")
    if not body:
        return None
    end = caption.rstrip()[len(caption.rstrip().rstrip(".!? ")) :]
    first = body.split()[0]
    said = _Caption(body if is_name(first) and first.lower() not in NUMBERS else body[0].lower() + body[1:])
    rng = random.Random(f"{VERSION} {caption}")
    found = [(kind, edits) for kind in _KINDS if (edits := list(kind(said)))]
    if not found:
        found = [(_negation, edits) for edits in [list(_negation(said))] if edits]
    if not found:
        return None
    _, changes = rng.choices(found, [_KINDS.get(kind, 1) for kind, _ in found])[0]
    changed = said.changed(rng.choice(changes))
    if says_the_same(said.text, changed):  # what changed place was no thing of its own
        return None
    return (changed[0].upper() + changed[1:] if body[0].isupper() else changed) + end


@dataclass(frozen=True)
class _Thing:
    """A noun with what belongs to it.

    Attributes:
        start: position of its first word, e.g. an article.
        head: position of the noun itself.
        word: the noun.
        name: its stem, or that of a synonym.
        is_plural: whether it is in the plural.
        is_being: whether it is a person or an animal.
    """

    start: int
    head: int
    word: str
    name: str
    is_plural: bool
    is_being: bool


class _Caption:
    """A caption as words with their places.

    Args:
        text: without the mark at its end, the first word in lower case unless it is a name.
    """

    def __init__(self, text: str):
        self.text = text
        matches = list(_WORD.finditer(text))
        self.spans = [match.span() for match in matches]
        self.words = [match[0].lower() for match in matches]
        self.is_name = [match[0] != match[0].lower() for match in matches]

    def word(self, i: int) -> str:
        """The word at a position; "" outside the caption and for punctuation."""
        return self.words[i] if 0 <= i < len(self.words) and self.words[i][0].isalnum() else ""

    def said(self, first: int, last: int) -> str:
        """The text from one word to another, both included."""
        return self.text[self.spans[first][0] : self.spans[last][1]]

    def changed(self, edits: list[Edit]) -> str:
        """The text after some changes that do not overlap, with "a" or "an" before them as they want it."""
        text = self.text
        for first, last, new in sorted(edits, reverse=True):
            if self.word(first - 1) in ("a", "an"):
                first -= 1
                new = with_articles(f"{self.said(first, first)} {new}")
            text = text[: self.spans[first][0]] + new + text[self.spans[last][1] :]
        return text

    def swapped(self, one: tuple[int, int], other: tuple[int, int]) -> list[Edit]:
        """The changes that put one stretch of words in the place of another, and the other way round."""
        return [(*one, self.said(*other)), (*other, self.said(*one))]

    @cached_property
    def things(self) -> list[_Thing]:
        """Nouns with an article, a number or in the plural, from left to right."""
        return [thing for i in range(len(self.words)) if (thing := self._thing(i))]

    def _thing(self, head: int) -> _Thing | None:
        word = self.word(head)
        lemmas = lemmas_of(word) if word else {}
        if ("NOUN" not in lemmas and word not in _SOMEONE) or word in DETERMINERS | PREPOSITIONS | LINKS | NUMBERS:
            return None
        if word in COLOURS | COMMON_ADJECTIVES or is_first_half(word, self.word(head + 1)):
            return None
        if _verb(word) in RESTING and self.word(head - 1) not in DETERMINERS:
            return None  # "the boys rest"
        start = head
        while start and self._is_before_noun(start - 1):
            start -= 1
        before = self.word(start - 1)
        if before in DETERMINERS | NUMBERS:
            start -= 1
        elif not (start == 0 or (is_plural(word) and (word in _SOMEONE or before in PREPOSITIONS))):
            return None
        many = is_plural(word) or before in NUMBERS
        return _Thing(start, head, word, _name(word), many, word in _SOMEONE)

    def _is_before_noun(self, i: int) -> bool:
        word, after = self.word(i), self.word(i + 1)
        if word in DETERMINERS | NUMBERS | PREPOSITIONS | PLURALS | _NO_HALVES or not word:
            return False
        if word in LINKS:
            return word == "and" and self.word(i - 1) in COLOURS and after in COLOURS
        if word in COLOURS | COMMON_ADJECTIVES or is_adjective(word) or "-" in word:
            return True
        return "NOUN" in lemmas_of(word) and not word.endswith("ing") and is_first_half(word, after)

    def noun_after(self, i: int) -> str:
        """The noun that an attribute at a position belongs to, or "" where it is not clear."""
        j = i + 1
        while self._is_before_noun(j) and self.words[j] not in _SOMEONE:
            j += 1
        word = self.word(j)
        return word if "NOUN" in lemmas_of(word) and word not in PREPOSITIONS | LINKS | DETERMINERS else ""


def _name(word: str) -> str:
    return NAMES.get(stem(word), stem(word))


# ------------------------------------------------------------------------------------------------- changes of order
def _roles(caption: _Caption) -> Iterator[list[Edit]]:
    """a dog chases a cat -> a cat chases a dog"""
    if _has_pronoun(caption):
        return
    for one, other in itertools.pairwise(caption.things):
        between = caption.words[one.head + 1 : other.start]
        if not between or not _may_swap(caption, one, other):
            continue
        edits = caption.swapped((one.start, one.head), (other.start, other.head))
        if one.is_plural != other.is_plural and between[0] in ("is", "are"):
            edits.append((one.head + 1, one.head + 1, "are" if between[0] == "is" else "is"))
        elif one.is_plural != other.is_plural and not between[0].endswith("ing") and " ".join(between) not in SPATIAL:
            continue
        if (_is_relation(between) and one.start == 0) or (one.is_being and other.is_being and _is_deed(between)):
            yield edits


def _may_swap(caption: _Caption, one: _Thing, other: _Thing) -> bool:
    """Whether two differ in what they are, and the first is a subject."""
    if caption.word(one.start - 1) in PREPOSITIONS | {"of", "who", "which", "that"}:
        return False
    if _are_alike(one, other) and not _colours_differ(caption, one, other):
        return False
    after = caption.word(other.head + 1)
    is_last = other.head + 1 == len(caption.words) or after.endswith(("ing", "ed")) or after in _AFTER
    if not is_last:
        return False
    if one.is_being != other.is_being and after and after not in ("in", "at", "near", "while", "during"):
        return False
    return not {caption.word(one.start), caption.word(other.start)} & {"his", "her", "its", "their", "another", "some"}


def _are_alike(one: _Thing, other: _Thing) -> bool:
    """Whether two nouns may be of the same: a dog and a dachshund, a woman and a person."""
    if one.name == other.name or {one.name, other.name} & _ANYONE:
        return True
    said, heard = (
        {(sense.contrast, index) for sense in SENSES.get(thing.word, ()) for index in sense.indices}
        for thing in (one, other)
    )
    return any(contrast.reason == "things" for contrast, _ in said & heard)


def _colours_differ(caption: _Caption, one: _Thing, other: _Thing) -> bool:
    """Whether two dogs are of different colours, e.g. a tan one and a white one."""
    said, heard = (COLOURS & set(caption.words[thing.start : thing.head]) for thing in (one, other))
    return bool(said and heard and not said & heard)


def _is_relation(between: list[str]) -> bool:
    """Whether nothing but a place is told: "behind", "is sitting in front of"."""
    words = [word for word in between if word not in ("is", "are")]
    return " ".join(words[1:] if _verb("".join(words[:1])) in RESTING else words) in SPATIAL


def _is_deed(between: list[str]) -> bool:
    """Whether one does to the other what is not mutual: "chases", "is being led by", "throws a ball to"."""
    words = [word for word in between if word not in ("is", "are", "was", "being", "playfully", "closely")]
    if not words or _verb(words[0]) not in ASYMMETRIC:
        return False
    rest = " ".join(words[1:])
    return rest in ("", "by", "after", "at", "over", "to", "away from", "up", "around", "down") or bool(
        re.fullmatch(r"an? (?:\w+ )?\w+ (?:to|at|towards?)", rest)
    )


def _verb(word: str) -> str:
    return next(iter(lemmas_of(word).get("VERB", ())), "")


def _persons(caption: _Caption) -> Iterator[list[Edit]]:
    """a man in a hat and a woman in a dress -> a woman in a hat and a man in a dress"""
    if _has_pronoun(caption):
        return
    beings = [thing for thing in caption.things if thing.is_being]
    if len(beings) != 2 or sum(word in _SOMEONE for word in caption.words) != 2 or _UNSWAPPED & set(caption.words):
        return
    one, other = beings
    between = caption.words[one.head + 1 : other.start]
    if _are_alike(one, other) or one.is_plural != other.is_plural or caption.word(one.start - 1) in PREPOSITIONS:
        return
    if not all(_is_plain(caption, thing) for thing in beings) or between in ([], ["and"], ["or"]):
        return
    if (one.word in ANIMALS) != (other.word in ANIMALS) and not one.head - one.start == other.head - other.start == 1:
        return
    after = caption.word(other.head + 1)
    acts = between[-1] in ("while", "as") and len(between) > 1
    acts |= between[-1] == "and" and between[0].endswith("ing") and (after.endswith("ing") or after in ("is", "are"))
    if acts or any(_is_described(caption, thing) for thing in beings):
        yield caption.swapped((one.head, one.head), (other.head, other.head))


def _places(caption: _Caption) -> Iterator[list[Edit]]:
    """a boy with a ball in a park -> a boy with a park in a ball: mostly absurd, as in NegCLIP, and another wish"""
    if _has_pronoun(caption):
        return
    for one, other in itertools.combinations(caption.things, 2):
        between, after = caption.words[one.head + 1 : other.start], caption.word(other.head + 1)
        if not between or _MUTUAL & set(between) or not _ONE_SIDED & set(between) or (one.is_being and other.is_being):
            continue
        if _are_alike(one, other) or {caption.word(one.start), caption.word(other.start)} & {"another", "some"}:
            continue
        if caption.word(one.start - 1) in ("at", "in", "of", "on") and len(between) == 1:
            continue  # the park in the shade, the shade in the park
        if caption.word(one.start - 1) == "of" or after == "of" or _ATTACHED & {one.word, other.word}:
            continue
        if any(_may_be_verb(caption, thing.head) for thing in (one, other)):
            continue
        is_followed = after and not after.endswith("ing") and after not in _AFTER
        if one.is_plural != other.is_plural and (len(between) > 1 or is_followed):
            continue  # a verb that agrees with one of them
        yield caption.swapped((one.start, one.head), (other.start, other.head))


def _may_be_verb(caption: _Caption, i: int) -> bool:
    """Whether a noun may be what is done: "a dog jumps over", "runs through grass"."""
    word, before = caption.words[i], caption.word(i - 1)
    return "VERB" in lemmas_of(word) and before not in DETERMINERS | NUMBERS and word not in _SOMEONE


def _is_plain(caption: _Caption, thing: _Thing) -> bool:
    """Whether a noun is no compound, so that another may take its place: a man, but no football player."""
    before = caption.words[thing.start : thing.head]
    return all(word in DETERMINERS | COLOURS | COMMON_ADJECTIVES or is_adjective(word) for word in before)


def _is_described(caption: _Caption, thing: _Thing) -> bool:
    """Whether it is told what someone wears: "in a red hat", once in the caption."""
    after = caption.words[thing.head + 1 : thing.head + 6]
    if after[:1] not in (["in"], ["wearing"], ["with"]):
        return False
    worn = next((word for word in after[1:] if word in WORN or word in PREPOSITIONS | LINKS), "")
    return worn in WORN and caption.words.count(worn) == 1


def _attributes(caption: _Caption) -> Iterator[list[Edit]]:
    """a red car and a blue bike -> a blue car and a red bike"""
    coloured = list(_coloured(caption))
    nouns = [_name(noun) for _, _, noun in coloured]
    for (i, last, noun), (j, other_last, other) in itertools.pairwise(coloured):
        one, two = (set(map(_colour, caption.words[a : b + 1])) & COLOURS for a, b in ((i, last), (j, other_last)))
        if one & two:
            continue
        if _name(noun) == _name(other) and not _owners_differ(caption, i, j):
            continue
        if sum(name in (_name(noun), _name(other)) for name in nouns) == 2:
            yield caption.swapped((i, last), (j, other_last))


def _coloured(caption: _Caption) -> Iterator[tuple[int, int, str]]:
    """Colours with their nouns: "black and white" is one, from its first to its last word."""
    i = 0
    while i < len(caption.words):
        last = i
        while caption.word(last + 1) == "and" and caption.word(last + 2) in COLOURS:
            last += 2
        noun = caption.noun_after(last) if caption.words[i] in COLOURS else ""
        if noun and _may_be_recoloured(caption, last) and caption.word(i - 1) not in SHADES:
            yield i, last, noun
        i = last + 1


def _owners_differ(caption: _Caption, i: int, j: int) -> bool:
    """Whether two shirts are of a man and a woman, and not of two men."""
    before = [thing for thing in caption.things if thing.is_being and thing.head < i]
    between = [thing for thing in caption.things if thing.is_being and i < thing.head < j]
    return len(between) == 1 and bool(before) and before[-1].name != between[0].name


def _has_pronoun(caption: _Caption) -> bool:
    return bool({"he", "she", "his", "her", "him", "its", "their", "they", "them", "it"} & set(caption.words))


# ------------------------------------------------------------------------------------------------- changes of a word
def _colours(caption: _Caption) -> Iterator[list[Edit]]:
    """a red shirt -> a blue shirt"""
    said = {_colour(word) for word in caption.words if word in COLOURS}
    for i, word in enumerate(caption.words):
        if word in HAIR and _is_hair(caption, i):
            yield [(i, i, HAIR[word].removesuffix("-haired") if caption.word(i + 1) == "haired" else HAIR[word])]
        elif word in BASIC_COLOURS and _may_be_recoloured(caption, i):
            noun = caption.noun_after(i)
            if caption.word(i - 1) in ("another", "other"):  # of the same kind as the first
                continue
            if not noun and not (caption.word(i - 1) in ("in", "wearing") and not caption.word(i + 1)):
                continue
            for colour in BASIC_COLOURS:
                if caption.word(i - 1) in SHADES and colour in ("black", "white", "brown", "gray"):
                    continue
                if colour != "grey" and _colour(colour) not in said and _suits(colour, noun):
                    yield [(i, i, colour)]


def _is_hair(caption: _Caption, i: int) -> bool:
    noun = caption.noun_after(i)
    return "-" in caption.words[i] or noun == "hair" or noun in BEINGS


def _may_be_recoloured(caption: _Caption, i: int) -> bool:
    """Whether a colour is one, and not half of a name: no Red Sox, white water, black man or green of a golfer."""
    noun = caption.noun_after(i)
    nearby = {noun, caption.word(i + 1)}
    if caption.is_name[i] or (i + 1 < len(caption.words) and caption.is_name[i + 1]):
        return False
    return not nearby & COLOURLESS and (noun not in BEINGS or noun in ANIMALS)


def _colour(word: str) -> str:
    return "gray" if word == "grey" else word


def _suits(colour: str, noun: str) -> bool:
    """Whether a thing may have a colour: there are no blue dogs, and no pink grass."""
    if noun in ANIMALS or noun in ("fur", "hair"):
        return colour in ANIMAL_COLOURS
    return colour in ONLY_COLOURS.get(stem(noun), BASIC_COLOURS)


def _counts(caption: _Caption) -> Iterator[list[Edit]]:
    """two dogs -> three dogs"""
    if NOT_ONE & set(caption.words):
        return
    paired = {stem(word) for word in PAIRED}
    for i, word in enumerate(caption.words):
        if word not in COUNTS or caption.word(i - 1) in NUMBERS | {"one", "number"}:
            continue
        noun = caption.noun_after(i)
        if is_plural(noun) and not {stem(noun), noun} & (paired | MEASURES):
            for other in COUNTS[word]:
                yield [(i, i, other)]


def _directions(caption: _Caption) -> Iterator[list[Edit]]:
    """in front of a house -> behind a house"""
    for pattern, new in DIRECTIONS:
        for match in pattern.finditer(caption.text):
            first = next((i for i, span in enumerate(caption.spans) if span[0] == match.start()), None)
            last = next((i for i, span in enumerate(caption.spans) if span[1] == match.end()), None)
            if first is not None and last is not None:
                yield [(first, last, match.expand(new))]


def _gender(caption: _Caption) -> Iterator[list[Edit]]:
    """a man -> a woman, and his -> her"""
    found = [i for i, word in enumerate(caption.words) if word in GENDERED]
    pronouns = [i for i, word in enumerate(caption.words) if word in PRONOUNS]
    if not found or GENDERED_THINGS & set(caption.words):
        return
    if pronouns and len(found) > 1:
        return
    for i in found:
        other = GENDERED[caption.words[i]]
        if caption.words.count(caption.words[i]) > 1 or other in caption.words or caption.is_name[i]:
            continue
        if caption.word(i - 1) == "and" or is_first_half(caption.words[i], caption.word(i + 1)):
            continue
        edits = [(i, i, other)]
        for j in pronouns:
            word, after = caption.words[j], caption.word(j + 1)
            new = PRONOUNS[word]
            if word == "her" and (not after or after in PREPOSITIONS | LINKS):
                new = "him"
            edits.append((j, j, new))
        yield edits


def _adjectives(caption: _Caption) -> Iterator[list[Edit]]:
    """a young man -> an old man"""
    if COMPARATIVES & set(caption.words):
        return
    for i, word in enumerate(caption.words):
        entry = ADJECTIVES.get(word)
        if entry is None or caption.is_name[i] or caption.word(i - 1) in ("year", "years", "very", "in", "as", "so"):
            continue
        opposite, nouns = entry
        noun = caption.noun_after(i)
        if not noun:
            continue
        if (nouns is None and noun not in BEINGS) or (nouns is not None and _name_in(noun, nouns)):
            yield [(i, i, opposite)]


def _name_in(noun: str, nouns: Set[str]) -> bool:
    return noun in nouns or stem(noun) in {stem(word) for word in nouns}


def _actions(caption: _Caption) -> Iterator[list[Edit]]:
    """a man sits -> a man stands"""
    for i, word in enumerate(caption.words):
        lemmas = lemmas_of(word)
        lemma = next((lemma for lemma in lemmas.get("VERB", ()) if lemma in ACTIONS), None)
        if lemma is None or not _is_verb(caption, i, lemmas):
            continue
        for follows, others in ACTIONS[lemma]:
            if not follows.match(" ".join(caption.words[i + 1 :]) + " "):
                continue
            for other in others:
                if any(stem(said) == stem(other.split()[0]) for said in caption.words):
                    continue
                if forms := inflected({lemma: [other]}, "VERB", word, lemmas):
                    yield [(i, i, forms[0])]


def _is_verb(caption: _Caption, i: int, lemmas: dict) -> bool:
    word, before = caption.words[i], caption.word(i - 1)
    if word.endswith("ing"):
        return i > 0 and before not in DETERMINERS | NUMBERS | COLOURS | COMMON_ADJECTIVES | {"while", "after"}
    return is_verb_here(word, lemmas, before)


def _things(caption: _Caption) -> Iterator[list[Edit]]:
    """a dog -> a cat"""
    for thing in caption.things:
        word, head = caption.words[thing.head], thing.head
        if word not in THINGS or caption.is_name[head] or sum(_name(said) == thing.name for said in caption.words) > 1:
            continue
        before, after = caption.word(head - 1), caption.word(head + 1)
        if after and after not in PREPOSITIONS | LINKS | DETERMINERS and not lemmas_of(after):
            continue  # a misspelt half of a compound
        if before in COLOURS | COMMON_ADJECTIVES | DETERMINERS | NUMBERS or is_adjective(before) or not before:
            others, hindered = THINGS[word]
            if not any(stem(said) in hindered for said in caption.words):
                for other in others:
                    if other not in caption.words:
                        yield [(head, head, other)]


def _negation(caption: _Caption) -> Iterator[list[Edit]]:
    """a man is riding a horse -> a man is not riding a horse"""
    for i, word in enumerate(caption.words):
        if word in ("is", "are") and caption.word(i + 1).endswith("ing") and "VERB" in lemmas_of(caption.word(i + 1)):
            yield [(i, i, f"{word} not")]
            return


# How often a change is taken where others apply too: what models confuse more often than what they tell apart.
_KINDS: dict[Callable[[_Caption], Iterator[list[Edit]]], float] = {
    _roles: 6,
    _persons: 6,
    _attributes: 6,
    _places: 6,
    _colours: 1,
    _counts: 1,
    _directions: 1,
    _gender: 0.5,
    _adjectives: 1,
    _actions: 1,
    _things: 0.5,
}
