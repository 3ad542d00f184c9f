"""Kill the generation job at random moments and start it again: `python benchmarks/kill.py --kills 50`

The endpoint answers late, and one request in ten with a fault. In the end the corpus must equal that of a run without
kills, no caption may be lost or doubled, and no request whose answer was in the journal at a kill may be sent again.

Each kill comes after a random number of requests. The endpoint answers 16 more and is then silent, so that even on a
slow machine the job cannot finish before it is killed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from dataset_builder.generators import SAMPLING
from dataset_builder.journal import request_key
from dataset_builder.paraphrase import PROMPT_1, PROMPT_2
from dataset_builder.records import done_rows, journals
from tests.endpoint_double import EndpointDouble, reword

IDENTITY = {"model": "m", "temperature": SAMPLING["temperature"], "top_p": SAMPLING["top_p"]}
ROOT = Path(__file__).parent.parent
PARTS = """
import sys
from dataset_builder import __main__, options, ray_runner
job = options.job_of(__main__.parser().parse_args(sys.argv[2:]))
layout = ray_runner.lay_out(job.output, int(sys.argv[1]))
sys.exit("".join(ray_runner._run_part({"id": i}, job, layout, {})["error"] for i in range(layout.partitions)) or None)
"""


def expected(rows: list[tuple[int, str, str]]) -> list[tuple]:
    """The triples of a run without kills, by the double's own rule."""
    triples = []
    for idx, image_id, caption in rows:
        first = reword(PROMPT_1.replace("{}", caption))
        triples.append((idx, image_id, caption, first, reword(PROMPT_2.replace("{}", first))))
    return triples


def durable_prompts(folder: Path, prompts: list[str]) -> set[str]:
    """The prompts whose answers are in a journal anywhere in `folder`."""
    keys = set()
    for journal in folder.rglob("journal*.sqlite"):
        with sqlite3.connect(journal) as db:
            if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'answers'").fetchone():
                keys |= {key for (key,) in db.execute("SELECT key FROM answers")}
    return {prompt for prompt in prompts if request_key(prompt, IDENTITY) in keys}


def run(
    folder: Path, rows: list[tuple[int, str, str]], kills: int, seed: int = 0, latency: float = 0.1, parts: int = 0
) -> dict:
    """Kill the job `kills` times, let it end, and check. Raises AssertionError. Returns what was counted.

    With `parts`, the process does what the workers of `--runner ray` do, one part after the other.
    """
    rng = random.Random(seed)
    with open(folder / "captions.jsonl", "w") as file:
        for _, image_id, caption in rows:
            file.write(json.dumps({"image_id": image_id, "caption": caption}) + "\n")
    killed = 0
    with EndpointDouble(latency=latency, jitter=True, fault=0.1, seed=seed) as endpoint:
        command = [sys.executable, "-m", "dataset_builder"]
        if parts:
            command = [sys.executable, "-c", PARTS, str(parts)]
        command += ["paraphrase", "--captions", str(folder / "captions.jsonl"), "--output", str(folder / "corpus")]
        command += ["--generator", "openai", "--base_url", endpoint.url, "--model", "m", "--concurrency", "8"]
        (folder / "local").mkdir()
        environment = {**os.environ, "TMPDIR": str(folder / "local")}
        durable: set[str] = set()
        while True:
            answered = len(endpoint.answered)
            endpoint.allowed = None
            if killed < kills:
                moment = endpoint.requests + rng.randrange(max(2, len(rows) // (kills + 1)))
                endpoint.allowed = moment + 16
            with open(folder / "log", "w") as log:
                job = subprocess.Popen(command, stderr=log, stdout=log, cwd=ROOT, env=environment)
            if killed < kills:
                # some die while they start, most while answers are under way
                patience = time.monotonic() + rng.choice([0.5, 60, 60, 60])
                while endpoint.requests <= moment and job.poll() is None and time.monotonic() < patience:
                    time.sleep(0.005)
                time.sleep(rng.random() * latency)
                killed += job.poll() is None
                job.send_signal(signal.SIGKILL)
            job.wait()
            again = durable & set(endpoint.answered[answered:])
            assert not again, f"asked again: {sorted(again)[:3]}"
            durable = durable_prompts(folder, endpoint.answered)
            if job.returncode != -signal.SIGKILL:
                break
        assert job.returncode == 0, (folder / "log").read_text()
        asked, distinct = len(endpoint.answered), len(set(endpoint.answered))
    finished = sorted(row[:5] for journal in journals(folder / "corpus") for row in done_rows(journal))
    assert finished == expected(rows), "the corpus differs from that of a run without kills"
    return {"kills": killed, "rows": len(finished), "answers": asked, "lost in flight": asked - distinct}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--parts", type=int, default=0, help="do what the workers of --runner ray do (default: no)")
    args = parser.parse_args()
    rows = [(i, f"{i}.jpg", f"a dog beside number {i % (args.rows - 10) + 100}") for i in range(args.rows)]
    with tempfile.TemporaryDirectory() as folder:
        print(run(Path(folder), rows, args.kills, parts=args.parts))


if __name__ == "__main__":
    main()
