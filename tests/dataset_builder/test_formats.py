"""Captions out of every kind of file."""

import contextlib
import gzip
import io
import json
import os
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataset_builder import InputError, files, formats, load_triples
from dataset_builder.filters import LeftOut
from dataset_builder.parquet import LONGEST_KEPT
from dataset_builder.sources import open_source


def captions(path, **options):
    return [(image_id, text) for _, image_id, text in open_source([str(path)], **options).rows()]


def tar_of(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


ROWS = [{"image_id": "a.jpg", "caption": 'a "dog", barking'}, {"image_id": "b.jpg", "caption": "zwei Hünde"}]
WANTED = [("a.jpg", 'a "dog", barking'), ("b.jpg", "zwei Hünde")]


@pytest.mark.parametrize("coding", ["", ".gz"])
@pytest.mark.parametrize("kind", ["parquet", "csv", "tsv", "jsonl", "json", "txt", "tar"])
def test_captions_of_every_kind_of_file(kind, coding, tmp_path):
    path = tmp_path / f"c.{kind}"
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif kind == "tar":
        tar_of(path, [(f"{i:09d}.json", line.encode()) for i, line in enumerate(lines.splitlines())])
    else:
        path.write_text({
            "csv": '\ufeffimage_id,caption\na.jpg,"a ""dog"", barking"\nb.jpg,zwei Hünde',
            "tsv": 'image_id\tcaption\na.jpg\ta "dog", barking\nb.jpg\tzwei Hünde',
            "jsonl": lines, "json": json.dumps(ROWS), "txt": "".join(row["caption"] + "\r\n" for row in ROWS),
        }[kind])  # fmt: skip
    if coding:
        if kind == "parquet":
            return
        path = tmp_path / f"c.{kind}.gz"
        path.write_bytes(gzip.compress((tmp_path / f"c.{kind}").read_bytes()))
    wanted = [(str(i), text) for i, (_, text) in enumerate(WANTED)] if kind == "txt" else WANTED
    assert captions(path) == wanted
    assert open_source([str(path)]).total() == (None if kind == "tar" else 2)


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize(("kind", "text"), [("txt", "a dog\na cat"), ("csv", "caption\na dog\na cat"),
                                            ("jsonl", '{"caption": "a"}\n{"caption": "b"}')])  # fmt: skip
def test_rows_are_counted_with_and_without_a_last_line_break(kind, text, end, tmp_path):
    (tmp_path / f"c.{kind}").write_text(text + end)
    assert open_source([str(tmp_path / f"c.{kind}")]).total() == 2


def test_conceptual_captions_have_no_header_and_their_quotation_marks_are_letters(tmp_path):
    address = "https://example.org/{}.jpg"
    (tmp_path / "cc3m.tsv").write_text(f'" a dog said\t{address.format(1)}\ntwo " cats\t{address.format(2)}\n')
    (tmp_path / "cc12m.tsv").write_text(f'{address.format(1)}\t" a dog said\n{address.format(2)}\ttwo " cats\n')
    wanted = [(address.format(1), '" a dog said'), (address.format(2), 'two " cats')]
    assert captions(tmp_path / "cc3m.tsv") == wanted
    assert captions(tmp_path / "cc12m.tsv") == wanted
    (tmp_path / "named.tsv").write_text("caption\turl\n" + (tmp_path / "cc3m.tsv").read_text())
    assert captions(tmp_path / "named.tsv") == wanted
    (tmp_path / "pandas.tsv").write_text('caption\turl\n"a ""red"" dog"\tu\n')
    assert captions(tmp_path / "pandas.tsv") == [("u", 'a "red" dog')]


def test_laion(tmp_path):
    table = pa.table({"SAMPLE_ID": [1, 2], "URL": ["u1", "u2"], "TEXT": ["a dog", None], "NSFW": ["UNLIKELY", "NSFW"]})
    pq.write_table(table, tmp_path / "part-0.parquet")
    assert captions(tmp_path / "part-0.parquet") == [("u1", "a dog"), ("u2", None)]


COCO = {
    "info": {}, "images": [{"id": 9, "file_name": "000000000009.jpg"}, {"id": 25, "file_name": "000000000025.jpg"}],
    "annotations": [{"image_id": 25, "id": 1, "caption": "a giraffe"}, {"image_id": 9, "id": 2, "caption": "a meal"},
                    {"image_id": 9, "id": 3, "caption": "a tray of food"}],
}  # fmt: skip
KARPATHY = {
    "dataset": "coco",
    "images": [
        {"filename": f"{i}.jpg", "imgid": i, "cocoid": i + 100, "split": split,
         "sentences": [{"raw": f"caption {j} of {i}", "tokens": ["caption"], "sentid": j} for j in range(2)]}
        for i, split in enumerate(["train", "restval", "val", "test"])
    ],
}  # fmt: skip


def test_coco_and_karpathy(tmp_path):
    (tmp_path / "captions_train2017.json").write_text(json.dumps(COCO))
    assert captions(tmp_path / "captions_train2017.json") == [
        ("000000000025.jpg", "a giraffe"), ("000000000009.jpg", "a meal"), ("000000000009.jpg", "a tray of food")
    ]  # fmt: skip
    path = tmp_path / "dataset_coco.json"
    path.write_text(json.dumps(KARPATHY, indent=1))
    source = open_source([str(path)])
    assert source.total() == 8
    rows = list(source.rows())
    assert rows[3] == (3, "1.jpg", "caption 1 of 1")
    left_out = [isinstance(text, LeftOut) for _, _, text in rows]
    assert left_out == [False] * 4 + [True] * 4  # val and test are for measuring
    kept = [image for _, image, text in open_source([str(path)], split="test").rows() if type(text) is str]
    assert kept == ["3.jpg", "3.jpg"]


def test_json_lines_that_are_called_json(tmp_path):
    (tmp_path / "c.json").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    assert captions(tmp_path / "c.json") == WANTED
    (tmp_path / "one.json").write_text(json.dumps({"sentences": ["a dog"]}))
    with pytest.raises(InputError, match=r"one\.json: holds no captions that are known here"):
        open_source([str(tmp_path / "one.json")])
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"deep\.json: is no such JSON"):
        open_source([str(tmp_path / "deep.json")])


@pytest.mark.parametrize(
    "document",
    [{"images": 5}, {"images": [5]}, {"annotations": [5], "images": {}}, {"images": [{"sentences": 5}]}, 5, [], {},
     {"images": [{"id": [1]}]}, {"annotations": [{"image_id": {}, "caption": "a"}]},
     {"images": [{"sentences": [{}]}]}],
)  # fmt: skip
def test_json_of_another_kind_is_one_sentence(document, tmp_path):
    (tmp_path / "c.json").write_text(json.dumps(document, indent=1))
    with contextlib.suppress(InputError):  # or its captions are none, and are counted
        assert [text for _, text in captions(tmp_path / "c.json")] == [None]


def test_shards_of_img2dataset(tmp_path):
    """The caption is in the .txt, and in the JSON; pictures are skipped."""
    for shard in range(2):
        members = []
        for i in range(3):
            key = f"{shard:05d}{i:04d}"
            sample = {"key": key, "url": f"u{i}", "caption": f"caption {key}", "status": "success", "width": 100 * i}
            members += [(f"./{key}.jpg", b"x" * 5000), (f"./{key}.json", json.dumps(sample).encode())]
            members += [(f"./{key}.txt", f"caption {key}".encode())] * (i != 1)
        tar_of(tmp_path / f"{shard:05d}.tar", members)
        (tmp_path / f"{shard:05d}_stats.json").write_text("{}")
    keys = [f"{shard:05d}{i:04d}" for shard in range(2) for i in range(3)]
    assert captions(tmp_path) == [(key, f"caption {key}") for key in keys]
    taken = [text for _, text in captions(tmp_path / "00000.tar", where="width >= 100") if type(text) is str]
    assert taken == ["caption 000000001", "caption 000000002"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.csv", b"caption;image_id\na;b\n", "separated by semicolons: save the file with commas"),
        ("c.csv", b'caption\na\n"' + b"x" * (2**24 + 1), "line 3: has more than 16,777,216 characters"),
        ("c.csv", b"", "the file is empty"),
        ("c.parquet", b"PAR1", "cannot be read as Parquet"),
        ("c.jsonl.gz", gzip.compress(b'{"caption": "a"}\n' * 9, mtime=0)[:-9], "cannot be read: .*download it again"),
        ("c.jsonl.gz", b'{"caption": "a"}\n', "cannot be read: Not a gzipped file"),
        ("c.jsonl.bz2", b"BZh9x", "cannot be read: .*download it again"),
        ("c.txt", b"a.jpg#0\ta dog\n", "this is a table. Rename it to .tsv or .csv"),
        ("c.pkl", b"\x80", "unknown file type '.pkl'. The known types are .txt, .jsonl"),
    ],
)
def test_files_that_cannot_be_read_are_named(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}.*{message}"):
        captions(tmp_path / name)


@pytest.mark.parametrize("name", ["c.jsonl", "c.txt", "c.csv"])
def test_a_line_that_is_too_long_is_not_held_in_memory(name, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LONGEST_LINE", 100)
    monkeypatch.setattr(formats, "LONGEST_LINE", 100)
    line = json.dumps({"caption": "a dog"}) if name == "c.jsonl" else "a dog"
    text = "caption\n" * (name == "c.csv") + f"{line}\n{'x' * 1000}\n{line}\n"
    (tmp_path / name).write_text(text)
    if name == "c.csv":
        with pytest.raises(InputError, match=r"c\.csv, line 3: has more than 100 characters"):
            captions(tmp_path / name)
    else:
        assert [text for _, text in captions(tmp_path / name)] == ["a dog", None, "a dog"]


def test_hostile_lines_are_counted(tmp_path):
    lines = ["[" * 100_000, '{"caption": ' + "1" * 10_000 + "}", '{"caption": NaN}', '{"caption": "a\0b"}', "\x00",
             '{"image_id": "000000039769", "caption": "a", "caption": "b"}', '{"image_id": NaN, "caption": "c"}',
             '{"caption": "' + "d " * 100_000 + '"}']  # fmt: skip
    (tmp_path / "c.jsonl").write_text("\ufeff" + "\n".join(lines))
    rows = captions(tmp_path / "c.jsonl")
    assert rows[:2] == [("0", None), ("1", None)]
    assert rows[3:7] == [("3", None), ("4", None), ("000000039769", "b"), ("6", "c")]
    assert len(rows[7][1]) == LONGEST_KEPT  # still too long for the filters


def test_unparsable_lines_keep_their_row_number(tmp_path):
    (tmp_path / "c.jsonl").write_bytes(b'{"caption": "a dog"}\n{broken\n[1]\n\xff\n{"caption": "a cat"}\n')
    assert [(i, text) for i, _, text in open_source([str(tmp_path / "c.jsonl")]).rows()] == [
        (0, "a dog"), (1, None), (2, None), (3, None), (4, "a cat")
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["jsonl", "csv", "txt", "parquet"])
def test_what_is_no_file_is_refused(kind, tmp_path):
    (tmp_path / f"folder.{kind}").mkdir()
    (tmp_path / f"zero.{kind}").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / f"pipe.{kind}")
    (tmp_path / f"utf16.{kind}").write_text("caption\na dog\n", encoding="utf-16")
    for name, message in (
        ("folder", "this folder has no file|is a folder, a device or a pipe"),
        ("zero", "is a folder, a device or a pipe"),
        ("pipe", "is a folder, a device or a pipe"),
        ("utf16", "line 1: is not UTF-8 but UTF-16"),
        ("x" * 5000, "cannot be opened: File name too long"),
    ):
        for read in (captions, load_triples):
            if (kind, read) != ("txt", load_triples) or name != "utf16":
                with pytest.raises(InputError, match=message):
                    read(tmp_path / f"{name}.{kind}")
