"""`python -m modeling_paraclip`: models from checkpoints and between two, checked, uploaded and exported."""

from __future__ import annotations

import argparse
import sys

from transformers import AutoModel

from .architectures import DUAL_ENCODERS
from .check import check, check_exports
from .errors import InputError, printable
from .exports import EXPORTS, export_model, from_open_clip
from .output_dir import check_output_dir, claimed
from .publish import full_repo_id, interpolate, publish_checkpoint, staged, upload, write_model
from .weights import open_config, open_model, open_processor

HELP = """Make a model, which opens with plain from_pretrained(DIR); check it, upload it, or export it.

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

  python -m modeling_paraclip check my-model --base BASE
      one line for each promise: opens plainly, safetensors only, image tower of the base, exports, ...; exit status
      for CI

  python -m modeling_paraclip push my-model org/my-paraclip --tag v1
      the published files, and nothing else that lies in the folder; what was sent before a break is not sent again
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
    checked = commands.add_parser("check", help="say whether a published folder is what it promises to be")
    checked.add_argument("model", help="folder")
    checked.add_argument("--base", help="what it was trained from: what did not train is then compared")
    checked.add_argument(
        "--exports", nargs="+", default=[], metavar="DIR", help="what export wrote, if it is not in the folder"
    )
    push = commands.add_parser("push", help="upload a published folder to the Hub")
    push.add_argument("model", help="folder")
    push.add_argument("repo_id", help="e.g. org/paraclip")
    push.add_argument("--private", action="store_true", help="make the repository private, if it is new")
    push.add_argument("--tag", help="tag of this version, e.g. v1")
    push.add_argument("--pictures", action="store_true", help="also the sheet of rankings, which shows your pictures")
    for command in (publish, between, foreign, export):
        command.add_argument("--output", required=True, help="folder to write")
    return main


def main(argv: list[str] | None = None) -> None:
    """Run one of the commands."""
    args = parser().parse_args(argv)
    run = {"export": _export, "check": _check, "push": _push}.get(args.command, _make)
    try:
        print(printable(run(args)))
    except (InputError, OSError) as error:  # OSError: CheckpointError, and what the machine does not let us do
        sys.exit(f"modeling_paraclip: {error}")
    except KeyboardInterrupt:  # all that is written or sent appears at once, or not at all
        sys.exit("\nmodeling_paraclip: stopped. Nothing is half done; give the command again to go on.")


def _make(args: argparse.Namespace) -> str:
    """The commands that write a model."""
    sources = [getattr(args, name, None) for name in ("checkpoint", "base", "tuned")]
    with claimed(args.output, sources=tuple(source for source in sources if source)):
        check_output_dir(args.output, overwrite=None)
        if args.command == "publish":
            publish_checkpoint(args.checkpoint, args.output, args.base)
        elif args.command == "from-open-clip":
            from_open_clip(args.checkpoint, args.output, activation=args.activation, tokenizer=args.tokenizer)
        else:
            kind = DUAL_ENCODERS.get(open_config(args.base).model_type, AutoModel)
            models = [open_model(kind, name) for name in (args.base, args.tuned)]
            open_processor(args.base)  # it is published too, and has to open
            with staged(args.output) as aside:
                write_model(interpolate(models[0], models[1], args.alpha), args.base, aside)
    kind = DUAL_ENCODERS[open_config(args.output).model_type]
    return f"{args.output} is ready: {kind.__name__}.from_pretrained({args.output!r})"


def _export(args: argparse.Namespace) -> str:
    return "\n".join(export_model(args.model, args.application, args.output, args.base))


def _check(args: argparse.Namespace) -> str:
    found = [*check(args.model, args.base), *check_exports(args.model, args.exports)]
    lines = [f"{'ok    ' if holds else 'FAILED'}  {promise}: {said}" for promise, said, holds in found]
    if not all(holds for _, _, holds in found):
        print(printable("\n".join(lines)))
        raise InputError(f"{args.model} is not what it promises to be.")
    return "\n".join(lines)


def _push(args: argparse.Namespace) -> str:
    failed = [f"{promise}: {said}" for promise, said, holds in check(args.model) if not holds]
    if failed:
        raise InputError(f"{args.model} is not uploaded: {failed[0]}")
    repo_id = full_repo_id(args.repo_id)
    address = upload(args.model, repo_id, pictures=args.pictures, private=args.private or None, tag=args.tag)
    return f"pushed to {address}"


if __name__ == "__main__":
    main()
