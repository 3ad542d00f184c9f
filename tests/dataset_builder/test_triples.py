"""Triples from every kind of file; what is wrong is named by file, line and remedy."""

import gzip
import json

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataset_builder import InputError, load_triples, split_by_image_id, split_names

ROW = {"image_id": "a.png", "caption": "x", "paraphrase_1": "x'", "paraphrase_2": "x''"}


def write(folder, rows, name="pairs.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("kind", ["jsonl", "csv", "jsonl.gz", "csv.gz", "parquet", "folder", "saved", "saved dict"])
def test_one_corpus_in_every_form(kind, tmp_path, pairs):
    expected = load_triples(pairs / "pairs.jsonl", image_dir=pairs / "pictures")
    texts = expected.remove_columns("image")
    source = tmp_path / f"pairs.{kind}"
    if kind == "jsonl":
        source = pairs / "pairs.jsonl"
    elif kind == "jsonl.gz":
        source.write_bytes(gzip.compress((pairs / "pairs.jsonl").read_bytes()))
    elif kind.startswith("csv"):
        texts.to_csv(source)
        if kind.endswith("gz"):
            source.write_bytes(gzip.compress(source.read_bytes()))
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
        ([{"image_id": "a", "text": "y", "paraphrase_1": "z"}],
         "missing columns caption, paraphrase_2; the columns found are image_id, text, paraphrase_1. Rename"),
        ([{"image_id": "a", "caption": "x", "text": "y"}],
         "no paraphrases .*python -m dataset_builder paraphrase --captions .*pairs.jsonl --output my-corpus"),
        ([{**ROW, "paraphrase_1": ""}], "line 1: has an empty paraphrase_1. Fix or remove it"),
        ([ROW, {**ROW, "caption": "  "}], "line 2: has an empty caption"),
        ([ROW, {**ROW, "caption": "\u3000"}], "line 2: has an empty caption"),
        ([ROW, {**ROW, "paraphrase_2": None}], "line 2: has an empty paraphrase_2"),
        ([ROW, {"image_id": "b", "caption": "x"}], "line 2: has no paraphrase_1"),
        ([{**ROW, "caption": 3}], "line 1: has 3 as its caption, which must be a text"),
        ([ROW, {**ROW, "caption": {"en": "x"}}], "line 2: has {'en': 'x'} as its caption, which must be a text"),
        ([{**ROW, "image_id": None}], "line 1: has an empty image_id"),
        ([{**ROW, "image_id": " "}], "line 1: has an empty image_id"),
        ([ROW, {**ROW, "image_id": 1.5}], "line 2: has 1.5 as its image_id, which must be a text or a whole number"),
        ([{**ROW, "image_id": True}], "line 1: has True as its image_id"),
        ([ROW, {**ROW, "image_id": "a\0b"}], "line 2: has a control character in its image_id"),
        ([ROW, {**ROW, "image_id": "a\x1b[2J"}], "line 2: has a control character in its image_id"),
        ([ROW, {**ROW, "image_id": "a\u202eb"}], "line 2: has a control character in its image_id"),
        ([ROW, {**ROW, "caption": "a \ud800 dog"}], "line 2: has half a surrogate pair in its caption"),
        ([ROW], "neither a column image nor image_embeds. .*--image_dir"),
    ],
)  # fmt: skip
def test_bad_rows_are_named(rows, message, tmp_path):
    with pytest.raises(InputError, match=f"pairs.jsonl.*{message}"):
        load_triples(write(tmp_path, rows))


def test_bad_files_are_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_triples(tmp_path / "absent.jsonl")
    with pytest.raises(InputError, match="no such folder"):
        load_triples(write(tmp_path, [ROW]), image_dir=tmp_path / "absent")
    with pytest.raises(InputError, match="absent/name: split 'train' of this data set cannot be opened"):
        load_triples("absent/name")
    with pytest.raises(InputError, match="absent/name: this data set cannot be opened"):
        split_names("absent/name")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: split 'train' of this data set cannot be opened"):
        load_triples(tmp_path / "empty")


def test_a_saved_data_set_names_its_splits_and_rows(tmp_path):
    rows = datasets.Dataset.from_list([ROW, {**ROW, "caption": ""}])
    datasets.DatasetDict(other=rows).save_to_disk(tmp_path / "saved")
    assert split_names(tmp_path / "saved") == ["other"]
    with pytest.raises(InputError, match="has no split 'train'; its splits are other"):
        load_triples(tmp_path / "saved")
    with pytest.raises(InputError, match="saved, row 2: has an empty caption"):
        load_triples(tmp_path / "saved", split="other")
    (tmp_path / "saved" / "other" / "state.json").write_text("{")
    with pytest.raises(InputError, match="saved: this saved data set cannot be opened"):
        load_triples(tmp_path / "saved", split="other")


@pytest.mark.parametrize("splits", [False, True])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("dataset_info.json", "[]"),
        ("dataset_info.json", "[" * 100_000),
        ("state.json", "[]"),
        ("data-00000-of-00001.arrow", "x" * 5000),
        ("data-00000-of-00001.arrow", ""),
    ],
)
def test_a_saved_data_set_that_is_broken_is_one_sentence(name, content, splits, tmp_path):
    rows = datasets.Dataset.from_list([ROW] * 3)
    (datasets.DatasetDict(train=rows) if splits else rows).save_to_disk(tmp_path / "saved")
    next((tmp_path / "saved").rglob(name)).write_text(content)
    with pytest.raises(InputError, match=r"saved: this saved data set cannot be opened: .*\. Save it again\."):
        load_triples(tmp_path / "saved", image_dir=tmp_path)


CARD = "---\nconfigs:\n- config_name: default\n  data_files: /nowhere.jsonl\n---\n"


@pytest.mark.parametrize(
    "files",
    [
        {"set.py": "open('hostile', 'w')"},
        {"set.py": "open('hostile', 'w')", "train.jsonl": json.dumps(ROW)},
        {"train.jsonl": ""},
        {"README.md": "---\n: [\n---\n", "train.jsonl": json.dumps(ROW)},
        {"README.md": CARD, "train.jsonl": json.dumps(ROW)},
        {"train.zip": "PK\x03\x04"},
    ],
    ids=["a script", "a script and data", "an empty file", "a broken card", "a card to nowhere", "no ZIP"],
)
def test_a_folder_that_datasets_cannot_open_is_one_sentence(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set").mkdir()
    for name, content in files.items():
        (tmp_path / "set" / name).write_text(content)
    for read in (load_triples, split_names):
        if (read, files) != (split_names, {"train.jsonl": ""}):  # which names its split
            with pytest.raises(InputError, match=r"^set: .*cannot be opened: .*\. Check the name") as refused:
                read("set")
            assert len(str(refused.value)) < 1500
    assert not (tmp_path / "hostile").exists()


@pytest.mark.parametrize("name", ["[a]*.jsonl", "**.jsonl", "a[b]/x.jsonl", "a?.jsonl", "a%2e{0}.jsonl"])
def test_a_name_is_no_pattern(name, tmp_path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    assert len(load_triples(write(tmp_path, [ROW] * 3, name), image_dir=tmp_path)) == 3


@pytest.mark.parametrize("name", ["y" * 5000, "y" * 5000 + ".jsonl", ""])
def test_a_name_of_any_length_is_one_short_sentence(name):
    for read in (load_triples, split_names):
        with pytest.raises(InputError, match="cannot be opened") as refused:
            read(name)
        assert len(str(refused.value)) < 1500


LINE = json.dumps(ROW).encode() + b"\n"
HEADER = b"image_id,caption,paraphrase_1,paraphrase_2\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"", "the file is empty"),
        ("a.csv", b"", "the file is empty"),
        ("a.jsonl", b" \n\n", "has no rows"),
        ("a.csv", HEADER, "has no rows"),
        ("a.json", b"[]", "has no rows"),
        ("a.jsonl", LINE * 3 + b"\n\n" + LINE + b'{"image_id": "a" "caption"}\n' + LINE,
         "a.jsonl, line 7: is not JSON: Expecting ',' delimiter at column 18. Each line must be one JSON object; fix"),
        ("a.jsonl", LINE + b"[1]\n", "line 2: is not an object with columns"),
        ("a.json", b"[" + LINE + b",\n{]", "line 3: is not JSON: .* at column 2"),
        ("a.json", LINE + b"{]", "line 2: is not JSON"),
        ("a.json", b"[" + LINE + b"," + LINE.replace(b'"x"', b'""') + b"]", "row 2: has an empty caption"),
        ("a.jsonl", LINE + "{caf\u00e9".encode("latin-1"), "line 2: is not UTF-8. Save the file as UTF-8"),
        ("a.jsonl", LINE.decode().encode("utf-16"), "line 1: is not UTF-8"),
        ("a.csv", HEADER + b"a,caf\xe9,b,c\n", "line 2: is not UTF-8. Save the file as UTF-8"),
        ("a.csv", HEADER.replace(b",", b";") + b"a;b;c;d\n", "line 1: no column .* semicolons: save .* with commas"),
        ("a.csv", HEADER.replace(b",", b"\t") + b"a\tb\tc\td\n", "line 1: .* separated by tabs: save the file"),
        ("a.csv", HEADER + b"a,b,c,d\n\na,dogs, cats,c,d\n",
         "line 4: has 5 columns, the header has 4. Put texts that contain commas in double quotation marks"),
        ("a.csv", HEADER + b"a,b,c\n", "line 2: has 3 columns, the header has 4"),
        ("a.csv", HEADER + b'a,"x\ny",c,d\nb, ,c,d\n', "line 4: has an empty caption"),
        ("a.csv", HEADER + b'a,b,c,d\na,"b,c,d\na,b,c,d\n', "line 3: is not CSV: .*quotation marks"),
        ("a.csv", b"image_id,caption\na,b\n", "line 1: has captions, but no paraphrases .* --captions .*a.csv"),
        ("a.csv", HEADER.replace(b"paraphrase_2", b"caption,paraphrase_2"), "line 1: .* 'caption' twice"),
        ("a.txt", b"a dog\n", "captions without paraphrases.*paraphrase --captions .*a.txt"),
        ("a.docx", b"a", r"unknown file type '.docx'. The known types are .jsonl, .json, .csv, .parquet"),
        ("a.jsonl", b"null\n" + LINE, "line 1: cannot be parsed"),  # pyarrow would crash
        ("a.jsonl", LINE + b"[" * 100_000, "line 2: is nested more than 60 deep"),
        ("a.csv", HEADER.replace(b"\n", b"\r") + b"a,b,c,d\r", "line 1: is not CSV"),
        ("a.parquet", b"not parquet", "cannot be read as .parquet: .*Parquet"),
    ],
)  # fmt: skip
def test_bad_files_are_named_by_line_with_a_remedy(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as refused:
        load_triples(tmp_path / name, image_dir=tmp_path)
    assert str(refused.value).startswith(str(tmp_path / name))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("image_embeds", "0.1 0.2", "column image_embeds is .*string.* must be a list of numbers"),
        ("image", 3, "column image has neither pictures nor their file names"),
    ],
)
def test_columns_of_an_odd_type_are_named(column, value, message, tmp_path):
    with pytest.raises(InputError, match=message):
        load_triples(write(tmp_path, [{**ROW, column: value}]))


def test_the_index_that_pandas_writes_is_no_column(tmp_path):
    (tmp_path / "a.csv").write_text("\n," + HEADER.decode() + "0,007,b,c,d\n")
    assert load_triples(tmp_path / "a.csv", image_dir=tmp_path)["image_id"] == ["007"]


def test_texts_that_look_like_times_stay_texts(tmp_path):
    rows = [{**ROW, "caption": "2020-01-01"}] * 2
    assert load_triples(write(tmp_path, rows), image_dir=tmp_path)["caption"] == ["2020-01-01"] * 2


def test_rows_of_parquet_count_from_1(tmp_path):
    datasets.Dataset.from_list([ROW, ROW, {**ROW, "paraphrase_2": ""}]).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a\.parquet, row 3: has an empty paraphrase_2"):
        load_triples(tmp_path / "a.parquet", image_dir=tmp_path)


@pytest.mark.parametrize("kind", ["large_string", "string_view"])
@pytest.mark.parametrize("columns", [("caption",), tuple(ROW)])
def test_texts_of_parquet_come_as_newer_libraries_write_them(kind, columns, tmp_path):
    table = pa.table({name: pa.array([value] * 12) for name, value in ROW.items()})
    for name in columns:
        at = table.column_names.index(name)
        table = table.set_column(at, name, pa.array([ROW[name]] * 12, getattr(pa, kind)()))
    pq.write_table(table, tmp_path / "a.parquet")
    dataset = load_triples(tmp_path / "a.parquet", image_dir=tmp_path).remove_columns("image")
    assert list(dataset) == [ROW] * 12
    assert all(feature == datasets.Value("string") for feature in dataset.features.values())


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([7, 8], ["7", "8"]),
        ([7, "b"], ["7", "b"]),
        (["000000039769", "000000000139"], ["000000039769", "000000000139"]),
        (["2020-01-01", "2020-01-02"], ["2020-01-01", "2020-01-02"]),  # the reader of JSON takes them for times
        (["1", "b"], ["1", "b"]),
    ],
)
@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_ids_of_every_form_survive(ids, expected, kind, tmp_path):
    rows = [{**ROW, "image_id": image_id, "caption": "NA"} for image_id in ids]
    path = write(tmp_path, rows)
    if kind == "csv":
        path = tmp_path / "a.csv"
        path.write_text("\ufeff" + HEADER.decode() + "".join(f"{image_id},NA,b,c\n\n" for image_id in ids))
    dataset = load_triples(path, image_dir=tmp_path)
    assert dataset["image_id"] == expected
    assert dataset["caption"] == ["NA", "NA"]


def test_integer_ids_of_a_data_set_work_throughout(tmp_path):
    rows = [{**ROW, "image_id": i, "image_embeds": [1.0]} for i in range(200)]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "train.parquet")
    dataset = load_triples(tmp_path)
    assert dataset["image_id"] == [str(i) for i in range(200)]
    first, second = split_by_image_id(datasets.Dataset.from_list(rows), 20)
    again = split_by_image_id(dataset, 20)
    assert [str(i) for i in second["image_id"]] == again[1]["image_id"]
    assert len(first) + len(second) == 200


def test_split_keeps_a_picture_on_one_side(tmp_path):
    ids = [f"{i // 3}.jpg" for i in range(3000)]
    rest, second = split_by_image_id(datasets.Dataset.from_dict({"image_id": ids}), 10)
    assert not set(rest["image_id"]) & set(second["image_id"])
    assert len(rest) + len(second) == 3000
    assert 0.07 < len(second) / 3000 < 0.13
    again, _ = split_by_image_id(datasets.Dataset.from_dict({"image_id": ids[::-1]}), 10)
    assert set(again["image_id"]) == set(rest["image_id"])
    assert len(split_by_image_id(datasets.Dataset.from_dict({"image_id": ids}), 0)[1]) == 0
