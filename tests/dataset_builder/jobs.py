"""What several tests of the generation job share: captions, a run against the endpoint double, a command."""

import asyncio
import json

from dataset_builder.filters import Limits
from dataset_builder.generators.openai import OpenAIGenerator
from dataset_builder.journal import Journal, done_rows
from dataset_builder.paraphrase import PROMPT_1, PROMPT_2, Paraphraser

RECIPE = {"generator": "openai", "model": "m", "sampling": {}, "prompts": [PROMPT_1, PROMPT_2]}


def source(n, distinct=None):
    return [(i, f"{i}.jpg", f"a dog beside number {i % (distinct or n) + 100}") for i in range(n)]


def run(rows, folder, endpoint, *, limits=Limits(), concurrency=8, similarity=None, max_retries=8, timeout=60):  # noqa: B008
    async def job():
        generator = OpenAIGenerator("m", endpoint.url, max_retries=max_retries, timeout=timeout)
        try:
            paraphraser = Paraphraser(
                generator, journal, limits=limits, concurrency=concurrency, similarity=similarity
            )
            progress = await paraphraser.run(rows)
            progress.retried = generator.retried
            return progress
        finally:
            await generator.close()

    journal = Journal(folder / "journal.sqlite", RECIPE)
    try:
        return asyncio.run(job())
    finally:
        journal.close()


def finished(folder):
    return [row[:5] for row in done_rows(folder / "journal.sqlite")]


def command(folder, endpoint, *more):
    return ["paraphrase", "--captions", str(folder / "captions.jsonl"),
            "--output", str(folder / "corpus"), "--generator", "openai", "--base_url", endpoint.url, "--model", "m",
            "--concurrency", "8", *more]  # fmt: skip


def write_captions(folder, rows):
    with open(folder / "captions.jsonl", "w") as file:
        for _, image_id, caption in rows:
            file.write(json.dumps({"image_id": image_id, "caption": caption}) + "\n")
