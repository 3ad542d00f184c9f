import pytest

from eval.files import MissingData, file_rows, read_json, read_text, sha256_of
from modeling_paraclip import InputError


def test_json_is_what_the_file_holds(tmp_path):
    (tmp_path / "x.json").write_text('\ufeff{"a": [1, null]}')
    assert read_json(tmp_path / "x.json") == {"a": [1, None]}


def test_a_json_object_of_rows_is_rows(tmp_path):
    """As SugarCrepe's files are."""
    (tmp_path / "x.json").write_text('{"0": {"a": 1}, "7": {"a": 2}}')
    assert list(file_rows(tmp_path / "x.json")) == [("row 1 ('0')", {"a": 1}), ("row 2 ('7')", {"a": 2})]
    (tmp_path / "x.json").write_text('{"0": {"a": 1}, "info": "x"}')
    with pytest.raises(InputError, match=r"x\.json: a list of rows is needed, not dict"):
        file_rows(tmp_path / "x.json")


def test_csv_has_quotation_marks_and_tsv_has_text(tmp_path):
    (tmp_path / "x.csv").write_text('a,b\n"1,5","say ""x"""\n')
    (tmp_path / "x.tsv").write_text('a\tb\n"1,5"\tx\n')
    assert [row for _, row in file_rows(tmp_path / "x.csv")][1] == {"a": "1,5", "b": 'say "x"'}
    assert [row for _, row in file_rows(tmp_path / "x.tsv")][1] == {"a": '"1,5"', "b": "x"}


def test_a_quoted_field_may_have_line_ends_and_lines_are_counted_on(tmp_path):
    (tmp_path / "x.csv").write_text('a,b\n"1\n\n2",x\n3,4\n5\n')
    rows = file_rows(tmp_path / "x.csv")
    assert [next(rows) for _ in range(3)][1:] == [
        ("line 2", {"a": "1\n\n2", "b": "x"}),
        ("line 5", {"a": "3", "b": "4"}),
    ]
    with pytest.raises(InputError, match="line 6: 1 fields, but the header has 2"):
        next(rows)


def test_a_tsv_of_pandas_is_quoted(tmp_path):
    (tmp_path / "x.tsv").write_text('a\tb\n"say ""x"", twice"\ty\n')
    assert [row for _, row in file_rows(tmp_path / "x.tsv", quoted=True)][1] == {"a": 'say "x", twice', "b": "y"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1\n", "line 2: 1 fields, but the header has 2"),
        ("a,a\n1,2\n", "line 1: the column a is there twice"),
        ('a,b\n1,"2\n', "line 2: is not CSV"),
        ("a,b\n1,2\n\n3,4\n", "line 3: 0 fields, but the header has 2"),
        ("\n", "x.csv is empty"),
    ],
)
def test_bad_csv_is_named(content, message, tmp_path):
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        list(file_rows(tmp_path / "x.csv"))


def test_a_file_may_be_as_large_as_its_reader_allows(tmp_path):
    (tmp_path / "x.json").write_text("[1, 2]")
    assert read_json(tmp_path / "x.json", limit=6) == [1, 2]
    with pytest.raises(InputError, match=r"x\.json is larger than 5 bytes"):
        read_text(tmp_path / "x.json", limit=5)


def test_a_hash_needs_its_files(tmp_path):
    with pytest.raises(MissingData, match=r"x\.json is not there"):
        sha256_of([tmp_path / "x.json"])
