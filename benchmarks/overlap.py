"""AO@10, JS@10 and recall of many queries against a large gallery: `eval.ranking` and plain ways.

    python benchmarks/overlap.py                        5,000 pairs, 1,000,000 vectors of 512 dimensions
    python benchmarks/overlap.py --pairs 50 --gallery 20000

topk: the full rows of scores in slices of 250 queries, `torch.topk`. loop: a Python loop, `argsort` and sets, on
`--loop_pairs` pairs only, and its time multiplied (the output says so). recall: the rank of each query's own picture
in the same gallery. The last line is the recall of 25,000 texts and 5,000 pictures, both ways, beside the two matrix
products alone: the median ratio of `--repeats` pairs. Each way runs in its own process; memory is
the peak beyond the inputs. The floor is the time of the matrix products alone at the machine's measured rate.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from eval.metrics.average_overlap.average_overlap import average_overlap
from eval.metrics.jaccard_similarity.jaccard_similarity import jaccard_similarity
from eval.ranking import best_rank, rank

K = 10


def ours(a: np.ndarray, b: np.ndarray, gallery: np.ndarray) -> tuple[float, float]:
    """(AO@10, JS@10) by `eval.ranking`, in tiles."""
    ranked = rank(a, gallery, K), rank(b, gallery, K)
    return average_overlap(*ranked, K).mean(), jaccard_similarity(*ranked, K).mean()


def topk(a: np.ndarray, b: np.ndarray, gallery: np.ndarray) -> tuple[float, float]:
    """(AO@10, JS@10) by full rows of scores."""
    transposed, ranked = torch.from_numpy(gallery).T, []
    for queries in (a, b):
        slices = torch.from_numpy(queries).split(250)
        ranked.append(torch.cat([(part @ transposed).topk(K).indices for part in slices]).numpy())
    return average_overlap(*ranked, K).mean(), jaccard_similarity(*ranked, K).mean()


def loop(a: np.ndarray, b: np.ndarray, gallery: np.ndarray) -> tuple[float, float]:
    """(AO@10, JS@10) in plain Python."""
    overlaps, jaccards = [], []
    for x, y in zip(a, b):
        first, second = (np.argsort(-(gallery @ query), kind="stable") for query in (x, y))
        overlaps.append(sum(len(set(first[:d]) & set(second[:d])) / d for d in range(1, K + 1)) / K)
        top = set(first[:K]), set(second[:K])
        jaccards.append(len(top[0] & top[1]) / len(top[0] | top[1]))
    return float(np.mean(overlaps)), float(np.mean(jaccards))


def recall(a: np.ndarray, b: np.ndarray, gallery: np.ndarray) -> tuple[float, float]:
    """(R@10 of `a`, R@10 of `b`) by `eval.ranking`; the first pictures are the right ones."""
    own, all_ = np.arange(len(a)), np.arange(len(gallery))
    return tuple((best_rank(queries, gallery, own, all_) < K).mean() for queries in (a, b))


def both_ways(texts: int, pictures: int, dim: int, repeats: int) -> list[float]:
    """Time of the recall of texts and of pictures, as a multiple of the two matrix products alone."""
    rng = np.random.default_rng(0)
    text, image = (rng.standard_normal((n, dim), dtype=np.float32) for n in (texts, pictures))
    picture_of_text, all_ = np.arange(texts) % pictures, np.arange(pictures)
    ratios = []
    for _ in range(repeats):
        start = time.perf_counter()
        best_rank(text, image, picture_of_text, all_)
        best_rank(image, text, all_, picture_of_text)
        middle = time.perf_counter()
        torch.from_numpy(text) @ torch.from_numpy(image).T
        torch.from_numpy(image) @ torch.from_numpy(text).T
        ratios.append((middle - start) / (time.perf_counter() - middle))
    return ratios


def run(name: str, pairs: int, gallery_size: int, dim: int) -> dict:
    """Seconds, memory and figures of one way."""
    rng = np.random.default_rng(0)
    gallery = rng.standard_normal((gallery_size, dim), dtype=np.float32)
    # without a temporary as large as the gallery, which would hide the peak that is measured
    gallery /= np.sqrt(np.einsum("nd,nd->n", gallery, gallery))[:, None]
    a = rng.standard_normal((pairs, dim), dtype=np.float32)
    b = a + 0.3 * rng.standard_normal((pairs, dim), dtype=np.float32)
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    figures = {"ours": ours, "topk": topk, "loop": loop, "recall": recall}[name](a, b, gallery)
    seconds = time.perf_counter() - start
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"seconds": seconds, "MiB": memory, "figures": [float(figure) for figure in figures]}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5000)
    parser.add_argument("--gallery", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--loop_pairs", type=int, default=20)
    parser.add_argument("--texts", type=int, default=25_000)
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", choices=["ours", "topk", "loop", "recall"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        print(json.dumps(run(args.only, args.pairs, args.gallery, args.dim)))
        return
    queries, tile, seconds = torch.randn(2048, args.dim), torch.randn(8192, args.dim).T, []
    for _ in range(20):
        start = time.perf_counter()
        queries @ tile
        seconds.append(time.perf_counter() - start)
    rate = 2 * 2048 * 8192 * args.dim / min(seconds)
    floor = 2 * 2 * args.pairs * args.gallery * args.dim / rate
    print(f"floor: {floor:.1f} s at {rate / 1e9:.0f} GFLOP/s", flush=True)
    first = None
    for name in ("ours", "topk", "loop", "recall"):
        pairs = min(args.loop_pairs, args.pairs) if name == "loop" else args.pairs
        command = [sys.executable, __file__, "--only", name, "--pairs", str(pairs)]
        command += ["--gallery", str(args.gallery), "--dim", str(args.dim)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        found["seconds"] *= args.pairs / pairs
        first = first or found["seconds"]
        named = ("R@10", "R@10") if name == "recall" else ("AO@10", "JS@10")
        extrapolated = f" (from {pairs} pairs)" if pairs < args.pairs else ""
        print(
            f"{name:5} {found['seconds']:9.1f} s  {found['seconds'] / first:7.2f} times ours  {found['MiB']:7.0f} MiB"
            f"  {named[0]} {found['figures'][0]:.4f}  {named[1]} {found['figures'][1]:.4f}{extrapolated}",
            flush=True,
        )
    ratios = both_ways(args.texts, args.pictures, args.dim, args.repeats)
    print(
        f"recall of {args.texts:,} x {args.pictures:,}, both ways: {np.median(ratios):.2f} times the matrix products"
    )


if __name__ == "__main__":
    main()
