import logging

import datasets
import pytest
import torch
from transformers import AutoProcessor

from modeling_paraclip import (
    ParaCLIPCollator,
    ParaCLIPTrainer,
    ParaCLIPTrainingArguments,
    load_clip,
    tokenize,
)
from modeling_paraclip.trainer import group_rows


def make_rows(n, **changes):
    rng = torch.Generator().manual_seed(0)
    return [
        {
            "image_id": f"{i}.png",
            "caption": f"a red circle {i}",
            "paraphrase_1": f"circle number {i} in red",
            "paraphrase_2": f"the scarlet disc {i}",
            "image_embeds": torch.randn(8, generator=rng).tolist(),
            **{name: values[i] for name, values in changes.items()},
        }
        for i in range(n)
    ]


@pytest.fixture
def tokenizer(tiny_clip):
    return AutoProcessor.from_pretrained(tiny_clip).tokenizer


def test_tokenize_keeps_the_end_token_and_counts_truncation(tokenizer, caplog):
    rows = make_rows(2, paraphrase_1=["circle " * 200, "circle"])
    with caplog.at_level(logging.WARNING):
        tokenized = tokenize(datasets.Dataset.from_list(rows), tokenizer)
    long = tokenized[0]["input_ids"][1]
    assert len(long) == 77
    assert long[-1] == tokenizer.eos_token_id
    assert long.count(tokenizer.eos_token_id) == 1
    assert "1 of 6 texts were truncated to 77 tokens" in caplog.text


def test_collator_pads_to_the_longest_only(tokenizer):
    tokenized = tokenize(datasets.Dataset.from_list(make_rows(4)), tokenizer)
    batch = ParaCLIPCollator(tokenizer.pad_token_id)(list(tokenized))
    longest = max(len(ids) for row in tokenized for ids in row["input_ids"])
    assert batch["input_ids"].shape == (4, 3, longest)
    assert batch["input_ids"][2, 1].tolist()[: len(tokenized[2]["input_ids"][1])] == tokenized[2]["input_ids"][1]
    assert batch["image_embeds"].shape == (4, 8)
    assert len(set(batch["group_ids"].tolist())) == 4


def test_collator_groups_same_pictures_and_same_texts(tokenizer):
    rows = make_rows(6, image_id=["a", "b", "a", "c", "d", "e"])
    rows[3]["paraphrase_2"] = "THE Scarlet disc 1"  # row 1's x'', which the tokenizer lowercases
    rows[4]["caption"] = rows[3]["paraphrase_1"]  # same text in another column
    batch = ParaCLIPCollator(0)(list(tokenize(datasets.Dataset.from_list(rows), tokenizer)))
    a, b, c, d, e, f = batch["group_ids"].tolist()
    assert a == c
    assert b == d == e
    assert len({a, b, f}) == 3


def test_group_rows_joins_chains():
    assert len(set(group_rows([{1}, {2}, {3}, {1, 2}, {3, 1}]))) == 1
    first, second, third = group_rows([{1}, {2}, {1}])
    assert first == third != second


def train(tiny_clip, tmp_path, tokenizer, rows, **arguments):
    model, _ = load_clip(tiny_clip)
    trainer = ParaCLIPTrainer(
        model=model,
        args=ParaCLIPTrainingArguments(
            **{
                "output_dir": str(tmp_path),
                "learning_rate": 1e-2,
                "per_device_train_batch_size": 4,
                "logging_steps": 1,
                "save_strategy": "no",
                "use_cpu": True,
                "disable_tqdm": True,
                **arguments,
            }
        ),
        train_dataset=tokenize(datasets.Dataset.from_list(rows), tokenizer),
        data_collator=ParaCLIPCollator(tokenizer.pad_token_id),
    )
    trainer.train()
    return trainer


def test_terms_are_logged_and_add_up(tiny_clip, tmp_path, tokenizer):
    trainer = train(tiny_clip, tmp_path, tokenizer, make_rows(16), max_steps=4)
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(steps) == 4
    for entry in steps:
        terms = ("loss_image_text", "loss_caption_paraphrase", "loss_paraphrase_paraphrase")
        assert entry["loss"] == pytest.approx(sum(entry[name] for name in terms), abs=1e-3)
    assert steps[-1]["loss"] < steps[0]["loss"]


def test_accumulation_averages_its_batches(tiny_clip, tmp_path, tokenizer):
    """Two equal half batches accumulated make the step that one of them makes alone."""
    rows = make_rows(4)
    common = {"max_steps": 1, "max_grad_norm": 0, "optim": "sgd", "weight_decay": 0.0, "lr_scheduler_type": "constant"}
    once = train(tiny_clip, tmp_path, tokenizer, rows, warmup_steps=0, **common)
    twice = train(tiny_clip, tmp_path, tokenizer, rows * 2, warmup_steps=0, gradient_accumulation_steps=2, **common,
                  train_sampling_strategy="sequential")  # fmt: skip
    for (name, a), (_, b) in zip(once.model.named_parameters(), twice.model.named_parameters()):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6, msg=name)
    assert twice.state.log_history[0]["loss"] == pytest.approx(once.state.log_history[0]["loss"], rel=1e-4)


def test_bf16_trains(tiny_clip, tmp_path, tokenizer):
    trainer = train(tiny_clip, tmp_path, tokenizer, make_rows(8), max_steps=3, bf16=True)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0]
    assert trainer.model.dtype == torch.float32  # master weights
