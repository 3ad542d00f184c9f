"""What ends a job in one sentence instead of a traceback, and how other people's text is shown in a terminal."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from datasets.exceptions import DatasetGenerationError
from huggingface_hub import get_token

# C0 but newline and tab, DEL, C1, the characters that turn the direction of writing, halves of surrogate pairs
HOSTILE = "\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069"  # also an expression of RE2, which has no surrogates
_HOSTILE = re.compile(f"[{HOSTILE}\ud800-\udfff]")
HALF = 700  # characters of a message that are shown at its beginning, and at its end, where it is longer


class InputError(ValueError):
    """Something that a person gave is wrong. The message names it and says what to do."""

    def __init__(self, message: str):
        super().__init__(short(message))


def printable(text: object) -> str:
    r"""Text as a terminal may show it: what moves its cursor or reverses its letters becomes an escape, as \x1b."""
    return _HOSTILE.sub(lambda match: match[0].encode("unicode_escape").decode(), str(text))


def short(message: object, half: int = HALF) -> str:
    """A message that is printable; the middle of a long one, e.g. of a name of 5,000 letters, is left out."""
    text = printable(message)
    return text if len(text) <= 2 * half else f"{text[:half]} ... {text[-half:]}"


@contextlib.contextmanager
def one_sentence(problem: str, remedy: str) -> Iterator[None]:
    """Turns whatever is raised into an InputError "problem: what was said. remedy".

    It goes around calls of libraries that open what a person gave. `datasets`, pyarrow, yaml, zipfile, huggingface_hub
    and its HTTP client raise errors of their own and, on data that nobody expects, nearly any other.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        cause = error.__cause__ if isinstance(error, DatasetGenerationError) else None  # it says nothing itself
        said = short(_said(cause or error), HALF // 3)
        raise InputError(f"{short(problem, HALF // 3)}: {said}. {remedy}") from error


def _said(error: BaseException) -> str:
    """What an error says, on one line, and without the Hub's token, which an answer may repeat."""
    text = str(error) if " " in str(error) else repr(error)  # KeyError says no more than the key
    token = get_token()
    return " ".join((text.replace(token, "...") if token else text).split()).rstrip(".")


def check_range(option: str, value: float | None, low: float, high: float = float("inf")) -> None:
    """Raises InputError for a number outside low..high; NaN is outside, None is not given."""
    if value is not None and not low <= value <= high:
        upto = "" if high == float("inf") else f", at most {high:,}"
        raise InputError(f"{option}: at least {low:,}{upto}; it is {value}.")
