"""The experiments of docs/results.md.

    python -m experiments run experiments/table.json --data DIR --runs runs
        train and measure what is not done yet; interrupt it and start it again as you like
    python -m experiments files --data DIR --runs runs
        write the training files that ablations.json and negatives.json derive from those in DIR; once, before them
    python -m experiments render
        write the tables and plots of docs/results.md from experiments/results/*.json

DIR has the layout of docs/evaluation.md. Two commands with different --only can run side by side.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from modeling_paraclip.errors import InputError

from . import render
from .files import write_files
from .run import run


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="train and measure what is not done yet")
    running.add_argument("config", type=Path, help="e.g. experiments/table.json")
    running.add_argument("--only", default="", help="part of BASE/VARIANT/seed-N: leave out all other runs")
    files = commands.add_parser("files", help="write the training files that some experiments derive")
    for command in (running, files):
        command.add_argument("--data", type=Path, required=True, help="folder with the data, see docs/evaluation.md")
        command.add_argument("--runs", type=Path, default=Path("runs"), help="where models are kept (default: runs)")
    commands.add_parser("render", help="write docs/results.md from the figures of the finished runs")
    args = parser.parse_args(argv)
    try:
        if args.command == "run":
            print(run(args.config, args.data.resolve(), args.runs, only=args.only))
        elif args.command == "files":
            write_files(args.data.resolve(), args.runs / "files")
        else:
            render.write_page()
    except KeyboardInterrupt:
        sys.exit("\nStopped. Give the same command again to go on.")
    except (InputError, OSError) as error:
        sys.exit(f"python -m experiments: {error}")


if __name__ == "__main__":
    main()
