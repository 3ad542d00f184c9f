"""From a journal to the Hub and back, with the real client against a double of the Hub."""

import asyncio
import contextlib
import errno
import itertools
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading

import huggingface_hub
import pytest
from huggingface_hub import DatasetCard

from dataset_builder import __main__ as cli
from dataset_builder import corpus
from dataset_builder.journal import Journal, Row
from tests.hub_double import HubDouble

RECIPE = {
    "generator": "openai",
    "model": "writer-1",
    "sampling": {"temperature": 1.0},
    "prompts": ["Say {} again", "Say {} once more"],
    "limits": {"min_words": 2},
}


@pytest.fixture
def finished(tmp_path):
    """60 finished rows, one of them a repetition, and some of the others."""
    journal = Journal(tmp_path / "corpus" / "journal.sqlite", RECIPE)

    async def fill():
        for i in range(60):
            text = f"caption number {i % 59 + 100}"
            await journal.add_row(Row(i, f"{i % 59}.jpg", text, f"{text} again", f"{text} once more", "done"))
        await journal.add_row(Row(60, "60.jpg", "x", None, None, "rejected", "caption: too few words"))
        await journal.add_row(Row(61, "61.jpg", "x y", None, None, "failed", "step 1: time-out"))

    asyncio.run(fill())
    journal.close()
    return tmp_path / "corpus"


def test_stats(finished, capsys):
    cli.main(["stats", str(finished)])
    out = capsys.readouterr().out
    assert "62 rows: 60 done, 1 failed, 1 rejected" in out
    assert "caption: too few words" in out
    assert "retry the failed rows" in out
    cli.main(["stats", str(finished), "--json"])
    assert json.loads(capsys.readouterr().out)["recipe"]["model"] == "writer-1"


def test_card_says_how_it_was_made(finished):
    info = corpus.statistics(finished)
    card = corpus.dataset_card(
        "org/pairs", info, {"train": 50, "validation": 9}, list(corpus.triples(finished))[:5], license="cc-by-4.0",
        config_name="default",
    )  # fmt: skip
    assert card.data.license == "cc-by-4.0"
    for text in (
        "writer-1",
        "Say {} again",
        "temperature 1.0",
        "too few words",
        "caption number 100 once more",
        "| train | 50 |",
    ):
        assert text in card.text, text


def test_nothing_to_publish_and_no_corpus(tmp_path, capsys):
    with pytest.raises(SystemExit, match="no corpus here"):
        cli.main(["stats", str(tmp_path)])
    with pytest.raises(SystemExit):
        cli.main(["publish", str(tmp_path), "org/name"])
    assert "--license" in capsys.readouterr().err


def test_export_is_whole_or_not_at_all(finished, tmp_path, monkeypatch):
    out = tmp_path / "pairs.jsonl"
    out.write_text("the old one")

    def broken(rows, path):
        path.write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(corpus, "_write_jsonl", broken)
    with pytest.raises(SystemExit, match="disk full"):
        cli.main(["export", str(finished), "--format", "jsonl", "--output", str(out)])
    assert out.read_text() == "the old one"


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_full_disk_leaves_the_old_file_and_no_other(kind, finished, tmp_path, monkeypatch):
    out = tmp_path / "out" / "pairs"
    out.parent.mkdir()
    out.write_text("the old one")

    def rows(*_):
        yield from itertools.islice(triples(finished), 3)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    triples = corpus.triples
    monkeypatch.setattr(corpus, "triples", rows)
    with pytest.raises(SystemExit, match=r"pairs: the output cannot be written: No space left on device\. Check"):
        cli.main(["export", str(finished), "--format", kind, "--output", str(out)])
    assert [path.name for path in out.parent.iterdir()] == ["pairs"]
    assert out.read_text() == "the old one"
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "out"))
    with pytest.raises(SystemExit, match=r"org/name cannot be published: .*No space left on device.* free space in"):
        cli.main(["publish", str(finished), "org/name", "--license", "mit"])
    assert [path.name for path in out.parent.iterdir()] == ["pairs"]


def test_an_export_replaces_no_device_and_no_journal(finished, tmp_path):
    (tmp_path / "folder").mkdir()
    for output, message in (
        (os.devnull, "a folder or a device"),
        (tmp_path / "folder", "a folder or a device"),
        ("", "a folder or a device"),
        (finished / "journal.sqlite", "keeps its answers"),
        (finished / "journal.sqlite-wal", "keeps its answers"),
        (finished / "journal.sqlite" / "x", "cannot be written"),
    ):
        with pytest.raises(SystemExit, match=message):
            cli.main(["export", str(finished), "--output", str(output)])
    assert corpus.statistics(finished)["rows"]["done"] == 60


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--config_name", "../up"], "--config_name ../up: letters"),
        (["--config_name", "/tmp/x"], "letters"),
        (["--config_name", "a\n---\nb"], "letters"),
        (["--config_name", "*"], "letters"),
        (["--validation_percentage", "nan"], "at least 0, at most 100"),
    ],
)
def test_options_that_cannot_be_right_are_refused_before_anything_is_sent(options, message, finished):
    with pytest.raises(SystemExit, match=message):
        cli.main(["publish", str(finished), "org/name", "--license", "mit", *options])


HOSTILE = "a | `b` <img src=x onerror=1> {{ 7 * 7 }} {% raw %}\n---\n# *c* _d_ [e](http://f) \x1b[31m \u202e www.g.com"


def test_no_text_breaks_out_of_the_card():
    info = {
        "recipe": {"generator": HOSTILE, "model": HOSTILE, "sampling": {HOSTILE: HOSTILE}, "prompts": [HOSTILE] * 2},
        "reasons": {HOSTILE: 1},
        "rows": {"done": 1},
        **dict.fromkeys(("answers", "tokens_in", "tokens_out"), 1),
    }
    row = dict.fromkeys(("caption", "paraphrase_1", "paraphrase_2"), HOSTILE)
    license = f"other: [{HOSTILE}"
    card = corpus.dataset_card("org/pairs", info, {"train": 1}, [row], license=license, config_name="default")
    assert DatasetCard(str(card)).data.license == license
    assert DatasetCard(str(card)).data.pretty_name == "pairs"
    assert "\x1b" not in card.text
    assert "\u202e" not in card.text
    assert "49" not in card.text
    tables = [line for line in card.text.splitlines() if line.startswith("|") and "onerror" in line]
    assert [line.count("|") for line in tables] == [4, 4]  # three cells each
    outside_code = re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "", card.text)
    for markup in ("<img", "{{", "[e](", "*c*", "_d_", "http://f", "www.g.com"):
        assert markup not in outside_code, markup
    assert card.text.count("# *c*") == card.text.count("{% raw %}")  # in code, on the same line
    assert not re.search(r"^# \*c", card.text, re.MULTILINE)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE recipes SET recipe = '{'",
        "UPDATE recipes SET recipe = '[1]'",
        "UPDATE recipes SET recipe = '{}'",
        f"UPDATE recipes SET recipe = '{'[' * 100_000}'",
        "UPDATE rows SET caption = x'ff'",
        "UPDATE rows SET caption = CAST(x'ff' AS TEXT)",
        "UPDATE rows SET caption = NULL",
        "UPDATE rows SET image_id = x'00'",
        "UPDATE rows SET paraphrase_2 = NULL",
        "UPDATE rows SET paraphrase_2 = ''",
        "UPDATE rows SET status = NULL WHERE idx = 3",
        "UPDATE rows SET reason = x'00' WHERE idx = 61",
    ],
)
def test_a_journal_that_somebody_edited_is_one_sentence(damage, finished, tmp_path):
    with sqlite3.connect(finished / "journal.sqlite") as db:
        db.executescript(
            "ALTER TABLE rows RENAME TO r; CREATE TABLE rows AS SELECT * FROM r"
        )  # without its constraints
        db.execute(damage)
    db.close()
    if "status" not in damage and "reason" not in damage:  # which are no part of a triple
        for kind in ("jsonl", "parquet"):
            with pytest.raises(SystemExit, match=r"journal\.sqlite: is damaged"):
                cli.main(["export", str(finished), "--output", str(tmp_path / "out"), "--format", kind])
            assert not (tmp_path / "out").exists()
    if "recipes" in damage or "status" in damage or "reason" in damage:
        with pytest.raises(SystemExit, match=r"journal\.sqlite: is damaged"):
            cli.main(["stats", str(finished)])


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000, b"HTTP/1.1 409 Conflict\r\n\r\n{}",
     b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\xff", b"HTTP/1.1 403 No\r\nX-Error-Message: {token}\r\n\r\n",
     None],
    ids=["nothing", "nested", "conflict", "not UTF-8", "the token", "never"],
)  # fmt: skip
def test_a_hub_that_answers_as_no_hub_does_is_one_sentence(answer, finished, monkeypatch):
    def talk(connection):
        with contextlib.suppress(OSError):
            asked = connection.recv(2**16)
            if answer is not None:
                connection.sendall(answer.replace(b"{token}", b"hf_secret" if b"hf_secret" in asked else b"?"))
                connection.close()

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connections.append(server.accept()[0])
                threading.Thread(target=talk, args=connections[-1:], daemon=True).start()

    connections = []
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(corpus, "UPLOAD_TIMEOUT", 0.5)
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(SystemExit, match=r"org/name cannot be published: .*\. Check the name") as stopped:
            cli.main(["publish", str(finished), "org/name", "--license", "mit"])
    assert "hf_secret" not in str(stopped.value)
    assert connections


@pytest.mark.parametrize("exists", [True, False])
def test_a_failed_upload_leaves_no_repository_that_was_not_there(exists, finished, monkeypatch):
    with HubDouble() as hub:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        hub.refuse = "/commit/"
        if exists:
            hub.repos["org/name"] = {"mine.txt": b"x"}
        with pytest.raises(SystemExit, match="org/name cannot be published"):
            cli.main(["publish", str(finished), "org/name", "--license", "mit"])
        assert hub.repos == ({"org/name": {"mine.txt": b"x"}} if exists else {})


@pytest.mark.slow
def test_published_it_loads_with_the_plain_library(finished, tmp_path):
    """Each client has a process of its own, as it reads the endpoint when it is imported."""
    with HubDouble() as hub:
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_secret", "HF_HUB_OFFLINE": "0",
                       "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home")}  # fmt: skip

        def python(*arguments):
            done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            return done.stdout

        publish = ["-m", "dataset_builder", "publish", str(finished), "org/pairs", "--license", "cc-by-4.0"]
        python(*publish, "--validation_percentage", "20")
        python(*publish, "--config_name", "second", "--validation_percentage", "0")
        repo = hub.repos["org/pairs"]
        assert not [name for name, data in repo.items() if b"hf_secret" in data]
        card = DatasetCard(repo["README.md"].decode())
        assert [config["config_name"] for config in card.data.configs] == ["default", "second"]
        script = """
import json, datasets
whole = datasets.load_dataset("org/pairs")
named = datasets.load_dataset("org/pairs", "second")
stream = datasets.load_dataset("org/pairs", "default", split="train", streaming=True)
print(json.dumps([{k: len(v) for k, v in whole.items()}, {k: len(v) for k, v in named.items()}, next(iter(stream)),
      sorted(set(whole["train"]["image_id"]) & set(whole["validation"]["image_id"]))]))
"""
        sizes, named, first, shared = json.loads(python("-c", script).splitlines()[-1])
    assert sum(sizes.values()) == 59
    assert sizes["validation"] > 3
    assert named == {"train": 59}
    assert first["paraphrase_2"].endswith("once more")
    assert first["model"] == "writer-1"
    assert shared == []
