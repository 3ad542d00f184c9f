"""How fast is the generation job, and does it stay small? `python benchmarks/generation.py [--quick]`

The peers are what people write otherwise, with the same official client: a loop that sends the two calls for one
caption after another, and `chat.completions.create` in 64 tasks, which keeps nothing and filters nothing. All talk to
the same endpoint double, which runs in a process of its own.

1. 200 ms latency: captions per second at --concurrency 64, as a ratio to the sequential loop
2. no latency, so that the client is the limit: requests per second and processor time per request of the job, as a
   ratio to the official client alone; and of our own call of that client alone, without journal and filters
3. peak memory at three sizes of corpus, by rule (no endpoint, so that millions are affordable)
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import openai

sys.path.insert(0, str(Path(__file__).parent.parent))

from dataset_builder.generators import SAMPLING
from dataset_builder.generators.openai import OpenAIGenerator
from dataset_builder.journal import Journal
from dataset_builder.paraphrase import PROMPT_1, PROMPT_2, Paraphraser
from tests.endpoint_double import EndpointDouble


def serve(latency: float, pipe) -> None:
    with EndpointDouble(latency=latency) as endpoint:
        pipe.send(endpoint.url)
        pipe.recv()


class Endpoint:
    """The double in another process, so that it shares no interpreter lock with the client."""

    def __init__(self, latency: float):
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=serve, args=(latency, theirs), daemon=True)

    def __enter__(self) -> str:
        self.process.start()
        return self.pipe.recv()

    def __exit__(self, *_) -> None:
        self.pipe.send(None)
        self.process.join()


def rows(n: int):
    return ((i, str(i), f"a dog beside the number {i + 100}") for i in range(n))


def concurrent(url: str, n: int, concurrency: int) -> float:
    """Captions per second of the job."""

    async def job():
        generator = OpenAIGenerator("m", url, sampling=SAMPLING, concurrency=concurrency)
        start = time.perf_counter()
        progress = await Paraphraser(generator, journal, concurrency=concurrency).run(rows(n))
        seconds = time.perf_counter() - start
        await generator.close()
        assert progress.outcomes["done"] == n, progress
        return n / seconds

    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal.sqlite", {"generator": "openai", "model": "m"})
        try:
            return asyncio.run(job())
        finally:
            journal.close()


def sequential(url: str, n: int) -> float:
    """Captions per second of the loop."""

    async def job():
        generator = OpenAIGenerator("m", url, sampling=SAMPLING)
        start = time.perf_counter()
        for _, _, caption in rows(n):
            first = (await generator.generate(PROMPT_1.replace("{}", caption), caption, 1)).text
            await generator.generate(PROMPT_2.replace("{}", first), first, 2)
        seconds = time.perf_counter() - start
        await generator.close()
        return n / seconds

    return asyncio.run(job())


async def in_tasks(ask: Callable[[str], Awaitable[object]], n: int, concurrency: int) -> float:
    """Requests per second of `n` prompts of step 1."""
    prompts = iter([PROMPT_1.replace("{}", caption) for _, _, caption in rows(n)])

    async def work():
        for prompt in prompts:
            await ask(prompt)

    start = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    return n / (time.perf_counter() - start)


def official_client(url: str, n: int, concurrency: int) -> float:
    """Requests per second of the official client as its manual has it, with the same transport as ours (aiohttp)."""

    async def job():
        async with openai.AsyncOpenAI(
            api_key="none", base_url=url, http_client=openai.DefaultAioHttpClient()
        ) as client:

            async def ask(prompt: str):
                messages = [{"role": "user", "content": prompt}]
                return await client.chat.completions.create(model="m", messages=messages, **SAMPLING)

            return await in_tasks(ask, n, concurrency)

    return asyncio.run(job())


def own_client(url: str, n: int, concurrency: int) -> float:
    """Requests per second of our use of it alone."""

    async def job():
        generator = OpenAIGenerator("m", url, sampling=SAMPLING, concurrency=concurrency)
        try:
            return await in_tasks(lambda prompt: generator.generate(prompt, "", 1), n, concurrency)
        finally:
            await generator.close()

    return asyncio.run(job())


def ceilings(url: str, n: int, rounds: int) -> None:
    """Print the three ceilings, measured in turn as the machine's load changes: medians, and medians of ratios."""
    contestants = {
        "the job": lambda: 2 * concurrent(url, n // 2, 64),
        "the official client": lambda: official_client(url, n, 64),
        "our client alone": lambda: own_client(url, n, 64),
    }
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    busy: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, measure in contestants.items():
            start = time.process_time()
            rates[name].append(measure())
            busy[name].append((time.process_time() - start) / n * 1e6)
    for name in contestants:
        rate, cpu = statistics.median(rates[name]), statistics.median(busy[name])
        print(f"no latency: {name}: {rate:.0f} requests/s, {cpu:.0f} us of processor time per request")
    for name in list(contestants)[1:]:
        ratio = statistics.median(ours / other for ours, other in zip(rates["the job"], rates[name]))
        cpu = statistics.median(other / ours for ours, other in zip(busy["the job"], busy[name]))
        print(f"no latency: the job to {name}: {ratio:.2f}x (by processor time {cpu:.2f}x)", flush=True)


def memory(n: int) -> tuple[float, float]:
    """(peak MiB of the process, rows per second) of `n` captions by rule."""
    with tempfile.TemporaryDirectory() as folder:
        captions = Path(folder) / "captions.txt"
        with open(captions, "w") as file:
            file.writelines(f"{caption}\n" for _, _, caption in rows(n))
        command = [sys.executable, "-m", "dataset_builder", "paraphrase", "--captions", str(captions)]
        command += ["--output", f"{folder}/corpus", "--generator", "rules"]
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parent.parent)
        seconds = time.perf_counter() - start
    # the largest child so far: run the sizes in growing order
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, n / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--memory_sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    args = parser.parse_args()
    repeats = 1 if args.quick else 3

    with Endpoint(0.2) as url:
        pairs = [
            (concurrent(url, 64 if args.quick else 1500, 64), sequential(url, 2 if args.quick else 8))
            for _ in range(repeats)
        ]
    ours, loop = (statistics.median(column) for column in zip(*pairs))
    print(f"200 ms latency: {ours:.1f} captions/s at concurrency 64, {loop:.2f} one after another: {ours / loop:.0f}x")

    with Endpoint(0) as url:
        ceilings(url, 400 if args.quick else 2000, 1 if args.quick else 7)

    for n in [500, 1000] if args.quick else args.memory_sizes:
        peak, rate = memory(n)
        print(f"{n:,} captions by rule: peak {peak:.0f} MiB, {rate:.0f} captions/s", flush=True)


if __name__ == "__main__":
    main()
