"""`python -m eval`: any number of models on the same tasks, side by side.

Nothing heavy is imported at the top: help, and the answer to a wrong argument, come at once.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from .tasks import NAMES

if TYPE_CHECKING:
    from PIL import Image

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
  the similarity below which "nothing found" is the better answer, before and after
    python -m eval calibrate --models openai/clip-vit-base-patch32 paraclip-out --data DIR
"""
DATA = "\n".join(f"  {name:22} {data}" for name, data in NAMES.items())
EPILOG = f"""tasks, and what they read from the folder DIR of --data or, without --data, from the Hub:
{DATA}
  The top of eval/tasks/NAME.py and docs/evaluation.md say what each task measures and the columns of its files.
"""
MANY = 10**9


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == ["calibrate"]:
        from . import calibrate

        calibrate.main(arguments[1:])
        return
    args = parse(arguments)
    # not at the top: these imports take seconds
    from modeling_paraclip import InputError
    from modeling_paraclip.terminal import set_up_output

    from . import report

    set_up_output(sys.stderr)
    try:
        if args.card:
            _check_card(args.card)
        encoders = load(args)
        by_model, not_run = measure(args, encoders)
        paths = write(args, encoders, by_model)
    except (InputError, OSError) as error:  # OSError: what the machine does not let us do, e.g. a full disk
        sys.exit(f"eval: {error}")
    except KeyboardInterrupt:
        sys.exit("\neval: stopped. Embeddings are kept; give the same command again to go on.")
    lines = [report.side_by_side(by_model), *(f"not run: {task}: {reason}" for task, reason in not_run.items())]
    _print("\n".join([*lines, *map(str, paths)]))


def _print(text: str) -> None:
    """To standard output, which may be a pipe that nobody reads any more or a file on a full disk."""
    from modeling_paraclip.errors import printable

    try:
        print(printable(text), flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would try once more at its end
        print(f"eval: the table cannot be printed: {error.strerror}.", file=sys.stderr)
        sys.exit(1)


def write(args: argparse.Namespace, encoders: list[Encoder], by_model: list[list[Measurement]]) -> list[Path]:
    """Write the files that were asked for. Returns those in the folder for plots."""
    from . import card, files, plots, report

    paths = []
    if args.output:
        report.write_results(args.output, [m for measurements in by_model for m in measurements])
    if args.report:
        files.write_text(args.report, report.side_by_side(by_model, markdown=True) + "\n")
    if args.card:
        card.add_to_card(args.card, by_model[-1])
    if args.plots:
        paths = plots.write_plots(args.plots, by_model)
        # a sheet compares two models on the same pictures
        tasks = [{m.task for m in measurements} for measurements in by_model[:2]]
        if args.data and len(tasks) > 1 and all("paraphrased_retrieval" in names for names in tasks):
            paths.append(_picture_sheet(args.plots / "rankings.png", encoders[:2], args.data))
    return paths


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The arguments, checked: what is wrong with them ends the run here, before the work."""
    parser = _Parser(
        prog="python -m eval",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--models",
        nargs="+",
        required=True,
        help="required: folders or Hub ids (CLIP, VisionTextDualEncoder, SigLIP; for the text tasks any sentence "
        "encoder), or models of open_clip: openclip:ARCH/TAG, openclip:ARCH/FILE (weights), openclip:hf-hub:ORG/NAME, "
        "openclip:local-dir:PATH; differences are from the first",
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
    try:
        problem = _problem_of(args)
    except OSError as error:  # e.g. a name that is too long
        problem = f"{str(error.filename)[:100]}: {error.strerror}."
    if problem:
        parser.error(problem)
    return args


class _Parser(argparse.ArgumentParser):
    """Its errors quote arguments, e.g. names of files that a shell filled in."""

    def error(self, message: str) -> NoReturn:
        if not message.isprintable():
            from modeling_paraclip.errors import printable  # imports torch

            message = printable(message)
        super().error(message)


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
        if not value.isdecimal() or not minimum <= int(value[:20]) <= MANY:
            raise argparse.ArgumentTypeError(f"{value}: a whole number from {minimum} to {MANY:,} is needed.")
        return int(value)

    return number


def _problem_of(args: argparse.Namespace) -> str | None:
    """What would otherwise fail only after hours, in one sentence. None: nothing found."""
    if not all(model.strip() for model in args.models):
        return "--models: a name is empty."
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
    if not is_folder and path.exists() and not path.is_file():  # e.g. /dev/stdout or a pipe, written as it is
        return None if os.access(path, os.W_OK) else "cannot be written"
    folder = path if is_folder else path.parent
    while is_folder and not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        return f"{folder} is not a folder" if folder.exists() else f"the folder {folder} does not exist"
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(2**12))  # a full disk still takes an empty file
            probe.flush()
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
        torch.zeros(1, device=args.device).item()
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {args.device}: {str(error).splitlines()[0]}") from error
    base, tuned = args.models[0], args.models[-1]
    options = {"device": args.device, "dtype": args.dtype, "max_tokens": args.max_tokens}
    options |= {"cache_dir": args.cache_dir or DEFAULT_CACHE_DIR, "num_workers": args.num_workers}
    encoders: list[Encoder] = []
    for model in [args.models[0], *args.interpolate, *args.models[1:]]:
        if isinstance(model, float):
            encoder = load_between(base, tuned, model, **options)
        else:
            encoder = load_encoder(model, **options)
        if encoder.name in {known.name for known in encoders}:
            encoder.name = str(model)  # two folders of one name
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
    from modeling_paraclip import InputError

    from .card import read_card

    try:
        read_card(path)
    except InputError as error:
        raise InputError(f"--card {error}") from error


def _picture_sheet(path: Path, encoders: list[Encoder], data_dir: Path) -> Path:
    """The queries of the first set of triples whose first ten results changed most between two models."""
    import numpy as np

    from modeling_paraclip import InputError
    from modeling_paraclip.pictures import open_picture, read_file

    from .plots import write_ranking_sheet
    from .tasks.paraphrased_retrieval import triples_in

    _, rows, gallery, _ = triples_in(data_dir)[0]
    pictures, index = list(gallery.values()), {image_id: i for i, image_id in enumerate(gallery)}

    def opened(i: int) -> Image.Image:
        try:
            return open_picture(read_file(pictures[i]["path"]))
        except (OSError, ValueError) as error:  # it changed since it was measured
            raise InputError(f"{pictures[i]['path']} cannot be drawn: {error}") from error

    wordings = [(row["caption"], row["paraphrase_1"]) for row in rows]
    embeds = {
        encoder.name: (
            np.stack([encoder.texts([pair[view] for pair in wordings]) for view in (0, 1)], axis=1),
            encoder.pictures(pictures),
        )
        for encoder in encoders
    }
    write_ranking_sheet(
        path,
        wordings,
        np.array([index[row["image_id"]] for row in rows]),
        embeds,
        opened,
        num_queries=6,
    )
    return path


if __name__ == "__main__":
    main()
