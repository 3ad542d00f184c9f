import shutil

import pytest

from eval.tasks.negclip import negclip
from tests.eval.samples import replace


def test_rows_without_a_negative_are_left_out(folder, encoder, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(folder, root)
    replace("aro/negclip_x.tsv", b'["two blue stars"]', b"[]")(root)
    (scored,) = negclip(encoder, root).values()
    assert scored.about.share == (4, 5)
    (before,) = negclip(encoder, folder).values()
    assert before.about.share is None
    assert scored.values.tolist() == before.values[1:].tolist()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(replace("aro/negclip_x.tsv", b"[", b"{"), "line 2: negatives_json", id="bad negatives"),
        pytest.param(
            replace("aro/negclip_x.tsv", b'["two blue stars"]', b"[1]"), "list of texts", id="numbers for negatives"
        ),
    ],
)
def test_bad_input_is_one_clear_sentence(spoil, message, refused):
    refused("negclip", spoil, message)
