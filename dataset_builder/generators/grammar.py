"""What `rules.py` knows of English grammar: parts of speech as far as the neighbours tell, and inflection."""

from __future__ import annotations

import functools
import re

from ..wording.lexicon import BEINGS
from .lexicon import ADJECTIVES, NOUNS, PHRASES, STATES


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


DETERMINERS = _words("a an the his her its their this that these those some another")
NUMBERS = _words("two three four five six seven eight nine ten 2 3 4 5 several many few")
PREPOSITIONS = _words(
    "in on at by near through across along beside down up over under into with of from to for behind around before "
    "after above below beneath inside outside during against between off out about next past toward towards onto upon "
    "underneath together away"
)
LINKS = _words("and or but while as who that which is are was were")
COLOURS = _words("red blue green yellow black white brown gray grey orange purple pink tan golden")
COMMON_ADJECTIVES = _words(
    "small little large big young old elderly tall short happy blond blonde asian wet other same older"
)
PLURALS = _words("men women children people")
ING_NOUNS = _words(
    "swing ring king string wing spring ceiling building railing wedding evening morning thing clothing"
)
CLAUSES = _words("is are was were not that who which whose while as when if because about")
_HARD_VOWEL = re.compile(r"(?:uni(?!n|m)|one\b|once\b|eu|us[aeiu]|ute)", re.IGNORECASE)
_SILENT_H = re.compile(r"(?:hour|honest|honou?r|heir)", re.IGNORECASE)
_TAGS = {"NOUN": ("NN", "NNS"), "VERB": ("VB", "VBZ", "VBG", "VBD")}


@functools.lru_cache(maxsize=2**16)
def lemmas_of(word: str) -> dict[str, tuple[str, ...]]:
    """Part of speech -> lemmas of the word."""
    from lemminflect import getAllLemmas  # not at the top: it loads for a second, and other backends do without

    return getAllLemmas(word)


@functools.lru_cache(maxsize=2**16)
def forms_of(lemma: str, tag: str) -> tuple[str, ...]:
    """The inflections of a lemma by a tag of the Penn Treebank, e.g. VBG."""
    from lemminflect import getInflection

    return getInflection(lemma, tag)


# ------------------------------------------------------------------------------------------------- parts of speech
def is_name(word: str) -> bool:
    """Whether the first word of a caption would keep its capital anywhere: it is in no dictionary in lower case."""
    return word[:1].isupper() and ((word.isupper() and len(word) > 1) or not _known(word.lower()))


def _known(word: str) -> bool:
    return word in DETERMINERS | PREPOSITIONS | LINKS or word in PHRASES or bool(lemmas_of(word)) or word.isdigit()


def is_noun_here(word: str, lemmas: dict, before: str, after: str) -> bool:
    """Whether a word is surely a noun of its own: not half of "dog house", nor of "fire truck"."""
    if ("NOUN" not in lemmas and word not in NOUNS) or is_first_half(word, after):
        return False
    if before in DETERMINERS | PREPOSITIONS | NUMBERS | LINKS | COLOURS | COMMON_ADJECTIVES:
        return True
    if before in ADJECTIVES or is_adjective(before):
        return True
    return "VERB" not in lemmas and (not before or (before.endswith("ing") and before not in ING_NOUNS))


def is_adjective(word: str) -> bool:
    """Whether a word is an adjective and nothing else."""
    return "ADJ" in lemmas_of(word) and not {"NOUN", "VERB"} & set(lemmas_of(word))


def is_first_half(word: str, after: str) -> bool:
    """Whether a noun only says more of the word after it, as in "dog house"."""
    if not after or after in PREPOSITIONS | LINKS | DETERMINERS:
        return False
    if after.endswith("ing") and after not in ING_NOUNS:
        return word not in BEINGS  # "a man running", but "street racing"
    kinds = lemmas_of(after)
    if after.endswith("ed") and "VERB" in kinds:
        return False
    if "NOUN" not in kinds:
        return False
    if "VERB" not in kinds or word not in BEINGS:
        return True
    singular = word in lemmas_of(word).get("NOUN", ())
    # "a man walks" and "dogs run", but "dog walks" and "a baby swing"
    return after in kinds["NOUN"] if singular else after not in kinds["VERB"]


def is_verb_here(word: str, lemmas: dict, before: str) -> bool:
    """Whether a word is surely a verb here."""
    if "VERB" not in lemmas or before in DETERMINERS | COLOURS | COMMON_ADJECTIVES:
        return False
    if word.endswith("ing"):
        return before in ("is", "are", "was", "were", "and") or before in BEINGS
    if before not in BEINGS:
        return False
    plural = before.endswith("s") or before in PLURALS
    return word.endswith("ed") or (word.endswith("s") and not plural) or (plural and word in lemmas["VERB"])


def inflected(lexicon: dict[str, list[str]], kind: str, word: str, lemmas: dict) -> list[str]:
    """Synonyms of a word in the form that it has."""
    for lemma in (word, *lemmas.get(kind, ())):
        if lemma in lexicon and (tag := _tag(word, lemma, kind)) is not None:
            return [form for synonym in lexicon[lemma] if (form := _inflect(synonym, tag))]
    return []


def _tag(word: str, lemma: str, kind: str) -> str | None:
    if word == lemma:
        return _TAGS[kind][0]
    return next((tag for tag in _TAGS[kind] if word in forms_of(lemma, tag)), None)


def _inflect(synonym: str, tag: str) -> str:
    """The head of the synonym in that form: a noun's is its last word ("mobile phones"), a verb's its first."""
    if tag in ("NN", "VB"):
        return synonym
    words = synonym.split()
    head = 0 if tag.startswith("V") else -1
    forms = forms_of(words[head], tag)
    words[head] = forms[0] if forms else ""
    return " ".join(words) if words[head] else ""


def with_articles(text: str) -> str:
    """ "a" and "an" as the word that now follows wants it."""

    def article(match: re.Match) -> str:
        word = match[2]
        vowel = (word[0].lower() in "aeiou" and not _HARD_VOWEL.match(word)) or bool(_SILENT_H.match(word))
        right = "an" if vowel else "a"
        return (right.capitalize() if match[1][0].isupper() else right) + " " + word

    return re.sub(r"\b([Aa]n?) (\w[\w-]*)", article, text)


def may_be_verb(before: str, word: str) -> bool:
    """Whether a word may be a finite verb: no article or adjective makes a noun of it."""
    if before in DETERMINERS | PREPOSITIONS | NUMBERS | COLOURS | COMMON_ADJECTIVES or is_adjective(before):
        return False
    lemmas = lemmas_of(word).get("VERB", ())
    return bool(lemmas) and word not in PREPOSITIONS and (word.endswith("s") or word in lemmas)


def is_finite(before: str, word: str) -> bool:
    """Whether a word is surely a verb in the present, as what stands before it is someone."""
    lemmas = lemmas_of(word)
    if before not in BEINGS or "VERB" not in lemmas:
        return False
    if before in PLURALS or before.endswith("s"):
        return word in lemmas["VERB"] and "ADJ" not in lemmas
    return word.endswith("s") and word not in lemmas["VERB"]


def verb_form(word: str, tag: str) -> str | None:
    """A verb in another form, where it can be only one verb, and not a state."""
    lemmas = lemmas_of(word).get("VERB", ())
    forms = forms_of(lemmas[0], tag) if len(lemmas) == 1 and lemmas[0] not in STATES else ()
    return forms[0] if forms else None
