"""The command line: what it writes, what it says, what it refuses."""

import errno
import json
import logging
import os
import sys

import pyarrow.parquet as pq
import pytest

from benchmarks.kill import expected
from dataset_builder import __main__ as cli
from dataset_builder import corpus, load_triples
from dataset_builder.journal import Journal
from dataset_builder.paraphrase import PROMPT_1, PROMPT_2
from tests.endpoint_double import EndpointDouble, response, reword

from .jobs import command, is_step_3, source, write_captions, writes


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
    assert "1 would be rejected: caption: too few words, e.g. 'dog'" in out
    assert "cost" in out
    assert not (tmp_path / "corpus").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--captions", "absent.txt"], "absent.txt: no such file"),
        (["--captions", "x.docx"], "unknown file type '.docx'"),
        (["--caption_column", "text"], "no column 'text'; found: 'image_id', 'caption'"),
        (["--prompt_1", "Paraphrase it."], "exactly one {}"),
        (["--concurrency", "0"], "at least 1"),
        (["--generator", "transformers", "--model", "absent-folder"], "absent-folder cannot be opened"),
    ],
)
def test_refuses_in_one_sentence(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_captions(tmp_path, source(2))
    (tmp_path / "x.docx").write_text("x")
    base = ["paraphrase", "--captions", "captions.jsonl", "--output", "out", "--generator", "rules"]
    with pytest.raises(SystemExit) as stopped:
        cli.main([*base, *arguments])
    assert message in str(stopped.value)


def test_whatever_the_machine_refuses_is_one_sentence(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x" * 5000)

    monkeypatch.setattr(cli, "_run", full)
    with pytest.raises(SystemExit, match=r"^python -m dataset_builder: .*No space left on device") as stopped:
        cli.main(["stats", str(tmp_path)])
    assert len(str(stopped.value)) < 1500
    monkeypatch.undo()
    name = "y" * 5000
    for given in (["stats", name], ["export", name, "--output", "x"], ["publish", name, "a/b", "--license", "mit"]):
        with pytest.raises(SystemExit, match=r"^python -m dataset_builder: .*") as stopped:
            cli.main(given)
        assert len(str(stopped.value)) < 1500


def test_log_lines_of_libraries_are_printable(tmp_path, capsys):
    with pytest.raises(SystemExit):
        cli.main(["stats", str(tmp_path)])
    for name in ("datasets", "huggingface_hub"):
        for handler in logging.getLogger(name).handlers:
            assert "\x1b" not in handler.format(logging.makeLogRecord({"msg": "Failed to read '\x1b[2J'"}))


NUMBERS = ["--timeout 0", "--timeout nan", "--max_retries -1", "--temperature -1", "--temperature nan", "--top_p 2",
           "--max_tokens 0", "--price_in -1", "--price_out nan", "--concurrency 1000000", "--limit -1",
           "--limit 100000000000000000000",
           "--min_words -1", "--max_words 1", "--max_length_ratio nan", "--min_similarity 2",
           "--max_similarity -2"]  # fmt: skip


@pytest.mark.parametrize("option", NUMBERS)
def test_numbers_that_cannot_be_right_are_refused(option, tmp_path):
    write_captions(tmp_path, source(1))
    with EndpointDouble() as endpoint:
        with pytest.raises(SystemExit, match=f"dataset_builder: {option.split()[0]}: at least"):
            cli.main([*command(tmp_path, endpoint), *option.split()])
        assert endpoint.requests == 0


def test_text_of_others_cannot_move_the_cursor(tmp_path, capsys):
    hostile = "a dog \x1b[31m\u202e\x9b\x07\ud800 barks"
    write_captions(tmp_path, [(0, hostile, hostile), (1, hostile, "a dog barks")])
    base = ["paraphrase", "--output", str(tmp_path / "o"), "--generator", "rules", "--captions"]
    cli.main([*base, str(tmp_path / "captions.jsonl"), "--dry_run"])
    told = "".join(capsys.readouterr())
    for arguments in ([*base, hostile], [*base, str(tmp_path / "captions.jsonl"), f"--{hostile}"], ["stats", hostile]):
        with pytest.raises(SystemExit) as stopped:
            cli.main(arguments)
        told += str(stopped.value) + "".join(capsys.readouterr())
    record = logging.makeLogRecord({"msg": "%s left out", "args": (hostile,)})
    told += cli._Formatter("%(message)s").format(record)
    assert told.count("\\x1b[31m\\u202e") >= 5
    assert not set(told) & set("\x1b\u202e\x9b\x07\ud800")


def test_a_corpus_begun_in_parts_is_not_begun_again(tmp_path):
    write_captions(tmp_path, source(2))
    (tmp_path / "corpus").mkdir()
    Journal(tmp_path / "corpus" / "journal-00000-of-00002.sqlite", {}).close()
    with EndpointDouble() as endpoint, pytest.raises(SystemExit, match="begun with another number of parts"):
        cli.main(command(tmp_path, endpoint))


def test_openai_without_a_model_is_refused(tmp_path):
    write_captions(tmp_path, source(1))
    with pytest.raises(SystemExit, match="needs --model"):
        cli.main(["paraphrase", "--captions", str(tmp_path / "captions.jsonl"), "--output", str(tmp_path / "o"),
                  "--generator", "openai"])  # fmt: skip


def test_exports_agree_and_say_how_they_were_made(tmp_path):
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
    assert info["recipes"][0]["prompts"] == [PROMPT_1, PROMPT_2]


HELP = {
    (): ("--dry_run", "export my-corpus", "publish my-corpus"),
    ("requests",): (
        "upload my-corpus/requests.jsonl", "vllm run-batch -i", "import-answers my-corpus results.jsonl",
        "--requests_file", "--extra_body", "50,000 requests or 200 MB",
    ),
    ("import-answers",): ("Nothing is taken twice", "command `requests` again"),
    ("rejected",): ("the answer as it came", "--reason", "jsonl"),
    ("paraphrase",): (
        "--no_early_stop", "--retry_rejected REASON", "asks again only what was cut",
        ".txt (a caption per line)", "OPENAI_API_KEY", "default: 0.1, as the authors",
        "Paraphrase the given text",
        "drop captions of fewer words (default: 2)", "default: -1.0, drop none",
        "calls in flight at once, in all parts together (default: 64)",
    ),
    ("export",): ("train.py --train_file", "default: parquet"),
    ("stats",): ("rejected",),
    ("publish",): ("cc-by-4.0", "hf auth login", "default: 1.0"),
}  # fmt: skip


@pytest.mark.parametrize("command", HELP)
def test_help_teaches(command, capsys):
    with pytest.raises(SystemExit):
        cli.main([*command, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "python -m dataset_builder" in text
    for part in HELP[command]:
        assert part in text


@pytest.mark.parametrize("package", ["openai", "lemminflect"])
def test_a_missing_package_is_named_with_the_remedy(package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)  # importing it raises ImportError
    write_captions(tmp_path, source(1))
    generator = {"lemminflect": "rules"}.get(package, package)
    with pytest.raises(SystemExit, match=r"pip install 'paraclip\[generate\]'"):
        cli.main(["paraphrase", "--captions", str(tmp_path / "captions.jsonl"), "--output", str(tmp_path / "o"),
                  "--generator", generator, "--model", "m"])  # fmt: skip


def test_output_that_cannot_be_written_is_one_sentence(tmp_path):
    write_captions(tmp_path, source(1))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SystemExit, match="the output cannot be written"):
        cli.main(["paraphrase", "--captions", str(tmp_path / "captions.jsonl"), "--generator", "rules",
                  "--output", str(tmp_path / "file" / "o")])  # fmt: skip


def test_the_exit_status_says_whether_rows_failed(tmp_path, capsys):
    """0: all is settled; 3: rows failed, or none could be made."""
    write_captions(tmp_path, source(3))

    def status(answer):
        with EndpointDouble(answer) as endpoint:
            try:
                cli.main([*command(tmp_path, endpoint), "--max_retries", "0"])
            except SystemExit as stopped:
                return stopped.code
        return 0

    assert status(lambda prompt: response({"error": "no"}, status=500)) == 3
    assert status(lambda prompt: response({"error": "no"}, 500) if "102" in prompt else reword(prompt)) == 3
    assert "to retry the failed rows" in capsys.readouterr().out
    assert status(reword) == 0


def test_where_nothing_could_be_made_it_says_why(tmp_path, capsys):
    write_captions(tmp_path, source(4))
    with (
        EndpointDouble(lambda prompt: "I'm sorry, but I can't help.") as endpoint,
        pytest.raises(SystemExit) as stopped,
    ):
        cli.main(command(tmp_path, endpoint))
    assert stopped.value.code == 3
    out, err = capsys.readouterr()
    assert "mostly=step 1: refused" in err
    assert "The most frequent reason, 4 times, is 'step 1: refused'" in out
    assert out.count("answer: I'm sorry, but I can't help.") == 3


def test_what_was_dropped_is_listed(tmp_path, capsys):
    write_captions(tmp_path, [*source(3), (3, "3", "dog"), (4, "4", "a dog \x1b[2J barks")])
    refusal = "I'm sorry, but I can't help with that \u202e."
    with EndpointDouble(lambda prompt: refusal if "101" in prompt else reword(prompt)) as endpoint:
        cli.main(command(tmp_path, endpoint))
        capsys.readouterr()
        cli.main(["rejected", str(tmp_path / "corpus"), "--format", "jsonl"])
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [(row["index"], row["step"], row["reason"], row["answer"]) for row in rows] == [
            (1, "step 1", "refused", refusal), (3, "caption", "too few words", None),
            (4, "caption", "control characters", None)]  # fmt: skip
        assert rows[0]["caption"] == source(3)[1][2]
        cli.main(["rejected", str(tmp_path / "corpus"), "--reason", "refused"])
        table = capsys.readouterr().out.splitlines()
        assert len(table) == 2
        assert table[1].split("  ")[-1].strip() == "I'm sorry, but I can't help with that \\u202e."
        cli.main(["rejected", str(tmp_path / "corpus")])
        assert "\x1b" not in capsys.readouterr().out
        with pytest.raises(SystemExit, match=r"none: no answer was rejected for it\. Known: 'step 1: refused'"):
            cli.main([*command(tmp_path, endpoint), "--retry_rejected", "none"])


def test_rejected_answers_are_asked_again(tmp_path, capsys):
    write_captions(tmp_path, source(3))
    with EndpointDouble(lambda prompt: "I can't help." if "101" in prompt else reword(prompt)) as endpoint:
        cli.main(command(tmp_path, endpoint))
        assert endpoint.requests == 5
    with EndpointDouble() as endpoint:
        cli.main([*command(tmp_path, endpoint), "--retry_rejected", "refused"])
        assert endpoint.requests == 2
    assert "1 rows are asked again." in capsys.readouterr().out
    assert len(list(corpus.triples(tmp_path / "corpus"))) == 3


def test_a_damaged_journal_is_one_sentence(tmp_path):
    (tmp_path / "journal.sqlite").write_text("garbage")
    with pytest.raises(SystemExit, match=r"journal\.sqlite: is damaged\. Recover it with .* not a database"):
        cli.main(["stats", str(tmp_path)])


def test_a_name_that_the_hub_refuses_is_one_sentence(tmp_path):
    write_captions(tmp_path, source(2))
    with EndpointDouble() as endpoint:
        cli.main(command(tmp_path, endpoint))
    with pytest.raises(SystemExit, match="no name!! cannot be published"):
        cli.main(["publish", str(tmp_path / "corpus"), "no name!!", "--license", "mit"])


def test_negatives_from_captions_to_files_that_can_be_trained_on(tmp_path, capsys):
    """The column is there only where the job made it, and a dropped negative is null."""
    write_captions(tmp_path, source(3))

    def answer(prompt):
        return "a dog beside number 101" if is_step_3(prompt) and "101" in prompt else writes(prompt)

    with EndpointDouble(answer) as endpoint:
        cli.main([*command(tmp_path, endpoint), "--negatives"])
    assert "Negatives: 2 done, 1 rejected\n          1   33.3%  step 3: unchanged" in capsys.readouterr().out
    corpus_dir, wanted = str(tmp_path / "corpus"), ["a cat beside number 100", None, "a cat beside number 102"]
    for name in ("pairs.jsonl", "pairs.parquet"):
        cli.main(["export", corpus_dir, "--format", name.split(".")[1], "--output", str(tmp_path / name)])
        (tmp_path / "pictures").mkdir(exist_ok=True)
        assert load_triples(tmp_path / name, image_dir=tmp_path / "pictures")["negative"] == wanted
    columns = ["image_id", "caption", "paraphrase_1", "paraphrase_2", "negative", "generator", "model"]
    assert pq.read_schema(tmp_path / "pairs.parquet").names == columns
    with EndpointDouble() as endpoint:
        cli.main(command(tmp_path, endpoint))
        assert endpoint.requests == 0
    cli.main(["export", corpus_dir, "--output", str(tmp_path / "without.parquet")])
    assert "negative" not in pq.read_schema(tmp_path / "without.parquet").names


def test_negatives_that_failed_are_told_and_end_with_status_3(tmp_path, capsys):
    write_captions(tmp_path, source(2))

    def answer(prompt):
        return response({"error": "no"}, status=500) if is_step_3(prompt) else reword(prompt)

    with EndpointDouble(answer) as endpoint, pytest.raises(SystemExit) as stopped:
        cli.main([*command(tmp_path, endpoint), "--negatives", "--max_retries", "0"])
    assert stopped.value.code == 3
    out = capsys.readouterr().out
    assert "2 rows: 2 done" in out
    assert "Negatives: 2 failed" in out
    assert "retry the failed" in out
