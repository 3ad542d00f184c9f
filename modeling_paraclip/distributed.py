"""Waiting for another process for as long as it takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch.distributed as dist
from transformers import TrainingArguments


@contextmanager
def main_process_first(args: TrainingArguments) -> Iterator[None]:
    """Run the block on the first process of each node, then on the others.

    `TrainingArguments.main_process_first` waits on the backend of the training: NCCL gives up after `ddp_timeout`, 30
    minutes by default, and embedding many pictures takes longer.
    """
    if args.world_size == 1:
        yield
        return
    waiting = dist.new_group(backend="gloo", timeout=timedelta(days=30))
    if args.local_process_index:
        dist.barrier(waiting)
    yield
    if not args.local_process_index:
        dist.barrier(waiting)
    dist.destroy_process_group(waiting)


def await_main_process(args: TrainingArguments) -> None:
    """Return on the others only when the main process has all that they sent it.

    One that exits at once may take the connection, and with it its last message, from a main process that goes on.
    """
    if args.world_size > 1:
        dist.monitored_barrier(dist.new_group(backend="gloo"))  # which the main process answers, one by one
