"""`python -m modeling_paraclip`: models from checkpoints, between two models, and for other applications."""

from __future__ import annotations

import argparse
import sys

from transformers import CLIPModel

from .errors import InputError, printable
from .exports import EXPORTS, export_model, from_open_clip
from .output_dir import check_output_dir, claimed
from .publish import interpolate, publish_checkpoint, staged, write_model
from .weights import open_model

HELP = """Make a model, which opens with plain CLIPModel.from_pretrained(DIR).

  python -m modeling_paraclip publish paraclip-out/checkpoint-500 --output my-model
      from a checkpoint of train.py, e.g. of a run that was stopped

  python -m modeling_paraclip interpolate BASE TUNED --alpha 0.5 --output half
      with a text tower between those of a base and a tuned model (WiSE-FT, Wortsman et al. 2022). Let a validation set
      choose alpha: python -m eval --models BASE TUNED --interpolate 0.25,0.5,0.75

  python -m modeling_paraclip from-open-clip CHECKPOINT.safetensors --activation quick_gelu --output my-base
      from a checkpoint of open_clip: a base that train.py takes

  python -m modeling_paraclip export my-model --for immich --base BASE --output for-immich
      not a model but the files that another application reads, compared with the model; docs/deploy.md has a page for
      each: onnx, transformersjs, immich, fastembed, weaviate, open_clip, diffusers
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
    foreign = commands.add_parser("from-open-clip", help="make a model of a checkpoint of open_clip")
    foreign.add_argument("checkpoint", help="file of safetensors, folder or Hub id")
    foreign.add_argument("--activation", choices=("gelu", "quick_gelu"), help="if no open_clip_config.json says it")
    foreign.add_argument(
        "--tokenizer", help="folder or Hub id that has it (default: beside the checkpoint, or CLIP's)"
    )
    export = commands.add_parser("export", help="write what another application reads")
    export.add_argument("model", help="folder or Hub id")
    export.add_argument("--for", dest="application", choices=EXPORTS, required=True)
    export.add_argument("--base", help="what it was trained from: checks that its index of pictures stays valid")
    for command in (publish, between, foreign, export):
        command.add_argument("--output", required=True, help="folder to write")
    return main


def main(argv: list[str] | None = None) -> None:
    """Run one of the commands."""
    args = parser().parse_args(argv)
    try:
        if args.command == "export":
            print(printable("\n".join(export_model(args.model, args.application, args.output, args.base))))
            return
        sources = [getattr(args, name, None) for name in ("checkpoint", "base", "tuned")]
        with claimed(args.output, sources=tuple(source for source in sources if source)):
            check_output_dir(args.output)
            if args.command == "publish":
                publish_checkpoint(args.checkpoint, args.output, args.base)
            elif args.command == "from-open-clip":
                from_open_clip(args.checkpoint, args.output, activation=args.activation, tokenizer=args.tokenizer)
            else:
                models = [open_model(CLIPModel, name) for name in (args.base, args.tuned)]
                with staged(args.output) as aside:
                    write_model(interpolate(models[0], models[1], args.alpha), args.base, aside)
    except (InputError, OSError) as error:  # OSError: CheckpointError, and what the machine does not let us do
        sys.exit(f"modeling_paraclip: {error}")
    print(printable(f"{args.output} is ready: CLIPModel.from_pretrained({args.output!r})"))


if __name__ == "__main__":
    main()
