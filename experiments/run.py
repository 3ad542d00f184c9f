"""Train every variant of a configuration with every seed, and measure each model against its base.

A configuration is a JSON file, e.g. experiments/table.json:

| entry      | what it is                                                                                    |
|------------|-----------------------------------------------------------------------------------------------|
| `question` | one sentence                                                                                  |
| `seeds`    | a list of numbers                                                                             |
| `tasks`    | tasks of `python -m eval`                                                                     |
| `common`   | arguments of `train.py` that all runs share                                                   |
| `bases`    | name -> arguments of the runs of this base; `model_name_or_path` is one                       |
| `variants` | name -> arguments; or base -> arguments where they differ, under "by_base"                    |
| `rows`     | row of the table -> the figures whose mean it shows, each as [data set, metric]               |
| `plot`     | optional: `x` and `y`, two of the rows, and what the plot `says`                              |

`{data}` in an argument is the folder of `--data`, and `{files}` that of `python -m experiments files`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

from eval import suite
from eval.encoders import load_encoder
from eval.files import read_json, sha256_of, write_text
from modeling_paraclip.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Run:
    """One training.

    Args:
        base: name of the base, see `bases`.
        variant: see `variants`.
        seed: of the training.
        arguments: of `train.py`, without `--seed` and `--output_dir`.
    """

    base: str
    variant: str
    seed: int
    arguments: dict

    @property
    def name(self) -> str:
        """As the configuration spells it."""
        return f"{self.base}/{self.variant}/seed-{self.seed}"

    @property
    def folder(self) -> Path:
        """Where it is kept, below the folder of all runs."""
        return Path(self.base, self.variant.replace(" ", "-").replace("/", "-"), f"seed-{self.seed}")


def runs_of(config: dict, data: Path, files: Path) -> Iterator[Run]:
    """All runs of a configuration: each base with each variant, the first seed of all before the second of any."""
    for seed in config["seeds"]:
        for base, of_base in config["bases"].items():
            for variant, of_variant in config["variants"].items():
                own = of_variant.get("by_base", {}).get(base, {})
                shared = {name: value for name, value in of_variant.items() if name != "by_base"}
                arguments = {**config["common"], **of_base, **shared, **own}
                yield Run(base, variant, seed, {n: _placed(v, data, files) for n, v in arguments.items()})


def _placed(value, data: Path, files: Path):
    return value.replace("{data}", str(data)).replace("{files}", str(files)) if isinstance(value, str) else value


def run(config_file: Path, data: Path, folder: Path, *, only: str = "") -> Path:
    """Do what is not done yet, and write the figures of all finished runs to `experiments/results/NAME.json`.

    A run that was interrupted goes on from its last checkpoint. A finished one is made again where its arguments, its
    training file or the tasks have changed.

    Args:
        config_file: the configuration.
        data: folder with the data, in the layout of docs/evaluation.md.
        folder: where models and figures are kept, in a folder of the configuration's name.
        only: part of "BASE/VARIANT/seed-N", as the configuration spells them: other runs are left out.

    Raises:
        InputError: no run is left, a training file is not there, or a run failed; the message names its log.
    """
    config, files = read_json(config_file), (folder / "files").resolve()
    tasks, folder = config["tasks"], folder / config_file.stem
    runs = list(runs_of(config, data, files))
    chosen = [each for each in runs if only in each.name]
    if not chosen:
        raise InputError(f"--only {only}: no run has this in its name, e.g. {runs[0].name}.")
    for each in chosen:
        file = _train_file(each)
        if not file.is_file():
            command = f"python -m experiments files --data {data} --runs {files.parent}"
            raise InputError(f"{file} is not there.{f' Make it first: {command}' if files in file.parents else ''}")
    try:
        for each in chosen:
            if not _is_done(folder / each.folder, each, tasks):
                print(f"{date.today()} {each.name}", flush=True)
                _train(each, folder / each.folder)
                _measure(each, folder / each.folder, tasks, data)
    finally:
        file = collect(config_file, folder, runs)
    return file


# Beside the folder of a run, which `train.py` wants to itself: .log, .inputs.json, and .json when it is finished


def _train_file(run: Run) -> Path:
    return Path(run.arguments["train_file"])


def _inputs(run: Run) -> dict:
    """What a model depends on."""
    file = _train_file(run)
    return {"arguments": run.arguments, "train_file": sha256_of([file]) if file.is_file() else None}


def _is_done(folder: Path, run: Run, tasks: list[str]) -> bool:
    """Whether there are figures of this training by these tasks."""
    file = folder.with_suffix(".json")
    return file.is_file() and {**_inputs(run), "tasks": tasks}.items() <= read_json(file).items()


def _train(run: Run, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(ROOT / "train.py"), "--seed", str(run.seed), "--output_dir", str(folder)]
    for name, value in run.arguments.items():
        command += [f"--{name}", *(map(str, value) if isinstance(value, list) else [str(value)])]
    log, inputs = folder.with_suffix(".log"), folder.with_suffix(".inputs.json")
    begun = read_json(inputs) if inputs.is_file() else None
    trained = {**_inputs(run), "trained": True}
    if begun == trained:  # and not measured
        return
    resumes = begun == _inputs(run) and any(folder.glob("checkpoint-*"))
    write_text(inputs, json.dumps(_inputs(run), indent=1))
    command += ["--resume_from_checkpoint", "last"] if resumes else ["--overwrite_output_dir", "True"]
    with log.open("a") as out:
        training = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT)
        try:
            status = training.wait()
        except KeyboardInterrupt:  # it was interrupted too, and saves what it has
            training.wait()
            raise
    if status:
        raise InputError(f"{run.name} ended with status {status}: see {log}.")
    write_text(inputs, json.dumps(trained, indent=1))


@cache
def _base_figures(base: str, tasks: tuple[str, ...], data: Path) -> list[suite.Measurement]:
    return suite.evaluate(load_encoder(base), list(tasks), data)[0]


def _measure(run: Run, folder: Path, tasks: list[str], data: Path) -> None:
    base = _base_figures(run.arguments["model_name_or_path"], tuple(tasks), data)
    tuned = suite.evaluate(load_encoder(str(folder), keep_texts=False), tasks, data)[0]
    figures = []
    for before, after in zip(base, tuned, strict=True):
        found = suite.difference(before, after)
        figures.append(
            {
                "task": after.task,
                "dataset": after.dataset,
                "metric": after.metric,
                "n": after.queries,
                "base": before.value,
                "tuned": after.value,
                "ci95": found.ci95,
            }
        )
    measured = {
        **_inputs(run),
        "tasks": tasks,
        "versions": suite.VERSIONS,
        "date": date.today().isoformat(),
        "figures": figures,
    }
    write_text(folder.with_suffix(".json"), json.dumps(measured, indent=1))


def collect(config_file: Path, folder: Path, runs: list[Run]) -> Path:
    """Write the figures of the finished runs, without paths of this machine. Returns the file.

    A run that was finished elsewhere, with the same arguments, keeps the figures that it has there.
    """
    file, config, finished = RESULTS / config_file.name, read_json(config_file), []
    elsewhere = _published(file, config)
    for each in runs:
        if _is_done(folder / each.folder, each, config["tasks"]):
            measured = read_json((folder / each.folder).with_suffix(".json"))
            kept = {name: measured[name] for name in ("train_file", "versions", "date", "figures")}
            finished.append({"base": each.base, "variant": each.variant, "seed": each.seed, **kept})
        elif each.folder in elsewhere:
            finished.append(elsewhere[each.folder])
    lines = ",\n".join(map(json.dumps, finished))  # a line for each run
    write_text(file, f'{{"config": {json.dumps(config)}, "runs": [\n{lines}\n]}}\n')
    return file


def _published(file: Path, config: dict) -> dict[Path, dict]:
    """The runs in a file of results whose arguments are those of `config`, by `Run.folder`."""
    if not file.is_file():
        return {}
    results = read_json(file)
    if results["config"]["tasks"] != config["tasks"]:
        return {}
    now, then = (
        {each.folder: each for each in runs_of(c, Path("data"), Path("files"))} for c in (config, results["config"])
    )
    found = {Run(run["base"], run["variant"], run["seed"], {}).folder: run for run in results["runs"]}
    return {folder: run for folder, run in found.items() if now.get(folder) == then[folder]}
