"""Parquet of every kind, whole and damaged."""

import contextlib
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataset_builder import InputError, load_triples, parquet
from dataset_builder.sources import open_source

ODD = {
    "dictionary": pa.array(["a", "a", None]).dictionary_encode(),
    "large": pa.array(["a", "a", None], pa.large_string()),
    "view": pa.array(["a", "a", None], pa.string_view()),
    "binary": pa.array([b"a", b"a", None]),
    "not UTF-8": pa.Array.from_buffers(pa.string(), 3, pa.array([b"\xff", b"\xfe", b"\xfd"]).buffers()),
    "year 292277026596": pa.array([2**62] * 3, pa.duration("s")),
    "list": pa.array([["a"], ["a"], None]),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_columns_of_parquet(name, tmp_path):
    rest = {column: ["x", "y", "z"] for column in ("image_id", "paraphrase_1", "paraphrase_2")}
    pq.write_table(pa.table({**rest, "caption": ODD[name]}), tmp_path / "c.parquet")
    captions = [text for _, _, text in open_source([str(tmp_path / "c.parquet")]).rows()]
    expected = {"not UTF-8": [None] * 3, "year 292277026596": [None] * 3}
    assert captions == expected.get(name, ["a", "a", None])
    with pytest.raises(InputError, match=r"c\.parquet"):
        load_triples(tmp_path / "c.parquet")


def test_a_large_text_that_is_meant_many_times_is_held_once(tmp_path):
    texts = pa.DictionaryArray.from_arrays([0, None, 1] * 1000, ["x" * 2**20, "a dog"])
    pq.write_table(pa.table({"caption": texts, "image_id": range(3000)}), tmp_path / "c.parquet")
    for lists in parquet._lists(tmp_path / "c.parquet", ("caption", "image_id")):
        assert len(lists["caption"]) == 1000
        assert len({id(text) for text in lists["caption"]}) <= 3
    rows = list(open_source([str(tmp_path / "c.parquet")]).rows())
    assert [(i, text and text[:5]) for i, _, text in rows[:3]] == [(0, "xxxxx"), (1, None), (2, "a dog")]
    assert rows[2999] == (2999, "2999", "a dog")


def test_short_texts_of_many_batches_keep_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "ROWS", 7)
    monkeypatch.setattr(parquet, "BATCH", 64)
    wanted = [(i, f"{i}.jpg" if i % 5 else str(i), f"dog {i % 90}" if i % 11 else None) for i in range(1000)]
    table = pa.table(
        {"image_id": [f"{i}.jpg" if i % 5 else None for i in range(1000)], "caption": [r[2] for r in wanted]}
    )
    pq.write_table(table, tmp_path / "c.parquet", row_group_size=300)
    assert list(open_source([str(tmp_path / "c.parquet")]).rows()) == wanted


def test_a_parquet_file_that_is_cut_or_lies_is_one_sentence(tmp_path):
    pq.write_table(pa.table({"caption": ["a dog", "a cat"] * 20}), tmp_path / "whole.parquet")
    data, path, rng = (tmp_path / "whole.parquet").read_bytes(), tmp_path / "c.parquet", random.Random(0)
    for i in range(300):
        damaged = bytearray(data[: rng.randrange(1, len(data))] if i % 3 == 0 else data)
        for _ in range(i % 3):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        for read in (parquet.count, lambda path: list(open_source([str(path)]).rows())):
            with contextlib.suppress(InputError):
                read(path)
        if i % 3 == 0:
            with pytest.raises(InputError, match=r"c\.parquet: cannot be read as Parquet"):
                parquet.count(path)
