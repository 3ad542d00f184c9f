"""`python -m dataset_builder`: from captions to a paraphrase corpus on the Hub."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from . import corpus, job, options
from .errors import InputError, printable, short
from .generators import Fatal
from .paraphrase import leading_reason
from .records import journals, lost_rows
from .report import has_failed, print_lost, print_statistics, say

PROG = "python -m dataset_builder"
NOT_ALL = 3  # exit status: see HELP
HELP = """From captions to a paraphrase corpus on the Hub: x -> x' -> x'' (ParaCLIP, Kim et al. 2024).

1. See the prompts, what is left to ask and what it would cost. Nothing is called and nothing is written:
     python -m dataset_builder paraphrase --captions captions.txt --output my-corpus --generator rules --dry_run
2. Write the paraphrases: offline by rule to try the job, with a language model at an endpoint, or by batch files:
     python -m dataset_builder paraphrase --captions captions.txt --output my-corpus --generator rules
     python -m dataset_builder paraphrase --captions captions.parquet --output my-corpus \\
         --generator openai --base_url http://127.0.0.1:8000/v1 --model Qwen/Qwen3-8B \\
         --extra_body '{"chat_template_kwargs": {"enable_thinking": false}}'
     python -m dataset_builder requests --captions captions.parquet --output my-corpus --model gpt-4.1-mini
     python -m dataset_builder import-answers my-corpus batch_output.jsonl
3. See what was dropped and why, then write a file to train on, or publish the corpus:
     python -m dataset_builder stats my-corpus
     python -m dataset_builder rejected my-corpus --reason refused
     python -m dataset_builder export my-corpus --format jsonl --output pairs.jsonl
     python -m dataset_builder publish my-corpus you/paraclip-paraphrases --license cc-by-4.0

`python -m dataset_builder COMMAND --help` explains the options of a command. You can stop `paraphrase` at any moment
and give the same command again: it goes on where it was, and no answer is paid for twice.

Exit status: 1 if the command was refused or stopped, with a sentence that says why; 2 for options that do not exist;
3 if rows of the corpus failed or none at all could be made, or if lines of results could not be used; else 0.
"""
PARAPHRASE = """Write two paraphrases of each caption: x' paraphrases the caption x, and x'' paraphrases x'.

Every answer is kept in OUTPUT/journal.sqlite as soon as it comes. Give the same command again to go on after a stop,
and to retry rows that failed. With other prompts or filters the rows are made again; answers to requests that did not
change are taken from the journal, and the number of calls that are left is said before the first. Another --max_tokens
asks again only what was cut.

With --negatives a third prompt asks for a text of nearly the caption's words that is not true of its picture, e.g.
"a cat chases a dog" for "a dog chases a cat". It becomes the column negative, which `train.py --negative_weight` uses.
A triple whose negative is dropped is kept without it.
"""
REQUESTS = """Write what is still to be asked to a file, for a batch API: OpenAI's, at half the price, or vLLM's, which
needs no server.

1. Write the requests of step 1:
     python -m dataset_builder requests --captions captions.jsonl --output my-corpus --model gpt-4.1-mini
2. Have them answered: upload my-corpus/requests.jsonl to the Batch API, for the endpoint /v1/chat/completions, or
     vllm run-batch -i my-corpus/requests.jsonl -o results.jsonl --model MODEL      (the same one as in 1)
3. Take the results in, errors too:
     python -m dataset_builder import-answers my-corpus results.jsonl
4. Give the first command again. It settles the rows that have their answers, and writes the requests of step 2 and
   those that failed. Go on until no request is left.

A request in a file that is still there, and whose result is not in, is not written again. The rows can also be
finished by `paraphrase --generator openai` with the same options, which asks an endpoint for what is left.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        super().error(printable(message))


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


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
    options.add_captions(paraphrase)
    options.add_generator(paraphrase)
    options.add_filters(paraphrase)
    _add_calling(options.add_running(paraphrase))
    _add_batches(commands)
    _add_export(commands)
    _add_stats(commands)
    _add_rejected(commands)
    _add_publish(commands)
    return main


def _add_calling(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--concurrency",
        type=int,
        default=64,
        help="calls in flight at once, in all parts together (default: %(default)s)",
    )
    group.add_argument(
        "--dry_run",
        action="store_true",
        help="show the first prompts, and what is left to ask at what price; call nothing and write nothing",
    )
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


def _add_batches(commands) -> None:
    requests = commands.add_parser(
        "requests",
        help="write what is still to be asked to a file, for a batch API",
        description=REQUESTS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_captions(requests)
    options.add_generator(requests, ("openai",))
    options.add_filters(requests)
    options.add_running(requests).add_argument(
        "--requests_file",
        help="file to write, ending in .jsonl; where it is there already, and past 50,000 requests or 200 MB, its "
        "name gets -2, -3 ... (default: requests.jsonl in OUTPUT)",
    )
    requests.set_defaults(concurrency=64)
    answers = commands.add_parser(
        "import-answers",
        help="take the results of a batch API into the corpus",
        description="Take files of results, with answers and errors, into the corpus. Nothing is taken twice. Then "
        "give the command `requests` again: it settles the rows, and writes what is left to ask.",
    )
    answers.add_argument("corpus", help="folder of the corpus")
    answers.add_argument(
        "results", nargs="+", metavar="FILE", help="what the batch API or `vllm run-batch -o FILE` wrote"
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


def _add_rejected(commands) -> None:
    rejected = commands.add_parser(
        "rejected",
        help="list the rows that were dropped, with the answers as they came",
        description="List the rows that are rejected or failed: caption, step, reason, and the answer as it came.",
    )
    rejected.add_argument("corpus", help="folder of the corpus")
    rejected.add_argument(
        "--reason", help="only those of this reason, e.g. refused or 'step 2: refused' (default: all)"
    )
    rejected.add_argument(
        "--format",
        choices=("table", "jsonl"),
        default="table",
        help="table: cut to fit a line; jsonl: all of it (default: %(default)s)",
    )


def _add_publish(commands) -> None:
    publish = commands.add_parser(
        "publish",
        help="push the corpus to the Hub, with a card",
        description="Push the finished rows to the Hub as Parquet, with a card that says how they were made. Log in "
        "first, with `hf auth login` or HF_TOKEN. After a stop, give the same command again: what has arrived is not "
        "sent again.",
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
    publish.add_argument(
        "--private",
        action="store_true",
        help="keep a repository that is made here private (default: private until all is there, then public)",
    )
    publish.add_argument("--revision", help="branch to push to; made if it is not there (default: main)")
    publish.add_argument("--tag", help="name for what was pushed, e.g. v1.0, for load_dataset(..., revision=TAG)")


def paraphrase(args: argparse.Namespace) -> int:
    """Run the command `paraphrase`. Returns the exit status."""
    todo = options.job_of(args)
    if args.dry_run:
        job.dry_run(todo, say)
        return 0
    progress = None
    if args.runner == "ray":
        from .ray_runner import run_on_ray

        run_on_ray(todo, args.partitions, say)
    else:
        progress = job.run(todo, tell=say)
    info = corpus.statistics(args.output)
    print_statistics(info)
    is_empty = bool(info["rows"]) and not info["rows"].get("done")
    if progress and progress.reasons and is_empty:
        say(leading_reason(progress.reasons, progress.examples))
    return NOT_ALL if has_failed(info) or is_empty else 0


def requests(args: argparse.Namespace) -> int:
    """Run the command `requests`. Returns the exit status."""
    from .batch import write_requests

    path = Path(args.requests_file or Path(args.output) / "requests.jsonl")
    if path.suffix != ".jsonl":
        raise InputError(f"--requests_file {path}: must end in .jsonl, as batch APIs want it.")
    write_requests(options.job_of(args), path, say)
    return 0


def import_answers(args: argparse.Namespace) -> int:
    """Run the command `import-answers`. Returns the exit status."""
    from . import batch

    imported = batch.import_answers(args.corpus, args.results)
    for line in imported.told():
        say(line)
    return NOT_ALL if imported.failed or imported.unknown or imported.unreadable else 0


def _run(args: argparse.Namespace) -> int:
    if args.command in ("paraphrase", "requests", "import-answers"):
        return {"paraphrase": paraphrase, "requests": requests, "import-answers": import_answers}[args.command](args)
    if args.command == "export":
        count = corpus.export(args.corpus, args.output, args.format)
        say(f"{args.output}: {count:,} rows")
    elif args.command == "stats":
        info = corpus.statistics(args.corpus)
        print(json.dumps(info, indent=1)) if args.json else print_statistics(info)
    elif args.command == "rejected":
        rows = (row for path in journals(args.corpus) for row in lost_rows(path, args.reason))
        print_lost(rows, as_table=args.format == "table")
    else:
        from .publishing import publish

        url = publish(
            args.corpus,
            args.repo_id,
            license=args.license,
            config_name=args.config_name,
            validation_percentage=args.validation_percentage,
            private=args.private,
            revision=args.revision,
            tag=args.tag,
        )
        say(f"published: {url}")
    return 0


def main(argv: list[str] | None = None) -> None:
    """Run a command; what a user can fix ends it with one sentence."""
    args = parser().parse_args(argv)
    handler = logging.StreamHandler()
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for name in ("datasets", "huggingface_hub", "transformers"):  # these have handlers of their own
        for own in (handler, *logging.getLogger(name).handlers):
            own.setFormatter(_Formatter("%(message)s"))
    try:
        status = _run(args)
    except BrokenPipeError:  # e.g. `stats | head`
        sys.stdout = None  # type: ignore[assignment]
        sys.exit(1)
    except (InputError, Fatal, OSError) as error:  # OSError: whatever else the machine does not let us do
        sys.exit(f"{PROG}: {short(error)}")
    except KeyboardInterrupt:
        sys.exit("\nStopped. What was answered is kept; give the same command again to go on.")
    if status:
        sys.exit(status)


if __name__ == "__main__":
    main()
