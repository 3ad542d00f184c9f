"""Captions out of every kind of file."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataset_builder import InputError, sources


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
        ("c.csv", b'caption\na\n"' + b"x" * (2**24 + 1), "line 3: is not CSV: field larger"),
        ("c.csv", b"", "the file is empty"),
        ("c.parquet", b"PAR1", "cannot be read as Parquet"),
    ],
)
def test_files_that_cannot_be_read_are_named(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}.*{message}"):
        list(sources.read_captions(tmp_path / name))


def test_unparsable_lines_keep_their_row_number(tmp_path):
    (tmp_path / "c.jsonl").write_bytes(b'{"caption": "a dog"}\n{broken\n[1]\n\xff\n{"caption": "a cat"}\n')
    assert [(i, text) for i, _, text in sources.read_captions(tmp_path / "c.jsonl")] == [
        (0, "a dog"), (1, None), (2, None), (3, None), (4, "a cat")
    ]  # fmt: skip
