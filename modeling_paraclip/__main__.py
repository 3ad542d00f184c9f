"""`python -m modeling_paraclip BASE TUNED --alpha 0.5 --output DIR`: a text tower between two."""

from __future__ import annotations

import argparse
import sys

from transformers import AutoProcessor, CLIPModel

from .interop import interpolate


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m modeling_paraclip",
        description="Write the CLIP whose text tower lies between a base's and a tuned one's (WiSE-FT, Wortsman et "
        "al. 2022). Which alpha is best is for a validation set to say: python -m eval --interpolate 0.25,0.5,0.75.",
    )
    parser.add_argument("base", help="folder or Hub id")
    parser.add_argument("tuned", help="folder or Hub id of what was tuned from it")
    parser.add_argument("--alpha", type=float, required=True, help="0 is the base, 1 the tuned model")
    parser.add_argument("--output", required=True, help="folder to write")
    args = parser.parse_args(argv)
    try:
        models = [
            CLIPModel.from_pretrained(name, dtype="auto", use_safetensors=True) for name in (args.base, args.tuned)
        ]
        interpolate(*models, args.alpha).save_pretrained(args.output)
        AutoProcessor.from_pretrained(args.base).save_pretrained(args.output)
    except (ValueError, OSError) as error:
        sys.exit(f"modeling_paraclip: {error}")
    print(f"{args.output} is ready: CLIPModel.from_pretrained({args.output!r})")


if __name__ == "__main__":
    main()
