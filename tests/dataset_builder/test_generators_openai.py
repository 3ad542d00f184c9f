"""The endpoint client: what is retried, what fails, what stops the job."""

import sqlite3

import pytest
from aiohttp import web

from benchmarks.kill import expected
from dataset_builder.generators import Fatal
from tests.endpoint_double import EndpointDouble, response

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
