"""Chat completions of any OpenAI-compatible endpoint: vLLM, TGI, llama.cpp, `transformers serve`, OpenAI."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import itertools
import json
import os
from typing import Any
from urllib.parse import urlsplit

from ..errors import InputError, check_range, printable
from ..journal import Answer
from . import CallFailed, Fatal, identity_of, limit_of, messages_of, model_of, sampling_of
from .replies import (
    bad_key,
    no_credit,
    no_model,
    read_answer,
    refused,
    refused_fields,
    server_words,
    too_long,
    unsupported,
)

LARGEST_BODY = 4 * 2**20  # bytes of a response, after decompression
PAID_RETRIES = 2  # of a call that cost tokens and gave no answer


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
        system_prompt=args.system_prompt,
        concurrency=args.concurrency,
        max_retries=args.max_retries,
        timeout=args.timeout,
    )


def _checked_url(base_url: str) -> str:
    """The address of an endpoint. Raises InputError, which never repeats a secret in it."""
    if "@" in base_url:
        raise InputError(
            "--base_url has a user name or password in it. Leave it out: the key goes to the environment variable "
            "OPENAI_API_KEY."
        )
    try:
        url = urlsplit(base_url)
        is_address = url.scheme in ("http", "https") and url.hostname and url.port != 0
        is_address = is_address and base_url.isprintable() and " " not in base_url
    except ValueError:  # a port that is no number, half of an IPv6 address
        is_address = False
    if not is_address or url.query or url.fragment:
        raise InputError(
            f"--base_url {base_url.partition('?')[0]}: is not the address of an endpoint. Give one such as "
            "http://127.0.0.1:8000/v1, without a query."
        )
    return base_url


def _key() -> str:
    """The API key, or "" without one. Raises InputError, which does not repeat it."""
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not (key.isascii() and key.isprintable()):
        raise InputError("OPENAI_API_KEY has a line break or a letter that no key has. Set it again.")
    return key


def _place(location: str) -> str:
    """Where a redirect points, without what may be secret."""
    url = urlsplit(location)
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}" if url.netloc else url.path


def _bounded_client(timeout: float, concurrency: int) -> Any:
    """The official client's HTTP client, which ends a call in `timeout` seconds and at `LARGEST_BODY` bytes.

    Its own timeouts bound the wait for the next byte only, and it would read a body of any size. Redirects are not
    followed: they could carry the key to another host.
    """
    import aiohttp
    import openai

    default: Any = openai.DEFAULT_CONNECTION_LIMITS
    http: Any = importlib.import_module(type(default).__module__.partition(".")[0])  # httpx2; before that, httpx

    class BodyTooLarge(http.ReadError):
        pass

    class BoundedClient(openai.DefaultAioHttpClient):  # type: ignore[name-defined, misc]
        async def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
            try:
                return await asyncio.wait_for(self._read(request, options), timeout)
            except asyncio.TimeoutError as error:  # noqa: UP041 (not the built-in one before Python 3.11)
                raise http.ReadTimeout("the deadline of the call", request=request) from error
            except aiohttp.ClientError:  # what the transport lets through: no HTTP. Its text holds the key's header
                raise http.ReadError("not an HTTP response", request=request) from None

        async def _read(self, request: Any, options: dict) -> Any:
            response = await super().send(request, stream=True, **options)
            try:
                body = bytearray()
                async for piece in response.aiter_bytes():  # decompressed, at most 1 MiB at once
                    body += piece
                    if len(body) > LARGEST_BODY:
                        raise BodyTooLarge("the body is too large", request=request)
            finally:
                await response.aclose()
            coding = ("content-encoding", "content-length", "transfer-encoding")
            headers = [(name, value) for name, value in response.headers.multi_items() if name not in coding]
            if response.status_code == 429 and no_credit(_parsed(bytes(body))):
                headers.append(("x-should-retry", "false"))  # the client obeys; it would wait and ask again
            return http.Response(response.status_code, headers=headers, content=bytes(body), request=request)

    limits = type(default)(max_connections=concurrency, max_keepalive_connections=concurrency)
    return BoundedClient(timeout=timeout, limits=limits, follow_redirects=False)


class OpenAIGenerator:
    """The official async client. The key comes from `OPENAI_API_KEY` only, and is never written anywhere.

    429 (with `Retry-After`), 408, 409, 5xx, time-outs, bodies over `LARGEST_BODY` and dropped connections are retried
    by the client itself, with jittered exponential back-off; bodies that are not a chat completion are retried here,
    within the same budget.

    Args:
        model: its name at the endpoint.
        base_url: the endpoint; without it `OPENAI_BASE_URL`, or OpenAI's.
        sampling: as the fields of a request.
        system_prompt: what the model is told before each prompt.
        concurrency: how many connections at most.
        max_retries: how often a call is repeated.
        timeout: seconds for one call, from connecting to the last byte.

    Raises:
        InputError: the address, the key or a number cannot be right, or the client is not installed.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        *,
        sampling: dict | None = None,
        system_prompt: str | None = None,
        concurrency: int = 64,
        max_retries: int = 8,
        timeout: float = 120.0,
    ):
        check_range("--max_retries", max_retries, 0, 1000)
        check_range("--timeout", timeout, 0.001, 86_400)
        if base_url is None:
            base_url = os.environ.get("OPENAI_BASE_URL") or None
        if base_url is not None:
            base_url = _checked_url(base_url)
        self._key = _key()
        try:
            import aiohttp  # noqa: F401 (the client's transport)
            import openai
        except ImportError as error:
            raise InputError(
                f"--generator openai needs the package {error.name}: pip install 'paraclip[generate]'"
            ) from error
        self._fields = dict(sampling or {})
        self._system_prompt = system_prompt
        self.identity = identity_of(model, self._fields, system_prompt)
        self.sampling = self._fields | ({"system_prompt": system_prompt} if system_prompt else {})
        self.max_tokens = limit_of(self._fields)
        self.retried = 0
        try:
            json.dumps(self.request_body(""), allow_nan=False, ensure_ascii=False).encode()
        except ValueError as error:  # half of a surrogate pair, NaN
            raise InputError(
                f"--model, --system_prompt or --extra_body holds what no request can: {printable(error)}."
            ) from error
        self._max_retries = max_retries
        try:
            self._client = openai.AsyncOpenAI(
                api_key=self._key or "none",  # most local servers want no key, but the client insists on one
                base_url=base_url,
                max_retries=max_retries,
                timeout=timeout,
                http_client=_bounded_client(timeout, concurrency),
            )
        except Exception as error:  # httpx's InvalidURL has no class in common with anything
            if type(error).__name__ != "InvalidURL":
                raise
            raise InputError(f"--base_url {base_url}: is not the address of an endpoint: {error}.") from error

    def messages(self, prompt: str) -> list[dict[str, str]]:
        """The turns of the chat that a request holds."""
        return messages_of(prompt, self._system_prompt)

    def request_body(self, prompt: str) -> dict[str, Any]:
        """The body of a request, as it is sent."""
        return {"messages": self.messages(prompt), "model": self.identity["model"], **self._fields}

    async def generate(self, prompt: str, text: str, step: int) -> Answer:
        """One answer. Raises CallFailed (worth another run) or Fatal (no call can succeed)."""
        for attempt in itertools.count():
            body = await self._post(prompt)
            try:
                answer = read_answer(body, self._key)
                if len(self._key) >= 8 and self._key in answer.text:  # a shorter one is a dummy such as EMPTY
                    raise CallFailed("malformed answer")  # the key must not be stored
                return answer
            except CallFailed as error:
                paid = isinstance(body, dict) and "usage" in body
                if attempt >= (min(self._max_retries, PAID_RETRIES) if paid else self._max_retries):
                    raise CallFailed(self._without_key(str(error)), error.said) from error
            self.retried += 1
            await asyncio.sleep(min(0.5 * 2**attempt, 8.0))
        raise AssertionError("the loop above returns or raises")

    async def _post(self, prompt: str) -> Any:
        """The body of the response to one request, parsed where it is JSON."""
        import openai

        try:
            # chat.completions.create() spends a third of its time on typing a body that is plain already
            response: Any = await self._client.post(
                "/chat/completions",
                cast_to=object,
                body=self.request_body(prompt),
                options={"headers": {"X-Stainless-Raw-Response": "true"}},  # as with_raw_response sets it
            )
            self.retried += response.retries_taken
        except openai.APITimeoutError as error:
            # the aiohttp transport calls a refused connection a time-out too
            unreachable = type(error.__cause__).__name__ == "ConnectTimeout"
            raise CallFailed("no connection" if unreachable else "time-out") from error
        except openai.APIConnectionError as error:
            too_large = type(error.__cause__).__name__ == "BodyTooLarge"
            raise CallFailed("body too large" if too_large else "no connection") from error
        except openai.APIStatusError as error:
            response = error.response  # what it means is said below: the error's own text may repeat the key
        body = _parsed(response.content)
        if response.status_code >= 300 and not refused(body):
            raise self._failure(response, body, prompt)
        return body

    def _failure(self, response: Any, body: Any, prompt: str) -> CallFailed | Fatal:
        """What a response with an error's status means for the job."""
        status, model = response.status_code, self.identity["model"]
        said = server_words(body, self._key)
        if response.has_redirect_location:
            place = self._without_key(_place(response.headers["location"]))
            return Fatal(
                f"The endpoint redirects ({status}) to {place}. Redirects are not followed, as the key could go "
                "astray: give the final address as --base_url."
            )
        problem = ""
        if status == 401 or (status == 400 and bad_key(body)):
            problem = f"The endpoint refuses the key ({status}): set OPENAI_API_KEY in the environment."
        elif status == 402 or no_credit(body):
            problem = f"Nobody pays for more calls ({status}). Give the same command again when that is settled."
        elif status == 403:
            problem = f"The key may not use {model} (403): choose another --model."
        elif status == 404:
            problem = (
                f"The endpoint has no such model or address (404): check --model {model} and --base_url "
                f"{self._client.base_url} (it usually ends in /v1)."
            )
        elif status in (400, 422) and too_long(body):
            return CallFailed("too long for the model", said)
        elif status in (400, 422) and no_model(body):
            problem = f"The endpoint has no such model ({status}): check --model {model}."
        elif status in (400, 422) and ((names := refused_fields(body, prompt, self._fields)) or unsupported(body)):
            others: dict[str, Any] = dict.fromkeys(names)
            if "max_tokens" in names and "max_completion_tokens" in said:
                others["max_completion_tokens"] = self.max_tokens
            remedy = f", e.g. --extra_body '{json.dumps(others)}'" if others else " (--extra_body)"
            problem = f"The endpoint refuses a field of the request ({status}). Leave it out or change it{remedy}."
        return Fatal(f"{problem} It says: {said}") if problem else CallFailed(f"status {status}", said)

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def _parsed(content: bytes) -> Any:
    """The JSON in a response, or else its text."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return content.decode(errors="replace")
