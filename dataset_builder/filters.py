"""What is dropped on the way to a corpus, and why: every check has a reason, and every reason is counted.

Three checks: `check_caption` (is this text worth a call?), `clean_answer` (what did the language model really say?)
and `check_paraphrase` (does it still mean the same, in other words?). Each raises `Rejected` with one of `REASONS`.
"""

# ruff: noqa: RUF001 (typographic quotation marks are what models write)

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

REASONS = {
    # of a caption
    "unreadable row": "not a text, or a line that cannot be parsed",
    "too few words": "fewer than the paper's 2 words",
    "too many words": "more than the paper's 15 words",
    "too long": "more than 4,000 characters",
    "duplicate": "the same caption of the same picture came before",
    # of a caption and of an answer
    "control characters": "control characters, or bytes that are not UTF-8",
    "markup": "HTML, Markdown, a link or a placeholder",
    # of an answer
    "truncated": "cut off by max_tokens, or a quotation or thought that is not closed",
    "empty": "nothing was answered",
    "refused": "the model, or its provider's content filter, declined",
    "echoed prompt": "repeats the instruction",
    "several answers": "several lines or alternatives, or an explanation",
    "other language": "not in the language of the text",
    # of a paraphrase
    "unchanged": "the same as the text except for case, punctuation and articles",
    "length": "more than `max_length_ratio` times shorter or longer than the text",
    "numbers": "numbers that differ from the text's",
    "negation": "a negation appeared or disappeared",
    "meaning": "less similar to the text than `min_similarity`",
    "copy": "more similar to the text than `max_similarity`",
}


class Rejected(Exception):  # noqa: N818 (an outcome, not a bug)
    """A text is left out; `reason` is a key of `REASONS`."""

    def __init__(self, reason: str):
        super().__init__(f"{reason}: {REASONS[reason]}")
        self.reason = reason


@dataclass(frozen=True)
class Limits:
    """The thresholds of the filters; they are part of a corpus's recipe."""

    min_words: int = 2
    max_words: int = 15
    max_length_ratio: float = 3.0  # in characters, either way
    min_similarity: float = -1.0  # cosine of the encoder --similarity_model; a lower one is another meaning
    max_similarity: float = 1.0  # a higher one is a mere copy


# Every text is measured before any expression below sees it, so that a hostile one cannot hold up the job.
# Keep the expressions linear all the same: `[^<>]*` and not `[^>]*`, which scans to the end from every `<`.
LONGEST = 4000  # characters


# ------------------------------------------------------------------------------------------------------- captions
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd\ufffe\uffff\ud800-\udfff]")
_MARKUP = re.compile(
    r"</?[a-z][^<>]*>|&(?:[a-z]+|#\d+);|https?://|www\.|\[[^\[\]]*\]\([^()]*\)|<\|[^<>]*\|>|```|\{\{|\{\}",
    re.IGNORECASE,
)


def check_caption(caption: object, limits: Limits) -> str:
    """Return the caption with single spaces. Raises Rejected."""
    if not isinstance(caption, str):
        raise Rejected("unreadable row")
    text = _normalized(" ".join(caption.split()))
    _check_characters(text)
    words = len(text.split())
    if words < limits.min_words:
        raise Rejected("too few words")
    if words > limits.max_words:
        raise Rejected("too many words")
    return text


def _normalized(text: str) -> str:
    """NFC, whose time is quadratic in the number of accents on one letter. Raises Rejected if the text is too long."""
    if len(text) > LONGEST:
        raise Rejected("too long")
    return unicodedata.normalize("NFC", text)


def _check_characters(text: str) -> None:
    if _CONTROL.search(text):
        raise Rejected("control characters")
    if _MARKUP.search(text):
        raise Rejected("markup")


# -------------------------------------------------------------------------------------------------------- answers
_THOUGHT_END = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
_REFUSAL = re.compile(
    r"(?:i(?:'|’)?m (?:really |very )?sorry|i am (?:really |very )?sorry|sorry,? (?:but|i)|i apologi[sz]e"
    r"|(?:unfortunately,? )?i (?:can(?:no|'|’)?t|can not|could ?n(?:o|'|’)t|won(?:'|’)t|am unable|am not able)"
    r"|i(?:'|’)m (?:unable|not able)|as an? (?:ai|artificial|large language|language model)"
    r"|(?:please|could you|can you) (?:please )?(?:provide|share|give me|clarify)|there is no (?:caption|text) )",
    re.IGNORECASE,
)
_PREAMBLE = re.compile(
    r"^(?:(?:sure|certainly|of course|absolutely|okay|ok)(?: thing)?\s*[!,.:]\s*)?"
    r"(?:(?:(?:here(?:'|’)?s|here is|here are|this is|the following is)\b[^:\n\"“]{0,100}"
    r"|(?:the |a |my |one )?(?:possible |concise |short )?"
    r"(?:paraphrase|paraphrased|paraphrasing|rephrased|reworded|rewritten|output|answer|caption|response|result)"
    r"(?: (?:caption|text|version|sentence|of the (?:given )?(?:caption|text)|could be|would be|is))*)\s*:\s*)?",
    re.IGNORECASE,
)
_LIST_ITEM = re.compile(r"^(?:[-*•]|\(?\d{1,2}[.)])\s+")
_EXPLANATION = re.compile(
    r"\b(?:note that|explanation|alternatively|or simply|another option|in this paraphrase"
    r"|i (?:have )?(?:replaced|changed|used)"
    r"|let me know|hope this helps|option \d)\b",
    re.IGNORECASE,
)
_ALTERNATIVES = re.compile(r"[\"”]\s*(?:or|/|,|;)\s*[\"“]", re.IGNORECASE)
_QUOTES = {'"': '"', "“": "”", "'": "'", "‘": "’", "«": "»", "`": "`", "**": "**", "*": "*", "_": "_"}


def clean_answer(answer: str | None, source: str, finish_reason: str = "stop") -> str:
    """Return what a language model answered, without quotes, preamble, bullet or thoughts. Raises Rejected.

    Only what is certain is removed: an answer with several candidates is rejected, and never guessed at.

    Args:
        answer: the message's content.
        source: the text it was to paraphrase.
        finish_reason: as the chat completions API gives it.
    """
    if finish_reason == "length":
        raise Rejected("truncated")
    if finish_reason == "content_filter":
        raise Rejected("refused")
    # what comes before the last end of a thought is thought; some chat templates leave its beginning out
    text = _normalized(_THOUGHT_END.split(answer or "")[-1].strip())
    if not text:
        raise Rejected("empty")
    if re.match(r"<think(?:ing)?>", text, re.IGNORECASE):
        raise Rejected("truncated")
    if "paraphrase the given" in text.lower() and "paraphrase the given" not in source.lower():
        raise Rejected("echoed prompt")
    if _REFUSAL.match(text):
        raise Rejected("refused")
    preamble = _PREAMBLE.match(text)
    own = _PREAMBLE.match(source)  # the text itself may begin so
    if preamble and not (own and own.group()):
        text = text[preamble.end() :].strip()
    lines = [line.strip() for line in text.splitlines() if line.strip(" \t-_*=")]
    if not lines:
        raise Rejected("empty")
    if len(lines) > 1 or _ALTERNATIVES.search(text) or (_EXPLANATION.search(text) and not _EXPLANATION.search(source)):
        raise Rejected("several answers")
    text = lines[0]
    if not _LIST_ITEM.match(source):
        text = _LIST_ITEM.sub("", text)
    text = _unquoted(" ".join(text.split()), source)
    if not re.search(r"\w", text):
        raise Rejected("empty")
    _check_characters(text)
    if _REFUSAL.match(text):
        raise Rejected("refused")
    if is_other_language(text, source):
        raise Rejected("other language")
    return text


def _unquoted(text: str, source: str) -> str:
    """The text without quotes or emphasis around all of it; one that never closes means that something is lost."""
    for opening, closing in _QUOTES.items():
        if text.startswith(opening) and not source.startswith(opening):
            body, end = text[len(opening) :], ""
            if body.endswith((f"{closing}.", f"{closing},")):  # "a cat". -> a cat.
                body, end = body[:-1], body[-1]
            if body.endswith(closing) and closing not in body[: -len(closing)].replace(f"{closing}s ", ""):
                return _unquoted((body[: -len(closing)] + end.replace(",", "")).strip(), source)
            if closing not in body and opening in ('"', "“", "«"):
                raise Rejected("truncated")
    return text


@functools.cache
def _identifier():
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def is_other_language(text: str, source: str) -> bool:
    """Whether `text` is surely not in the language of `source`, by its script or by its words (py3langid).

    A few words say little, and names mislead, so it takes 4 words and a probability of 0.7: of 2,786 English captions
    and paraphrases of Flickr8k none is then taken for another language.
    """
    if _latin_share(source) > 0.8 and _latin_share(text) < 0.8:
        return True
    if len(text.split()) < 4:
        return False
    language, probability = _identifier().classify(text)
    return language != "en" and probability > 0.7 and _identifier().classify(source)[0] == "en"


def _latin_share(text: str) -> float:
    letters = [character for character in text if character.isalpha()]
    return sum("LATIN" in unicodedata.name(letter, "") for letter in letters) / max(1, len(letters))


# ---------------------------------------------------------------------------------------------------- paraphrases
_SMALL = "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen"
_NUMBER_WORDS = {word: str(i) for i, word in enumerate(_SMALL.split("|"))} | {
    "twenty": "20", "thirty": "30", "forty": "40", "fifty": "50", "hundred": "100", "thousand": "1000", "dozen": "12",
    "pair": "2", "couple": "2", "duo": "2", "both": "2", "twin": "2", "twins": "2", "trio": "3", "triple": "3",
    "quartet": "4", "first": "1st", "second": "2nd", "third": "3rd", "half": "1/2",
}  # fmt: skip
_NEGATION = re.compile(
    r"\b(?:no|not|never|none|nobody|nothing|nowhere|neither|nor|without|lacks?|lacking|cannot|minus|\w+n['’]t)\b"
    r"|\b(?:devoid|bereft|free|absence|empty) of\b|\b(?!un|nonethe|neverthe|regard)\w{3,}less\b",
    re.IGNORECASE,
)


def check_paraphrase(paraphrase: str, source: str, limits: Limits) -> None:
    """Raise Rejected if the wording did not change, or if the length, the numbers or a negation changed."""
    if _bare(paraphrase) == _bare(source):
        raise Rejected("unchanged")
    if not 1 / limits.max_length_ratio <= len(paraphrase) / len(source) <= limits.max_length_ratio:
        raise Rejected("length")
    if numbers(paraphrase) != numbers(source):
        raise Rejected("numbers")
    if bool(_NEGATION.search(paraphrase)) != bool(_NEGATION.search(source)):
        raise Rejected("negation")


def check_similarity(similarity: float, limits: Limits) -> None:
    """Raise Rejected if the cosine of two sentence embeddings is outside the limits."""
    if not similarity >= limits.min_similarity:  # catches NaN
        raise Rejected("meaning")
    if similarity > limits.max_similarity:
        raise Rejected("copy")


def _bare(text: str) -> list[str]:
    return [word for word in re.findall(r"\w+", text.casefold()) if word not in ("a", "an", "the")]


def numbers(text: str) -> Counter[str]:
    """Count the numbers in a text, digits and words alike. One is left out: "one" and "a" are hardly ever a count."""
    found = re.findall(r"\d+(?:[.,:/]\d+)*(?:st|nd|rd|th)?|[a-z]+", text.lower())
    values = [_NUMBER_WORDS.get(token, token if token[0].isdigit() else None) for token in found]
    return Counter(value for value in values if value is not None and value != "1")
