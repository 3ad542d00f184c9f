"""The best of a gallery for each query, exactly, in memory that does not grow with the gallery."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

QUERIES, GALLERY = 2048, 8192  # a tile of scores: 64 MiB in float32


def rank(query_embeds: np.ndarray, gallery_embeds: np.ndarray, k: int) -> np.ndarray:
    """Rank a gallery by dot product; ties break by lower gallery index.

    Args:
        query_embeds: (n, dim), L2-normalised.
        gallery_embeds: (m, dim), L2-normalised; may be float16 or a `np.memmap`.

    Returns:
        (n, min(k, m)) int64 gallery indices, best first.

    Raises:
        ValueError: a score is not a number.
    """
    ranked = []
    for start in range(0, len(query_embeds), QUERIES):
        queries = torch.from_numpy(np.asarray(query_embeds[start : start + QUERIES], np.float32))
        tiles = (
            queries @ torch.from_numpy(np.asarray(gallery_embeds[first : first + GALLERY], np.float32)).T
            for first in range(0, len(gallery_embeds), GALLERY)
        )
        ranked.append(top_k(tiles, k))
    return np.concatenate(ranked)


def top_k(score_blocks: Iterable[torch.Tensor], k: int) -> np.ndarray:
    """(n, min(k, m)) indices of each row's highest scores, best first; ties break by lower index.

    Args:
        score_blocks: (n, any) pieces of an (n, m) float matrix, from left to right.

    Raises:
        ValueError: a score is not a number.
    """
    rows, indices, scores = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    lowest, first = torch.empty(0), 0
    for block in score_blocks:
        highest = block.amax(dim=1)
        if highest.isnan().any():
            raise ValueError(f"scores of row {int(highest.isnan().nonzero()[0])} are not all numbers")
        if first == 0:
            lowest = torch.full((len(block),), -torch.inf, dtype=block.dtype)
        # an equal score further right ranks behind, so only what is above the k-th best so far can enter
        hopeful = (highest > lowest).nonzero()[:, 0]
        if len(hopeful):
            part, bound = block[hopeful], lowest[hopeful]
            if torch.isinf(bound).any():  # fewer than k so far: the bound is the block's own k-th, ties included
                bound = part.topk(min(k, part.shape[1]), dim=1).values[:, -1]
                new_rows, new_columns = (part >= bound[:, None]).nonzero(as_tuple=True)
            else:
                new_rows, new_columns = (part > bound[:, None]).nonzero(as_tuple=True)
            rows = np.concatenate([rows, hopeful[new_rows].numpy()])
            indices = np.concatenate([indices, new_columns.numpy() + first])
            scores = np.concatenate([scores, part[new_rows, new_columns].numpy()])
            order = np.lexsort((indices, -scores, rows))
            rows, indices, scores = rows[order], indices[order], scores[order]
            place = np.arange(len(rows)) - np.searchsorted(rows, rows)
            kept = place < k
            rows, indices, scores, place = rows[kept], indices[kept], scores[kept], place[kept]
            full = place == k - 1
            lowest[rows[full]] = torch.from_numpy(scores[full]).to(lowest.dtype)
        first += block.shape[1]
    return indices.reshape(len(lowest), -1)
