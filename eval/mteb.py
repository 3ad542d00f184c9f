"""`python -m eval.mteb`: tasks of MTEB on any model that `python -m eval` opens, and two of ours as tasks of MTEB.

It needs `pip install 'paraclip[mteb]'`. Nothing else here imports MTEB.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from .encoders import Encoder

DESCRIPTION = """Run tasks of MTEB on one model: a folder or Hub id, or openclip:ARCH/PRETRAINED.

examples:
    python -m eval.mteb paraclip-out --tasks STS12,STSBenchmark,Flickr30kT2IRetrieval
    python -m eval.mteb paraclip-out --tasks ParaphrasedImageRetrieval --data DIR --output results
"""
EPILOG = """Every task of MTEB can be named; its data come from the Hub. These are added:
  ParaphrasedImageRetrieval   DIR/*/*triples_val.jsonl (or _test) and images/
  SugarCrepePlusPlusText      the Hub, or DIR/sugarcrepe_pp/
  SugarCrepePlusPlusImage     DIR/sugarcrepe_pp/ and images/
With --output all figures are written there as MTEB writes them: results/MODEL/REVISION/TASK.json.
"""
PICTURES = 256  # embedded at a time


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    args = parse(argv)
    # not at the top: these imports take seconds
    from modeling_paraclip import InputError
    from modeling_paraclip.embedding_cache import DEFAULT_CACHE_DIR
    from modeling_paraclip.errors import printable
    from modeling_paraclip.terminal import set_up_output

    from .encoders import load_encoder

    set_up_output(sys.stderr)
    logging.getLogger("mteb").setLevel(logging.WARNING)  # it says each step, twice
    try:
        if args.output:
            args.output.mkdir(parents=True, exist_ok=True)  # found out before the work
        tasks = [task_named(name, args.data) for name in args.tasks]
        encoder = load_encoder(
            args.model,
            device=args.device,
            dtype=args.dtype,
            cache_dir=args.cache_dir or DEFAULT_CACHE_DIR,
            num_workers=args.num_workers,
        )
        for line in run(encoder, tasks, args.output):
            print(printable(line), flush=True)
    except (InputError, OSError) as error:  # OSError: what the machine does not let us do, e.g. a full disk
        sys.exit(f"eval.mteb: {error}")
    except KeyboardInterrupt:
        sys.exit("\neval.mteb: stopped. Embeddings are kept; give the same command again to go on.")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The arguments, checked."""
    parser = argparse.ArgumentParser(
        prog="python -m eval.mteb",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", help="folder or Hub id, or openclip:ARCH/PRETRAINED")
    parser.add_argument("--tasks", required=True, help="names, e.g. STS12,STSBenchmark")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with the data of the added tasks")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder for MTEB's results (default: only printed)")
    parser.add_argument("--device", help="e.g. cpu, cuda (default: a GPU where there is one)")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="default: %(default)s")
    parser.add_argument(
        "--num_workers", type=int, help="processes that decode pictures (default: one less than cores)"
    )
    parser.add_argument("--cache_dir", type=Path, help="where embeddings are kept between runs")
    args = parser.parse_args(argv)
    args.tasks = args.tasks.split(",")
    if not all(args.tasks) or len(set(args.tasks)) < len(args.tasks):
        parser.error("--tasks: a name is empty or there twice.")
    if args.data and not args.data.is_dir():
        parser.error(f"--data {args.data}: no such folder.")
    if importlib.util.find_spec("mteb") is None:
        parser.error("needs a package that is not installed: pip install 'paraclip[mteb]'")
    return args


def task_named(name: str, data_dir: Path | None) -> Any:
    """A task of MTEB, or one of `mteb_tasks`, with its data where they are local.

    Raises:
        InputError: there is no such task, or its data are not there or wrong.
    """
    import mteb

    from modeling_paraclip import InputError

    from . import mteb_tasks

    local = {"ParaphrasedImageRetrieval": _retrieval, "SugarCrepePlusPlusText": _texts,
             "SugarCrepePlusPlusImage": _images}  # fmt: skip
    if name not in local:
        try:
            return mteb.get_task(name)
        except KeyError as error:
            raise InputError(f"--tasks {name}: {error.args[0].removeprefix('KeyError: ')}") from error
    task = getattr(mteb_tasks, name)()
    if data_dir is None:
        if name != "SugarCrepePlusPlusText":
            raise InputError(f"--tasks {name}: its data are not on the Hub; give a folder with --data.")
        return task
    sets, revision = local[name](data_dir)
    split = task.metadata.eval_splits[0]
    facts = {
        "eval_langs": {subset: ["eng-Latn"] for subset in sets},
        "dataset": {"path": name, "revision": revision},
    }
    task.metadata = task.metadata.model_copy(update=facts)
    task.hf_subsets = list(sets)
    task.dataset = {subset: {split: content} for subset, content in sets.items()}
    task.data_loaded = True
    return task


def run(encoder: Encoder, tasks: Sequence[Any], output: Path | None = None) -> Iterator[str]:
    """Run tasks on a model, one after the other.

    Args:
        output: folder for MTEB's own results files. None: none are written.

    Yields:
        A line for each figure: task, split and subset, metric, value in points.

    Raises:
        InputError: the data of a task cannot be loaded, or a text or picture cannot be encoded.
    """
    import mteb
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HTTPError

    from modeling_paraclip.errors import InputError, said

    model = EncoderForMteb(encoder)
    cache = mteb.ResultCache(output) if output else None
    for task in tasks:
        name = task.metadata.name
        if "image" in task.metadata.modalities and not encoder.has_images:
            raise InputError(f"{name}: {encoder.name} has no image tower.")
        try:
            task.load_data()
        except (DatasetsError, HTTPError, OSError, ValueError, RuntimeError) as error:
            raise InputError(f"{name}: its data cannot be loaded: {said(error)}") from error
        results = mteb.evaluate(
            model,
            task,
            cache=cache,
            overwrite_strategy="always",
            encode_kwargs={"batch_size": PICTURES},
            show_progress_bar=False,
        )
        for split, subsets in results.task_results[0].scores.items():
            for scores in subsets:
                for metric in getattr(task, "shown", (task.metadata.main_score,)):
                    yield f"{name}\t{split}/{scores['hf_subset']}\t{metric}\t{100 * scores[metric]:.2f}"
        task.unload_data()


class EncoderForMteb:
    """An `Encoder` as an `EncoderProtocol` of MTEB: one encoder for its tasks and ours. Cosine similarity."""

    def __init__(self, encoder: Encoder):
        from mteb.models import ModelMeta
        from mteb.models.model_meta import ScoringFunction

        self._encoder, name = encoder, encoder.about["model"]
        is_hub_id = re.fullmatch(r"[\w.-]+/[\w.-]+", name)
        facts: dict[str, Any] = {
            "name": name if is_hub_id else f"local/{re.sub('[^a-zA-Z0-9_.@-]+', '_', name)}",
            "revision": encoder.about["revision"],
            "modalities": ["text", "image"] if encoder.has_images else ["text"],
            "similarity_fn_name": ScoringFunction.COSINE,
        }
        self.mteb_model_meta = ModelMeta.create_empty(facts)

    def encode(self, inputs: Any, **kwargs: Any) -> np.ndarray:
        """(n, dim) of batches of `text`, or of `image`. Prompts of a task are not used."""
        return _encoded(self._encoder, inputs)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """(n, m) cosines."""
        from mteb.similarity_functions import cos_sim

        return cos_sim(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """(n,) cosines."""
        from mteb.similarity_functions import pairwise_cos_sim

        return pairwise_cos_sim(embeddings1, embeddings2)


def _encoded(encoder: Encoder, batches: Any) -> np.ndarray:
    """(n, dim) of batches of texts, or of pictures."""
    import numpy as np

    from modeling_paraclip.errors import InputError

    texts: list[str] = []
    vectors: list[np.ndarray] = []
    waiting: list[dict] = []
    for batch in batches:
        if "image" in batch and "text" in batch:
            raise InputError("this task gives text and picture together, which these models do not embed as one.")
        texts += batch.get("text", [])
        waiting += [{"path": None, "bytes": _as_bytes(picture)} for picture in batch.get("image", [])]
        if len(waiting) >= PICTURES:
            vectors.append(encoder.pictures(waiting))
            waiting = []
    if waiting:
        vectors.append(encoder.pictures(waiting))
    return np.concatenate(vectors) if vectors else encoder.texts(texts)


def _as_bytes(picture: Image.Image) -> bytes:
    """A decoded picture as a file without loss, to be read by the one decoder."""
    kind = {"I;16": "PNG", "I": "PNG", "F": "TIFF"}.get(picture.mode, "PPM")
    file = io.BytesIO()
    (picture.convert("RGB") if kind == "PPM" else picture).save(file, kind)
    return file.getvalue()


# ------------------------------- local data, as `python -m eval` reads them: (name of a set -> its content, revision)


def _retrieval(data_dir: Path) -> tuple[dict[str, Any], str]:
    from datasets import Dataset
    from datasets import Image as Picture

    from modeling_paraclip import TEXT_COLUMNS

    from .tasks.paraphrased_retrieval import triples_in

    sets, revisions = {}, []
    for name, rows, gallery, about in triples_in(data_dir):
        corpus = {"id": list(gallery), "image": [picture["path"] for picture in gallery.values()]}
        queries = [
            {"id": f"{i}/{column}", "text": row[column]} for i, row in enumerate(rows) for column in TEXT_COLUMNS
        ]
        sets[name.replace(" ", "-")] = {
            "corpus": Dataset.from_dict(corpus).cast_column("image", Picture()),
            "queries": Dataset.from_list(queries),
            "relevant_docs": {f"{i}/{c}": {row["image_id"]: 1} for i, row in enumerate(rows) for c in TEXT_COLUMNS},
            "top_ranked": None,
        }
        revisions.append(str(about.revision))
    return sets, "+".join(revisions)


def _texts(data_dir: Path) -> tuple[dict[str, Any], str]:
    return _triplets(data_dir, with_pictures=False)


def _images(data_dir: Path) -> tuple[dict[str, Any], str]:
    return _triplets(data_dir, with_pictures=True)


def _triplets(data_dir: Path, with_pictures: bool) -> tuple[dict[str, Any], str]:
    from datasets import Dataset
    from datasets import Image as Picture

    from .data import file_about, pictures_in
    from .tasks.choices import image_names, kinds_in
    from .tasks.sugarcrepe_pp import TEXTS

    sets, revisions = {}, []
    folder = data_dir / "sugarcrepe_pp"
    for kind, (file, rows) in kinds_in(folder, TEXTS).items():
        columns: dict[str, Any] = {column: [row[column] for row in rows] for column in TEXTS}
        if with_pictures:
            pictures = pictures_in(folder / "images", image_names(file, rows))
            columns["image"] = [picture["path"] for picture in pictures]
        found = Dataset.from_dict(columns)
        sets[kind] = found.cast_column("image", Picture()) if with_pictures else found
        revisions.append(str(file_about(data_dir, file).revision))
    return sets, "+".join(revisions)


if __name__ == "__main__":
    main()
