"""What the commands write to a terminal: short log lines, and no control character of anybody's names or texts."""

from __future__ import annotations

import io
import logging
import sys
from typing import TextIO

from .errors import PrintableFormatter

LIBRARIES = (
    "transformers",
    "datasets",
    "huggingface_hub",
)  # these have handlers of their own, which show control characters as they are
QUIET = ("httpx", "httpx2", "httpcore", "httpcore2", "datasets", "filelock", "fsspec")  # one line per request or lock


def set_up_output(log_to: TextIO) -> None:
    """Send log lines to `log_to`, those of libraries too."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a character that the terminal's encoding lacks
    handler = logging.StreamHandler(log_to)
    handler.setFormatter(PrintableFormatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name in LIBRARIES:
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
