"""Rewording by rule, offline: synonyms with their inflection, and a few alternations of syntax, for English captions.

It is for trying the job and for corpora without a language model. What it must never change: numbers, colours,
negation, names, and who does what to whom. So it does little where it is not sure. The same text always gets the
same rewording, and no rule of step 2 undoes one of step 1.
"""

from __future__ import annotations

import argparse
import random
import re

from ..errors import InputError
from ..journal import Answer
from ..wording.lexicon import BEINGS
from .grammar import (
    COLOURS,
    COMMON_ADJECTIVES,
    DETERMINERS,
    LINKS,
    NUMBERS,
    PREPOSITIONS,
    inflected,
    is_name,
    is_noun_here,
    is_verb_here,
    lemmas_of,
    with_articles,
)
from .lexicon import ADJECTIVES, GROUND, IDIOMS, INTRANSITIVE, NOUNS, PHRASES, TRANSITIVE
from .negatives import VERSION as NEGATIVES
from .negatives import negative
from .syntax import alternate

VERSION = "rules-2"  # part of the key of every answer: raise it when the rules change


def add_arguments(parser: argparse._ArgumentGroup) -> None:
    """Declare nothing: this backend has no options."""


def from_args(args: argparse.Namespace) -> RulesGenerator:
    """Make the generator that the command line asks for."""
    return RulesGenerator()


class RulesGenerator:
    """Rewords by rule. The prompt is ignored; step 2 replaces every word that it can, step 1 about two thirds.

    Step 3 answers with a negative, or with nothing where no rule makes one.
    """

    def __init__(self):
        try:
            import lemminflect  # noqa: F401 (see lemmas_of)
        except ImportError as error:
            raise InputError(
                f"--generator rules needs the package {error.name}: pip install 'paraclip[generate]'"
            ) from error
        self.identity = {"model": VERSION, "negatives": NEGATIVES}
        self.sampling: dict = {}
        self.max_tokens = None
        self.retried = 0

    async def generate(self, prompt: str, text: str, step: int) -> Answer:
        """Reword `text`, or change what it says (step 3)."""
        return Answer(reword(text, step) if step < 3 else negative(text) or "")

    async def close(self) -> None:
        """Do nothing: there is nothing to free."""


def reword(text: str, step: int = 1) -> str:
    """A rewording of an English caption: in step 2 every word that can be replaced is, in step 1 about two thirds."""
    rng = random.Random(f"{VERSION} {step} {text}")
    body = text.rstrip().rstrip(".!?").rstrip()
    if not body:
        return text
    end = text[len(body) :].strip()
    body = re.sub(r" ([,;])", r"\1", body)  # as some corpora are tokenized
    lowered = body if is_name(body.split()[0]) else body[0].lower() + body[1:]
    moved = alternate(lowered, step, rng)
    reworded = with_articles(_synonyms(moved, rng, 1.0 if step == 2 else 0.65))
    if reworded == lowered:
        reworded = with_articles(_synonyms(moved, rng, 1.0))
    return (reworded[0].upper() + reworded[1:] if body[0].isupper() else reworded) + end


# ------------------------------------------------------------------------------------------------------- synonyms
def _synonyms(text: str, rng: random.Random, share: float) -> str:
    tokens = re.findall(r"\w[\w'’-]*|[^\w\s]+|\s+", text)  # noqa: RUF001 (captions have typographic apostrophes)
    words = [i for i, token in enumerate(tokens) if token[0].isalnum()]
    used = {token.lower() for token in tokens}
    position = 0
    while position < len(words):
        for length in (4, 3, 2, 1):
            span = words[position : position + length]
            if len(span) < length:
                continue
            phrase = "".join(tokens[span[0] : span[-1] + 1])
            after = _word(tokens, span[-1] + 2)
            if length > 1:
                choices = PHRASES.get(phrase, []) if _fits(phrase, after) else []
            else:
                choices = _choices(tokens, words, position)
            # a word that the caption has already would make it stutter: "a kid and a child"
            choices = [
                choice
                for choice in choices
                if not set(choice.split()) & (used - set(phrase.split()) - {"a", "of", "to"})
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


def _word(tokens: list[str], i: int) -> str:
    """The word at an index if it follows a space, else "" (the end, or punctuation)."""
    return tokens[i].lower() if 0 < i < len(tokens) and tokens[i - 1].isspace() and tokens[i][0].isalnum() else ""


def _fits(phrase: str, after: str) -> bool:
    """Whether a phrase means what it usually does before this word."""
    if phrase.endswith(("black", "white", "brown")):
        return after in BEINGS or after in ("fur", "coat", "shirt", "dress", "spots")  # not a photograph
    return True


def _choices(tokens: list[str], words: list[int], position: int) -> list[str]:
    """Synonyms of one word in the inflection it has, as far as its part of speech is certain from its neighbours."""
    i = words[position]
    word = tokens[i]
    if word != word.lower() or "".join(tokens[i + 1 : i + 2]).startswith("-"):
        return []  # a name, or half a word
    before, after = _word(tokens, i - 2) if i > 2 else (tokens[0].lower() if i == 2 else ""), _word(tokens, i + 2)
    if word in PHRASES:
        return PHRASES[word] if _is_phrase_here(word, before, after) else []
    if word in ADJECTIVES:
        return ADJECTIVES[word] if _is_adjective_here(word, before, after) else []
    if word in ("grassy", "snowy") and after in GROUND:
        return ["grass-covered" if word == "grassy" else "snow-covered"]
    # "on shore" is not at sea, nobody wears a top and tie, a stream of water is no creek, a bird's babies no infants
    if (word == "beach" and before in PREPOSITIONS) or (word == "shirt" and "tie" in tokens) or word == "babies":
        return []
    if (word == "stream" and after == "of") or (word.endswith("men") and tokens[i + 1 : i + 3] == [" ", "'"]):
        return []
    lemmas = lemmas_of(word)
    if is_noun_here(word, lemmas, before, after):
        return [noun for noun in inflected(NOUNS, "NOUN", word, lemmas) if before != "young" or "young" not in noun]
    if is_verb_here(word, lemmas, before):
        if not after or after in PREPOSITIONS | {"and", "while", "as"}:
            return inflected(INTRANSITIVE, "VERB", word, lemmas)
        if after in DETERMINERS | NUMBERS:
            return inflected(TRANSITIVE, "VERB", word, lemmas)
    return []


def _is_phrase_here(word: str, before: str, after: str) -> bool:
    if word == "while":  # "as" wants a subject
        return after in DETERMINERS | NUMBERS or after in BEINGS or after == "others"
    if word in ("near", "under", "underneath", "beside", "atop", "towards"):
        return after in DETERMINERS | NUMBERS | COLOURS
    if word in ("several", "numerous"):
        return before not in DETERMINERS and after not in PREPOSITIONS and bool(after)
    if word == "seated":
        return after in ("on", "at", "in") and before not in ("and", "or")
    return True


def _is_adjective_here(word: str, before: str, after: str) -> bool:
    if not after or after in PREPOSITIONS | LINKS:
        return word == "happy" and before in ("is", "are", "looks", "very")
    if before in ("very", "so", "too", "in", "at") or (word in ("big", "small") and after in IDIOMS):
        return False
    return after in COLOURS | COMMON_ADJECTIVES or "NOUN" in lemmas_of(after)
