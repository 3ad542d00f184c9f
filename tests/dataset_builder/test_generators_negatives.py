"""Negatives by rule: what changes, that it means something else, and what is left alone."""

import re

import pytest

from dataset_builder.filters import Limits, check_negative
from dataset_builder.generators import contrasts
from dataset_builder.generators.negatives import negative
from dataset_builder.wording import contradiction, says_the_same

CAPTIONS = [
    "A dog chases a cat.",
    "Two small dogs run through the grass",
    "A man in a red shirt sits on a blue bench",
    "a young woman with her dog near a tree",
    "Children play in the snow",
    "A boy in a blue jacket throws a ball to a girl",
    "The man is standing in front of a car.",
    "A black and white dog leaps over a fence",
]


@pytest.mark.parametrize("caption", CAPTIONS)
def test_a_negative_has_nearly_the_words_and_another_meaning(caption):
    said = negative(caption)
    check_negative(said, caption, [], Limits())
    assert said == negative(caption)
    assert said[0].isupper() == caption[0].isupper()
    assert said.endswith(".") == caption.endswith(".")
    assert not re.search(r"\ba [aeio]|\ban [^aeiouh]|  ", said)


def every(caption):
    """All negatives of a caption that could have been drawn."""
    from dataset_builder.generators import negatives

    said = negatives._Caption(caption)
    kinds = (*negatives._KINDS, negatives._negation)
    return {said.changed(edits) for kind in kinds for edits in kind(said)}


@pytest.mark.parametrize(
    ("caption", "said"),
    [
        ("a dog chases a cat", "a cat chases a dog"),
        ("a man is being licked by a dog", "a dog is being licked by a man"),
        ("two men pull two cows down the road", "two cows pull two men down the road"),
        ("a man is washing two dogs", "two dogs are washing a man"),
        ("a black dog bites a tan dog", "a tan dog bites a black dog"),
        ("a man standing behind a car", "a car standing behind a man"),
        ("a man with glasses stands next to a woman with blonde hair",
         "a woman with glasses stands next to a man with blonde hair"),
        ("a red car and a blue bike", "a blue car and a red bike"),
        ("a boy jumps over a fence in a park", "a boy jumps over a park in a fence"),
        ("two dogs in the snow", "the snow in two dogs"),
        ("a boy holding a ball sits in a park", "a boy holding a park sits in a ball"),
        ("a man walks across the tightrope", "the tightrope walks across a man"),
        ("a black and white dog with a blue collar", "a blue dog with a black and white collar"),
        ("a man in a red shirt and a woman in a blue shirt", "a man in a blue shirt and a woman in a red shirt"),
        ("a girl in an orange dress", "a girl in a red dress"),
        ("a blond woman", "a dark-haired woman"),
        ("three dogs run", "two dogs run"),
        ("a boy stands in front of a house", "a boy stands behind a house"),
        ("a man walks into a house", "a man walks out of a house"),
        ("a boy lifts his ball", "a girl lifts her ball"),
        ("a woman and her dog", "a man and his dog"),
        ("an old man eats", "a young man eats"),
        ("a man is sitting on a log", "a man is standing on a log"),
        ("a man rides a bike", "a man pushes a bike"),
        ("a skier is overlooking the town", "a skier is not overlooking the town"),
    ],
)  # fmt: skip
def test_the_kinds_of_change(caption, said):
    assert said in every(caption)


@pytest.mark.parametrize(
    ("caption", "never"),
    [
        ("a boy and a girl", r"^a girl and a boy"),
        ("a man walks with a dog", r"^a dog walks with a man"),
        ("a man next to a car", r"^a car next to"),
        ("a couple in the park in the shade", r"^a couple in the shade"),
        ("a bunch of dogs on a beach", r"of a beach"),
        ("two dogs in the snow run", r"the snow in two dogs run"),
        ("three boys are jumping on a trampoline", r"a trampoline are"),
        ("a cup on a table next to a plate", r"^a plate on a table"),
        ("a man with a dog on a leash", r"leash on"),
        ("a man on skis", r"^skis"),
        ("a girl on the phone", r"phone on"),
        ("a house across from a church", r"^a church"),
        ("a dog jumps over a hurdle", r"dog jumps$"),
        ("a white dog and a brown dog play", r"^a brown dog and a white dog"),
        ("a man pushes another man", r"^another man"),
        ("a woman watches a person", r"^a person watches"),
        ("a man holds his dog", r"^his dog"),
        ("a boy and a girl play", r"boy and a boy|girl and a girl"),
        ("a football player in a hat and a woman", r"football woman"),
        ("a black man smiles", r"(?:red|white|blue|brown) man"),
        ("white water rafting", r"(?:black|red|blue) water"),
        ("a black and white photo of a tree", r"(?:red|blue|brown) photo"),
        ("a Red Sox player", r"blue sox"),
        ("a two year old boy", r"(?:three|four|five) year"),
        ("a man with two hands up", r"(?:three|four|five) hands"),
        ("two dogs, one of them black", r"(?:three|four|five) dogs"),
        ("a bearded man", r"woman"),
        ("a large dog bites a smaller dog", r"^a small dog"),
        ("a dog house by a tree", r"cat house"),
        ("a man jumps into the air", r"out of the air"),
        ("a girl throws a ball to a boy", r"catches a ball to"),
        ("a dog swims in the water", r"in the (?:snow|mud)"),
        ("a hiker climbs up a mountain", r"off up"),
        ("a cyclist jumps into the air", r"crawls into"),
        ("a boy swims in the sea toward a boat", r"stands in"),
        ("a girl in an RV", r"a RV"),
        ("a blonde haired boy", r"haired haired"),
        ("a black dog chases another black dog", r"another white"),
        ("two dogs bite a third dog", r"cats bite|goats bite"),
    ],
)
def test_what_is_left_alone(caption, never):
    assert not [said for said in every(caption) if re.search(never, said)]


@pytest.mark.parametrize("caption", ["", " . ", "A bicyclist does maneuvers", "no people", "ein Hund"])
def test_where_nothing_is_certain_there_is_none(caption):
    assert negative(caption) is None


def test_captions_do_not_all_get_the_same_kind():
    colours = ("red", "blue", "black", "white", "brown")
    captions = [f"two men in {colour} coats walk in front of a tree" for colour in colours]
    assert len({negatives_without(colours, caption) for caption in captions}) > 1


def negatives_without(colours, caption):
    return " ".join(word for word in negative(caption).split() if word not in colours)


def test_the_lexicon_says_nothing_twice():
    pairs = {**contrasts.GENDERED, **{word: opposite for word, (opposite, _) in contrasts.ADJECTIVES.items()}}
    for word, other in pairs.items():
        assert not says_the_same(f"the {word} thing", f"the {other} thing"), word
    for word, (others, _) in contrasts.THINGS.items():
        assert word not in others
    for word, others in contrasts.COUNTS.items():
        for other in others:
            assert contradiction(f"{word} cats", f"{other} cats") == "numbers"
