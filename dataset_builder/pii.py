"""Patterns of personal data: e-mail addresses, telephone numbers, postal addresses. No names, and no certainty.

Every repetition is bounded, so that no text takes long.
"""

from __future__ import annotations

import re

_EMAIL = re.compile(r"[\w.+-]{1,64}(?:@| ?[(\[]at[)\]] ?)[\w-]{1,63}(?:\.[\w-]{2,63}){1,4}", re.IGNORECASE)
# at least nine digits in groups, or an international prefix: no year, date, price or score
_PHONE = re.compile(
    r"(?<![\w.,/-])(?:\+\d{1,3}[ .-]?(?:\(0\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){2,4}"
    r"|(?:\(\d{2,5}\)|\d{3,5})[ .-]\d{3,4}[ .-]?\d{3,4}|0\d{2,4}[ /-]\d{5,8})(?![\w,/-])"
)
_KINDS = "street|st|avenue|ave|road|rd|boulevard|blvd|lane|ln|drive|dr|court|ct|square|sq|place|pl|way|terrace|highway"
_NO_NAMES = "the|a|an|of|in|on|at|to|and|with|by|from|near|for"
_ADDRESS = re.compile(
    rf"\b\d{{1,5}}[a-z]?,? (?:(?!(?:{_NO_NAMES})\b)[\w.'-]{{2,20}} ){{1,3}}(?:{_KINDS})\b"
    r"|\b\w{2,25}(?:stra(?:ß|ss)e|str\.|weg|gasse|allee|platz) \d{1,4}\b"
    r"|\b(?:rue|via|calle|avenida|rua) [\w' -]{2,30}[ ,]\d{1,4}\b|\b\d{1,4},? (?:rue|avenue) (?:d|l)\w",
    re.IGNORECASE,
)
_COUNTED = re.compile(r"\d{1,2} (?:\w{2,20} ){1,3}(?:street|road|lane|court|square|place|way|drive|highway)\b")


def has_personal_data(text: str) -> bool:
    """Whether a text looks as if it held an e-mail address, a telephone number or a postal address."""
    if not any(character.isdecimal() or character == "@" for character in text) and "at" not in text:
        return False
    if _EMAIL.search(text) or _PHONE.search(text):
        return True
    found = _ADDRESS.search(text)
    # "2 men cross street" counts men; "12 Oak Street" has a name
    return found is not None and not _COUNTED.fullmatch(found[0])
