"""Errors and log lines never hand a terminal a control character."""

import errno
import logging
import pickle

import pytest

from modeling_paraclip.errors import (
    CheckpointError,
    InputError,
    NotFiniteLoss,
    PrintableFormatter,
    one_line,
    printable,
)

HOSTILE = "a\x1b]0;b\x07\r\x00\x7f\x9b\u202e\u2066\ud800 c"
SHOWN = r"a\x1b]0;b\x07\r\x00\x7f\x9b\u202e\u2066\ud800 c"


def test_control_characters_become_visible():
    assert printable(HOSTILE) == SHOWN
    assert printable(printable(HOSTILE)) == SHOWN


def test_other_text_stays():
    text = "Zoë, 東京, שלום, 👩‍🚀, C:\\x1b\n\tnext"
    assert printable(text) == text


@pytest.mark.parametrize("kind", [InputError, CheckpointError, NotFiniteLoss])
def test_the_message_of_an_error_is_printable(kind):
    error = pickle.loads(pickle.dumps(kind(HOSTILE)))
    assert type(error) is kind
    assert str(error) == SHOWN
    assert error.args == (HOSTILE,)


def test_a_checkpoint_error_is_an_oserror():
    error = pickle.loads(pickle.dumps(CheckpointError(errno.ENOSPC, "No space left on device", "a\x1b")))
    assert isinstance(error, OSError)
    assert (error.errno, error.filename) == (errno.ENOSPC, "a\x1b")
    assert str(error) == r"[Errno 28] No space left on device: 'a\x1b'"


def test_log_lines_are_printable():
    record = logging.LogRecord("x", logging.INFO, "", 0, "%s: done", (HOSTILE,), None)
    assert PrintableFormatter("%(message)s").format(record) == f"{SHOWN}: done"


def test_one_line_has_no_breaks():
    assert one_line("a\n\tb\u2028c\x1b") == r"a\n\tb\u2028c\x1b"
