import json
import shutil

import pytest
from PIL import Image

from eval.tasks.sugarcrepe import sugarcrepe
from tests.eval.samples import WORDS, pictures, replace, write

BOMB = "sugarcrepe/images/0.png"


def test_sugarcrepe_is_its_description(folder, encoder):
    ((name, scored),) = sugarcrepe(encoder, folder).items()
    assert name == ("SugarCrepe swap", "multiple_choice_accuracy")
    assert len(set(scored.statistic.units)) == 5
    for i, value in enumerate(scored.values):
        scores = (
            encoder.texts([WORDS[i], WORDS[(i + 1) % 5]])
            @ encoder.pictures(pictures(folder, f"sugarcrepe/images/{i}.png"))[0]
        )
        assert value == (scores[0] > scores[1])


def test_the_authors_files_give_the_same(folder, encoder, tmp_path):
    (expected,) = sugarcrepe(encoder, folder).values()
    shutil.copytree(folder / "sugarcrepe/images", tmp_path / "sugarcrepe/images")
    lines = (folder / "sugarcrepe/swap.tsv").read_text().splitlines()[1:]
    columns = ("filename", "caption", "negative_caption")
    rows = {str(i): dict(zip(columns, line.split("\t"))) for i, line in enumerate(lines)}
    (tmp_path / "sugarcrepe/swap_obj.json").write_text(json.dumps(rows))
    (scored,) = sugarcrepe(encoder, tmp_path).values()
    assert scored.values.tolist() == expected.values.tolist()
    assert (scored.about.source, scored.about.share) == ("sugarcrepe/swap_obj.json", (5, 245))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(
            replace("sugarcrepe/swap.tsv", b"negative_caption", b"negative"), "no column neg", id="wrong column"
        ),
        pytest.param(write("sugarcrepe/swap.tsv", b"image,caption\n"), "tabs are needed", id="wrong delimiter"),
        pytest.param(
            replace("sugarcrepe/swap.tsv", b"a red circle", b" "), "line 2: caption is empty", id="empty text"
        ),
        pytest.param(replace("sugarcrepe/swap.tsv", b"red", b"\xff"), "swap.tsv is not UTF-8", id="not UTF-8"),
        pytest.param(write("sugarcrepe/swap.tsv", b"image\tcaption\tnegative_caption\n"), "has no rows", id="no rows"),
        pytest.param(write("sugarcrepe/swap.tsv", b""), "swap.tsv is empty", id="empty file"),
        pytest.param(
            lambda root: (root / BOMB).unlink(), "1 of 5 pictures are missing, e.g. 0.png", id="missing picture"
        ),
        pytest.param(
            lambda r: (r / BOMB).write_bytes((r / BOMB).read_bytes()[:-900]), "cannot read", id="truncated picture"
        ),
        pytest.param(write(BOMB, b"hello"), "1 bad pictures: cannot read picture .*0.png", id="no picture at all"),
        pytest.param(lambda root: Image.new("1", (10_000, 10_000)).save(root / BOMB), "decompression bomb", id="bomb"),
    ],
)
def test_bad_input_is_one_clear_sentence(spoil, message, refused):
    refused("sugarcrepe", spoil, message)
