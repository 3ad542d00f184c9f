"""Captions out of every kind of file."""

import contextlib
import json
import os
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataset_builder import InputError, load_triples, sources


def test_captions_of_every_kind_of_file(tmp_path):
    rows = [{"image_id": "a.jpg", "caption": 'a "dog", barking'}, {"image_id": "b.jpg", "caption": "zwei Hünde"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "c.parquet")
    (tmp_path / "c.csv").write_text('\ufeffimage_id,caption\na.jpg,"a ""dog"", barking"\nb.jpg,zwei Hünde\n')
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "c.txt").write_text("".join(row["caption"] + "\r\n" for row in rows))
    wanted = [(0, "a.jpg", 'a "dog", barking'), (1, "b.jpg", "zwei Hünde")]
    assert [sources.count_rows(tmp_path / f"c.{kind}") for kind in ("parquet", "csv", "jsonl", "txt")] == [2] * 4
    for kind in ("parquet", "csv", "jsonl"):
        assert list(sources.read_captions(tmp_path / f"c.{kind}")) == wanted
    assert list(sources.read_captions(tmp_path / "c.txt")) == [(i, str(i), text) for i, _, text in wanted]
    (tmp_path / "data").mkdir()
    (tmp_path / "c.parquet").rename(tmp_path / "data" / "c.parquet")
    assert list(sources.read_dataset(str(tmp_path / "data"))) == wanted
    with pytest.raises(InputError, match="no column 'text'; found: 'image_id', 'caption'"):
        sources.read_dataset(str(tmp_path / "data"), caption_column="text")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.csv", b"caption;image_id\na;b\n", "separated by semicolons: save the file with commas"),
        ("c.csv", b'caption\na\n"' + b"x" * (2**24 + 1), "line 3: has more than 16,777,216 characters"),
        ("c.csv", b"", "the file is empty"),
        ("c.parquet", b"PAR1", "cannot be read as Parquet"),
    ],
)
def test_files_that_cannot_be_read_are_named(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}.*{message}"):
        list(sources.read_captions(tmp_path / name))


@pytest.mark.parametrize("name", ["c.jsonl", "c.txt", "c.csv"])
def test_a_line_that_is_too_long_is_not_held_in_memory(name, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "LONGEST_LINE", 100)
    line = json.dumps({"caption": "a dog"}) if name == "c.jsonl" else "a dog"
    text = "caption\n" * (name == "c.csv") + f"{line}\n{'x' * 1000}\n{line}\n"
    (tmp_path / name).write_text(text)
    if name == "c.csv":
        with pytest.raises(InputError, match=r"c\.csv, line 3: has more than 100 characters"):
            list(sources.read_captions(tmp_path / name))
    else:
        assert [text for _, _, text in sources.read_captions(tmp_path / name)] == ["a dog", None, "a dog"]


def test_hostile_lines_are_counted(tmp_path):
    lines = ["[" * 100_000, '{"caption": ' + "1" * 10_000 + "}", '{"caption": NaN}', '{"caption": "a\0b"}', "\x00",
             '{"image_id": "000000039769", "caption": "a", "caption": "b"}', '{"image_id": NaN, "caption": "c"}',
             '{"caption": "' + "d " * 100_000 + '"}']  # fmt: skip
    (tmp_path / "c.jsonl").write_text("\ufeff" + "\n".join(lines))
    rows = [(image_id, text) for _, image_id, text in sources.read_captions(tmp_path / "c.jsonl")]
    assert rows[:2] == [("0", None), ("1", None)]
    assert rows[3:7] == [("3", None), ("4", None), ("000000039769", "b"), ("6", "c")]
    assert len(rows[7][1]) == sources.LONGEST_KEPT  # still too long for the filters


@pytest.mark.parametrize("kind", ["jsonl", "csv", "txt", "parquet"])
def test_what_is_no_file_is_refused(kind, tmp_path):
    (tmp_path / f"folder.{kind}").mkdir()
    (tmp_path / f"zero.{kind}").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / f"pipe.{kind}")
    (tmp_path / f"utf16.{kind}").write_text("caption\na dog\n", encoding="utf-16")
    for name, message in (
        ("folder", "is a folder, a device or a pipe"),
        ("zero", "is a folder, a device or a pipe"),
        ("pipe", "is a folder, a device or a pipe"),
        ("utf16", "line 1: is not UTF-8 but UTF-16"),
        ("x" * 5000, "cannot be opened: File name too long"),
    ):
        for read in (sources.read_captions, load_triples):
            if (kind, read) != ("txt", load_triples) or name != "utf16":
                with pytest.raises(InputError, match=message):
                    read(tmp_path / f"{name}.{kind}")


def test_ids_of_a_folder_of_csv_keep_their_zeros(tmp_path):
    header = "image_id,caption,paraphrase_1,paraphrase_2\n"
    (tmp_path / "c.csv").write_text(header + "000000039769,NA,b,c\n000000000139,null,b,c\n")
    wanted = [(0, "000000039769", "NA"), (1, "000000000139", "null")]
    assert list(sources.read_dataset(str(tmp_path))) == wanted
    triples = load_triples(tmp_path, image_dir=tmp_path)
    assert list(zip(triples["image_id"], triples["caption"])) == [row[1:] for row in wanted]


def test_json_that_would_crash_pyarrow_is_refused_by_line(tmp_path):
    row = {"image_id": "a", "caption": "a [[[ dog", "paraphrase_1": "b", "paraphrase_2": "c", "boxes": [[1]] * 100}
    deep = json.dumps(row)[:-1] + ', "x": ' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}"
    (tmp_path / "c.jsonl").write_text(json.dumps(row) + "\n" + deep + "\n")
    for source in (tmp_path, tmp_path / "c.jsonl"):
        with pytest.raises(InputError, match=r"c\.jsonl, line 2: is nested more than 60 deep"):
            load_triples(source)


ODD = {
    "dictionary": pa.array(["a", "a", None]).dictionary_encode(),
    "large": pa.array(["a", "a", None], pa.large_string()),
    "view": pa.array(["a", "a", None], pa.string_view()),
    "binary": pa.array([b"a", b"a", None]),
    "not UTF-8": pa.Array.from_buffers(pa.string(), 3, pa.array([b"\xff", b"\xfe", b"\xfd"]).buffers()),
    "year 292277026596": pa.array([2**62] * 3, pa.duration("s")),
    "nested": pa.array([[["a"]]] * 3),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_columns_of_parquet(name, tmp_path):
    rest = {column: ["x", "y", "z"] for column in ("image_id", "paraphrase_1", "paraphrase_2")}
    pq.write_table(pa.table({**rest, "caption": ODD[name]}), tmp_path / "c.parquet")
    captions = [text for _, _, text in sources.read_captions(tmp_path / "c.parquet")]
    expected = {"not UTF-8": [None] * 3, "year 292277026596": [None] * 3, "nested": [[["a"]]] * 3}
    assert captions == expected.get(name, ["a", "a", None])
    with pytest.raises(InputError, match=r"c\.parquet"):
        load_triples(tmp_path / "c.parquet")


def test_a_large_text_that_is_meant_many_times_is_held_once(tmp_path):
    texts = pa.DictionaryArray.from_arrays([0, None, 1] * 1000, ["x" * 2**20, "a dog"])
    pq.write_table(pa.table({"caption": texts, "image_id": range(3000)}), tmp_path / "c.parquet")
    for lists in sources._parquet_lists(tmp_path / "c.parquet", ("caption", "image_id")):
        assert len(lists["caption"]) == 1000
        assert len({id(text) for text in lists["caption"]}) <= 3
    rows = list(sources.read_captions(tmp_path / "c.parquet"))
    assert [(i, text and text[:5]) for i, _, text in rows[:3]] == [(0, "xxxxx"), (1, None), (2, "a dog")]
    assert rows[2999] == (2999, "2999", "a dog")


def test_short_texts_of_many_batches_keep_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "ROWS", 7)
    monkeypatch.setattr(sources, "BATCH", 64)
    wanted = [(i, f"{i}.jpg" if i % 5 else str(i), f"dog {i % 90}" if i % 11 else None) for i in range(1000)]
    table = pa.table(
        {"image_id": [f"{i}.jpg" if i % 5 else None for i in range(1000)], "caption": [r[2] for r in wanted]}
    )
    pq.write_table(table, tmp_path / "c.parquet", row_group_size=300)
    assert list(sources.read_captions(tmp_path / "c.parquet")) == wanted


def test_a_parquet_file_that_is_cut_or_lies_is_one_sentence(tmp_path):
    pq.write_table(pa.table({"caption": ["a dog", "a cat"] * 20}), tmp_path / "whole.parquet")
    data, path, rng = (tmp_path / "whole.parquet").read_bytes(), tmp_path / "c.parquet", random.Random(0)
    for i in range(300):
        damaged = bytearray(data[: rng.randrange(1, len(data))] if i % 3 == 0 else data)
        for _ in range(i % 3):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        for read in (sources.count_rows, lambda path: list(sources.read_captions(path))):
            with contextlib.suppress(InputError):
                read(path)
        if i % 3 == 0:
            with pytest.raises(InputError, match=r"c\.parquet: cannot be read as Parquet"):
                sources.count_rows(path)


def test_unparsable_lines_keep_their_row_number(tmp_path):
    (tmp_path / "c.jsonl").write_bytes(b'{"caption": "a dog"}\n{broken\n[1]\n\xff\n{"caption": "a cat"}\n')
    assert [(i, text) for i, _, text in sources.read_captions(tmp_path / "c.jsonl")] == [
        (0, "a dog"), (1, None), (2, None), (3, None), (4, "a cat")
    ]  # fmt: skip


def test_a_header_that_comes_again_is_named(tmp_path):
    (tmp_path / "a.csv").write_text("image_id,caption\n1,a dog\nimage_id,caption\n2,a cat\n")
    with pytest.raises(InputError, match=r"a\.csv, line 3: is the header once more"):
        list(sources.file_rows(tmp_path / "a.csv"))
