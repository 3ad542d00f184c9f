"""What an endpoint's words mean: an answer, a refusal, or a call that failed."""

import pytest

from dataset_builder.generators import CallFailed
from dataset_builder.generators.replies import read_answer
from tests.endpoint_double import chat


@pytest.mark.parametrize(
    ("body", "text", "finish_reason"),
    [
        (chat(), "a hound", "stop"),
        *((chat(finish_reason=word), "a hound", "stop") for word in
          (None, "STOP", "eos", "eos_token", "stop_sequence", "end_turn", "COMPLETE")),
        *((chat(finish_reason=word), "a hound", "length") for word in ("length", "MAX_TOKENS", "model_length")),
        *((chat(finish_reason=word), "a hound", "content_filter") for word in
          ("content_filter", "content_filter: PROHIBITED_CONTENT", "SAFETY", "refusal", "guardrail_intervened")),
        ({"choices": [{"finish_reason": "content_filter: PROHIBITED_CONTENT"}]}, "", "content_filter"),
        (chat(""), "", "stop"),
        (chat(None, "length", reasoning_content="Let me"), "", "length"),
        (chat(reasoning_content="Let me think."), "a hound", "stop"),
        (chat(reasoning="Let me think.", tool_calls=[], refusal=None), "a hound", "stop"),
        (chat([{"type": "thinking", "thinking": []}, {"type": "text", "text": "a hound"}]), "a hound", "stop"),
        (chat(None, refusal="I can't help."), "I can't help.", "content_filter"),
        (chat("", refusal=[{"type": "text", "text": "No."}]), "No.", "content_filter"),
        (chat() | {"error": None}, "a hound", "stop"),
        ({"error": {"code": "content_filter", "message": "filtered"}}, "", "content_filter"),
        ({"error": {"code": "400", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}, "", "content_filter"),
        ({"error": {"code": "invalid_prompt", "message": "flagged"}}, "", "content_filter"),
        ({"error": {"code": 403, "metadata": {"reasons": ["violence"], "flagged_input": "a"}}}, "", "content_filter"),
    ],
)  # fmt: skip
def test_what_is_an_answer(body, text, finish_reason):
    answer = read_answer(body)
    assert (answer.text, answer.finish_reason) == (text, finish_reason)


@pytest.mark.parametrize(
    ("body", "reason", "said"),
    [
        *((chat(finish_reason=word), f"finish reason {word}", "") for word in
          ("abort", "error", "repetition", "tool_calls", "function_call", "load", "x")),
        (chat(None), "no content", ""),
        (chat(None, tool_calls=[{"id": "1"}]), "no content", ""),
        (chat(None, reasoning_content="A hound."), "a thought without an answer", "A hound."),
        (chat("", reasoning="A hound."), "a thought without an answer", "A hound."),
        ({"error": {"message": "Provider returned error", "code": 502}}, "error", "Provider returned error"),
        (chat() | {"error": "out of memory"}, "error", "out of memory"),
        ({"choices": [{"error": {"message": "Overloaded"}, "finish_reason": "error"}]}, "error", "Overloaded"),
        ([{"error": {"message": "Internal", "status": "INTERNAL"}}], "error", "Internal"),
        ({"object": "error", "message": "Internal", "code": 500}, "error", "Internal"),
        ({"id": 3}, "malformed answer", '{"id": 3}'),
        (chat(finish_reason="a\nb"), "malformed answer", None),
        (chat([{"type": "text"}]), "malformed answer", None),
        ("<html><style>p {}</style><h1>502</h1> <b>Bad Gateway</b></html>", "malformed answer", "502 Bad Gateway"),
    ],
)  # fmt: skip
def test_what_is_none(body, reason, said):
    with pytest.raises(CallFailed) as failed:
        read_answer(body)
    assert str(failed.value) == reason
    assert said is None or failed.value.said == said
