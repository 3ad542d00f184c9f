"""What current endpoints answer, each as an `answer` for `EndpointDouble`: `EndpointDouble(lambda _: openai)`.

The shapes and the wording are the servers' own, as their documentation and users' reports give them.
"""

from aiohttp import web

from .endpoint_double import completion, response, reword

THOUGHT = "Okay, the user wants a paraphrase. " + "Let me think of other words. " * 10
THOUGHT_TOKENS = 80


def vllm(parser: bool = True, opened_by_template: bool = False):
    """vLLM with Qwen3, which thinks unless the request says otherwise.

    Args:
        parser: whether the server was started with `--reasoning-parser`, which takes thoughts out of the content.
        opened_by_template: whether the chat template opens the thought, so that the answer only closes it.
    """

    async def answer(request: web.Request) -> web.Response:
        body = await request.json()
        text = reword(body["messages"][-1]["content"])
        thinks = body.get("chat_template_kwargs", {}).get("enable_thinking", True)
        cut = thinks and body["max_tokens"] < THOUGHT_TOKENS
        opening = "" if opened_by_template else "<think>\n"
        if thinks:
            text = f"{opening}{THOUGHT}" if cut else f"{opening}{THOUGHT}\n</think>\n\n{text}"
        sent = completion(text, "length" if cut else "stop")
        message = sent["choices"][0]["message"]
        if thinks and parser:
            thought, _, said = text.removeprefix(opening).partition("\n</think>\n\n")
            message |= {"content": said or None, "reasoning_content": thought}
        sent["usage"]["completion_tokens"] = THOUGHT_TOKENS * thinks + 15
        return response(sent)

    return answer


def _error(http_status: int, message: str, param: str | None = None, code: str | None = None, **more) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return response({"error": error | more}, status=http_status)


async def openai(request: web.Request) -> web.Response:
    """OpenAI's reasoning models, which take neither `max_tokens` nor a `temperature`."""
    body = await request.json()
    if request.headers["Authorization"] != "Bearer sk-right":
        return _error(401, "Incorrect API key provided: sk-wr**ng.", code="invalid_api_key")
    if body["model"] == "m-broke":
        message = "You exceeded your current quota, please check your plan and billing details."
        return _error(429, message, code="insufficient_quota", type="insufficient_quota")
    if body["model"] != "m":
        message = f"The model `{body['model']}` does not exist or you do not have access to it."
        return _error(404, message, code="model_not_found")
    if "max_tokens" in body:
        return _error(
            400,
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
            "instead.",
            "max_tokens",
            "unsupported_parameter",
        )
    if "temperature" in body:
        return _error(
            400,
            f"Unsupported value: 'temperature' does not support {body['temperature']} with this model. Only the "
            "default (1) value is supported.",
            "temperature",
            "unsupported_value",
        )
    if unknown := body.keys() - {"model", "messages", "max_completion_tokens", "reasoning_effort", "seed"}:
        return _error(400, f"Unrecognized request argument supplied: {sorted(unknown)[0]}")
    prompt = body["messages"][-1]["content"]
    if "number 104" in prompt:
        sent = completion(None)
        sent["choices"][0]["message"]["refusal"] = "I'm sorry, but I can't help with that."
        return response(sent)
    return response(completion(reword(prompt)))


async def azure(request: web.Request) -> web.Response:
    """Azure OpenAI: its filter refuses some prompts, and cuts off some answers."""
    prompt = (await request.json())["messages"][-1]["content"]
    if "number 103" in prompt:
        return _error(
            400,
            "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please "
            "modify your prompt and retry.",
            "prompt",
            "content_filter",
            type=None,
            status=400,
            innererror={
                "code": "ResponsibleAIPolicyViolation",
                "content_filter_result": {"violence": {"filtered": True, "severity": "medium"}},
            },
        )
    if "number 104" in prompt:
        return response(completion("someone strikes", "content_filter"))
    return response(completion(reword(prompt)))
