import pytest
from PIL import Image

from eval.tasks.sugarcrepe import sugarcrepe
from tests.eval.samples import WORDS, pictures, replace, write

BOMB = "sugarcrepe/images/0.png"


def test_sugarcrepe_is_its_description(folder, encoder):
    ((name, values),) = sugarcrepe(encoder, folder).items()
    assert name == ("SugarCrepe swap", "multiple_choice_accuracy")
    for i, value in enumerate(values):
        scores = (
            encoder.texts([WORDS[i], WORDS[(i + 1) % 5]])
            @ encoder.pictures(pictures(folder, f"sugarcrepe/images/{i}.png"))[0]
        )
        assert value == (scores[0] > scores[1])


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
