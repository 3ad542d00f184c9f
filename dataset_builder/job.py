"""One generation job: what to read, what writes, where it is kept. The command line and Ray run it alike."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from . import sources
from .errors import InputError, check_range
from .filters import Limits
from .generators import Generator
from .journal import Journal
from .paraphrase import PROMPT_1, PROMPT_2, Paraphraser, Progress
from .sources import Source


@dataclass(frozen=True)
class Job:
    """Everything that a run needs. It can be pickled, so a machine of a cluster can get it.

    Args:
        output: folder of the corpus.
        generator: name of the backend, as the corpus and its card report it.
        make_generator: makes the generator, in the process that runs the job.
        captions: a file of captions; or
        dataset_name: a data set's folder or Hub id, of which `dataset_split` is streamed.
        caption_column, image_id_column: the columns that are read.
        limit: how many rows are read at most.
        prompts: of step 1 and step 2, with one `{}` each.
        limits: thresholds of the filters.
        similarity_model: a sentence encoder's folder or Hub id, for the filter by meaning.
        concurrency: how many calls are in flight at most.
        price_in, price_out: per million tokens, to show the cost.

    Raises:
        InputError: a prompt has not exactly one `{}`, or a number cannot be right.
    """

    output: Path
    generator: str
    make_generator: Callable[[], Generator]
    captions: str | None = None
    dataset_name: str | None = None
    dataset_split: str = "train"
    caption_column: str = "caption"
    image_id_column: str = "image_id"
    limit: int | None = None
    prompts: tuple[str, str] = (PROMPT_1, PROMPT_2)
    limits: Limits = field(default_factory=Limits)
    similarity_model: str | None = None
    concurrency: int = 64
    price_in: float | None = None
    price_out: float | None = None

    def __post_init__(self):
        for step, prompt in enumerate(self.prompts, start=1):
            if prompt.count("{}") != 1:
                raise InputError(f"--prompt_{step}: needs exactly one {{}}, which stands for the text.")
        limits = self.limits
        check_range("--concurrency", self.concurrency, 1, 10_000)
        check_range("--limit", self.limit, 0, 10**15)
        check_range("--price_in", self.price_in, 0)
        check_range("--price_out", self.price_out, 0)
        check_range("--min_words", limits.min_words, 0)
        check_range("--max_words", limits.max_words, limits.min_words)
        check_range("--max_length_ratio", limits.max_length_ratio, 1)
        check_range("--min_similarity", limits.min_similarity, -1, 1)
        check_range("--max_similarity", limits.max_similarity, limits.min_similarity, 1)

    def rows(self) -> Iterator[Source]:
        """Read the captions. Raises InputError where they cannot be read."""
        columns = {"caption_column": self.caption_column, "image_id_column": self.image_id_column}
        if self.captions is not None:
            rows = sources.read_captions(self.captions, **columns)
        elif self.dataset_name is not None:
            rows = sources.read_dataset(self.dataset_name, self.dataset_split, **columns)
        else:
            raise InputError("Name the captions with --captions or --dataset_name.")
        return itertools.islice(rows, self.limit)

    def total(self) -> int | None:
        """How many rows there are, if that can be known before they are read."""
        known = [self.limit] if self.limit is not None else []
        if self.captions is not None:
            known.append(sources.count_rows(self.captions))
        return min(known, default=None)

    def recipe(self, generator: Generator) -> dict[str, Any]:
        """Everything that decides what comes out, as the corpus and its card report it."""
        return {
            "generator": self.generator,
            "model": generator.identity["model"],
            "sampling": generator.sampling,
            "prompts": list(self.prompts),
            "limits": asdict(self.limits),
            "similarity_model": self.similarity_model,
        }

    def cost(self, tokens_in: int, tokens_out: int) -> float | None:
        """What so many tokens cost, or None without a price."""
        if self.price_in is None and self.price_out is None:
            return None
        return ((self.price_in or 0) * tokens_in + (self.price_out or 0) * tokens_out) / 1e6


def run(job: Job, part: tuple[int, int] | None = None) -> Progress:
    """Run the job in this process, with a progress bar.

    Args:
        job: what to do.
        part: (index, count): do only every `count`-th row, from `index` on, with a journal of its own.

    Raises:
        InputError: the captions, the model or the corpus folder are not usable, or the journal cannot be written.
        Fatal: no call can succeed; what had been answered is kept.
    """
    rows, total, name = job.rows(), job.total(), "journal.sqlite"
    if part is not None:
        index, count = part
        rows, name = itertools.islice(rows, index, None, count), f"journal-{index:05d}-of-{count:05d}.sqlite"
        total = None if total is None else len(range(index, total, count))
    _check_layout(job.output, part)
    generator = job.make_generator()
    similarity = None
    if job.similarity_model is not None:
        from .similarity import SentenceSimilarity

        similarity = SentenceSimilarity(job.similarity_model)

    async def paraphrase() -> Progress:
        paraphraser = Paraphraser(
            generator,
            journal,
            prompts=job.prompts,
            limits=job.limits,
            concurrency=job.concurrency,
            similarity=similarity,
        )
        with tqdm(total=total, unit="row", desc="Paraphrasing", smoothing=0.05) as bar:
            try:
                return await paraphraser.run(rows, lambda progress: _show(bar, progress, generator, job))
            finally:
                _show(bar, paraphraser.progress, generator, job)
                await generator.close()

    journal = Journal(job.output / name, job.recipe(generator))
    try:
        return asyncio.run(paraphrase())
    finally:
        journal.close()


def _check_layout(output: Path, part: tuple[int, int] | None) -> None:
    """Raises InputError if the corpus was begun with another number of parts: its answers would be paid for again."""
    found = sorted(path.name for path in output.glob("journal*.sqlite"))
    other = [name for name in found if not name.endswith(f"-of-{part[1]:05d}.sqlite" if part else "journal.sqlite")]
    if other:
        raise InputError(
            f"{output / other[0]}: this corpus was begun with another number of parts. Give the same --runner and "
            "--partitions again, or another --output."
        )


def _show(bar: tqdm, progress: Progress, generator: Generator, job: Job) -> None:
    """Rows per second, time left, calls in flight, retried and rejected, tokens, cost."""
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
    tokens = progress.tokens_in + progress.tokens_out
    made = count - progress.outcomes["known"]
    if tokens and made:
        rest = f" of about {tokens + tokens / made * (bar.total - count):,.0f}" if bar.total else ""
        postfix["tokens"] = f"{tokens:,}{rest}"
    if (cost := job.cost(progress.tokens_in, progress.tokens_out)) is not None:
        postfix["cost"] = f"{cost:.2f}"
    bar.set_postfix(postfix, refresh=False)
