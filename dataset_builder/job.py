"""One generation job: what to read, what writes, where it is kept. The command line and Ray run it alike."""

from __future__ import annotations

import asyncio
import contextlib
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from .errors import InputError, check_range, printable, short
from .estimate import Estimate
from .filters import NEGATIVE_VERSION, VERSION, Limits, Rejected, normalized
from .generators import Generator
from .journal import Journal, Reader, snapshot
from .paraphrase import PROMPT_1, PROMPT_2, Check, Paraphraser, Progress, Request
from .sources import Source


@dataclass(frozen=True)
class Job:
    """Everything that a run needs. It can be pickled, so a machine of a cluster can get it.

    Args:
        output: folder of the corpus.
        source: the captions.
        generator: name of the backend, as the corpus and its card report it.
        make_generator: makes the generator, in the process that runs the job.
        prompts: of step 1 and step 2, with one `{}` each; a third one asks for negatives.
        limits: thresholds of the filters.
        similarity_model: a sentence encoder's folder or Hub id, for the filter by meaning.
        nli_model: an entailment model's folder or Hub id, for the same.
        concurrency: how many calls are in flight at most.
        early_stop: whether to stop where nearly nothing of the first rows can be kept.
        retry_rejected: ask again what was rejected for this reason, one of `filters.REASONS`.
        price_in, price_out: per million tokens, to show the cost.

    Raises:
        InputError: a prompt has not exactly one `{}`, or a number cannot be right.
    """

    output: Path
    source: Source
    generator: str
    make_generator: Callable[[], Generator]
    prompts: tuple[str, ...] = (PROMPT_1, PROMPT_2)
    limits: Limits = field(default_factory=Limits)
    similarity_model: str | None = None
    nli_model: str | None = None
    concurrency: int = 64
    early_stop: bool = True
    retry_rejected: str | None = None
    price_in: float | None = None
    price_out: float | None = None

    def __post_init__(self):
        for step, prompt in enumerate(self.prompts, start=1):
            if prompt.count("{}") != 1:
                raise InputError(f"--prompt_{step}: needs exactly one {{}}, which stands for the text.")
        limits = self.limits
        check_range("--concurrency", self.concurrency, 1, 10_000)
        check_range("--price_in", self.price_in, 0)
        check_range("--price_out", self.price_out, 0)
        check_range("--min_words", limits.min_words, 0)
        check_range("--max_words", limits.max_words, limits.min_words)
        check_range("--max_length_ratio", limits.max_length_ratio, 1)
        check_range("--min_similarity", limits.min_similarity, -1, 1)
        check_range("--max_similarity", limits.max_similarity, limits.min_similarity, 1)
        check_range("--min_entailment", limits.min_entailment, 0, 1)
        default = Limits()
        for name, model in (
            ("min_similarity", self.similarity_model),
            ("max_similarity", self.similarity_model),
            ("min_entailment", self.nli_model),
        ):
            if model is None and getattr(limits, name) != getattr(default, name):
                option = "--nli_model" if name == "min_entailment" else "--similarity_model"
                raise InputError(f"--{name} needs a model that measures it: give {option}, or leave it out.")

    def recipe(self, generator: Generator) -> dict[str, Any]:
        """Everything but the captions that decides what comes out, as the corpus and its card report it."""
        return {
            "generator": self.generator,
            "model": generator.identity["model"],
            "sampling": generator.sampling,
            "prompts": list(self.prompts),
            "limits": asdict(self.limits),
            "similarity_model": self.similarity_model,
            "nli_model": self.nli_model,
            "where": self.source.where,
            "split": self.source.split,
            "filters": VERSION,
            **({"negative_filters": NEGATIVE_VERSION} if len(self.prompts) > 2 else {}),
        }

    def checks(self) -> Sequence[Check]:
        """The filters by meaning, whose models are loaded here; that by `nli_model` is the last."""
        if self.similarity_model is None and self.nli_model is None:
            return ()
        from .meaning import meaning_checks

        return meaning_checks(self.limits, self.similarity_model, self.nli_model)

    def cost(self, tokens_in: float, tokens_out: float) -> float | None:
        """What so many tokens cost, or None without a price."""
        if self.price_in is None and self.price_out is None:
            return None
        return ((self.price_in or 0) * tokens_in + (self.price_out or 0) * tokens_out) / 1e6


@dataclass(frozen=True)
class Part:
    """Part `index` of `count`, which has a journal of its own.

    Rows belong to parts by their captions, so that no duplicate is paid for in two parts. Version 0.2 divided them
    `by_number`, and what it began goes on so.
    """

    index: int
    count: int
    by_number: bool = False

    @property
    def journal(self) -> str:
        """The name of its journal."""
        return f"journal-{self.index:05d}-of-{self.count:05d}.sqlite"

    def has(self, idx: int, caption: object) -> bool:
        """Whether a row belongs to it."""
        if self.by_number:
            return idx % self.count == self.index
        text = " ".join(str(caption).split())
        with contextlib.suppress(Rejected):  # it is too long, and costs nothing
            text = normalized(text)  # as its request will hold it
        return zlib.crc32(text.encode("utf-8", "surrogatepass")) % self.count == self.index


def run(job: Job, part: Part | None = None, tell: Callable[[str], None] = lambda line: None) -> Progress:
    """Run the job in this process, with a progress bar.

    Args:
        job: what to do.
        part: do only this part of the rows.
        tell: is given what is worth saying before the first call.

    Raises:
        InputError: the captions, the model or the corpus folder are not usable, or the journal cannot be written.
        Fatal: no call can succeed, or nearly nothing of what comes can be kept; what had been answered is kept.
    """
    generator = job.make_generator()

    async def paraphrase() -> Progress:
        try:
            checks = job.checks()
            if part is None:
                await foretell(job, generator, journal, checks, tell)
            return await settle(job, generator, journal, checks, part=part)
        finally:
            await generator.close()

    with begun(job, generator, part) as journal:
        if awaited := journal.awaited():
            raise InputError(
                f"{job.output}: requests were written to files whose results are not in yet, and would be paid for "
                f"twice: {listed(awaited)}. Import the results first (import-answers); remove a file that was never "
                "sent, or whose batch ended without them."
            )
        if part is None:
            ask_again(job, journal, tell)
        elif job.retry_rejected is not None:
            journal.ask_again(job.retry_rejected)
        return asyncio.run(paraphrase())


def ask_again(job: Job, journal: Journal, tell: Callable[[str], None]) -> None:
    """Have the rows asked again that the job wants to retry, if any. Raises InputError if there are none of them."""
    if job.retry_rejected is None:
        return
    if not (known := journal.rejected_answers()) or not (count := journal.ask_again(job.retry_rejected)):
        raise InputError(
            f"--retry_rejected {job.retry_rejected}: no answer was rejected for it. Known: "
            f"{', '.join(map(repr, known)) or 'none'}. Where version 0.2 wrote this corpus, run the command once "
            "without this option."
        )
    tell(f"{count:,} rows are asked again.")


async def foretell(
    job: Job, generator: Generator, journal: Journal | Reader, checks: Sequence[Check], tell: Callable[[str], None]
) -> None:
    """Tell how many calls there will be. With another recipe, rows are first settled by the answers there are."""
    if journal.has_other_recipes():
        estimate = Estimate(generator, job.prompts, journal.tokens_per_answer())
        read = await settle(job, generator, journal, checks, missing=estimate)
        tell(f"{made(read):,} rows are settled without a call. {estimate.told(job.cost)}")
    elif (total := job.source.total()) is not None:
        tell(f"{total:,} rows, at most {len(job.prompts) * total:,} calls.")


def dry_run(job: Job, tell: Callable[[str], None]) -> None:
    """Tell the first prompts, what is left and what it would cost. Nothing is called and nothing is written."""
    generator = job.make_generator()
    with snapshot(job.output, job.recipe(generator)) as reader:
        estimate = Estimate(generator, job.prompts, reader.tokens_per_answer())
        read = asyncio.run(settle(replace(job, early_stop=False), generator, reader, (), missing=estimate))
    asyncio.run(generator.close())
    for request in estimate.first:
        tell(f"step {request.step}: {request.prompt}")
        if request.step == 1:
            tell(f"step 2: {job.prompts[1].replace('{}', '<the answer to step 1>', 1)}")
            for prompt in job.prompts[2:]:
                tell(f"step 3: {prompt.replace('{}', request.text, 1)}")
    tell(f"{read.outcomes.total():,} rows: {read.outcomes['known']:,} are settled, {made(read):,} need no call.")
    for reason, count in read.reasons.most_common():
        captions = [repr(caption) for caption, _ in read.examples.get(reason, ())]
        tell(f"  {count:,} would be rejected: {reason}" + (f", e.g. {short(captions[0], 100)}" if captions else ""))
    tell(estimate.told(job.cost))


@contextlib.contextmanager
def begun(job: Job, generator: Generator, part: Part | None = None) -> Iterator[Journal]:
    """The journal of the job, open for writing.

    Raises:
        InputError: the corpus was begun with other captions or another number of parts, or cannot be written.
    """
    check_layout(job.output, part)
    journal = Journal(job.output / (part.journal if part else "journal.sqlite"), job.recipe(generator))
    try:
        fingerprint = job.source.fingerprint()
        check_source(job.output, journal.source(), fingerprint)
        journal.keep_source(fingerprint)
        yield journal
    finally:
        journal.close()


async def settle(
    job: Job,
    generator: Generator,
    journal: Journal | Reader,
    checks: Sequence[Check],
    *,
    part: Part | None = None,
    missing: Callable[[Request], None] | None = None,
) -> Progress:
    """Run the steps over the captions, with a progress bar; with `missing`, without a call (see `Paraphraser`)."""
    paraphraser = Paraphraser(
        generator,
        journal,
        prompts=job.prompts,
        limits=job.limits,
        concurrency=job.concurrency,
        checks=checks,
        entails=checks[-1] if checks and job.nli_model else None,
        early_stop=job.early_stop,
        missing=missing,
    )
    total = job.source.total()
    if total is not None and part is not None:
        total = math.ceil(total / part.count)
    with tqdm(total=total, unit="row", desc="Reading" if missing else "Paraphrasing", smoothing=0.05) as bar:

        def show(progress: Progress) -> None:
            _show(bar, progress, generator, job)

        try:
            rows = job.source.rows()
            return await (paraphraser.run(rows, show, part.has) if part else paraphraser.run(rows, show))
        finally:
            show(paraphraser.progress)


def made(progress: Progress) -> int:
    """How many rows a run settled."""
    return progress.outcomes["done"] + progress.outcomes["rejected"]


def listed(awaited: dict[str, int]) -> str:
    """Files with their counts of requests, in words."""
    return ", ".join(f"{file} ({count:,})" for file, count in awaited.items())


def check_layout(output: Path, part: Part | None) -> None:
    """Raises InputError if the corpus was begun with another number of parts: its answers would be paid for again."""
    found = sorted(path.name for path in output.glob("journal*.sqlite"))
    other = [name for name in found if not name.endswith(f"-of-{part.count:05d}.sqlite" if part else "journal.sqlite")]
    if other:
        raise InputError(
            f"{output / other[0]}: this corpus was begun with another number of parts. Give the same --runner and "
            "--partitions again, or another --output."
        )


def check_source(output: Path, begun_with: dict, fingerprint: dict) -> None:
    """Raises InputError for other captions than those that a corpus was begun with.

    Files may grow, and more may be added: each row that is known is compared with what it was.
    """
    names = ("dataset", "config", "split", "revision")
    pairs = [(begun_with.get(name), fingerprint.get(name)) for name in names] if begun_with else []
    for old, new in zip(begun_with.get("files", ()), fingerprint.get("files", ())):
        is_same = old["name"] == new["name"] or old["sha256_of_ends"] == new["sha256_of_ends"]
        pairs += [] if is_same else [(old["name"], new["name"])]
    for old, new in pairs:
        if old != new:
            raise InputError(
                f"{output}: this corpus was begun with other captions: {old or 'a file'}, not {new or 'a file'}. Give "
                "those again, or another --output."
            )


def _show(bar: tqdm, progress: Progress, generator: Generator, job: Job) -> None:
    """Rows per second, time left, calls in flight, retried and rejected, why most are lost, tokens, cost."""
    count = progress.outcomes.total()
    if count - bar.n < 1:
        return
    bar.update(count - bar.n)
    postfix: dict[str, Any] = {
        "in flight": progress.in_flight,
        "retried": generator.retried,
        "rejected": progress.outcomes["rejected"],
        "failed": progress.outcomes["failed"],
    }
    if progress.reasons:
        postfix["mostly"] = printable(progress.reasons.most_common(1)[0][0])[:40]
    tokens = progress.tokens_in + progress.tokens_out
    settled = made(progress) + progress.outcomes["failed"]
    if tokens and settled:
        rest = f" of about {tokens + tokens / settled * (bar.total - count):,.0f}" if bar.total else ""
        postfix["tokens"] = f"{tokens:,}{rest}"
    if (cost := job.cost(progress.tokens_in, progress.tokens_out)) is not None:
        postfix["cost"] = f"{cost:.2f}"
    bar.set_postfix(postfix, refresh=False)
