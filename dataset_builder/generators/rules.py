"""Rewording by rule, offline: synonyms with their inflection, and a few alternations of syntax, for English captions.

It is for trying the job and for corpora without a language model. What it must never change: numbers, colours,
negation, names, and who does what to whom. So it does little where it is not sure. The same text always gets the
same rewording.
"""

# ruff: noqa: RUF001 (typographic apostrophes are what captions have)

from __future__ import annotations

import argparse
import functools
import random
import re

from ..errors import InputError
from ..journal import Answer
from .lexicon import CLOTHES, NOUNS, OTHERS, PLACES, VERBS

VERSION = "rules-1"  # part of the key of every answer: raise it when the rules change
_DETERMINERS = {"a", "an", "the", "his", "her", "its", "their", "this", "that", "these", "those", "some", "another"}
_PLURALS = {"men", "women", "children", "people", "kids", "guys"}
_PREPOSITIONS = {
    "in", "on", "at", "by", "near", "through", "across", "along", "beside", "down", "up", "over", "under",
    "into", "with", "of", "from", "to", "for", "behind", "around", "before", "after", "above", "below",
    "beneath", "inside", "outside", "during", "against", "between", "off", "out", "about", "next", "past",
}  # fmt: skip
_FUNCTION_WORDS = {"and", "or", "but", "while", "as", "who", "that", "which", "is", "are", "was", "were"}
_FUNCTION_WORDS |= _DETERMINERS | _PREPOSITIONS
_FRONTABLE = "in|on|at|near|beside|along|by|across"
_HARD_VOWEL = re.compile(r"(?:uni(?!n|m)|one\b|once\b|eu|us[aeiu]|ute)", re.IGNORECASE)
_SILENT_H = re.compile(r"(?:hour|honest|honou?r|heir)", re.IGNORECASE)
_TAGS = {"NOUN": ("NN", "NNS"), "VERB": ("VB", "VBZ", "VBG", "VBD")}


def add_arguments(parser: argparse._ArgumentGroup) -> None:
    """Declare nothing: this backend has no options."""


def from_args(args: argparse.Namespace) -> RulesGenerator:
    """Make the generator that the command line asks for."""
    return RulesGenerator()


class RulesGenerator:
    """Rewords by rule. The prompt is ignored; step 2 replaces every word that it can, step 1 about two thirds."""

    def __init__(self):
        try:
            import lemminflect  # noqa: F401 (see _lemmas)
        except ImportError as error:
            raise InputError(
                f"--generator rules needs the package {error.name}: pip install 'paraclip[generate]'"
            ) from error
        self.identity = {"model": VERSION}
        self.sampling: dict = {}
        self.retried = 0

    async def generate(self, prompt: str, text: str, step: int) -> Answer:
        """Reword `text`."""
        return Answer(reword(text, thorough=step == 2))

    async def close(self) -> None:
        """Do nothing: there is nothing to free."""


@functools.lru_cache(maxsize=2**16)
def _lemmas(word: str) -> dict[str, tuple[str, ...]]:
    """Part of speech -> lemmas of the word."""
    from lemminflect import getAllLemmas  # not at the top: it loads for a second, and other backends do without

    return getAllLemmas(word)


@functools.lru_cache(maxsize=2**16)
def _forms(lemma: str, tag: str) -> tuple[str, ...]:
    """The inflections of a lemma by a tag of the Penn Treebank, e.g. VBG."""
    from lemminflect import getInflection

    return getInflection(lemma, tag)


def reword(text: str, thorough: bool = False) -> str:
    """A rewording of an English caption; `thorough` replaces every word it can, else about two thirds."""
    rng = random.Random(f"{VERSION} {thorough} {text}")
    body = text.rstrip().rstrip(".!?").rstrip()
    if not body:
        return text
    end = text[len(body) :]
    lowered = body if _is_name(body.split()[0]) else body[0].lower() + body[1:]
    moved = _alternate(lowered, rng)
    reworded = _articles(_synonyms(moved, rng, 1.0 if thorough else 0.65))
    return (reworded[0].upper() + reworded[1:] if body[0].isupper() else reworded) + end.strip()


def _is_name(word: str) -> bool:
    """Whether the first word of a caption would keep its capital anywhere: it is in no dictionary in lower case."""
    return word[:1].isupper() and ((word.isupper() and len(word) > 1) or not _known(word.lower()))


def _known(word: str) -> bool:
    return word in _DETERMINERS | _PREPOSITIONS or word in OTHERS or bool(_lemmas(word)) or word.isdigit()


# ------------------------------------------------------------------------------------------------------- synonyms
def _synonyms(text: str, rng: random.Random, share: float) -> str:
    tokens = re.findall(r"\w[\w'’-]*|[^\w\s]+|\s+", text)
    words = [i for i, token in enumerate(tokens) if token[0].isalnum()]
    used: set[str] = {token.lower() for token in tokens}
    position = 0
    while position < len(words):
        for length in (4, 3, 2, 1):
            span = words[position : position + length]
            if len(span) < length or any(tokens[i].strip() == "" for i in span):
                continue
            phrase = "".join(tokens[span[0] : span[-1] + 1])
            choices = OTHERS.get(phrase, []) if length > 1 else _choices(tokens, words, position)
            # a word that the caption has already would make it stutter: "a kid and a child"
            choices = [
                choice for choice in choices if not set(choice.split()) & (used - set(phrase.split()) - {"a", "to"})
            ]
            if not choices:
                continue
            if rng.random() < share:
                choice = rng.choice(choices)
                used |= set(choice.split())
                tokens[span[0]] = choice
                for i in range(span[0] + 1, span[-1] + 1):
                    tokens[i] = ""
            position += length
            break
        else:
            position += 1
    return "".join(tokens)


def _choices(tokens: list[str], words: list[int], position: int) -> list[str]:
    """Synonyms of one word in the inflection it has, as far as its part of speech is certain from its neighbours."""
    word = tokens[words[position]]
    if word != word.lower():
        return []  # a name
    before = tokens[words[position - 1]].lower() if position else ""
    after = tokens[words[position + 1]].lower() if position + 1 < len(words) else ""
    if "".join(tokens[words[position] + 1 : words[position] + 2]).startswith("-"):
        return []
    if word == "while" and (after in _PREPOSITIONS or after.endswith("ing")):
        return []  # "as" wants a subject
    if word in OTHERS:
        # "outside a house" is a preposition, "little by little" is a phrase, "near" is no adjective before a noun
        return [] if word == "outdoors" and after in _DETERMINERS else OTHERS[word]
    lemmas = _lemmas(word)
    if _is_noun_here(word, lemmas, before, after):
        return _inflected(NOUNS, "NOUN", word, lemmas)
    if _is_verb_here(word, lemmas, before, after):
        return _inflected(VERBS, "VERB", word, lemmas)
    return []


def _is_noun_here(word: str, lemmas: dict, before: str, after: str) -> bool:
    if "NOUN" not in lemmas and word not in NOUNS:
        return False
    if _is_compound(word, after):
        return False
    return "VERB" not in lemmas or before in _DETERMINERS | _PREPOSITIONS or "ADJ" in _lemmas(before)


def _is_compound(word: str, after: str) -> bool:
    """Whether `word` is the first half of a compound ("dog house", "street sign"), which is no synonym's place."""
    if not after or after in _FUNCTION_WORDS or after.endswith(("ing", "ed")):
        return False
    nouns = _lemmas(after).get("NOUN", ())
    singular = word in _lemmas(word).get("NOUN", ())
    return _is_only_noun(after) or (singular and after in nouns)


def _is_only_noun(word: str) -> bool:
    return bool(word) and set(_lemmas(word)) == {"NOUN"} and word not in _PREPOSITIONS | _DETERMINERS


def _is_verb_here(word: str, lemmas: dict, before: str, after: str) -> bool:
    if "VERB" not in lemmas or before in _DETERMINERS:
        return False
    if word.endswith("ing"):
        return not _is_only_noun(after) or before in ("is", "are", "was", "were")  # not "a running shoe"
    plural = before in _PLURALS or (before.endswith("s") and "NOUN" in _lemmas(before))
    if word.endswith("s"):
        return "NOUN" in _lemmas(before) and not plural
    return plural or word.endswith("ed")


def _inflected(lexicon: dict[str, list[str]], kind: str, word: str, lemmas: dict) -> list[str]:
    for lemma in (word, *lemmas.get(kind, ())):
        if lemma not in lexicon:
            continue
        tag = _tag(word, lemma, kind)
        if tag is None:
            continue
        return [inflected for synonym in lexicon[lemma] if (inflected := _inflect(synonym, tag))]
    return []


def _tag(word: str, lemma: str, kind: str) -> str | None:
    if word == lemma:
        return _TAGS[kind][0]
    return next((tag for tag in _TAGS[kind] if word in _forms(lemma, tag)), None)


def _inflect(synonym: str, tag: str) -> str:
    """The head of the synonym in that form: a noun's is its last word ("small children"), a verb's its first."""
    if tag in ("NN", "VB"):
        return synonym
    words = synonym.split()
    head = 0 if tag.startswith("V") or " on " in f" {synonym} " else -1
    forms = _forms(words[head], tag)
    words[head] = forms[0] if forms else ""
    return " ".join(words) if words[head] else ""


def _articles(text: str) -> str:
    """ "a" and "an" as the word that now follows wants it."""

    def article(match: re.Match) -> str:
        word = match[2]
        vowel = (word[0].lower() in "aeiou" and not _HARD_VOWEL.match(word)) or bool(_SILENT_H.match(word))
        right = "an" if vowel else "a"
        return (right.capitalize() if match[1][0].isupper() else right) + " " + word

    return re.sub(r"\b([Aa]n?) (\w[\w-]*)", article, text)


# --------------------------------------------------------------------------------------------------------- syntax
def _alternate(text: str, rng: random.Random) -> str:
    """At most two changes of syntax, in a random order; each leaves the text as it is where it is not sure."""
    changes = [_front_place, _unfront_place, _drop_auxiliary, _there_is, _swap_pair, _clothes]
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


def _front_place(text: str) -> str:
    """a dog runs on the beach -> on the beach, a dog runs"""
    match = re.fullmatch(rf"(.+) ((?:{_FRONTABLE}) (?:the|a|an) (?:[\w-]+ )?([\w-]+))", text)
    if (
        not match
        or match[3] not in PLACES
        or not _SIMPLE.fullmatch(text)
        or not re.match(r"(?:a|an|the|two|three|some)\b", text)
    ):
        return text
    # the phrase must belong to the verb: it does not, after "of" ("a picture of ...") or in a second clause
    if re.search(r"\b(?:and|while|as|that|who|which|of|with|or|but|no|not)\b", match[1]) or not re.search(
        r"\w(?:ing|s)\b", match[1]
    ):
        return text
    return f"{match[2]}, {match[1]}"


def _unfront_place(text: str) -> str:
    """on the beach, a dog runs -> a dog runs on the beach"""
    match = re.fullmatch(rf"((?:{_FRONTABLE}) (?:the|a|an) (?:[\w-]+ )?[\w-]+), ([^,;:]+)", text)
    return f"{match[2]} {match[1]}" if match and not re.search(r"\b(?:and|while|as)\b", match[2]) else text


def _drop_auxiliary(text: str) -> str:
    """a man is riding a horse -> a man riding a horse"""
    if not _SIMPLE.fullmatch(text) or re.search(r"\b(?:that|who|which|while|as|not|there)\b", text):
        return text
    return re.sub(r"^((?:[\w-]+ ){1,5}?)(?:is|are) (?=\w+ing\b)", r"\1", text, count=1)


def _there_is(text: str) -> str:
    """a man riding a horse -> there is a man riding a horse"""
    match = re.match(r"(a|an|two|three|four|five|several|some) (?:[\w-]+ ){1,3}?(\w+ing) ", text)
    if not match or match[2] in _lemmas(match[2]).get("VERB", (match[2],)) or not _SIMPLE.fullmatch(text):
        return text
    if re.search(r"\b(?:is|are|and|was|were)\b", text[: match.end()]):
        return text
    # the participle must be all the verb there is: not "a woman wearing a hat holds ..."
    for word in text[match.end() :].split():
        lemmas = _lemmas(word)
        if word in ("is", "are", "was", "were") or (
            "VERB" in lemmas and (word.endswith("s") or word in lemmas["VERB"])
        ):
            return text
    return f"there {'is' if match[1] in ('a', 'an') else 'are'} {text}"


def _swap_pair(text: str) -> str:
    """a boy and a girl play -> a girl and a boy play"""
    match = re.match(
        r"(an? (?:[\w-]+ )?[\w-]+) and (an? (?:[\w-]+ )?)([\w-]+) (?=(?:are|\w+ing|play|run|walk|sit|stand)\b)", text
    )
    if not match or "NOUN" not in _lemmas(match[3]):
        return text
    return f"{match[2]}{match[3]} and {match[1]} {text[match.end() :]}"


def _clothes(text: str) -> str:
    """a man in a red shirt <-> a man wearing a red shirt"""
    pattern = r"\b(wearing|in) ((?:an? )(?:[\w-]+ ){0,2}?([\w-]+))\b"
    match = re.search(pattern, text)
    if not match or match[3] not in CLOTHES:
        return text
    before = text[: match.start()].split()
    if match[1] == "wearing" and before and before[-1] in ("is", "are", "and", "was", "were", "man's"):
        return text
    if match[1] == "in" and (
        not before or before[-1] in ("dressed", "clad", "is", "are") or before[-1].endswith("ing")
    ):
        return text
    other = {"wearing": "in", "in": "wearing"}[match[1]]
    return f"{text[: match.start()]}{other} {match[2]}{text[match.end() :]}"
