import json
import shutil

import pytest

from eval.tasks.order_text import order_text
from tests.eval.samples import WORDS, write, write_tsv


def test_order_text_is_its_description(folder, encoder):
    """Two other captions of each picture, each against the swap; the caption itself is none of them."""
    ((key, scored),) = order_text(encoder, folder).items()
    assert key == ("Order by text x", "text_accuracy")
    expected = []
    for i in range(5):
        caption, negative = encoder.texts([WORDS[i], WORDS[(i + 1) % 5]])
        for other in encoder.texts([f"{WORDS[i]} at night"]):
            expected.append(caption @ other > caption @ negative)
        expected.append(False)  # the negative itself is among the other captions: a tie
    assert scored.values.tolist() == expected
    assert scored.statistic.units.tolist() == [i // 2 for i in range(10)]
    assert scored.about.source == "aro/negclip_x.tsv, captions/others.jsonl"
    assert scored.about.protocol == "other captions of the picture"
    assert scored.about.share is None


def test_given_paraphrases_need_no_captions(folder, encoder, tmp_path):
    shutil.copytree(folder / "aro", tmp_path / "aro")
    columns = ("image", "caption", "paraphrase", "negatives_json")
    rows = [
        ("0.png", WORDS[0], "circle in red", json.dumps(WORDS[1:3])),
        ("1.png", WORDS[1], " ", json.dumps([WORDS[2]])),
        ("2.png", WORDS[2], "sandy ring", "[]"),
    ]
    write_tsv(tmp_path / "aro/negclip_x.tsv", columns, rows)
    (scored,) = order_text(encoder, tmp_path).values()
    caption, paraphrase, first, second = encoder.texts([WORDS[0], "circle in red", *WORDS[1:3]])
    assert scored.values.tolist() == [caption @ paraphrase > max(caption @ first, caption @ second)]
    assert scored.about.share == (1, 3)
    assert scored.about.protocol == "given paraphrases"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(
            write("captions/others.jsonl", b'{"image": "77.png", "captions": ["a"]}'),
            "no caption has a paraphrase",
            id="other pictures",
        ),
        pytest.param(
            write("captions/others.jsonl", b'{"image": "1.png", "captions": "a"}'), "list of texts", id="no list"
        ),
    ],
)
def test_bad_input_is_one_clear_sentence(spoil, message, refused):
    refused("order_text", spoil, message)
