"""The configs of the `datasets` builder that read files."""

import io
import json
import tarfile

import datasets
import pytest

from dataset_builder import InputError, ParaCLIPParaphrases, load_triples

from .test_shards import sample, shard
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


def test_a_sample_without_a_picture_is_counted(tmp_path, caplog):
    (tmp_path / "s.tar").write_bytes(shard([*sample("a"), *sample("b")[1:]]))
    corpus = build("webdataset", [tmp_path / "s.tar"], tmp_path, validation_percentage=0).as_dataset()["train"]
    assert len(corpus) == 1
    assert "sample b: has no picture" in caplog.text


def triple(image_id, number=0):
    text = f"caption {number} of {image_id}"
    return {"image_id": image_id, "caption": text, "paraphrase_1": f"{text} 1", "paraphrase_2": f"{text} 2"}


def members(name, picture, **fields):
    return [(f"{name}.png", picture), (f"{name}.json", json.dumps(fields).encode())]


@pytest.fixture
def joined(tmp_path, pairs):
    """Two shards, and triples of their pictures: ./ in names, a dot in a folder, file names and URLs as names."""
    picture = next((pairs / "pictures").iterdir()).read_bytes()
    (tmp_path / "0.tar").write_bytes(shard([
        *members("./000000001", picture), *members("my.folder/2", picture), *members("3", picture, url="http://x/3.png"),
    ]))  # fmt: skip
    (tmp_path / "1.tar").write_bytes(shard([
        *members("4", picture), *members("lonely", picture), ("blind.json", b"{}"),
        *members("7", picture, key="seven"),
    ]))  # fmt: skip
    rows = [triple("000000001"), triple("000000001", 1), triple("./my.folder/2"), triple("http://x/3.png"),
            triple("4.png"), triple("seven"), triple("blind"), triple("nowhere")]  # fmt: skip
    return [tmp_path / "0.tar", tmp_path / "1.tar", write(tmp_path, rows)]


@pytest.mark.parametrize("num_proc", [None, 2])
def test_paraphrases_meet_their_pictures_in_shards_by_key(num_proc, joined, tmp_path, caplog):
    made = build("webdataset", joined, tmp_path, num_proc, validation_percentage=0)
    rows = made.as_dataset()["train"]
    wanted = ["000000001", "000000001", "./my.folder/2", "http://x/3.png", "4.png", "seven"]
    assert rows["image_id"] == wanted
    assert rows["paraphrase_2"][1] == "caption 1 of 000000001 2"
    assert rows[5]["image"].size
    assert (
        "2 of 8 triples left out: their pictures are not in the shards, or cannot be read: blind, nowhere"
        in caplog.text
    )
    if num_proc is None:  # what other processes log is not seen here
        assert "1.tar, sample lonely: has no paraphrases; left out" in caplog.text
        assert "1.tar, sample blind (1): has no picture; left out" in caplog.text
    assert [row["image_id"] for row in made.as_streaming_dataset("train")] == wanted


def test_a_join_is_made_again_when_the_paraphrases_change_and_trains(joined, tmp_path):
    assert len(build("webdataset", joined, tmp_path, validation_percentage=0).as_dataset()["train"]) == 6
    write(tmp_path, [triple("4"), triple("4", 1)])
    corpus = build("webdataset", joined, tmp_path, validation_percentage=0).as_dataset()
    assert corpus["train"]["caption"] == ["caption 0 of 4", "caption 1 of 4"]
    corpus.save_to_disk(tmp_path / "joined")
    assert load_triples(tmp_path / "joined")[0]["image"].size


def test_names_that_agree_by_chance_are_noticed(tmp_path, caplog):
    samples = [file for i in range(4) for file in (*members(str(i), b"x"), (f"{i}.txt", f"another {i}".encode()))]
    (tmp_path / "0.tar").write_bytes(shard(samples))
    files = [tmp_path / "0.tar", write(tmp_path, [triple(str(i)) for i in range(4)])]
    build("webdataset", files, tmp_path, validation_percentage=0)
    assert "4 of 4 samples have another caption in the shards than in the paraphrases" in caplog.text


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


@pytest.mark.parametrize("config", ["jsonl", "parquet"])
def test_negatives_are_a_column_where_a_file_has_them(config, tmp_path):
    rows = [{**row, "negative": "a cat" if i % 2 else None} for i, row in enumerate(many(4))]
    files = [write(tmp_path, rows, "with.jsonl"), write(tmp_path, many(4, 4), "without.jsonl")]
    if config == "parquet":
        for i, file in enumerate(files):
            files[i] = file.with_suffix(".parquet")
            datasets.Dataset.from_json(str(file), cache_dir=str(tmp_path / "j")).to_parquet(files[i])
    made = build(config, files, tmp_path, validation_percentage=0).as_dataset()["train"]
    assert made["negative"] == [None, "a cat", None, "a cat", *[None] * 4]
    alone = build(config, files[1:], tmp_path, validation_percentage=0).as_dataset()["train"]
    assert "negative" not in alone.column_names


def test_negatives_come_along_to_shards_and_what_is_no_text_is_left_out(tmp_path, caplog):
    (tmp_path / "s.tar").write_bytes(shard([*sample("a"), *sample("b")]))
    triples = [{**triple("a"), "negative": "a cat"}, {**triple("b"), "negative": 7}]
    write(tmp_path, triples, "pairs.jsonl")
    files = [tmp_path / "s.tar", tmp_path / "pairs.jsonl"]
    made = build("webdataset", files, tmp_path, validation_percentage=0).as_dataset()["train"]
    assert [(row["image_id"], row["negative"]) for row in made.remove_columns("image")] == [("a", "a cat")]
    assert "has 7 as its negative, which must be a text or null" in caplog.text
