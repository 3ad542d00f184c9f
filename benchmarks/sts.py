"""Time of the STS tasks: this suite against `mteb` (embeddings-benchmark), same model, same pairs, same machine.

    pip install mteb sentence-transformers
    python benchmarks/sts.py --model DIR_OR_ID --data DIR

Both read STS12, STS13 and STS-B test from the same local files (in place of mteb's own download), encode every text
and score: mteb with sentence-transformers, as it does by itself, in batches of 128. Each runs in its own process, in
turn. The median ratio of a pair is printed, of seconds and of seconds of processor time, which other work on the
machine hardly changes. Loading the model is not counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAMES = {"STS12": "STS12", "STS13": "STS13", "STS-B": "STSBenchmark"}


def ours(model: str, data: Path) -> dict:
    """Seconds and figures of this suite."""
    sys.path.insert(0, str(ROOT))
    from eval import suite
    from eval.encoders import load_encoder
    from eval.tasks import sts

    sts.SUBSETS = {name: sts.SUBSETS[name] for name in NAMES}
    with tempfile.TemporaryDirectory() as cache:
        encoder = load_encoder(model, cache_dir=cache)
        start, began = time.perf_counter(), time.process_time()
        measured, _ = suite.evaluate(encoder, ["sts"], data)
        scores = {m.dataset: m.value for m in measured if m.dataset in NAMES}
        seconds, processor = time.perf_counter() - start, time.process_time() - began
        [m.to_dict() for m in measured]  # works out the intervals
        return {
            "seconds": seconds,
            "processor": processor,
            "with intervals": time.perf_counter() - start,
            **scores,
        }


def theirs(model: str, data: Path) -> dict:
    """Seconds and figures of `mteb`."""
    sys.path.insert(0, str(ROOT))
    import datasets
    import mteb
    from sentence_transformers import SentenceTransformer

    from eval.data import read_tsv
    from eval.tasks.sts import SUBSETS

    encoder = SentenceTransformer(model)
    tasks = mteb.get_tasks(tasks=list(NAMES.values()))
    for task in tasks:
        name = next(ours for ours, theirs in NAMES.items() if theirs == task.metadata.name)
        rows = [
            row
            for subset in SUBSETS[name]
            for row in read_tsv(data / "sts" / f"{subset}.tsv", ("sentence1", "sentence2", "score"), ("score",))
        ]
        task.dataset = {"test": datasets.Dataset.from_list(rows)}
        task.data_loaded = True
    start, began = time.perf_counter(), time.process_time()
    results = mteb.evaluate(encoder, tasks, cache=None, encode_kwargs={"batch_size": 128})
    seconds, processor = time.perf_counter() - start, time.process_time() - began
    scores = {
        name: result.scores["test"][0]["main_score"] for name, result in zip(NAMES, results.task_results, strict=True)
    }
    return {"seconds": seconds, "processor": processor, **scores}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--only", choices=["ours", "mteb"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        print(json.dumps((ours if args.only == "ours" else theirs)(args.model, args.data)))
        return
    runs: dict[str, list[dict]] = {"ours": [], "mteb": []}
    for _ in range(args.pairs):
        for name, found in runs.items():
            command = [sys.executable, __file__, "--model", args.model, "--data", str(args.data), "--only", name]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found.append(json.loads(output.strip().splitlines()[-1]))
            print(name, found[-1], flush=True)
    for unit in ("seconds", "processor"):
        ratios = [theirs[unit] / ours[unit] for ours, theirs in zip(runs["ours"], runs["mteb"], strict=True)]
        medians = {name: round(statistics.median(run[unit] for run in found), 1) for name, found in runs.items()}
        print(
            f"{unit}: {medians}; mteb takes {statistics.median(ratios):.2f} times ours, median of {args.pairs} pairs"
        )


if __name__ == "__main__":
    main()
