"""An OpenAI-compatible endpoint on loopback: deterministic answers, with delays and faults on request."""

import asyncio
import json
import random
import re
import threading
from collections.abc import Callable

from aiohttp import web

WORDS = ("someone", "notices", "perhaps", "quietly", "today", "here", "indeed", "clearly")


def reword(prompt: str) -> str:
    """What the double answers: the quoted text of the prompt after a word that depends on it."""
    text = re.search(r'"(.*)"', prompt, re.DOTALL)[1]
    return f"{WORDS[sum(map(ord, text)) % len(WORDS)]} {text}"


class EndpointDouble:
    """`with EndpointDouble() as endpoint:` serves chat completions at `endpoint.url` (with /v1).

    Args:
        answer: prompt -> the message's content, or a `web.Response` to send instead, or an async function
            (request) -> response, which may take its time (see `endpoints_of_today`).
        latency: seconds before an answer; with `jitter` a random share of it.
        fault: share of the requests that get a fault instead: 429, 503, a dropped connection or a malformed body.
        hold: answer nothing until so many requests are in flight at once.
        dies_after: after so many answers drop the next request and every connection, and listen again a moment later.

    Requests after the first `allowed` (None: no limit) get no answer at all; a test may change it at any time.

    `answered` lists the prompts that got an answer, in order; `requests` counts all.
    """

    def __init__(
        self,
        answer: Callable = reword,
        latency: float = 0.0,
        jitter: bool = False,
        fault: float = 0.0,
        seed: int = 0,
        hold: int = 0,
        dies_after: int | None = None,
    ):
        self.answer, self.latency, self.jitter, self.fault = answer, latency, jitter, fault
        self.hold, self.dies_after = hold, dies_after
        self.allowed: int | None = None
        self.answered: list[str] = []
        self.requests = self.in_flight = self.most_in_flight = 0
        self.headers: list[dict] = []
        self._rng = random.Random(seed)

    def __enter__(self):
        self._loop = asyncio.new_event_loop()
        self._full, self._stopping = asyncio.Event(), asyncio.Event()
        started = threading.Event()

        async def serve():
            await self._serve(0)
            started.set()

        def run():
            self._loop.run_until_complete(serve())
            self._loop.run_forever()

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        started.wait()
        return self

    def __exit__(self, *_):
        async def stop():
            self._full.set()
            self._stopping.set()
            await asyncio.sleep(0.01)  # the held requests end
            await self._runner.cleanup()
            self._loop.stop()

        asyncio.run_coroutine_threadsafe(stop(), self._loop)
        self._thread.join()

    async def _serve(self, port: int) -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._complete)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port, backlog=1024)
        await site.start()
        self._port = site._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}/v1"

    async def _die(self) -> None:
        await self._runner.cleanup()
        await asyncio.sleep(0.3)
        await self._serve(self._port)

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            body = await request.json()
            self.headers.append(dict(request.headers))
            prompt = body["messages"][-1]["content"]
            if self.in_flight >= self.hold:
                self._full.set()
            await self._full.wait()
            if self.allowed is not None and self.requests > self.allowed:
                await self._stopping.wait()
                return web.Response(status=503)
            delay = self.latency * (self._rng.random() if self.jitter else 1)
            if delay:
                await asyncio.sleep(delay)
            if self._rng.random() < self.fault:
                return self._fault(request)
            if self.dies_after is not None and len(self.answered) >= self.dies_after:
                self.dies_after = None
                self._death = asyncio.create_task(self._die())
                return self._dropped(request)
            answer = self.answer(prompt)
            if callable(answer):
                sent = await answer(request)
            else:
                sent = answer if isinstance(answer, web.Response) else web.json_response(completion(answer))
            if sent.status == 200:
                self.answered.append(prompt)
            return sent
        finally:
            self.in_flight -= 1

    @staticmethod
    def _dropped(request: web.Request) -> web.Response:
        if request.transport is not None:  # the client may have gone already
            request.transport.close()
        return web.Response()

    def _fault(self, request: web.Request) -> web.Response:
        kind = self._rng.randrange(4)
        if kind == 0:
            return web.json_response({"error": "slow down"}, status=429, headers={"Retry-After": "0.01"})
        if kind == 1:
            return web.json_response({"error": "overloaded"}, status=503, headers={"Retry-After": "0.01"})
        if kind == 2:
            return self._dropped(request)
        return web.Response(text="{not json", content_type="application/json")


async def drip(request: web.Request) -> web.StreamResponse:
    """A response that never ends: some white space, again and again."""
    dripping = web.StreamResponse()
    await dripping.prepare(request)
    while True:
        await dripping.write(b" ")
        await asyncio.sleep(0.02)


def completion(text: str | None, finish_reason: str = "stop") -> dict:
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "double",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": finish_reason,
                "logprobs": None,
            }
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }


def response(body: object, status: int = 200, **headers: str) -> web.Response:
    return web.Response(text=json.dumps(body), status=status, content_type="application/json", headers=headers)


def chat(content="a hound", finish_reason="stop", **message):
    """A completion with more in its message."""
    body = completion(content, finish_reason)
    body["choices"][0]["message"] |= message
    return body
