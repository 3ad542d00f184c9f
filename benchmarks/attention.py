"""Attention over packed texts: the loop over lengths that training uses, against variable-length and flex attention.

    python benchmarks/attention.py             ViT-B/32's text tower, one chunk of 8,192 nodes: seconds on a GPU
    python benchmarks/attention.py --tiny      40 texts: the differences, on any machine

All ways get the same queries, keys and values, one row per node of the tree of texts (modeling_paraclip/packing.py):

    loop     one scaled_dot_product_attention per length, over the texts unfolded from the tree
    varlen   torch.nn.attention.varlen over the unfolded texts: flash attention, one call; GPUs and 16 bits only
    flex     flex_attention over the unfolded texts, with a block mask of the texts
    tree     flex_attention over the nodes themselves: a node sees its ancestors; nothing is unfolded

Times are medians in ms. A mask is made once per chunk and used by all layers. Memory is what attention takes beyond
its inputs. Differences are the largest from the loop: of the result, and of the gradients. On a CPU only the result is
compared: there flex attention has no backward and is not compiled, so its time says nothing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.attention.varlen import varlen_attn
from transformers import AutoTokenizer

sys.path.insert(0, str(Path(__file__).parents[1]))

from dataset_builder import scenes
from modeling_paraclip import BASE_MODEL_DIR, TEXT_COLUMNS
from modeling_paraclip.architectures import token_ids
from modeling_paraclip.packing import Chunk, _attend, pack, to_device

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
HEADS, DIM = 8, 64  # of ViT-B/32's text tower
SHAPE = SimpleNamespace(num_heads=HEADS, head_dim=DIM, scale=DIM**-0.5, dropout=0.0, training=True)
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]  # (nodes, width) each -> (nodes, width)


def a_chunk(tiny: bool) -> Chunk:
    """The first chunk of a batch of drawn scenes' texts."""
    rows = scenes.generate("train", 14 if tiny else 400)
    ids, _ = token_ids(
        AutoTokenizer.from_pretrained(BASE_MODEL_DIR), [row[name] for row in rows for name in TEXT_COLUMNS], 77
    )
    return pack(sorted(set(ids)), 8192)[0][0]


def subtree_ends(depths: np.ndarray) -> np.ndarray:
    """Nodes in the order of the words, by depth -> one past the last node that begins with each of them."""
    ends, path = np.full(len(depths), len(depths)), []
    for node, depth in enumerate(depths):
        while path and depths[path[-1]] >= depth:
            ends[path.pop()] = node
        path.append(node)
    return ends


def unfolded(chunk: Chunk, kernel: Attend) -> Attend:
    """Attention over nodes by a kernel over the tokens of all texts, (tokens, heads, dim)."""

    def attend(*qkv: Tensor) -> Tensor:
        q, k, v = (x.index_select(0, chunk["node_of_token"]).view(-1, HEADS, DIM) for x in qkv)
        return kernel(q, k, v).reshape(-1, HEADS * DIM).index_select(0, chunk["token_of_node"])

    return attend


def flex(length: int, sees: Callable[..., Tensor]) -> Attend:
    """flex_attention, (length, heads, dim), where `sees` tells which positions a position attends to."""
    compiled = DEVICE == "cuda"
    mask = create_block_mask(sees, None, None, length, length, device=DEVICE, _compile=compiled)
    kernel = torch.compile(flex_attention) if compiled else flex_attention

    def attend(*qkv: Tensor) -> Tensor:
        q, k, v = (x.transpose(0, 1)[None] for x in qkv)
        return kernel(q, k, v, block_mask=mask, scale=SHAPE.scale)[0].transpose(0, 1)

    return attend


def make_loop(chunk: Chunk) -> Attend:
    return lambda q, k, v: _attend(SHAPE, chunk, q, k, v)


def make_varlen(chunk: Chunk) -> Attend:
    lengths = np.repeat(*np.array(chunk["buckets"]).T)
    starts = torch.from_numpy(np.append(0, lengths.cumsum())).to(DEVICE, torch.int32)
    longest = int(lengths.max())
    return unfolded(
        chunk, lambda q, k, v: varlen_attn(q, k, v, starts, starts, longest, longest, scale=SHAPE.scale,
                                           window_size=(-1, 0))
    )  # fmt: skip


def make_flex(chunk: Chunk) -> Attend:
    lengths = np.repeat(*np.array(chunk["buckets"]).T)
    text = torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths)).to(DEVICE)
    return unfolded(chunk, flex(len(text), lambda b, h, q, k: (text[q] == text[k]) & (q >= k)))


def make_tree(chunk: Chunk) -> Attend:
    ends = torch.from_numpy(subtree_ends(chunk["position_ids"].cpu().numpy())).to(DEVICE)
    attend = flex(len(ends), lambda b, h, q, k: (k <= q) & (q < ends[k]))
    return lambda *qkv: attend(*(x.view(-1, HEADS, DIM) for x in qkv)).reshape(-1, HEADS * DIM)


WAYS = {"loop": make_loop, "varlen": make_varlen, "flex": make_flex, "tree": make_tree}


def clock(work: Callable[[], object], repeats: int) -> float:
    """Median milliseconds."""
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        taken.append(1000 * (time.perf_counter() - start))
    return statistics.median(taken)


def measure(make: Callable[[Chunk], Attend], chunk: Chunk, given: list[Tensor], weights: Tensor, repeats: int) -> dict:
    """Times, memory, and the result with its gradients, of one way."""
    made: list[Attend] = []
    clock(lambda: made.append(make(chunk)), 1)  # compiles
    mask = clock(lambda: made.append(make(chunk)), 1)
    attend, inputs = made[0], [x.clone().requires_grad_(DEVICE == "cuda") for x in given]

    def step() -> list[Tensor]:
        result = attend(*inputs) * weights
        return [result.detach(), *(torch.autograd.grad(result.sum(), inputs) if result.requires_grad else ())]

    row = {"mask": mask, "found": step()}  # compiles
    before = 0
    if DEVICE == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        row["both"] = clock(step, repeats)
        row["MiB"] = (torch.cuda.max_memory_allocated() - before) / 2**20
    with torch.no_grad():
        row["forward"] = clock(lambda: attend(*inputs), repeats)
    return row


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="40 texts")
    parser.add_argument("--repeats", type=int, default=20)
    args = parser.parse_args()
    chunk = to_device(a_chunk(args.tiny), torch.device(DEVICE))
    nodes, tokens = len(chunk["input_ids"]), len(chunk["node_of_token"])
    dtype = torch.bfloat16 if DEVICE == "cuda" else torch.float32
    generator = torch.Generator(DEVICE).manual_seed(0)
    *given, weights = (torch.randn(nodes, HEADS * DIM, device=DEVICE, generator=generator).to(dtype) for _ in range(4))
    weights[chunk["node_of_token"].max() + 1 :] = 0  # what only fills the chunk: nothing reads it
    name = torch.cuda.get_device_name() if DEVICE == "cuda" else f"{torch.get_num_threads()} threads"
    print(
        f"torch {torch.__version__}, {name}, {dtype}: {len(chunk['end_nodes'])} texts of {len(chunk['buckets'])} "
        f"lengths, {tokens} tokens, {nodes} nodes"
    )
    columns = (
        "way",
        "forward",
        "with backward",
        "times the loop",
        "mask",
        "MiB",
        "difference of result",
        "of gradients",
    )
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    loop = None
    for way, make in WAYS.items():
        try:
            row = measure(make, chunk, given, weights, args.repeats)
        except Exception as error:  # what a kernel lacks on this machine, each says in its own way
            print(f"| {way} | not run: {(str(error).splitlines() or [repr(error)])[0][:90]} |", flush=True)
            continue
        loop = loop or row
        result, *gradients = ((a - b).abs().max().item() for a, b in zip(row["found"], loop["found"]))
        cells = [f"{row['forward']:.2f}", "", "", f"{row['mask']:.1f}", "", f"{result:.0e}", ""]
        if gradients:
            cells[1:3] = f"{row['both']:.2f}", f"{row['both'] / loop['both']:.2f}"
            cells[4], cells[6] = f"{row['MiB']:.0f}", f"{max(gradients):.0e}"
        print(f"| {way} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
