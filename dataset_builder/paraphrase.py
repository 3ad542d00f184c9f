"""Two-step paraphrasing (paper, section 3.1): caption x -> x' -> x'', resumable, and no answer paid for twice."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field

from .errors import InputError
from .filters import Limits, Rejected, check_caption, check_paraphrase, check_similarity, clean_answer
from .generators import CallFailed, Fatal, Generator
from .journal import Answer, Journal, Row, request_key, storable
from .sources import Source

# The authors' prompts (paper, appendix).
PROMPT_1 = 'Paraphrase the given caption "{}" concisely while preserving the meaning.'
PROMPT_2 = 'Paraphrase the given text "{}" concisely while preserving the meaning and avoiding use of existing words.'

BLOCK = 1000  # rows looked up at once


@dataclass
class Progress:
    """Counts of a run: rows by outcome, calls, tokens."""

    outcomes: Counter[str] = field(default_factory=Counter)  # "done", "rejected", "failed", "known" -> rows
    reasons: Counter[str] = field(default_factory=Counter)  # "step 1: refused" -> rows
    calls: int = 0
    in_flight: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


class Paraphraser:
    """Runs both steps over rows, `concurrency` calls in flight at a time.

    Args:
        generator: what writes the answers.
        journal: where answers and rows are kept.
        prompts: two templates with one `{}` each.
        limits: thresholds of the filters.
        concurrency: how many calls are in flight at most.
        similarity: (list of texts, list of texts) -> cosines, or None for no filter by meaning.
    """

    def __init__(
        self,
        generator: Generator,
        journal: Journal,
        *,
        prompts: tuple[str, str] = (PROMPT_1, PROMPT_2),
        limits: Limits = Limits(),  # noqa: B008 (frozen)
        concurrency: int = 64,
        similarity: Callable[[list[str], list[str]], list[float]] | None = None,
    ):
        self.generator = generator
        self.journal = journal
        self.prompts = prompts
        self.limits = limits
        self.concurrency = concurrency
        self.similarity = similarity
        self.progress = Progress()
        self._slots = asyncio.Semaphore(concurrency)
        self._pending: dict[bytes, asyncio.Task] = {}
        self._failed_in_a_row = 0

    async def run(
        self, source: Iterable[Source], show: Callable[[Progress], None] = lambda progress: None
    ) -> Progress:
        """Paraphrase every row of `source` that the journal has not settled. Memory does not grow with `source`.

        Raises:
            Fatal: the endpoint can never answer, or does not; what had come in is in the journal.
            InputError: a row of `source` differs from the one that the corpus was started with.
        """
        # While a row's answer is being written to the disk its slot is free, so more rows than slots are under way.
        todo: asyncio.Queue = asyncio.Queue(maxsize=2 * self.concurrency)

        async def feed() -> None:
            async for row in self._unsettled(source):
                await todo.put(row)
            for _ in workers:
                await todo.put(None)

        async def work() -> None:
            while (row := await todo.get()) is not None:
                await self._row(*row)
                show(self.progress)

        workers = [asyncio.create_task(work()) for _ in range(2 * self.concurrency)]
        tasks = [asyncio.create_task(feed()), *workers]
        try:
            await asyncio.gather(*tasks)
        finally:
            pending = [*tasks, *self._pending.values()]
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        return self.progress

    async def _unsettled(self, source: Iterable[Source]) -> AsyncIterator[Source]:
        rows = iter(source)
        while block := await asyncio.to_thread(lambda: list(itertools.islice(rows, BLOCK))):
            settled = self.journal.settled(block[0][0], block[-1][0])
            for idx, image_id, caption in block:
                known = settled.get(idx)
                if known is None:
                    yield idx, image_id, caption
                elif (known.image_id, known.caption) != (storable(image_id), storable(str(caption))):
                    raise InputError(
                        f"Row {idx + 1} is {caption!r:.200}, but this corpus was started with {known.caption!r:.200} "
                        "there: the captions changed. Give the old ones, or another --output."
                    )
                else:
                    self.progress.outcomes["known"] += 1

    async def _row(self, idx: int, image_id: str, caption: object) -> None:
        paraphrases: list[str] = []
        stage, status, reason = "caption", "done", None
        try:
            text = check_caption(caption, self.limits)
            for step, prompt in enumerate(self.prompts, start=1):
                stage = f"step {step}"
                text = await self._step(prompt, text, step)
                paraphrases.append(text)
        except Rejected as error:
            status, reason = "rejected", f"{stage}: {error.reason}"
        except CallFailed as error:
            status, reason = "failed", f"{stage}: {error}"
            self._failed_in_a_row += 1
        first, second = (*paraphrases, None, None)[:2]
        await self.journal.add_row(Row(idx, image_id, str(caption), first, second, status, reason))
        self.progress.outcomes[status] += 1
        if reason:
            self.progress.reasons[reason] += 1
        if self._failed_in_a_row > 4 * self.concurrency:
            raise Fatal(
                f"{self._failed_in_a_row} calls failed one after another, the last with {reason!r}: is the endpoint "
                "there? What was answered is kept. Fix it and give the same command again."
            )

    async def _step(self, prompt: str, text: str, step: int) -> str:
        answer = await self._answer(prompt.replace("{}", text, 1), text, step)
        paraphrase = clean_answer(answer.text, text, answer.finish_reason)
        check_paraphrase(paraphrase, text, self.limits)
        if self.similarity is not None:
            (cosine,) = await asyncio.to_thread(self.similarity, [text], [paraphrase])
            check_similarity(cosine, self.limits)
        return paraphrase

    async def _answer(self, prompt: str, text: str, step: int) -> Answer:
        """From the journal, from a call under way for the same request, or from a new call."""
        key = request_key(prompt, self.generator.identity)
        if key not in self._pending:
            if (known := self.journal.answer(key)) is not None:
                return known
            self._pending[key] = asyncio.create_task(self._call(key, prompt, text, step))
        # shielded: one of several that wait may be cancelled without the others
        return await asyncio.shield(self._pending[key])

    async def _call(self, key: bytes, prompt: str, text: str, step: int) -> Answer:
        try:
            async with self._slots:
                self.progress.in_flight += 1
                try:
                    answer = await self.generator.generate(prompt, text, step)
                finally:
                    self.progress.in_flight -= 1
            await self.journal.add_answer(key, answer)
            self._failed_in_a_row = 0
            self.progress.calls += 1
            self.progress.tokens_in += answer.tokens_in or 0
            self.progress.tokens_out += answer.tokens_out or 0
            return answer
        finally:
            del self._pending[key]
