"""What is dropped on the way to a corpus, and why: every check has a reason, and every reason is counted.

`check_caption` asks whether a text is worth a call, `answers.clean_answer` what the language model really said, and
`check_paraphrase` whether that still means the same, in other words; `check_negative` whether a negative does not.
Each raises `Rejected` with one of `REASONS`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from .language import surely
from .pii import has_personal_data
from .wording import contradiction, digits_differ, says_the_same, shared_words

VERSION = 2  # part of the recipe: raise it when a filter changes, and rows are made again from the answers
NEGATIVE_VERSION = 1  # the same of `check_negative`, in the recipe of a job that makes negatives

REASONS = {
    # of a caption
    "unreadable row": "not a text, or a line that cannot be parsed",
    "left out": "not what `--where` asks for, or of another split than `--split`",
    "too few words": "fewer than the paper's 2 words",
    "too many words": "more than the paper's 15 words",
    "too long": "more than 4,000 characters",
    "person tag": "a name that the data set's makers replaced by <PERSON>",
    "personal data": "an e-mail address, a telephone number or a postal address",
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
    "numbers": "a number that the text does not account for, or one that is lost",
    "negation": "a negation appeared, disappeared or moved",
    "gender": "a man became a woman, or the like",
    "colours": "a colour became another, or is another thing's",
    "things": "an animal, a vehicle, a dish or the like became another",
    "activities": "a sport, an instrument or a posture became another",
    "directions": "left became right, above became below, or the like",
    "opposites": "a word became its opposite, or is another thing's",
    "times": "a time of day or year, or the weather, became another",
    "places": "a place became another",
    "units": "a unit became another",
    "roles": "who does what to whom changed",
    "meaning": "less similar to the text than `min_similarity`",
    "copy": "more similar to the text than `max_similarity`",
    "entailment": "does not follow from the text, or the text from it, with `min_entailment`",
    # of a negative, which may also be "unchanged": the same as the caption or a paraphrase
    "same meaning": "a negative that may be true of the picture: it says the same, or only less",
    "unrelated": "a negative that shares too few words with the caption",
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
    min_entailment: float = 0.5  # probability by --nli_model that each of two texts follows from the other
    drop_pii: bool = False  # e-mail addresses, telephone numbers, postal addresses
    person_tags: str = "drop"  # or "keep": captions with <PERSON>, which CC12M has for names


# Every text is measured before any expression below sees it, so that a hostile one cannot hold up the job.
# Keep the expressions linear all the same: `[^<>]*` and not `[^>]*`, which scans to the end from every `<`.
LONGEST = 4000  # characters


# ------------------------------------------------------------------------------------------------------- captions
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufffd-\uffff\ud800-\udfff]")
_MARKUP = re.compile(
    r"</?[a-z][^<>]*>|&(?:[a-z]+|#\d+);|https?://|www\.|\[[^\[\]]*\]\([^()]*\)|<\|[^<>]*\|>|```|\{\{|\{\}",
    re.IGNORECASE,
)


PERSON = "<PERSON>"
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u2060\ufeff\xad"))  # of no width, and hyphens that show at a line's end


class LeftOut(str):
    """The caption of a row that its source leaves out: it comes along to be counted."""


def check_caption(caption: object, limits: Limits) -> str:
    """Return the caption with single spaces. Raises Rejected."""
    if isinstance(caption, LeftOut):
        raise Rejected("left out")
    if not isinstance(caption, str):
        raise Rejected("unreadable row")
    text = normalized(" ".join(caption.split()))
    if PERSON in text and limits.person_tags == "drop":
        raise Rejected("person tag")
    check_characters(text.replace(PERSON, ""))
    if limits.drop_pii and has_personal_data(text):
        raise Rejected("personal data")
    words = len(text.split())
    if words < limits.min_words:
        raise Rejected("too few words")
    if words > limits.max_words:
        raise Rejected("too many words")
    return text


def normalized(text: str) -> str:
    """NFC without invisible characters. Raises Rejected if the text is too long: NFC's time may be quadratic."""
    if len(text) > LONGEST:
        raise Rejected("too long")
    return unicodedata.normalize("NFC", text.translate(_INVISIBLE))


def check_characters(text: str) -> None:
    """Raise Rejected for what is no plain text."""
    if _CONTROL.search(text):
        raise Rejected("control characters")
    if _MARKUP.search(text):
        raise Rejected("markup")


# ---------------------------------------------------------------------------------------------------- paraphrases
# How much of its words a negative shares with its caption: one that shares less is another caption, and easy to tell
# apart. Where no contradiction is seen, it may be a paraphrase, which shares less than the prompt asks for.
MIN_SHARED, MIN_SHARED_UNSEEN = 0.5, 0.75
_ECHO = re.compile(r"change one detail|the same picture", re.IGNORECASE)  # of the prompt for negatives


def check_paraphrase(paraphrase: str, source: str, limits: Limits, caption: str | None = None) -> None:
    """Raise Rejected if the wording did not change, or if the meaning surely did.

    Args:
        paraphrase: of `source`.
        source: x in step 1, x' in step 2.
        limits: `max_length_ratio` and `drop_pii` count.
        caption: x, which x'' must neither repeat nor contradict.
    """
    _check_answer(paraphrase, source, limits)
    is_english = surely(source) in ("en", None)
    for text in dict.fromkeys((source, caption or source)):
        if _bare(paraphrase) == _bare(text):
            raise Rejected("unchanged")
        if not is_english and digits_differ(text, paraphrase):
            raise Rejected("numbers")
        if is_english and (reason := contradiction(text, paraphrase)):
            raise Rejected(reason)


def check_negative(negative: str, caption: str, paraphrases: Sequence[str], limits: Limits) -> None:
    """Raise Rejected if a negative is far from its caption, or if it may be true of the same picture.

    Args:
        negative: of `caption`.
        caption: x.
        paraphrases: x' and x'', which it must not repeat either.
        limits: `max_length_ratio` and `drop_pii` count.
    """
    _check_answer(negative, caption, limits)
    if _ECHO.search(negative) and not _ECHO.search(caption):
        raise Rejected("echoed prompt")
    texts = dict.fromkeys((caption, *paraphrases))
    if _bare(negative) in map(_bare, texts):
        raise Rejected("unchanged")
    is_english = surely(caption) in ("en", None)
    if is_english and any(says_the_same(text, negative) for text in texts):
        raise Rejected("same meaning")
    is_seen = is_english and contradiction(caption, negative) is not None
    if shared_words(caption, negative) < (MIN_SHARED if is_seen else MIN_SHARED_UNSEEN):
        raise Rejected("unrelated")


def _check_answer(answer: str, source: str, limits: Limits) -> None:
    if not 1 / limits.max_length_ratio <= len(answer) / len(source) <= limits.max_length_ratio:
        raise Rejected("length")
    if limits.drop_pii and has_personal_data(answer):
        raise Rejected("personal data")


def _bare(text: str) -> list[str]:
    return [word for word in re.findall(r"\w+", text.casefold()) if word not in ("a", "an", "the")]


# ------------------------------------------------------------------------------------------------------------- recipe
def checks_done(recipe: dict) -> list[str]:
    """What was checked of a corpus made by a recipe, and at last what was not, in sentences for its card."""
    if not recipe.get("filters"):
        return ["Filtered as in version 0.2: length, refusals, language, numbers, and whether there is a negation."]
    limits = asdict(Limits()) | recipe.get("limits", {})
    said = [
        f"Captions have {limits['min_words']} to {limits['max_words']} words and no markup.",
        "Answers that are refusals, several alternatives, explanations, cut off, or in another language were dropped.",
        "By words, where they are certain: each paraphrase against its text, and the second one against the caption "
        "too, for numbers, negation, gender, colours, directions, opposites, times, places, units, kinds of things, "
        "and who does what to whom. This reads English only, and finds some false paraphrases, not all.",
        f"A paraphrase is at most {limits['max_length_ratio']:g} times as long or as short as its text.",
    ]
    if limits["person_tags"] == "keep":
        said.append("Captions with the tag <PERSON> were kept as they are.")
    if limits["drop_pii"]:
        said.append("Texts with patterns of e-mail addresses, telephone numbers or postal addresses were dropped.")
    if model := recipe.get("similarity_model"):
        low, high = limits["min_similarity"], limits["max_similarity"]
        said.append(f"By similarity: cosines by {model} are between {low:g} and {high:g}.")
    if model := recipe.get("nli_model"):
        said.append(f"By entailment both ways: {model} gives at least {limits['min_entailment']:g} to each.")
    if version := recipe.get("negative_filters"):
        said.append(
            f"Negatives (version {version} of their filters) repeat neither caption nor paraphrase, do not "
            f"only reorder it or leave words out, and share at least {MIN_SHARED:.0%} of the caption's words, or "
            f"{MIN_SHARED_UNSEEN:.0%} where the checks by words see no contradiction"
            + (f"; by {model} they and the caption do not follow from each other." if model else ".")
        )
    missing = [
        what
        for what, done in (
            ("similarity by a sentence encoder", recipe.get("similarity_model")),
            ("entailment", recipe.get("nli_model")),
            ("personal data", limits["drop_pii"]),
        )
        if not done
    ]
    return [*said, f"Not checked: {', '.join([*missing, 'whether captions are true of their pictures'])}."]
