"""What people look at: plots of the figures, and the sheet of what two wordings find."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
from datasets import Dataset
from PIL import Image, ImageDraw, ImageFont

from modeling_paraclip import CheckpointError
from modeling_paraclip.errors import one_line
from modeling_paraclip.pictures import open_picture, read_file

from .files import written
from .ranking import rank
from .suite import Measurement
from .tasks.paraphrased_retrieval import overlaps

MAX_INCHES = 400  # of a side of a plot: images have at most 65,535 pixels


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
