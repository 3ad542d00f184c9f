"""The benchmark of training, small: every way runs, and where the mathematics is the same the loss is."""

import re
import sys
from pathlib import Path

import pytest

from tests.processes import succeeds


@pytest.mark.slow
def test_all_ways_of_training_end_at_one_loss():
    script = Path(__file__).parents[1] / "benchmarks" / "train.py"
    ways = ["ours", "ours-fp32", "hf", "hf-tuned"]
    command = [sys.executable, str(script), "--tiny", "--batch", "16", "--steps", "2", "--only", *ways]
    table = succeeds(command).stdout
    loss = {way: float(value) for way, value in re.findall(r"^(\S+) +16 +\S+ +\S+ +\S+x +\d+ +([\d.]+)", table, re.M)}
    assert set(loss) == set(ways), table
    assert loss["ours-fp32"] == pytest.approx(loss["hf"], rel=1e-5)
    assert loss["ours"] == pytest.approx(loss["hf"], rel=5e-3)  # bfloat16
    assert loss["hf-tuned"] == pytest.approx(loss["hf"], rel=5e-3)
