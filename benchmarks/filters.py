"""How well the filters by words tell a paraphrase from what only looks like one.

    python benchmarks/filters.py [--triples triples.jsonl ...] [--negatives sugarcrepe_pp.tsv ...] [--show 20]
        [--captions captions.jsonl --similarity_model DIR]

Always: the pairs of tests/dataset_builder/pairs.tsv, which are labelled by hand. The filters were tuned on one half of
them. With --triples: good rewordings, e.g. by a large language model, of which nearly none should be lost. With
--negatives: tables with the columns caption and negative_caption, and caption2 where there is a true paraphrase.
Prints the share of false paraphrases that pass, and the share of true ones that are lost, by reason.

The filters of the column `negative` are measured on the same: how many of the tables' negatives are lost, how many of
the paraphrases would pass as negatives, and for how many captions `--generator rules` makes one (--show prints them).

With --captions and --similarity_model: how many captions per second `--generator rules` makes a corpus of, with and
without the filter by meaning, in turns.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from dataset_builder.filters import Limits, Rejected, check_negative, check_paraphrase
from dataset_builder.generators.negatives import negative

PAIRS = Path(__file__).parent.parent / "tests" / "dataset_builder" / "pairs.tsv"


def reason(caption: str, paraphrase: str, first: str | None = None) -> str | None:
    """Why a paraphrase is dropped (of `first`, where it paraphrases `caption` in two steps), or None."""
    try:
        if first is None:
            check_paraphrase(paraphrase, caption, Limits())
        else:
            check_paraphrase(paraphrase, first, Limits(), caption)
    except Rejected as error:
        return error.reason
    return None


def negative_reason(caption: str, text: str, paraphrases: Sequence[str] = ()) -> str | None:
    """Why a text is dropped as a negative, or None."""
    try:
        check_negative(text, caption, paraphrases, Limits())
    except Rejected as error:
        return error.reason
    return None


def rows(path: Path | str) -> list[dict]:
    with open(path, encoding="utf-8", newline="") as file:
        if str(path).endswith(".jsonl"):
            return [json.loads(line) for line in file]
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def report(name: str, what: str, reasons: Iterable[str | None]) -> None:
    """One line: how many of them pass, and what the others are dropped for."""
    counts = Counter(reasons)
    total, passed = counts.total(), counts.pop(None, 0)
    share = passed / total if what == "false" else 1 - passed / total
    why = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
    print(f"{name:42} {total:6,} {what:5}  {'pass' if what == 'false' else 'lost'} {share:6.1%}   {why}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--triples", nargs="+", default=[], help=".jsonl with caption, paraphrase_1, paraphrase_2")
    parser.add_argument("--negatives", nargs="+", default=[], help=".tsv with caption, negative_caption (, caption2)")
    parser.add_argument("--show", type=int, default=0, help="print so many lost triples and negatives of each file")
    parser.add_argument("--captions", help="a file of captions, to measure the speed")
    parser.add_argument("--limit", default="2000", help="of how many captions (default: %(default)s)")
    parser.add_argument("--similarity_model", help="folder or Hub id of a sentence encoder")
    args = parser.parse_args()
    pairs = rows(PAIRS)
    for half in ("tuned", "held out"):
        for label in ("false", "true"):
            chosen = [row for row in pairs if (row["half"], row["label"]) == (half, label)]
            report(f"pairs.tsv, {half}", label, (reason(row["caption"], row["paraphrase"]) for row in chosen))
    for path in args.triples:
        lost = []
        for row in rows(path):
            x, first, second = row["caption"], row["paraphrase_1"], row["paraphrase_2"]
            why = reason(x, first)
            lost.append((why, x, first) if why else (reason(first, second, x), x, first, second))
        report(Path(path).name, "true", (why for why, *_ in lost))
        for why, *texts in [item for item in lost if item[0]][: args.show]:
            print(f"  {why}: {' | '.join(texts)}")
        for column in ("paraphrase_1", "paraphrase_2"):
            as_negatives = (negative_reason(row["caption"], row[column]) for row in rows(path))
            report(f"{Path(path).name}, {column} as negative", "false", as_negatives)
        made = [(row, text) for row in rows(path) if (text := negative(row["caption"]))]
        print(f"{Path(path).name}: rules make a negative of {len(made) / len(rows(path)):.1%} of the captions")
        reasons = (
            negative_reason(row["caption"], text, (row["paraphrase_1"], row["paraphrase_2"])) for row, text in made
        )
        report(f"{Path(path).name}, negatives by rules", "true", reasons)
        for row, text in random.Random(0).sample(made, min(args.show, len(made))):
            print(f"  {row['caption']} | {text}")
    for path in args.negatives:
        table, name = rows(path), "/".join(Path(path).parts[-2:])
        report(name, "false", (reason(row["caption"], row["negative_caption"]) for row in table))
        as_negatives = (negative_reason(row["caption"], row["negative_caption"]) for row in table)
        report(f"{name}, as negatives", "true", as_negatives)
        if "caption2" in table[0]:
            report(name, "true", (reason(row["caption"], row["caption2"]) for row in table))
    if args.captions:
        speed(args.captions, args.limit, args.similarity_model)


def speed(captions: str, limit: str, model: str | None) -> None:
    """Captions per second of the whole job, without and with the model, three times each; and processor time."""
    from dataset_builder import __main__ as cli

    ways = {"without similarity": [], "with similarity": ["--similarity_model", model, "--min_similarity", "0.5"]}
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in range(3):
        for way, options in ways.items():
            with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
                command = ["paraphrase", "--captions", captions, "--limit", limit, "--output", folder]
                start, used = time.perf_counter(), time.process_time()
                with contextlib.suppress(SystemExit):  # where rows were dropped
                    cli.main([*command, "--generator", "rules", *options])
                times[way].append((time.perf_counter() - start, time.process_time() - used))
    for way, taken in times.items():
        rates = ", ".join(f"{int(limit) / seconds:.0f}" for seconds, _ in taken)
        milliseconds = min(used for _, used in taken) / int(limit) * 1e3
        print(f"{way}: {rates} captions/s, {milliseconds:.2f} ms of processor time for a caption")


if __name__ == "__main__":
    main()
