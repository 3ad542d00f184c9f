import json

import pytest

from eval.tasks.winoground import winoground
from tests.eval.samples import pictures, replace, write


def test_winoground_is_its_description(folder, encoder):
    measured = {key: scored.values for key, scored in winoground(encoder, folder).items()}
    rows = [json.loads(line) for line in (folder / "winoground/examples.jsonl").read_text().splitlines()]
    for i, row in enumerate(rows):
        images = encoder.pictures(pictures(folder, *(f"winoground/images/{row[f'image_{n}']}.png" for n in (0, 1))))
        s = images @ encoder.texts([row["caption_0"], row["caption_1"]]).T
        text, image = s[0, 0] > s[0, 1] and s[1, 1] > s[1, 0], s[0, 0] > s[1, 0] and s[1, 1] > s[0, 1]
        assert [measured["Winoground", f"{name}_score"][i] for name in ("text", "image", "group")] == [
            *(text, image, text and image)
        ]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(write("winoground/examples.jsonl", b"{oops\n"), "line 1: is not JSON", id="not JSON"),
        pytest.param(
            write("winoground/examples.jsonl", b"[1]\n"), "line 1: a JSON object is needed", id="not an object"
        ),
        pytest.param(replace("winoground/examples.jsonl", b'"0"', b"7"), "image_0 is 7, not a text", id="not a text"),
        pytest.param(write("winoground/examples.jsonl", b""), "examples.jsonl is empty", id="empty JSON"),
    ],
)
def test_bad_input_is_one_clear_sentence(spoil, message, refused):
    refused("winoground", spoil, message)
