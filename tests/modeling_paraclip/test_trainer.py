import json
import logging
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from transformers import AutoProcessor

from modeling_paraclip import (
    CheckpointError,
    NotFiniteLoss,
    ParaCLIPCollator,
    ParaCLIPTrainer,
    ParaCLIPTrainingArguments,
    last_checkpoint,
    load_clip,
    tokenize,
)
from modeling_paraclip.trainer import COMPLETE, group_rows
from tests.unpack import unpack


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


def train(tiny_clip, tmp_path, tokenizer, rows, resume=None, **arguments):
    model = load_clip(tiny_clip, vision=False)
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
        eval_dataset=tokenize(datasets.Dataset.from_list(rows), tokenizer),
        data_collator=ParaCLIPCollator(arguments.get("encode_chunk_tokens", 8192)),
    )
    trainer.train(resume_from_checkpoint=resume)
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


def test_a_loss_that_is_no_number_stops_with_the_rows(tiny_clip, tmp_path, tokenizer):
    rows = make_rows(4)
    rows[2]["image_embeds"][3] = float("nan")
    with pytest.raises(NotFiniteLoss, match=r"step 1: .*image_embeds of 2.png are not finite"):
        train(tiny_clip, tmp_path, tokenizer, rows, max_steps=2)
    assert sorted(json.loads((tmp_path / "not_finite_batch.json").read_text())) == [f"{i}.png" for i in range(4)]


def test_an_incomplete_checkpoint_is_skipped_with_a_warning(tiny_clip, tmp_path, tokenizer, caplog):
    train(tiny_clip, tmp_path, tokenizer, make_rows(8), max_steps=4, save_strategy="steps", save_steps=2)
    assert not (tmp_path / "checkpoint.saving").exists()
    (tmp_path / "checkpoint-4" / COMPLETE).unlink()
    with caplog.at_level(logging.WARNING):
        assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")
    assert "checkpoint-4 is not complete" in caplog.text
    with pytest.raises(ValueError, match="not a complete checkpoint"):
        train(tiny_clip, tmp_path, tokenizer, make_rows(8), resume=str(tmp_path / "checkpoint-4"))


def test_a_full_disk_says_so_and_leaves_the_last_good_checkpoint(tiny_clip, tmp_path, tokenizer, monkeypatch):
    saved = ParaCLIPTrainer._save_rng_state

    def full(self, output_dir):
        if self.state.global_step == 4:
            raise OSError(28, "No space left on device")
        saved(self, output_dir)

    monkeypatch.setattr(ParaCLIPTrainer, "_save_rng_state", full)
    with pytest.raises(CheckpointError, match=r"step 4 .*No space left.*good one is .*checkpoint-2\."):
        train(tiny_clip, tmp_path, tokenizer, make_rows(8), max_steps=4, save_strategy="steps", save_steps=2)
    assert [path.name for path in tmp_path.glob("checkpoint*")] == ["checkpoint-2"]


def test_the_best_checkpoint_is_known_by_its_final_place(tiny_clip, tmp_path, tokenizer):
    trainer = train(
        tiny_clip, tmp_path, tokenizer, make_rows(8), max_steps=4, save_strategy="steps", save_steps=2, eval_steps=2,
        eval_strategy="steps", load_best_model_at_end=True, save_total_limit=1,
    )  # fmt: skip
    best = Path(trainer.state.best_model_checkpoint)
    assert best.parent == tmp_path and (best / COMPLETE).is_file()
    assert json.loads((best / "trainer_state.json").read_text())["best_model_checkpoint"] == str(best)


@pytest.mark.parametrize("recompute", [False, True])
def test_compiled_layers_are_few_and_the_same(recompute, tiny_clip, tmp_path, tokenizer, monkeypatch):
    """Batches of many sizes and lengths, and not one graph more for it."""
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "no")  # transformers sets it, and nothing unsets it
    rows = [row for n in (4, 3, 7, 12, 5) for row in make_rows(n)]
    for i, row in enumerate(rows):
        row["caption"] += " and a star" * (i * i % 11)
    options = {"max_steps": 5, "per_device_train_batch_size": 7, "encode_chunk_tokens": 16 if recompute else 8192}
    plain = train(tiny_clip, tmp_path, tokenizer, rows, **options)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled = train(tiny_clip, tmp_path, tokenizer, rows, torch_compile=True, torch_compile_backend="aot_eager",
                     **options)  # fmt: skip
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    # before and after attention, last layer or not; recomputing, with and without gradient, and for a single text
    assert 4 <= graphs <= (12 if recompute else 4)
    losses = [[entry["loss"] for entry in t.state.log_history if "loss" in entry] for t in (plain, compiled)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
