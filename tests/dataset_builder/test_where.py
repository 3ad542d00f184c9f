"""--where: expressions over the columns of a source, and nothing else."""

import contextlib

import pytest

from dataset_builder import InputError
from dataset_builder.where import Where

ROW = {"NSFW": "UNLIKELY", "similarity": 0.31, "width": "512", "TEXT": "A dog", "missing": None, "split": "train"}


@pytest.mark.parametrize(
    ("expression", "taken"),
    [
        ("NSFW == 'UNLIKELY'", True),
        ("NSFW != 'UNLIKELY'", False),
        ("NSFW == 'UNLIKELY' and similarity > 0.3", True),
        ("NSFW == 'NSFW' or not similarity < 0.3", True),
        ("0.3 < similarity <= 0.31", True),
        ("width >= 512", True),  # CSV has only texts
        ("width == 512.0", True),
        ("TEXT > 3", False),
        ("TEXT != 3", True),
        ("split in ('train', 'restval')", True),
        ("'dog' in TEXT", True),
        ("TEXT.lower().startswith('a dog')", True),
        ("len(TEXT) == 5", True),
        ("missing is None", True),
        ("missing > 3", False),
        ("len(missing) > 3", False),
        ("similarity * 100 > 30", True),
    ],
)
def test_expressions(expression, taken):
    assert Where(expression)(ROW) is taken


@pytest.mark.parametrize(
    "expression",
    ["", "NSFW =", "NSFW = 'UNLIKELY'", "NSFW == 'A' AND similarity > 1", "a; b", "import os", "(" * 1000, "x" + "\0"],
)
def test_what_is_no_expression_is_refused_before_a_row_is_read(expression):
    with pytest.raises(InputError, match=r"--where .*Write one such as"):
        Where(expression)


@pytest.mark.parametrize(
    "expression",
    ["open('/etc/passwd')", "TEXT.__class__", "TEXT.format(1)", "lambda: 1", "(lambda: 1)()", "exec('1')",
     "[c for c in ().__class__.__mro__]", "nowhere == 1", "'a' * 10**9 == TEXT"],
)  # fmt: skip
def test_nothing_but_the_columns_can_be_reached(expression):
    taken = None
    with contextlib.suppress(InputError):
        taken = Where(expression)(ROW)
    assert not taken


def test_the_columns_that_it_needs():
    assert sorted(Where("len(a) > 2 and b.lower() == c or a == 1").columns) == ["a", "b", "c"]
