import json
import re
from types import SimpleNamespace

import datasets
import pytest
from huggingface_hub.errors import HTTPError

from eval import data, suite
from eval.data import MissingData, read_json, read_tsv, rows_of
from modeling_paraclip import InputError
from tests.eval.samples import WORDS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "x.tsv is empty"),
        (b"\xef\xbb\xbf\n", "x.tsv is empty"),
        (b"score,a\n1,x\n", "comma-separated; tabs are needed"),
        (b"score\tb\n1\tx\n", "no column a; found are score, b"),
        (b"score\ta\n", "has no rows"),
        (b"score\ta\n1\tx\ty\n", "line 2: 3 fields, but the header has 2"),
        (b"score\ta\n1\tx\n1\n", "line 3: 1 fields"),
        (b"score\ta\none\tx\n", "line 2: score is 'one', not a number"),
        (b"score\ta\n1\t \n", "line 2: a is empty"),
        (b"score\ta\n1\t\xff\n", "is not UTF-8: line 2"),
        (b"score;a\n1;x\n", "semicolon-separated; tabs are needed"),
        (b"score\ta\n1\tx\n\n2\ty\n", "line 3: 0 fields"),
        (b"score\ta\ta\n1\tx\ty\n", "the column a is there twice"),
        (b"score\ta\nNaN\tx\n", "line 2: score is NaN, not a finite number"),
        (b"score\ta\ninf\tx\n", "line 2: score is inf, not a finite number"),
        (b"score\ta\n\tx\n", "line 2: score is '', not a number"),
    ],
)
def test_bad_files_are_named(content, message, tmp_path):
    (tmp_path / "x.tsv").write_bytes(content)
    with pytest.raises(ValueError, match=message) as refused:
        read_tsv(tmp_path / "x.tsv", ("score", "a"), numbers=("score",))
    assert "x.tsv" in str(refused.value)


def test_quotes_are_text(tmp_path):
    (tmp_path / "x.tsv").write_text('score\ta\n1\t"so he said\n2\tit\'s "fine"\n')
    assert [row["a"] for row in read_tsv(tmp_path / "x.tsv", ("score", "a"))] == ['"so he said', 'it\'s "fine"']


def test_hub_data_go_the_same_way(encoder, folder, monkeypatch):
    asked = []

    def load_dataset(repo, name=None, split=None, revision=None):
        asked.append((repo, revision, split))
        if "sts" in repo:
            return datasets.Dataset.from_dict(
                {"sentence1": WORDS, "sentence2": WORDS[::-1], "score": [0.0, 1, 2, 3, 4]}
            )
        rows = {
            "images": [str(folder / "photos/images/0.png")] * 2,
            "caption": WORDS[:2],
            "negative_caption": WORDS[2:4],
        }
        return datasets.Dataset.from_dict(rows).cast_column("images", datasets.Image())

    monkeypatch.setattr(data.datasets, "load_dataset", load_dataset)
    measured, _ = suite.evaluate(encoder, ["sts", "sugarcrepe"], None)
    assert {m.dataset for m in measured} == {
        *("STS12", "STS13", "STS14", "STS15", "STS16", "STS-B", "SICK-R", "SugarCrepe")
    }
    assert all(re.fullmatch("[0-9a-f]{40}", revision) for _, revision, _ in asked)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.tsv", "a\tn\nu\u2028v\t1\nw\t2\n"),  # U+2028 ends no line
        ("x.jsonl", '{"a": "u\u2028v", "n": 1}\n\n{"a": "w", "n": 2}\n\n'),
        ("x.json", '[{"a": "u\u2028v", "n": 1},\n {"a": "w", "n": 2}]\n'),
    ],
)
def test_marks_and_line_ends_of_any_editor(name, content, mark, newline, tmp_path):
    (tmp_path / name).write_bytes((mark + content.replace("\n", newline)).encode())
    assert rows_of(tmp_path / name, None, ("a",), ("n",)) == [{"a": "u\u2028v", "n": 1.0}, {"a": "w", "n": 2.0}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", '{"a": "u"}\n\n{"a": " "}\n', "line 3: a is empty"),
        ("x.jsonl", '{"a": "u"}\n{"b": "v"}\n', "line 2: no column a; found are b"),
        ("x.jsonl", '{"a": "u"}\n{"a": "v"\n', "line 2: is not JSON"),
        ("x.jsonl", "  \n", "x.jsonl is empty"),
        ("x.json", '[{"a": "u"},\n{"a": ""}]', "row 2: a is empty"),
        ("x.json", "[1]", "row 1: a JSON object is needed, not 1"),
        ("x.json", '[{"a": "u"},\n{"a": "v"]', "line 2: is not JSON"),
        ("x.json", "{}", "a list of rows is needed, not dict"),
        ("x.json", "[]", "x.json has no rows"),
        ("x.json", "", "x.json is empty"),
    ],
)
def test_places_as_an_editor_counts_them(name, content, message, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message) as refused:
        rows_of(tmp_path / name, None, ("a",))
    assert name in str(refused.value)


def test_a_number_too_large_for_a_float(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps([{"n": 10**400}]))
    with pytest.raises(InputError, match=r"row 1: n is 10+[.]{3}0+, not a number"):
        rows_of(tmp_path / "x.json", None, numbers=("n",))


def test_json_is_what_the_file_holds(tmp_path):
    (tmp_path / "x.json").write_text('\ufeff{"a": [1, null]}')
    assert read_json(tmp_path / "x.json") == {"a": [1, None]}


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("offline"),
        datasets.exceptions.DatasetNotFoundError("gated"),
        datasets.exceptions.DatasetGenerationError("broken"),
        ValueError("Unknown split"),
        RuntimeError("Dataset scripts are no longer supported"),
        HTTPError("timed out"),
    ],
)
def test_what_the_hub_answers_is_missing_data(error, monkeypatch):
    def refuse(*args, **kwargs):
        raise error

    monkeypatch.setattr(data.datasets, "load_dataset", refuse)
    with pytest.raises(MissingData, match=f"owner/name cannot be loaded from the Hub: .*{error}"):
        rows_of(None, data.HubSource("owner/name", "0" * 40, "test", {"a": "a"}), ("a",))


def test_labels_of_the_hub(monkeypatch):
    features = datasets.Features({"theirs": datasets.ClassLabel(names=["cat", "dog"])})
    builder = SimpleNamespace(info=SimpleNamespace(features=features))
    monkeypatch.setattr(data.datasets, "load_dataset_builder", lambda *args, **kwargs: builder)
    source = data.HubSource("owner/name", "0" * 40, "test", {"label": "theirs"})
    assert data.hub_labels(source, "label") == ["cat", "dog"]

    def refuse(*args, **kwargs):
        raise ConnectionError("offline")

    monkeypatch.setattr(data.datasets, "load_dataset_builder", refuse)
    with pytest.raises(MissingData, match=r"owner/name cannot be loaded from the Hub: offline"):
        data.hub_labels(source, "label")


def test_a_bug_is_not_missing_data(monkeypatch):
    monkeypatch.setattr(data.datasets, "load_dataset", lambda *args, **kwargs: {}["bug"])
    with pytest.raises(KeyError):
        rows_of(None, data.HubSource("owner/name", "0" * 40, "test", {"a": "a"}), ("a",))


def test_rows_of_the_hub_count_from_1(monkeypatch):
    table = datasets.Dataset.from_dict({"theirs": ["x", ""]})
    monkeypatch.setattr(data.datasets, "load_dataset", lambda *args, **kwargs: table)
    with pytest.raises(InputError, match="owner/name, row 2: a is empty"):
        rows_of(None, data.HubSource("owner/name", "0" * 40, "test", {"a": "theirs"}), ("a",))
    with pytest.raises(InputError, match="no column other; found are theirs"):
        rows_of(None, data.HubSource("owner/name", "0" * 40, "test", {"a": "other"}), ("a",))
