"""The same job on many machines: Ray Data gives each partition to a worker, which keeps a journal of its own.

A partition is every n-th row of the captions, so it has the same rows in every run with the same `--partitions`.
Captions and corpus lie on a file system that all machines see. A partition that dies is run again by Ray, and goes on
where it was.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from .paraphrase import partition

MARK = "partitions.txt"


def run_on_ray(args: argparse.Namespace) -> None:
    """Run `args` (of `paraphrase`) in `args.partitions` parts. Raises ValueError if it was begun in another number."""
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # else it writes a token to the home folder
    import ray

    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    mark = output / MARK
    if mark.exists() and int(mark.read_text()) != args.partitions:
        raise ValueError(f"{output} was begun with --partitions {mark.read_text()}: give the same number again.")
    mark.write_text(str(args.partitions))
    context = ray.data.DataContext.get_current()
    context.max_errored_blocks = 0
    parts = ray.data.range(args.partitions, override_num_blocks=args.partitions)
    parts.map(_run_partition, fn_kwargs={"args": args}, num_cpus=1).materialize()


def _run_partition(row: dict, args: argparse.Namespace) -> dict:
    from .__main__ import paraphrase, rows_of

    index = int(row["id"])
    name = f"journal-{index:05d}-of-{args.partitions:05d}.sqlite"
    progress = paraphrase(args, partition(rows_of(args), index, args.partitions), name)
    return {"id": index, "rows": sum(progress.outcomes.values())}
