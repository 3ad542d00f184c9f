import io
import json
import tarfile

import datasets
import pytest

from dataset_builder import ParaCLIPParaphrases, load_triples, split_by_image_id

ROW = {"image_id": "a.png", "caption": "x", "paraphrase_1": "x'", "paraphrase_2": "x''"}


def write(folder, rows, name="pairs.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "folder", "saved", "saved dict"])
def test_one_corpus_in_every_form(kind, tmp_path, pairs):
    expected = load_triples(pairs / "pairs.jsonl", image_dir=pairs / "pictures")
    texts = expected.remove_columns("image")
    source = tmp_path / f"pairs.{kind}"
    if kind == "jsonl":
        source = pairs / "pairs.jsonl"
    elif kind == "csv":
        texts.to_csv(source)
    elif kind == "parquet":
        texts.to_parquet(source)
    elif kind == "folder":
        source.mkdir()
        texts.to_parquet(source / "train.parquet")
    elif kind == "saved":
        texts.save_to_disk(source)
    else:
        datasets.DatasetDict(train=texts).save_to_disk(source)
    dataset = load_triples(source, image_dir=pairs / "pictures")
    assert list(dataset) == list(expected)
    assert dataset.column_names == ["image_id", "caption", "paraphrase_1", "paraphrase_2", "image"]


def test_image_embeds_stand_in_for_pictures(tmp_path):
    dataset = load_triples(write(tmp_path, [{**ROW, "image_embeds": [0.5, 0.5]}]))
    assert dataset[0]["image_embeds"] == [0.5, 0.5]


def test_numeric_image_ids_become_text(tmp_path):
    assert load_triples(write(tmp_path, [{**ROW, "image_id": 7, "image_embeds": [1.0]}]))[0]["image_id"] == "7"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"image_id": "a", "caption": "x", "text": "y"}], "missing columns paraphrase_1, paraphrase_2; .* text"),
        ([{**ROW, "paraphrase_1": ""}], r"row 0 has an empty paraphrase_1 \(''\)"),
        ([ROW, {**ROW, "caption": "  "}], "row 1 has an empty caption"),
        ([ROW, {**ROW, "paraphrase_2": None}], r"row 1 has an empty paraphrase_2 \(None\)"),
        ([{**ROW, "caption": 3}], r"row 0 has an empty caption|not text"),
        ([{**ROW, "image_id": None}], "empty image_id|missing"),
        ([ROW], "neither a column image nor image_embeds; .*--image_dir"),
    ],
)
def test_bad_rows_are_named(rows, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load_triples(write(tmp_path, rows))


def test_bad_files_are_named(tmp_path):
    (tmp_path / "broken.jsonl").write_text('{"image_id": "a", \n{{{')
    with pytest.raises(ValueError, match="broken.jsonl cannot be read"):
        load_triples(tmp_path / "broken.jsonl")
    (tmp_path / "pairs.txt").write_text("a")
    with pytest.raises(ValueError, match="unknown file type"):
        load_triples(tmp_path / "pairs.txt")
    with pytest.raises(ValueError, match="no such file"):
        load_triples(tmp_path / "absent.jsonl")
    with pytest.raises(ValueError, match="no such folder"):
        load_triples(write(tmp_path, [ROW]), image_dir=tmp_path / "absent")


def test_split_keeps_a_picture_on_one_side(tmp_path):
    ids = [f"{i // 3}.jpg" for i in range(3000)]
    rest, second = split_by_image_id(datasets.Dataset.from_dict({"image_id": ids}), 10)
    assert not set(rest["image_id"]) & set(second["image_id"])
    assert len(rest) + len(second) == 3000
    assert 0.07 < len(second) / 3000 < 0.13
    again, _ = split_by_image_id(datasets.Dataset.from_dict({"image_id": ids[::-1]}), 10)
    assert set(again["image_id"]) == set(rest["image_id"])
    assert len(split_by_image_id(datasets.Dataset.from_dict({"image_id": ids}), 0)[1]) == 0


# ------------------------------------------------------------------------------------------------- configs with files
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
    assert builder.info.citation and str(builder.info.version) == "1.0.0"
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
        "line 2: no caption",
        "line 3: no caption",
        "line 4: no image_id",
        "line 5: cannot be parsed",
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
    with pytest.raises(ValueError, match="data_files"):
        ParaCLIPParaphrases(config_name="jsonl", cache_dir=str(tmp_path)).download_and_prepare()
