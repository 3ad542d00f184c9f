"""The best of a gallery for each query, exactly, in memory that does not grow with the gallery."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

QUERIES, GALLERY = 2048, 8192  # a tile of scores: 64 MiB in float32
SCORES = 2**26  # scores at a time where whole rows are needed: 256 MiB


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


def best_rank(
    query_embeds: np.ndarray, gallery_embeds: np.ndarray, query_labels: np.ndarray, gallery_labels: np.ndarray
) -> np.ndarray:
    """Rank of the best right answer of each query; an answer is right if it has the query's label.

    Args:
        query_embeds: (n, dim), L2-normalised.
        gallery_embeds: (m, dim), L2-normalised; may be float16 or a `np.memmap`.
        query_labels: (n,) integers.
        gallery_labels: (m,) integers. Each query's label is among them.

    Returns:
        (n,) int64, from 0; ties break by lower gallery index.

    Raises:
        ValueError: a score is not a number, or a query has no right answer.
    """
    by_label = np.argsort(gallery_labels, kind="stable")
    first, end = (np.searchsorted(gallery_labels[by_label], query_labels, side) for side in ("left", "right"))
    if (first == end).any():
        raise ValueError(f"the query {np.argmax(first == end)} has no right answer in the gallery")
    ranks = []
    step = max(1, SCORES // len(gallery_embeds))
    for start in range(0, len(query_embeds), step):
        rows = slice(start, start + step)
        scores = _scores(query_embeds[rows], gallery_embeds)
        # a query's own scores are read from the same product, so that equal ones are equal
        counts = (end - first)[rows]
        offsets = np.cumsum([0, *counts[:-1]])
        own = by_label[np.arange(counts.sum()) - np.repeat(offsets - first[rows], counts)]
        query = np.repeat(np.arange(len(counts)), counts)
        own_scores = scores[query, own].numpy()
        best = np.maximum.reduceat(own_scores, offsets)
        place = np.minimum.reduceat(np.where(own_scores == best[query], own, len(gallery_embeds)), offsets)
        bound = torch.from_numpy(best)[:, None]
        rank = (scores > bound).sum(dim=1).numpy()
        for row in np.flatnonzero((scores >= bound).sum(dim=1).numpy() > rank + 1):  # a tie
            rank[row] += int((scores[row, : place[row]] == best[row]).sum())
        ranks.append(rank)
    return np.concatenate(ranks)


def best_scores(query_embeds: np.ndarray, gallery_embeds: np.ndarray) -> np.ndarray:
    """(n, dim) and (m, dim), L2-normalised -> (n,) float32: the highest cosine of each query."""
    step = max(1, SCORES // len(gallery_embeds))
    parts = (query_embeds[start : start + step] for start in range(0, len(query_embeds), step))
    return np.concatenate([_scores(part, gallery_embeds).amax(dim=1).numpy() for part in parts])


def _scores(queries: np.ndarray, gallery_embeds: np.ndarray) -> torch.Tensor:
    """(n, m) float32 scores. Raises ValueError if one is not a number."""
    left = torch.from_numpy(np.asarray(queries, np.float32))
    scores = torch.empty(len(left), len(gallery_embeds))
    finite = left.isfinite().all()  # of what goes in, which is less than what comes out
    for first in range(0, len(gallery_embeds), GALLERY):
        part = torch.from_numpy(np.asarray(gallery_embeds[first : first + GALLERY], np.float32))
        finite &= part.isfinite().all()
        torch.matmul(left, part.T, out=scores[:, first : first + GALLERY])
    if not finite:
        raise ValueError("scores are not all numbers")
    return scores
