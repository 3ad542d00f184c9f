"""The tables and plots of docs/results.md, from experiments/results/*.json alone."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from scipy import stats

from eval.files import read_json, write_text
from eval.report import inert

from .run import RESULTS, ROOT

PAGE = ROOT / "docs" / "results.md"
COLUMNS = 5  # of a table: with more variants each has a row instead
PLACE = re.compile(r"(<!-- experiment: ([\w-]+) -->\n).*?(<!-- end of experiment -->)", re.S)


def write_page() -> None:
    """Put each experiment's part between its two comments in docs/results.md, and draw its plot beside it."""
    page = PAGE.read_text(encoding="utf-8")
    for found in PLACE.finditer(page):
        results = read_json(RESULTS / f"{found[2]}.json")
        if "plot" in results["config"] and results["runs"]:
            _draw(results["config"], results["runs"], _picture(found[2]))
    write_text(PAGE, PLACE.sub(lambda found: found[1] + part(found[2]) + found[3], page))


def part(name: str) -> str:
    """Markdown of one experiment: the question, a table for each base, and the plot if it has one."""
    results = read_json(RESULTS / f"{name}.json")
    config, runs = results["config"], results["runs"]
    lines = [config["question"], ""]
    for base in config["bases"]:
        own = [run for run in runs if run["base"] == base]
        if own:
            lines += [_table(config, base, own), ""]
    if "plot" in config and runs:
        lines += [f"![{config['plot']['says']}]({_picture(name).name})", ""]
    return "\n".join(lines) + "\n"


def _picture(name: str) -> Path:
    return PAGE.with_name(f"{name}.png")


def figures(config: dict, run: dict) -> dict[str, tuple[float, float]]:
    """Row of the table -> (base, tuned) of one run, fractions: the means over what the row names."""
    found = {(figure["dataset"], figure["metric"]): figure for figure in run["figures"]}

    def mean(keys: list[list[str]], model: str) -> float:
        return float(np.mean([found[dataset, metric][model] for dataset, metric in keys]))

    return {row: (mean(keys, "base"), mean(keys, "tuned")) for row, keys in config["rows"].items()}


def over_seeds(differences: list[float]) -> float | None:
    """Half of the 95% interval of the mean (Student's t). None for one seed."""
    if len(differences) < 2:
        return None
    return float(stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences))


def beyond_noise(config: dict, row: str, runs: list[dict]) -> bool:
    """Whether 0 is outside the intervals over seeds and, where the row is one figure, over the queries of each run."""
    differences = [tuned - base for base, tuned in (figures(config, run)[row] for run in runs)]
    half, mean = over_seeds(differences), float(np.mean(differences))
    if half is not None and abs(mean) <= half:
        return False
    if len(config["rows"][row]) > 1:
        return half is not None
    (key,) = config["rows"][row]
    intervals = [f["ci95"] for run in runs for f in run["figures"] if [f["dataset"], f["metric"]] == key]
    return all(low > 0 for low, _ in intervals) or all(high < 0 for _, high in intervals)


def _table(config: dict, base: str, runs: list[dict]) -> str:
    """A row for each figure and a column for each variant or, where these are many, the other way round."""
    by_variant = {name: [run for run in runs if run["variant"] == name] for name in config["variants"]}
    by_variant = {name: own for name, own in by_variant.items() if own}
    before = figures(config, runs[0])
    columns = [[base, *config["rows"]], ["base", *(f"{100 * before[row][0]:.1f}" for row in config["rows"])]]
    for name, own in by_variant.items():
        columns.append([f"{inert(name)} ({len(own)})", *(_cell(config, row, own) for row in config["rows"])])
    header, *rows = columns if len(by_variant) > COLUMNS else zip(*columns)
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, ["---", *["---:"] * (len(header) - 1)], *rows])


def _cell(config: dict, row: str, runs: list[dict]) -> str:
    pairs = [figures(config, run)[row] for run in runs]
    difference = float(np.mean([tuned - base for base, tuned in pairs]))
    shown, half = f"{100 * difference:+.1f}", over_seeds([tuned - base for base, tuned in pairs])
    shown = f"**{shown}**" if beyond_noise(config, row, runs) else shown
    return f"{100 * np.mean([tuned for _, tuned in pairs]):.1f} ({shown}{f' ± {100 * half:.1f}' if half else ''})"


def _draw(config: dict, runs: list[dict], path: Path) -> None:
    """One panel for each base: a variant is a point, its mean over seeds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    plot = config["plot"]
    bases = [base for base in config["bases"] if any(run["base"] == base for run in runs)]
    figure, panels = pyplot.subplots(1, len(bases), figsize=(6 * len(bases), 5), squeeze=False, layout="constrained")
    points = {}
    for base, panel in zip(bases, panels[0]):
        for i, variant in enumerate(config["variants"]):
            own = [figures(config, run) for run in runs if (run["base"], run["variant"]) == (base, variant)]
            if own:
                x, y = (100 * np.mean([f[plot[axis]][1] - f[plot[axis]][0] for f in own]) for axis in ("x", "y"))
                (points[variant],) = panel.plot(x, y, "o", color=f"C{i}", markersize=9)
        panel.axhline(0, color="grey", linewidth=0.8)
        panel.axvline(0, color="grey", linewidth=0.8)
        panel.set(title=base, xlabel=f"{plot['x']}, points gained", ylabel=f"{plot['y']}, points gained")
    figure.legend(points.values(), points.keys(), loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
