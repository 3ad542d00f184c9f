"""Endpoints that lie, drip, flood, redirect or say nothing; the key and the answers that were paid for are safe."""

from __future__ import annotations

import gzip
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from .box import SECRET_KEY, Box, Case, Listener, Result, raw_server, refused

HOSTILE = "\x1b]0;evil\x07\x1b[2J\u202eevil"
Talk = Callable[[socket.socket, bytes], None]


def _job(box: Box, url: str, *more: object) -> Result:
    Path("captions.txt").write_text("a red dog on the road\ntwo cats in a big house\na man rides a small bike\n")
    return box.corpus(
        "paraphrase",
        "--captions",
        "captions.txt",
        "--output",
        "corpus",
        "--generator",
        "openai",
        "--base_url",
        url,
        "--model",
        "m",
        "--max_retries",
        1,
        "--timeout",
        2,
        "--concurrency",
        2,
        *more,
    )


def _answered(
    body: bytes, head: bytes = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n", length: int | None = None
) -> Talk:
    """Say this body with a right (or given) length."""

    def talk(connection: socket.socket, _: bytes) -> None:
        size = len(body) if length is None else length
        connection.sendall(head + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % size + body)

    return talk


def _completion(content: object, **more: object) -> bytes:
    return json.dumps(
        {"choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": "stop", **more}]}
    ).encode()


def _status(code: int, body: bytes = b'{"error": {"message": "no"}}', more: bytes = b"") -> Talk:
    return _answered(body, b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\n%s" % (code, more))


def _drip(connection: socket.socket, _: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(40):
        connection.sendall(b" ")
        time.sleep(0.5)


def _drip_head(connection: socket.socket, _: bytes) -> None:
    for letter in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 60:
        connection.sendall(bytes([letter]))
        time.sleep(0.5)


def _endless(connection: socket.socket, _: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while True:
        connection.sendall(b" " * 2**20)


def _endless_chunks(connection: socket.socket, _: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"100000\r\n" + b" " * 2**20 + b"\r\n")


def _endless_head(connection: socket.socket, _: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X: " + b"x" * 8000 + b"\r\n")


def _bomb() -> Talk:
    return _answered(
        gzip.compress(bytes(2**31 - 1), 1),
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n",
    )


def _echo(connection: socket.socket, request: bytes) -> None:
    _answered(_completion(request.decode(errors="replace")))(connection, request)


def _echo_error(connection: socket.socket, request: bytes) -> None:
    _status(400, json.dumps({"error": {"message": request.decode(errors="replace")}}).encode())(connection, request)


def _echo_status(code: int) -> Talk:
    def talk(connection: socket.socket, request: bytes) -> None:
        _status(code, json.dumps({"error": {"message": request.decode(errors="replace")}}).encode())(
            connection, request
        )

    return talk


def _close(connection: socket.socket, _: bytes) -> None:
    connection.close()


def _silent(connection: socket.socket, _: bytes) -> None:
    time.sleep(30)


TALKS: dict[str, Callable[[], Talk]] = {
    "drips its body": lambda: _drip,
    "drips its head": lambda: _drip_head,
    "is silent": lambda: _silent,
    "closes": lambda: _close,
    "sends without end": lambda: _endless,
    "sends chunks without end": lambda: _endless_chunks,
    "sends headers without end": lambda: _endless_head,
    "sends a gzip bomb": _bomb,
    "echoes the request": lambda: _echo,
    "echoes the request as an error": lambda: _echo_error,
    **{f"echoes the request with {c}": (lambda c=c: _echo_status(c)) for c in (401, 403, 404, 429, 500)},
    **{
        f"says {c}": (lambda c=c: _status(c))
        for c in (
            100,
            101,
            204,
            206,
            300,
            301,
            304,
            307,
            400,
            401,
            402,
            403,
            404,
            405,
            408,
            409,
            410,
            413,
            415,
            418,
            422,
            429,
            451,
            500,
            501,
            502,
            503,
            504,
            511,
            599,
            600,
            999,
        )
    },
    **{
        f"says {c} in HTML": (
            lambda c=c: _answered(
                b"<html>" + HOSTILE.encode() + b"</html>", b"HTTP/1.1 %d X\r\nContent-Type: text/html\r\n" % c
            )
        )
        for c in (200, 400, 401, 404, 500)
    },
    **{f"says {c} without a body": (lambda c=c: _status(c, b"")) for c in (200, 400, 401, 404, 500)},
    **{
        f"says Retry-After {v!r}": (lambda v=v: _status(429, more=b"Retry-After: " + v.encode() + b"\r\n"))
        for v in ("-1", "nan", "inf", "x", "1e9", "99999999999999", "Thu, 01 Jan 2099 00:00:00 GMT")
    },
    **{
        f"answers with {n}": (lambda b=b: _answered(b))
        for n, b in {
            "HTML": b"<html></html>",
            "nothing": b"",
            "null": b"null",
            "a number": b"7",
            "a list": b"[]",
            "an empty object": b"{}",
            "half": _completion("a dog")[:40],
            "no choices": b'{"choices": []}',
            "choices null": b'{"choices": null}',
            "choices a text": b'{"choices": "x"}',
            "no message": b'{"choices": [{}]}',
            "message null": b'{"choices": [{"message": null}]}',
            "content null": _completion(None),
            "content a number": _completion(7),
            "content a list": _completion([{"type": "text", "text": "a dog"}]),
            "content an object": _completion({"a": 1}),
            "content empty": _completion(""),
            "content hostile": _completion(HOSTILE + " dog"),
            "content the key": _completion(SECRET_KEY + " dog on the road"),
            "content a surrogate": b'{"choices": [{"message": {"content": "\\ud800 dog"}}]}',
            "content NUL": _completion("a\0 dog"),
            "content of 20 MB": _completion("dog " * 5_000_000),
            "content of one long word": _completion("d" * 5_000_000),
            "content Jinja": _completion("{{ 7*191 }} dog"),
            "not UTF-8": b'{"choices": [{"message": {"content": "\xff\xfe"}}]}',
            "UTF-16": _completion("a dog").decode().encode("utf-16"),
            "nested": b"[" * 100_000,
            "nested objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
            "closed nesting": b"[" * 100_000 + b"]" * 100_000,
            "digits": b'{"choices": ' + b"9" * 5000 + b"}",
            "NaN": b"NaN",
            "two bodies": _completion("a dog") * 2,
            "an error with 200": b'{"error": {"message": "no"}}',
            "an event stream": b"data: {}\n\ndata: [DONE]\n\n",
            "finish_reason a number": _completion("a dog on a road", finish_reason=7),
            "finish_reason hostile": _completion("a dog on a road", finish_reason=HOSTILE),
            "finish_reason a list": _completion("a dog", finish_reason=[1]),
            **{
                f"usage {n}": json.dumps(
                    {"choices": [{"message": {"content": "a crimson hound on a street"}}], "usage": u}
                ).encode()
                for n, u in {
                    "a list": [1],
                    "a text": "x",
                    "negative": {"prompt_tokens": -5},
                    "huge": {"prompt_tokens": 10**30},
                    "a fraction": {"prompt_tokens": 1.5},
                    "texts": {"prompt_tokens": "x"},
                    "true": {"prompt_tokens": True},
                }.items()
            },
        }.items()
    },
    "claims a longer body": lambda: _answered(_completion("a dog"), length=10_000),
    "claims a shorter body": lambda: _answered(_completion("a dog"), length=5),
    "claims a negative length": lambda: _answered(_completion("a dog"), length=-5),
    "claims 2**63 bytes": lambda: _answered(_completion("a dog"), length=2**63),
    "speaks no HTTP": lambda: lambda c, _: c.sendall(b"SSH-2.0-OpenSSH\r\n"),
    "speaks HTTP/9": lambda: lambda c, _: c.sendall(b"HTTP/9.9 200 OK\r\n\r\n"),
    "sends NULs": lambda: lambda c, _: c.sendall(bytes(10_000)),
    "sends TLS": lambda: lambda c, _: c.sendall(b"\x15\x03\x01\x00\x02\x02\x28"),
    "claims gzip": lambda: _answered(_completion("a dog"), b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"),
    "claims an unknown encoding": lambda: _answered(
        _completion("a dog"), b"HTTP/1.1 200 OK\r\nContent-Encoding: evil\r\n"
    ),
    "sends a bad chunk": lambda: (
        lambda c, _: c.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nx\r\n")
    ),
    "sets a cookie": lambda: _answered(
        _completion("a crimson hound"), b"HTTP/1.1 200 OK\r\nSet-Cookie: evil=1; Domain=.evil\r\n"
    ),
    "sends hostile headers": lambda: _answered(
        _completion("a dog"), b"HTTP/1.1 200 \x1b]0;evil\x07\r\nX: \x1b]0;evil\x07\r\n"
    ),
}


def _talking(make: Callable[[], Talk], *more: object):
    def run(box: Box) -> Result:
        with raw_server(make()) as url:
            return _job(box, f"{url}/v1", *more)

    return run


def _accounted(box: Box, result: Result) -> str:
    """All three rows have a status in the journal, or the job stopped with a sentence; nothing bad is an answer."""
    import sqlite3

    if not result.ended:
        return refused()(box, result)
    from dataset_builder.corpus import statistics

    info = statistics("corpus")
    if sum(info["rows"].values()) != 3:
        return f"rows {info['rows']}"
    with sqlite3.connect("corpus/journal.sqlite") as db:
        done = db.execute("SELECT paraphrase_1, paraphrase_2 FROM rows WHERE status = 'done'").fetchall()
    if any(SECRET_KEY in text or "\x1b" in text or len(text) > 1000 for row in done for text in row):
        return f"a hostile answer is in the corpus: {done!r:.300}"
    return ""


def _redirected(code: int, to_path: str, other: bool):
    """A redirection, to another host or the same: the key goes to nobody else."""

    def run(box: Box) -> Result:
        with ExitStack() as stack:
            target = stack.enter_context(
                Listener(200, _completion("a crimson hound on a street"), {"Content-Type": "application/json"})
            )
            address = target.url.replace("127.0.0.1", "localhost") if other else target.url
            first = stack.enter_context(Listener(code, b"", {"Location": address + to_path}))
            result = _job(box, f"{first.url}/v1")
            box.sent = [dict(headers) for headers in target.headers]
        return result

    return run


def _key_stayed(box: Box, result: Result) -> str:
    if any(SECRET_KEY in value for headers in box.sent for value in headers.values()):
        return "the key was sent to another host"
    return _accounted(box, result)


def _addressed(url: str):
    return lambda box: _job(box, url)


def _with_credentials(box: Box) -> Result:
    """A password in the address must not appear anywhere."""
    with Listener(500, b"{}") as listener:
        url = listener.url.replace("http://", "http://user:PLANTED-FILE-51423@")
        return _job(box, f"{url}/v1")


def _proxy(box: Box) -> Result:
    """An answer that tells to go on elsewhere for the next call."""
    import os

    with Listener(502) as proxy, Listener(200, _completion("a crimson hound on a street")) as endpoint:
        os.environ["NO_PROXY"] = ""
        os.environ["HTTP_PROXY"] = proxy.url
        return _job(box, f"{endpoint.url}/v1")


def _without_key(value: str | None):
    def run(box: Box) -> Result:
        import os

        os.environ.pop("OPENAI_API_KEY")
        if value is not None:
            os.environ["OPENAI_API_KEY"] = value
        with Listener(
            200, _completion("a crimson hound on a street"), {"Content-Type": "application/json"}
        ) as endpoint:
            return _job(box, f"{endpoint.url}/v1")

    return run


def _resumed(make: Callable[[], Talk]):
    """After a run against this endpoint a good one finishes: nothing that failed was taken for an answer."""

    def run(box: Box) -> Result:
        from tests.endpoint_double import EndpointDouble

        with raw_server(make()) as url:
            _job(box, f"{url}/v1", "--timeout", 1, "--max_retries", 0)
        with EndpointDouble() as endpoint:
            return _job(box, endpoint.url)

    return run


def _all_done(box: Box, result: Result) -> str:
    from dataset_builder.corpus import statistics

    if result.status:
        return f"the good run ends with {result.message[:300]}"
    rows = statistics("corpus")["rows"]
    return "" if rows == {"done": 3} else f"rows {rows}"


def cases(args) -> Iterator[Case]:
    """Each endpoint; some of them again, followed by a good one."""
    for name, make in TALKS.items():
        yield Case("endpoints", name, _talking(make), _accounted)
    for name in (
        "is silent",
        "closes",
        "says 500",
        "says 401",
        "says 404",
        "says 429",
        "answers with HTML",
        "answers with half",
        "answers with nested",
        "answers with digits",
        "speaks no HTTP",
        "claims a longer body",
        "answers with an error with 200",
        "answers with no choices",
        "answers with not UTF-8",
        "sends a bad chunk",
        "claims gzip",
    ):
        yield Case("endpoints", f"{name}, then a good one", _resumed(TALKS[name]), _all_done)
    for code in (301, 302, 303, 307, 308):
        for path in ("/v1/chat/completions", "/"):
            yield Case(
                "endpoints",
                f"redirects with {code} to {path} of another host",
                _redirected(code, path, True),
                _key_stayed,
            )
        yield Case(
            "endpoints",
            f"redirects with {code} to another port",
            _redirected(code, "/v1/chat/completions", False),
            _key_stayed,
        )
    for location in (
        "file:///etc/passwd",
        "//127.0.0.1:9/x",
        "javascript:alert(1)",
        "",
        "/" * 10_000,
        "/v1/chat/completions",
    ):
        yield Case(
            "endpoints",
            f"redirects to {location[:20]!r}",
            _talking(lambda loc=location: _status(307, more=b"Location: " + loc.encode() + b"\r\n")),
            _accounted,
        )
    for url in (
        "",
        "x",
        "http://",
        "http://127.0.0.1:9/v1",
        "http://127.0.0.1:99999/v1",
        "ftp://127.0.0.1/v1",
        "file:///etc/passwd",
        "http://[::1",
        "https://127.0.0.1:9",
        "http://127.0.0.1:9/" + "x" * 10_000,
        "http://\x1b]0;evil\x07/",
        "http://127.0.0.1:9/v1?key=x#y",
        "http://localhost:9",
        "unix:///tmp/x",
        "127.0.0.1:9",
        "http://\u202eevil/",
        "http://127.0.0.1:-1/",
    ):
        yield Case("endpoints", f"address {url[:30]!r}", _addressed(url), _accounted)
    yield Case("endpoints", "a password in the address", _with_credentials, _accounted)
    yield Case("endpoints", "a proxy that refuses", _proxy, _accounted)
    for value in (None, "", " ", "key with spaces", "sk-\x1b]0;evil\x07", "sk-\nX: evil", "sk-é", "x" * 100_000):
        yield Case("endpoints", f"key {value if value is None else value[:20]!r}", _without_key(value), _accounted)
