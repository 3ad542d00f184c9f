"""Chat completions of any OpenAI-compatible endpoint: vLLM, TGI, llama.cpp, `transformers serve`, OpenAI."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from typing import Any

from ..errors import InputError
from ..journal import Answer
from . import CallFailed, Fatal, model_of, sampling_of


def add_arguments(parser: argparse._ArgumentGroup) -> None:
    """Declare the options of this backend."""
    parser.add_argument(
        "--base_url",
        help="address of the endpoint, usually ending in /v1 (default: OpenAI's); the key is read from OPENAI_API_KEY",
    )
    parser.add_argument(
        "--max_retries",
        type=int,
        default=8,
        help="how often one call is retried before its row fails (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout", type=float, default=120.0, help="seconds that one call may take (default: %(default)s)"
    )


def from_args(args: argparse.Namespace) -> OpenAIGenerator:
    """Make the generator that the command line asks for."""
    return OpenAIGenerator(
        model_of(args),
        args.base_url,
        sampling=sampling_of(args),
        concurrency=args.concurrency,
        max_retries=args.max_retries,
        timeout=args.timeout,
    )


class OpenAIGenerator:
    """The official async client. The key comes from `OPENAI_API_KEY` only, and is never written anywhere.

    429 (with `Retry-After`), 408, 409, 5xx, time-outs and dropped connections are retried by the client itself, with
    jittered exponential back-off; bodies that are not a chat completion are retried here, within the same budget.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        *,
        sampling: dict | None = None,
        concurrency: int = 64,
        max_retries: int = 8,
        timeout: float = 120.0,
    ):
        try:
            import aiohttp  # noqa: F401 (the client's transport)
            import openai
        except ImportError as error:
            raise InputError(
                f"--generator openai needs the package {error.name}: pip install 'paraclip[generate]'"
            ) from error
        self.sampling = dict(sampling or {})
        self.identity = {"model": model, **self.sampling}
        self.retried = 0
        self._max_retries = max_retries
        default = openai.DEFAULT_CONNECTION_LIMITS
        limits = type(default)(max_connections=concurrency, max_keepalive_connections=concurrency)
        self._client = openai.AsyncOpenAI(
            # most local servers want no key, but the client insists on one
            api_key=os.environ.get("OPENAI_API_KEY") or "none",
            base_url=base_url,
            max_retries=max_retries,
            timeout=timeout,
            http_client=openai.DefaultAioHttpClient(timeout=timeout, limits=limits),
        )

    async def generate(self, prompt: str, text: str, step: int) -> Answer:
        """One answer. Raises CallFailed (worth another run) or Fatal (no call can succeed)."""
        for attempt in range(self._max_retries + 1):
            try:
                return _answer(json.loads(await self._post(prompt)))
            except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:  # not a chat completion
                if attempt == self._max_retries:
                    raise CallFailed("malformed answer") from error
                self.retried += 1
                await asyncio.sleep(min(0.5 * 2**attempt, 8.0))
        raise AssertionError("the loop above returns or raises")

    async def _post(self, prompt: str) -> bytes:
        """The body of the response to one request."""
        import openai

        try:
            # chat.completions.create() spends a third of its time on typing a body that is plain already
            response: Any = await self._client.post(
                "/chat/completions",
                cast_to=object,
                body={"messages": [{"role": "user", "content": prompt}], **self.identity},
                options={"headers": {"X-Stainless-Raw-Response": "true"}},  # as with_raw_response sets it
            )
        except openai.AuthenticationError as error:
            raise Fatal("The endpoint refuses the key (401): set OPENAI_API_KEY in the environment.") from error
        except openai.PermissionDeniedError as error:
            raise Fatal(f"The key may not use {self.identity['model']} (403): choose another --model.") from error
        except openai.NotFoundError as error:
            raise Fatal(
                f"The endpoint has no such model or address (404): check --model {self.identity['model']} and "
                f"--base_url {self._client.base_url} (it usually ends in /v1)."
            ) from error
        except openai.APITimeoutError as error:
            # the aiohttp transport calls a refused connection a time-out too
            refused = type(error.__cause__).__name__ == "ConnectTimeout"
            raise CallFailed("no connection" if refused else "time-out") from error
        except openai.APIConnectionError as error:
            raise CallFailed("no connection") from error
        except openai.APIStatusError as error:
            raise CallFailed(f"status {error.status_code}") from error
        self.retried += response.retries_taken
        return response.content

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def _answer(body: dict) -> Answer:
    choice, usage = body["choices"][0], body.get("usage") or {}
    text = choice["message"].get("content")
    if text is not None and not isinstance(text, str):
        raise TypeError("content is not a text")
    tokens = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    if any(count is not None and not (isinstance(count, int) and 0 <= count < 2**31) for count in tokens):
        raise TypeError("a token count is not a count")
    return Answer(text or "", str(choice.get("finish_reason") or "stop"), *tokens)
