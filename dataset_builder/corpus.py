"""A corpus out of its journals: what is there, as Parquet or JSONL, and on the Hub."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import DatasetCard, DatasetCardData, HfApi, get_session
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id
from tqdm.auto import tqdm

from .errors import InputError, check_range, one_sentence, printable
from .filters import REASONS
from .journal import done_rows, journals, latest_recipe, tally
from .triples import TEXT_COLUMNS, is_in_validation

SCHEMA = pa.schema([(name, pa.string()) for name in ("image_id", *TEXT_COLUMNS, "generator", "model")])
BATCH = 10_000
UPLOAD_TIMEOUT = 120.0  # seconds to connect, and between two bytes
CARD_TEMPLATE = Path(__file__).parent / "README.md"


def triples(corpus_dir: str | Path, counts: Counter | None = None) -> Iterator[dict]:
    """The finished rows: `index, image_id, caption, paraphrase_1, paraphrase_2`, and which model wrote them.

    The same caption of the same picture comes once; how often it came again is added to `counts["duplicate"]`.
    """
    seen: set[int] = set()  # 64-bit hashes: about 60 bytes per row, however long the texts are
    for path in journals(corpus_dir):
        for idx, image_id, *texts, recipe in done_rows(path):
            if (key := hash((image_id, " ".join(texts[0].casefold().split())))) in seen:
                if counts is not None:
                    counts["duplicate"] += 1
                continue
            seen.add(key)
            yield {
                "index": idx,
                "image_id": image_id,
                **dict(zip(TEXT_COLUMNS, texts)),
                "generator": recipe["generator"],
                "model": recipe["model"],
            }


def export(corpus_dir: str | Path, output: str | Path, file_format: str) -> int:
    """Write the finished rows to `output`, whole or not at all. Returns how many.

    `jsonl` has the authors' columns; `parquet` also says which generator and model wrote each row.
    """
    output = Path(output)
    first = journals(corpus_dir)[0]
    if output.name.startswith("journal") and os.path.realpath(output.parent) == os.path.realpath(first.parent):
        raise InputError(f"{output}: is where the corpus keeps its answers. Give another --output.")
    with _whole(output) as aside:
        rows = tqdm(triples(corpus_dir), unit="row", desc=printable(f"Writing {output.name}"))
        return _write_jsonl(rows, aside) if file_format == "jsonl" else _write_parquet(rows, aside)


@contextlib.contextmanager
def _whole(output: Path) -> Iterator[Path]:
    """A file to write instead of `output`, which takes its place at the end; without an end nothing stays.

    Raises:
        InputError: it cannot be written, e.g. as the disk is full.
    """
    aside = output.parent / f".{output.name}.part"
    try:
        if output.exists() and not output.is_file():  # not even /dev/null is replaced by a file
            raise InputError(f"{output}: the output cannot be written: it is a folder or a device. Give a file name.")
        output.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield aside
            os.replace(aside, output)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{output}: the output cannot be written: {error.strerror or error}. Check the path and the free space, "
            "and give the same command again."
        ) from error


def _write_jsonl(rows: Iterable[dict], path: Path) -> int:
    count = 0
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            kept = {name: row[name] for name in ("index", "image_id", *TEXT_COLUMNS)}
            file.write(json.dumps(kept, ensure_ascii=False) + "\n")
            count += 1
    return count


def _write_parquet(rows: Iterable[dict], path: Path) -> int:
    rows, count = iter(rows), 0
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        while batch := list(itertools.islice(rows, BATCH)):
            writer.write_table(pa.Table.from_pylist(batch).select(SCHEMA.names).cast(SCHEMA))
            count += len(batch)
    return count


def statistics(corpus_dir: str | Path) -> dict:
    """Count `rows` by status, `reasons` why rows are missing, `answers` and tokens; and give the latest `recipe`."""
    rows: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    answers: Counter[str] = Counter()
    for path in journals(corpus_dir):
        for total, found in zip((rows, reasons, answers), tally(path)):
            total.update(found)
    return {
        "rows": dict(rows),
        "reasons": dict(reasons.most_common()),
        **answers,
        "recipe": latest_recipe(corpus_dir),
    }


def publish(
    corpus_dir: str | Path,
    repo_id: str,
    *,
    license: str,
    config_name: str = "default",
    validation_percentage: float = 1.0,
    private: bool = False,
) -> str:
    """Push Parquet and a card, in one commit; `load_dataset(repo_id)` and streaming then work. Returns the address.

    A picture's rows are all in `train` or all in `validation`, by a stable hash of `image_id`. Other configs of the
    repository stay as they are.

    Raises:
        InputError: there is no corpus, or no finished row in it, or a name or number cannot be right, or the Hub
            refuses it or is not there, or the disk is full.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", config_name, re.ASCII):
        raise InputError(f"--config_name {config_name}: letters, digits, dots, hyphens and underscores, please.")
    check_range("--validation_percentage", validation_percentage, 0, 100)
    with one_sentence(
        f"{repo_id} cannot be published",
        f"Check the name, the connection, `hf auth login` and the free space in {tempfile.gettempdir()}.",
    ):
        return _publish(corpus_dir, repo_id, license, config_name, validation_percentage, private)


def _publish(
    corpus_dir: str | Path,
    repo_id: str,
    license: str,
    config_name: str,
    validation_percentage: float,
    private: bool,
) -> str:
    validate_repo_id(repo_id)
    with tempfile.TemporaryDirectory() as folder:
        duplicates: Counter[str] = Counter()
        sizes = _write_splits(corpus_dir, Path(folder) / config_name, validation_percentage, duplicates)
        if not any(sizes.values()):
            raise InputError(
                f"{corpus_dir}: no finished row to publish. See `python -m dataset_builder stats {corpus_dir}`."
            )
        examples = [row for _, row in zip(range(5), triples(corpus_dir))]
        info = statistics(corpus_dir)
        info["reasons"] |= {"export: duplicate": duplicates["duplicate"]} if duplicates else {}
        card = dataset_card(repo_id, info, sizes, examples, license=license, config_name=config_name)
        return _push(folder, repo_id, card, config_name, f"{config_name}: {sum(sizes.values()):,} triples", private)


def _write_splits(
    corpus_dir: str | Path, folder: Path, validation_percentage: float, duplicates: Counter[str]
) -> dict[str, int]:
    """Write one file per split that has rows, and count its rows."""
    folder.mkdir()
    sizes = {}
    for split in ("train", "validation"):
        rows = (
            row
            for row in triples(corpus_dir, duplicates if split == "train" else None)
            if is_in_validation(row["image_id"], validation_percentage) == (split == "validation")
        )
        path = folder / f"{split}-00000-of-00001.parquet"
        sizes[split] = _write_parquet(tqdm(rows, unit="row", desc=split), path)
        if sizes[split] == 0:
            path.unlink()
    return sizes


def _push(folder: str, repo_id: str, card: DatasetCard, config_name: str, message: str, private: bool) -> str:
    """Upload the folder with the card, which keeps the repository's other configs. Returns the address."""
    get_session().timeout = UPLOAD_TIMEOUT  # the client would wait for ever
    api = HfApi()
    with _repository(api, repo_id, private):
        data: Any = card.data
        data.configs = _other_configs(api, repo_id, config_name) + data.configs
        card.save(Path(folder) / "README.md")
        return str(
            api.upload_folder(
                repo_id=repo_id,
                repo_type="dataset",
                folder_path=folder,
                delete_patterns=f"{config_name}/*.parquet",
                commit_message=message,
            )
        )


@contextlib.contextmanager
def _repository(api: HfApi, repo_id: str, private: bool) -> Iterator[None]:
    """A repository to fill. One that had to be created is removed again if that fails; others stay as they are."""
    try:
        api.repo_info(repo_id, repo_type="dataset", timeout=UPLOAD_TIMEOUT)  # repo_exists would wait for ever
        exists = True
    except RepositoryNotFoundError:
        exists = False
    if exists:
        yield
        return
    api.create_repo(repo_id, repo_type="dataset", private=private)
    try:
        yield
    except BaseException:
        with contextlib.suppress(Exception):  # the first error is the one to tell
            api.delete_repo(repo_id, repo_type="dataset")
        raise


def _other_configs(api: HfApi, repo_id: str, config_name: str) -> list[dict]:
    files = api.dataset_info(repo_id, timeout=UPLOAD_TIMEOUT).siblings or []
    if "README.md" not in {file.rfilename for file in files}:
        return []
    path = api.hf_hub_download(repo_id, "README.md", repo_type="dataset")
    with one_sentence(f"{repo_id}: its README.md on the Hub has no valid header", "Mend it there."):
        configs = DatasetCard(Path(path).read_text("utf-8")).data.to_dict().get("configs") or []
        return [config for config in configs if config["config_name"] != config_name]


def _cell(text: object) -> str:
    """Text as a card shows it, in a table or not: what Markdown or HTML could read as more becomes an entity."""
    text = " ".join(printable(text).split())
    return re.sub(r"[^\w\s.,'\"()!?;/-]|_|(?<=www)\.", lambda match: f"&#{ord(match[0])};", text, flags=re.ASCII)


def _code(text: object) -> str:
    """Text as code in a line of Markdown."""
    text = " ".join(printable(text).split())
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    space = " " * ("`" in text[:1] + text[-1:])
    return f"{fence}{space}{text}{space}{fence}"


def dataset_card(
    repo_id: str, info: dict, sizes: dict[str, int], examples: list[dict], *, license: str, config_name: str
) -> DatasetCard:
    """The card of a corpus: how it was made, what was dropped and why."""
    total = sum(sizes.values())
    bounds = [
        (1_000, "n<1K"),
        (10_000, "1K<n<10K"),
        (100_000, "10K<n<100K"),
        (10**6, "100K<n<1M"),
        (10**7, "1M<n<10M"),
    ]
    data = DatasetCardData(
        license=license,
        language="en",
        pretty_name=repo_id.split("/")[-1],
        size_categories=next((name for bound, name in bounds if total < bound), "n>10M"),
        tags=["paraphrase", "clip", "paraclip", "image-text-retrieval"],
        task_categories=["text-to-image", "sentence-similarity"],
        configs=[
            {
                "config_name": config_name,
                "data_files": [
                    {"split": split, "path": f"{config_name}/{split}-*.parquet"} for split in sizes if sizes[split]
                ],
            }
        ],
    )
    return DatasetCard.from_template(
        data,
        template_path=str(CARD_TEMPLATE),
        repo_id=repo_id,
        config_name=config_name,
        cell=_cell,
        code=_code,
        sizes=sizes,
        examples=examples,
        explanations={
            reason: REASONS.get(reason.split(": ", 1)[-1], "tried again by the next run") for reason in info["reasons"]
        },
        limits=json.dumps(info["recipe"].get("limits", {})),
        **info,
    )
