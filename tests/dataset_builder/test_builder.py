"""The configs of the `datasets` builder that read files."""

import io
import json
import tarfile

import datasets
import pytest

from dataset_builder import InputError, ParaCLIPParaphrases

from .test_triples import ROW, write


def build(config, files, tmp_path, num_proc=None, **options):
    builder = ParaCLIPParaphrases(
        config_name=config, data_files=[str(file) for file in files], cache_dir=str(tmp_path / "c"), **options
    )
    builder.download_and_prepare(num_proc=num_proc)
    return builder


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
    builder = build(config, files, tmp_path, num_proc, validation_percentage=40)
    corpus = builder.as_dataset()
    assert len(corpus["train"]) + len(corpus["validation"]) == 60
    assert set(corpus["train"]["image_id"]).isdisjoint(corpus["validation"]["image_id"])
    assert len(corpus["validation"]) > 0
    assert "image" not in corpus["train"].column_names
    assert builder.info.citation
    assert str(builder.info.version) == "1.0.0"
    stream = builder.as_streaming_dataset("train")
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
