"""What is rejected and for which reason: captions as the web has them, paraphrases as models write them."""

import contextlib
import re

import pytest

from dataset_builder import answers, filters, language, pii
from dataset_builder.answers import clean_answer
from dataset_builder.filters import (
    LONGEST,
    REASONS,
    VERSION,
    LeftOut,
    Limits,
    Rejected,
    check_caption,
    check_negative,
    check_paraphrase,
    checks_done,
)

from .test_answers import BAD_ANSWERS, SAID, SOURCE

LIMITS = Limits()

BAD_CAPTIONS = [
    (None, "unreadable row"),
    (12, "unreadable row"),
    (["a", "b"], "unreadable row"),
    ("", "too few words"),
    ("dog", "too few words"),
    (" ".join(["dog"] * 16), "too many words"),
    ("a dog\x07 barks", "control characters"),
    ("a dog \ud800 barks", "control characters"),
    ("a <i>dog</i> barks", "markup"),
    ("see www.dogs.com for more", "markup"),
    ("<PERSON> walks a dog", "person tag"),
    ("a dog \u202e barks", "control characters"),
    (LeftOut("a dog barks"), "left out"),
    ("a " + "dog" * LONGEST, "too long"),
]


@pytest.mark.parametrize(("caption", "reason"), BAD_CAPTIONS)
def test_bad_captions(caption, reason):
    with pytest.raises(Rejected) as rejected:
        check_caption(caption, LIMITS)
    assert rejected.value.reason == reason


def test_person_tags_are_kept_if_asked():
    limits = Limits(person_tags="keep")
    assert check_caption("<PERSON> walks a dog", limits) == "<PERSON> walks a dog"
    with pytest.raises(Rejected, match="markup"):
        check_caption("<PERSON> walks a <b>dog</b>", limits)


HOSTILE = [
    "a ", "<think>", "<a", "[", "[a](", "<|", '" ', "1", "\u0300\u0316", "&", "{", "\u2019s ", "caption text ",
    "a@", "a.",
    "1 ", "0", "1 a ", "the new ", "#", "here is ", "sorry, but ", "two ", "no ", "a-", "a - ", "in front of ",
]  # fmt: skip


@pytest.mark.parametrize("unit", HOSTILE)
def test_a_long_text_reaches_no_expression(unit, monkeypatch):
    """Whatever an expression costs, a text of any length costs no more than LONGEST characters of it."""

    class Measured:
        def __init__(self, pattern):
            self.pattern = pattern

        def __getattr__(self, name):
            def method(*args):
                assert max(len(text) for text in args if isinstance(text, str)) <= LONGEST
                return getattr(self.pattern, name)(*args)

            return method

    for module in (answers, filters, language, pii):
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern) and name != "_THOUGHT_END":  # which has no repetition in it
                monkeypatch.setattr(module, name, Measured(value))
    limits = Limits(drop_pii=True, max_words=LONGEST, max_length_ratio=LONGEST)
    for text in (unit * 100_000, unit * (LONGEST // len(unit)), f"{unit * 100_000}</think>a dog runs"):
        for check in (
            lambda text: clean_answer(text, SOURCE),
            lambda text: check_caption(text, limits),
            lambda text: check_paraphrase(text[:LONGEST], SOURCE, limits),
        ):
            with contextlib.suppress(Rejected):
                check(text)


def test_white_space_and_limits_of_captions():
    assert check_caption("  a\tdog \n barks ", LIMITS) == "a dog barks"
    assert check_caption(" ".join(["dog"] * 15), LIMITS)
    assert check_caption("dog", Limits(min_words=1)) == "dog"
    assert check_caption("a dog\u200b barks\ufeff", LIMITS) == "a dog barks"


BAD_PARAPHRASES = [
    (SOURCE, "unchanged"),
    ("Two dogs run, along the beach!", "unchanged"),
    ("the two dogs run along a beach", "unchanged"),
    ("dogs", "length"),
    ("two dogs " + "that are very happy " * 6, "length"),
    ("three dogs running by the sea", "numbers"),
    ("dogs running by the sea", "numbers"),
    ("2 dogs and 3 cats by the sea", "numbers"),
    ("two dogs do not run by the sea", "negation"),
    ("two dogs without leashes by the sea", "negation"),
    ("two leashless dogs by the sea", "negation"),
]


@pytest.mark.parametrize(("paraphrase", "reason"), BAD_PARAPHRASES)
def test_bad_paraphrases(paraphrase, reason):
    with pytest.raises(Rejected) as rejected:
        check_paraphrase(paraphrase, SOURCE, LIMITS)
    assert rejected.value.reason == reason


def test_the_second_paraphrase_is_compared_with_the_caption_too():
    check_paraphrase("two hounds race along the shore", SAID, LIMITS, SOURCE)
    with pytest.raises(Rejected, match="unchanged"):
        check_paraphrase("Two dogs run along the beach.", SAID, LIMITS, SOURCE)
    x, first = "a man in a red shirt", "someone wearing a red shirt"
    check_paraphrase("a woman in a red top", first, LIMITS)  # nothing is wrong with a step ...
    with pytest.raises(Rejected, match="gender"):
        check_paraphrase("a woman in a red top", first, LIMITS, x)  # ... but with both


BAD_NEGATIVES = [
    ("Two dogs run along the beach.", "unchanged"),
    (SAID, "unchanged"),
    ("along the beach, two dogs run", "same meaning"),
    ("two dogs run along", "same meaning"),
    ("two planes land in a desert", "unrelated"),
    ("two dogs wander on the beach", "unrelated"),  # no contradiction is seen, and 4 of 6 words are shared
    ("run", "length"),
    ("Change one detail of two dogs run along the beach", "echoed prompt"),
]


@pytest.mark.parametrize(
    "negative", ["two cats run along the beach", "two dogs sleep along the beach", "three cats run on the beach"]
)
def test_a_good_negative_passes(negative):
    check_negative(negative, SOURCE, [SAID], LIMITS)


@pytest.mark.parametrize(("negative", "reason"), BAD_NEGATIVES)
def test_a_bad_negative_is_dropped_by_reason(negative, reason):
    with pytest.raises(Rejected) as rejected:
        check_negative(negative, SOURCE, [SAID], LIMITS)
    assert rejected.value.reason == reason


def test_personal_data_is_dropped_from_a_negative_too():
    negative = f"{SOURCE} ann@example.org"
    check_negative(negative, SOURCE, [SAID], LIMITS)
    with pytest.raises(Rejected, match="personal data"):
        check_negative(negative, SOURCE, [SAID], Limits(drop_pii=True))


def test_every_reason_is_tested():
    tested = {reason for cases in (BAD_ANSWERS, BAD_CAPTIONS, BAD_PARAPHRASES, BAD_NEGATIVES) for _, reason in cases}
    by_words = {
        "gender",
        "colours",
        "things",
        "activities",
        "directions",
        "opposites",
        "times",
        "places",
        "units",
        "roles",
    }
    elsewhere = {"duplicate", "meaning", "copy", "entailment", "personal data"}
    assert set(REASONS) - tested - by_words == elsewhere


def test_the_card_says_what_was_checked():
    recipe = {"filters": VERSION, "limits": vars(Limits()), "similarity_model": None, "nli_model": None}
    said = " ".join(checks_done(recipe))
    assert "2 to 15 words" in said
    assert "Not checked: similarity by a sentence encoder, entailment, personal data" in said
    limits = Limits(min_similarity=0.6, drop_pii=True, person_tags="keep")
    more = " ".join(checks_done({**recipe, "limits": vars(limits), "similarity_model": "m/e", "nli_model": "m/n"}))
    assert "cosines by m/e are between 0.6 and 1" in more
    assert "m/n gives at least 0.5" in more
    assert "<PERSON>" in more
    assert "e-mail" in more
    assert "Not checked: whether captions are true" in more
    assert "Negatives" not in said + more
    asked = {**recipe, "negative_filters": 1}
    assert "Negatives (version 1 of their filters)" in " ".join(checks_done(asked))
    assert "by m/n they and the caption do not follow" in " ".join(checks_done({**asked, "nli_model": "m/n"}))
    assert "version 0.2" in checks_done({"generator": "rules"})[0]
