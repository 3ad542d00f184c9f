"""The two-step job against a real client and a double of an endpoint: order, faults, durability, resumption."""

import asyncio

import pytest

from benchmarks.kill import expected
from dataset_builder import InputError
from dataset_builder.filters import Limits
from dataset_builder.generators import CallFailed
from dataset_builder.journal import Answer, Journal
from dataset_builder.paraphrase import Paraphraser
from tests.endpoint_double import EndpointDouble, completion, response, reword

from .jobs import RECIPE, finished, run, source


def test_both_steps_of_every_row(tmp_path):
    with EndpointDouble() as endpoint:
        progress = run(source(50), tmp_path, endpoint)
    assert finished(tmp_path) == expected(source(50))
    assert progress.outcomes == {"done": 50}
    assert (progress.calls, progress.tokens_in, progress.tokens_out) == (100, 1000, 500)
    assert len(endpoint.answered) == 100


def test_duplicates_and_a_second_run_pay_nothing(tmp_path):
    with EndpointDouble(latency=0.02) as endpoint:
        run(source(40, distinct=4), tmp_path, endpoint)
        assert endpoint.requests == 8  # 4 captions, 2 steps, although all were in flight at once
        progress = run(source(40, distinct=4), tmp_path, endpoint)
        assert endpoint.requests == 8
        assert progress.outcomes == {"known": 40}
        other_limits = {**RECIPE, "limits": "others"}  # another recipe: rows are made again, from the same answers
        journal = Journal(tmp_path / "journal.sqlite", other_limits)
        assert not journal.settled(0, 39)
        journal.close()


def test_keeps_the_concurrency_and_not_more(tmp_path):
    with EndpointDouble(hold=16) as endpoint:  # with fewer at once it would never answer
        run(source(64), tmp_path, endpoint, concurrency=16)
        assert endpoint.most_in_flight == 16


def test_a_call_out_of_budget_fails_and_the_next_run_tries_again(tmp_path):
    def answer(prompt):
        return response({"error": "no"}, status=500) if "number 103" in prompt and broken else reword(prompt)

    with EndpointDouble(answer) as endpoint:
        broken = True
        progress = run(source(6), tmp_path, endpoint, max_retries=0)
        assert progress.outcomes == {"done": 5, "failed": 1}
        assert progress.reasons == {"step 1: status 500": 1}
        broken = False
        progress = run(source(6), tmp_path, endpoint, max_retries=0)
        assert progress.outcomes == {"known": 5, "done": 1}
    assert finished(tmp_path) == expected(source(6))


def test_rejected_answers_are_counted_and_never_feed_step_2(tmp_path):
    said = {
        "100": "I'm sorry, but I can't help with that.",
        "101": "a dog beside number 101",
        "102": "",
        "103": "one\ntwo",
    }

    def answer(prompt):
        return next((text for number, text in said.items() if f"number {number}" in prompt), None) or (
            response(completion("cut", "length"))
            if "number 104" in prompt
            else ""
            if "102" in prompt
            else reword(prompt)
        )

    with EndpointDouble(answer) as endpoint:
        progress = run(source(6), tmp_path, endpoint)
    assert progress.reasons == {
        "step 1: refused": 1,
        "step 1: unchanged": 1,
        "step 1: empty": 1,
        "step 1: several answers": 1,
        "step 1: truncated": 1,
    }
    assert endpoint.requests == 5 + 2
    assert not [prompt for prompt in endpoint.answered if "sorry" in prompt or "None" in prompt]


def test_bad_rows_are_rejected_by_reason_and_cost_nothing(tmp_path):
    rows = [(0, "0", None), (1, "1", "dog"), (2, "2", "a <b>dog</b>"), (3, "3", "a dog beside number 100")]
    with EndpointDouble() as endpoint:
        progress = run(rows, tmp_path, endpoint)
        assert endpoint.requests == 2
    assert progress.outcomes == {"rejected": 3, "done": 1}
    assert "caption: unreadable row" in progress.reasons


def test_half_a_surrogate_pair_is_rejected_wherever_it_comes_from(tmp_path):
    """JSON can escape one, UTF-8 and so SQLite cannot store it."""
    rows = [
        (0, "\ud800", "a dog \ud800 barks"),
        (1, "1", "a dog beside number 101"),
        (2, "2", "a dog beside number 102"),
    ]

    def answer(prompt):
        return "a hound \udfff near 101" if "101" in prompt else reword(prompt)

    with EndpointDouble(answer) as endpoint:
        progress = run(rows, tmp_path, endpoint)
        assert progress.reasons == {"caption: control characters": 1, "step 1: control characters": 1}
        assert run(rows, tmp_path, endpoint).outcomes == {"known": 3}


def test_similarity_is_asked_and_obeyed(tmp_path):
    with EndpointDouble() as endpoint:
        limits = Limits(min_similarity=0.5)
        progress = run(
            source(4), tmp_path, endpoint, limits=limits, similarity=lambda a, b: [0.1 if "102" in a[0] else 0.9]
        )
    assert progress.reasons == {"step 1: meaning": 1}


def test_other_captions_in_the_same_corpus_are_refused(tmp_path):
    with EndpointDouble() as endpoint:
        run(source(3), tmp_path, endpoint)
        with pytest.raises(InputError, match=r"Row 2 .* another --output"):
            run([source(3)[0], (1, "1.jpg", "a cat beside it")], tmp_path, endpoint)


class OnlyStep1:
    """A generator that never answers the second step."""

    identity, retried = {"model": "m"}, 0

    async def generate(self, prompt, text, step):
        if step == 2:
            raise CallFailed("never")
        return Answer(reword(prompt))


def test_step_1_is_kept_when_step_2_fails(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite", RECIPE)
    try:
        progress = asyncio.run(Paraphraser(OnlyStep1(), journal).run(source(3)))
    finally:
        journal.close()
    assert progress.outcomes == {"failed": 3}
    with EndpointDouble() as endpoint:
        run(source(3), tmp_path, endpoint)
        assert endpoint.requests == 3  # only the second steps
    assert finished(tmp_path) == expected(source(3))
