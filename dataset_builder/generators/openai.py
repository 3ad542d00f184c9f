"""Chat completions of any OpenAI-compatible endpoint: vLLM, TGI, llama.cpp, `transformers serve`, OpenAI."""

from __future__ import annotations

import asyncio
import json
import os

import httpx2
import openai

from ..journal import Answer
from . import CallFailed, Fatal


class OpenAIGenerator:
    """The official async client. The key comes from `OPENAI_API_KEY` only, and is never written anywhere.

    429 (with `Retry-After`), 408, 409, 5xx, time-outs and dropped connections are retried by the client itself, with
    jittered exponential back-off; bodies that are no chat completion are retried here, within the same budget.
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
        self.identity = {"model": model, **(sampling or {})}
        self.retried = 0
        self._max_retries = max_retries
        self._client = openai.AsyncOpenAI(
            # most local servers want none, but the client insists on one
            api_key=os.environ.get("OPENAI_API_KEY") or "none",
            base_url=base_url,
            max_retries=max_retries,
            timeout=timeout,
            http_client=openai.DefaultAioHttpClient(timeout=timeout, limits=_limits(concurrency)),
        )

    async def generate(self, prompt: str, text: str) -> Answer:
        """One answer. Raises CallFailed (worth another run) or Fatal (no call can succeed)."""
        for attempt in range(self._max_retries + 1):
            try:
                # chat.completions.create() spends a third of its time on typing a body that is plain already
                response = await self._client.post(
                    "/chat/completions",
                    cast_to=httpx2.Response,
                    body={"messages": [{"role": "user", "content": prompt}], **self.identity},
                )
                self.retried += int(response.request.headers.get("x-stainless-retry-count", 0))
                return _answer(json.loads(response.content))
            except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:  # no chat completion
                if attempt == self._max_retries:
                    raise CallFailed("malformed answer") from error
                self.retried += 1
                await asyncio.sleep(min(0.5 * 2**attempt, 8.0))
            except openai.AuthenticationError as error:
                raise Fatal("the endpoint refuses the key (401): set OPENAI_API_KEY in the environment.") from error
            except openai.PermissionDeniedError as error:
                raise Fatal(f"the key may not use {self.identity['model']} (403): choose another --model.") from error
            except openai.NotFoundError as error:
                raise Fatal(
                    f"the endpoint has no such model or address (404): check --model {self.identity['model']} and "
                    f"--base_url {self._client.base_url} (it ends in /v1 as a rule)."
                ) from error
            except openai.APITimeoutError as error:
                # the aiohttp transport calls a refused connection a time-out too
                refused = type(error.__cause__).__name__ == "ConnectTimeout"
                raise CallFailed("no connection" if refused else "time-out") from error
            except openai.APIConnectionError as error:
                raise CallFailed("no connection") from error
            except openai.APIStatusError as error:
                raise CallFailed(f"status {error.status_code}") from error
        raise AssertionError("the loop above returns or raises")

    async def close(self) -> None:
        await self._client.close()


def _limits(concurrency: int):
    limits = openai.DEFAULT_CONNECTION_LIMITS
    return type(limits)(max_connections=concurrency, max_keepalive_connections=concurrency)


def _answer(body: dict) -> Answer:
    choice, usage = body["choices"][0], body.get("usage") or {}
    text = choice["message"].get("content")
    if text is not None and not isinstance(text, str):
        raise TypeError("content is not a text")
    tokens = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    if any(count is not None and not (isinstance(count, int) and 0 <= count < 2**31) for count in tokens):
        raise TypeError("a token count is no count")
    return Answer(text or "", str(choice.get("finish_reason") or "stop"), *tokens)
