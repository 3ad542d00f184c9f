"""`python -m dataset_builder`: from captions to a paraphrase corpus on the Hub."""

from __future__ import annotations

import argparse
import functools
import json
import logging
import math
import sys
from pathlib import Path

from tqdm.auto import tqdm

from . import corpus, job
from .errors import InputError, printable, short
from .filters import Limits, Rejected, check_caption
from .generators import Fatal, add_model_arguments, openai, rules, transformers
from .paraphrase import PROMPT_1, PROMPT_2

GENERATORS = {"openai": openai, "transformers": transformers, "rules": rules}
PROG = "python -m dataset_builder"
HELP = """From captions to a paraphrase corpus on the Hub: x -> x' -> x'' (ParaCLIP, Kim et al. 2024).

1. See the prompts and what they would cost. Nothing is called and nothing is written:
     python -m dataset_builder paraphrase --captions captions.txt --output my-corpus --generator rules --dry_run
2. Write the paraphrases, offline by rule to try the job, or with a language model at an endpoint:
     python -m dataset_builder paraphrase --captions captions.txt --output my-corpus --generator rules
     python -m dataset_builder paraphrase --captions captions.parquet --output my-corpus \\
         --generator openai --base_url http://127.0.0.1:8000/v1 --model Qwen/Qwen3-8B
3. See what was dropped and why, then write a file to train on, or publish the corpus:
     python -m dataset_builder stats my-corpus
     python -m dataset_builder export my-corpus --format jsonl --output pairs.jsonl
     python -m dataset_builder publish my-corpus you/paraclip-paraphrases --license cc-by-4.0

`python -m dataset_builder paraphrase --help` explains its options. You can stop it at any moment and give the same
command again: it goes on where it was, and no answer is paid for twice.
"""
PARAPHRASE = """Write two paraphrases of each caption: x' paraphrases the caption x, and x'' paraphrases x'.

Every answer is kept in OUTPUT/journal.sqlite as soon as it comes. Give the same command again to go on after a stop,
and to retry rows that failed. With other prompts or filters the rows are made again; answers to requests that did not
change are taken from the journal.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        super().error(printable(message))


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def say(text: str) -> None:
    """Print for a person: other people's text in it cannot move the cursor."""
    encoding = sys.stdout.encoding or "utf-8"
    print(printable(text).encode(encoding, "backslashreplace").decode(encoding))


def parser() -> argparse.ArgumentParser:
    """Declare the command line."""
    main = _Parser(prog=PROG, description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = main.add_subparsers(dest="command", required=True, metavar="COMMAND")
    paraphrase = commands.add_parser(
        "paraphrase",
        help="write two paraphrases of each caption",
        description=PARAPHRASE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_captions(paraphrase)
    _add_generator(paraphrase)
    _add_filters(paraphrase)
    _add_running(paraphrase)
    _add_export(commands)
    _add_stats(commands)
    _add_publish(commands)
    return main


def _add_captions(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("captions")
    which = group.add_mutually_exclusive_group(required=True)
    which.add_argument("--captions", help="a .txt file (one caption per line), or a .jsonl, .csv or .parquet file")
    which.add_argument("--dataset_name", help="or the folder or Hub id of a data set, which is streamed")
    group.add_argument("--dataset_split", default="train", help="split of the data set (default: %(default)s)")
    group.add_argument("--caption_column", default="caption", help="column of the captions (default: %(default)s)")
    group.add_argument(
        "--image_id_column",
        default="image_id",
        help="column that names the picture; without it the row number is taken (default: %(default)s)",
    )
    group.add_argument("--limit", type=int, help="read only the first LIMIT rows, e.g. 1000 to try (default: all)")
    group.add_argument("--output", required=True, help="folder of the corpus; the journal is kept in it")


def _add_generator(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("generator")
    group.add_argument(
        "--generator",
        choices=tuple(GENERATORS),
        required=True,
        help="openai: any OpenAI-compatible endpoint (vLLM, TGI, llama.cpp, transformers serve, OpenAI); "
        "transformers: a model on this machine; rules: synonyms and syntax, offline, to try the job",
    )
    add_model_arguments(group)
    group.add_argument(
        "--prompt_1", default=PROMPT_1, help="prompt of step 1; {} stands for the caption (default: %(default)s)"
    )
    group.add_argument(
        "--prompt_2",
        default=PROMPT_2,
        help="prompt of step 2; {} stands for the first paraphrase (default: %(default)s)",
    )
    for name, backend in GENERATORS.items():
        backend.add_arguments(parser.add_argument_group(f"generator {name}"))


def _add_filters(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("filters", "What a filter drops is counted by reason: see the command stats.")
    default = Limits()
    group.add_argument(
        "--min_words", type=int, default=default.min_words, help="drop captions of fewer words (default: %(default)s)"
    )
    group.add_argument(
        "--max_words", type=int, default=default.max_words, help="drop captions of more words (default: %(default)s)"
    )
    group.add_argument(
        "--max_length_ratio",
        type=float,
        default=default.max_length_ratio,
        help="drop a paraphrase that is this many times longer or shorter than its text (default: %(default)s)",
    )
    group.add_argument(
        "--similarity_model",
        help="folder or Hub id of a sentence encoder, e.g. sentence-transformers/all-MiniLM-L6-v2. It compares each "
        "paraphrase with its text, for the two limits below (default: none, no comparison)",
    )
    group.add_argument(
        "--min_similarity",
        type=float,
        default=default.min_similarity,
        help="drop a paraphrase whose cosine similarity is lower: it means something else. 0.6 is a mild limit "
        "(default: %(default)s, drop none)",
    )
    group.add_argument(
        "--max_similarity",
        type=float,
        default=default.max_similarity,
        help="drop a paraphrase whose cosine similarity is higher: it is a copy (default: %(default)s, drop none)",
    )


def _add_running(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("running")
    group.add_argument("--concurrency", type=int, default=64, help="calls in flight at once (default: %(default)s)")
    group.add_argument("--dry_run", action="store_true", help="show the first prompts and an estimate; call nothing")
    group.add_argument("--price_in", type=float, help="price of a million tokens in, to show the cost")
    group.add_argument("--price_out", type=float, help="price of a million tokens out, to show the cost")
    group.add_argument(
        "--runner",
        choices=("local", "ray"),
        default="local",
        help="local: this process; ray: many machines, by Ray Data (default: %(default)s)",
    )
    group.add_argument(
        "--partitions",
        type=int,
        default=2,
        help="into how many parts ray divides the rows; keep it when you start again (default: %(default)s)",
    )


def _add_export(commands) -> None:
    export = commands.add_parser(
        "export",
        help="write the finished rows to one file",
        description="Write the finished rows to one file, e.g. for `train.py --train_file`.",
    )
    export.add_argument("corpus", help="folder of the corpus")
    export.add_argument(
        "--format",
        choices=("parquet", "jsonl"),
        default="parquet",
        help="parquet: with the model that wrote each row; jsonl: as the authors' script (default: %(default)s)",
    )
    export.add_argument("--output", required=True, help="file to write")


def _add_stats(commands) -> None:
    stats = commands.add_parser(
        "stats",
        help="show what there is, what was dropped and why",
        description="Show how many rows are done, failed (retried by the next run) or rejected, and why.",
    )
    stats.add_argument("corpus", help="folder of the corpus")
    stats.add_argument("--json", action="store_true", help="print JSON")


def _add_publish(commands) -> None:
    publish = commands.add_parser(
        "publish",
        help="push the corpus to the Hub, with a card",
        description="Push the finished rows to the Hub as Parquet, with a card that says how they were made. Log in "
        "first, with `hf auth login` or HF_TOKEN.",
    )
    publish.add_argument("corpus", help="folder of the corpus")
    publish.add_argument("repo_id", help="the data set's name on the Hub: org/name")
    publish.add_argument("--license", required=True, help="an identifier of the Hub, e.g. cc-by-4.0; yours to choose")
    publish.add_argument(
        "--config_name",
        default="default",
        help="name of this corpus among those of the repository; others are kept (default: %(default)s)",
    )
    publish.add_argument(
        "--validation_percentage",
        type=float,
        default=1.0,
        help="percentage of the pictures that go to the split validation (default: %(default)s)",
    )
    publish.add_argument("--private", action="store_true", help="create the repository as a private one")


def job_of(args: argparse.Namespace) -> job.Job:
    """Return the job that `paraphrase` was asked for. Raises InputError."""
    return job.Job(
        output=Path(args.output),
        generator=args.generator,
        make_generator=functools.partial(GENERATORS[args.generator].from_args, args),
        captions=args.captions,
        dataset_name=args.dataset_name,
        dataset_split=args.dataset_split,
        caption_column=args.caption_column,
        image_id_column=args.image_id_column,
        limit=args.limit,
        prompts=(args.prompt_1, args.prompt_2),
        limits=Limits(
            min_words=args.min_words,
            max_words=args.max_words,
            max_length_ratio=args.max_length_ratio,
            min_similarity=args.min_similarity,
            max_similarity=args.max_similarity,
        ),
        similarity_model=args.similarity_model,
        concurrency=args.concurrency,
        price_in=args.price_in,
        price_out=args.price_out,
    )


def dry_run(todo: job.Job) -> None:
    """Print the first three prompts and an estimate: 4 characters per token, answers as long as their texts."""
    shown = count = characters = 0
    for idx, image_id, caption in tqdm(todo.rows(), unit="row", desc="Reading"):
        count += 1
        try:
            text = check_caption(caption, todo.limits)
        except Rejected as error:
            if count <= 20:
                say(f"row {idx + 1} ({image_id}): {caption!r:.200} would be rejected: {error}")
            continue
        characters += len(text)
        if shown < 3:
            shown += 1
            say(f"row {idx + 1} ({image_id})\n  step 1: {todo.prompts[0].replace('{}', text, 1)}")
            say(f"  step 2: {todo.prompts[1].replace('{}', '<the answer to step 1>', 1)}")
    tokens_out = math.ceil(2 * characters / 4)
    tokens_in = tokens_out + math.ceil(count * sum(map(len, todo.prompts)) / 4)
    cost = todo.cost(tokens_in, tokens_out)
    say(
        f"{count:,} rows, about {tokens_in:,} tokens in and {tokens_out:,} out"
        + (f", cost {cost:.2f}" if cost is not None else "")
    )


def paraphrase(args: argparse.Namespace) -> None:
    """Run the command `paraphrase`."""
    todo = job_of(args)
    if args.dry_run:
        dry_run(todo)
        return
    if args.runner == "ray":
        from .ray_runner import run_on_ray

        run_on_ray(todo, args.partitions)
    else:
        job.run(todo)
    print_statistics(corpus.statistics(args.output))


def print_statistics(info: dict) -> None:
    """Print what `corpus.statistics` gives."""
    total = sum(info["rows"].values())
    say(f"{total:,} rows: " + ", ".join(f"{count:,} {status}" for status, count in sorted(info["rows"].items())))
    for reason, count in info["reasons"].items():
        say(f"  {count:>9,}  {count / total:6.1%}  {reason}")
    say(f"{info['answers']:,} answers, {info['tokens_in']:,} tokens in, {info['tokens_out']:,} out")
    if info["rows"].get("failed"):
        say("Give the same command again to retry the failed rows.")


def _run(args: argparse.Namespace) -> None:
    if args.command == "paraphrase":
        paraphrase(args)
    elif args.command == "export":
        count = corpus.export(args.corpus, args.output, args.format)
        say(f"{args.output}: {count:,} rows")
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
        say(f"published: {url}")


def main(argv: list[str] | None = None) -> None:
    """Run a command; what a user can fix ends it with one sentence."""
    args = parser().parse_args(argv)
    handler = logging.StreamHandler()
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for name in ("datasets", "huggingface_hub", "transformers"):  # these have handlers of their own
        for own in (handler, *logging.getLogger(name).handlers):
            own.setFormatter(_Formatter("%(message)s"))
    try:
        _run(args)
    except BrokenPipeError:  # e.g. `stats | head`
        sys.stdout = None  # type: ignore[assignment]
        sys.exit(1)
    except (InputError, Fatal, OSError) as error:  # OSError: whatever else the machine does not let us do
        sys.exit(f"{PROG}: {short(error)}")
    except KeyboardInterrupt:
        sys.exit("\nStopped. What was answered is kept; give the same command again to go on.")


if __name__ == "__main__":
    main()
