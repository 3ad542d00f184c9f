"""Rewording by rule: what changes, and what must never change."""

import asyncio
import re

import pytest

from dataset_builder.filters import Limits, check_paraphrase, numbers
from dataset_builder.generators import lexicon
from dataset_builder.generators.rules import RulesGenerator, reword
from dataset_builder.journal import Journal
from dataset_builder.paraphrase import Paraphraser

CAPTIONS = [
    "A man in a red shirt is riding a bicycle on the street.",
    "Two small dogs run through the grass",
    "A boy and a girl are playing on the beach",
    "three children without hats sitting next to a big rock",
    "A black and white dog leaps over a fence",
    "A woman holding an umbrella walks down the sidewalk while smiling",
    "Michael Jordan jumps in front of a crowd",
    "An elderly lady watches a baby near the ocean",
    "no people are in the picture of a snowy hill",
    "A brown dog is chasing a ball in the park",
]


@pytest.mark.parametrize("thorough", [False, True])
@pytest.mark.parametrize("caption", CAPTIONS)
def test_rules_reword_and_keep_what_must_be_kept(caption, thorough):
    said = reword(caption, thorough)
    if thorough:
        check_paraphrase(said, caption, Limits())
    assert said == reword(caption, thorough)
    assert numbers(said) == numbers(caption)
    colours = r"\b(?:red|black|white|brown)\b"
    assert re.findall(colours, said) == re.findall(colours, caption)
    assert ("Michael Jordan" in caption) == ("Michael Jordan" in said)
    assert said.endswith(".") == caption.endswith(".")
    assert not re.search(r"\ba [aeio]|\ban [^aeiouh]|  ", said)


@pytest.mark.parametrize(
    ("caption", "never"),
    [
        ("a dog house by a road sign", ["canine house", "hound house", "roadway sign", "street sign"]),
        ("a man man-handles a dog-sled", ["canine-sled", "guy-handles"]),
        ("the running shoe of a man", ["dashing shoe", "racing shoe"]),
        ("a woman wearing a hat holds a cup", ["there is"]),
        ("people boat on a lake", ["vessel"]),
    ],
)
def test_rules_leave_alone_what_they_cannot_know(caption, never):
    for thorough in (False, True):
        assert not [bad for bad in never if bad in reword(caption, thorough)]


def test_rules_inflect():
    assert reword("children chased puppies", True).lower() in {
        f"{noun} pursued pups" for noun in ("kids", "youngsters")
    }


def test_lexicon_touches_no_number_colour_or_negation():
    entries = {**lexicon.NOUNS, **lexicon.VERBS, **lexicon.OTHERS}
    colours = {"red", "blue", "green", "black", "white", "brown", "yellow", "pink", "orange", "purple", "gray", "grey"}
    for word, synonyms in entries.items():
        assert synonyms
        assert word not in synonyms
        assert not {word} & colours
        for synonym in synonyms:
            assert numbers(synonym) == numbers(word), (word, synonym)
            assert not set(synonym.split()) & (colours | {"no", "not", "without", "never"})


def test_rules_are_told_the_step():
    async def both():
        generator = RulesGenerator()
        return [(await generator.generate("any prompt", CAPTIONS[1], step)).text for step in (1, 2)]

    assert asyncio.run(both()) == [reword(CAPTIONS[1]), reword(CAPTIONS[1], thorough=True)]


def test_rules_run_the_job(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite", {"generator": "rules", "model": "r"})

    async def job():
        rows = [(i, str(i), caption) for i, caption in enumerate(CAPTIONS)]
        return await Paraphraser(RulesGenerator(), journal).run(rows)

    try:
        progress = asyncio.run(job())
    finally:
        journal.close()
    assert sum(progress.outcomes.values()) == len(CAPTIONS)
    assert progress.outcomes["done"] >= 6
