"""Batch files: what is asked, what comes back, and that nothing is paid for twice."""

import json
import os
import re

import pytest

from benchmarks.kill import expected
from dataset_builder import InputError, batch
from dataset_builder import __main__ as cli
from dataset_builder.generators import CallFailed
from dataset_builder.journal import Journal
from dataset_builder.paraphrase import PROMPT_1, PROMPT_2
from dataset_builder.records import lost_rows
from tests.endpoint_double import EndpointDouble, completion, reword

from .jobs import command, finished, is_step_3, negatives_of, source, write_captions, writes

# An expired request (OpenAI's error file), a call that failed (its error file), one that Azure's filter refuses, one
# that vLLM refuses (run_batch.py, make_error_request_output), and one that its server answers with an error.
EXPIRED = {"response": None, "error": {"code": "batch_expired", "message": "It could not be executed in 24h."}}
INVALID = {"response": {"status_code": 400, "body": {"error": {"message": "Bad top_p", "code": None}}}, "error": None}
FILTERED = {"response": {"status_code": 400, "body": {"error": {"code": "content_filter", "message": "filtered"}}},
            "error": None}  # fmt: skip
VLLM_TEXT = {"response": {"status_code": 400, "request_id": "vllm-batch-1", "body": None}, "error": "must not stream"}
VLLM_ERROR = {"response": {"status_code": 404, "request_id": "vllm-batch-2", "body": None},
              "error": {"error": {"message": "no such model", "type": "NotFoundError", "code": 404}}}  # fmt: skip


def requests(folder, *more):
    """The command `requests` on captions.jsonl."""
    cli.main(["requests", "--captions", str(folder / "captions.jsonl"), "--output", str(folder), "--model", "m",
              "--max_tokens", "16", *more])  # fmt: skip


def asked(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def succeeded(row, answer=reword, finish_reason="stop"):
    """A line of OpenAI's output file."""
    body = completion(answer(row["body"]["messages"][-1]["content"]), finish_reason)
    response = {"status_code": 200, "request_id": "r", "body": body}
    return {"id": "batch_req_1", "custom_id": row["custom_id"], "response": response, "error": None}


def failed(row, failure):
    return {"id": "batch_req_2", "custom_id": row["custom_id"], **failure}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def answer(folder, name, results=succeeded):
    """Answer a file of requests, and import the results."""
    rows = [results(row) for row in asked(folder / name)]
    return batch.import_answers(folder, [write(folder / f"results of {name}", rows)])


@pytest.fixture
def folder(tmp_path):
    write_captions(tmp_path, source(6, distinct=5))
    return tmp_path


def test_two_rounds_make_the_corpus_of_an_endpoint(folder, capsys):
    requests(folder)
    rows = asked(folder / "requests.jsonl")
    assert len(rows) == 5  # one caption comes twice
    assert all(re.fullmatch("[0-9a-f]{64}", row["custom_id"]) for row in rows)
    assert (rows[0]["method"], rows[0]["url"]) == ("POST", "/v1/chat/completions")
    prompt = PROMPT_1.replace("{}", source(6)[0][2])
    assert rows[0]["body"] == {"model": "m", "messages": [{"role": "user", "content": prompt}], "temperature": 1.0,
                               "top_p": 0.1, "max_tokens": 16}  # fmt: skip
    assert answer(folder, "requests.jsonl").answers == 5
    requests(folder)
    assert all(PROMPT_2[:20] in row["body"]["messages"][0]["content"] for row in asked(folder / "requests-2.jsonl"))
    answer(folder, "requests-2.jsonl")
    requests(folder)
    assert finished(folder) == expected(source(6, distinct=5))
    assert not (folder / "requests-3.jsonl").exists()
    assert "No call is needed." in capsys.readouterr().out
    with EndpointDouble() as endpoint:  # the same options at an endpoint: nothing is left
        cli.main([*command(folder, endpoint, "--max_tokens", "16", "--output", str(folder))])
        assert endpoint.requests == 0


def test_negatives_are_asked_in_the_round_of_step_2(folder, capsys):
    requests(folder, "--negatives")
    assert len(asked(folder / "requests.jsonl")) == 5
    answer(folder, "requests.jsonl")
    requests(folder, "--negatives")
    prompts = [row["body"]["messages"][0]["content"] for row in asked(folder / "requests-2.jsonl")]
    assert sum(map(is_step_3, prompts)) == 5
    assert len(prompts) == 10
    answer(folder, "requests-2.jsonl", lambda row: succeeded(row, writes))
    requests(folder, "--negatives")
    assert "No call is needed." in capsys.readouterr().out
    assert finished(folder) == expected(source(6, distinct=5))
    assert negatives_of(folder) == [caption.replace("dog", "cat") for _, _, caption in source(6, distinct=5)]


def test_what_is_no_answer_is_counted_and_asked_again(folder, capsys):
    requests(folder)
    rows = asked(folder / "requests.jsonl")
    failures = [EXPIRED, INVALID, VLLM_TEXT, VLLM_ERROR]
    results = [*map(failed, rows, failures), failed(rows[4], FILTERED), {**succeeded(rows[0]), "custom_id": "ab" * 32},
               {**succeeded(rows[0]), "custom_id": "row-1"}, {"id": "x"}, ["y"]]  # fmt: skip
    path = write(folder / "results.jsonl", results)
    with open(path, "a") as file:
        file.write('\n{"custom_id": "cut\n')
    with pytest.raises(SystemExit) as stopped:
        cli.main(["import-answers", str(folder), str(path)])
    assert stopped.value.code == 3
    said = capsys.readouterr().out
    for part in (
        *("1 answers", "It could not be executed", "Bad top_p", "must not stream", "4 calls failed in all"),
        *("2 lines have a custom_id that no", "3 lines are no results", "abababab", "results.jsonl line 8"),
    ):
        assert part in said, part
    assert "no such model" not in said  # only three are shown
    requests(folder)
    assert [row["custom_id"] for row in asked(folder / "requests-2.jsonl")] == [row["custom_id"] for row in rows[:4]]
    assert [row["reason"] for row in lost_rows(folder / "journal.sqlite")] == ["refused"]  # Azure's is final


def test_reading_results_again_changes_nothing(folder):
    requests(folder)
    rows = asked(folder / "requests.jsonl")
    path = write(folder / "results.jsonl", [failed(rows[0], EXPIRED), *map(succeeded, rows[1:])])
    assert batch.import_answers(folder, [path]).answers == 4
    requests(folder)  # rows[0] is written again, and is awaited
    before = contents(folder)
    imported = batch.import_answers(folder, [path])
    assert (imported.answers, imported.known_files, imported.failed) == (0, 1, {})
    assert contents(folder) == before
    more = write(folder / "more.jsonl", [succeeded(rows[1], lambda prompt: "other"), *map(succeeded, rows[1:])])
    imported = batch.import_answers(folder, [more])
    assert (imported.answers, imported.duplicates) == (0, 5)
    assert imported.awaited == {"requests-2.jsonl": 5}  # one failed before, and step 2 of the others


def contents(folder):
    journal = Journal(folder / "journal.sqlite")
    try:
        with journal.transaction() as db:
            tables = ("answers", "rows", "asked", "imports")
            return {table: db.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in tables}
    finally:
        journal.close()


def test_requests_that_are_awaited_are_not_written_again(folder, capsys):
    requests(folder)
    requests(folder)
    assert not (folder / "requests-2.jsonl").exists()
    assert "requests.jsonl (5)" in capsys.readouterr().out
    with EndpointDouble() as endpoint:
        with pytest.raises(SystemExit, match=r"paid for twice: requests.jsonl \(5\)"):
            cli.main(command(folder, endpoint, "--output", str(folder)))
        assert endpoint.requests == 0
    (folder / "requests.jsonl").unlink()  # never sent
    requests(folder)
    assert len(asked(folder / "requests-2.jsonl")) == 5


def test_results_of_a_file_that_was_removed_are_taken(folder):
    requests(folder)
    rows = asked(folder / "requests.jsonl")
    (folder / "requests.jsonl").unlink()
    assert batch.import_answers(folder, [write(folder / "r.jsonl", map(succeeded, rows))]).answers == 5


def test_files_keep_to_the_limits(folder, monkeypatch):
    monkeypatch.setattr(batch, "MOST_REQUESTS", 2)
    requests(folder, "--requests_file", str(folder / "deep" / "out.jsonl"))
    files = [folder / "deep" / name for name in ("out.jsonl", "out-2.jsonl", "out-3.jsonl")]
    assert [len(asked(file)) for file in files] == [2, 2, 1]
    monkeypatch.setattr(batch, "MOST_BYTES", files[0].stat().st_size + 10)
    for file in files:
        file.unlink()
    monkeypatch.setattr(batch, "MOST_REQUESTS", 50_000)
    requests(folder, "--requests_file", str(folder / "out.jsonl"))
    assert [len(asked(folder / name)) for name in ("out.jsonl", "out-2.jsonl", "out-3.jsonl")] == [2, 2, 1]
    assert not list(folder.rglob("*.part"))


def test_killed_before_the_files_are_in_their_places_it_writes_them_again(folder, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(batch.os, "replace", killed)
    with pytest.raises(SystemExit):
        requests(folder)
    monkeypatch.undo()
    assert not list(folder.glob("requests*"))
    requests(folder)
    assert [len(asked(file)) for file in folder.glob("requests*")] == [5]


def test_killed_while_results_are_imported_it_goes_on(folder, monkeypatch):
    requests(folder)
    rows = asked(folder / "requests.jsonl")
    path = write(folder / "results.jsonl", map(succeeded, rows))
    monkeypatch.setattr(batch, "GROUP", 2)
    real, calls = batch.read_result, []

    def killed(result):
        calls.append(result)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(result)

    monkeypatch.setattr(batch, "read_result", killed)
    with pytest.raises(KeyboardInterrupt):
        batch.import_answers(folder, [path])
    imported = batch.import_answers(folder, [path])
    assert (imported.answers, imported.duplicates) == (3, 2)


def test_a_cut_answer_is_asked_again_at_a_higher_limit(folder):
    requests(folder)
    answer(folder, "requests.jsonl", lambda row: succeeded(row, finish_reason="length"))
    requests(folder)
    assert not (folder / "requests-2.jsonl").exists()
    requests(folder, "--max_tokens", "32")
    assert [row["body"]["max_tokens"] for row in asked(folder / "requests-2.jsonl")] == [32] * 5


def test_what_was_rejected_can_be_written_again(folder):
    requests(folder)
    answer(folder, "requests.jsonl", lambda row: succeeded(row, lambda prompt: "I'm sorry, but I can't do that."))
    requests(folder)
    requests(folder, "--retry_rejected", "refused")
    answer(folder, "requests-2.jsonl")
    requests(folder)
    assert len(asked(folder / "requests-3.jsonl")) == 5


@pytest.mark.parametrize(
    ("name", "message"), [("out.txt", r"must end in \.jsonl"), ("journal.sqlite", r"must end in \.jsonl")]
)
def test_a_name_that_is_no_file_of_requests_is_refused(name, message, folder):
    with pytest.raises(SystemExit, match=message):
        requests(folder, "--requests_file", str(folder / name))


def test_where_nothing_was_asked_there_is_nothing_to_import(folder):
    path = write(folder / "results.jsonl", [{"custom_id": "x"}])
    with pytest.raises(InputError, match="no corpus here"):
        batch.import_answers(folder, [path])
    Journal(folder / "journal-00000-of-00002.sqlite").close()
    with pytest.raises(InputError, match="was begun in parts"):
        batch.import_answers(folder, [path])
    with pytest.raises(InputError, match="no such file"):
        batch.import_answers(folder, [folder / "absent.jsonl"])


@pytest.mark.parametrize("result", [{}, {"response": 3}, {"response": {"body": []}}, {"response": {"body": {}}},
                                    {"response": {"body": {"choices": []}}}, {"error": 7}])  # fmt: skip
def test_a_result_of_no_known_form_is_a_failed_call(result):
    with pytest.raises(CallFailed):
        batch.read_result(result)


def test_the_key_is_in_no_file(folder, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    requests(folder)
    for name in os.listdir(folder):
        assert b"sk-very-secret" not in (folder / name).read_bytes()
