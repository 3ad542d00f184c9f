"""Changes of syntax by rule; each leaves the text as it is where it is not sure."""

from __future__ import annotations

import random
import re
from itertools import pairwise

from ..wording.lexicon import BEINGS
from .grammar import (
    CLAUSES,
    COLOURS,
    ING_NOUNS,
    LINKS,
    PLURALS,
    PREPOSITIONS,
    is_finite,
    lemmas_of,
    may_be_verb,
    verb_form,
)
from .lexicon import CLOTHES, PLACES


def alternate(text: str, step: int, rng: random.Random) -> str:
    """At most two changes of syntax, in a random order; each leaves the text as it is where it is not sure."""
    changes = [_finite, _simple_present, _unfront_place, _swap_pair, _clothes]
    if step == 2:
        changes = [_front_place, _there_is, _pair_of, _progressive]
    rng.shuffle(changes)
    done = 0
    for change in changes:
        changed = change(text)
        if changed != text:
            text, done = changed, done + 1
        if done == 2:
            break
    return text


_SIMPLE = re.compile(r"[^,;:]*")  # one clause: nothing that a moved phrase could attach to instead


def _simple_present(text: str) -> str:
    """a man is riding a horse -> a man rides a horse"""

    def simple(match: re.Match) -> str:
        return verb_form(match[2], "VBZ" if match[1] == "is" else "VBP") or match[0]

    if not _SIMPLE.fullmatch(text) or re.search(r"\b(?:that|who|which|there|not|being)\b|\band \w+ing\b", text):
        return text
    return re.sub(r"\b(is|are) (\w+ing)\b(?! (?:and|or)\b)", simple, text, count=1)


def _finite(text: str) -> str:
    """a man riding a horse -> a man rides a horse"""
    match = _participle_only(text)
    if not match:
        return text
    form = verb_form(match[4], "VBZ" if match[1] in ("a", "an", "the") and match[3] not in PLURALS else "VBP")
    return f"{text[: match.start(4)]}{form}{text[match.end(4) :]}" if form else text


def _there_is(text: str) -> str:
    """a man riding a horse -> there is a man riding a horse"""
    match = _participle_only(text)
    if not match or match[1] == "the":
        return text
    return f"there {'is' if match[1] in ('a', 'an') else 'are'} {text}"


def _participle_only(text: str) -> re.Match | None:
    """Whether the text is someone and what they are doing, without another verb: no "woman wearing a hat holds"."""
    match = re.match(r"(an?|the|two|three|four|five|some) ((?:[\w-]+ ){0,2}?)([\w-]+) (\w+ing)(?= |$)", text)
    if not match or match[3] not in BEINGS or not _SIMPLE.fullmatch(text):
        return None
    words = text.split()
    if set(words) & CLAUSES or "few" in words[:2]:
        return None
    position = len(text[: match.start(4)].split())
    if "and" in words[:position] and words[words.index("and") - 1] not in COLOURS:
        return None
    if any(may_be_verb(before, word) for before, word in pairwise(words[position:])):
        return None
    participles = [word for word in words if word.endswith("ing") and word not in ING_NOUNS]
    return match if participles == [match[4]] else None


def _progressive(text: str) -> str:
    """a dog runs -> a dog is running"""
    words = text.split()
    if not _SIMPLE.fullmatch(text) or set(words) & (CLAUSES | {"there", "or"}):
        return text
    for i in range(1, min(6, len(words))):
        if is_finite(words[i - 1], words[i]):
            subject, rest = words[:i], words[i + 1 :]
            has_more_verbs = any(word == "and" and "VERB" in lemmas_of(after) for word, after in pairwise(rest))
            if has_more_verbs or any(word.endswith("ing") for word in [*subject, *rest[:1]]):
                return text
            joined = "and" in subject and subject[subject.index("and") - 1] not in COLOURS
            is_plural = joined or words[i - 1] in PLURALS or words[i - 1].endswith("s")
            form = verb_form(words[i], "VBG")
            return " ".join([*subject, "are" if is_plural else "is", form, *rest]) if form else text
    return text


def _front_place(text: str) -> str:
    """a dog runs on the beach -> on the beach, a dog runs"""
    match = re.fullmatch(
        r"((?:an?|the|two|three|some) .+) ((?:in|on|at|by|near) (?:the|an?) (?:[\w-]+ )?([\w-]+))", text
    )
    if not match or match[3] not in PLACES or not _SIMPLE.fullmatch(text):
        return text
    words = match[1].split()
    # the phrase must belong to the verb: nothing else is there that it could belong to
    if set(words) & (PREPOSITIONS | LINKS | {"has", "have", "no", "not"}):
        return text
    if not any(is_finite(before, word) for before, word in pairwise(words)):
        return text
    return f"{match[2]}, {match[1]}"


def _unfront_place(text: str) -> str:
    """on the beach, a dog runs -> a dog runs on the beach"""
    match = re.fullmatch(
        r"((?:in|on|at|near|by) (?:the|an?) (?:[\w-]+ )?[\w-]+), ((?:an?|the|two|three) [^,;:]+)", text
    )
    return f"{match[2]} {match[1]}" if match and not re.search(r"\b(?:and|while|as)\b", match[2]) else text


def _pair_of(text: str) -> str:
    """two dogs run -> a pair of dogs run"""
    match = re.match(r"two ((?:[\w-]+ )?)([\w-]+) ", text)
    return f"a pair of {text[4:]}" if match and match[2] in BEINGS and match[2] != "people" else text


def _swap_pair(text: str) -> str:
    """a boy and a girl play -> a girl and a boy play"""
    match = re.match(
        r"(an? (?:[\w-]+ )?([\w-]+)) and (an? (?:[\w-]+ )?([\w-]+)) (?=(?:are|\w+ing|play|run|walk|sit|stand)\b)", text
    )
    if not match or match[2] not in BEINGS or match[4] not in BEINGS:
        return text
    return f"{match[3]} and {match[1]} {text[match.end() :]}"


def _clothes(text: str) -> str:
    """a man in a red shirt -> a man wearing a red shirt"""
    match = re.search(
        rf"\b([\w-]+) (wearing|in) (an? (?:[\w-]+ ){{0,2}}?({'|'.join(sorted(CLOTHES))}))\b(?! \w+ing)", text
    )
    if not match or match[1] not in BEINGS:
        return text
    if match[2] == "wearing" and match[4] in ("hat", "helmet", "vest", "shorts", "jeans", "pants"):
        return text
    other = {"wearing": "in", "in": "wearing"}[match[2]]
    return f"{text[: match.start(2)]}{other} {text[match.start(3) :]}"
