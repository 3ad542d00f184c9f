"""Where answers come from: one file per backend.

A backend is a module with `add_arguments(parser)`, which declares its own options, and `from_args(args)`, which
returns a `Generator`. To add one, write the file and import it in `dataset_builder/__main__.py`. What it needs to run,
e.g. a client or torch, is imported when a generator is made, so that `--help` works without it.
"""

from __future__ import annotations

import argparse
from typing import Any, Protocol

from ..errors import InputError, check_range
from ..journal import Answer

SAMPLING = {"temperature": 1.0, "top_p": 0.1, "max_tokens": 512}  # the authors' (paper, appendix)


class CallFailed(Exception):  # noqa: N818 (an outcome, not a bug)
    """One call gave no answer within its budget of retries. The next run tries it again."""


class Fatal(Exception):  # noqa: N818 (the end of the job, not a bug)
    """No call can succeed until the user changes something; the message says what."""


class Generator(Protocol):
    """What writes paraphrases.

    Attributes:
        identity: everything but the prompt that decides an answer, with a key `model`; part of each answer's key.
        sampling: the settings that the corpus and its card report; empty if there are none.
        retried: how many calls were repeated so far.
    """

    identity: dict[str, Any]
    sampling: dict[str, Any]
    retried: int

    async def generate(self, prompt: str, text: str, step: int) -> Answer:
        """Answer `prompt`, which holds `text`, in step 1 or 2. Raises CallFailed or Fatal."""

    async def close(self) -> None:
        """Free what the generator holds."""


def add_model_arguments(parser: argparse._ArgumentGroup) -> None:
    """Declare the options that all language models share."""
    parser.add_argument("--model", help="name of the model at the endpoint, or its folder or Hub id; not for rules")
    parser.add_argument(
        "--temperature",
        type=float,
        default=SAMPLING["temperature"],
        help="randomness of the answers; 0 always takes the likeliest word (default: %(default)s, as the authors)",
    )
    parser.add_argument(
        "--top_p",
        type=float,
        default=SAMPLING["top_p"],
        help="sample among the likeliest words that hold this share of the probability "
        "(default: %(default)s, as the authors)",
    )
    parser.add_argument(
        "--max_tokens",
        type=int,
        default=SAMPLING["max_tokens"],
        help="longest answer in tokens; a longer one is cut and dropped (default: %(default)s, as the authors)",
    )


def model_of(args: argparse.Namespace) -> str:
    """Return `--model`. Raises InputError without one."""
    if not args.model:
        raise InputError(f"--generator {args.generator} needs --model. Name the model that writes the paraphrases.")
    return args.model


def sampling_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return the sampling options as a request names them. Raises InputError for numbers that no model takes."""
    check_range("--temperature", args.temperature, 0, 100)
    check_range("--top_p", args.top_p, 0, 1)
    check_range("--max_tokens", args.max_tokens, 1, 10**6)
    return {name: getattr(args, name) for name in SAMPLING}
