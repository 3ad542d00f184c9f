"""`python -m eval`: any number of models on the same tasks, side by side.

Nothing heavy is imported at the top: help, and the answer to a wrong argument, come at once.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .tasks import NAMES

if TYPE_CHECKING:
    from .encoders import Encoder
    from .suite import Measurement

DESCRIPTION = """Measure any number of CLIP models on the same tasks, side by side.

examples:
  a model and what was tuned from it, on data sets of the Hub
    python -m eval --models openai/clip-vit-base-patch32 paraclip-out --tasks sts,aro
  all tasks whose data are in the folder DIR; figures, table and plots as files
    python -m eval --models openai/clip-vit-base-patch32 paraclip-out --data DIR \\
        --output results.json --report results.md --plots plots
  also the models between the two, to choose one
    python -m eval --models openai/clip-vit-base-patch32 paraclip-out --tasks sts --interpolate 0.25,0.5,0.75
"""
DATA = "\n".join(f"  {name:22} {data}" for name, data in NAMES.items())
EPILOG = f"""tasks, and what they read from the folder DIR of --data or, without --data, from the Hub:
{DATA}
  The top of eval/tasks/NAME.py and docs/evaluation.md say what each task measures and the columns of its files.
"""
QUIET = ("httpx", "httpx2", "httpcore", "httpcore2", "datasets", "filelock")  # one line per request or lock


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    args = parse(argv)
    # not at the top: these imports take seconds
    from modeling_paraclip import InputError

    from . import report

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        if args.card:
            _check_card(args.card)
        encoders = load(args)
        by_model, not_run = measure(args, encoders)
    except InputError as error:
        sys.exit(f"eval: {error}")
    print(report.side_by_side(by_model))
    for task, reason in not_run.items():
        print(f"not run: {task}: {reason}")
    if args.output:
        report.write_results(args.output, [m for measurements in by_model for m in measurements])
    if args.report:
        args.report.write_text(report.side_by_side(by_model, markdown=True) + "\n", encoding="utf-8")
    if args.plots:
        for path in report.write_plots(args.plots, by_model):
            print(path)
        if args.data and "paraphrased_retrieval" in {m.task for m in by_model[0]} and len(encoders) > 1:
            print(_picture_sheet(args.plots / "rankings.png", encoders[:2], args.data))
    if args.card:
        report.add_to_card(args.card, by_model[-1])


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The arguments, checked: what is wrong with them ends the run here, before the work."""
    parser = argparse.ArgumentParser(
        prog="python -m eval",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--models",
        nargs="+",
        required=True,
        help="required: folders or Hub ids (CLIP, VisionTextDualEncoder; for the text tasks any sentence "
        "encoder), or openclip:ARCH/PRETRAINED; differences are from the first",
    )
    parser.add_argument(
        "--tasks",
        type=_tasks,
        default="all",
        help="e.g. sts,aro; all: those whose data are there (default: %(default)s)",
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of local data sets (default: the Hub)")
    parser.add_argument(
        "--interpolate",
        type=_alphas,
        default=[],
        help="also models between two, a base and a tuned one, e.g. 0.25,0.5,0.75: 0 is the base's text tower, 1 the "
        "tuned one's (default: none)",
    )
    files = parser.add_argument_group("files to write (default: none, the table is printed)")
    files.add_argument("--output", type=Path, help="results file (JSON), e.g. results.json")
    files.add_argument("--report", type=Path, help="the table as Markdown, e.g. results.md")
    files.add_argument("--plots", type=Path, metavar="DIR", help="folder for plots and the picture sheet")
    files.add_argument("--card", type=Path, help="model card to update with the last model's figures")
    machine = parser.add_argument_group("machine")
    machine.add_argument("--device", help="e.g. cpu, cuda, cuda:1 (default: a GPU where there is one)")
    machine.add_argument(
        "--dtype", choices=["float32", "bfloat16"], default="float32", help="of the models (default: %(default)s)"
    )
    machine.add_argument(
        "--max_tokens",
        type=_at_least(1),
        default=4096,
        help="tokens of text, padding included, encoded at a time (default: %(default)s)",
    )
    machine.add_argument(
        "--num_workers", type=_at_least(0), help="processes that decode pictures (default: one less than cores)"
    )
    machine.add_argument(
        "--cache_dir",
        type=Path,
        help="where embeddings are kept between runs (default: ~/.cache/huggingface/paraclip)",
    )
    args = parser.parse_args(argv)
    problem = _problem_of(args)
    if problem:
        parser.error(problem)
    return args


def _tasks(value: str) -> list[str] | None:
    """None for "all"."""
    if value == "all":
        return None
    names = value.split(",")
    _refuse_empty_or_repeated(value, names)
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise argparse.ArgumentTypeError(f"{','.join(unknown)}: unknown; known are {', '.join(NAMES)}.")
    return names


def _alphas(value: str) -> list[float]:
    _refuse_empty_or_repeated(value, value.split(","))
    try:
        alphas = [float(alpha) for alpha in value.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{value}: numbers are needed, e.g. 0.25,0.5,0.75.") from error
    if not all(0 <= alpha <= 1 for alpha in alphas):
        raise argparse.ArgumentTypeError(f"{value}: each number has to be from 0 (the base) to 1 (the tuned model).")
    _refuse_empty_or_repeated(value, [f"{alpha:g}" for alpha in alphas])
    return alphas


def _refuse_empty_or_repeated(value: str, names: list[str]) -> None:
    if not all(name.strip() for name in names):
        raise argparse.ArgumentTypeError(f"{value!r}: a comma has nothing before or after it.")
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise argparse.ArgumentTypeError(f"{value}: {repeated[0]} is named twice.")


def _at_least(minimum: int) -> Callable[[str], int]:
    def number(value: str) -> int:
        if not value.isdecimal() or int(value) < minimum:
            raise argparse.ArgumentTypeError(f"{value}: a whole number of {minimum} or more is needed.")
        return int(value)

    return number


def _problem_of(args: argparse.Namespace) -> str | None:
    """What would otherwise fail only after hours, in one sentence. None: nothing found."""
    models = [Path(model).resolve() if Path(model).is_dir() else model for model in args.models]
    repeated = [named for model, named in zip(models, args.models) if models.count(model) > 1]
    if repeated:
        return f"--models: {repeated[-1]} is named twice."
    if args.interpolate and len(models) != 2:
        return f"--interpolate: takes two --models, a base and a tuned one; here are {len(models)}."
    if args.data and not args.data.is_dir():
        return f"--data {args.data}: no such folder."
    if args.card and not args.card.is_file():
        return f"--card {args.card}: no such file; a card that is there is updated, e.g. paraclip-out/README.md."
    for option in ("output", "report", "card", "plots"):
        path = getattr(args, option)
        problem = path and _not_writable(path, is_folder=option == "plots")
        if problem:
            return f"--{option} {path}: {problem}."
    makes_orders = args.data and "aro" in (args.tasks or ()) and any(args.data.glob("*/captions.jsonl"))
    for needed, option, package, install in (
        (args.plots, "--plots", "matplotlib", "'paraclip[plots]'"),
        (makes_orders, "--tasks aro: the word orders", "textblob", "'paraclip[order]'"),
        (any(m.startswith("openclip:") for m in args.models), "--models openclip:", "open_clip", "open_clip_torch"),
    ):
        if needed and importlib.util.find_spec(package) is None:
            return f"{option}: needs a package that is not installed: pip install {install}"
    return None


def _not_writable(path: Path, *, is_folder: bool) -> str | None:
    """Why `path` cannot be written, found by writing a temporary file. Folders are made later, parents included."""
    if not is_folder and path.is_dir():
        return "is a folder; a file is needed"
    folder = path if is_folder else path.parent
    while is_folder and not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        return f"{folder} is not a folder" if folder.exists() else f"the folder {folder} does not exist"
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return f"cannot be written: {error.strerror}"
    if not is_folder and path.exists() and not os.access(path, os.W_OK):
        return "cannot be written"
    return None


def load(args: argparse.Namespace) -> list[Encoder]:
    """All models, before any is measured: one that cannot be opened is found at once."""
    import torch

    from modeling_paraclip import InputError
    from modeling_paraclip.embedding_cache import DEFAULT_CACHE_DIR

    from .encoders import load_between, load_encoder

    try:
        torch.empty(0, device=args.device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {args.device}: {str(error).splitlines()[0]}") from error
    base, tuned = args.models[0], args.models[-1]
    options = {"device": args.device, "dtype": args.dtype, "max_tokens": args.max_tokens}
    options |= {"cache_dir": args.cache_dir or DEFAULT_CACHE_DIR, "num_workers": args.num_workers}
    encoders: list[Encoder] = []
    for model in [args.models[0], *args.interpolate, *args.models[1:]]:
        try:
            if isinstance(model, float):
                encoder = load_between(base, tuned, model, **options)
            else:
                encoder = load_encoder(model, **options)
            if encoder.name in {known.name for known in encoders}:
                encoder.name = str(model)  # two folders of one name
        except InputError as error:
            raise InputError(f"{model}: {error}") from error
        encoders.append(encoder)
    return encoders


def measure(args: argparse.Namespace, encoders: list[Encoder]) -> tuple[list[list[Measurement]], dict[str, str]]:
    """What was measured of each model, and why tasks were not run: task -> reason."""
    from modeling_paraclip import InputError

    from . import suite

    by_model: list[list[Measurement]] = []
    not_run: dict[str, str] = {}
    for encoder in encoders:
        try:
            measurements, skipped = suite.evaluate(
                encoder, args.tasks or list(NAMES), args.data, skip_missing=args.tasks is None
            )
        except InputError as error:
            raise InputError(f"{encoder.name}: {error}") from error
        if not measurements:
            reasons = "; ".join(f"{task}: {reason}" for task, reason in skipped.items())
            raise InputError(f"{encoder.name}: no task could be run: {reasons}")
        by_model.append(measurements)
        not_run |= skipped
    return by_model, not_run


def _check_card(path: Path) -> None:
    """InputError where the card that the figures go into cannot be read."""
    import yaml
    from huggingface_hub import ModelCard

    from modeling_paraclip import InputError

    try:
        ModelCard.load(path)
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(f"--card {path}: its metadata cannot be read: {error}") from error


def _picture_sheet(path: Path, encoders: list[Encoder], data_dir: Path) -> Path:
    """The queries of the first set of triples whose first ten results changed most between two models."""
    import numpy as np

    from modeling_paraclip.pictures import open_picture

    from . import report
    from .tasks.paraphrased_retrieval import triples_in

    _, rows, gallery = triples_in(data_dir)[0]
    pictures, index = list(gallery.values()), {image_id: i for i, image_id in enumerate(gallery)}
    wordings = [(row["caption"], row["paraphrase_1"]) for row in rows]
    embeds = {
        encoder.name: (
            np.stack([encoder.texts([pair[view] for pair in wordings]) for view in (0, 1)], axis=1),
            encoder.pictures(pictures),
        )
        for encoder in encoders
    }
    report.write_ranking_sheet(
        path,
        wordings,
        np.array([index[row["image_id"]] for row in rows]),
        embeds,
        lambda i: open_picture(Path(pictures[i]["path"]).read_bytes()),
        num_queries=6,
    )
    return path


if __name__ == "__main__":
    main()
