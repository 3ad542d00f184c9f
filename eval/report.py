"""What people read: the table of base against tuned, `results.json`, the model card, the sheet of rankings."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import Dataset
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from PIL import Image, ImageDraw, ImageFont
from transformers import CLIPModel, PreTrainedTokenizerBase

from .suite import Measurement, difference_ci95, embed_triples, gallery_of
from .tasks.paraphrased_retrieval import rank

HEADLINES = ("average_overlap@", "jaccard_similarity@", "text_to_image_recall@1", "image_to_text_recall@1")


@dataclass
class Comparison:
    """One metric of two models on the same queries; `ci95` is the paired bootstrap interval of `tuned - base`."""

    dataset: str
    metric: str
    base: float
    tuned: float
    ci95: list[float]

    @property
    def beyond_noise(self) -> bool:
        return not self.ci95[0] <= 0 <= self.ci95[1]

    @property
    def is_headline(self) -> bool:
        return any(self.metric == name or (name[-1] == "@" and self.metric.startswith(name)) for name in HEADLINES)


def compare(base: list[Measurement], tuned: list[Measurement]) -> list[Comparison]:
    """Pair two models' measurements of the same sets, in order."""
    return [
        Comparison(b.dataset, b.metric, b.value, t.value, difference_ci95(b.values, t.values))
        for b, t in zip(base, tuned, strict=True)
    ]


def table(comparisons: list[Comparison], markdown: bool = False) -> str:
    """In points (100 times the fractions). Differences beyond noise are bold in Markdown, starred in a terminal."""
    header = ["queries", "metric", "base", "tuned", "difference", "95% interval"]
    rows = []
    for row in comparisons:
        low, high = (100 * bound for bound in row.ci95)
        difference = f"{100 * (row.tuned - row.base):+.1f}"
        if row.beyond_noise:
            difference = f"**{difference}**" if markdown else f"{difference}*"
        rows.append(
            [row.dataset, row.metric, f"{100 * row.base:.1f}", f"{100 * row.tuned:.1f}", difference]
            + [f"{low:+.1f} to {high:+.1f}"]
        )
    if markdown:
        lines = [header, ["---", "---", "---:", "---:", "---:", "---"], *rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return _aligned(header, rows) + "\nin points; * beyond noise (paired bootstrap)"


def side_by_side(by_model: list[list[Measurement]]) -> str:
    """The same measurements of any number of models, in points; a star: beyond noise from the first model."""
    first = by_model[0]
    compared = [compare(first, others) for others in by_model[1:]]
    header = ["data set", "metric", "n", *(measurements[0].model for measurements in by_model)]
    rows = [
        [m.dataset, m.metric, f"{len(m.values):,}", f"{100 * m.value:.2f}"]
        + [f"{100 * column[i].tuned:.2f}{'*' * column[i].beyond_noise}" for column in compared]
        for i, m in enumerate(first)
    ]
    note = f"\n* beyond noise from {first[0].model} (paired bootstrap, 95%)" if compared else ""
    return _aligned(header, rows) + note


def _aligned(header: list[str], rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(header, *rows)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in [header, *rows]]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def write_results(path: Path, measurements: list[Measurement]) -> None:
    """The results file of DESIGN.md: a JSON list, fractions in 0..1."""
    path.write_text(json.dumps([measurement.to_dict() for measurement in measurements], indent=1) + "\n")


def write_card(
    path: Path,
    template: Path,
    *,
    model_name: str,
    base_model: str | None,
    license: str | None,
    tuned: list[Measurement],
    comparisons: list[Comparison],
    **fields: object,
) -> None:
    """Render `template` (Jinja) into a model card with its `model-index`. Without results it says "not evaluated".

    `base_model` and `license` go into the metadata, where the Hub accepts only its own ids: None leaves them out.
    """
    results = [
        EvalResult(
            task_type="image-text-retrieval",
            task_name=m.task.replace("_", " "),
            dataset_type=m.dataset.split("/")[0],
            dataset_name=m.dataset,
            metric_type=m.metric.split("@")[0],
            metric_name=m.metric,
            metric_value=round(m.value, 4),
        )
        for m in tuned
    ]
    data = ModelCardData(
        model_name=model_name if results else None,
        eval_results=results or None,
        base_model=base_model,
        license=license,
        library_name="transformers",
        pipeline_tag="zero-shot-image-classification",
        tags=["clip", "paraclip", "paraphrase", "image-text-retrieval"],
    )
    card = ModelCard.from_template(
        data,
        template_path=str(template),
        model_name=model_name,
        results_table=table(comparisons, markdown=True) if comparisons else None,
        **fields,
    )
    card.save(path)


def write_ranking_sheet(
    path: Path,
    eval_sets: dict[str, Dataset],
    models: dict[str, tuple[CLIPModel, list[Measurement]]],
    tokenizer: PreTrainedTokenizerBase,
    open_picture: Callable[[str], Image.Image],
    num_queries: int = 3,
) -> None:
    """Draw what two wordings of one wish find with each of two models: a block a query, a row a wording.

    The queries are those of the first set whose average overlap changed most, up or down. Green: the right picture.
    """
    name, dataset = next(iter(eval_sets.items()))
    image_ids, gallery_embeds = gallery_of(eval_sets)
    overlaps = [
        next(m.values for m in ms if m.dataset == f"{name}/paraphrase_1" and m.metric.startswith("average_overlap"))
        for _, ms in models.values()
    ]
    changed = np.argsort(-np.abs(overlaps[1] - overlaps[0]), kind="stable")[:num_queries]
    queries = dataset.select(changed)

    shown, side, gap, line, font = 7, 96, 8, 22, ImageFont.load_default(size=14)
    left = side + 9 * gap
    block = len(models) * (2 * (side + line) + gap) + 3 * gap
    sheet = Image.new("RGB", (left + shown * (side + gap), len(queries) * block), "white")
    draw = ImageDraw.Draw(sheet)
    for m, (model_name, (model, _)) in enumerate(models.items()):
        embeds = embed_triples(model, tokenizer, queries)
        for view, column in enumerate(("caption", "paraphrase_1")):
            top = rank(embeds[:, view], gallery_embeds, shown)
            for q, query in enumerate(queries):
                y = q * block + gap + m * (2 * (side + line) + gap) + view * (side + line)
                draw.text((left, y), f"{model_name}: {query[column]}", fill="black", font=font)
                for i, image_id in enumerate(image_ids[index] for index in top[q]):
                    x = left + i * (side + gap)
                    sheet.paste(open_picture(image_id).resize((side, side)), (x, y + line))
                    if image_id == query["image_id"]:
                        box = (x - 3, y + line - 3, x + side + 2, y + line + side + 2)
                        draw.rectangle(box, outline=(0, 160, 0), width=4)
    for q, query in enumerate(queries):
        draw.text((gap, q * block + gap), "wanted", fill="black", font=font)
        sheet.paste(open_picture(query["image_id"]).resize((side, side)), (gap, q * block + gap + line))
        draw.line((0, (q + 1) * block - gap, sheet.width, (q + 1) * block - gap), fill=(200, 200, 200), width=2)
    sheet.save(path)
