"""The best of a gallery for each query, exactly, in memory that does not grow with the gallery."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch

QUERIES, GALLERY = 2048, 8192  # a tile of scores: 64 MiB in float32
COUNTED = 256  # queries at a time where all scores are compared: a tile stays in the processor's cache
KEPT = 2**28  # scores at a time that are kept at most: 1 GiB


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
        ranked.append(top_k((_scores(queries, gallery_embeds, tile) for tile in _tiles(gallery_embeds)), k))
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
    _check_finite(query_embeds, gallery_embeds)
    ranks = np.empty(len(query_embeds), np.int64)
    order = np.argsort(by_label[first], kind="stable")  # neighbours have their answers in the same few tiles
    step = max(1, min(COUNTED, KEPT // len(gallery_embeds)))
    for rows in (order[start : start + step] for start in range(0, len(order), step)):
        answers = [by_label[first[row] : end[row]] for row in rows]
        ranks[rows] = _best_rank(torch.from_numpy(np.asarray(query_embeds[rows], np.float32)), gallery_embeds, answers)
    return ranks


def _best_rank(queries: torch.Tensor, gallery_embeds: np.ndarray, answers: list[np.ndarray]) -> np.ndarray:
    """(n, dim) queries and the indices of the right answers of each -> (n,) ranks."""
    query, answer = np.repeat(np.arange(len(answers)), [len(own) for own in answers]), np.concatenate(answers)
    # The scores of the answers are read from the product that is counted, so that equal ones are equal: their tiles
    # come first and are kept until the best answers are known.
    tile_of_answer, scores_of_answer = answer // GALLERY, np.empty(len(answer), np.float32)
    kept = {tile: _scores(queries, gallery_embeds, tile) for tile in np.unique(tile_of_answer).tolist()}
    for tile, scores in kept.items():
        here = tile_of_answer == tile
        scores_of_answer[here] = scores.numpy()[query[here], answer[here] - tile * GALLERY]
    starts = np.searchsorted(query, np.arange(len(answers)))
    best = np.maximum.reduceat(scores_of_answer, starts)
    place = np.minimum.reduceat(np.where(scores_of_answer == best[query], answer, len(gallery_embeds)), starts)
    bound, ranks = torch.from_numpy(best)[:, None], np.zeros(len(answers), np.int64)
    for tile in _tiles(gallery_embeds):
        scores = kept.pop(tile) if tile in kept else _scores(queries, gallery_embeds, tile)
        above, equal = _count(torch.gt, scores, bound), _count(torch.eq, scores, bound)
        ranks += above
        equal -= place // GALLERY == tile  # itself
        for row in np.flatnonzero(equal):
            ranks[row] += int((scores[row, : max(0, place[row] - tile * GALLERY)] == best[row]).sum())
    return ranks


def _count(compare: Callable[..., torch.Tensor], scores: torch.Tensor, bound: torch.Tensor) -> np.ndarray:
    """(n, m) scores, (n, 1) bounds -> (n,) int64: in how many places `compare` holds.

    In float32, which counts a tile exactly and is summed ten times faster than bool.
    """
    return compare(scores, bound, out=torch.empty_like(scores)).sum(dim=1).long().numpy()


def best_scores(query_embeds: np.ndarray, gallery_embeds: np.ndarray) -> np.ndarray:
    """(n, dim) and (m, dim), L2-normalised -> (n,) float32: the highest cosine of each query.

    Raises:
        ValueError: a score is not a number.
    """
    _check_finite(query_embeds, gallery_embeds)
    queries, best = (
        torch.from_numpy(np.asarray(query_embeds, np.float32)),
        torch.full((len(query_embeds),), -torch.inf),
    )
    for tile in _tiles(gallery_embeds):
        for part, rows in zip(best.split(QUERIES), queries.split(QUERIES)):
            torch.maximum(part, _scores(rows, gallery_embeds, tile).amax(dim=1), out=part)
    return best.numpy()


def _tiles(gallery_embeds: np.ndarray) -> range:
    return range(-(-len(gallery_embeds) // GALLERY))


def _scores(queries: torch.Tensor, gallery_embeds: np.ndarray, tile: int) -> torch.Tensor:
    """(n, dim) float32 queries -> (n, at most GALLERY) scores of one tile of the gallery."""
    part = gallery_embeds[tile * GALLERY : (tile + 1) * GALLERY]
    return queries @ torch.from_numpy(np.asarray(part, np.float32)).T


def _check_finite(*embeds: np.ndarray) -> None:
    """Raises ValueError if a number is not finite: of what goes in, which is less than what comes out."""
    for array in embeds:
        for tile in _tiles(array):
            if not np.isfinite(array[tile * GALLERY : (tile + 1) * GALLERY]).all():
                raise ValueError("scores are not all numbers")
