import logging

import datasets
import numpy as np

from modeling_paraclip import ParaCLIPCollator, tokenize
from modeling_paraclip.collator import group_rows
from tests.modeling_paraclip.rows import make_rows
from tests.unpack import unpack


def test_tokenize_keeps_the_end_token_and_counts_truncation(tokenizer, caplog):
    rows = make_rows(2, paraphrase_1=["circle " * 200, "circle"])
    with caplog.at_level(logging.WARNING):
        tokenized = tokenize(datasets.Dataset.from_list(rows), tokenizer)
    long = tokenized[0]["input_ids"][1]
    assert len(long) == 77
    assert long[-1] == tokenizer.eos_token_id
    assert long.count(tokenizer.eos_token_id) == 1
    assert "1 of 6 texts were truncated to 77 tokens" in caplog.text


def test_collator_packs_each_distinct_text_once(tokenizer):
    rows = make_rows(40, caption=["a red circle" + " and a star" * (i % 5) for i in range(40)])
    tokenized = tokenize(datasets.Dataset.from_list(rows), tokenizer)
    batch = ParaCLIPCollator(chunk_tokens=60)(list(tokenized))
    packed = [text for chunk in batch["chunks"] for text in unpack(chunk)]
    assert [[packed[i] for i in row] for row in batch["text_index"].tolist()] == [
        row["input_ids"] for row in tokenized
    ]
    assert sorted(packed) == sorted({tuple(ids): ids for row in tokenized for ids in row["input_ids"]}.values())
    assert len(batch["chunks"]) > 3
    assert batch["image_embeds"].shape == (40, 8)


def test_what_follows_an_end_token_is_cut(tokenizer):
    spelled = tokenizer.eos_token
    (row,) = tokenize(datasets.Dataset.from_list(make_rows(1, caption=[f"a star {spelled} ring"])), tokenizer)
    assert row["input_ids"][0] == tokenizer("a star")["input_ids"]


def test_same_pictures_and_same_texts_are_one_group(tokenizer):
    rows = make_rows(6, image_id=["a", "b", "a", "c", "d", "e"])
    rows[3]["paraphrase_2"] = "THE Scarlet disc 1"  # row 1's x'', which the tokenizer lowercases
    rows[4]["caption"] = rows[3]["paraphrase_1"]  # same text in another column
    batch = ParaCLIPCollator()(list(tokenize(datasets.Dataset.from_list(rows), tokenizer)))
    a, b, c, d, e, f = group_rows(batch["row_keys"].numpy()).tolist()
    assert a == c
    assert b == d == e
    assert len({a, b, f}) == 3


def test_group_rows_joins_chains():
    assert len(set(group_rows(np.array([[1, 6], [2, 7], [3, 8], [1, 2], [3, 1]])))) == 1
    first, second, third = group_rows(np.array([[1], [2], [1]]))
    assert first == third != second


def test_every_column_of_embeddings_passes_through(tokenizer):
    rows = make_rows(4, own_embeds=[[float(i)] * 5 for i in range(4)])
    batch = ParaCLIPCollator()(list(tokenize(datasets.Dataset.from_list(rows), tokenizer)))
    assert batch["own_embeds"].tolist() == [[float(i)] * 5 for i in range(4)]
    assert next(iter(batch)).endswith("_embeds")  # from which the Trainer reads the size of the batch
