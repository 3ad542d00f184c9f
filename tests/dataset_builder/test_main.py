"""The command line: what it writes, what it says, what it refuses."""

import json
import sys

import pyarrow.parquet as pq
import pytest

from benchmarks.kill import expected
from dataset_builder import __main__ as cli
from dataset_builder import corpus
from dataset_builder.paraphrase import PROMPT_1, PROMPT_2
from tests.endpoint_double import EndpointDouble, response

from .jobs import command, source, write_captions


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
    assert "too few words" in out
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
    assert info["recipe"]["prompts"] == [PROMPT_1, PROMPT_2]


HELP = {
    (): ("--dry_run", "export my-corpus", "publish my-corpus"),
    ("paraphrase",): (
        "a .txt file (one caption per line)", "OPENAI_API_KEY", "default: 0.1, as the authors",
        "Paraphrase the given text",
        "drop captions of fewer words (default: 2)", "default: -1.0, drop none",
        "calls in flight at once (default: 64)",
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


def test_a_damaged_journal_is_one_sentence(tmp_path):
    (tmp_path / "journal.sqlite").write_text("garbage")
    with pytest.raises(SystemExit, match=r"not a database\. If it is damaged, recover it"):
        cli.main(["stats", str(tmp_path)])


def test_a_name_that_the_hub_refuses_is_one_sentence(tmp_path):
    write_captions(tmp_path, source(2))
    with EndpointDouble() as endpoint:
        cli.main(command(tmp_path, endpoint))
    with pytest.raises(SystemExit, match="no name!! cannot be published"):
        cli.main(["publish", str(tmp_path / "corpus"), "no name!!", "--license", "mit"])
