"""Tar shards, whole, cut and hostile."""

import io
import json
import tarfile

import pytest

from dataset_builder import InputError, shards

from .test_triples import ROW


def shard(samples, form=tarfile.GNU_FORMAT, mode="w", special=()):
    """A tar of (name, content), and of (name, type) without any."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=form) as tar:
        for name, kind in special:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        for name, data in samples:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def sample(name):
    return [(f"{name}.jpg", b"picture"), (f"{name}.json", json.dumps({**ROW, "image_id": name}).encode())]


WHOLE, TEXTS = ("json", *shards.PICTURES), ("json", "txt")  # for training; for captions, whose pictures are skipped


def read(tmp_path, data, suffixes=WHOLE):
    (tmp_path / "s.tar").write_bytes(data)
    return list(shards.read_samples(tmp_path / "s.tar", suffixes))


@pytest.mark.parametrize("suffixes", [WHOLE, TEXTS], ids=["whole", "texts"])
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_shard_that_is_cut_anywhere_is_refused(form, suffixes, tmp_path):
    data = shard([*sample("a"), *sample("b" * 200), *sample("c")[::-1]], form)
    end = len(data.rstrip(b"\0"))
    end = end + -end % 512 + 1024  # the last member's block, and the two of the end marker
    whole = read(tmp_path, data, suffixes)
    assert [key for key, _ in whole] == ["a", "b" * 200, "c"]
    for cut in sorted({*range(0, end, 13), *range(0, end, 512), *range(end - 1025, end)}):
        with pytest.raises(InputError, match=r"s\.tar.*(download it again|is empty)"):
            read(tmp_path, data[:cut], suffixes)
    assert read(tmp_path, data[:end], suffixes) == whole
    with pytest.raises(InputError, match=r"after sample c: .* as if two shards were joined"):
        read(tmp_path, data + data, suffixes)


@pytest.mark.parametrize("coding", ["gz", "bz2", "xz"])
def test_a_compressed_shard_is_read_unless_it_is_cut(coding, tmp_path):
    data = shard(sample("a"), mode=f"w:{coding}")
    assert [key for key, _ in read(tmp_path, data)] == ["a"]
    for cut in range(0, len(data) // 2, 7):
        with pytest.raises(InputError, match=r"s\.tar"):
            read(tmp_path, data[:cut])


def test_names_links_and_files_of_every_kind_in_a_shard(tmp_path):
    names = ["./00001", "my.folder/0001", "/absolute/1", "../../up/1"]
    special = [("l.jpg", tarfile.SYMTYPE), ("h.json", tarfile.LNKTYPE), ("d.jpg", tarfile.DIRTYPE),
               ("f.jpg", tarfile.FIFOTYPE), ("c.jpg", tarfile.CHRTYPE)]  # fmt: skip
    for suffixes in (WHOLE, TEXTS):
        rows = read(tmp_path, shard([file for name in names for file in sample(name)], special=special), suffixes)
        assert [key for key, _ in rows] == ["00001", *names[1:]]
    assert read(tmp_path, shard([("._a.jpg", b"x"), (".b.json", b"{}"), ("no_dot", b"x")])) == []
    ((_, parts),) = read(tmp_path, shard([("a.jpg", b"1"), ("a.JPG", b"2"), ("a.json", b"{}"), ("a.cls", b"3")]))
    assert parts == {"jpg": b"2", "json": b"{}"}  # as tar: the later one


def test_the_texts_of_a_sample(tmp_path):
    members = [("a.json", b'{"caption": "old", "width": 3}'), ("a.txt", b" new\n"), ("b.json", b"[" * 100_000),
               ("c.txt", b"alone"), ("d.jpg", b"no text")]  # fmt: skip
    (tmp_path / "s.tar").write_bytes(shard(members))
    assert list(shards.samples(tmp_path / "s.tar")) == [
        {"key": "a", "caption": "new", "width": 3}, None, {"key": "c", "caption": "alone"}, {"key": "d"}
    ]  # fmt: skip


@pytest.mark.parametrize(
    "size", [b"77777777777\0", b"-0000000512\0", b"\xff" * 12, b"zzzzzzzzzzz\0", b"\x80" + b"\xff" * 11]
)
def test_a_size_that_lies_is_refused(size, tmp_path):
    data = bytearray(shard(sample("a")))
    data[124:136], data[148:156] = size, b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    with pytest.raises(InputError, match=r"before the first sample: .* download it again"):
        read(tmp_path, bytes(data))
