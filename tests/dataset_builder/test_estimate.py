"""What is left to ask is counted once, and priced as it says."""

from dataset_builder.estimate import Estimate
from dataset_builder.paraphrase import Request

from .jobs import Says

PROMPTS = ("Say {}", "Reword {}")


def request(text, step=1, key=None):
    return Request((key or text).encode().ljust(32), PROMPTS[step - 1].replace("{}", text), text, step)


def test_requests_count_once_and_step_1_brings_step_2():
    estimate = Estimate(Says(), PROMPTS, None)
    for asked in (request("a dog"), request("a dog"), request("a cat"), request("a bird", step=2)):
        estimate(asked)
    assert estimate.calls == {1: 2, 2: 3}
    assert [first.text for first in estimate.first] == ["a dog", "a cat", "a bird"]


def test_tokens_by_characters():
    """4 characters a token, 5 for the message and 3 for the reply; an answer as long as its text, and an end."""
    estimate = Estimate(Says(), PROMPTS, None)
    estimate(request("x" * 40, step=2))
    told = estimate.told(lambda tokens_in, tokens_out: tokens_in * 1000 + tokens_out)
    assert told.startswith("0 calls of step 1 and at most 1 of step 2 are left: about 20 tokens in and 11 out")
    assert f"cost {(47 / 4 + 8) * 1000 + 11:,.2f}" in told


def test_tokens_by_what_answers_took():
    estimate = Estimate(Says(), PROMPTS, (100.0, 50.0))
    estimate(request("a dog"))
    assert "about 200 tokens in and 100 out (as the answers in the journal took" in estimate.told(lambda *_: None)


def test_step_1_brings_step_3_where_there_is_one():
    estimate = Estimate(Says(), (*PROMPTS, "Change {}"), (1.0, 1.0))
    for asked in (request("a dog"), request("a cat", step=2), Request(b"3" * 32, "Change a cat", "a cat", 3)):
        estimate(asked)
    told = estimate.told(lambda *_: None)
    assert told.startswith("1 calls of step 1 and at most 2 of step 2 and 2 of step 3 are left: about 5 tokens in")


def test_nothing_left():
    assert Estimate(Says(), PROMPTS, None).told(lambda *_: 0.0) == "No call is needed."
