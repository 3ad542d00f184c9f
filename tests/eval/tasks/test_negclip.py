import shutil

import pytest

from eval.tasks.negclip import negclip, swaps_in
from modeling_paraclip import InputError
from tests.eval.samples import replace

# as pandas writes it: an index without a name, quotation marks where a field has some, and a caption with a line end
AUTHORS = """\ttitle\tfilepath\tneg_caption\tneg_image
0\ta red circle\tcoco/val2014/0.png\t['two blue stars']\t[2, 1]
1\t"two blue stars on ""it""
"\tcoco/val2014/1.png\t"[""it's two blue stars \\n"", 'blue two stars']"\t[0]
2\ta green ring on sand\tcoco/val2014/2.png\t[]\t[0]
"""


def test_rows_without_a_negative_are_left_out(folder, encoder, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(folder, root)
    replace("aro/negclip_x.tsv", b'["two blue stars"]', b"[]")(root)
    (scored,) = negclip(encoder, root).values()
    assert scored.about.share == (4, 5)
    (before,) = negclip(encoder, folder).values()
    assert before.about.share is None
    assert scored.values.tolist() == before.values[1:].tolist()


def test_the_authors_file_goes_in_as_it_is(folder, encoder, tmp_path):
    shutil.copytree(folder / "aro" / "images", tmp_path / "aro" / "images")
    (tmp_path / "aro" / "valid_neg_clip.tsv").write_text(AUTHORS)
    ((_, rows),) = swaps_in(tmp_path)
    assert rows == [
        {"image": "0.png", "caption": "a red circle", "negatives": ["two blue stars"]},
        {
            "image": "1.png",
            "caption": 'two blue stars on "it"\n',
            "negatives": ["it's two blue stars \n", "blue two stars"],
        },
        {"image": "2.png", "caption": "a green ring on sand", "negatives": []},
    ]
    ((name, scored),) = negclip(encoder, tmp_path).items()
    assert name == ("NegCLIP valid", "multiple_choice_accuracy")
    assert scored.about.share == (2, 3)
    (ours,) = negclip(encoder, folder).values()
    assert scored.values[0] == ours.values[0]  # the same picture, caption and negative


@pytest.mark.parametrize(
    ("negatives", "message"),
    [
        ("__import__('os')", "row 1: neg_caption is not a list as Python writes it"),
        ("[" * 5000, "row 1: neg_caption is not a list as Python writes it"),
        ("{[]: 1}", "row 1: neg_caption is not a list as Python writes it"),
        ("'a'", "row 1: neg_caption: a list of texts is needed"),
        ("['\\ud800']", "row 1: neg_caption: a list of texts is needed"),
        ('"[', "line 2: is not CSV"),
    ],
)
def test_a_wrong_list_of_the_authors_is_one_clear_sentence(negatives, message, tmp_path):
    (tmp_path / "aro").mkdir()
    (tmp_path / "aro" / "valid_neg_clip.tsv").write_text(AUTHORS.replace("['two blue stars']", negatives))
    with pytest.raises(InputError, match=rf"valid_neg_clip\.tsv, {message}"):
        swaps_in(tmp_path)


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
