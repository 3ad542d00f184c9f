"""What ends a run in one sentence instead of a traceback, and what makes foreign text safe to show."""

import logging
import re

# C0 but for newline and tab, DEL, C1, what turns the direction of text, and halves of surrogate pairs
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
HALF = 700  # characters of a message that are shown at its beginning, and at its end, where it is longer
BREAK = re.compile("[\t\n\u2028\u2029]")


def printable(text: object) -> str:
    r"""`str(text)` with control characters as visible escapes, e.g. `\x1b`, so that no terminal obeys them."""
    return CONTROL.sub(lambda found: ascii(found[0])[1:-1], str(text))


def one_line(text: object) -> str:
    r"""`printable`, with what breaks lines or cells as escapes too, e.g. `\n`: for tables, headings and labels."""
    return BREAK.sub(lambda found: ascii(found[0])[1:-1], printable(text))


def said(error: Exception, limit: int = 500) -> str:
    """What a library's error says, on one line; some print a whole file."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else f"{text[:limit]} ..."


class PrintableFormatter(logging.Formatter):
    """The formatter of the commands' log lines: `printable`, message and traceback alike."""

    def format(self, record: logging.LogRecord) -> str:
        """One log record as text."""
        return printable(super().format(record))


class _Printable:
    """First base of an error: its message is `printable`, whatever names and texts of a user it quotes, and short."""

    def __str__(self) -> str:
        text = printable(super().__str__())
        return text if len(text) <= 2 * HALF else f"{text[:HALF]} ... {text[-HALF:]}"


class InputError(_Printable, ValueError):
    """Something that a person gave is wrong. The message names it and says what to do."""


class CheckpointError(_Printable, OSError):
    """A checkpoint or a model could not be written, e.g. because the disk is full. Earlier ones are intact."""


class NotFiniteLoss(_Printable, RuntimeError):  # noqa: N818 (it names what happened)
    """The loss is infinite or not a number. Nothing of that batch reached the weights."""
