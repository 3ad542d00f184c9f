"""What is left to ask, and what it costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from .generators import Generator
from .paraphrase import Request

CHARACTERS = 4  # of English per token
MESSAGE, REPLY = (
    5,
    3,
)  # tokens that a chat template adds to each message, and to begin the answer (ChatML's and Llama's)


class Estimate:
    """Counts the requests that have no answer yet, each once. It is a `Paraphraser`'s `missing`.

    A call takes as many tokens as the answers in the journal did on average. Where there are too few of them, a token
    is `CHARACTERS` characters of system prompt and prompt, the chat template adds its own, and an answer is as long as
    its text.

    Args:
        generator: what would answer.
        prompts: of step 1 and step 2, and of step 3 where there are negatives.
        average: tokens in and out of an answer in the journal, or None.
    """

    def __init__(self, generator: Generator, prompts: tuple[str, ...], average: tuple[float, float] | None):
        self.calls: Counter[int] = Counter()  # by step
        self.first: list[Request] = []  # three to show
        self._average = average
        self._prompts = prompts
        self._tokens_in = self._tokens_out = 0.0
        system = generator.identity.get("system_prompt", "")
        self._around = len(system) / CHARACTERS + MESSAGE * (2 if system else 1) + REPLY
        self._seen: set[int] = set()  # 64-bit hashes: about 60 bytes per request, however long the texts are

    def __call__(self, request: Request) -> None:
        """Count a request, and the steps that follow if its answer can be used."""
        hashed = int.from_bytes(request.key[:8], "big")
        if hashed in self._seen:
            return
        self._seen.add(hashed)
        if len(self.first) < 3:
            self.first.append(request)
        self._count(request.step, len(request.prompt), len(request.text))
        if request.step == 1:
            for step, prompt in enumerate(self._prompts[1:], start=2):
                self._count(step, len(prompt) + len(request.text), len(request.text))

    def _count(self, step: int, prompt: int, text: int) -> None:
        self.calls[step] += 1
        tokens_in, tokens_out = self._average or (prompt / CHARACTERS + self._around, text / CHARACTERS + 1)
        self._tokens_in += tokens_in
        self._tokens_out += tokens_out

    def told(self, cost: Callable[[float, float], float | None]) -> str:
        """What is left, in words. `cost`: tokens in and out -> money, or None without a price."""
        if not self._seen:
            return "No call is needed."
        how = "as the answers in the journal took on average"
        if self._average is None:
            how = (
                f"{CHARACTERS} characters a token, {MESSAGE} tokens of the chat template for each message and {REPLY} "
                "for the reply, answers as long as their texts; thoughts are not counted"
            )
        money = cost(self._tokens_in, self._tokens_out)
        third = f" and {self.calls[3]:,} of step 3" if len(self._prompts) > 2 else ""
        price = "" if money is None else f", cost {money:,.2f}" if money >= 1 else f", cost {money:.2g}"
        return (
            f"{self.calls[1]:,} calls of step 1 and at most {self.calls[2]:,} of step 2{third} are left: about "
            f"{self._tokens_in:,.0f} tokens in and {self._tokens_out:,.0f} out{price} ({how})."
        )
