"""Time of encoding captions with the text tower of a CLIP: packed, as training and evaluation do it, against padded.

    python benchmarks/encoding.py --model DIR_OR_ID --captions DIR/captions.jsonl [MORE ...] --count 20000

Padded: batches of 256 in the order of the file, through `get_text_features`, to the longest text of the batch or to
the 77 tokens of the context. The ways take turns; medians are printed, in seconds and in seconds of processor time,
which other work on the machine hardly changes, and the largest difference of two vectors. Each caption is there once.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoTokenizer, CLIPModel

sys.path.insert(0, str(Path(__file__).parents[1]))
from modeling_paraclip.architectures import encode_texts

BATCH = 256


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--captions", type=Path, nargs="+", required=True)
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    rows = (json.loads(line) for file in args.captions for line in file.read_text(encoding="utf-8").splitlines())
    texts = list(dict.fromkeys(text for row in rows for text in row["captions"]))[: args.count]
    model, tokenizer = CLIPModel.from_pretrained(args.model).eval(), AutoTokenizer.from_pretrained(args.model)

    @torch.inference_mode()
    def padded(**options) -> Tensor:
        parts = []
        for start in range(0, len(texts), BATCH):
            inputs = tokenizer(texts[start : start + BATCH], truncation=True, return_tensors="pt", **options)
            parts.append(F.normalize(model.get_text_features(**inputs).pooler_output, dim=-1))
        return torch.cat(parts)

    ways: dict[str, Callable[[], Tensor]] = {
        "packed": lambda: encode_texts(model, tokenizer, texts),
        "padded to the longest": lambda: padded(padding=True),
        "padded to 77": lambda: padded(padding="max_length", max_length=77),
    }
    seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    found: dict[str, Tensor] = {}
    for _ in range(args.rounds):
        for way, encode in ways.items():
            start, processor = time.perf_counter(), time.process_time()
            found[way] = encode()
            seconds[way].append((time.perf_counter() - start, time.process_time() - processor))
            print(f"{way}: {seconds[way][-1][0]:.1f} s, of the processor {seconds[way][-1][1]:.1f}", flush=True)
    print(f"{len(texts):,} captions; medians of {args.rounds}\n| way | s | times | processor s | times | difference |")
    medians = {way: [statistics.median(column) for column in zip(*taken)] for way, taken in seconds.items()}
    for way, (wall, processor) in medians.items():
        difference = (found[way] - found["packed"]).abs().max()
        times = wall / medians["packed"][0], processor / medians["packed"][1]
        print(f"| {way} | {wall:.1f} | {times[0]:.1f} | {processor:.1f} | {times[1]:.1f} | {difference:.0e} |")


if __name__ == "__main__":
    main()
