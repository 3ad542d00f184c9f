"""What people read: the table of base against tuned, `results.json`, the model card, the sheet of rankings."""

from __future__ import annotations

import html
import json
import os
import platform
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import peft
import torch
import transformers
import yaml
from datasets import Dataset
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from PIL import Image, ImageDraw, ImageFont

import modeling_paraclip
from modeling_paraclip import CheckpointError, InputError, ParaCLIPTrainer
from modeling_paraclip.architectures import embedding_dim, plain_class
from modeling_paraclip.errors import one_line, printable, said
from modeling_paraclip.pictures import open_picture, read_file

from .files import read_text
from .ranking import rank
from .statistics import Difference, holm
from .suite import TEXT_TASKS, Measurement, difference
from .tasks.paraphrased_retrieval import overlaps

CARD_TEMPLATE = Path(__file__).with_name("model_card.md")
SHORT = 10  # rows of the table that a card shows first
MAX_INCHES = 400  # of a side of a plot: images have at most 65,535 pixels
KINDS = {"clip": "A CLIP model", "vision-text-dual-encoder": "A dual encoder", "siglip": "A SigLIP model"}
HEADLINES = ("average_overlap@", "jaccard_similarity@", "text_to_image_recall@1", "image_to_text_recall@1")


@dataclass(frozen=True)
class Comparison:
    """One metric of two models on the same queries.

    Args:
        survives: whether the difference is beyond noise also when all comparisons are looked at together.
        among: how many these are.
    """

    dataset: str
    metric: str
    base: float
    tuned: float
    difference: Difference
    survives: bool
    among: int

    @property
    def is_headline(self) -> bool:
        """Whether the short table at the end of a training shows it."""
        return any(self.metric == name or (name[-1] == "@" and self.metric.startswith(name)) for name in HEADLINES)

    def shown(self, digits: int, markdown: bool) -> tuple[str, str]:
        """The difference, marked where it is beyond noise, and its interval; in points."""
        low, high = (100 * bound for bound in self.difference.ci95)
        if np.isnan(self.difference.value):
            return "undefined", ""
        figure = f"{100 * self.difference.value:+.{digits}f}"
        if self.difference.beyond_noise:
            mark = "**" if self.survives and self.among > 1 else "*"
            figure = f"{mark}{figure}{mark}" if markdown else f"{figure} {mark}"
        return figure, f"{low:+.{digits}f} to {high:+.{digits}f}"


def compare(pairs: Iterable[tuple[Measurement, Measurement]]) -> list[Comparison]:
    """All pairs (base, tuned) that are reported together, each of the same metric on the same queries."""
    pairs = list(pairs)
    differences = [difference(base, tuned) for base, tuned in pairs]
    survive = holm([found.p for found in differences])
    return [
        Comparison(base.dataset, base.metric, base.value, tuned.value, found, kept, len(pairs))
        for (base, tuned), found, kept in zip(pairs, differences, survive)
    ]


def marks(count: int, markdown: bool = False) -> str:
    """What the marks of a table with `count` comparisons mean."""
    one, both = ("italics", "bold") if markdown else ("*", "**")
    text = f"In points, with 95% intervals (paired bootstrap). {one}: beyond noise"
    if count == 1:
        return f"{text}."
    return f"{text}; {both}: also when all {count:,} comparisons are looked at together (Holm's correction)."


def table(comparisons: list[Comparison], markdown: bool = False) -> str:
    """In points (100 times the fractions), without what the marks mean in Markdown: see `marks`."""
    header = ["queries", "metric", "base", "tuned", "difference", "95% interval"]
    rows = [
        [row.dataset, row.metric, _points(row.base, 1), _points(row.tuned, 1), *row.shown(1, markdown)]
        for row in comparisons
    ]
    return (
        _markdown(header, rows)
        if markdown
        else f"{aligned(header, rows)}\n{marks(max((row.among for row in comparisons), default=0))}"
    )


def side_by_side(by_model: list[list[Measurement]], markdown: bool = False) -> str:
    """The same measurements of any number of models; for each after the first also the difference from the first."""
    first = by_model[0]
    others = {measurements[0].model: {m.key: m for m in measurements} for measurements in by_model[1:]}
    pairs = [(m, other[m.key]) for m in first for other in others.values() if m.key in other]
    compared = dict(zip(((id(a), b.model) for a, b in pairs), compare(pairs)))
    header = ["data set", "metric", "n", first[0].model, *(cell for name in others for cell in (name, "difference"))]
    rows = []
    for m in first:
        cells = [m.dataset, m.metric, f"{m.queries:,}", _points(m.value, 2)]
        for name in others:
            row = compared.get((id(m), name))
            figure, interval = row.shown(2, markdown) if row else ("", "")
            cells += [_points(row.tuned, 2) if row else "", f"{figure} ({interval})" if interval else figure]
        rows.append(cells)
    drawn = _markdown(header, rows) + "\n" if markdown else aligned(header, rows)
    note = marks(len(pairs), markdown) if pairs else "In points."
    return f"{drawn}\n{note}"


def _points(value: float, digits: int) -> str:
    return "undefined" if np.isnan(value) else f"{100 * value:.{digits}f}"


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    cells = [[_inert(cell).replace("`", "\\`") for cell in line] for line in [header, ["---"] * len(header), *rows]]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def aligned(header: list[str], rows: list[list[str]]) -> str:
    """A table for a terminal."""
    cells = [[one_line(cell) for cell in line] for line in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in cells]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _inert(text: str) -> str:
    """Markdown that shows `text` on one line, without HTML, links or cells. Emphasis and code stay possible."""
    return re.sub(r"([\\|\[\]])", r"\\\1", html.escape(one_line(text), quote=False))


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A file to write in place of `path`, moved there when it is whole: what is there stays until then.

    Raises:
        CheckpointError: it could not be written, e.g. because the disk is full.
    """
    target = Path(os.path.realpath(path))  # not a link to it
    is_special = target.exists() and not target.is_file()  # e.g. /dev/stdout, which nothing may replace
    aside = target if is_special else target.with_name(f".eval-{os.getpid()}.part")
    try:
        yield aside
        if not is_special:
            os.replace(aside, target)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        if not is_special:
            with suppress(OSError):
                aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """`written` with UTF-8 text, whose line ends stay as they are."""
    with written(path) as aside, open(aside, "w", encoding="utf-8", newline="") as stream:
        stream.write(text)


def write_results(path: Path, measurements: list[Measurement]) -> None:
    """The results file of DESIGN.md: a JSON list, fractions in 0..1."""
    write_text(
        path, json.dumps([measurement.to_dict() for measurement in measurements], indent=1, allow_nan=False) + "\n"
    )


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


def write_plots(folder: Path, by_model: list[list[Measurement]]) -> list[Path]:
    """`TASK.png` for each task, bars with 95% intervals of all models; and `overlap.png`, a scatter of the average
    overlap of every query, first model against second. Needs matplotlib (`pip install 'paraclip[plots]'`).
    """
    import matplotlib

    matplotlib.use("Agg")
    with matplotlib.rc_context({"text.parse_math": False}):  # "$" in a name is no formula
        return _write_plots(folder, by_model)


def _write_plots(folder: Path, by_model: list[list[Measurement]]) -> list[Path]:
    from matplotlib import pyplot as plt

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be written: {error.strerror}.") from error
    paths = []

    def save(figure, name: str) -> None:
        paths.append(folder / f"{name}.png")
        with written(paths[-1]) as aside:
            figure.savefig(aside, format="png", dpi=120, bbox_inches="tight")
        plt.close(figure)

    for task in dict.fromkeys(m.task for m in by_model[0]):
        names = [m.key for m in by_model[0] if m.task == task]
        figure, axes = plt.subplots(figsize=(8, min(1.2 + 0.18 * len(names) * (len(by_model) + 1), MAX_INCHES)))
        for i, measurements in enumerate(by_model):
            known = {m.key: m for m in measurements if not np.isnan(m.value)}
            places = [n * (len(by_model) + 1) + i for n, name in enumerate(names) if name in known]
            shown = [known[name] for name in names if name in known]
            values = 100 * np.array([m.value for m in shown])
            bounds = 100 * np.array([m.ci95 for m in shown]).reshape(-1, 2)
            errors = np.abs(bounds.T - values)
            axes.barh(
                places, values, xerr=errors, height=0.9, label=one_line(measurements[0].model), error_kw={"lw": 1}
            )
        middle = (len(by_model) - 1) / 2
        axes.set_yticks(
            [n * (len(by_model) + 1) + middle for n in range(len(names))],
            [one_line(f"{dataset}, {metric}") for _, dataset, metric in names],
            fontsize=7,
        )
        axes.invert_yaxis()
        axes.set(title=task, xlabel="points, with 95% intervals")
        axes.legend()
        save(figure, task)
    other = {m.key: m for m in by_model[1]} if len(by_model) > 1 else {}
    sets = [m for m in by_model[0] if m.metric.startswith("average_overlap") and m.key in other]
    if sets:
        figure, panels = plt.subplots(1, len(sets), figsize=(min(4 * len(sets), MAX_INCHES), 4), squeeze=False)
        for axes, m in zip(panels[0], sets):
            axes.scatter(m.scored.values, other[m.key].scored.values, s=8, alpha=0.3)
            axes.plot([0, 1], [0, 1], color="grey", lw=1)
            title, across, up = map(one_line, (m.dataset, f"{m.metric}, {m.model}", by_model[1][0].model))
            axes.set(title=title, xlabel=across, ylabel=up)
            axes.title.set_fontsize(8)
        save(figure, "overlap")
    return paths


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
    shown = {name: _inert(fact) if isinstance(fact, str) else fact for name, fact in facts.items()}
    if "repo_id" in facts:  # in Python code, which goes to people's terminals
        shown["repo_id"] = printable(json.dumps(str(facts["repo_id"]), ensure_ascii=False))
        shown["repo_arg"] = one_line(shlex.quote(str(facts["repo_id"])))
    if facts.get("command"):
        shown["command"] = one_line(facts["command"])
    short = [row for row in comparisons if row.is_headline][:SHORT] or comparisons[:SHORT]
    card = ModelCard.from_template(
        data,
        template_path=str(CARD_TEMPLATE),
        model_name=_inert(model_name),
        results_table=table(short, markdown=True) if comparisons else None,
        full_table=table(comparisons, markdown=True) if len(comparisons) > len(short) else None,
        marks=marks(len(comparisons), markdown=True),
        **shown,
    )
    write_text(path, str(card))


def training_facts(trainer: ParaCLIPTrainer, lora_r: int | None) -> dict[str, Any]:
    """What a card says about how a model was trained."""
    args, accumulated = trainer.args, trainer.args.gradient_accumulation_steps
    return {
        "formula": trainer.clip.loss.formula(),
        "text_temperature": f"{args.text_temperature:g}" if args.text_temperature else None,
        "lora": f", by LoRA of rank {lora_r} (merged here; the adapter is in `adapter/`)" if lora_r else "",
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


def picture_opener(sets: list[Dataset]) -> Callable[[str], Image.Image] | None:
    """`image_id` -> picture, decoded when asked for. None where a set has no pictures, only their embeddings."""
    if not all("image" in dataset.column_names for dataset in sets):
        return None
    plain = [dataset.select_columns("image").cast_column("image", datasets.Image(decode=False)) for dataset in sets]
    where = {image_id: (n, row) for n, d in enumerate(sets) for row, image_id in enumerate(d["image_id"])}

    def opened(image_id: str) -> Image.Image:
        n, row = where[image_id]
        found = plain[n][row]["image"]
        return open_picture(found["bytes"] or read_file(found["path"]))

    return opened


def draw_rankings(
    path: Path,
    open_image: Callable[[str], Image.Image],
    triples: Dataset,
    gallery: tuple[list[str], np.ndarray],
    text_embeds: dict[str, np.ndarray],
) -> None:
    """`write_ranking_sheet` for captions and their x'.

    Args:
        open_image: `image_id` -> picture.
        triples: the queries.
        gallery: see `suite.gallery_of`.
        text_embeds: name of each of two models -> (n, 3, dim), see `suite.embed_triples`.
    """
    image_ids, gallery_embeds = gallery
    index = {image_id: i for i, image_id in enumerate(image_ids)}
    write_ranking_sheet(
        path,
        list(zip(triples["caption"], triples["paraphrase_1"])),
        np.array([index[image_id] for image_id in triples["image_id"]]),
        {name: (embeds[:, :2], gallery_embeds) for name, embeds in text_embeds.items()},
        lambda i: open_image(image_ids[i]),
    )


def write_ranking_sheet(
    path: Path,
    wordings: list[tuple[str, str]],
    picture_of_query: np.ndarray,
    models: dict[str, tuple[np.ndarray, np.ndarray]],
    open_picture: Callable[[int], Image.Image],
    num_queries: int = 3,
) -> None:
    """Draw what two wordings of one wish find with each of two models: a block per query, a row per wording.

    The queries are those whose average overlap at 10 changed most, up or down. Green: the right picture.

    Args:
        wordings: n pairs of texts.
        picture_of_query: (n,) gallery index of the right picture.
        models: name -> (text embeddings (n, 2, dim), gallery embeddings (m, dim)), normalised. Two models.
        open_picture: gallery index -> picture.
    """
    tops, agreement = {}, []
    for name, (text_embeds, gallery_embeds) in models.items():
        k = min(10, len(gallery_embeds))
        agreement.append(overlaps(text_embeds[:, 0], text_embeds[:, 1], gallery_embeds, k)[f"average_overlap@{k}"])
        tops[name] = [rank(text_embeds[:, view], gallery_embeds, 7) for view in (0, 1)]
    changed = np.argsort(-np.abs(agreement[1] - agreement[0]), kind="stable")[:num_queries]

    shown, side, gap, line, font = 7, 96, 8, 22, ImageFont.load_default(size=14)
    left = side + 9 * gap
    block = len(models) * (2 * (side + line) + gap) + 3 * gap
    sheet = Image.new("RGB", (left + shown * (side + gap), len(changed) * block), "white")
    draw = ImageDraw.Draw(sheet)
    for q, query in enumerate(changed):
        for m, (name, by_view) in enumerate(tops.items()):
            for view, top in enumerate(by_view):
                y = q * block + gap + m * (2 * (side + line) + gap) + view * (side + line)
                draw.text((left, y), one_line(f"{name}: {wordings[query][view]}")[:200], fill="black", font=font)
                for i, picture in enumerate(top[query]):
                    x = left + i * (side + gap)
                    sheet.paste(open_picture(int(picture)).resize((side, side)), (x, y + line))
                    if picture == picture_of_query[query]:
                        box = (x - 3, y + line - 3, x + side + 2, y + line + side + 2)
                        draw.rectangle(box, outline=(0, 160, 0), width=4)
        draw.text((gap, q * block + gap), "wanted", fill="black", font=font)
        wanted = open_picture(int(picture_of_query[query])).resize((side, side))
        sheet.paste(wanted, (gap, q * block + gap + line))
        draw.line((0, (q + 1) * block - gap, sheet.width, (q + 1) * block - gap), fill=(200, 200, 200), width=2)
    with written(path) as aside:
        sheet.save(aside, format="PNG")
