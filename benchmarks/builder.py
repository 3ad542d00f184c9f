"""How fast are a million rows built by the `datasets` builder, and read as captions, in how much memory?

python benchmarks/builder.py
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import datasets

from dataset_builder import ParaCLIPParaphrases
from dataset_builder.sources import open_source

WHERE = "len(caption) > 3"


def peak_mib() -> float:
    """Of this process alone (Linux); what `resource` reports is never less than its parent's."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024


def build(config: str, file: str, cache_dir: str, pipe) -> None:
    """Send (rows, seconds, MiB before, MiB at most) of `download_and_prepare`."""
    datasets.disable_progress_bars()
    builder = ParaCLIPParaphrases(config_name=config, data_files=file, cache_dir=cache_dir)
    before = peak_mib()
    start = time.perf_counter()
    builder.download_and_prepare()
    seconds = time.perf_counter() - start
    rows = sum(split.num_examples for split in builder.info.splits.values())
    pipe.send((rows, seconds, before, peak_mib()))


def read(where: str | None, file: str, cache_dir: str, pipe) -> None:
    """Send the same of reading the captions of a file."""
    source = open_source([file], where=where)
    before = peak_mib()
    start = time.perf_counter()
    rows = sum(1 for _ in source.rows())
    pipe.send((rows, time.perf_counter() - start, before, peak_mib()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        jsonl, parquet = Path(folder) / "pairs.jsonl", Path(folder) / "pairs.parquet"
        with open(jsonl, "w") as file:
            for i in range(args.rows):
                text = f"a brown dog number {i} runs along the beach"
                row = {"index": i, "image_id": f"{i // 2}.jpg", "caption": text}
                file.write(
                    json.dumps({**row, "paraphrase_1": f"{text} again", "paraphrase_2": f"{text} once more"}) + "\n"
                )
        datasets.Dataset.from_json(str(jsonl), cache_dir=f"{folder}/json").to_parquet(parquet)
        for what, function, option, path in (
            ("builder, jsonl", build, "jsonl", jsonl),
            ("builder, parquet", build, "parquet", parquet),
            ("captions, jsonl", read, None, jsonl),
            ("captions, parquet", read, None, parquet),
            (f"captions, parquet, --where '{WHERE}'", read, WHERE, parquet),
        ):
            ours, theirs = multiprocessing.Pipe()
            process = multiprocessing.get_context("spawn").Process(
                target=function, args=(option, str(path), f"{folder}/cache", theirs)
            )
            process.start()
            rows, seconds, before, peak = ours.recv()
            process.join()
            print(f"{what}: {rows:,} rows, {rows / seconds:,.0f} rows/s, peak {peak:.0f} MiB ({before:.0f} before)")


if __name__ == "__main__":
    main()
