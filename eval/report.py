"""Tables for a terminal or in Markdown: base against tuned, or any models side by side; and `results.json`."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modeling_paraclip.errors import one_line

from .files import write_text
from .statistics import Difference, holm
from .suite import Measurement, difference

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
    cells = [[inert(cell).replace("`", "\\`") for cell in line] for line in [header, ["---"] * len(header), *rows]]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def aligned(header: list[str], rows: list[list[str]]) -> str:
    """A table for a terminal."""
    cells = [[one_line(cell) for cell in line] for line in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in cells]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def inert(text: str) -> str:
    """Markdown that shows `text` on one line, without HTML, links or cells. Emphasis and code stay possible."""
    return re.sub(r"([\\|\[\]])", r"\\\1", html.escape(one_line(text), quote=False))


def write_results(path: Path, measurements: list[Measurement]) -> None:
    """The results file of DESIGN.md: a JSON list, fractions in 0..1."""
    write_text(
        path, json.dumps([measurement.to_dict() for measurement in measurements], indent=1, allow_nan=False) + "\n"
    )
