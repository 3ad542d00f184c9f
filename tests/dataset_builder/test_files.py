"""Files of people: their kinds, their compression, and their lines."""

import bz2
import gzip
import lzma

import pytest

from dataset_builder import InputError, files


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.jsonl", ".jsonl"), ("A.JSONL.GZ", ".jsonl"), ("a.tar.xz", ".tar"), ("a.b.csv", ".csv"), ("a", ""),
     ("a.gz", ""), ("hf://datasets/org/name@c0ffee/data/a.json.gz", ".json")],
)  # fmt: skip
def test_kinds(name, kind):
    assert files.kind_of(name) == kind


@pytest.mark.parametrize(
    ("suffix", "compress"), [("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)]
)
def test_lines_of_compressed_files(suffix, compress, tmp_path):
    path = tmp_path / f"c.txt{suffix}"
    path.write_bytes(compress(b"\xef\xbb\xbfa dog\r\n\xff\n\nlast"))
    assert list(files.lines(path)) == ["a dog\r\n", "\ufffd\n", "\n", "last"]
    path.rename(tmp_path / "copy")  # as a cache calls it
    with files.open_bytes(tmp_path / "copy", path.name) as file:
        assert file.read().endswith(b"last")


@pytest.mark.parametrize(
    ("suffix", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)]
)
def test_what_is_cut_is_one_sentence(suffix, compress, tmp_path):
    data = compress(b"x" * 999)
    for cut in range(1, len(data)):
        (tmp_path / f"c.txt{suffix}").write_bytes(data[:cut])
        with pytest.raises(InputError, match=rf"c\.txt\{suffix}: cannot be read: .*download it again"):
            list(files.lines(tmp_path / f"c.txt{suffix}"))


def test_parsed_json():
    assert [files.parsed_json(text) for text in ('{"a": 1}', b"[2]", None, "", "{", "[" * 100_000, b"\xff")] == [
        {"a": 1}, [2], None, None, None, None, None
    ]  # fmt: skip
