"""Two-step paraphrasing (paper, section 3.1): caption x -> x' -> x'', resumable, and no answer paid for twice.

A third prompt, where there is one, asks for a negative of x: nearly its words, and another picture.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from .answers import clean_answer, clean_negative
from .errors import InputError, short
from .filters import REASONS, LeftOut, Limits, Rejected, check_caption, check_negative, check_paraphrase
from .generators import CallFailed, Fatal, Generator
from .journal import Answer, Journal, Negative, Reader, Row, storable
from .sources import CaptionRow

# The authors' prompts (paper, appendix).
PROMPT_1 = 'Paraphrase the given caption "{}" concisely while preserving the meaning.'
PROMPT_2 = 'Paraphrase the given text "{}" concisely while preserving the meaning and avoiding use of existing words.'
# Ours, in the same voice; for the column `negative`.
PROMPT_3 = (
    'Change one detail of the given caption "{}", such as who does what, an attribute, a number or a direction, so '
    "that it no longer describes the same picture, while keeping all other words."
)

BLOCK = 1000  # rows looked up at once
FIRST, LOST = 500, 0.9  # where this share of the first rows is dropped, the job stops
Check = Callable[[str, str], Awaitable[None]]  # (text, paraphrase); raises Rejected
EXAMPLES = 3  # of a reason
LONGEST_EXAMPLE = 120  # characters


@dataclass
class Progress:
    """Counts of a run: rows by outcome, calls, tokens."""

    outcomes: Counter[str] = field(default_factory=Counter)  # "done", "rejected", "failed", "known", "open" -> rows
    reasons: Counter[str] = field(default_factory=Counter)  # "step 1: refused" -> rows
    examples: dict[str, list[tuple[str, str]]] = field(default_factory=dict)  # reason -> captions, and what was said
    calls: int = 0
    in_flight: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass(frozen=True)
class Request:
    """A call that has to be made: `prompt`, which holds `text`, in step 1, 2 or 3; `key` is that of its answer."""

    key: bytes
    prompt: str
    text: str
    step: int


class _Missing(Exception):  # noqa: N818 (an outcome, not a bug)
    """The journal has no answer, and nothing is asked."""


class Paraphraser:
    """Runs the steps over rows, `concurrency` calls in flight at a time.

    Args:
        generator: what writes the answers.
        journal: where answers and rows are kept.
        prompts: two templates with one `{}` each; a third one asks for negatives.
        limits: thresholds of the filters.
        concurrency: how many calls are in flight at most.
        checks: more filters, each of which raises Rejected.
        entails: one of them; it raises Rejected unless two texts follow from each other, which drops a negative.
        early_stop: whether to stop where `LOST` of the `FIRST` rows are rejected or failed.
        missing: if it is given, nothing is asked. It gets each request that would be made; rows that need one stay
            open, and the others are settled by the answers in the journal.
    """

    def __init__(
        self,
        generator: Generator,
        journal: Journal | Reader,
        *,
        prompts: tuple[str, ...] = (PROMPT_1, PROMPT_2),
        limits: Limits = Limits(),  # noqa: B008 (frozen)
        concurrency: int = 64,
        checks: Sequence[Check] = (),
        entails: Check | None = None,
        early_stop: bool = True,
        missing: Callable[[Request], None] | None = None,
    ):
        self.generator = generator
        self.journal = journal
        self.prompts = prompts
        self.limits = limits
        self.concurrency = concurrency
        self.checks = checks
        self.entails = entails
        self.early_stop = early_stop
        self.missing = missing
        self.progress = Progress()
        self._lost_early: Counter[str] = Counter()
        self._slots = asyncio.Semaphore(concurrency)
        self._pending: dict[bytes, asyncio.Task] = {}
        self._failed_in_a_row = 0
        self._finishing = False  # no call is begun; those under way are waited for, as they are paid for

    async def run(
        self,
        source: Iterable[CaptionRow],
        show: Callable[[Progress], None] = lambda progress: None,
        mine: Callable[[int, object], bool] = lambda idx, caption: True,
    ) -> Progress:
        """Paraphrase every row of `source` that the journal has not settled. Memory does not grow with `source`.

        Args:
            source: the rows.
            show: called with the counts after each row.
            mine: (idx, caption) -> whether a row is to be done here, and not in another part.

        Raises:
            Fatal: the endpoint can never answer, or does not, or nearly nothing of what it answers can be kept; what
                had come in is in the journal.
            InputError: a row of `source` differs from the one that the corpus was started with.
        """
        # While a row's answer is being written to the disk its slot is free, so more rows than slots are under way.
        todo: asyncio.Queue = asyncio.Queue(maxsize=2 * self.concurrency)

        async def feed() -> None:
            count = 0
            async for row in self._unsettled(source, mine):
                count += not isinstance(row[2], LeftOut)  # those that were not wanted say nothing
                await todo.put((*row, count <= FIRST))
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
            calls = list(self._pending.values())  # now: one that fails while the workers end is awaited too
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for call in calls:
                if not self._finishing:
                    call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        return self.progress

    async def _unsettled(
        self, source: Iterable[CaptionRow], mine: Callable[[int, object], bool]
    ) -> AsyncIterator[CaptionRow]:
        rows = iter(source)
        while block := await asyncio.to_thread(lambda: list(itertools.islice(rows, BLOCK))):
            known = self.journal.known(block[0][0], block[-1][0])
            for idx, image_id, caption in block:
                *was, settled = known.get(idx, (None, None, False))
                if idx in known and was != [storable(image_id), storable(str(caption))]:
                    self._finishing = True
                    raise InputError(
                        f"Row {idx + 1} is {caption!r:.200}, but this corpus was started with {was[1]!r:.200} there: "
                        "the captions changed. Give the old ones, or another --output."
                    )
                if settled:
                    self.progress.outcomes["known"] += 1
                elif mine(idx, caption):
                    yield idx, image_id, caption

    async def _row(self, idx: int, image_id: str, caption: object, is_early: bool) -> None:
        paraphrases: list[str] = []
        stage, status, reason = "caption", "done", None
        key, said, negative = None, "", None
        try:
            text = original = check_caption(caption, self.limits)
            for step, prompt in enumerate(self.prompts[:2], start=1):
                stage = f"step {step}"
                key, answer = await self._answer(prompt.replace("{}", text, 1), text, step)
                said = answer.text
                text = await self._checked(answer, text, original)
                paraphrases.append(text)
            if len(self.prompts) > 2:
                negative, said = await self._negative(idx, original, paraphrases)
        except _Missing:
            if len(paraphrases) == 1 and len(self.prompts) > 2:  # asked in the same round as x''
                with contextlib.suppress(_Missing):
                    await self._answer(self._prompt_3(original), original, 3)
            self.progress.outcomes["open"] += 1
            return
        except Rejected as error:
            status, reason = "rejected", f"{stage}: {error.reason}"
        except CallFailed as error:
            status, reason, said = "failed", f"{stage}: {error}", error.said
            self._failed_in_a_row += 1
        first, second = (*paraphrases, None, None)[:2]
        rejected_for = key if status == "rejected" else None
        kept = [self.journal.add_row(Row(idx, image_id, str(caption), first, second, status, reason, rejected_for))]
        if negative is not None:
            kept.append(self.journal.add_negative(negative))
            if negative.reason:
                self.progress.reasons[negative.reason] += 1
        await asyncio.gather(*kept)
        self.progress.outcomes[status] += 1
        if reason:
            self.progress.reasons[reason] += 1
            self._check_early(reason, caption, said, is_early)
        if self._failed_in_a_row > 4 * self.concurrency:
            words = f", where the endpoint says: {said}" if said else ""
            reason = negative.reason if negative else reason
            raise Fatal(
                f"{self._failed_in_a_row} calls failed one after another, the last with {reason!r}{words}. What was "
                "answered is kept. See to it, and give the same command again."
            )

    def _check_early(self, reason: str, caption: object, said: str, is_early: bool) -> None:
        """Raises Fatal if so many of the first rows are lost that the rest would hardly be better."""
        if not is_early or isinstance(caption, LeftOut):
            return
        examples = self.progress.examples.setdefault(reason, [])
        if len(examples) < EXAMPLES:
            examples.append((str(caption), said))
        self._lost_early[reason] += 1
        if self.early_stop and self._lost_early.total() >= LOST * FIRST:
            self._finishing = True
            raise Fatal(
                f"{self._lost_early.total()} of the first {FIRST} rows are rejected or failed. "
                f"{leading_reason(self._lost_early, self.progress.examples)}\nWhat was answered is kept. Change the "
                "captions, the model, its options or the filters, and give the command again; with --no_early_stop it "
                "goes on as it is."
            )

    async def _checked(self, answer: Answer, text: str, original: str) -> str:
        """The paraphrase of `text` that an answer holds. Raises Rejected, also where it lost sight of the caption."""
        paraphrase = clean_answer(answer.text, text, answer.finish_reason)
        check_paraphrase(paraphrase, text, self.limits, caption=original if text is not original else None)
        for check in self.checks:
            for compared in dict.fromkeys((text, original)):
                await check(compared, paraphrase)
        return paraphrase

    async def _negative(self, idx: int, caption: str, paraphrases: list[str]) -> tuple[Negative, str]:
        """What becomes of the negative of a caption, and what was said. Raises _Missing."""
        key = None
        try:
            key, answer = await self._answer(self._prompt_3(caption), caption, 3)
            text = clean_negative(answer.text, caption, answer.finish_reason)
            check_negative(text, caption, paraphrases, self.limits)
            if self.entails is not None:
                await self._check_entailment(caption, text)
        except Rejected as error:
            return Negative(idx, None, "rejected", f"step 3: {error.reason}", key), answer.text
        except CallFailed as error:
            self._failed_in_a_row += 1
            return Negative(idx, None, "failed", f"step 3: {error}"), error.said
        return Negative(idx, text, "done"), answer.text

    async def _check_entailment(self, caption: str, negative: str) -> None:
        """Raises Rejected where each of the two follows from the other."""
        assert self.entails is not None
        try:
            await self.entails(caption, negative)
        except Rejected:
            return
        raise Rejected("same meaning")

    def _prompt_3(self, caption: str) -> str:
        return self.prompts[2].replace("{}", caption, 1)

    async def _answer(self, prompt: str, text: str, step: int) -> tuple[bytes, Answer]:
        """Its key and the answer: from the journal, from a call under way for the same request, or from a new call."""
        key, known = self.journal.answer(prompt, self.generator.identity, self.generator.max_tokens)
        if known is not None:
            return key, known
        request = Request(key, prompt, text, step)
        if self.missing is not None:
            self.missing(request)
            raise _Missing
        if key not in self._pending:
            self._pending[key] = asyncio.create_task(self._call(request))
        # shielded: one of several that wait may be cancelled without the others
        return key, await asyncio.shield(self._pending[key])

    async def _call(self, request: Request) -> Answer:
        try:
            async with self._slots:
                if self._finishing:
                    raise asyncio.CancelledError
                self.progress.in_flight += 1
                try:
                    answer = await self.generator.generate(request.prompt, request.text, request.step)
                finally:
                    self.progress.in_flight -= 1
            assert isinstance(self.journal, Journal)  # a Reader comes with `missing`
            await self.journal.add_answer(request.key, answer, self.generator.max_tokens)
            self._failed_in_a_row = 0
            self.progress.calls += 1
            self.progress.tokens_in += answer.tokens_in or 0
            self.progress.tokens_out += answer.tokens_out or 0
            return answer
        finally:
            del self._pending[request.key]


def leading_reason(reasons: Counter[str], examples: dict[str, list[tuple[str, str]]]) -> str:
    """The reason that most rows were lost for, in words, with what was said to a few captions."""
    reason, count = reasons.most_common(1)[0]
    meaning = REASONS.get(reason.partition(": ")[2])
    lines = [f"The most frequent reason, {count} times, is {reason!r}" + (f" ({meaning})." if meaning else ".")]
    for caption, said in examples.get(reason, ()):
        lines.append(f"  caption: {_shown(caption)}")
        if not reason.startswith("caption"):
            lines.append(f"   answer: {_shown(said) if said else 'nothing'}")
    return "\n".join(lines)


def _shown(text: str) -> str:
    return short(" ".join(text.split()), LONGEST_EXAMPLE // 2)
