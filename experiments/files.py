"""Training files that the experiments derive from those of `--data`."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from dataset_builder.filters import Limits, Rejected, check_caption, check_paraphrase
from dataset_builder.generators.grammar import COLOURS, COMMON_ADJECTIVES, DETERMINERS, NUMBERS, lemmas_of
from dataset_builder.generators.negatives import negative
from eval.files import file_rows, write_text
from modeling_paraclip.errors import InputError

from .run import ROOT

AMOUNTS = (500, 1000, 2000, 4000)


def write_files(data: Path, folder: Path) -> None:
    """Write the training files of ablations.json and negatives.json.

    | file               | triples                                                                       |
    |--------------------|-------------------------------------------------------------------------------|
    | first-N.jsonl      | the first N of the language model's                                           |
    | people.jsonl       | three captions by people, one triple for each picture                         |
    | rules.jsonl        | the same captions as the language model's, with paraphrases by `rules`        |
    | model-people.jsonl | the first half of the pictures of the language model, the others of people    |
    | model-rules.jsonl  | the same, the others of `rules`                                               |
    | all.jsonl          | those of the language model, of people and of `rules` together                |
    | one-step.jsonl     | the language model's x' in the place of x'', too                              |
    | filtered.jsonl     | those of the language model that this project's filters keep                  |
    | negatives.jsonl    | the language model's, with negatives by `rules`                               |
    | swaps.jsonl        | the same, but two nouns have changed places where there are two               |

    Args:
        data: folder with the data, in the layout of docs/evaluation.md.
        folder: where they are written.
    """
    model, people = (_rows(data / "flickr8k" / f"{name}_triples_train.jsonl") for name in ("llm", "human"))
    people = list({row["image_id"]: row for row in people}.values())
    folder.mkdir(parents=True, exist_ok=True)
    rules = _by_rule(data / "flickr8k" / "llm_triples_train.jsonl", folder)
    half = {row["image_id"] for row in model[: len(model) // 2]}
    first = [row for row in model if row["image_id"] in half]
    for n in AMOUNTS:
        _write(folder / f"first-{n}.jsonl", model[:n])
    _write(folder / "people.jsonl", people)
    _write(folder / "model-people.jsonl", first + [row for row in people if row["image_id"] not in half])
    _write(folder / "model-rules.jsonl", first + [row for row in rules if row["image_id"] not in half])
    _write(folder / "all.jsonl", model + people + rules)
    _write(folder / "one-step.jsonl", ({**row, "paraphrase_2": row["paraphrase_1"]} for row in model))
    _write(folder / "filtered.jsonl", filter(_is_kept, model))
    _write(folder / "negatives.jsonl", ({**row, "negative": negative(row["caption"])} for row in model))
    _write(folder / "swaps.jsonl", ({**row, "negative": _swapped(row["caption"])} for row in model))


def _swapped(caption: str) -> str | None:
    """Two nouns change places, as in NegCLIP (Yuksekgonul et al. 2023), whatever the caption then says."""
    words = caption.split()
    before = DETERMINERS | COLOURS | COMMON_ADJECTIVES | NUMBERS
    nouns = [
        i
        for i in range(1, len(words))
        if words[i - 1].lower() in before and words[i].lower() not in before and "NOUN" in lemmas_of(words[i].lower())
    ]
    pairs = [(i, j) for i, j in itertools.combinations(nouns, 2) if words[i].lower() != words[j].lower()]
    if not pairs:
        return negative(caption)
    i, j = random.Random(caption).choice(pairs)
    words[i], words[j] = words[j], words[i]
    return " ".join(words)


def _rows(file: Path) -> list[dict]:
    return [row for _, row in file_rows(file)]


def _write(file: Path, rows: Iterable[dict]) -> None:
    lines = [json.dumps({name: value for name, value in row.items() if name != "index"}) for row in rows]
    write_text(file, "".join(f"{line}\n" for line in lines))
    print(f"{file}: {len(lines):,} triples")


def _by_rule(captions: Path, folder: Path) -> list[dict]:
    corpus, out = str(folder / "rules-corpus"), folder / "rules.jsonl"
    for arguments in (
        ["paraphrase", "--captions", str(captions), "--output", corpus, "--generator", "rules"],
        ["export", corpus, "--format", "jsonl", "--output", str(out)],
    ):
        if subprocess.run([sys.executable, "-m", "dataset_builder", *arguments], cwd=ROOT).returncode not in (0, 3):
            raise InputError(f"python -m dataset_builder {arguments[0]} did not end well, see above.")
    return _rows(out)


def _is_kept(row: dict) -> bool:
    limits = Limits()
    try:
        caption = check_caption(row["caption"], limits)
        check_paraphrase(row["paraphrase_1"], caption, limits)
        check_paraphrase(row["paraphrase_2"], row["paraphrase_1"], limits, caption)
    except Rejected:
        return False
    return True
