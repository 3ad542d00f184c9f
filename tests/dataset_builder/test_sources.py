"""What captions are meant, which columns they have, and what is kept about where they came from."""

import json
import pickle
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataset_builder import InputError, load_triples
from dataset_builder.filters import LeftOut
from dataset_builder.sources import open_source


def write(path, *texts):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(text + "\n" for text in texts))
    return str(path)


def texts(source):
    return [text for _, _, text in source.rows()]


def test_files_folders_and_patterns(tmp_path):
    a, b = write(tmp_path / "x" / "a.txt", "a dog", "a cat"), write(tmp_path / "x" / "sub" / "b.txt", "a cow")
    write(tmp_path / "x" / ".cache" / "c.txt", "hidden")
    write(tmp_path / "x" / "picture.jpg", "no caption")
    c = write(tmp_path / "c.jsonl", json.dumps({"text": "a hen"}))
    for given in ([str(tmp_path / "x")], [str(tmp_path / "x" / "**" / "*.txt")], [a, b], [a, b, a]):
        assert list(open_source(given).rows()) == [(0, "0", "a dog"), (1, "1", "a cat"), (2, "2", "a cow")]
    assert texts(open_source([c, str(tmp_path / "x")])) == ["a hen", "a dog", "a cat", "a cow"]
    assert open_source([c, str(tmp_path / "x")]).total() == 4
    assert texts(open_source([c, a, b], limit=2)) == ["a hen", "a dog"]
    assert open_source([c, a, b], limit=2).total() == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("none.txt", "none.txt: no such file"),
        ("*.csv", r"\*.csv: no file fits this pattern"),
        ("empty", "empty: this folder has no file of the types .txt"),
        ("mixed", r"mixed: has files of several kinds \(.csv, .txt\).* Name one kind, e.g. '.*mixed/\*.csv'"),
    ],
)
def test_what_is_not_there_is_named(given, message, tmp_path):
    (tmp_path / "empty").mkdir()
    write(tmp_path / "mixed" / "a.txt", "a dog")
    write(tmp_path / "mixed" / "a.csv", "caption", "a dog")
    with pytest.raises(InputError, match=f"--captions .*{message}"):
        open_source([str(tmp_path / given)])
    for captions, dataset in ((None, None), (["a.txt"], "org/name")):
        with pytest.raises(InputError, match="--captions or --dataset_name"):
            open_source(captions, dataset)


@pytest.mark.parametrize(
    ("columns", "options", "found"),
    [
        ({"caption": "c", "image_id": "i"}, {}, ("i", "c")),
        ({"URL": "u", "TEXT": "t"}, {}, ("u", "t")),
        ({"key": "k", "url": "u", "caption": "c", "text": "t"}, {}, ("k", "c")),
        ({"Description": "d"}, {}, ("0", "d")),
        ({"caption": "c", "a": "m", "key": "k"}, {"caption_column": "a", "image_id_column": "caption"}, ("c", "m")),
        ({"caption": "c"}, {"image_id_column": "caption"}, ("c", "c")),
    ],
)  # fmt: skip
def test_columns_are_found_by_their_names(columns, options, found, tmp_path):
    source = open_source([write(tmp_path / "c.jsonl", json.dumps(columns))], **options)
    assert list(source.rows()) == [(0, *found)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {},
            "not clear which column holds the captions; found: 'title', 'a'. Name the right one with --caption_column",
        ),
        ({"caption_column": "text"}, "no column 'text'; found: 'title', 'a'"),
        (
            {"caption_column": "a", "image_id_column": "b"},
            "no column 'b'; .* Name the right one with --image_id_column",
        ),
        (
            {"caption_column": "a", "where": "nsfw == 1"},
            "--where nsfw == 1 needs a column 'nsfw'; found: 'title', 'a'",
        ),
        ({"limit": -1}, "--limit: at least 0"),
    ],
)
def test_a_column_that_is_not_there_is_named_before_anything_is_read(options, message, tmp_path):
    first = write(
        tmp_path / "a.jsonl", json.dumps({"caption": "c", "title": "t", "a": "a", "b": "b", "text": "t", "nsfw": 1})
    )
    last = write(tmp_path / "b.jsonl", json.dumps({"title": "t", "a": "a"}))
    with pytest.raises(InputError, match=message):
        open_source([first, last], **options)


def test_a_list_of_captions_gives_as_many_rows(tmp_path):
    """As nlphuji/flickr30k (texts) and HuggingFaceM4/COCO (objects) have them."""
    path = write(tmp_path / "c.jsonl", json.dumps({"caption": ["a dog", "a cat"], "filename": "1.jpg"}),
                 json.dumps({"caption": [{"raw": "a cow", "sentid": 3}], "filename": "2.jpg"}),
                 json.dumps({"caption": [], "filename": "3.jpg"}))  # fmt: skip
    assert list(open_source([path]).rows()) == [
        (0, "1.jpg", "a dog"), (1, "1.jpg", "a cat"), (2, "2.jpg", "a cow"), (3, "3.jpg", None)
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_what_where_leaves_out_comes_along_to_be_counted(kind, tmp_path):
    rows = [{"TEXT": f"dog {i}", "NSFW": ("UNLIKELY", "NSFW", None)[i % 3], "similarity": i / 10} for i in range(6)]
    path = tmp_path / f"c.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "csv":
        lines = [",".join("" if value is None else str(value) for value in row.values()) for row in rows]
        write(path, "TEXT,NSFW,similarity", *lines)
    else:
        write(path, *map(json.dumps, rows), "{broken")
    source = open_source([str(path)], where="NSFW == 'UNLIKELY' and similarity > 0.1")
    found = list(source.rows())
    assert [idx for idx, _, text in found if type(text) is str] == [3]
    assert [idx for idx, _, text in found if isinstance(text, LeftOut)] == [0, 1, 2, 4, 5]
    assert len(found) == 6 + (kind == "jsonl")  # a line that cannot be parsed is no question of where
    assert source.fingerprint()["where"] == source.where


def test_a_source_can_be_sent_elsewhere_and_says_what_it_is_without_paths(tmp_path):
    path = write(tmp_path / "secret" / "c.txt", "a dog")
    source = open_source([path], limit=5)
    assert pickle.loads(pickle.dumps(source)) == source
    known = source.fingerprint()
    assert {**known["files"][0], "sha256_of_ends": ""} == {"name": "c.txt", "bytes": 6, "sha256_of_ends": ""}
    assert known["limit"] == 5
    assert str(tmp_path) not in json.dumps(known)
    write(tmp_path / "secret" / "c.txt", "a cat")
    assert open_source([path], limit=5).fingerprint() != known
    write(tmp_path / "secret" / "c.txt", "a dog")
    assert open_source([path], limit=5).fingerprint() == known


def test_a_fingerprint_reads_both_ends_of_a_file(tmp_path):
    path = tmp_path / "c.txt"
    prints = []
    for change in (None, 0, 10**6, 2 * 10**6 - 2):
        data = bytearray(b"x" * (2 * 10**6 - 1) + b"\n")
        if change is not None:
            data[change] = ord("y")
        path.write_bytes(data)
        prints.append(json.dumps(open_source([str(path)]).fingerprint()))
    assert len(set(prints)) == 3  # the middle is not read


def test_memory_does_not_grow_with_the_captions(tmp_path):
    def peak(count):
        with open(tmp_path / "c.jsonl", "w") as file:
            file.writelines(json.dumps({"caption": f"a dog beside number {i}"}) + "\n" for i in range(count))
        source = open_source([str(tmp_path / "c.jsonl")], where="len(caption) > 3")
        tracemalloc.start()
        try:
            rows = sum(1 for _ in source.rows())
            return rows, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)  # what is imported and cached
    (few, low), (many, high) = peak(1_000), peak(20_000)
    assert (few, many) == (1_000, 20_000)
    assert high < low + 2**18  # all rows would be more than 2 MiB


def test_a_folder_of_a_data_set(tmp_path):
    write(
        tmp_path / "c.csv",
        "image_id,caption,paraphrase_1,paraphrase_2",
        "000000039769,NA,b,c",
        "000000000139,null,b,c",
    )
    assert list(open_source(dataset_name=str(tmp_path)).rows()) == [
        (0, "000000039769", "NA"), (1, "000000000139", "null")
    ]  # fmt: skip
    triples = load_triples(tmp_path, image_dir=tmp_path)
    assert list(zip(triples["image_id"], triples["caption"])) == [("000000039769", "NA"), ("000000000139", "null")]
