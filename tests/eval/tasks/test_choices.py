import json

import pytest

from eval.tasks import choices
from modeling_paraclip import InputError
from tests.eval.samples import WORDS, pictures, write_tsv


def test_choices_are_plain_comparisons(folder, encoder):
    files = pictures(folder, *(f"photos/images/{i}.png" for i in range(5)))
    texts = [[WORDS[i], WORDS[(i + 1) % 5], WORDS[(i + 2) % 5]] for i in range(5)]
    expected = []
    for file, options in zip(files, texts):
        scores = encoder.texts(options) @ encoder.pictures([file])[0]
        expected.append(scores[0] > scores[1] and scores[0] > scores[2])
    assert choices.first_is_best(encoder, files, texts).tolist() == expected
    assert not choices.first_is_best(encoder, files[:1], [["a", "a"]]).any()  # a tie is wrong


def test_items_of_one_picture_are_one_unit():
    named = [{"path": name, "bytes": None} for name in "aba"]
    stored = [{"path": None, "bytes": data} for data in (b"x", b"y", b"x")]
    for given in (named, stored):
        first, second, third = choices.units_of(given)
        assert first == third != second


def test_files_of_the_authors_and_tables_are_the_same_rows(tmp_path):
    rows = [{"filename": "1.jpg", "caption": "a", "negative_caption": "b"}]
    (tmp_path / "swap.json").write_text(json.dumps({"0": rows[0]}))
    (tmp_path / "add.json").write_text(json.dumps(rows))
    write_tsv(tmp_path / "old.tsv", ("image", "caption", "negative_caption"), [("1.jpg", "a", "b")])
    write_tsv(tmp_path / "text.tsv", ("caption", "negative_caption"), [("a", "b")])
    found = choices.kinds_in(tmp_path, ("caption", "negative_caption"))
    same = {"caption": "a", "negative_caption": "b", "image": "1.jpg"}
    assert {kind: rows for kind, (_, rows) in found.items()} == {
        **{kind: [same] for kind in ("swap", "add", "old")},
        "text": [{"caption": "a", "negative_caption": "b"}],
    }
    with pytest.raises(InputError, match=r"text\.tsv, item 1: the picture's name is missing"):
        choices.image_names(*found["text"])
    (tmp_path / "swap.tsv").write_text("caption\tnegative_caption\na\tb\n")
    with pytest.raises(InputError, match=r"swap is there as \.json and as \.tsv"):
        choices.kinds_in(tmp_path, ("caption", "negative_caption"))
