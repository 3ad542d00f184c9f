"""`python -m eval`: any number of models on the same tasks, side by side."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import numpy as np

from modeling_paraclip.image_embeds import DEFAULT_CACHE_DIR, open_picture

from . import report, suite
from .encoders import Encoder, load_between, load_encoder
from .tasks.paraphrased_retrieval import triples_in

HELP = """Measure any number of CLIP models on the same tasks, side by side.

  python -m eval --models openai/clip-vit-base-patch32 paraclip-out --tasks sts,aro --data DIR --output results.json

Models: folders or Hub ids (CLIP, VisionTextDualEncoder; for the text tasks any sentence encoder), or
openclip:ARCH/PRETRAINED. Tasks: {tasks}.
Without --data the data sets come from the Hub, at pinned revisions. What each task measures, and the files it reads
from DIR, stands at the top of eval/tasks/NAME.py and in docs/evaluation.md. Differences are from the first model.
"""


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m eval",
        description=HELP.format(tasks=", ".join(suite.TASKS)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", nargs="+", required=True, help="the first is what the others are compared with")
    parser.add_argument(
        "--tasks", default="all", help="names, with commas between them; all: those whose data are there"
    )
    parser.add_argument(
        "--interpolate",
        help="of two models of one base: also those whose text tower lies so far between them, as 0.25,0.5,0.75",
    )
    parser.add_argument("--data", help="folder of local data sets; default: the Hub")
    parser.add_argument("--output", help="results file to write (JSON, fractions)")
    parser.add_argument("--report", help="the table as Markdown, to write")
    parser.add_argument("--plots", help="folder for plots and the picture sheet (needs matplotlib)")
    parser.add_argument("--card", help="model card of the last model, whose model-index gets its figures")
    parser.add_argument("--device", help="cpu, cuda, ...; default: a GPU where there is one")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of the models")
    parser.add_argument("--max_tokens", type=int, default=4096, help="of a chunk of texts, padding included")
    parser.add_argument("--num_workers", type=int, help="decoding processes; default: a core each but one")
    parser.add_argument("--cache_dir", default=str(DEFAULT_CACHE_DIR), help="where embeddings are kept between runs")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    tasks = list(suite.TASKS) if args.tasks == "all" else args.tasks.split(",")
    unknown = [task for task in tasks if task not in suite.TASKS]
    if unknown:
        parser.error(f"--tasks {','.join(unknown)}: unknown; known are {', '.join(suite.TASKS)}.")
    if args.data and not Path(args.data).is_dir():
        parser.error(f"--data {args.data}: no such folder.")

    alphas = [float(alpha) for alpha in args.interpolate.split(",")] if args.interpolate else []
    if alphas and len(args.models) != 2:
        parser.error(f"--interpolate: takes two --models, a base and a tuned one; here are {len(args.models)}.")

    encoders, by_model, not_run = [], [], {}
    options = {"cache_dir": args.cache_dir, "max_tokens": args.max_tokens, "num_workers": args.num_workers}
    for model in [args.models[0], *alphas, *args.models[1:]]:
        try:
            if isinstance(model, float):
                encoder = load_between(*args.models, model, device=args.device, dtype=args.dtype, **options)
            else:
                encoder = load_encoder(model, device=args.device, dtype=args.dtype, **options)
            if encoder.name in {known.name for known in encoders}:
                encoder.name = model  # two folders of one name
            measurements, skipped = suite.evaluate(encoder, tasks, args.data, skip_missing=args.tasks == "all")
        except (ValueError, OSError) as error:
            sys.exit(f"eval: {model}: {error}")
        if not measurements:
            sys.exit(f"eval: {model}: no task could be run: {'; '.join(f'{k}: {v}' for k, v in skipped.items())}")
        encoders.append(encoder)
        by_model.append(measurements)
        not_run |= skipped
    print(report.side_by_side(by_model))
    for task, reason in not_run.items():
        print(f"not run: {task}: {reason}")
    if args.output:
        report.write_results(Path(args.output), [m for measurements in by_model for m in measurements])
    if args.report:
        Path(args.report).write_text(report.side_by_side(by_model, markdown=True) + "\n", encoding="utf-8")
    if args.plots:
        for path in report.write_plots(Path(args.plots), by_model):
            print(path)
        if args.data and "paraphrased_retrieval" in {m.task for m in by_model[0]} and len(encoders) > 1:
            print(_picture_sheet(Path(args.plots) / "rankings.png", encoders[:2], Path(args.data)))
    if args.card:
        report.add_to_card(Path(args.card), by_model[-1])


def _picture_sheet(path: Path, encoders: list[Encoder], data_dir: Path) -> Path:
    """The queries of the first set of triples whose first ten results changed most between two models."""
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
