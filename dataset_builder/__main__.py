"""`python -m dataset_builder`: from captions to a paraphrase corpus on the Hub."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import logging
import math
import sys
from collections.abc import Iterator
from pathlib import Path

from tqdm.auto import tqdm

from . import captions, corpus
from .filters import Limits, Rejected, check_caption
from .generators import Fatal
from .journal import Journal
from .paraphrase import PROMPT_1, PROMPT_2, SAMPLING, Paraphraser, Source, progress_bar

HELP = """From captions to a paraphrase corpus on the Hub: x -> x' -> x'' (ParaCLIP, Kim et al. 2024).

  python -m dataset_builder paraphrase --captions captions.txt --output my-corpus --generator rules
      offline, by rule: to try the job

  python -m dataset_builder paraphrase --captions captions.parquet --output my-corpus \\
      --generator openai --base_url http://127.0.0.1:8000/v1 --model Qwen/Qwen3-8B --concurrency 64
      any OpenAI-compatible endpoint (vLLM, TGI, llama.cpp, transformers serve, OpenAI); key: OPENAI_API_KEY

  python -m dataset_builder stats my-corpus
  python -m dataset_builder export my-corpus --format jsonl --output pairs.jsonl
  python -m dataset_builder publish my-corpus you/paraclip-paraphrases --license cc-by-4.0

Stop `paraphrase` any way you like and give the same command again: it goes on where it was, and pays for no answer
twice.
"""


def parser() -> argparse.ArgumentParser:
    main = argparse.ArgumentParser(
        prog="python -m dataset_builder", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = main.add_subparsers(dest="command", required=True)

    run = commands.add_parser(
        "paraphrase",
        help="write two generations of paraphrases",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    source = run.add_argument_group("captions")
    which = source.add_mutually_exclusive_group(required=True)
    which.add_argument("--captions", help="a .txt (a caption a line), .jsonl, .csv or .parquet file")
    which.add_argument("--dataset_name", help="or a data set's folder or Hub id, which is streamed")
    source.add_argument("--dataset_split", default="train", help="its split")
    source.add_argument("--caption_column", default="caption", help="the column of the captions")
    source.add_argument(
        "--image_id_column", default="image_id", help="the column that names the picture, if there is one"
    )
    source.add_argument("--limit", type=int, help="only the first so many rows")
    run.add_argument("--output", required=True, help="folder of the corpus: the journal is kept in it")

    generator = run.add_argument_group("generator")
    generator.add_argument("--generator", choices=("openai", "transformers", "rules"), required=True)
    generator.add_argument("--model", help="name of the model, or its folder or Hub id (openai, transformers)")
    generator.add_argument("--base_url", help="address of the endpoint, as a rule with /v1 (openai)")
    generator.add_argument("--concurrency", type=int, default=64, help="calls in flight")
    generator.add_argument("--max_retries", type=int, default=8, help="budget of retries of a call (openai)")
    generator.add_argument("--timeout", type=float, default=120.0, help="seconds a call may take (openai)")
    generator.add_argument("--gguf_file", help="file name, where the model is a GGUF (transformers)")
    generator.add_argument("--batch_size", type=int, default=16, help="prompts at once (transformers)")
    generator.add_argument(
        "--temperature", type=float, default=SAMPLING["temperature"], help="the authors' by default"
    )
    generator.add_argument("--top_p", type=float, default=SAMPLING["top_p"], help="likewise")
    generator.add_argument("--max_tokens", type=int, default=SAMPLING["max_tokens"], help="likewise")
    generator.add_argument("--prompt_1", default=PROMPT_1, help="prompt of step 1; {} stands for the caption")
    generator.add_argument("--prompt_2", default=PROMPT_2, help="prompt of step 2; {} stands for the first paraphrase")

    filters = run.add_argument_group("filters")
    for limit in dataclasses.fields(Limits):
        filters.add_argument(f"--{limit.name}", type=type(limit.default), default=limit.default, help="see filters.py")
    filters.add_argument("--similarity_model", help="a sentence encoder (folder or Hub id), for the two similarities")

    scale = run.add_argument_group("running")
    scale.add_argument("--runner", choices=("local", "ray"), default="local", help="ray: many machines, by Ray Data")
    scale.add_argument("--partitions", type=int, default=2, help="into how many parts ray divides the rows")
    scale.add_argument("--dry_run", action="store_true", help="show the first prompts and an estimate; call nothing")
    scale.add_argument("--price_in", type=float, help="price of a million tokens in, to show the cost")
    scale.add_argument("--price_out", type=float, help="price of a million tokens out")

    export = commands.add_parser("export", help="write the finished rows to one file")
    export.add_argument("corpus", help="folder of the corpus")
    export.add_argument("--format", choices=("parquet", "jsonl"), default="parquet", help="jsonl: the authors' schema")
    export.add_argument("--output", required=True, help="file to write")

    stats = commands.add_parser("stats", help="tell what is there, what was dropped and why")
    stats.add_argument("corpus", help="folder of the corpus")
    stats.add_argument("--json", action="store_true", help="as JSON")

    publish = commands.add_parser("publish", help="push it to the Hub, with a card")
    publish.add_argument("corpus", help="folder of the corpus")
    publish.add_argument("repo_id", help="org/name")
    publish.add_argument(
        "--license", required=True, help="yours to choose: an identifier of the Hub, such as cc-by-4.0"
    )
    publish.add_argument("--config_name", default="default", help="name of this config in the repository")
    publish.add_argument("--validation_percentage", type=float, default=1.0, help="percent of the pictures held back")
    publish.add_argument("--private", action="store_true", help="create the repository as a private one")
    return main


def rows_of(args: argparse.Namespace) -> Iterator[Source]:
    columns = {"caption_column": args.caption_column, "image_id_column": args.image_id_column}
    if args.captions:
        rows = captions.read_captions(args.captions, **columns)
    else:
        rows = captions.read_dataset(args.dataset_name, args.dataset_split, **columns)
    return (row for _, row in zip(range(args.limit), rows)) if args.limit is not None else rows


def generator_of(args: argparse.Namespace):
    if args.generator == "rules":
        from .generators.rules import RulesGenerator

        return RulesGenerator()
    if not args.model:
        raise ValueError(f"--generator {args.generator} needs --model.")
    if args.generator == "openai":
        from .generators.openai import OpenAIGenerator

        return OpenAIGenerator(
            args.model,
            args.base_url,
            sampling=sampling_of(args),
            concurrency=args.concurrency,
            max_retries=args.max_retries,
            timeout=args.timeout,
        )
    from .generators.transformers import TransformersGenerator

    return TransformersGenerator(
        args.model, sampling=sampling_of(args), gguf_file=args.gguf_file, batch_size=args.batch_size
    )


def sampling_of(args: argparse.Namespace) -> dict:
    return {} if args.generator == "rules" else {name: getattr(args, name) for name in SAMPLING}


def limits_of(args: argparse.Namespace) -> Limits:
    return Limits(**{limit.name: getattr(args, limit.name) for limit in dataclasses.fields(Limits)})


def recipe_of(args: argparse.Namespace, generator) -> dict:
    """All that decides what comes out, as the corpus and its card tell it."""
    return {
        "generator": args.generator,
        "model": generator.identity["model"],
        "sampling": sampling_of(args),
        "prompts": [args.prompt_1, args.prompt_2],
        "limits": dataclasses.asdict(limits_of(args)),
        "similarity_model": args.similarity_model,
    }


def paraphrase(
    args: argparse.Namespace,
    rows: Iterator[Source],
    journal_name: str = "journal.sqlite",
    total: int | None = None,
):
    """Run the job over `rows` (`total` of them) in this process, with a progress bar. Returns its `Progress`."""
    generator = generator_of(args)
    similarity = None
    if args.similarity_model:
        from .similarity import SentenceSimilarity

        similarity = SentenceSimilarity(args.similarity_model)

    def price(progress) -> float | None:
        if args.price_in is None and args.price_out is None:
            return None
        return ((args.price_in or 0) * progress.tokens_in + (args.price_out or 0) * progress.tokens_out) / 1e6

    async def run():
        paraphraser = Paraphraser(
            generator,
            journal,
            prompts=(args.prompt_1, args.prompt_2),
            limits=limits_of(args),
            concurrency=args.concurrency,
            similarity=similarity,
        )
        bar, show = progress_bar(paraphraser, total, price)
        try:
            return await paraphraser.run(rows, show)
        finally:
            show(paraphraser.progress)
            bar.close()
            await generator.close()

    journal = Journal(Path(args.output) / journal_name, recipe_of(args, generator))
    try:
        return asyncio.run(run())
    finally:
        journal.close()


def dry_run(args: argparse.Namespace) -> None:
    """The first three prompts, and what all would cost: 4 characters a token, an answer as long as its text."""
    shown = count = characters = 0
    for idx, image_id, caption in tqdm(rows_of(args), unit="row", desc="Reading"):
        count += 1
        try:
            text = check_caption(caption, limits_of(args))
        except Rejected as error:
            if count <= 20:
                print(f"row {idx} ({image_id}): {caption!r} would be rejected: {error}")
            continue
        characters += len(text)
        if shown < 3:
            shown += 1
            print(f"row {idx} ({image_id})\n  step 1: {args.prompt_1.replace('{}', text, 1)}")
            print(f"  step 2: {args.prompt_2.replace('{}', '<the answer to step 1>', 1)}")
    tokens_out = math.ceil(2 * characters / 4)
    tokens_in = tokens_out + math.ceil(count * (len(args.prompt_1) + len(args.prompt_2)) / 4)
    cost = ((args.price_in or 0) * tokens_in + (args.price_out or 0) * tokens_out) / 1e6
    print(
        f"{count:,} rows, about {tokens_in:,} tokens in and {tokens_out:,} out"
        + (f", cost {cost:.2f}" if cost else "")
    )


def run_paraphrase(args: argparse.Namespace) -> None:
    for name in ("prompt_1", "prompt_2"):
        if getattr(args, name).count("{}") != 1:
            raise ValueError(f"--{name}: needs exactly one {{}}, which stands for the text.")
    if args.concurrency < 1:
        raise ValueError("--concurrency: at least 1.")
    if args.dry_run:
        dry_run(args)
    elif args.runner == "ray":
        from .ray_runner import run_on_ray

        run_on_ray(args)
    else:
        rows = rows_of(args)  # first, as it names what is wrong with the file
        total = captions.count_rows(args.captions) if args.captions else None
        if args.limit is not None:
            total = args.limit if total is None else min(total, args.limit)
        paraphrase(args, rows, total=total)
    if not args.dry_run:
        print_statistics(corpus.statistics(args.output))


def print_statistics(info: dict) -> None:
    total = sum(info["rows"].values())
    print(f"{total:,} rows: " + ", ".join(f"{count:,} {status}" for status, count in sorted(info["rows"].items())))
    for reason, count in info["reasons"].items():
        print(f"  {count:>9,}  {count / total:6.1%}  {reason}")
    print(f"{info['answers']:,} answers, {info['tokens_in']:,} tokens in, {info['tokens_out']:,} out")
    if info["rows"].get("failed"):
        print("failed rows are tried again when you give the same command again")


def main(argv: list[str] | None = None) -> None:
    args = parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        if args.command == "paraphrase":
            run_paraphrase(args)
        elif args.command == "export":
            count = corpus.export(args.corpus, args.output, args.format)
            print(f"{args.output}: {count:,} rows")
        elif args.command == "stats":
            info = corpus.statistics(args.corpus)
            print(json.dumps(info, indent=1)) if args.json else print_statistics(info)
        else:
            url = corpus.publish(
                args.corpus,
                args.repo_id,
                license=args.license,
                config_name=args.config_name,
                validation_percentage=args.validation_percentage,
                private=args.private,
            )
            print(f"published: {url}")
    except (ValueError, OSError, Fatal) as error:
        sys.exit(f"dataset_builder: {error}")
    except KeyboardInterrupt:
        sys.exit("\nstopped; what was answered is kept. Give the same command again to go on.")


if __name__ == "__main__":
    main()
