"""The two-step job against a real client and a double of an endpoint: order, faults, durability, resumption."""

import asyncio
import sqlite3

import pytest

from benchmarks.kill import expected
from dataset_builder import InputError, paraphrase
from dataset_builder.filters import LeftOut, Rejected
from dataset_builder.generators import CallFailed, Fatal
from dataset_builder.journal import Answer, Journal
from dataset_builder.paraphrase import FIRST, LOST, PROMPT_1, PROMPT_3, Paraphraser
from dataset_builder.records import lost_rows
from tests.endpoint_double import EndpointDouble, completion, response, reword

from .jobs import (
    PROMPTS,
    RECIPE,
    WITH_NEGATIVES,
    Says,
    ask,
    finished,
    is_step_3,
    negatives_of,
    run,
    source,
    writes,
)


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
        generator = Says()
        assert ask(source(40, distinct=4), tmp_path, generator, other_limits).outcomes == {"done": 40}
        assert not generator.prompts


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
        "103": "a hound next to number 103\na hound by number 103",
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


def test_checks_are_asked_and_obeyed(tmp_path):
    """The second paraphrase is compared with the caption, too."""
    asked = []

    async def check(text, paraphrase):
        asked.append((text, paraphrase))
        if "102" in text:
            raise Rejected("meaning")

    progress = ask(source(3), tmp_path, Says(), checks=[check])
    assert progress.reasons == {"step 1: meaning": 1}
    for _, _, caption, first, second in expected(source(2)):
        assert {(caption, first), (first, second), (caption, second)} < set(asked)
    assert len(asked) == 2 * 3 + 1


def test_other_captions_in_the_same_corpus_are_refused(tmp_path):
    with EndpointDouble() as endpoint:
        run(source(3), tmp_path, endpoint)
        for recipe in (RECIPE, {**RECIPE, "limits": "others"}):
            with pytest.raises(InputError, match=r"Row 2 .* another --output"):
                ask([source(3)[0], (1, "1.jpg", "a cat beside it")], tmp_path, Says(), recipe)


def test_step_1_is_kept_when_step_2_fails(tmp_path):
    progress = ask(
        source(3), tmp_path, Says(lambda prompt: CallFailed("never") if "text" in prompt else reword(prompt))
    )
    assert progress.outcomes == {"failed": 3}
    with EndpointDouble() as endpoint:
        run(source(3), tmp_path, endpoint)
        assert endpoint.requests == 3  # only the second steps
    assert finished(tmp_path) == expected(source(3))


# --------------------------------------------------------------------------------------------------- early stop
REFUSAL = "I'm sorry, but I can't help with that."


def refusing(share):
    """A generator that refuses this share of the captions, spread evenly."""
    return Says(
        lambda prompt: REFUSAL if int(prompt.split("number ")[1].split('"')[0]) % 100 < share else reword(prompt)
    )


def test_where_nearly_all_is_lost_it_stops_and_says_why(tmp_path):
    with pytest.raises(Fatal) as stopped:
        ask(source(2 * FIRST), tmp_path, refusing(95))
    message = str(stopped.value)
    assert f"{LOST * FIRST:.0f} of the first {FIRST} rows" in message
    assert "'step 1: refused' (" in message
    assert message.count("caption: a dog beside number 1") == message.count(f"answer: {REFUSAL}") == 3
    assert "--no_early_stop" in message
    assert len(list(lost_rows(tmp_path / "journal.sqlite"))) >= LOST * FIRST
    ask(source(2 * FIRST), tmp_path, refusing(95), early_stop=False)
    assert len(finished(tmp_path)) == 2 * FIRST * 0.05


def test_where_some_are_kept_it_goes_on(tmp_path):
    assert ask(source(FIRST + 100), tmp_path, refusing(89)).outcomes["done"] == (FIRST + 100) // 100 * 11


def test_rows_that_were_not_wanted_say_nothing(tmp_path):
    rows = [(i, "x", LeftOut("a dog")) for i in range(2 * FIRST)]
    assert ask(rows, tmp_path, Says()).outcomes == {"rejected": 2 * FIRST}


@pytest.mark.parametrize("trouble", ["all is lost", "other captions"])
def test_calls_under_way_when_it_stops_are_kept(trouble, tmp_path):
    class Slow(Says):
        async def generate(self, prompt, text, step):
            self.prompts.append(prompt)
            if len(self.prompts) > LOST * FIRST - 4:
                await asyncio.sleep(0.2)
            return Answer(REFUSAL)

    generator, rows = Slow(), source(2 * FIRST)
    if trouble == "other captions":
        ask([(int(LOST * FIRST), "x", "a cat")], tmp_path, Says())
    with pytest.raises((Fatal, InputError), match=r"of the first|the captions changed"):
        ask(rows, tmp_path, generator)
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        answers = "SELECT COUNT(*) FROM answers WHERE text = ?"
        assert db.execute(answers, (REFUSAL,)).fetchone() == (len(generator.prompts),)


def test_an_endpoint_that_fails_again_and_again_is_quoted(tmp_path):
    with pytest.raises(
        Fatal, match=r"\d+ calls failed .* 'step 1: status 500', where the endpoint says: no GPU"
    ) as stopped:
        ask(source(100), tmp_path, Says(lambda prompt: CallFailed("status 500", "no GPU")))
    assert "endpoint there" not in str(stopped.value)


# -------------------------------------------------------------------------------------- what is asked, and again
def test_without_calls_rows_are_settled_by_answers_and_the_rest_is_named(tmp_path):
    ask(source(3), tmp_path, Says(lambda prompt: CallFailed("no") if "text" in prompt else reword(prompt)))
    ask(source(2), tmp_path, Says())
    missing, generator = [], Says(model="m")
    rows = [*source(4), (4, "4", "dog"), (5, "5", source(4)[3][2])]
    progress = ask(rows, tmp_path, generator, {**RECIPE, "limits": "others"}, missing=missing.append)
    assert progress.outcomes == {"done": 2, "open": 3, "rejected": 1}
    assert not generator.prompts
    assert [request.step for request in missing] == [2, 1, 1]  # the same caption comes twice
    assert missing[1].prompt == PROMPT_1.replace("{}", source(4)[3][2])
    assert missing[1].key == missing[2].key


def test_only_answers_that_were_cut_are_asked_again(tmp_path):
    def cut(prompt):
        return Answer("cut", "length", 10, 5) if "number 101" in prompt else reword(prompt)

    assert ask(source(3), tmp_path, Says(cut, max_tokens=16)).reasons == {"step 1: truncated": 1}
    for limit, calls in ((8, 0), (16, 0), (32, 2), (64, 0), (8, 0)):
        generator = Says(max_tokens=limit)
        ask(source(3), tmp_path, generator, {**RECIPE, "sampling": {"max_tokens": limit}})
        assert len(generator.prompts) == calls, limit
    assert finished(tmp_path) == expected(source(3))


def test_what_was_rejected_can_be_asked_again(tmp_path):
    journal = tmp_path / "journal.sqlite"
    ask(source(4), tmp_path, Says(lambda prompt: REFUSAL if "number 102" in prompt else reword(prompt)))
    assert [(row["index"], row["reason"], row["answer"]) for row in lost_rows(journal)] == [(2, "refused", REFUSAL)]
    opened = Journal(journal, RECIPE)
    assert opened.ask_again("length") == opened.ask_again("too few words") == 0
    assert opened.rejected_answers() == ["step 1: refused"]
    assert opened.ask_again("refused") == 1
    opened.close()
    assert [(row["status"], row["reason"]) for row in lost_rows(journal)] == [("failed", "to be asked again")]
    generator = Says()
    ask(source(4), tmp_path, generator)
    assert len(generator.prompts) == 2
    assert finished(tmp_path) == expected(source(4))
    with sqlite3.connect(journal) as db:  # both answers were paid for
        assert db.execute("SELECT SUM(tokens_in) FROM answers").fetchone() == (10 * (7 + 2),)


def test_rows_are_read_at_most_a_block_ahead_of_the_work(tmp_path, monkeypatch):
    """So the memory does not grow with the captions, be they five million."""
    monkeypatch.setattr(paraphrase, "BLOCK", 40)
    read, ahead = 0, []

    def rows():
        nonlocal read
        for row in source(400):
            read += 1
            yield row

    journal = Journal(tmp_path / "journal.sqlite", RECIPE)
    try:
        paraphraser = Paraphraser(Says(), journal, concurrency=8)
        asyncio.run(paraphraser.run(rows(), lambda progress: ahead.append(read - progress.outcomes.total())))
    finally:
        journal.close()
    assert read == len(ahead) == 400
    assert max(ahead) <= 40 + 4 * 8 + 1  # a block, the queue, and the rows at work


# ----------------------------------------------------------------------------------------------------- negatives
def ask_3(rows, folder, generator, **more):
    """As `ask`, with the third prompt."""
    return ask(rows, folder, generator, WITH_NEGATIVES, **{"prompts": PROMPTS, **more})


def test_a_negative_is_asked_of_the_caption_once_its_triple_is_there(tmp_path):
    rows = [*source(3), (3, "3", "dog"), (4, "4", source(3)[0][2])]
    generator = Says(lambda prompt: "" if "number 102" in prompt and "text" in prompt else writes(prompt))
    progress = ask_3(rows, tmp_path, generator)
    assert progress.outcomes == {"done": 3, "rejected": 2}
    assert [prompt for prompt in generator.prompts if is_step_3(prompt)] == [
        PROMPT_3.replace("{}", caption) for _, _, caption in source(2)
    ]
    assert negatives_of(tmp_path) == ["a cat beside number 100", "a cat beside number 101", "a cat beside number 100"]
    again = Says()
    assert ask_3(rows, tmp_path, again).outcomes == {"known": 5}
    assert not again.prompts


def test_negatives_are_added_to_a_corpus_and_only_they_are_asked(tmp_path):
    ask(source(3), tmp_path, Says())
    assert negatives_of(tmp_path) == [None] * 3
    generator = Says(writes)
    assert ask_3(source(3), tmp_path, generator).outcomes == {"done": 3}
    assert len(generator.prompts) == 3
    assert all(map(is_step_3, generator.prompts))
    assert finished(tmp_path) == expected(source(3))
    assert None not in negatives_of(tmp_path)
    ask(source(3), tmp_path, Says())  # without them again
    assert negatives_of(tmp_path) == [None] * 3


def test_a_negative_that_is_dropped_is_counted_and_its_triple_stays(tmp_path):
    said = {
        "100": "a dog beside number 100",
        "101": "two planes in the clouds",
        "102": REFUSAL,
        "103": "",
        "104": "beside number 104, a dog",
        "105": "a dog beside",
        "106": "Changed caption: a cat beside number 106",
    }

    def answer(prompt):
        return said[prompt.split("number ")[1][:3]] if is_step_3(prompt) else reword(prompt)

    progress = ask_3(source(7), tmp_path, Says(answer))
    assert progress.outcomes == {"done": 7}
    assert progress.reasons == {
        "step 3: unchanged": 1, "step 3: unrelated": 1, "step 3: refused": 1, "step 3: empty": 1,
        "step 3: same meaning": 2,
    }  # fmt: skip
    assert finished(tmp_path) == expected(source(7))
    assert negatives_of(tmp_path) == [None] * 6 + ["a cat beside number 106"]
    lost = [(row["index"], row["status"], row["step"], row["reason"], row["answer"])
            for row in lost_rows(tmp_path / "journal.sqlite", "refused")]  # fmt: skip
    assert lost == [(2, "rejected", "step 3", "refused", REFUSAL)]
    opened = Journal(tmp_path / "journal.sqlite", WITH_NEGATIVES)
    assert "step 3: refused" in opened.rejected_answers()
    assert opened.ask_again("refused") == 1
    opened.close()
    assert finished(tmp_path) == expected(source(7))
    generator = Says(writes)
    ask_3(source(7), tmp_path, generator)
    assert generator.prompts == [PROMPT_3.replace("{}", source(7)[2][2])]
    assert negatives_of(tmp_path)[2] == "a cat beside number 102"


def test_a_call_for_a_negative_that_fails_is_tried_again_and_its_triple_is_kept(tmp_path):
    progress = ask_3(source(3), tmp_path, Says(lambda p: CallFailed("time-out") if is_step_3(p) else reword(p)))
    assert (progress.outcomes, progress.reasons) == ({"done": 3}, {"step 3: time-out": 3})
    assert finished(tmp_path) == expected(source(3))
    generator = Says(writes)
    ask_3(source(3), tmp_path, generator)
    assert len(generator.prompts) == 3
    assert None not in negatives_of(tmp_path)


def test_an_endpoint_that_fails_for_all_negatives_is_quoted(tmp_path):
    says = Says(lambda prompt: CallFailed("status 500", "no GPU") if is_step_3(prompt) else reword(prompt))
    ask(source(100), tmp_path, Says())
    with pytest.raises(Fatal, match=r"calls failed .* 'step 3: status 500', where the endpoint says: no GPU"):
        ask_3(source(100), tmp_path, says)


def test_a_row_whose_negative_was_not_written_before_a_kill_is_done_again(tmp_path):
    ask_3(source(2), tmp_path, Says(writes))
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        db.execute("DELETE FROM negatives WHERE idx = 1")
    generator = Says(writes)
    assert ask_3(source(2), tmp_path, generator).outcomes == {"known": 1, "done": 1}
    assert not generator.prompts
    assert None not in negatives_of(tmp_path)


def test_where_nothing_is_asked_the_negative_comes_along_with_the_second_step(tmp_path):
    ask_3(source(1), tmp_path, Says(lambda prompt: CallFailed("no") if "text" in prompt else writes(prompt)))
    missing = []
    progress = ask_3(source(2), tmp_path, Says(), missing=missing.append)
    assert progress.outcomes == {"open": 2}
    assert [(request.step, request.text[-3:]) for request in missing] == [(2, "100"), (3, "100"), (1, "101")]


def test_a_negative_that_follows_both_ways_is_dropped(tmp_path):
    """The check of paraphrases, the other way round."""
    asked = []

    async def entails(text, other):
        asked.append((text, other))
        if "101" in text:
            raise Rejected("entailment")

    ask_3(source(2), tmp_path, Says(writes), entails=entails)
    assert negatives_of(tmp_path) == [None, "a cat beside number 101"]
    assert sorted(asked) == [(f"a dog beside number {i}", f"a cat beside number {i}") for i in (100, 101)]


def test_without_negatives_all_is_as_before(tmp_path):
    """Tables, recipe and keys are those of version 0.3, which knew of no negatives."""
    ask(source(1), tmp_path, Says())
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        assert tables == ["answers", "asked", "imports", "recipes", "rows", "sources"]
        columns = [name for _, name, *_ in db.execute("PRAGMA table_info(rows)")]
        assert columns == ["idx", "recipe", "image_id", "caption", "paraphrase_1", "paraphrase_2", "status", "reason",
                           "answer"]  # fmt: skip
        assert {key.hex()[:16] for (key,) in db.execute("SELECT key FROM answers")} == {
            "d93efb0bb071b6d8",
            "6ccdbaef9f1d65e7",
        }
