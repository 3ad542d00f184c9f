"""Triples are found by the names that their pictures have in shards."""

import logging

import datasets
import pytest

from dataset_builder.partners import Paraphrases


def paraphrases(*names):
    rows = [{"image_id": name, "caption": f"caption {i}"} for i, name in enumerate(names)]
    return Paraphrases(datasets.Dataset.from_list(rows))


@pytest.mark.parametrize(
    ("image_id", "key", "sample"),
    [
        ("000000001", "000000001", {}),
        ("./a/1", "a/1", {}),
        ("a/1", "././a/1", {}),
        ("my.folder/1.jpg", "my.folder/1", {}),
        ("1.JPEG", "1", {}),
        ("http://x/1.jpg", "000000001", {"url": "http://x/1.jpg"}),
        ("seven", "7", {"image_id": 3, "key": "7", "uid": "seven"}),
    ],
)
def test_names_that_are_the_same(image_id, key, sample):
    found = paraphrases("other", image_id, "another").of(key, sample)
    assert [row["caption"] for row in found] == ["caption 1"]


@pytest.mark.parametrize(
    ("image_id", "key"), [("1", "01"), ("a/1", "1"), ("1.tar", "1"), ("A", "a"), ("http://x/1", "x/1")]
)
def test_names_that_are_not(image_id, key):
    assert paraphrases(image_id).of(key, {"url": 5, "uid": None}) == []


def test_the_key_goes_before_what_the_json_says_and_all_triples_come_in_their_order():
    found = paraphrases("b", "a", "c", "a", "b").of("a", {"url": "b"})
    assert [row["caption"] for row in found] == ["caption 1", "caption 3"]


def test_names_of_the_same_hash_are_told_apart():
    names = ("plumless", "buckeroo")  # of one CRC-32
    for i, name in enumerate(names):
        assert [row["caption"] for row in paraphrases(*names).of(name, {})] == [f"caption {i}"]


def test_what_has_no_picture_is_counted_and_named(caplog):
    joined = datasets.DatasetDict(
        train=datasets.Dataset.from_list([{"image_id": "a"}]),
        validation=datasets.Dataset.from_list([{"image_id": "b"}]),
    )
    paraphrases("a", "b", "b").report_missing(joined)
    assert not caplog.text
    with caplog.at_level(logging.WARNING):
        paraphrases("a", *(f"lost {i}" for i in range(30)), "lost 0").report_missing(joined)
    assert "31 of 32 triples left out" in caplog.text
    assert "lost 19 ..." in caplog.text
    assert "lost 20" not in caplog.text
