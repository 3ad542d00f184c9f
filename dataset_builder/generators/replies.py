"""What an endpoint said: an answer, a refusal, one call that failed, or that no call can succeed."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

from ..errors import short
from ..journal import Answer
from . import CallFailed

# Why a model stopped, as servers spell it, in lower case. Any other word (abort, error, tool_calls) is no answer.
FINISH_REASONS = {
    **dict.fromkeys(("stop", "eos", "eos_token", "stop_sequence", "end_turn", "complete"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "model_length"), "length"),
    # Google's endpoint says "content_filter: PROHIBITED_CONTENT", or one of its own words
    **dict.fromkeys(
        ("content_filter", "content_filtered", "refusal", "safety", "recitation", "blocklist", "prohibited_content",
         "spii", "sensitive", "guardrail_intervened"),
        "content_filter",
    ),
}  # fmt: skip
# Codes of errors by which a provider's filter refuses one prompt: Azure's, OpenAI's
REFUSALS = {"content_filter", "responsibleaipolicyviolation", "content_policy_violation", "invalid_prompt"}
UNSUPPORTED = {"unsupported_parameter", "unsupported_value", "unknown_parameter"}
NO_CREDIT = {"insufficient_quota", "billing_not_active", "billing_hard_limit_reached"}
_TOO_LONG = re.compile(
    r"context.{0,10}(?:length|size|window)|(?:inputs?|prompt|messages?)\b.{0,40}\btoo (?:long|large)"
    r"|inputs\W+tokens\W+max_new_tokens|context_size",
    re.IGNORECASE,
)
_NO_MODEL = re.compile(
    r"\bmodel\b.{0,200}\b(?:not (?:exist|found|available|a valid)|no longer)|model_not_found|(?:invalid|unknown) model"
    r"|not a valid model",
    re.IGNORECASE,
)
_BAD_KEY = re.compile(
    r"api.?key.{0,40}(?:not valid|invalid|expired|incorrect)|(?:invalid|incorrect|no) api.?key|invalid_api_key",
    re.IGNORECASE,
)
LONGEST_WORDS = 300  # characters of a server's message that are shown


def read_answer(body: Any, secret: str = "") -> Answer:
    """The answer in the body of a chat completion, as JSON gives it.

    The finish reason is "stop" (an answer), "length" (a cut one) or "content_filter" (refused, by the model or by a
    filter; the text is then what was said instead, if anything).

    Args:
        body: what the server said.
        secret: is taken out of the server's words in an error.

    Raises:
        CallFailed: there is none: an error, a finish reason of another kind, no content, or not a chat completion.
    """
    if _error(body):
        if refused(body):
            return Answer("", "content_filter")
        raise CallFailed("error", server_words(body, secret))
    try:
        return _read(body, secret)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise CallFailed("malformed answer", server_words(body, secret)) from error


def _read(body: dict, secret: str) -> Answer:
    choice, usage = body["choices"][0], body.get("usage") or {}
    tokens = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    if any(count is not None and not (isinstance(count, int) and 0 <= count < 2**31) for count in tokens):
        raise TypeError("a token count is not a count")
    if error := _error(choice):  # OpenRouter's
        raise CallFailed("error", server_words(error, secret))
    said = choice.get("finish_reason")
    if said is not None and not re.fullmatch(r"[\w :.-]{1,60}", said):
        raise TypeError("the finish reason is not a word")
    finish_reason = FINISH_REASONS.get((said or "stop").lower().partition(":")[0])  # some servers leave it out
    if finish_reason is None:
        raise CallFailed(f"finish reason {said}")
    message = choice.get("message") or {}
    text = _text(message.get("content"))
    if refusal := message.get("refusal"):
        text, finish_reason = _text(refusal), "content_filter"
    if finish_reason == "stop" and not text:
        if thought := message.get("reasoning_content") or message.get("reasoning"):
            raise CallFailed("a thought without an answer", server_words(thought, secret))
        if text is None:
            message["content"]  # malformed without
            raise CallFailed("no content")
    return Answer(text or "", finish_reason, *tokens)


def _text(content: object) -> str | None:
    if isinstance(content, list):  # Mistral's thinking models answer in parts
        content = "".join(part["text"] for part in content if part["type"] == "text")
    if content is not None and not isinstance(content, str):
        raise TypeError("content is not a text")
    return content


# --------------------------------------------------------------------------------------------------------- errors
def refused(body: Any) -> bool:
    """Whether an error says that a filter refuses this prompt: as final as an answer."""
    error = _error(body)
    metadata = error.get("metadata") if isinstance(error, dict) else None
    flagged = isinstance(metadata, dict) and "flagged_input" in metadata  # OpenRouter's moderation
    return flagged or bool(REFUSALS & _codes(error))


def no_credit(body: Any) -> bool:
    """Whether an error says that nobody pays for more calls."""
    return bool(NO_CREDIT & _codes(_error(body)))


def too_long(body: Any) -> bool:
    """Whether an error says that this prompt is longer than the model takes."""
    return "context_length_exceeded" in _codes(_error(body)) or bool(_TOO_LONG.search(server_words(body)))


def unsupported(body: Any) -> bool:
    """Whether an error says that the model does not take a field of the request, or its value."""
    return bool(UNSUPPORTED & _codes(_error(body)))


def refused_fields(body: Any, prompt: str, fields: Collection[str]) -> list[str]:
    """Which of the `fields` of a request an error objects to. A word of the prompt, which it may repeat, is none."""
    error = _error(body)
    param = error.get("param") if isinstance(error, dict) else None
    words = f"{server_words(body)} {param if isinstance(param, str) else ''}"
    return [name for name in fields if name not in prompt and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", words)]


def no_model(body: Any) -> bool:
    """Whether an error says that there is no such model."""
    return bool(_NO_MODEL.search(f"{server_words(body)} {_codes(_error(body))}"))


def bad_key(body: Any) -> bool:
    """Whether an error says that the key is wrong."""
    return bool(_BAD_KEY.search(f"{server_words(body)} {_codes(_error(body))}"))


def server_words(body: Any, secret: str = "") -> str:
    """What a server says in the body of an error, on one printable line, cut, and without `secret`."""
    error = _error(body) or body
    words = error
    if isinstance(error, dict):
        words = next((error[name] for name in ("message", "msg", "detail", "error") if error.get(name)), error)
        metadata = error.get("metadata")
        if isinstance(metadata, dict) and metadata.get("raw"):  # OpenRouter: what the provider behind it says
            words = f"{words}: {metadata['raw']}"
    if (
        isinstance(words, list) and words and all(isinstance(item, dict) and "msg" in item for item in words)
    ):  # pydantic's
        words = "; ".join(f"{'.'.join(map(str, item.get('loc', ())))}: {item['msg']}" for item in words[:3])
    text = words if isinstance(words, str) else json.dumps(words)
    if secret:
        text = text.replace(secret, "***")
    if text.lstrip().startswith("<"):  # a gateway's page
        text = re.sub(r"<(style|script)\b.*?</\1>|<[^<>]*>", " ", text[:10_000], flags=re.DOTALL | re.IGNORECASE)
    return short(" ".join(text.split()), LONGEST_WORDS // 2)


def _error(body: Any) -> Any:
    """The error that a body holds, or None. Servers disagree on where it is."""
    if isinstance(body, list):  # Google's
        body = body[0] if body else None
    if not isinstance(body, dict):
        return None
    if body.get("object") == "error" or "detail" in body:  # vLLM's before 0.10 and SGLang's; FastAPI's
        return body
    return body.get("error")


def _codes(error: Any) -> set[str]:
    """The codes that an error gives, in lower case."""
    if not isinstance(error, dict):
        return set()
    inner = error.get("innererror")
    codes = [error.get("code"), error.get("type"), inner.get("code") if isinstance(inner, dict) else None]
    return {code.lower() for code in codes if isinstance(code, str)}
