"""The endpoint client: what is retried, what fails, what stops the job."""

import asyncio
import gzip
import json
import logging
import re
import sqlite3
import traceback

import pytest
from aiohttp import web

from benchmarks.kill import expected
from dataset_builder import InputError, corpus
from dataset_builder import __main__ as cli
from dataset_builder.answers import clean_answer
from dataset_builder.filters import Rejected
from dataset_builder.generators import CallFailed, Fatal, openai
from dataset_builder.generators.openai import LARGEST_BODY, OpenAIGenerator
from dataset_builder.generators.replies import server_words
from dataset_builder.journal import Answer
from tests import endpoints_of_today
from tests.endpoint_double import EndpointDouble, chat, completion, drip, response, reword

from .jobs import command, finished, run, source, write_captions


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


@pytest.mark.parametrize("key", ["sk-a\nb", "sk-ü", "“sk-a”"])
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


@pytest.mark.parametrize(
    "body",
    [
        completion("a hound", "sk-very-secret"),
        completion(None) | {"error": f"{'x' * 140} sk-very-secret {'x' * 200}"},  # where the words are cut
        {"choices": [{"message": {"content": None, "reasoning": f"{'x' * 140} sk-very-secret {'x' * 200}"}}]},
    ],
)
def test_a_failed_call_names_the_key_nowhere(body, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    with EndpointDouble(lambda _: response(body)) as endpoint, pytest.raises(CallFailed) as failed:
        ask(OpenAIGenerator("m", endpoint.url, max_retries=0))
    told = f"{failed.value} {failed.value.said}"
    assert "***" in told
    assert "sk-ve" not in told


@pytest.mark.parametrize("status", [400, 401, 404, 429])
def test_no_traceback_of_a_failure_names_the_key(status, monkeypatch):
    """asyncio prints one where nobody awaits a call any more."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    echo = response({"error": "your key is sk-very-secret"}, status=status)
    with EndpointDouble(lambda _: echo) as endpoint, pytest.raises((CallFailed, Fatal)) as failed:
        ask(OpenAIGenerator("m", endpoint.url, max_retries=0))
    assert "sk-very-secret" not in "".join(traceback.format_exception(failed.value))


# ------------------------------------------------------------------------------------- the endpoints of today
NO_THINKING = ["--extra_body", '{"chat_template_kwargs": {"enable_thinking": false}}']
REASONING = ["--extra_body", '{"temperature": null, "top_p": null, "max_tokens": null, "max_completion_tokens": 512}']


def job(folder, endpoint, *options):
    """(rows by status, rows by reason, what was said at the end) of the command on 20 captions."""
    write_captions(folder, source(20))
    said = ""
    try:
        cli.main(command(folder, endpoint, *options))
    except SystemExit as error:
        said = str(error)
    info = corpus.statistics(folder / "corpus")
    return info["rows"], info["reasons"], said


@pytest.mark.parametrize(
    "served", [{"parser": True}, {"parser": False}, {"parser": False, "opened_by_template": True}]
)
def test_vllm_with_a_thinking_model(served, tmp_path):
    """Told not to think it writes at once. Else its thoughts are left out, and they need room."""
    with EndpointDouble(lambda _: endpoints_of_today.vllm(**served)) as endpoint:
        rows, _, _ = job(tmp_path, endpoint, *NO_THINKING, "--max_tokens", "40")
        assert rows == {"done": 20}
        quick = finished(tmp_path / "corpus")
        rows, reasons, _ = job(tmp_path, endpoint, "--max_tokens", "40")
        assert (rows, reasons) == ({"rejected": 20}, {"step 1: truncated": 20})
        rows, _, said = job(tmp_path, endpoint)
        assert (rows, said) == ({"done": 20}, "")
    assert finished(tmp_path / "corpus") == quick == expected(source(20))


def test_openai_with_a_model_that_takes_other_parameters(tmp_path, monkeypatch):
    """Each refusal ends the job after a call or a few, in the server's words; the command that they lead to works."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-right")
    with EndpointDouble(lambda _: endpoints_of_today.openai) as endpoint:
        _, _, said = job(tmp_path, endpoint)
        assert "Use 'max_completion_tokens' instead." in said
        leave_out = re.search("--extra_body '(.*?)'", said)[1]
        assert json.loads(leave_out) == {"max_tokens": None, "max_completion_tokens": 512}
        _, _, said = job(tmp_path, endpoint, "--extra_body", leave_out)
        assert "'temperature' does not support 1.0 with this model" in said
        assert """--extra_body '{"temperature": null}'""" in said
        _, _, said = job(tmp_path, endpoint, "--extra_body", leave_out[:-1] + ', "temperature": null}')
        assert "Unrecognized request argument supplied: top_p" in said
        assert endpoint.requests < 3 * 20  # each time those that were in flight
        for _ in range(2):  # a refusal is an answer: it is not asked for again
            rows, reasons, said = job(tmp_path, endpoint, *REASONING)
            assert (rows, reasons) == ({"done": 19, "rejected": 1}, {"step 1: refused": 1})
            assert len(endpoint.answered) == 39
        for model, words in (("m2", "The model `m2` does not exist"), ("m-broke", "You exceeded your current quota")):
            _, _, said = job(tmp_path, endpoint, "--model", model)
            assert words in said
        monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
        _, _, said = job(tmp_path, endpoint, "--seed", "1")
        assert "Incorrect API key provided: sk-wr**ng." in said
        assert "is the endpoint there" not in said


def test_azure_with_a_content_filter(tmp_path):
    with EndpointDouble(lambda _: endpoints_of_today.azure) as endpoint:
        for _ in range(2):
            rows, reasons, said = job(tmp_path, endpoint)
            assert (rows, reasons, said) == ({"done": 18, "rejected": 2}, {"step 1: refused": 2}, "")
            assert endpoint.requests == 38  # what was refused is not asked again


def test_a_server_that_dies_and_comes_back(tmp_path):
    """The job waits for it. What was answered before is neither lost nor paid twice."""
    with EndpointDouble(dies_after=15) as endpoint:
        progress = run(source(20), tmp_path, endpoint)
        assert progress.outcomes == {"done": 20}
        assert progress.retried
        assert len(endpoint.answered) - len(set(endpoint.answered)) <= 8  # answers on their way when it died
    assert finished(tmp_path) == expected(source(20))


def test_a_server_that_is_shut_down_while_it_answers(tmp_path):
    """vLLM ends what it is writing with "abort". Half a sentence is no answer, and is asked for again."""
    asked = []

    def answer(prompt):
        asked.append(prompt)
        cut = asked.count(prompt) == 1
        return response(completion("someone" if cut else reword(prompt), "abort" if cut else "stop"))

    with EndpointDouble(answer) as endpoint:
        assert run(source(3), tmp_path, endpoint).outcomes == {"done": 3}
    assert len(asked) == 12
    assert finished(tmp_path) == expected(source(3))


# --------------------------------------------------------------------------------------------- what an answer is
@pytest.mark.parametrize(
    ("begin", "end"),
    [
        ("<think>", "</think>"),
        ("<seed:think>", "</seed:think>"),
        ("[THINK]", "[/THINK]"),
        ("◁think▷", "◁/think▷"),
        ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
        ("analysis", "assistantfinal"),
        ("<|channel>thought\n", "<channel|>"),
    ],
)
def test_thoughts_in_the_text_of_an_answer(begin, end):
    """Nothing of a thought gets into a corpus, whoever made the model and however the server cuts it."""
    thought = f"{begin}We rephrase it."
    assert clean_answer(f"{thought}{end}a hound runs", "a dog runs") == "a hound runs"
    for cut in (thought, f"{thought}{end}"):
        with pytest.raises(Rejected, match=r"truncated|empty"):
            clean_answer(cut, "a dog runs")


def test_a_call_that_was_paid_and_gave_nothing_is_asked_again_twice_at_most(tmp_path):
    with EndpointDouble(lambda _: response(chat(None))) as endpoint:
        progress = run(source(1), tmp_path, endpoint)
        assert endpoint.requests == 3
    assert progress.reasons == {"step 1: no content": 1}
    assert not answers_in(tmp_path)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ({"error": "slow\x1b[31m\n down"}, "slow\\x1b[31m down"),
        ({"error": {"message": "x" * 1000}}, f"{'x' * 150} ... {'x' * 150}"),
        ({"detail": "Not Found"}, "Not Found"),
        ({"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]},
         "body.seed: Extra inputs are not permitted"),
        ({"error": {"message": "Provider error", "metadata": {"raw": "busy"}}}, "Provider error: busy"),
        ({"error": {"message": "your key sk-1234567 is bad"}}, "your key *** is bad"),
        ([], "[]"),
        (None, "null"),
    ],
)  # fmt: skip
def test_a_servers_words_are_one_printable_line(error, words):
    assert server_words(error, "sk-1234567") == words


# ------------------------------------------------------------------------------- what ends a job and what does not
@pytest.mark.parametrize(
    ("status", "error", "remedy"),
    [
        (400, "Unknown name \"chat_template_kwargs\": Cannot find field.",
         "--extra_body '{\"chat_template_kwargs\": null}'"),
        (422, "`temperature` and `top_p` cannot both be specified for this model.",
         "--extra_body '{\"temperature\": null, \"top_p\": null}'"),
        (400, "property 'seed' is unsupported", "--extra_body '{\"seed\": null}'"),
        (400, {"message": "Not allowed", "param": "seed"}, "--extra_body '{\"seed\": null}'"),
        (400, "max_tokens is too large: 512. This model supports at most 128 completion tokens.",
         "--extra_body '{\"max_tokens\": null}'"),
        (400, {"message": "'minimal' is not supported.", "param": "reasoning.effort", "code": "unsupported_value"},
         "refuses a field of the request"),
        (400, "foo/bar is not a valid model ID", "check --model m"),
        (400, "Model Not Exist", "check --model m"),
        (404, "model 'm' not found", "check --model m"),
        (400, "API key not valid. Please pass a valid API key.", "OPENAI_API_KEY"),
        (401, "No cookie auth credentials found", "OPENAI_API_KEY"),
        (402, "Insufficient Balance", "Nobody pays"),
        (429, {"message": "You exceeded your current quota.", "code": "insufficient_quota"}, "Nobody pays"),
        (403, "Access denied", "another --model"),
    ],
)  # fmt: skip
def test_what_no_prompt_can_pass_ends_the_job_in_the_servers_words(status, error, remedy):
    sampling = {"temperature": 1.0, "top_p": 0.1, "max_tokens": 512, "seed": 0, "chat_template_kwargs": {}}
    with EndpointDouble(lambda _: response({"error": error}, status=status)) as endpoint:
        with pytest.raises(Fatal) as fatal:
            ask(OpenAIGenerator("m", endpoint.url, sampling=sampling), "Paraphrase the caption")
        assert endpoint.requests == 1
    assert remedy in str(fatal.value)
    assert str(fatal.value).endswith(f"It says: {error if isinstance(error, str) else error['message']}")


@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [
        (400, {"message": "Reduce the length.", "code": "context_length_exceeded"}, "too long for the model"),
        (400, "This model's maximum context length is 64 tokens. However, you requested 512 output tokens and your "
              "prompt contains at least 40 input tokens. (parameter=max_tokens)", "too long for the model"),
        (422, "`inputs` tokens + `max_new_tokens` must be <= 64.", "too long for the model"),
        (400, {"message": "the request exceeds the available context size", "type": "exceed_context_size_error"},
         "too long for the model"),
        (400, "cannot parse 'a dog that plays with a seed'", "status 400"),  # the prompt's own word
        (422, "try another prompt", "status 422"),
        (429, "Rate limit reached for requests", "status 429"),
        (500, "max_tokens could not be counted", "status 500"),
    ],
)  # fmt: skip
def test_what_is_about_one_prompt_or_passes_ends_nothing(status, error, reason):
    with EndpointDouble(lambda _: response({"error": error}, status=status)) as endpoint:
        generator = OpenAIGenerator("m", endpoint.url, sampling={"max_tokens": 512, "seed": 0}, max_retries=0)
        with pytest.raises(CallFailed) as failed:
            ask(generator)
    assert str(failed.value) == reason
    assert failed.value.said == (error if isinstance(error, str) else error["message"])


def ask(generator, prompt='Paraphrase "a dog that plays with a seed"'):
    async def call():
        try:
            return await generator.generate(prompt, "", 1)
        finally:
            await generator.close()

    return asyncio.run(call())


# ------------------------------------------------------------------------------------------------------- requests
def generator_of(*options):
    args = cli.parser().parse_args(["paraphrase", "--captions", "c", "--output", "o", "--generator", "openai",
                                    "--base_url", "http://127.0.0.1:1/v1", "--model", "m", *options])  # fmt: skip
    return openai.from_args(args)


def test_a_request_without_options_is_as_it_was():
    generator = generator_of()
    assert generator.identity == {"model": "m", "temperature": 1.0, "top_p": 0.1}
    assert generator.sampling == {"temperature": 1.0, "top_p": 0.1, "max_tokens": 512}
    assert generator.max_tokens == 512
    assert generator.request_body("a dog") == {
        "model": "m", "messages": [{"role": "user", "content": "a dog"}], "temperature": 1.0, "top_p": 0.1,
        "max_tokens": 512,
    }  # fmt: skip


def test_all_options_of_a_request_are_in_its_key_and_in_the_recipe():
    extra = {"temperature": None, "max_tokens": None, "max_completion_tokens": 9, "top_k": 20}
    generator = generator_of("--system_prompt", "Be brief.", "--seed", "3", "--extra_body", json.dumps(extra))
    assert generator.identity == {"model": "m", "top_p": 0.1, "seed": 3, "top_k": 20, "system_prompt": "Be brief."}
    assert generator.max_tokens == 9
    assert generator.sampling == {
        "top_p": 0.1, "seed": 3, "top_k": 20, "max_completion_tokens": 9, "system_prompt": "Be brief.",
    }  # fmt: skip
    assert generator.request_body("a dog") == {
        "model": "m", "top_p": 0.1, "seed": 3, "top_k": 20, "max_completion_tokens": 9,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "a dog"}],
    }  # fmt: skip


def test_a_live_call_sends_what_request_body_says():
    bodies = []

    async def keep(request):
        bodies.append(await request.json())
        return response(completion("a hound"))

    with EndpointDouble(lambda _: keep) as endpoint:
        generator = OpenAIGenerator("m", endpoint.url, sampling={"top_k": 2}, system_prompt="Be brief.")
        assert ask(generator, "a dog") == Answer("a hound", "stop", 10, 5)
    assert bodies == [generator.request_body("a dog")]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("{'top_k': 2}", "is no JSON"),
        ("[1]", "is no JSON object"),
        ("[" * 100_000, "is no JSON"),
        ('{"model": "x", "n": 2}', "model, n may not be set there"),
        ('{"max_tokens": "many"}', "is a number of tokens"),
        ('{"top_k": NaN}', "holds what no request can"),
        ('{"stop": "\\ud800"}', "holds what no request can"),
    ],
)
def test_extra_fields_that_cannot_be_sent_are_refused(extra, message):
    with pytest.raises(InputError, match=message):
        generator_of("--extra_body", extra)
