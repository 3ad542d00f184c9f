"""What each check by words is for, and what it must leave alone."""

import pytest

from dataset_builder.filters import REASONS
from dataset_builder.wording.contradictions import contradiction

CONTRADICTIONS = [
    ("gender", "a man reads", "a woman reading"),
    ("colours", "a red barn", "a blue barn"),
    ("colours", "a white cup on a black table", "a black cup on a white table"),
    ("things", "a dog in a car", "a cat in an automobile"),
    ("activities", "boys play tennis", "boys playing golf"),
    ("directions", "a door on the left", "the door on the right"),
    ("directions", "a cat under the bed", "a cat on top of the bed"),
    ("opposites", "a wide road", "a narrow road"),
    ("opposites", "a big dog and a small cat", "a small dog and a big cat"),
    ("times", "a street at night", "a street in the daytime"),
    ("places", "a cafe in Rome", "a cafe in Vienna"),
    ("units", "a run of 5 km", "a run of 5 miles"),
    ("roles", "a man follows a bear", "a bear follows a man"),
    ("roles", "a man follows a bear", "a man is followed by a bear"),
    ("negation", "a cake with candles", "a cake without candles"),
    ("negation", "a door that is not green", "a green door"),
    ("numbers", "three cats", "two cats"),
    ("numbers", "flight 747", "flight 777"),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "text", "paraphrase"), CONTRADICTIONS)
def test_contradictions_and_their_reasons(reason, text, paraphrase):
    assert contradiction(text, paraphrase) == reason
    assert contradiction(paraphrase, text) == reason
    assert reason in REASONS


NO_CONTRADICTIONS = [
    ("a man and a woman", "a woman and a man"),
    ("a woman reads", "somebody reading"),
    ("a tan dog", "a brown dog"),
    ("a navy suit", "a dark blue suit"),
    ("a red and a blue cup", "a blue cup and a red one"),
    ("the white dog watches as the black one plays", "the black dog plays while the white one watches"),
    ("a poodle in a car", "a dog in an automobile"),
    ("a lamp above a table", "a table below a lamp"),
    ("a man in front of a house", "a man with a house behind him"),
    ("a boy walks down the road", "a boy walking up the road"),
    ("a man turns right now", "a man is turning right now"),
    ("she left the house", "the house she went out of"),
    ("a 2 year old boy", "a young boy of 2"),
    ("a little boy in a big coat", "a young boy in a large coat"),
    ("a cat chases a dog", "a dog is chased by a cat"),
    ("a dog runs with a man", "a man runs with a dog"),
    ("by the river a man follows a bear", "a man follows a bear by the river"),
    ("water that is not deep", "shallow water"),
    ("a man without a hat", "a hatless man"),
    ("a homeless man", "a man living on the streets"),
    ("nothing but snow", "only snow"),
    ("two boys and a girl", "three children"),
    ("a white car and a yellow car", "two cars"),
    ("a man on a four wheeler", "a man on a quad bike"),
    ("a man with two hands on the wheel", "a man holding the wheel"),
    ("img_1234 a dog #5678", "a dog"),
    ("a crowd of 1,000", "a crowd of 1000"),
    ("a pit bull runs", "a dog running"),
    ("women on a stage", "on a stage stand women"),
]


@pytest.mark.parametrize(("text", "paraphrase"), NO_CONTRADICTIONS)
def test_no_contradictions(text, paraphrase):
    assert contradiction(text, paraphrase) is None
    assert contradiction(paraphrase, text) is None
