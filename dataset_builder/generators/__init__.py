"""Where answers come from: one file per backend.

A backend is a module with `add_arguments(parser)`, which declares its own options, and `from_args(args)`, which
returns a `Generator`. To add one, write the file and import it in `dataset_builder/options.py`. What it needs to run,
e.g. a client or torch, is imported when a generator is made, so that `--help` works without it.
"""

from __future__ import annotations

import argparse
import json
from typing import Any, Protocol

from ..errors import InputError, check_range
from ..journal import Answer

SAMPLING = {"temperature": 1.0, "top_p": 0.1, "max_tokens": 512}  # the authors' (paper, appendix)
LIMITS = ("max_tokens", "max_completion_tokens", "max_new_tokens")  # how servers call the longest answer
OWN = ("model", "messages", "system_prompt", "stream", "n")  # fields of a request that are not for --extra_body


class CallFailed(Exception):  # noqa: N818 (an outcome, not a bug)
    """One call gave no answer within its budget of retries. The next run tries it again.

    Attributes:
        said: the endpoint's own words, on one printable line; empty if it did not answer.
    """

    def __init__(self, reason: str, said: str = ""):
        super().__init__(reason)
        self.said = said


class Fatal(Exception):  # noqa: N818 (the end of the job, not a bug)
    """No call can succeed until the user changes something; the message says what."""


class Generator(Protocol):
    """What writes paraphrases.

    Attributes:
        identity: everything but the prompt that decides an answer, with a key `model`; part of each answer's key.
            The longest answer is left out: a higher limit changes only the answers that were cut.
        sampling: the settings that the corpus and its card report; empty if there are none.
        max_tokens: the longest answer, None without a limit.
        retried: how many calls were repeated so far.
    """

    identity: dict[str, Any]
    sampling: dict[str, Any]
    max_tokens: int | None
    retried: int

    async def generate(self, prompt: str, text: str, step: int) -> Answer:
        """Answer `prompt`, which holds `text`, in step 1, 2 or 3. Raises CallFailed or Fatal."""

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
        help="longest answer in tokens, thoughts included; a longer one is cut and dropped "
        "(default: %(default)s, as the authors)",
    )
    parser.add_argument("--system_prompt", help="what the model is told before each prompt (default: nothing)")
    parser.add_argument("--seed", type=int, help="seed of the sampling, where the model takes one (default: none)")
    parser.add_argument(
        "--extra_body",
        metavar="JSON",
        help="more fields of a request, as a JSON object, e.g. "
        '\'{"chat_template_kwargs": {"enable_thinking": false}}\' so that Qwen3 does not think. A null leaves a field '
        'out, e.g. \'{"temperature": null, "top_p": null, "max_tokens": null, "max_completion_tokens": 512}\' for '
        "OpenAI's current models",
    )


def model_of(args: argparse.Namespace) -> str:
    """Return `--model`. Raises InputError without one."""
    if not args.model:
        raise InputError(f"--generator {args.generator} needs --model. Name the model that writes the paraphrases.")
    return args.model


def sampling_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return the sampling options and `--extra_body` as the fields of a request. Raises InputError."""
    check_range("--temperature", args.temperature, 0, 100)
    check_range("--top_p", args.top_p, 0, 1)
    check_range("--max_tokens", args.max_tokens, 1, 10**6)
    fields = {name: getattr(args, name) for name in (*SAMPLING, "seed")} | _json_object(args.extra_body)
    fields = {name: value for name, value in fields.items() if value is not None}
    if not isinstance(limit_of(fields), int | None):
        raise InputError("--extra_body: the longest answer is a number of tokens.")
    return fields


def _json_object(text: str | None) -> dict[str, Any]:
    """Parse `--extra_body`. Raises InputError."""
    try:
        fields = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"--extra_body {text}: is no JSON ({error}). Give an object in single quotes, such as '{{\"top_k\": 20}}'."
        ) from error
    if not isinstance(fields, dict):
        raise InputError(f"--extra_body {text}: is no JSON object. Give one such as '{{\"top_k\": 20}}'.")
    if own := sorted(fields.keys() & set(OWN)):
        raise InputError(
            f"--extra_body: {', '.join(own)} may not be set there. --model and --system_prompt are options, "
            "and a request has one answer in one piece."
        )
    return fields


def identity_of(model: str, sampling: dict[str, Any], system_prompt: str | None) -> dict[str, Any]:
    """Return what decides an answer besides the prompt, as `Generator.identity`."""
    fields = {name: value for name, value in sampling.items() if name not in LIMITS}
    return {"model": model, **fields, **({"system_prompt": system_prompt} if system_prompt else {})}


def limit_of(sampling: dict[str, Any]) -> int | None:
    """Return the longest answer that a request asks for, in tokens."""
    return next((sampling[name] for name in LIMITS if name in sampling), None)


def messages_of(prompt: str, system_prompt: str | None) -> list[dict[str, str]]:
    """Return the turns of a chat that asks for the answer to `prompt`."""
    system = [{"role": "system", "content": system_prompt}] if system_prompt else []
    return [*system, {"role": "user", "content": prompt}]
