"""Kill the generation job at random moments and start it again: `python benchmarks/kill.py --kills 50`

The endpoint answers late, and one request in ten with a fault. In the end the corpus must equal that of a run without
kills, no caption may be lost or doubled, and no request whose answer was in the journal at a kill may be sent again.

Each kill comes after a random number of requests. The endpoint answers 16 more and is then silent, so that even on a
slow machine the job cannot finish before it is killed.
"""

from __future__ import annotations

import argparse
import json
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
from dataset_builder.journal import done_rows, request_key
from dataset_builder.paraphrase import PROMPT_1, PROMPT_2
from tests.endpoint_double import EndpointDouble, reword

ROOT = Path(__file__).parent.parent


def expected(rows: list[tuple[int, str, str]]) -> list[tuple]:
    """The triples of a run without kills, by the double's own rule."""
    triples = []
    for idx, image_id, caption in rows:
        first = reword(PROMPT_1.replace("{}", caption))
        triples.append((idx, image_id, caption, first, reword(PROMPT_2.replace("{}", first))))
    return triples


def durable_prompts(journal: Path, prompts: list[str]) -> set[str]:
    if not journal.exists():
        return set()
    with sqlite3.connect(journal) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'answers'").fetchone():
            return set()
        keys = {key for (key,) in db.execute("SELECT key FROM answers")}
    return {prompt for prompt in prompts if request_key(prompt, {"model": "m", **SAMPLING}) in keys}


def run(folder: Path, rows: list[tuple[int, str, str]], kills: int, seed: int = 0, latency: float = 0.1) -> dict:
    """Kill the job `kills` times, let it end, and check. Raises AssertionError. Returns what was counted."""
    rng = random.Random(seed)
    with open(folder / "captions.jsonl", "w") as file:
        for _, image_id, caption in rows:
            file.write(json.dumps({"image_id": image_id, "caption": caption}) + "\n")
    killed = 0
    with EndpointDouble(latency=latency, jitter=True, fault=0.1, seed=seed) as endpoint:
        command = [sys.executable, "-m", "dataset_builder", "paraphrase", "--captions", str(folder / "captions.jsonl")]
        command += ["--output", str(folder / "corpus"), "--generator", "openai", "--base_url", endpoint.url]
        command += ["--model", "m", "--concurrency", "8"]
        durable: set[str] = set()
        while True:
            answered = len(endpoint.answered)
            endpoint.allowed = None
            if killed < kills:
                moment = endpoint.requests + rng.randrange(max(2, len(rows) // (kills + 1)))
                endpoint.allowed = moment + 16
            with open(folder / "log", "w") as log:
                job = subprocess.Popen(command, stderr=log, stdout=log, cwd=ROOT)
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
            durable = durable_prompts(folder / "corpus" / "journal.sqlite", endpoint.answered)
            if job.returncode != -signal.SIGKILL:
                break
        assert job.returncode == 0, (folder / "log").read_text()
        asked, distinct = len(endpoint.answered), len(set(endpoint.answered))
    finished = [row[:5] for row in done_rows(folder / "corpus" / "journal.sqlite")]
    assert finished == expected(rows), "the corpus differs from that of a run without kills"
    return {"kills": killed, "rows": len(finished), "answers": asked, "lost in flight": asked - distinct}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--rows", type=int, default=1500)
    args = parser.parse_args()
    rows = [(i, f"{i}.jpg", f"a dog beside number {i % (args.rows - 10) + 100}") for i in range(args.rows)]
    with tempfile.TemporaryDirectory() as folder:
        print(run(Path(folder), rows, args.kills))


if __name__ == "__main__":
    main()
