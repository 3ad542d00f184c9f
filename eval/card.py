"""The model card: its text, from a template and the facts of a training, and its `model-index` of figures."""

from __future__ import annotations

import json
import platform
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
import transformers
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

import modeling_paraclip
from modeling_paraclip import InputError, ParaCLIPTrainer
from modeling_paraclip.architectures import embedding_dim, plain_class
from modeling_paraclip.errors import one_line, printable, said

from .files import read_text, write_text
from .report import Comparison, inert, marks, table
from .suite import TEXT_TASKS, Measurement

CARD_TEMPLATE = Path(__file__).with_name("model_card.md")
SHORT = 10  # rows of the table that a card shows first
KINDS = {"clip": "A CLIP model", "vision-text-dual-encoder": "A dual encoder", "siglip": "A SigLIP model"}


def write_card(
    path: Path,
    *,
    model_name: str,
    metadata: dict[str, Any],
    tuned: list[Measurement],
    comparisons: list[Comparison],
    **facts: Any,
) -> None:
    """Render `CARD_TEMPLATE` (Jinja) into a model card with its `model-index`. Without results: "Not evaluated".

    Args:
        metadata: further entries of the metadata, e.g. `base_model`; None leaves one out. The Hub accepts only its own
            ids there.
        facts: see `training_facts`, and what else the template names.
    """
    results = eval_results(tuned)
    entries: dict[str, Any] = {
        name: printable(value) if isinstance(value, str) else value for name, value in metadata.items()
    }
    data = ModelCardData(
        model_name=printable(model_name) if results else None,
        eval_results=results or None,
        library_name="transformers",
        pipeline_tag="zero-shot-image-classification",
        tags=["clip", "paraclip", "paraphrase", "image-text-retrieval", "sentence-transformers"],
        **entries,
    )
    shown = {name: inert(fact) if isinstance(fact, str) else fact for name, fact in facts.items()}
    if "repo_id" in facts:  # in Python code, which goes to people's terminals
        shown["repo_id"] = printable(json.dumps(str(facts["repo_id"]), ensure_ascii=False))
        shown["repo_arg"] = one_line(shlex.quote(str(facts["repo_id"])))
    if facts.get("command"):
        shown["command"] = one_line(facts["command"])
    short = [row for row in comparisons if row.is_headline][:SHORT] or comparisons[:SHORT]
    card = ModelCard.from_template(
        data,
        template_path=str(CARD_TEMPLATE),
        model_name=inert(model_name),
        results_table=table(short, markdown=True) if comparisons else None,
        full_table=table(comparisons, markdown=True) if len(comparisons) > len(short) else None,
        marks=marks(len(comparisons), markdown=True),
        **shown,
    )
    write_text(path, str(card))


def training_facts(trainer: ParaCLIPTrainer) -> dict[str, Any]:
    """What a card says about how a model was trained."""
    args, accumulated = trainer.args, trainer.args.gradient_accumulation_steps
    lora, layers = trainer.run["lora"], trainer.run["trained_layers"]
    return {
        "formula": trainer.clip.loss.formula(),
        "text_temperature": f"{args.text_temperature:g}" if args.text_temperature else None,
        "lora": f", by LoRA of rank {lora['r']} (merged here; the adapter is in `adapter/`)" if lora else "",
        "layers": "" if layers is None else f", only its last layers ({layers}) and what follows them",
        "learning_rate": f"{args.learning_rate:g}",
        "batch_size": f"{trainer.run['batch_size']}{f' x {accumulated}' if accumulated > 1 else ''}",
        "steps": trainer.state.global_step,
        "scheduler": str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)),
        "precision": "bfloat16" if args.bf16 else "float16" if args.fp16 else "float32",
        "hardware": hardware(args.device, args.world_size),
        "versions": ", ".join(f"{m.__name__} {m.__version__}" for m in (modeling_paraclip, torch, transformers, peft)),
        "dim": embedding_dim(trainer.clip),
        "model_class": plain_class(trainer.clip).__name__,
        "kind": KINDS[trainer.clip.config.model_type],
        "seed": args.seed,
        "seconds": round(trainer.seconds),
    }


def hardware(device: torch.device, count: int) -> str:
    """What a model was trained on, e.g. `2 x NVIDIA H100`, without the name of the machine."""
    name = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} {device.type.upper()}"
    )
    return f"{count} x {name}" if count > 1 else name


def eval_results(measurements: list[Measurement]) -> list[EvalResult]:
    """The `model-index` entries of one model's measurements; what is undefined has none."""
    entries = []
    for m in measurements:
        if np.isnan(m.value):
            continue
        name, _, config = m.dataset.partition("/")
        metric, _, depth = m.metric.partition("@")
        about = m.scored.about
        of_hub = about.revision and not about.revision.startswith("sha256:")
        entries.append(
            EvalResult(
                # the Hub has no task of retrieval; this one also ranks pictures and texts
                task_type="sentence-similarity" if m.task in TEXT_TASKS else "zero-shot-image-classification",
                task_name=m.task.replace("_", " "),
                dataset_type=printable(about.source if of_hub else name),
                dataset_name=printable(name),
                dataset_config=printable(config) or None,  # the wording, or the part of a task
                dataset_split=about.split and printable(about.split),
                dataset_revision=about.revision if of_hub else None,
                metric_type=printable(metric),
                metric_name=printable(m.metric),
                metric_args={"k": int(depth)} if depth.isdecimal() else None,
                metric_value=round(m.value, 4),
            )
        )
    return entries


def add_to_card(path: Path, measurements: list[Measurement]) -> None:
    """Put one model's measurements into the `model-index` of the card at `path`, whose text stays as it is."""
    card = read_card(path)
    data: Any = card.data
    results = [*(data.eval_results or []), *eval_results(measurements)]
    data.model_name = data.model_name or printable(measurements[0].model)
    by_key = {(str(r.dataset_name), str(r.dataset_config), str(r.metric_name)): r for r in results}
    data.eval_results = list(by_key.values())
    write_text(path, str(card))


def read_card(path: Path) -> ModelCard:
    """The model card at `path`.

    Raises:
        InputError: its metadata are not those of a model card, or it cannot be read at all.
    """
    text = read_text(path)
    try:
        card = ModelCard(text)
        str(card)
    # of metadata that are YAML but no card, the client raises nearly anything: a list, numbers as keys, ...
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, yaml.YAMLError) as error:
        reason = said(error, 300)
        raise InputError(f"{path}: its metadata cannot be read: {reason}") from error
    return card
