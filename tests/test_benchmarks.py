"""The benchmarks, small: they run, and where the mathematics is the same so are the figures."""

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from tests.processes import succeeds

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
needs_bash = pytest.mark.skipif(not shutil.which("bash") or not shutil.which("timeout"), reason="no bash or timeout")


def benchmark(name: str):
    """A benchmark as a module."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_all_ways_of_training_end_at_one_loss():
    ways = ["ours", "ours-fp32", "hf", "hf-tuned"]
    command = [sys.executable, BENCHMARKS / "train.py", "--tiny", "--batch", "16", "--steps", "2", "--only", *ways]
    table = succeeds(command).stdout
    loss = {way: float(value) for way, value in re.findall(r"^(\S+) +16 +\S+ +\S+ +\S+x +\d+ +([\d.]+)", table, re.M)}
    assert set(loss) == set(ways), table
    assert loss["ours-fp32"] == pytest.approx(loss["hf"], rel=1e-5)
    assert loss["ours"] == pytest.approx(loss["hf"], rel=5e-3)  # bfloat16
    assert loss["hf-tuned"] == pytest.approx(loss["hf"], rel=5e-3)


def test_mfu_is_what_was_needed_of_the_data_sheet():
    found = {"needed": 1e12, "similarities": 0, "seconds": 0.01, "rate": 2e14, "fp32": 1e14, "peak": 1e15}
    said = benchmark("train").of_the_floor(found)
    assert said == "50% of 200000 GFLOP/s, MFU 10.0% of 1000 TFLOP/s, similarities 0.000 s"


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_all_ways_of_attention_give_the_same(monkeypatch):
    attention = benchmark("attention")

    def varlen(q, k, v, starts, also_starts, longest, also_longest, *, scale, window_size):  # the kernel needs a GPU
        assert window_size == (-1, 0) and longest == also_longest == starts.diff().max() and starts is also_starts
        texts = zip(*(x.tensor_split(starts[1:-1].long()) for x in (q, k, v)))
        qkv = ((x.transpose(0, 1) for x in text) for text in texts)
        parts = [F.scaled_dot_product_attention(*text, is_causal=True, scale=scale).transpose(0, 1) for text in qkv]
        return torch.cat(parts)

    monkeypatch.setattr(attention, "varlen_attn", varlen)
    chunk = attention.a_chunk(tiny=True)
    read = int(chunk["node_of_token"].max()) + 1  # what follows only fills the chunk
    given = torch.randn(3, len(chunk["input_ids"]), 512, generator=torch.Generator().manual_seed(0))
    loop, *others = (make(chunk)(*given)[:read] for make in attention.WAYS.values())
    assert len(others) == 3
    for found in others:
        torch.testing.assert_close(found, loop, rtol=1e-4, atol=1e-5)


def test_docs_give_the_commands_that_were_run():
    reproduce, docs = benchmark("reproduce"), (ROOT / "docs" / "reproduce.md").read_text().replace(" \\\n   ", "")
    args = argparse.Namespace(steps=1, batch=2, train="")
    for name, arguments in reproduce.stages(args, [], "http://127.0.0.1/v1"):
        if name == "join":
            assert reproduce.JOIN in docs
        elif not name.startswith("["):
            command = " ".join([Path(arguments[0]).name, *arguments[1:5]]).replace("shards/*.tar", "'shards/*.tar'")
            assert f"python {command}" in docs, command


@pytest.mark.slow
def test_the_path_to_a_published_model_runs():
    options = ["--tiny", "--steps", "2", "--batch", "32", "--pictures", "100"]
    table = succeeds([sys.executable, BENCHMARKS / "reproduce.py", *options]).stdout
    stages = re.findall(r"^\| (\[?[a-z]+\]?) (?:\| [\d.]+ ){3}\|", table, re.M)
    assert stages[0] == "base" and stages[-1] == "[open]" and len(stages) == 11, table
    assert re.search(r"^2 steps: .* tokens encoded per step$", table, re.M), table


@needs_bash
def test_the_hour_on_a_gpu_is_ten_minutes_at_most():
    script = (BENCHMARKS / "gpu.sh").read_text()
    limits = [int(limit) for limit in re.findall(r"^stage \S+ (\d+) ", script, re.M)]
    to_kill = int(re.search(r"--kill-after=(\d+)", script)[1])
    assert len(limits) == 8 and sum(limits) + to_kill * len(limits) < 600


@needs_bash
def test_a_stage_that_fails_is_named_and_the_others_run(tmp_path):
    (tmp_path / "python").write_text('#!/usr/bin/env bash\ncase "$*" in *train.py*--torch_compile*) exit 3;; esac\n')
    (tmp_path / "python").chmod(0o755)
    environment = on_no_gpu() | {"PYTHON": str(tmp_path / "python")}
    done = subprocess.run(["bash", BENCHMARKS / "gpu.sh", tmp_path / "out"], env=environment, capture_output=True)
    outcomes = dict(
        re.findall(r"^\| ([a-z0-9-]+) \| \d+ \| (.*) \|$", (tmp_path / "out" / "summary.md").read_text(), re.M)
    )
    assert done.returncode == 1 and len(outcomes) == 8
    assert outcomes.pop("compile") == "failed with status 3" and set(outcomes.values()) == {"done"}


@needs_bash
def test_without_a_gpu_one_sentence_says_so(tmp_path):
    done = subprocess.run(["bash", BENCHMARKS / "gpu.sh", tmp_path], capture_output=True, text=True, env=on_no_gpu())
    assert done.returncode == 1
    assert re.fullmatch(r"gpu\.sh: torch \S+ cannot use a GPU: [^\n]+\.\n", done.stderr), done.stderr


@needs_bash
@pytest.mark.slow
def test_stages_run_small_without_a_gpu(tmp_path):
    command = ["bash", BENCHMARKS / "gpu.sh", "--tiny", tmp_path, "attention", "embedding"]
    succeeds(command, env=on_no_gpu())
    summary = (tmp_path / "summary.md").read_text()
    assert re.findall(r"^\| (\w+) \| \d+ \| done \|$", summary, re.M) == ["environment", "attention", "embedding"]
    assert "| tree |" in summary and "| packed |" in summary


def on_no_gpu() -> dict[str, str]:
    """Without limits, as no test may depend on how fast a machine is."""
    return {**os.environ, "CUDA_VISIBLE_DEVICES": "", "LIMIT": "0", "PYTHON": sys.executable}
