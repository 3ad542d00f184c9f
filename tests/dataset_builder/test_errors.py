"""Whatever a library raises over somebody's data is one short sentence, which no terminal obeys."""

import zipfile

import pytest
import yaml
from datasets.exceptions import DatasetGenerationError

from dataset_builder import InputError
from dataset_builder.errors import HALF, one_sentence


def generation_error():
    error = DatasetGenerationError("An error occurred while generating the dataset")
    error.__cause__ = OSError(28, "No space left on device")
    return error


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (StopIteration(), "StopIteration()"),
        (KeyError("splits"), "KeyError('splits')"),
        (RecursionError("maximum recursion depth exceeded"), "maximum recursion depth exceeded"),
        (RuntimeError("Dataset scripts are no longer supported."), "Dataset scripts are no longer supported"),
        (zipfile.BadZipFile("File is not a zip file"), "File is not a zip file"),
        (yaml.YAMLError("expected a mapping\n  in line 1"), "expected a mapping in line 1"),
        (MemoryError(), "MemoryError()"),
        (generation_error(), "[Errno 28] No space left on device"),
        (ValueError("no \x1b[2J \ud800"), "no \\x1b[2J \\ud800"),
        (ConnectionError("Bearer hf_secret is refused"), "Bearer ... is refused"),
    ],
)
def test_one_sentence(raised, said, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with pytest.raises(InputError) as refused, one_sentence("x: cannot be read", "Check it."):
        raise raised
    assert str(refused.value) == f"x: cannot be read: {said}. Check it."


def test_a_long_message_keeps_what_it_says():
    name = "y" * 5000
    assert str(InputError(f"a {name} b")) == f"a {'y' * (HALF - 2)} ... {'y' * (HALF - 2)} b"
    with pytest.raises(InputError) as refused, one_sentence(f"{name}: cannot be opened", "Check it."):
        raise OSError(36, "File name too long", name)
    for part in ("yyy: cannot be opened: [Errno 36] File name too long: 'yyy", "yyy'. Check it."):
        assert part in str(refused.value)
    assert len(str(refused.value)) < 1500


def test_what_is_told_already_stays_as_it_is():
    with pytest.raises(InputError, match=r"^line 3$"), one_sentence("x", "Check it."):
        raise InputError("line 3")
