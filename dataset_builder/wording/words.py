"""The words of an English text as the checks by words need them: numbers as digits, and word stems."""

from __future__ import annotations

import functools
import re

from .senses import NUMBERS, SCALES

# also img_1234 and #1234, which are no numbers of the picture
_TOKEN = re.compile(r"\d+(?:[.,:/]\d+)*(?:-[a-z]+|[a-z]\w*)?|[^\W\d]+(?:-[^\W\d]+)*\d*|#\d+|[^\w\s]")
_LARGEST = 10**12
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_HALF_DOZEN = re.compile(r"\bhalf[ -](?:a[ -])?dozen\b")
_IRREGULAR = {
    "men": "man", "women": "woman", "children": "child", "people": "person", "feet": "foot", "mice": "mouse",
    "geese": "goose", "wives": "wife", "calves": "calf", "wolves": "wolf", "leaves": "leaf", "ran": "run",
    "sat": "sit", "stood": "stand", "lying": "lie", "lay": "lie", "gave": "give", "held": "hold", "threw": "throw",
    "caught": "catch", "knives": "knife", "shelves": "shelf", "bit": "bite", "ate": "eat", "led": "lead",
    "taught": "teach",
}  # fmt: skip


@functools.lru_cache(maxsize=2**12)
def tokens(text: str) -> tuple[str, ...]:
    """The words and punctuation of a text in lower case, with number words as digits: "twenty-five" is 25."""
    text = text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    text = _THOUSANDS.sub("", text)
    text = _HALF_DOZEN.sub("6", text)
    text = text.replace("n't", " not").replace("'s ", " ")
    found: list[str] = []
    value: int | None = None
    for token in _TOKEN.findall(text):
        parts = token.split("-") if "-" in token else [token]
        if not all(part in NUMBERS or part in SCALES for part in parts):
            parts = [token]
        for part in parts:
            if part in SCALES and (value or 0) < _LARGEST:
                value = SCALES[part] * (1 if value is None else value)
                continue
            number = int(part) if part.isdecimal() and len(part) < 16 else NUMBERS.get(part)
            if value is not None:
                if part in NUMBERS and _continues(value, NUMBERS[part]):
                    value += NUMBERS[part]
                    continue
                found.append(str(value))
            value = number
            if number is None:
                found.append(part)
    if value is not None:
        found.append(str(value))
    return tuple(found)


def _continues(value: int, number: int) -> bool:
    """Whether the words of two numbers are one number: twenty five, two hundred five."""
    return (value % 100 >= 20 and value % 10 == 0 and 0 < number < 10) or (value % 100 == 0 and 0 < number < value)


@functools.lru_cache(maxsize=2**16)
def stem(word: str) -> str:
    """A word without its inflection; not always a word, but the same for all forms of a regular one."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) <= 3:
        return word
    if word.endswith("ies"):
        word = word[:-3] + "y"
    elif re.search(r"(?:[sx]|z|ch|sh)es$", word):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    if re.search(r"[aeiouy].*(?:ing|ed)$", word) and len(word) > 4:
        word = re.sub(r"(?:ing|ed)$", "", word)
        word = re.sub(r"([bdfgmnprt])\1$", r"\1", word)
    return word.removesuffix("e") if len(word) > 3 else word


def is_plural(word: str) -> bool:
    """Whether a noun is in the plural."""
    return word in ("men", "women", "children", "people", "mice", "geese", "wolves") or word.endswith("s")
