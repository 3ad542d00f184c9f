"""Read what a generator writes, and what the filters make of it.

    python benchmarks/paraphrases.py --captions captions.jsonl --limit 200 --generator rules [--similarity_model DIR]

Takes the arguments of `python -m dataset_builder paraphrase`, except --output. Prints the share of rows rejected by
reason, 30 triples to read, the share of content words that x' and x'' do not share with x, and their mean cosine
similarity to x.
"""

from __future__ import annotations

import random
import re
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from dataset_builder import __main__ as cli
from dataset_builder import corpus
from dataset_builder.meaning import SentenceSimilarity

FUNCTION_WORDS = set(
    re.findall(
        r"\w+",
        "a an the of in on at to and or with by from for is are was were be being been it its his her their there "
        "this that as into onto up down out over under near while through along across off who which has have",
    )
)


def content_words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower())) - FUNCTION_WORDS


def changed(text: str, other: str) -> float:
    """Share of the content words of `text` that `other` does not have."""
    words = content_words(text)
    return len(words - content_words(other)) / max(1, len(words))


def main() -> None:
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return
    with tempfile.TemporaryDirectory() as folder:
        args = cli.parser().parse_args(["paraphrase", "--output", folder, *arguments])
        encoder, args.similarity_model = args.similarity_model, None  # measured, not filtered by
        cli.paraphrase(args)
        rows = list(corpus.triples(folder))
    for row in random.Random(0).sample(rows, min(30, len(rows))):
        print(f"x    {row['caption']}\nx'   {row['paraphrase_1']}\nx''  {row['paraphrase_2']}\n")
    for name in ("paraphrase_1", "paraphrase_2"):
        shares = [changed(row["caption"], row[name]) for row in rows]
        print(f"{name}: {statistics.mean(shares):.1%} of the caption's content words are gone, of {len(rows)} triples")
        if encoder:
            cosines = SentenceSimilarity(encoder)([(row["caption"], row[name]) for row in rows])
            print(f"{name}: mean cosine similarity to the caption {statistics.mean(cosines):.3f}")


if __name__ == "__main__":
    main()
