"""The endpoint client: what is retried, what fails, what stops the job."""

import gzip
import logging
import sqlite3

import pytest
from aiohttp import web

from benchmarks.kill import expected
from dataset_builder import InputError
from dataset_builder.generators import Fatal
from dataset_builder.generators.openai import LARGEST_BODY, OpenAIGenerator
from tests.endpoint_double import EndpointDouble, completion, drip, response

from .jobs import finished, run, source


def test_faults_are_retried_and_change_nothing(tmp_path):
    with EndpointDouble(fault=0.3, seed=1) as endpoint:
        progress = run(source(40), tmp_path, endpoint, concurrency=20)
    assert finished(tmp_path) == expected(source(40))
    assert progress.retried > 10


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("{not json", "malformed answer"),
        ("null", "malformed answer"),
        ("[]", "malformed answer"),
        ("{}", "malformed answer"),
        ('{"choices": []}', "malformed answer"),
        ('{"choices": [{}]}', "malformed answer"),
        ('{"choices": [{"message": null}]}', "malformed answer"),
        ('{"choices": [{"message": {"content": 3}}]}', "malformed answer"),
        ("<html>gateway</html>", "malformed answer"),
        ('{"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": 1e400}}', "malformed answer"),
        ('{"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": "many"}}', "malformed answer"),
        ('{"choices": [{"message": {"content": "x"}}], "usage": 7}', "malformed answer"),
        ('{"choices": [{"message": {"content": "x"}, "finish_reason": {"a": 1}}]}', "malformed answer"),
        ("[" * 100_000, "malformed answer"),
    ],
)
def test_malformed_bodies(body, reason, tmp_path):
    with EndpointDouble(lambda _: web.Response(text=body, content_type="application/json")) as endpoint:
        progress = run(source(1), tmp_path, endpoint, max_retries=0)
    assert progress.reasons == {f"step 1: {reason}": 1}
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        assert db.execute("SELECT COUNT(*) FROM answers").fetchone() == (0,)  # an error is no answer


def test_time_out_and_dead_endpoint(tmp_path):
    with EndpointDouble() as endpoint:
        endpoint.allowed = 0
        (reason,) = run(source(1), tmp_path, endpoint, max_retries=0, timeout=1).reasons
        assert reason in ("step 1: time-out", "step 1: no connection")  # on a slow machine even connecting takes 1 s
    progress = run(source(1), tmp_path, endpoint, max_retries=0)
    assert progress.reasons == {"step 1: no connection": 1}
    with pytest.raises(Fatal, match="failed one after another, the last with 'step 1: no connection'"):
        run(source(1000), tmp_path, endpoint, max_retries=0)  # not a thousand failures


@pytest.mark.parametrize(
    ("status", "remedy"), [(401, "OPENAI_API_KEY"), (403, "another --model"), (404, "--base_url")]
)
def test_what_no_retry_can_fix_stops_at_once(status, remedy, tmp_path):
    with EndpointDouble(lambda _: response({"error": "no"}, status=status)) as endpoint:
        with pytest.raises(Fatal, match=remedy):
            run(source(500), tmp_path, endpoint)
        assert endpoint.requests < 50


def answers_in(folder):
    with sqlite3.connect(folder / "journal.sqlite") as db:
        return db.execute("SELECT text FROM answers").fetchall()


def test_the_time_out_ends_a_call_that_drips(tmp_path):
    """Without a deadline for the whole call this test never ends."""
    with EndpointDouble(lambda _: drip) as endpoint:
        progress = run(source(1), tmp_path, endpoint, max_retries=1, timeout=0.5)
        assert endpoint.requests == 2
    assert progress.reasons == {"step 1: time-out": 1}
    assert not answers_in(tmp_path)


def test_what_is_no_http_is_a_failed_call(tmp_path):
    async def garbage(request):
        request.transport.write(b"garbage\r\n\r\n")
        request.transport.close()
        return web.Response()

    with EndpointDouble(lambda _: garbage) as endpoint:
        assert run(source(1), tmp_path, endpoint, max_retries=0).reasons == {"step 1: no connection": 1}


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("coding", ["identity", "gzip", "gzip, gzip"])
def test_a_body_is_read_up_to_a_limit_after_decompression(coding, status, tmp_path):
    body = b" " * (LARGEST_BODY + 1)
    for _ in range(coding.count("gzip")):
        body = gzip.compress(body)
    large = web.Response(body=body, status=status, headers={"Content-Encoding": coding})
    with EndpointDouble(lambda _: large) as endpoint:
        progress = run(source(1), tmp_path, endpoint, max_retries=0)
    assert progress.reasons == {"step 1: body too large": 1}
    assert not answers_in(tmp_path)


def test_compressed_answers_are_read(tmp_path):
    def answer(prompt):
        zipped = response(completion("a hound near number 100"))
        zipped.enable_compression(web.ContentCoding.gzip)
        return zipped

    with EndpointDouble(answer) as endpoint:
        run(source(1), tmp_path, endpoint)
    assert answers_in(tmp_path)[0] == ("a hound near number 100",)


def test_a_redirect_is_named_and_never_followed(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    with EndpointDouble() as other:
        place = f"{other.url}/chat/completions/sk-very-secret"
        moved = response({}, status=307, Location=place.replace("//", "//me:word@") + "?token=1")
        with EndpointDouble(lambda _: moved) as endpoint, pytest.raises(Fatal) as refused:
            run(source(3), tmp_path, endpoint)
        assert other.requests == 0
    assert f"redirects (307) to {other.url}/chat/completions/***. " in str(refused.value)


@pytest.mark.parametrize(
    ("base_url", "message"),
    [
        ("http://me:sk-pass@host/v1", "OPENAI_API_KEY"),
        ("http://me:sk-pass@[::1", "OPENAI_API_KEY"),
        ("me:sk-pass@host/v1", "OPENAI_API_KEY"),
        ("http://host/v1?key=sk-pass", "without a query"),
        ("ftp://host/v1", "ftp://host/v1: is not the address"),
        ("file:///etc/passwd", "is not the address"),
        ("host:8000/v1", "is not the address"),
        ("http:///v1", "is not the address"),
        ("http://host:port/v1", "is not the address"),
        ("http://ho st/v1", "is not the address"),
        ("http://host\n/v1", "is not the address"),
        ("", "is not the address"),
    ],
)
def test_addresses_that_cannot_be_right_are_refused(base_url, message):
    with pytest.raises(InputError, match=message) as refused:
        OpenAIGenerator("m", base_url)
    assert "sk-pass" not in str(refused.value)


@pytest.mark.parametrize("key", ["sk-a\nb", "sk-ü"])
def test_a_key_that_cannot_be_sent_is_refused(key, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(InputError, match="Set it again") as refused:
        OpenAIGenerator("m")
    assert "sk-" not in str(refused.value)


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 429, 500])
def test_an_endpoint_that_echoes_the_key_plants_it_nowhere(status, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    caplog.set_level(logging.DEBUG)
    told = ""
    with EndpointDouble(lambda _: response(completion("your key is sk-very-secret"), status=status)) as endpoint:
        try:
            told = str(run(source(2), tmp_path, endpoint, max_retries=0).reasons)
        except Fatal as error:
            told = str(error)
    assert told
    assert "sk-very-secret" not in told + caplog.text
    for file in tmp_path.iterdir():
        assert b"sk-very-secret" not in file.read_bytes(), file
