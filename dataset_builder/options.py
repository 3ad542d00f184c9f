"""The options of a job on the command line, and the job that they make."""

from __future__ import annotations

import argparse
import functools
from pathlib import Path

from . import sources
from .errors import InputError
from .filters import Limits
from .generators import add_model_arguments, openai, rules, transformers
from .job import Job
from .paraphrase import PROMPT_1, PROMPT_2, PROMPT_3

GENERATORS = {"openai": openai, "transformers": transformers, "rules": rules}


def add_captions(parser: argparse.ArgumentParser) -> None:
    """Declare where captions come from, and where the corpus goes."""
    group = parser.add_argument_group("captions")
    which = group.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--captions",
        nargs="+",
        metavar="FILE",
        help="files, folders or patterns such as 'shards/*.tar': .txt (a caption per line), .jsonl, .csv, .tsv (also "
        "CC3M and CC12M), .parquet (also LAION), COCO's and Karpathy's .json, .tar (img2dataset); .gz is decompressed",
    )
    which.add_argument("--dataset_name", help="or the folder or Hub id of a data set, whose texts are streamed")
    group.add_argument("--dataset_config", help="config of the data set (default: its only one)")
    group.add_argument(
        "--split",
        "--dataset_split",
        default="train",
        help="split of the data set, or of a file with a column split; Karpathy's restval is train "
        "(default: %(default)s)",
    )
    group.add_argument("--revision", help="branch, tag or commit of the data set (default: the newest commit)")
    group.add_argument("--caption_column", help="column of the captions (default: a known name, e.g. caption or TEXT)")
    group.add_argument(
        "--image_id_column",
        help="column that names the picture (default: a known name, e.g. image_id, key or url; else the row number)",
    )
    group.add_argument(
        "--where",
        metavar="EXPRESSION",
        help="take only the rows of which this is true, e.g. \"NSFW == 'UNLIKELY' and similarity > 0.3\"; the others "
        "are counted as left out (default: all)",
    )
    group.add_argument("--limit", type=int, help="read only the first LIMIT rows, e.g. 1000 to try (default: all)")
    group.add_argument("--output", required=True, help="folder of the corpus; the journal is kept in it")


def add_generator(parser: argparse.ArgumentParser, backends: tuple[str, ...] = tuple(GENERATORS)) -> None:
    """Declare what writes the paraphrases: one of `backends`, or the only one."""
    group = parser.add_argument_group("generator")
    if len(backends) == 1:
        parser.set_defaults(generator=backends[0])
    else:
        group.add_argument(
            "--generator",
            choices=backends,
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
    group.add_argument(
        "--negatives",
        action="store_true",
        help="also ask for a hard negative of each caption: nearly its words, and another picture. It becomes the "
        "column negative, where it passes the filters (default: no)",
    )
    group.add_argument(
        "--prompt_3",
        help=f"prompt of --negatives; {{}} stands for the caption (default: {PROMPT_3})",
    )
    for name in backends:
        GENERATORS[name].add_arguments(parser.add_argument_group(f"generator {name}"))


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Declare what is dropped."""
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
        "--person_tags",
        choices=("drop", "keep"),
        default=default.person_tags,
        help="captions with <PERSON>, which CC12M has instead of names: drop them, or keep them as they are "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--drop_pii",
        action="store_true",
        help="drop texts with patterns of e-mail addresses, telephone numbers or postal addresses "
        "(default: keep them)",
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
    group.add_argument(
        "--nli_model",
        help="folder or Hub id of a cross-encoder for natural language inference, e.g. "
        "cross-encoder/nli-deberta-v3-base. A paraphrase and its text must each follow from the other (default: none)",
    )
    group.add_argument(
        "--min_entailment",
        type=float,
        default=default.min_entailment,
        help="drop a paraphrase if the model gives either a lower probability (default: %(default)s)",
    )


def add_running(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Declare how a job runs."""
    group = parser.add_argument_group("running")
    group.add_argument(
        "--no_early_stop",
        action="store_true",
        help="go on where 90%% of the first 500 rows are rejected or failed (default: stop there, and say why)",
    )
    group.add_argument(
        "--retry_rejected",
        metavar="REASON",
        help="ask again what was rejected for this reason, e.g. refused; the new answers replace the old ones. After "
        "a stop, go on without it",
    )
    group.add_argument("--price_in", type=float, help="price of a million tokens in, to show the cost")
    group.add_argument("--price_out", type=float, help="price of a million tokens out, to show the cost")
    return group


def source_of(args: argparse.Namespace) -> sources.Source:
    """Find the captions. Raises InputError."""
    return sources.open_source(
        captions=args.captions,
        dataset_name=args.dataset_name,
        dataset_config=args.dataset_config,
        split=args.split,
        revision=args.revision,
        caption_column=args.caption_column,
        image_id_column=args.image_id_column,
        where=args.where,
        limit=args.limit,
    )


def job_of(args: argparse.Namespace) -> Job:
    """Return the job that was asked for. Raises InputError."""
    if args.prompt_3 is not None and not args.negatives:
        raise InputError("--prompt_3 asks for negatives: add --negatives, or leave it out.")
    return Job(
        output=Path(args.output),
        generator=args.generator,
        make_generator=functools.partial(GENERATORS[args.generator].from_args, args),
        source=source_of(args),
        prompts=(args.prompt_1, args.prompt_2, *([args.prompt_3 or PROMPT_3] if args.negatives else [])),
        limits=Limits(
            min_words=args.min_words,
            max_words=args.max_words,
            max_length_ratio=args.max_length_ratio,
            min_similarity=args.min_similarity,
            max_similarity=args.max_similarity,
            min_entailment=args.min_entailment,
            drop_pii=args.drop_pii,
            person_tags=args.person_tags,
        ),
        similarity_model=args.similarity_model,
        nli_model=args.nli_model,
        concurrency=args.concurrency,
        early_stop=not args.no_early_stop,
        retry_rejected=args.retry_rejected,
        price_in=args.price_in,
        price_out=args.price_out,
    )
