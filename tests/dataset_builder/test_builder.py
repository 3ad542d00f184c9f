"""The configs of the `datasets` builder that read files."""

import io
import json
import tarfile

import datasets
import pytest

from dataset_builder import InputError, ParaCLIPParaphrases, builder

from .test_triples import ROW, write


def build(config, files, tmp_path, num_proc=None, **options):
    made = ParaCLIPParaphrases(
        config_name=config, data_files=[str(file) for file in files], cache_dir=str(tmp_path / "c"), **options
    )
    made.download_and_prepare(num_proc=num_proc)
    return made


def many(n, start=0):
    return [{**ROW, "image_id": f"{i % 10}.png", "caption": f"caption {i}"} for i in range(start, start + n)]


@pytest.mark.parametrize("config", ["jsonl", "parquet"])
@pytest.mark.parametrize("num_proc", [None, 2])
def test_files_become_splits_that_share_no_picture(config, num_proc, tmp_path):
    files = [write(tmp_path, many(30, 30 * i), f"{i}.jsonl") for i in range(2)]
    if config == "parquet":
        for i, file in enumerate(files):
            files[i] = tmp_path / f"{i}.parquet"
            datasets.Dataset.from_json(str(file), cache_dir=str(tmp_path / "j")).to_parquet(files[i])
    made = build(config, files, tmp_path, num_proc, validation_percentage=40)
    corpus = made.as_dataset()
    assert len(corpus["train"]) + len(corpus["validation"]) == 60
    assert set(corpus["train"]["image_id"]).isdisjoint(corpus["validation"]["image_id"])
    assert len(corpus["validation"]) > 0
    assert "image" not in corpus["train"].column_names
    assert made.info.citation
    assert str(made.info.version) == "1.0.0"
    stream = made.as_streaming_dataset("train")
    assert [row["caption"] for row in stream] == corpus["train"]["caption"]


def test_pictures_from_a_folder_and_from_shards(tmp_path, pairs):
    texts = [json.loads(line) for line in (pairs / "pairs.jsonl").read_text().splitlines()]
    shard = tmp_path / "00000.tar"
    with tarfile.open(shard, "w") as tar:
        for i, row in enumerate(texts[:6]):
            picture = (pairs / "pictures" / row["image_id"]).read_bytes()
            sample = json.dumps(row).encode() if i != 3 else b"{broken"
            for suffix, data in (("png", picture), ("json", sample), ("txt", b"caption")):
                info = tarfile.TarInfo(f"{i:09d}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    shards = build("webdataset", [shard], tmp_path, validation_percentage=0).as_dataset()["train"]
    folder = build(
        "jsonl", [pairs / "pairs.jsonl"], tmp_path, validation_percentage=0, image_dir=str(pairs / "pictures")
    ).as_dataset()["train"]
    assert shards["image_id"] == [row["image_id"] for i, row in enumerate(texts[:6]) if i != 3]
    assert shards[0]["image"].tobytes() == folder[0]["image"].tobytes()


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


def read(tmp_path, data):
    (tmp_path / "s.tar").write_bytes(data)
    return list(builder._webdataset_rows(str(tmp_path / "s.tar")))


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_shard_that_is_cut_anywhere_is_refused(form, tmp_path):
    data = shard([*sample("a"), *sample("b" * 200), *sample("c")], form)
    end = len(data.rstrip(b"\0"))
    end = end + -end % 512 + 1024  # the last member's block, and the two of the end marker
    whole = read(tmp_path, data)
    assert [name for name, _ in whole] == ["sample a", "sample " + "b" * 200, "sample c"]
    for cut in sorted({*range(0, end, 13), *range(0, end, 512), *range(end - 1025, end)}):
        with pytest.raises(InputError, match=r"s\.tar.*(download it again|is empty)"):
            read(tmp_path, data[:cut])
    assert read(tmp_path, data[:end]) == whole
    with pytest.raises(InputError, match=r"after sample c: .* as if two shards were joined"):
        read(tmp_path, data + data)


@pytest.mark.parametrize("coding", ["gz", "bz2", "xz"])
def test_a_compressed_shard_is_read_unless_it_is_cut(coding, tmp_path):
    data = shard(sample("a"), mode=f"w:{coding}")
    assert [name for name, _ in read(tmp_path, data)] == ["sample a"]
    for cut in range(0, len(data) // 2, 7):
        with pytest.raises(InputError, match=r"s\.tar"):
            read(tmp_path, data[:cut])


def test_names_links_and_json_of_every_kind_in_a_shard(tmp_path):
    names = ["./00001", "my.folder/0001", "/absolute/1", "../../up/1"]
    special = [("l.jpg", tarfile.SYMTYPE), ("h.json", tarfile.LNKTYPE), ("d.jpg", tarfile.DIRTYPE),
               ("f.jpg", tarfile.FIFOTYPE), ("c.jpg", tarfile.CHRTYPE)]  # fmt: skip
    rows = read(tmp_path, shard([file for name in names for file in sample(name)], special=special))
    assert [name for name, _ in rows] == ["sample 00001", *(f"sample {name}" for name in names[1:])]
    assert read(tmp_path, shard([("._a.jpg", b"x"), (".b.json", b"{}"), ("no_dot", b"x")])) == []
    assert read(tmp_path, shard([("a.json", b"[" * 100_000)])) == [("sample a", None)]
    ((_, row),) = read(tmp_path, shard([("a.jpg", b"1"), ("a.jpg", b"2"), ("a.json", b"{}")]))
    assert row["image"]["bytes"] == b"2"  # as tar: the later one


@pytest.mark.parametrize(
    "size", [b"77777777777\0", b"-0000000512\0", b"\xff" * 12, b"zzzzzzzzzzz\0", b"\x80" + b"\xff" * 11]
)
def test_a_size_that_lies_is_refused(size, tmp_path):
    data = bytearray(shard(sample("a")))
    data[124:136], data[148:156] = size, b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    with pytest.raises(InputError, match=r"before the first sample: .* download it again"):
        read(tmp_path, bytes(data))


def test_a_sample_without_a_picture_is_counted(tmp_path, caplog):
    (tmp_path / "s.tar").write_bytes(shard([*sample("a"), *sample("b")[1:]]))
    corpus = build("webdataset", [tmp_path / "s.tar"], tmp_path, validation_percentage=0).as_dataset()["train"]
    assert len(corpus) == 1
    assert "sample b: has no picture" in caplog.text


def test_bad_rows_are_named_and_counted(tmp_path, caplog):
    path = write(tmp_path, [ROW, {**ROW, "caption": ""}, {"image_id": "b"}, {**ROW, "image_id": None}, [1]])
    with open(path, "ab") as file:
        file.write(json.dumps({**ROW, "caption": "a \ud800 dog"}).encode() + b"\n")
        file.write(b'{broken\n\xff\xfe\n{"image_id": 7, "caption": "a", "paraphrase_1": "b", "paraphrase_2": "c"}\n')
    corpus = build("jsonl", [path], tmp_path, validation_percentage=0).as_dataset()["train"]
    assert corpus["image_id"] == ["a.png", "7"]
    for text in (
        "line 2: has an empty caption",
        "line 3: has no caption",
        "line 4: has an empty image_id",
        "line 5: is not an object",
        "line 6: ",
    ):
        assert text in caplog.text
    assert "7 bad rows left out" in caplog.text


@pytest.mark.parametrize(
    ("config", "content", "message"),
    [
        ("jsonl", (json.dumps(ROW) + "\n") * 2, "line 2: the caption 'x' of picture a.png came before"),
        ("parquet", "not parquet", "cannot be read as Parquet"),
        ("webdataset", "not a tar file", "cannot be read as a tar file"),
    ],
)
def test_what_cannot_be_read_is_refused(config, content, message, tmp_path):
    path = tmp_path / "file"
    path.write_text(content)
    with pytest.raises(datasets.exceptions.DatasetGenerationError) as refused:
        build(config, [path], tmp_path)
    assert message in str(refused.value.__cause__)


def test_a_config_without_files_is_refused(tmp_path):
    with pytest.raises(InputError, match="data_files"):
        ParaCLIPParaphrases(config_name="jsonl", cache_dir=str(tmp_path)).download_and_prepare()
