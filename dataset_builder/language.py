"""Whether two texts are surely in different languages."""

from __future__ import annotations

import functools
import re
import unicodedata

# Words that English captions are full of, and other languages are not.
_ENGLISH = re.compile(r"\b(?:the|with|and|their|his|while|wearing|from|through|near)\b", re.IGNORECASE)
SURE = 0.7


@functools.cache
def _identifier():
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def is_other_language(text: str, source: str) -> bool:
    """Whether `text` is surely not in the language of `source`, by its script or by its words (py3langid).

    A few words say little, and names mislead, so it takes 4 words and a probability of 0.7 in both.
    """
    if abs(_latin_share(source) - _latin_share(text)) > 0.2 and min(_latin_share(source), _latin_share(text)) < 0.8:
        return True
    language, other = surely(text), surely(source)
    return bool(language and other) and language != other and "en" in (language, other)


@functools.lru_cache(maxsize=2**12)
def surely(text: str) -> str | None:
    """The language of a text, or None where that is not sure."""
    if _ENGLISH.search(text):
        return "en"
    if len(text.split()) < 4:
        return None
    language, probability = _identifier().classify(text)
    return language if probability > SURE else None


def _latin_share(text: str) -> float:
    letters = [character for character in text if character.isalpha()]
    return sum("LATIN" in unicodedata.name(letter, "") for letter in letters) / max(1, len(letters))
