"""From a journal to a file and to numbers."""

import errno
import itertools
import json
import os
import sqlite3

import pytest

from dataset_builder import __main__ as cli
from dataset_builder import corpus, publishing

from .conftest import RECIPE, add_rows


def test_stats(finished, capsys):
    cli.main(["stats", str(finished)])
    out = capsys.readouterr().out
    assert "62 rows: 60 done, 1 failed, 1 rejected" in out
    assert "caption: too few words" in out
    assert "retry the failed rows" in out
    cli.main(["stats", str(finished), "--json"])
    info = json.loads(capsys.readouterr().out)
    assert [(recipe["model"], recipe["rows"]) for recipe in info["recipes"]] == [("writer-1", 60)]
    assert info["source"] == {"files": [{"name": "c.txt", "bytes": 9, "sha256_of_ends": "0"}]}


def test_recipes_come_in_the_order_they_ran(tmp_path):
    parts = [tmp_path / f"journal-0000{i}-of-00002.sqlite" for i in range(2)]
    for part, recipes in zip(parts, (["a", "b"], ["b", "c"])):
        for model in recipes:
            add_rows(part, {**RECIPE, "model": model}, range(3 * ord(model), 3 * ord(model) + 3))
    add_rows(parts[0], {**RECIPE, "model": "b"}, [3 * ord("a"), 3 * ord("a") + 1])  # made again
    assert [(r["model"], r["rows"]) for r in corpus.statistics(tmp_path)["recipes"]] == [("a", 1), ("b", 8), ("c", 3)]


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
    monkeypatch.setattr(publishing, "triples", rows)
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
