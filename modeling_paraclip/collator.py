"""Rows of text to batches: tokenised once, each distinct text of a batch packed once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

import datasets
import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from transformers import PreTrainedTokenizerBase

from .architectures import CHUNK_TOKENS, token_ids
from .modeling import TEXT_COLUMNS
from .packing import pack

logger = logging.getLogger(__name__)


def embeds_columns(names: list[str]) -> list[str]:
    """The columns that hold a vector per row: they pass to the loss as they are."""
    return [name for name in names if name.endswith("_embeds")]


def tokenize(
    dataset: datasets.Dataset,
    tokenizer: PreTrainedTokenizerBase,
    limit: int | None = None,
    columns: tuple[str, ...] = TEXT_COLUMNS,
):
    """Replace the text columns by `input_ids`, a list of three lists per row. Truncated texts are counted.

    Args:
        columns: `TEXT_COLUMNS`, and "negative" where it is trained on: a fourth list then, empty for None.
        limit: how many tokens a text may have, see `architectures.token_limit`. Default: the tokenizer's limit.
    """
    limit = tokenizer.model_max_length if limit is None else limit

    def tokenize_batch(batch: dict[str, list]) -> dict[str, list]:
        views, truncated = zip(*(of_column(batch[column]) for column in columns))
        return {"input_ids": list(zip(*views)), "truncated": [sum(row) for row in zip(*truncated)]}

    def of_column(texts: list[str | None]) -> tuple[list, list]:
        ids, truncated = token_ids(tokenizer, [text or "" for text in texts], limit)
        return [own if text else () for own, text in zip(ids, texts)], truncated

    dataset = dataset.map(tokenize_batch, batched=True, remove_columns=list(columns), desc="Tokenizing")
    truncated = int(np.sum(dataset["truncated"]))
    if truncated:
        logger.warning("%d of %d texts were truncated to %d tokens", truncated, len(columns) * len(dataset), limit)
    # read as Python's floats they take twice the time, and 32 bytes per number
    vectors = embeds_columns(dataset.column_names)
    return dataset.remove_columns("truncated").with_format("numpy", columns=vectors, output_all_columns=True)


def group_rows(row_keys: np.ndarray) -> np.ndarray:
    """(n, keys) integers -> (n,): the same number for all rows that share a key, directly or through other rows."""
    keys, index = np.unique(row_keys, return_inverse=True)
    rows = np.repeat(np.arange(len(row_keys)), row_keys.shape[1])
    nodes = len(row_keys) + len(keys)  # a graph of rows and keys
    edges = coo_array((np.ones(len(rows), bool), (rows, len(row_keys) + index.ravel())), shape=(nodes, nodes))
    return connected_components(edges, directed=False)[1][: len(row_keys)]


def _key(image_id: str) -> int:
    return int.from_bytes(blake2b(repr(image_id).encode(), digest_size=8).digest(), "little", signed=True)


@dataclass
class ParaCLIPCollator:
    """Tokenised rows -> a batch for `ParaCLIPModel`, each distinct text once.

    | key            | what                                                                                |
    |----------------|-------------------------------------------------------------------------------------|
    | `image_embeds` | (batch, dim) float32; so is every other column whose name ends in `_embeds`         |
    | `chunks`       | list of chunks as `chunking` makes them                                             |
    | `text_index`   | (batch, 3) int64: where in the chunks, counted through, x, x' and x'' are; with     |
    |                | negatives (batch, 4), and `has_negative` (batch,) bool: where that of a row is      |
    | `row_keys`     | (batch, 4) int64: hashes of picture and texts; rows that share one are no negatives |
    | `image_ids`    | list of str, to name rows in errors                                                 |
    | `padding`      | float: the share of the chunks' tokens that are only filling                        |

    Args:
        chunk_tokens: how many tokens a chunk has at most.
        chunking: texts -> chunks, see `architectures.Chunking`. Default: those of CLIP.
    """

    chunk_tokens: int = CHUNK_TOKENS
    chunking: Callable[..., tuple] = pack

    def __call__(self, rows: list[dict]) -> dict:
        """Collate rows of `tokenize`."""
        texts = [[tuple(ids) for ids in row["input_ids"]] for row in rows]
        has_negative = torch.tensor([len(views) > 3 and bool(views[3]) for views in texts])
        texts = [[*views[:3], *(view or views[0] for view in views[3:])] for views in texts]  # x stands in for none
        distinct = sorted({text for views in texts for text in views})
        chunks, where, padding = self.chunking(distinct, self.chunk_tokens)
        number = dict(zip(distinct, where.tolist()))
        pictures = np.array([_key(row["image_id"]) for row in rows])
        keys = np.array(
            [[hash(text) for text in views[:3]] for views in texts]
        )  # of integers: the same in all processes
        return {  # vectors first: the Trainer reads the size of the batch from the first entry
            **{name: _stack(rows, name) for name in embeds_columns(list(rows[0]))},
            "chunks": chunks,
            "text_index": torch.tensor([[number[text] for text in views] for views in texts]),
            **({"has_negative": has_negative} if len(texts[0]) > 3 else {}),
            "row_keys": torch.from_numpy(np.column_stack([pictures, keys])),
            "image_ids": [row["image_id"] for row in rows],
            "padding": padding,
        }


def _stack(rows: list[dict], column: str) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(row[column], np.float32) for row in rows]))
