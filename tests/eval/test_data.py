import hashlib
import json

import pytest

from eval.data import file_about, read_tsv, rows_of, share_of
from modeling_paraclip import InputError


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


@pytest.mark.parametrize("value", ["[]", '["a"]', "{}"])
def test_a_name_or_id_is_no_list_and_no_object(value, tmp_path):
    file = tmp_path / "x.jsonl"
    file.write_text(f'{{"a": "u", "split": null}}\n{{"a": "u", "split": {value}}}\n')
    with pytest.raises(InputError, match=rf"{file}, line 2: split is .*, not a text or a number"):
        rows_of(file, None, ("a",), optional=("split",))


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


def test_where_rows_come_from_is_told_by_their_content(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.tsv").write_text("a\nx\n")
    (tmp_path / "y.tsv").write_text("a\ny\n")
    first, second, other = (
        file_about(tmp_path, tmp_path / name, protocol="p") for name in ("a/x.tsv", "b/x.tsv", "y.tsv")
    )
    assert (first.source, first.protocol) == ("a/x.tsv", "p")
    assert first.revision == "sha256:" + hashlib.sha256(b"a\nx\n").hexdigest()[:16]
    assert first.revision == second.revision != other.revision
    both = file_about(tmp_path, tmp_path / "y.tsv", tmp_path / "a/x.tsv")
    assert both.source == "y.tsv, a/x.tsv"
    assert both.revision not in (first.revision, other.revision)


def test_a_part_of_a_data_set_says_so():
    assert share_of([1, 2], 3) == (2, 3)
    assert share_of([1, 2], 2) is None
    assert share_of([1, 2], None) is None
