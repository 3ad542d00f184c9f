"""`python -m modeling_paraclip`: models from checkpoints, and between two models."""

from __future__ import annotations

import argparse
import sys

from transformers import CLIPModel

from .errors import InputError, printable
from .output_dir import check_output_dir, claimed
from .publish import interpolate, publish_checkpoint, staged, write_model
from .weights import open_model

HELP = """Make a model, which opens with plain CLIPModel.from_pretrained(DIR).

  python -m modeling_paraclip publish paraclip-out/checkpoint-500 --output my-model
      from a checkpoint of train.py, e.g. of a run that was stopped

  python -m modeling_paraclip interpolate BASE TUNED --alpha 0.5 --output half
      with a text tower between those of a base and a tuned model (WiSE-FT, Wortsman et al. 2022). Let a validation set
      choose alpha: python -m eval --models BASE TUNED --interpolate 0.25,0.5,0.75
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    main = argparse.ArgumentParser(
        prog="python -m modeling_paraclip", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = main.add_subparsers(dest="command", required=True)
    publish = commands.add_parser("publish", help="make a model of a checkpoint")
    publish.add_argument("checkpoint", help="folder checkpoint-STEP")
    publish.add_argument("--base", help="folder or Hub id of the base, if it is no longer where it was in training")
    between = commands.add_parser("interpolate", help="make a model between two")
    between.add_argument("base", help="folder or Hub id")
    between.add_argument("tuned", help="folder or Hub id of what was tuned from it")
    between.add_argument("--alpha", type=float, required=True, help="0 is the base, 1 the tuned model")
    for command in (publish, between):
        command.add_argument("--output", required=True, help="folder to write")
    return main


def main(argv: list[str] | None = None) -> None:
    """Run one of the commands."""
    args = parser().parse_args(argv)
    try:
        sources = (args.checkpoint, args.base) if args.command == "publish" else (args.base, args.tuned)
        with claimed(args.output, sources=tuple(source for source in sources if source)):
            check_output_dir(args.output)
            if args.command == "publish":
                publish_checkpoint(args.checkpoint, args.output, args.base)
            else:
                models = [open_model(CLIPModel, name) for name in (args.base, args.tuned)]
                with staged(args.output) as aside:
                    write_model(interpolate(models[0], models[1], args.alpha), args.base, aside)
    except (InputError, OSError) as error:  # OSError: CheckpointError, and what the machine does not let us do
        sys.exit(f"modeling_paraclip: {error}")
    print(printable(f"{args.output} is ready: CLIPModel.from_pretrained({args.output!r})"))


if __name__ == "__main__":
    main()
