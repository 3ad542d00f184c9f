"""The Trainer for triples: the loss over packed texts, its terms in the log, and checkpoints that can be trusted."""

from __future__ import annotations

import ctypes
import json
import logging
import platform
import shutil
import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate.utils import DynamoBackend
from peft import PeftModel
from safetensors import SafetensorError
from torch import nn
from transformers import Trainer, TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME

from . import checkpoints
from .architectures import is_text_weight
from .collator import group_rows
from .errors import CheckpointError, InputError, NotFiniteLoss
from .modeling import Paraphrased
from .training_args import ParaCLIPTrainingArguments

logger = logging.getLogger(__name__)


class _StopOnSignal(TrainerCallback):
    """SIGTERM (a preempted machine, a batch system) or Ctrl-C: save after this step and stop, in all processes.

    A second Ctrl-C interrupts at once.
    """

    def __init__(self, trainer: ParaCLIPTrainer):
        self._trainer, self._received = trainer, 0
        self._before: dict = {}

    def on_train_begin(self, args, state, control, **kwargs):
        before = self._trainer.steps_before
        if before and before != state.max_steps:
            logger.warning("resumed to %d steps; the learning rate so far was for %d", state.max_steps, before)
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._receive)
        except ValueError:  # not in the main thread: whoever runs us there handles signals
            pass

    def _receive(self, number: int, *_) -> None:
        logger.warning("%s: saving after this step, then stopping", signal.Signals(number).name)
        self._received = number
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def on_step_end(self, args, state, control, **kwargs):
        received = torch.tensor([self._received], device=args.device)
        if args.world_size > 1:
            received = self._trainer.accelerator.gather(received)
        if received.any():
            self._trainer.stopped_by = int(received.max())
            control.should_save = control.should_training_stop = True

    def on_train_end(self, args, state, control, **kwargs):
        for number, handler in self._before.items():
            signal.signal(number, handler)


@contextmanager
def _describing(arguments: str) -> Iterator[None]:
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise InputError(f"{arguments} cannot be used: {error}") from error


def keep_freed_memory() -> None:
    """Tell glibc to keep what is freed. Without glibc this does nothing.

    It gives large blocks back to the system, and each new one then costs a page fault every 4 KiB: 5% to 20% of a step
    on a CPU. The peak is the same.
    """
    if platform.libc_ver()[0] == "glibc":
        for parameter in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
            ctypes.CDLL(None).mallopt(parameter, 2**30)


class ParaCLIPTrainer(Trainer):
    """`Trainer` over a `ParaCLIPModel` (or its PEFT wrapping) and `ParaCLIPCollator` batches.

    Next to `loss` it logs the terms (`loss_image_text`, ...), `encoded_tokens` (the nodes of a batch's trees of texts)
    and `padding` (the share of nodes that are only filling). In evaluation, `compute_metrics` gets `predictions`, text
    embeddings (n, 3, dim), and `label_ids`, image embeddings (n, dim). With several processes the negatives are those
    of all.

    A checkpoint is written under another name and renamed when it is whole. SIGTERM and Ctrl-C save and stop:
    `stopped_by` is the signal's number then.

    Args:
        run: what the weights depend on besides the arguments, as JSON (base, data, LoRA): stored in checkpoints, and
            compared when one is resumed.

    Raises:
        NotFiniteLoss: from `train`, naming the batch.
        CheckpointError: from `train`, where a checkpoint cannot be written or read.
        InputError: from `train`, where the checkpoint to resume from is incomplete or belongs to another run.
    """

    args: ParaCLIPTrainingArguments
    loss_is_scaled_for_ga = False  # the loss is a mean over its batch; the Trainer divides by the accumulation steps

    def __init__(self, *args, run: dict | None = None, **kwargs):
        try:
            super().__init__(*args, **kwargs)
        except (TypeError, ValueError) as error:  # e.g. an unknown key of --accelerator_config
            raise InputError(f"these arguments cannot be used: {error}") from error
        # through JSON, as a checkpoint stores it
        self.run = json.loads(json.dumps({**(run or {}), **self.args.decisive()}))
        self.stopped_by = 0
        self.steps_before = 0  # how many the resumed run was to have
        self._start = time.monotonic()
        self._terms: dict[str, list[torch.Tensor]] = defaultdict(list)
        self._last_batch: dict = {}
        self._saving_in: str | None = None
        self.add_callback(_StopOnSignal(self))
        if self.args.torch_compile:
            if self.clip.config.text_config.model_type != "clip_text_model":
                raise InputError("--torch_compile is for text towers of CLIP only.")
            self.clip.compile_layers(backend=self.args.torch_compile_backend, mode=self.args.torch_compile_mode)
            # the Trainer would compile the whole model, again for the lengths of every batch
            self.accelerator.state.dynamo_plugin.backend = DynamoBackend.NO

    @property
    def seconds(self) -> float:
        """How long this run has taken so far, including what came before a resume."""
        return time.monotonic() - self._start

    @property
    def clip(self) -> Paraphrased:
        """The model without what PEFT and accelerate wrap around it."""
        model = self.accelerator.unwrap_model(self.model)
        return model.get_base_model() if isinstance(model, PeftModel) else model

    def init_hf_repo(self, *args, **kwargs) -> None:
        """Create no repository: a failed run must not leave an empty one. `train.py` uploads the finished model."""

    def create_optimizer(self, *args, **kwargs):
        """As the Trainer's. InputError where the arguments do not describe any."""
        with _describing("--optim and --optim_args"):
            return super().create_optimizer(*args, **kwargs)

    def create_scheduler(self, *args, **kwargs):
        """As the Trainer's. InputError where the arguments do not describe any."""
        with _describing("--lr_scheduler_type and --lr_scheduler_kwargs"):
            return super().create_scheduler(*args, **kwargs)

    def get_train_dataloader(self):
        """As the Trainer's, but a last batch of one row is dropped: it has no negatives, so its loss is always 0."""
        batch = self._train_batch_size * self.args.world_size
        before = self.args.dataloader_drop_last
        self.args.dataloader_drop_last |= len(self.train_dataset) > batch and len(self.train_dataset) % batch == 1
        try:
            return super().get_train_dataloader()
        finally:
            self.args.dataloader_drop_last = before

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs):  # type: ignore[override]
        """Train.

        Args:
            resume_from_checkpoint: a folder; "last" or True: the newest complete one in `output_dir`, if there is any.
        """
        if resume_from_checkpoint in (True, "last"):
            resume_from_checkpoint = checkpoints.last_checkpoint(str(self.args.output_dir))
            logger.info("resuming from %s", resume_from_checkpoint or "nothing: there is no checkpoint yet")
        if resume_from_checkpoint:
            checkpoints.check_same_run(str(resume_from_checkpoint), self.run)
            marker = checkpoints.check_intact(str(resume_from_checkpoint))
            self._start -= marker["seconds"]
            self.steps_before = marker["max_steps"]
        if self.args.device.type == "cpu":
            keep_freed_memory()
        output = super().train(resume_from_checkpoint=resume_from_checkpoint or None, **kwargs)
        self._check_finite()
        return output

    def whole_model(self) -> Paraphrased | PeftModel:
        """The trained model, unwrapped.

        FSDP has left each process a share of every weight. They are put together, for which all processes have to call
        this. Nothing can be trained after that.
        """
        model = self.accelerator.unwrap_model(self.model)
        for module in model.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                if hasattr(parameter, "full_tensor"):
                    setattr(module, name, nn.Parameter(parameter.full_tensor(), parameter.requires_grad))
        return model

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The loss of a `ParaCLIPCollator` batch. Raises NotFiniteLoss before anything reaches the weights."""
        if model.training:
            self._last_batch = inputs
        inputs = dict(inputs)
        image_ids, row_keys, padding = (inputs.pop(key) for key in ("image_ids", "row_keys", "padding"))
        n = len(row_keys)
        group_ids = torch.from_numpy(group_rows(self.accelerator.gather(row_keys).cpu().numpy())).to(row_keys.device)
        inputs["group_ids"] = group_ids[n * self.accelerator.process_index :][:n]
        tokens = sum(chunk["input_ids"].numel() for chunk in inputs["chunks"])
        outputs = model(**inputs, recompute=model.training and tokens > 2 * self.args.encode_chunk_tokens)
        if model.training:
            if not torch.isfinite(outputs["loss"]):
                raise NotFiniteLoss(self._not_finite(image_ids, inputs["image_embeds"], outputs))
            for name in outputs:
                if name.startswith("loss_"):
                    self._terms[name].append(outputs[name].detach())
            self._terms["encoded_tokens"].append(torch.tensor(float(tokens)))
            self._terms["padding"].append(torch.tensor(padding))
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def _not_finite(self, image_ids: list[str], image_embeds: torch.Tensor, outputs: dict[str, torch.Tensor]) -> str:
        bad = (~torch.isfinite(image_embeds).all(dim=1)).nonzero()[:, 0].tolist()
        file = Path(str(self.args.output_dir)) / "not_finite_batch.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(image_ids, indent=0))
        terms = ", ".join(f"{name} {value.item():g}" for name, value in outputs.items() if name.startswith("loss"))
        cause = (
            f"The image_embeds of {', '.join(image_ids[i] for i in bad[:5])} are not finite: remove these rows."
            if bad
            else self._diverged()
        )
        return (
            f"step {self.state.global_step + 1}: {terms}. {cause} The image_ids of the batch "
            f"({', '.join(image_ids[:3])}, ...; {len(image_ids)} in total) are in {file}."
        )

    def _diverged(self) -> str:
        """What to do, with the last checkpoint from before it, of which `_check_finite` has made sure."""
        last = checkpoints.last_checkpoint(str(self.args.output_dir))
        advice = f"; the last checkpoint from before it is {last}" if last else ""
        return f"The inputs are finite, so the weights have diverged. Lower --learning_rate and start again{advice}."

    def _check_finite(self) -> None:
        """Make sure that the weights are finite, those that the last batch does not use as well, and its loss too."""
        if not self._last_batch:
            return
        self.model_wrapped.eval()
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = self.compute_loss(self.model_wrapped, self._prepare_inputs(self._last_batch))
        if self.is_fsdp_enabled:  # which expects a backward, and keeps the whole weights until then
            self.model_wrapped.reshard()
        self.model_wrapped.train()
        trained = [p.detach() for p in self.model_wrapped.parameters() if p.requires_grad]
        shares = [p.to_local() if hasattr(p, "to_local") else p for p in trained]  # of FSDP, those of this process
        finite = torch.stack([torch.isfinite(share).all() for share in shares]).all() & torch.isfinite(loss)
        if not self.accelerator.gather(finite.reshape(1)).all():
            found = "weights are not finite" if torch.isfinite(loss) else f"the loss is {loss.item():g}"
            raise NotFiniteLoss(f"{found} after step {self.state.global_step}. {self._diverged()}")

    def _maybe_log_save_evaluate(self, *args, **kwargs):
        """Nothing is measured, and no checkpoint kept, of weights that have diverged."""
        if self.control.should_save or self.control.should_evaluate:
            self._check_finite()
        return super()._maybe_log_save_evaluate(*args, **kwargs)

    def floating_point_ops(self, inputs) -> int:
        """Six per weight and token, as usual; the embedding table does no arithmetic."""
        layers = [p for name, p in self.clip.named_parameters() if is_text_weight(name) and ".encoder." in name]
        return 6 * sum(p.numel() for p in layers) * sum(chunk["input_ids"].numel() for chunk in inputs["chunks"])

    def log(self, logs: dict[str, float], *args, **kwargs) -> None:
        """Log, adding the means of the terms over the steps since the last line and over the processes."""
        if "loss" in logs:
            means = {name: torch.stack(values).mean().to(self.args.device) for name, values in self._terms.items()}
            logs |= {name: mean.item() for name, mean in self.accelerator.reduce(means, "mean").items()}
            self._terms.clear()
        super().log(logs, *args, **kwargs)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """(loss, text embeddings (batch, 3, dim), image embeddings (batch, dim))."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, outputs = self.compute_loss(model, inputs, return_outputs=True)
        if prediction_loss_only:
            return loss.detach(), None, None
        return loss.detach(), outputs["text_embeds"].detach().float(), inputs["image_embeds"]

    # ------------------------------------------------------------------------------------------------- checkpoints
    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write only what trains. `publish` makes a model of it; no arguments are pickled, which may hold a token."""
        names = [name for name, p in self.accelerator.unwrap_model(self.model).named_parameters() if p.requires_grad]
        state = self.accelerator.get_state_dict(self.model) if self.is_fsdp_enabled else self.model.state_dict()
        if self.args.should_save:
            checkpoints.save_trained({name: state[name] for name in names}, output_dir or str(self.args.output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model=None) -> None:
        if self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            checkpoints.load_trained(self.model if model is None else model, resume_from_checkpoint)

    def _load_best_model(self) -> None:
        if self.is_fsdp_enabled:
            super()._load_best_model()
        else:
            checkpoints.load_trained(self.model, self.state.best_model_checkpoint)

    def _get_output_dir(self, trial) -> str:
        return self._saving_in or super()._get_output_dir(trial)

    def _save_checkpoint(self, model, trial) -> None:
        """Written under another name, marked as complete, then renamed: a kill leaves no half checkpoint."""
        run_dir = Path(self._get_output_dir(trial))
        final = run_dir / f"checkpoint-{self.state.global_step}"
        aside = run_dir / "checkpoint.saving"
        if self.args.should_save:
            shutil.rmtree(aside, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self._saving_in = str(aside)
        try:
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                self._finish_checkpoint(aside / final.name, final)
        except (OSError, RuntimeError, SafetensorError, InputError) as error:  # RuntimeError: torch.save, disk full
            shutil.rmtree(aside, ignore_errors=True)
            raise CheckpointError(
                f"the checkpoint of step {self.state.global_step} could not be written to {run_dir}: {error}. The "
                f"last good one is {checkpoints.last_checkpoint(run_dir)}. Fix it and rerun with "
                "--resume_from_checkpoint last."
            ) from error
        finally:
            self._saving_in = None
        self.accelerator.wait_for_everyone()
        self.state.best_model_checkpoint = self._best_checkpoint(run_dir)  # in all processes

    def _make_room(self, final: Path) -> None:
        """Remove a checkpoint of this run; move one that is not complete, and so may be anybody's, out of the way."""
        try:
            run = checkpoints.read_marker(final)["run"]
        except InputError:
            final.rename(final.with_name(f"{final.name}.incomplete-{time.time_ns()}"))
            return
        if run != self.run:
            raise InputError(f"{final} belongs to another run")
        checkpoints.remove(final)

    def _best_checkpoint(self, run_dir: Path) -> str | None:
        best = run_dir / f"checkpoint-{self.state.best_global_step}"
        return str(best) if self.state.best_global_step and best.is_dir() else None

    def _finish_checkpoint(self, written: Path, final: Path) -> None:
        if self.state.best_global_step:  # by its final place
            self.state.best_model_checkpoint = str(final.with_name(f"checkpoint-{self.state.best_global_step}"))
            self.state.save_to_json(str(written / TRAINER_STATE_NAME))
        checkpoints.mark_complete(
            written,
            global_step=self.state.global_step,
            max_steps=self.state.max_steps,
            seconds=self.seconds,
            run=self.run,
        )
        if final.exists():  # of the same step, from before a resume
            self._make_room(final)
        written.rename(final)
        written.parent.rmdir()
        checkpoints.rotate(final.parent, self.args.save_total_limit, self.state.best_model_checkpoint, self.run)
