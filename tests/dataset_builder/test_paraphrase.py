"""The two-step job against a real client and a double of an endpoint: order, faults, durability, resumption."""

import asyncio
import json
import sqlite3
import time

import pytest
from aiohttp import web

from benchmarks import kill
from benchmarks.kill import expected
from dataset_builder import __main__ as cli
from dataset_builder import captions, corpus
from dataset_builder.filters import Limits
from dataset_builder.generators import CallFailed, Fatal
from dataset_builder.generators.openai import OpenAIGenerator
from dataset_builder.journal import Answer, Journal, done_rows, request_key
from dataset_builder.paraphrase import PROMPT_1, PROMPT_2, Paraphraser
from tests.endpoint_double import EndpointDouble, completion, response, reword

RECIPE = {"generator": "openai", "model": "m", "sampling": {}, "prompts": [PROMPT_1, PROMPT_2]}


def source(n, distinct=None):
    return [(i, f"{i}.jpg", f"a dog beside number {i % (distinct or n) + 100}") for i in range(n)]


def run(rows, folder, endpoint, *, limits=Limits(), concurrency=8, similarity=None, max_retries=8, timeout=5):  # noqa: B008
    async def job():
        generator = OpenAIGenerator("m", endpoint.url, max_retries=max_retries, timeout=timeout)
        try:
            paraphraser = Paraphraser(
                generator, journal, limits=limits, concurrency=concurrency, similarity=similarity
            )
            progress = await paraphraser.run(rows)
            progress.retried = generator.retried
            return progress
        finally:
            await generator.close()

    journal = Journal(folder / "journal.sqlite", RECIPE)
    try:
        return asyncio.run(job())
    finally:
        journal.close()


def finished(folder):
    return [row[:5] for row in done_rows(folder / "journal.sqlite")]


def test_both_steps_of_every_row(tmp_path):
    with EndpointDouble() as endpoint:
        progress = run(source(50), tmp_path, endpoint)
    assert finished(tmp_path) == expected(source(50))
    assert progress.outcomes == {"done": 50}
    assert (progress.calls, progress.tokens_in, progress.tokens_out) == (100, 1000, 500)
    assert len(endpoint.answered) == 100


def test_duplicates_and_a_second_run_pay_nothing(tmp_path):
    with EndpointDouble(latency=0.02) as endpoint:
        run(source(40, distinct=4), tmp_path, endpoint)
        assert endpoint.requests == 8  # 4 captions, 2 steps, although all were in flight at once
        progress = run(source(40, distinct=4), tmp_path, endpoint)
        assert endpoint.requests == 8
        assert progress.outcomes == {"known": 40}
        other_limits = {**RECIPE, "limits": "others"}  # another recipe: rows are made again, from the same answers
        journal = Journal(tmp_path / "journal.sqlite", other_limits)
        assert not journal.settled(0, 39)
        journal.close()


def test_keeps_the_concurrency_and_not_more(tmp_path):
    with EndpointDouble(latency=0.05) as endpoint:
        start = time.perf_counter()
        run(source(64), tmp_path, endpoint, concurrency=16)
        assert endpoint.most_in_flight == 16
        # 128 calls, 16 at a time, 0.05 s each: 0.4 s; one after another it would be 6.4 s
        assert time.perf_counter() - start < 4


def test_faults_are_retried_and_change_nothing(tmp_path):
    with EndpointDouble(fault=0.3, seed=1) as endpoint:
        progress = run(source(40), tmp_path, endpoint, concurrency=20)
    assert finished(tmp_path) == expected(source(40))
    assert progress.retried > 10


def test_a_call_out_of_budget_fails_and_the_next_run_tries_again(tmp_path):
    def answer(prompt):
        return response({"error": "no"}, status=500) if "number 103" in prompt and broken else reword(prompt)

    with EndpointDouble(answer) as endpoint:
        broken = True
        progress = run(source(6), tmp_path, endpoint, max_retries=0)
        assert progress.outcomes == {"done": 5, "failed": 1}
        assert progress.reasons == {"step 1: status 500": 1}
        broken = False
        progress = run(source(6), tmp_path, endpoint, max_retries=0)
        assert progress.outcomes == {"known": 5, "done": 1}
    assert finished(tmp_path) == expected(source(6))


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
    with EndpointDouble(latency=2) as endpoint:
        progress = run(source(1), tmp_path, endpoint, max_retries=0, timeout=0.2)
        assert progress.reasons == {"step 1: time-out": 1}
    progress = run(source(1), tmp_path, endpoint, max_retries=0)
    assert progress.reasons == {"step 1: no connection": 1}
    with pytest.raises(Fatal, match="failed one after another, the last by 'step 1: no connection'"):
        run(source(1000), tmp_path, endpoint, max_retries=0)  # not a thousand failures


@pytest.mark.parametrize(
    ("status", "remedy"), [(401, "OPENAI_API_KEY"), (403, "another --model"), (404, "--base_url")]
)
def test_what_no_retry_mends_stops_at_once(status, remedy, tmp_path):
    with EndpointDouble(lambda _: response({"error": "no"}, status=status)) as endpoint:
        with pytest.raises(Fatal, match=remedy):
            run(source(500), tmp_path, endpoint)
        assert endpoint.requests < 50


def test_rejected_answers_are_counted_and_never_feed_step_2(tmp_path):
    said = {
        "100": "I'm sorry, but I can't help with that.",
        "101": "a dog beside number 101",
        "102": "",
        "103": "one\ntwo",
    }

    def answer(prompt):
        return next((text for number, text in said.items() if f"number {number}" in prompt), None) or (
            response(completion("cut", "length"))
            if "number 104" in prompt
            else ""
            if "102" in prompt
            else reword(prompt)
        )

    with EndpointDouble(answer) as endpoint:
        progress = run(source(6), tmp_path, endpoint)
    assert progress.reasons == {
        "step 1: refused": 1,
        "step 1: unchanged": 1,
        "step 1: empty": 1,
        "step 1: several answers": 1,
        "step 1: truncated": 1,
    }
    assert endpoint.requests == 5 + 2
    assert not [prompt for prompt in endpoint.answered if "sorry" in prompt or "None" in prompt]


def test_bad_rows_are_rejected_by_reason_and_cost_nothing(tmp_path):
    rows = [(0, "0", None), (1, "1", "dog"), (2, "2", "a <b>dog</b>"), (3, "3", "a dog beside number 100")]
    with EndpointDouble() as endpoint:
        progress = run(rows, tmp_path, endpoint)
        assert endpoint.requests == 2
    assert progress.outcomes == {"rejected": 3, "done": 1}
    assert "caption: unreadable row" in progress.reasons


def test_half_a_surrogate_pair_is_rejected_wherever_it_comes_from(tmp_path):
    """JSON can escape one, UTF-8 and so SQLite cannot store it."""
    rows = [
        (0, "\ud800", "a dog \ud800 barks"),
        (1, "1", "a dog beside number 101"),
        (2, "2", "a dog beside number 102"),
    ]

    def answer(prompt):
        return "a hound \udfff near 101" if "101" in prompt else reword(prompt)

    with EndpointDouble(answer) as endpoint:
        progress = run(rows, tmp_path, endpoint)
        assert progress.reasons == {"caption: control characters": 1, "step 1: control characters": 1}
        assert run(rows, tmp_path, endpoint).outcomes == {"known": 3}


def test_similarity_is_asked_and_obeyed(tmp_path):
    with EndpointDouble() as endpoint:
        limits = Limits(min_similarity=0.5)
        progress = run(
            source(4), tmp_path, endpoint, limits=limits, similarity=lambda a, b: [0.1 if "102" in a[0] else 0.9]
        )
    assert progress.reasons == {"step 1: meaning": 1}


def test_other_captions_in_the_same_corpus_are_refused(tmp_path):
    with EndpointDouble() as endpoint:
        run(source(3), tmp_path, endpoint)
        with pytest.raises(ValueError, match="row 1 .* another --output"):
            run([source(3)[0], (1, "1.jpg", "a cat beside it")], tmp_path, endpoint)


def test_two_writers_are_refused(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite", RECIPE)
    with pytest.raises(ValueError, match="another process"):
        Journal(tmp_path / "journal.sqlite", RECIPE)
    journal.close()


def test_a_full_disk_is_told_to_whoever_waits(tmp_path):
    async def job():
        journal._db.execute("PRAGMA max_page_count = 1")
        with pytest.raises(OSError, match="full"):
            await journal.add_answer(request_key("x", {}), Answer("y" * 100_000))

    journal = Journal(tmp_path / "journal.sqlite", RECIPE)
    try:
        asyncio.run(job())
    finally:
        journal.close()


class Slow:
    """A generator that never answers the second step."""

    identity, retried = {"model": "m"}, 0

    async def generate(self, prompt, text):
        if "existing words" in prompt:
            raise CallFailed("never")
        return Answer(reword(prompt))


def test_step_1_is_kept_when_step_2_fails(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite", RECIPE)
    try:
        progress = asyncio.run(_run(Paraphraser(Slow(), journal), source(3)))
    finally:
        journal.close()
    assert progress.outcomes == {"failed": 3}
    with EndpointDouble() as endpoint:
        run(source(3), tmp_path, endpoint)
        assert endpoint.requests == 3  # only the second steps
    assert finished(tmp_path) == expected(source(3))


async def _run(paraphraser, rows):
    return await paraphraser.run(rows)


# ------------------------------------------------------------------------------------------------------- the command
def command(folder, endpoint, *more):
    return ["paraphrase", "--captions", str(folder / "captions.jsonl"),
            "--output", str(folder / "corpus"), "--generator", "openai", "--base_url", endpoint.url, "--model", "m",
            "--concurrency", "8", *more]  # fmt: skip


def write_captions(folder, rows):
    with open(folder / "captions.jsonl", "w") as file:
        for _, image_id, caption in rows:
            file.write(json.dumps({"image_id": image_id, "caption": caption}) + "\n")


def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(tmp_path):
    """The large version, 50 kills, is `python benchmarks/kill.py`."""
    counted = kill.run(tmp_path, source(120, distinct=110), kills=4)
    assert (counted["kills"], counted["rows"]) == (4, 120)


def test_the_key_is_nowhere(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    write_captions(tmp_path, source(5))
    with EndpointDouble() as endpoint:
        cli.main(command(tmp_path, endpoint))
        assert endpoint.headers[0]["Authorization"] == "Bearer sk-very-secret"
    cli.main(["export", str(tmp_path / "corpus"), "--output", str(tmp_path / "a.parquet")])
    with EndpointDouble(lambda _: response({"error": "bad key sk-very-secret"}, status=401)) as endpoint:
        arguments = command(tmp_path, endpoint)
        arguments[arguments.index("--output") + 1] = str(tmp_path / "other")
        with pytest.raises(SystemExit) as stopped:
            cli.main(arguments)
    assert "sk-very-secret" not in "".join(capsys.readouterr()) + str(stopped.value)
    for file in tmp_path.rglob("*"):
        assert file.is_dir() or b"sk-very-secret" not in file.read_bytes(), file


def test_dry_run_shows_prompts_and_calls_nothing(tmp_path, capsys):
    write_captions(tmp_path, [*source(5), (5, "5", "dog")])
    with EndpointDouble() as endpoint:
        cli.main([*command(tmp_path, endpoint), "--dry_run", "--price_in", "1", "--price_out", "2"])
        assert endpoint.requests == 0
    out = capsys.readouterr().out
    assert 'Paraphrase the given caption "a dog beside number 100" concisely' in out
    assert "too few words" in out and "cost" in out
    assert not (tmp_path / "corpus").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--captions", "absent.txt"], "absent.txt: no such file"),
        (["--captions", "x.docx"], "unknown file type '.docx'"),
        (["--caption_column", "text"], "no column 'text'; found are 'image_id', 'caption'"),
        (["--prompt_1", "Paraphrase it."], "exactly one {}"),
        (["--concurrency", "0"], "at least 1"),
        (["--generator", "transformers", "--model", "absent-folder"], "absent-folder cannot be opened"),
    ],
)
def test_refuses_in_one_sentence(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_captions(tmp_path, source(2))
    (tmp_path / "x.docx").write_text("")
    base = ["paraphrase", "--captions", "captions.jsonl", "--output", "out", "--generator", "rules"]
    with pytest.raises(SystemExit) as stopped:
        cli.main([*base, *arguments])
    assert message in str(stopped.value)


def test_openai_without_a_model_is_refused(tmp_path):
    write_captions(tmp_path, source(1))
    with pytest.raises(SystemExit, match="needs --model"):
        cli.main(["paraphrase", "--captions", str(tmp_path / "captions.jsonl"), "--output", str(tmp_path / "o"),
                  "--generator", "openai"])  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- captions
def test_captions_of_every_kind_of_file(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"image_id": "a.jpg", "caption": 'a "dog", barking'}, {"image_id": "b.jpg", "caption": "zwei Hünde"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "c.parquet")
    (tmp_path / "c.csv").write_text('\ufeffimage_id,caption\na.jpg,"a ""dog"", barking"\nb.jpg,zwei Hünde\n')
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "c.txt").write_text("".join(row["caption"] + "\r\n" for row in rows))
    wanted = [(0, "a.jpg", 'a "dog", barking'), (1, "b.jpg", "zwei Hünde")]
    assert [captions.count_rows(tmp_path / f"c.{kind}") for kind in ("parquet", "csv", "jsonl", "txt")] == [2] * 4
    for kind in ("parquet", "csv", "jsonl"):
        assert list(captions.read_captions(tmp_path / f"c.{kind}")) == wanted
    assert list(captions.read_captions(tmp_path / "c.txt")) == [(i, str(i), text) for i, _, text in wanted]
    (tmp_path / "data").mkdir()
    (tmp_path / "c.parquet").rename(tmp_path / "data" / "c.parquet")
    assert list(captions.read_dataset(str(tmp_path / "data"))) == wanted
    with pytest.raises(ValueError, match="no column 'text'; found are 'image_id', 'caption'"):
        captions.read_dataset(str(tmp_path / "data"), caption_column="text")


def test_unparsable_lines_keep_their_row_number(tmp_path):
    (tmp_path / "c.jsonl").write_bytes(b'{"caption": "a dog"}\n{broken\n[1]\n\xff\n{"caption": "a cat"}\n')
    assert [(i, text) for i, _, text in captions.read_captions(tmp_path / "c.jsonl")] == [
        (0, "a dog"), (1, None), (2, None), (3, None), (4, "a cat")
    ]  # fmt: skip


def test_exports_agree_and_say_how_they_were_made(tmp_path):
    import pyarrow.parquet as pq

    write_captions(tmp_path, [*source(8), (8, "0.jpg", "A dog beside number 100")])  # the first row again
    with EndpointDouble() as endpoint:
        cli.main(command(tmp_path, endpoint))
    for kind in ("jsonl", "parquet"):
        cli.main(["export", str(tmp_path / "corpus"), "--format", kind, "--output", str(tmp_path / f"out.{kind}")])
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert list(lines[0]) == ["index", "image_id", "caption", "paraphrase_1", "paraphrase_2"]
    assert [tuple(line.values()) for line in lines] == expected(source(8))
    table = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["caption"] for row in table] == [line["caption"] for line in lines]
    assert {(row["generator"], row["model"]) for row in table} == {("openai", "m")}
    info = corpus.statistics(tmp_path / "corpus")
    assert info["rows"] == {"done": 9}
    assert info["recipe"]["prompts"] == [PROMPT_1, PROMPT_2]
