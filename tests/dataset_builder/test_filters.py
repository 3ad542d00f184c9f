"""What is cleaned, what is rejected and for which reason: cases as models and the web really write them."""

# ruff: noqa: RUF001 (typographic quotation marks are what models write)

import contextlib
import re

import pytest

from dataset_builder import filters
from dataset_builder.filters import (
    LONGEST,
    REASONS,
    Limits,
    Rejected,
    check_caption,
    check_paraphrase,
    check_similarity,
    clean_answer,
    numbers,
)

LIMITS = Limits()
SOURCE = "two dogs run along the beach"
SAID = "a pair of dogs running by the sea"

CLEANED = [
    SAID,
    f"  {SAID}\n",
    f'"{SAID}"',
    f"“{SAID}”",
    f"'{SAID}'",
    f"`{SAID}`",
    f"**{SAID}**",
    f'**"{SAID}"**',
    f'"{SAID}".',
    f"Here is a paraphrase: {SAID}",
    f'Here is a paraphrase:\n\n"{SAID}"',
    f"Here's a concise paraphrase of the given caption:\n{SAID}",
    f"Sure! Here is a concise version: {SAID}",
    f"Sure, {SAID}",
    f"Paraphrase: {SAID}",
    f'Paraphrased caption: "{SAID}"',
    f"The paraphrased text is: {SAID}",
    f"Output: {SAID}",
    f"- {SAID}",
    f"1. {SAID}",
    f"<think>The user wants a paraphrase.</think>\n{SAID}",
    f"The user wants a paraphrase.\n</THINK>\n{SAID}",  # a chat template began the thought
    "<think>" + "Hm. " * LONGEST + f"</think>{SAID}",
    f"{SAID}\n\n---",
]


@pytest.mark.parametrize("answer", CLEANED)
def test_cleaned(answer):
    assert clean_answer(answer, SOURCE).rstrip(".") == SAID


BAD_ANSWERS = [
    ("", "empty"),
    (None, "empty"),
    ("   \n ", "empty"),
    ('""', "empty"),
    ("...", "empty"),
    ("<think></think>", "empty"),
    ("I'm sorry, but I can't help with that.", "refused"),
    ("I’m sorry, I cannot assist with this request.", "refused"),
    ("Sorry, but this caption is not appropriate.", "refused"),
    ("I cannot paraphrase this text.", "refused"),
    ("I can't do that.", "refused"),
    ("As an AI language model, I do not see pictures.", "refused"),
    ("Unfortunately, I am unable to paraphrase this.", "refused"),
    ("I apologize, but I won't do this.", "refused"),
    ("Could you please provide the caption?", "refused"),
    ("\"I'm sorry, but I can't help.\"", "refused"),
    ("dogs by the sea\ndogs on a shore", "several answers"),
    ("1. dogs by the sea\n2. dogs on a shore", "several answers"),
    ("- dogs by the sea\n- dogs on a shore", "several answers"),
    ('"dogs by the sea" or "dogs on a shore"', "several answers"),
    ("Option 1: dogs by the sea", "several answers"),
    ("dogs by the sea\n\nNote that I kept the meaning.", "several answers"),
    ("dogs by the sea (I have replaced beach with sea)", "several answers"),
    ("dogs by the sea. Let me know if you want another!", "several answers"),
    ('"two dogs running by the', "truncated"),
    ("<think>The user wants", "truncated"),
    ('Paraphrase the given caption "two dogs" concisely', "echoed prompt"),
    ("dogs <b>by</b> the sea", "markup"),
    ("dogs by the sea https://example.com", "markup"),
    ("dogs [by](the sea) now", "markup"),
    ("dogs by the sea<|im_end|>", "markup"),
    ("two dogs &amp; the sea", "markup"),
    ("dogs by {} the sea", "markup"),
    ("dogs by\x00 the sea", "control characters"),
    ("dogs by \ufffd the sea", "control characters"),
    ("dogs by \x1b[31m the sea", "control characters"),
    ("两只狗在海滩上奔跑", "other language"),
    ("две собаки бегут по пляжу", "other language"),
    ("zwei Hunde laufen zusammen am Strand entlang", "other language"),
    ("deux chiens courent le long de la plage", "other language"),
    ("dos perros corren a lo largo de la playa", "other language"),
    ("a dog " * LONGEST, "too long"),
    ("<think>" * LONGEST, "too long"),
]


@pytest.mark.parametrize(("answer", "reason"), BAD_ANSWERS)
def test_bad_answers(answer, reason):
    with pytest.raises(Rejected) as rejected:
        clean_answer(answer, SOURCE)
    assert rejected.value.reason == reason
    assert reason in REASONS


@pytest.mark.parametrize(("finish", "reason"), [("length", "truncated"), ("content_filter", "refused")])
def test_finish_reasons(finish, reason):
    with pytest.raises(Rejected, match=reason):
        clean_answer(SAID, SOURCE, finish)


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("I'm sorry sign on a door", "a door's sign says sorry"),
        ('"stop" sign at the corner', '"stop" sign at a street corner'),
        ("'80s car in a garage", "'80s automobile in a garage"),
        ("output: a cat", "output: a kitten"),
        ("a café in Köln", "a coffee house in Köln"),
        ("boy's bike by a tree", "a bicycle of a boy near a tree"),
        ("man in Paris", "homme à Paris"),  # three words say too little to be sure of a language
    ],
)
def test_what_only_looks_bad_is_kept(source, answer):
    assert clean_answer(answer, source) == answer


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
    ("<PERSON> walks a dog", "markup"),
    ("a " + "dog" * LONGEST, "too long"),
]


@pytest.mark.parametrize(("caption", "reason"), BAD_CAPTIONS)
def test_bad_captions(caption, reason):
    with pytest.raises(Rejected) as rejected:
        check_caption(caption, LIMITS)
    assert rejected.value.reason == reason


HOSTILE = ["a ", "<think>", "<a", "[", "[a](", "<|", '" ', "1", "\u0300\u0316", "&", "{", "\u2019s ", "caption text "]


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

    for name, value in vars(filters).items():
        if isinstance(value, re.Pattern) and name != "_THOUGHT_END":  # which has no repetition in it
            monkeypatch.setattr(filters, name, Measured(value))
    for text in (unit * 100_000, unit * (LONGEST // len(unit)), f"{unit * 100_000}</think>a dog runs"):
        for check in (lambda text: clean_answer(text, SOURCE), lambda text: check_caption(text, LIMITS)):
            with contextlib.suppress(Rejected):
                check(text)


def test_white_space_and_limits_of_captions():
    assert check_caption("  a\tdog \n barks ", LIMITS) == "a dog barks"
    assert check_caption(" ".join(["dog"] * 15), LIMITS)
    assert check_caption("dog", Limits(min_words=1)) == "dog"


BAD_PARAPHRASES = [
    (SOURCE, "unchanged"),
    ("Two dogs run, along the beach!", "unchanged"),
    ("the two dogs run along a beach", "unchanged"),
    ("dogs", "length"),
    ("two dogs " + "that are very happy " * 6, "length"),
    ("three dogs running by the sea", "numbers"),
    ("dogs running by the sea", "numbers"),
    ("2 dogs and 2 cats by the sea", "numbers"),
    ("two dogs do not run by the sea", "negation"),
    ("two dogs without leashes by the sea", "negation"),
    ("two leashless dogs by the sea", "negation"),
]


@pytest.mark.parametrize(("paraphrase", "reason"), BAD_PARAPHRASES)
def test_bad_paraphrases(paraphrase, reason):
    with pytest.raises(Rejected) as rejected:
        check_paraphrase(paraphrase, SOURCE, LIMITS)
    assert rejected.value.reason == reason


@pytest.mark.parametrize(
    ("source", "paraphrase"),
    [
        (SOURCE, SAID),
        (SOURCE, "2 canines race by the sea"),
        ("a man without a hat", "a hatless man"),
        ("no one is at the bus stop", "nobody waits for the bus"),
        ("one dog sleeps", "a dog is asleep"),
        ("a dozen eggs in a box", "12 eggs in a carton"),
    ],
)
def test_good_paraphrases(source, paraphrase):
    check_paraphrase(paraphrase, source, LIMITS)


def test_numbers():
    assert numbers("a pair of 12 and twelve") == {"2": 1, "12": 2}
    assert numbers("the 2nd one at 10:30") == {"2nd": 1, "10:30": 1}
    assert not numbers("a dog and one cat")


@pytest.mark.parametrize(("cosine", "reason"), [(0.2, "meaning"), (0.99, "copy"), (float("nan"), "meaning")])
def test_similarity(cosine, reason):
    with pytest.raises(Rejected, match=reason):
        check_similarity(cosine, Limits(min_similarity=0.5, max_similarity=0.95))


def test_every_reason_but_the_exports_is_tested():
    tested = {reason for cases in (BAD_ANSWERS, BAD_CAPTIONS, BAD_PARAPHRASES) for _, reason in cases}
    assert set(REASONS) - tested == {"duplicate", "meaning", "copy"}
