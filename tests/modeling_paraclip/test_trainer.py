import json
import logging
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from transformers import TrainerCallback

from modeling_paraclip import (
    CheckpointError,
    InputError,
    NotFiniteLoss,
    ParaCLIPTrainer,
    ParaCLIPTrainingArguments,
    add_lora,
    checkpoints,
    last_checkpoint,
    load_clip,
    losses,
)
from modeling_paraclip.losses import Term
from tests.modeling_paraclip.rows import make_rows, train


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
    (tmp_path / "checkpoint-4" / checkpoints.COMPLETE).unlink()
    with caplog.at_level(logging.WARNING):
        assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")
    assert "checkpoint-4 is not a complete checkpoint" in caplog.text
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
    assert best.parent == tmp_path and (best / checkpoints.COMPLETE).is_file()
    assert json.loads((best / "trainer_state.json").read_text())["best_model_checkpoint"] == str(best)


@pytest.mark.slow
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
    # before and after attention, last layer or not, with gradient and without; recomputing, also for a single text
    assert 4 <= graphs <= (12 if recompute else 8)
    losses = [[entry["loss"] for entry in t.state.log_history if "loss" in entry] for t in (plain, compiled)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_a_new_term_is_one_entry_and_one_argument(tiny_clip, tmp_path, tokenizer, monkeypatch):
    """With a column of its own, from the data set to the log and the formula."""

    def nearness(embeds, own, *, scale, group_ids):
        return 1 - F.cosine_similarity(embeds, own).mean()

    term = Term("nearness", "N(x, own)", ("caption_embeds", "own_embeds"), nearness, 0)
    monkeypatch.setattr(losses, "TERMS", (*losses.TERMS, term))
    monkeypatch.setattr("modeling_paraclip.training_args.TERMS", losses.TERMS)

    @dataclass
    class Arguments(ParaCLIPTrainingArguments):
        nearness_weight: float = field(default=0.0, metadata={"help": "Weight of N(x, own)."})

    rows = make_rows(8, own_embeds=torch.randn(8, 8).tolist())
    model = load_clip(tiny_clip, vision=False)
    model.loss = Arguments(output_dir=str(tmp_path), recipe="paper", nearness_weight=3).make_loss()
    assert model.loss.formula().endswith("+ 3 N(x, own)")
    trainer = train(
        tiny_clip, tmp_path, tokenizer, rows, model=model, arguments_class=Arguments, nearness_weight=3, max_steps=2
    )
    assert trainer.run["nearness_weight"] == 3
    logged = next(entry for entry in trainer.state.log_history if "loss_nearness" in entry)
    assert logged["loss"] > 3 * logged["loss_nearness"] > 0


def test_a_last_batch_of_one_row_is_dropped(tiny_clip, tmp_path, tokenizer):
    for n, steps in ((9, 2), (8, 2), (10, 3), (4, 1)):  # in batches of 4
        trainer = train(tiny_clip, tmp_path, tokenizer, make_rows(n), num_train_epochs=1)
        assert trainer.state.global_step == steps, n
        assert not trainer.args.dataloader_drop_last  # evaluation needs all rows


def test_several_gpus_in_one_process_are_not_wrapped(tiny_clip, tmp_path, tokenizer, monkeypatch, caplog):
    """The Trainer would split the batch, and with it the negatives, by DataParallel."""
    monkeypatch.setattr("transformers.TrainingArguments.n_gpu", property(lambda self: 2))
    with caplog.at_level(logging.WARNING):
        trainer = train(tiny_clip, tmp_path, tokenizer, make_rows(8), max_steps=1)
    assert trainer.args.n_gpu == 1
    assert type(trainer.model_wrapped).__name__ == "ParaCLIPModel"
    assert "torchrun --nproc_per_node 2" in caplog.text


class _SignalAt(TrainerCallback):
    def __init__(self, number):
        self._number = number

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 2:
            os.kill(os.getpid(), self._number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops(number, tiny_clip, tmp_path, tokenizer, monkeypatch):
    before = signal.getsignal(number)
    made = ParaCLIPTrainer.__init__

    def with_signal(self, *args, **kwargs):
        made(self, *args, **kwargs)
        self.add_callback(_SignalAt(number))

    monkeypatch.setattr(ParaCLIPTrainer, "__init__", with_signal)
    trainer = train(tiny_clip, tmp_path, tokenizer, make_rows(8), max_steps=50)
    assert trainer.stopped_by == number
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-3")
    assert signal.getsignal(number) == before


def test_another_run_is_not_resumed(tiny_clip, tmp_path, tokenizer):
    save = {"max_steps": 2, "save_strategy": "steps", "save_steps": 2}
    train(tiny_clip, tmp_path, tokenizer, make_rows(8), **save)
    with pytest.raises(InputError, match=r"checkpoint-2 belongs to another run: learning_rate was 0.01, now 0.5"):
        train(tiny_clip, tmp_path, tokenizer, make_rows(8), **save, learning_rate=0.5, resume="last")


def test_a_checkpoint_is_no_model_and_holds_no_pickled_arguments(tiny_clip, tmp_path, tokenizer):
    train(tiny_clip, tmp_path, tokenizer, make_rows(8), max_steps=2, save_strategy="steps", save_steps=2,
          hub_token="hf_secret")  # fmt: skip
    names = {path.name for path in (tmp_path / "checkpoint-2").iterdir()}
    assert not names & {"config.json", "model.safetensors", "training_args.bin", "tokenizer.json"}
    assert checkpoints.TRAINED in names
    assert not [path for path in (tmp_path / "checkpoint-2").iterdir() if b"hf_secret" in path.read_bytes()]


def test_only_checkpoints_of_this_run_are_rotated(tiny_clip, tmp_path, tokenizer):
    for name in ("checkpoint-best", "checkpoint-old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes.txt").write_text("mine")
    train(tiny_clip, tmp_path, tokenizer, make_rows(8), max_steps=4, save_strategy="steps", save_steps=1,
          save_total_limit=1)  # fmt: skip
    assert sorted(path.name for path in tmp_path.glob("checkpoint*")) == [
        "checkpoint-4",
        "checkpoint-best",
        "checkpoint-old",
    ]


def test_more_steps_than_the_schedule_was_made_for_are_said(tiny_clip, tmp_path, tokenizer, caplog):
    train(tiny_clip, tmp_path, tokenizer, make_rows(8), max_steps=2, save_strategy="steps", save_steps=2)
    trainer = train(tiny_clip, tmp_path, tokenizer, make_rows(8), max_steps=3, resume="last")
    assert trainer.state.global_step == 3
    assert "resumed to 3 steps; the learning rate so far was for 2" in caplog.text


def test_an_incomplete_checkpoint_in_the_way_is_moved_not_removed(tiny_clip, tmp_path, tokenizer):
    save = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    train(tiny_clip, tmp_path, tokenizer, make_rows(8), **save)
    (tmp_path / "checkpoint-4" / checkpoints.COMPLETE).unlink()
    train(tiny_clip, tmp_path, tokenizer, make_rows(8), **save, resume="last")
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-4")
    (moved,) = tmp_path.glob("checkpoint-4.incomplete-*")
    assert (moved / checkpoints.TRAINED).exists()


def test_accumulation_is_not_the_same_run_as_a_large_batch(tiny_clip, tmp_path, tokenizer):
    """The negatives are others."""
    save = {"max_steps": 2, "save_strategy": "steps", "save_steps": 2}
    train(tiny_clip, tmp_path, tokenizer, make_rows(16), **save, gradient_accumulation_steps=2)
    with pytest.raises(InputError, match="gradient_accumulation_steps was 2, now 1; batch_size was 4, now 8"):
        train(tiny_clip, tmp_path, tokenizer, make_rows(16), **save, per_device_train_batch_size=8, resume="last")


class _Diverge(TrainerCallback):
    """Makes one weight infinite after a step, as a step that is too large does."""

    def __init__(self, step):
        self._step = step

    def on_optimizer_step(self, args, state, control, model=None, **kwargs):
        if state.global_step == self._step - 1:
            model.text_projection.weight.data[0, 0] = float("inf")


def diverging(monkeypatch, step):
    made = ParaCLIPTrainer.__init__

    def diverge(self, *args, **kwargs):
        made(self, *args, **kwargs)
        self.add_callback(_Diverge(step))

    monkeypatch.setattr(ParaCLIPTrainer, "__init__", diverge)


def test_no_checkpoint_of_diverged_weights_is_kept(tiny_clip, tmp_path, tokenizer, monkeypatch):
    diverging(monkeypatch, 4)
    with pytest.raises(NotFiniteLoss, match=r"after step 4\. .*last checkpoint from before it is .*checkpoint-2\."):
        train(tiny_clip, tmp_path, tokenizer, make_rows(8), max_steps=8, save_strategy="steps", save_steps=2)
    assert [path.name for path in tmp_path.glob("checkpoint*")] == ["checkpoint-2"]


def test_the_weights_of_the_last_step_are_checked(tiny_clip, tmp_path, tokenizer, monkeypatch):
    diverging(monkeypatch, 2)
    with pytest.raises(NotFiniteLoss, match=r"after step 2\. .*Lower --learning_rate and start again\.$"):
        train(tiny_clip, tmp_path, tokenizer, make_rows(8), max_steps=2, save_strategy="no")


def test_checking_changes_nothing(tiny_clip, tmp_path, tokenizer):
    """Dropout and random numbers are as without a checkpoint."""
    weights = []
    for strategy in ("no", "steps"):
        torch.manual_seed(0)  # of the adapters
        model = add_lora(load_clip(tiny_clip), dropout=0.5)
        trainer = train(tiny_clip, tmp_path / strategy, tokenizer, make_rows(8), model=model, max_steps=4,
                        save_strategy=strategy, save_steps=1)  # fmt: skip
        weights.append({name: p for name, p in trainer.model.named_parameters() if p.requires_grad})
    for name, weight in weights[0].items():
        assert torch.equal(weight, weights[1][name]), name


def test_weights_that_the_last_batch_does_not_use_are_checked_too(tiny_clip, tmp_path, tokenizer):
    """Adam without its epsilon divides 0 by 0 where a token was in no text."""
    with pytest.raises(NotFiniteLoss, match="after step 1"):
        train(tiny_clip, tmp_path, tokenizer, make_rows(8), max_steps=1, save_strategy="no", adam_epsilon=0.0)
