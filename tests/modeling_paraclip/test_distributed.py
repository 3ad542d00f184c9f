"""Two processes, one of which takes longer than the training's time-out allows."""

import multiprocessing
import os
import socket
import time
from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch.distributed as dist

from modeling_paraclip.distributed import main_process_first


def _worker(rank, port, queue):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2, timeout=timedelta(seconds=1))
    with main_process_first(SimpleNamespace(world_size=2, local_process_index=rank)):
        if rank == 0:
            time.sleep(3)
        queue.put(rank)


@pytest.mark.slow
def test_waiting_outlasts_the_time_out_of_training():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=_worker, args=(rank, port, queue), daemon=True) for rank in (0, 1)]
    for worker in workers:
        worker.start()
    assert [queue.get(timeout=300), queue.get(timeout=300)] == [0, 1]
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0


def test_one_process_does_not_wait():
    with main_process_first(SimpleNamespace(world_size=1)):
        pass
