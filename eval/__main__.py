"""`python -m eval`: any number of models on the same tasks, side by side."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import report, suite
from .encoders import TextEncoder

HELP = """Measure text encoders on the text-only tasks, side by side.

  python -m eval --models openai/clip-vit-base-patch32 paraclip-out --data DIR --output results.json

Tasks: {tasks}. What each expects in DIR is written at the top of eval/tasks/NAME.py.
Retrieval needs pictures and is measured by train.py (--validation_file).
"""


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m eval",
        description=HELP.format(tasks=", ".join(suite.TEXT_TASKS)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", nargs="+", required=True, help="folders or Hub ids: CLIP, or a sentence encoder")
    parser.add_argument("--tasks", default="all", help="names, with commas between them; default: all")
    parser.add_argument("--data", required=True, help="folder of the data sets")
    parser.add_argument("--output", help="results file to write (JSON, fractions)")
    args = parser.parse_args(argv)
    tasks = list(suite.TEXT_TASKS) if args.tasks == "all" else args.tasks.split(",")
    unknown = [task for task in tasks if task not in suite.TEXT_TASKS]
    if unknown:
        parser.error(f"--tasks {','.join(unknown)}: unknown; known are {', '.join(suite.TEXT_TASKS)}.")
    by_model = []
    for model in args.models:
        try:
            by_model.append(suite.evaluate_texts(TextEncoder(model), tasks, args.data))
        except (ValueError, OSError) as error:
            sys.exit(f"eval: {model}: {error}")
    print(report.side_by_side(by_model))
    if args.output:
        report.write_results(Path(args.output), [m for measurements in by_model for m in measurements])


if __name__ == "__main__":
    main()
