import json

import datasets
import pytest

from dataset_builder import load_triples, split_by_image_id

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
