"""`train.py` as people run it, on a tiny model: in this process, or as a command."""

import subprocess
import sys
import time
from pathlib import Path

import train

FAST = ["--use_cpu", "--max_steps=4", "--per_device_train_batch_size=8", "--learning_rate=1e-2", "--disable_tqdm=True"]


def arguments(tiny_clip, pairs, out, *more) -> list[str]:
    """A small run of `tiny_clip` on `pairs` that measures nothing, unless `more` says otherwise."""
    return [
        *("--model_name_or_path", str(tiny_clip), "--output_dir", str(out)),
        *("--train_file", str(pairs / "pairs.jsonl"), "--image_dir", str(pairs / "pictures")),
        *("--image_cache_dir", str(Path(out).parent / "cache"), "--validation_split_percentage", "0", *FAST, *more),
    ]


def run(tiny_clip, pairs, out, *more) -> None:
    """In this process; 40% of the pictures are measured on."""
    train.main(arguments(tiny_clip, pairs, out, "--validation_split_percentage", "40", *more))


def train_command(tiny_clip, pairs, out, *more) -> list[str]:
    """As a command, for `subprocess`."""
    return [sys.executable, train.__file__, *arguments(tiny_clip, pairs, out, *more)]


def start_and_signal(command, out, number, checkpoint="checkpoint-*") -> tuple[int, str]:
    """Start, send the signal once there is such a checkpoint, and wait. Returns (exit status, output)."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while not list(out.glob(checkpoint)) and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(number)
        output, _ = process.communicate()
    return process.returncode, output
