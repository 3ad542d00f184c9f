"""A corpus on the Hub: Parquet and a card, in one commit, so that `load_dataset` never sees half of it."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, DatasetCard, HfApi
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id
from tqdm.auto import tqdm

from .card import make_card, measured_languages
from .corpus import schema, statistics, triples, write_parquet
from .errors import InputError, check_range, one_sentence
from .hub import bound_waits
from .triples import is_in_validation

ROWS_PER_FILE = 500_000  # what is sent at once, and not sent again: about 50 MB
MEASURED = 2_000  # rows whose language is measured
UNFINISHED = "This data set is being uploaded. It will be public when all of it is here.\n"
logger = logging.getLogger(__name__)


def publish(
    corpus_dir: str | Path,
    repo_id: str,
    *,
    license: str,
    config_name: str = "default",
    validation_percentage: float = 1.0,
    private: bool = False,
    revision: str | None = None,
    tag: str | None = None,
) -> str:
    """Push Parquet and a card; `load_dataset(repo_id)` and streaming then work. Returns the address.

    A picture's rows are all in `train` or all in `validation`, by a stable hash of `image_id`. Other configs of the
    repository stay as they are. The files are sent first and then appear in one commit. A repository that is made here
    is private until then; given again after a stop, the same command does not send again what had arrived.

    Args:
        license: an identifier of the Hub.
        config_name: name of this corpus among those of the repository.
        validation_percentage: of the pictures.
        private: whether a repository that is made here stays private.
        revision: the branch to push to; made if it is not there.
        tag: name for what was pushed.

    Raises:
        InputError: there is no corpus, or no finished row in it, or a name or number cannot be right, or the Hub
            refuses it or is not there, or the disk is full.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", config_name, re.ASCII):
        raise InputError(f"--config_name {config_name}: letters, digits, dots, hyphens and underscores, please.")
    for option, name in (("--revision", revision), ("--tag", tag)):
        if name is not None and not re.fullmatch(r"[A-Za-z0-9][\w./-]*", name, re.ASCII):
            raise InputError(f"{option} {name}: letters, digits, dots, hyphens, underscores and slashes, please.")
    check_range("--validation_percentage", validation_percentage, 0, 100)
    with one_sentence(
        f"{repo_id} cannot be published",
        f"Check the name, the connection, `hf auth login` and the free space in {tempfile.gettempdir()}, and give the "
        "same command again: what has arrived is not sent again.",
    ):
        validate_repo_id(repo_id)
        with tempfile.TemporaryDirectory() as folder:
            files, facts = _write_splits(corpus_dir, Path(folder), validation_percentage)
            info = _info(files)
            rows = sum(split.num_examples for split in (info.splits or {}).values())
            card = functools.partial(
                make_card, repo_id, info=info, license=license, config_name=config_name, revision=revision, **facts
            )
            named = {f"{config_name}/{path.name}": path for paths in files.values() for path in paths}
            return _push(named, repo_id, card, f"{config_name}: {rows:,} triples", private, revision, tag)


# ---------------------------------------------------------------------------------------------------------- the files
def _write_splits(
    corpus_dir: str | Path, folder: Path, validation_percentage: float
) -> tuple[dict[str, list[Path]], dict[str, Any]]:
    """Write the files of each split that has rows, and say what the card says of them."""
    facts = statistics(corpus_dir)
    duplicates: Counter[str] = Counter()
    step = max(1, facts["rows"].get("done", 0) // MEASURED)
    files: dict[str, list[Path]] = {}
    chosen: list[dict] = []
    columns = schema(corpus_dir)
    for split in ("train", "validation"):
        rows = (
            row
            for row in triples(corpus_dir, duplicates if split == "train" else None)
            if is_in_validation(row["image_id"], validation_percentage) == (split == "validation")
        )
        if found := _write_files(_sampled(tqdm(rows, unit="row", desc=split), step, chosen), folder, split, columns):
            files[split] = found
    if not files:
        raise InputError(
            f"{corpus_dir}: no finished row to publish. See `python -m dataset_builder stats {corpus_dir}`."
        )
    facts["reasons"] |= {"export: duplicate": duplicates["duplicate"]} if duplicates else {}
    return files, {"statistics": facts, "examples": chosen[:5], "languages": measured_languages(chosen)}


def _sampled(rows: Iterable[dict], step: int, chosen: list[dict]) -> Iterator[dict]:
    """The rows; every `step`-th is remembered."""
    for number, row in enumerate(rows):
        if number % step == 0:
            chosen.append(row)
        yield row


def _write_files(rows: Iterator[dict], folder: Path, split: str, columns: pa.Schema) -> list[Path]:
    """Write files of at most ROWS_PER_FILE rows, always the same for the same rows."""
    parts: list[Path] = []
    while write_parquet(itertools.islice(rows, ROWS_PER_FILE), path := folder / f"{split}-{len(parts):05d}", columns):
        parts.append(path)
    path.unlink()
    return [part.rename(f"{part}-of-{len(parts):05d}.parquet") for part in parts]


def _info(files: dict[str, list[Path]]) -> datasets.DatasetInfo:
    """What the viewer of the Hub shows: the columns, and how large the splits are."""
    splits = datasets.SplitDict()
    for name, paths in files.items():
        found = [pq.read_metadata(path) for path in paths]
        num_bytes = sum(each.row_group(i).total_byte_size for each in found for i in range(each.num_row_groups))
        splits.add(datasets.SplitInfo(name, num_bytes, sum(each.num_rows for each in found)))
    return datasets.DatasetInfo(
        features=datasets.Features.from_arrow_schema(pq.read_schema(next(iter(files.values()))[0])),
        splits=splits,
        download_size=sum(path.stat().st_size for paths in files.values() for path in paths),
        dataset_size=sum(split.num_bytes for split in splits.values()),
    )


# ------------------------------------------------------------------------------------------------------------ the Hub
def _push(
    files: dict[str, Path],
    repo_id: str,
    card: Callable[..., DatasetCard],
    message: str,
    private: bool,
    revision: str | None,
    tag: str | None,
) -> str:
    """Send the files, and then commit them with the card that follows from the one that is there."""
    bound_waits()
    api = HfApi()
    dataset: Any = {"repo_id": repo_id, "repo_type": "dataset"}
    _create(api, dataset, private)
    if tag is not None and tag in {ref.name for ref in api.list_repo_refs(**dataset).tags}:
        raise InputError(f"--tag {tag}: {repo_id} has this tag already. Give another, or delete it there.")
    if revision is not None:
        api.create_branch(branch=revision, exist_ok=True, **dataset)
    there = api.dataset_info(repo_id, revision=revision)
    names = {file.rfilename for file in there.siblings or ()}
    readme = _readme(api, dataset, there.sha) if "README.md" in names else None
    is_new = readme == UNFINISHED
    new_readme = CommitOperationAdd("README.md", str(card(old=None if is_new else readme)).encode())
    additions = [CommitOperationAdd(name, path) for name, path in files.items()]
    api.preupload_lfs_files(additions=additions, revision=revision, free_memory=False, **dataset)
    folder = next(iter(files)).split("/")[0]
    old = {name for name in names if re.fullmatch(rf"{re.escape(folder)}/[^/]*\.parquet", name)} - files.keys()
    operations: list[Any] = [*additions, new_readme, *map(CommitOperationDelete, sorted(old))]
    commit = api.create_commit(operations=operations, commit_message=message, revision=revision, **dataset)
    if tag is not None:
        api.create_tag(tag=tag, revision=commit.oid, **dataset)
    if is_new and revision is not None:
        api.delete_file("README.md", commit_message="End", **dataset)
    if is_new and not private:
        api.update_repo_settings(private=False, **dataset)
    elif there.private and not private:
        logger.warning("%s is private, as it was before. Make it public in its settings.", repo_id)
    return str(commit)


def _create(api: HfApi, dataset: dict, private: bool) -> None:
    """Make the repository if it is not there: a private one that says that it is unfinished, or none."""
    with contextlib.suppress(RepositoryNotFoundError):
        there = api.repo_info(**dataset)
        if private and not there.private:
            raise InputError(f"--private: {dataset['repo_id']} is public. Make it private in its settings first.")
        return
    api.create_repo(private=True, **dataset)
    try:
        stub = CommitOperationAdd("README.md", UNFINISHED.encode())
        api.create_commit(operations=[stub], commit_message="Begin", **dataset)
    except BaseException:
        with contextlib.suppress(Exception):  # the first error is the one to tell
            api.delete_repo(**dataset)
        raise


def _readme(api: HfApi, dataset: dict, commit: str | None) -> str:
    return Path(api.hf_hub_download(filename="README.md", revision=commit, **dataset)).read_text("utf-8")
