"""What several tests of the generation job share: captions, a run against the endpoint double, a command."""

import asyncio
import contextlib
import json
import re
import sqlite3
from pathlib import Path

from dataset_builder.filters import Limits
from dataset_builder.generators.openai import OpenAIGenerator
from dataset_builder.journal import Answer, Journal
from dataset_builder.paraphrase import PROMPT_1, PROMPT_2, PROMPT_3, Paraphraser
from dataset_builder.records import done_rows
from tests.endpoint_double import reword

RECIPE = {"generator": "openai", "model": "m", "sampling": {}, "prompts": [PROMPT_1, PROMPT_2]}
PROMPTS = (PROMPT_1, PROMPT_2, PROMPT_3)
WITH_NEGATIVES = {**RECIPE, "prompts": list(PROMPTS)}


def is_step_3(prompt):
    return prompt.startswith(PROMPT_3.partition("{}")[0])


def writes(prompt):
    """As the endpoint's double does; a negative has a cat for the dog."""
    return re.search('"(.*)"', prompt)[1].replace("dog", "cat") if is_step_3(prompt) else reword(prompt)


class Says:
    """A generator without a server: `answer` maps a prompt to a text, an Answer or an exception."""

    sampling, retried = {}, 0

    def __init__(self, answer=reword, max_tokens=None, model="m"):
        self.answer, self.max_tokens, self.identity = answer, max_tokens, {"model": model}
        self.prompts = []

    async def generate(self, prompt, text, step):
        self.prompts.append(prompt)
        await asyncio.sleep(0)
        said = self.answer(prompt)
        if isinstance(said, Exception):
            raise said
        return Answer(said, "stop", 10, 5) if isinstance(said, str) else said

    async def close(self):
        pass


def source(n, distinct=None):
    return [(i, f"{i}.jpg", f"a dog beside number {i % (distinct or n) + 100}") for i in range(n)]


def run(rows, folder, endpoint, *, limits=Limits(), concurrency=8, checks=(), max_retries=8, timeout=60, **more):  # noqa: B008
    async def job():
        generator = OpenAIGenerator("m", endpoint.url, max_retries=max_retries, timeout=timeout)
        try:
            paraphraser = Paraphraser(
                generator, journal, limits=limits, concurrency=concurrency, checks=checks, **more
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


def ask(rows, folder, generator, recipe=RECIPE, **more):
    """Run the job with a generator as it is. Returns the counts."""
    journal = Journal(folder / "journal.sqlite", recipe)
    try:
        return asyncio.run(Paraphraser(generator, journal, **{"concurrency": 8, **more}).run(rows))
    finally:
        journal.close()


def finished(folder):
    return [row[:5] for row in done_rows(folder / "journal.sqlite")]


def negatives_of(folder):
    return [row[-1] for row in done_rows(folder / "journal.sqlite")]


def of_version_0_2(folder):
    """A journal as version 0.2 left it: 3 rows done, one cut at 16 tokens, one refused."""
    (folder / "corpus").mkdir()
    with contextlib.closing(sqlite3.connect(folder / "corpus" / "journal.sqlite")) as db:
        db.executescript((Path(__file__).parent / "journal_0_2.sql").read_text())
    return folder / "corpus" / "journal.sqlite"


def command(folder, endpoint, *more):
    return ["paraphrase", "--captions", str(folder / "captions.jsonl"),
            "--output", str(folder / "corpus"), "--generator", "openai", "--base_url", endpoint.url, "--model", "m",
            "--concurrency", "8", *more]  # fmt: skip


def write_captions(folder, rows):
    with open(folder / "captions.jsonl", "w") as file:
        for _, image_id, caption in rows:
            file.write(json.dumps({"image_id": image_id, "caption": caption}) + "\n")
