from dataset_builder.generators import lexicon
from dataset_builder.generators.grammar import (
    inflected,
    is_finite,
    is_noun_here,
    is_verb_here,
    lemmas_of,
    may_be_verb,
    verb_form,
    with_articles,
)


def test_a_noun_is_no_half_of_a_compound():
    assert is_noun_here("dog", lemmas_of("dog"), "brown", "runs")
    assert not is_noun_here("dog", lemmas_of("dog"), "a", "house")
    assert not is_noun_here("beach", lemmas_of("beach"), "a", "ball")
    assert not is_noun_here("truck", lemmas_of("truck"), "fire", "")


def test_a_verb_follows_someone():
    assert is_verb_here("walks", lemmas_of("walks"), "man")
    assert not is_verb_here("walks", lemmas_of("walks"), "the")
    assert is_finite("dogs", "run")
    assert not is_finite("dog", "run")
    assert may_be_verb("hat", "holds")
    assert not may_be_verb("the", "holds")


def test_inflection():
    assert inflected(lexicon.NOUNS, "NOUN", "puppies", lemmas_of("puppies")) == ["pups"]
    assert inflected(lexicon.INTRANSITIVE, "VERB", "walking", lemmas_of("walking")) == ["strolling"]
    assert verb_form("running", "VBZ") == "runs"
    assert verb_form("looks", "VBG") is None  # a state


def test_articles():
    assert (
        with_articles("a elephant and an dog in an uniform for a hour")
        == "an elephant and a dog in a uniform for an hour"
    )
