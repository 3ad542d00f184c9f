"""What the page draws: complete, well-formed, and inert whatever users call things."""

import re
from html.parser import HTMLParser

import figure
import numpy as np
import pytest
import search

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\x1b[31m\u202e ]]> &amp; ${1+1} {{7*7}}"


def gallery(size=20, name="picture {}", thumbnails=True):
    uris = ["data:image/jpeg;base64,AAAA"] * size if thumbnails else None
    return search.Gallery("pictures", [name.format(i) for i in range(size)], {}, uris)


def found(*rows, size=20, label="Base"):
    return search.found_in(label, np.array(rows), size)


WISH = list(range(10))
TURNED = [1, 0, *range(10, 18)]


class Reader(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def answer(wordings, *rows, **kwargs):
    pictures = gallery(**kwargs)
    models = [found(*rows, label=label, size=len(pictures.ids)) for label in ("Base", "ParaCLIP")]
    return figure.answer(pictures, wordings, models)


@pytest.mark.parametrize("thumbnails", [True, False])
def test_texts_of_users_are_inert(thumbnails):
    shown = answer(
        [HOSTILE, HOSTILE], WISH, TURNED, name=HOSTILE.replace("{", "{{").replace("}", "}}"), thumbnails=thumbnails
    )
    for page in (shown, figure.problem(HOSTILE), figure.note(HOSTILE), figure.changed([(HOSTILE, HOSTILE, 0.1, 0.2)])):
        read = Reader(page)
        assert not {tag for tag, _ in read.tags} & {"script", "img", "iframe", "a", "style"}
        assert not [name for _, attributes in read.tags for name in attributes if name.startswith("on")]
        assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", page)
        assert r"\x1b[31m\u202e" in read.text
    assert HOSTILE.split("\x1b")[0] in Reader(shown).text


def test_a_panel_shows_seven_pictures_of_each_wording_and_the_lines_between_them():
    svg = figure.drawing(gallery(), found(WISH, TURNED, WISH))
    assert svg.count("<image") == 3 * figure.TOP
    assert svg.count("<path") == 2 * 2  # pictures 0 and 1, each way
    assert svg.count('class="moved"') == 4 and 'class="same"' not in svg
    assert svg.count('class="faded"') == 5  # what only the turned ranking has
    assert "2 in rewording 1, 7 in rewording 2" in svg


def test_equal_rankings_are_straight_lines():
    svg = figure.drawing(gallery(), found(WISH, WISH))
    assert svg.count('class="same"') == figure.TOP and "faded" not in svg


@pytest.mark.parametrize("size", [1, 5, 30])
@pytest.mark.parametrize("wordings", [1, 2, 4])
def test_the_drawing_is_well_formed_at_any_size(size, wordings):
    from xml.etree import ElementTree

    rows = [list(range(min(10, size)))] * wordings
    svg = ElementTree.fromstring(figure.drawing(gallery(size, thumbnails=False), found(*rows, size=size)))
    width, height = map(float, svg.get("viewBox").split()[2:])
    boxes = [{key: float(box.get(key)) for key in ("x", "y", "width", "height")} for box in svg.iter("rect")]
    assert len(boxes) == min(size, figure.TOP) * wordings
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= width for box in boxes)
    assert all(box["y"] >= 0 and box["y"] + box["height"] <= height for box in boxes)


def test_a_long_id_is_cut_to_its_tile():
    svg = figure.drawing(gallery(1, name="x" * 1000 + ".jpg", thumbnails=False), found([0], size=1))
    spans = re.findall(r"<tspan[^>]*>([^<]*)</tspan>", svg)
    assert len(spans) == figure.LINES and spans[0].startswith("…") and spans[-1].endswith("x.jpg")
    assert max(map(len, spans)) * figure.LETTER <= 150


def test_the_summary_gives_the_numbers_or_says_why_there_are_none():
    pictures = gallery()
    base, tuned = found(WISH, TURNED), found(WISH, WISH, label="ParaCLIP")
    shown = Reader(figure.summary(pictures, ["a", "b"], [base, tuned])).text
    assert figure.points(base.overlap) in shown and "100.0" in shown
    assert figure.signed(1 - base.overlap) in shown
    assert "Add a rewording" in figure.summary(pictures, ["a"], [found(WISH), found(WISH)])
    few = [found(WISH, WISH, size=10)] * 2
    assert "more than 10 pictures" in figure.summary(gallery(10), ["a", "b"], few)


def test_heads_give_a_number_for_each_of_several_rewordings():
    assert "<b>" not in figure.heads(["a", "b"], found(WISH, TURNED))
    assert figure.heads(["a", "b", "c"], found(WISH, TURNED, WISH)).count("<b>") == 2


def test_points():
    assert (figure.points(0.4567), figure.points(None)) == ("45.7", "–")  # noqa: RUF001
    assert (figure.signed(0.1), figure.signed(-0.1)) == ("+10.0", "−10.0")  # noqa: RUF001


def test_what_changed():
    page = figure.changed([("x'", "average_overlap@10", 0.459, 0.643), ("x", "sts", 0.86, 0.82)])
    assert {"45.9", "64.3", "+18.4", "−4.0"} <= set(re.findall(r">([+−]?[0-9.]+)<", page))  # noqa: RUF001
    assert (page.count('<tr class="up">'), page.count('<tr class="down">')) == (
        2,
        1,
    )  # in short and in full
