"""Fine-tune CLIP's text tower so that rewording a query does not change what it finds.

    python train.py                                  the embedded example: drawn scenes, small base CLIP, no network

    python train.py --model_name_or_path openai/clip-vit-base-patch32 --train_file pairs.jsonl --image_dir pictures \
        --output_dir my-paraclip --num_train_epochs 3                                            your own pictures

A line of pairs.jsonl: {"image_id": "cat.jpg", "caption": "...", "paraphrase_1": "...", "paraphrase_2": "..."}
All arguments of transformers.TrainingArguments work. What is left in --output_dir is a plain CLIPModel with its card.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from datasets import Dataset
from huggingface_hub import HfApi
from PIL import Image
from transformers import AutoProcessor, CLIPModel, EvalPrediction, HfArgumentParser, set_seed

from dataset_builder import load_scenes, load_triples, split_by_image_id, split_names
from eval import report, suite
from eval.encoders import Encoder, TransformersTowers
from modeling_paraclip import (
    BASE_MODEL_DIR,
    CheckpointError,
    NotFiniteLoss,
    ParaCLIPCollator,
    ParaCLIPTrainer,
    ParaCLIPTrainingArguments,
    add_base_caption_embeds,
    add_image_embeds,
    add_lora,
    load_clip,
    publish,
    tokenize,
)
from modeling_paraclip.image_embeds import DEFAULT_CACHE_DIR

logger = logging.getLogger("train")

# Chosen on the validation split. The embedded base is a tiny model, far from where it should be: it takes steps that
# would wreck a real CLIP. The two text-text terms are weighed down, as with the paper's 1, 1, 1 image-to-text recall
# of the captions falls by 5 points (the texts drift apart where no picture is).
SCENES_DEFAULTS = {
    "learning_rate": 3e-4,
    "num_train_epochs": 3,
    "per_device_train_batch_size": 128,
    "caption_paraphrase_weight": 0.3,
    "paraphrase_paraphrase_weight": 0.3,
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "dataloader_pin_memory": False,
    "logging_steps": 50,
}


@dataclass
class ModelArguments:
    model_name_or_path: str | None = field(
        default=None, metadata={"help": "CLIP to fine-tune: a folder or a Hub id. Default: the embedded base."}
    )
    model_revision: str = field(default="main", metadata={"help": "Branch, tag or commit of a Hub model."})
    use_lora: bool = field(
        default=False, metadata={"help": "Train low-rank adapters instead of the whole text tower."}
    )
    lora_r: int = field(default=16, metadata={"help": "Rank of the adapters."})
    lora_alpha: int = field(default=32, metadata={"help": "Scale of the adapters: alpha / r."})
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout before the adapters."})


@dataclass
class DataArguments:
    train_file: str | None = field(
        default=None, metadata={"help": "Triples as JSONL, JSON, CSV or Parquet. Default: the embedded scenes."}
    )
    dataset_name: str | None = field(
        default=None, metadata={"help": "Instead: a dataset's Hub id or folder, with the same columns."}
    )
    image_dir: str | None = field(
        default=None, metadata={"help": "Folder of the pictures; image_id is the file name."}
    )
    validation_file: list[str] | None = field(
        default=None,
        metadata={"help": "Triples to measure on, one or more files. The gallery is the pictures of all together."},
    )
    validation_split_percentage: float = field(
        default=5,
        metadata={
            "help": "Without a validation file or split, measure on the triples of so many percent of the pictures, "
            "which are then not trained on. 0: train on all and measure nothing."
        },
    )
    skip_bad_images: bool = field(
        default=False,
        metadata={"help": "Leave out (and count) rows whose picture cannot be read, instead of stopping."},
    )
    runner: Literal["local", "ray"] = field(
        default="local", metadata={"help": "ray: pictures are embedded on all machines of a Ray cluster, by Ray Data."}
    )
    eval_tasks: str | None = field(
        default=None,
        metadata={"help": "Tasks of python -m eval, with commas between them, run at each evaluation and in the end."},
    )
    eval_data: str | None = field(
        default=None, metadata={"help": "Folder of the data of --eval_tasks; without it they come from the Hub."}
    )
    image_cache_dir: str = field(
        default=str(DEFAULT_CACHE_DIR), metadata={"help": "Where the pictures' embeddings are kept between runs."}
    )


def parse_args(argv: list[str] | None) -> tuple[ModelArguments, DataArguments, ParaCLIPTrainingArguments]:
    parser = HfArgumentParser(
        (ModelArguments, DataArguments, ParaCLIPTrainingArguments),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    data, _ = HfArgumentParser(DataArguments, add_help=False).parse_args_into_dataclasses(
        argv, return_remaining_strings=True
    )
    own_data = data.train_file is not None or data.dataset_name is not None
    if not own_data:
        parser.set_defaults(**SCENES_DEFAULTS)
    try:
        model, data, training = parser.parse_args_into_dataclasses(argv)
    except ValueError as error:
        parser.error(str(error))
    if data.train_file is not None and data.dataset_name is not None:
        parser.error("--train_file and --dataset_name: give one of the two.")
    if own_data and model.model_name_or_path is None:
        parser.error("--model_name_or_path: name the CLIP to fine-tune (the embedded one knows only drawn scenes).")
    if training.per_device_train_batch_size < 2:
        parser.error("--per_device_train_batch_size: a batch of 1 has no negatives, and its loss is always 0.")
    unknown = [task for task in (data.eval_tasks or "").split(",") if task and task not in suite.TASKS]
    if unknown:
        parser.error(f"--eval_tasks {','.join(unknown)}: unknown; known are {', '.join(suite.TASKS)}.")
    return model, data, training


def load_data(args: DataArguments) -> tuple[Dataset, dict[str, Dataset], list[str]]:
    """(training triples, evaluation sets by name, names of those measured in the end).

    The first evaluation set is the one that is evaluated on during training.
    """
    if args.train_file is None and args.dataset_name is None:
        scenes = load_scenes()
        return scenes.pop("train"), scenes, ["test", "test_unseen"]

    train = load_triples(args.train_file or args.dataset_name, image_dir=args.image_dir)
    if args.validation_file is not None:
        sets = {Path(file).stem: load_triples(file, image_dir=args.image_dir) for file in args.validation_file}
    elif args.dataset_name is not None and "validation" in split_names(args.dataset_name):
        sets = {"validation": load_triples(args.dataset_name, split="validation", image_dir=args.image_dir)}
    else:
        train, validation = split_by_image_id(train, args.validation_split_percentage)
        sets = {"validation": validation} if len(validation) else {}
    if len(train) < 2:
        raise ValueError(f"{len(train)} triples are left to train on: a contrastive loss needs at least 2.")
    for name, dataset in sets.items():
        shared = set(train["image_id"]) & set(dataset["image_id"])
        if shared:
            logger.warning("%d pictures of %s are trained on too: its figures will flatter", len(shared), name)
    return train, sets, list(sets)


def retrieval_metrics(dataset: Dataset):
    """`compute_metrics` for the Trainer: the retrieval metrics of the rewordings, averaged over x' and x''."""
    image_ids, gallery_embeds = suite.gallery_of({"": dataset})
    index = {image_id: i for i, image_id in enumerate(image_ids)}
    picture_of_text = np.array([index[image_id] for image_id in dataset["image_id"]])

    def compute(prediction: EvalPrediction) -> dict[str, float]:
        text_embeds = prediction.predictions / np.linalg.norm(prediction.predictions, axis=-1, keepdims=True)
        collected = defaultdict(list)
        for (_, column, metric), values in suite.measure_retrieval(
            text_embeds, gallery_embeds, picture_of_text
        ).items():
            if column != "caption":
                collected[metric].append(values.mean())
        return {metric: float(np.mean(means)) for metric, means in collected.items()}

    return compute


class EvaluatingTrainer(ParaCLIPTrainer):
    """Adds the figures of `run_tasks(model)` to each evaluation, as `eval_DATASET_METRIC`."""

    run_tasks = None

    def evaluate(self, *args, **kwargs) -> dict[str, float]:
        metrics = super().evaluate(*args, **kwargs)
        if self.run_tasks is not None:
            found = {
                f"eval_{m.dataset}_{m.metric}".replace(" ", "_"): round(m.value, 6)
                for m in self.run_tasks("evaluated", self.clip)
            }
            self.log(found)
            metrics |= found
        return metrics


def main(argv: list[str] | None = None) -> None:
    model_args, data_args, args = parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    for noisy in ("httpx", "datasets", "filelock"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    set_seed(args.seed)
    output_dir, start = Path(args.output_dir), time.perf_counter()
    base_name = model_args.model_name_or_path or str(BASE_MODEL_DIR)
    hub = {"revision": model_args.model_revision}

    try:  # what the user gave: one sentence instead of a traceback
        train, raw_sets, measured_names = load_data(data_args)
        has_pictures = any("image_embeds" not in data.column_names for data in (train, *raw_sets.values()))
        base = load_clip(base_name, vision=has_pictures or bool(data_args.eval_tasks), **hub).to(args.device)
        processor = AutoProcessor.from_pretrained(base_name, **hub)
        with args.main_process_first(desc="embedding pictures"):

            def embed(dataset: Dataset) -> Dataset:
                return add_image_embeds(
                    dataset,
                    base,
                    processor.image_processor,
                    cache_dir=data_args.image_cache_dir,
                    skip_bad_images=data_args.skip_bad_images,
                    bf16=args.bf16,
                    runner=data_args.runner,
                )

            train = embed(train)
            sets = {name: embed(dataset) for name, dataset in raw_sets.items()}
    except (ValueError, OSError) as error:
        sys.exit(f"train.py: {error}")
    if not sets and args.eval_strategy != "no":
        sys.exit("train.py: --eval_strategy: there is nothing to evaluate on; give --validation_file.")
    validation = next(iter(sets.values()), None)
    measured_sets = {name: sets[name] for name in measured_names}
    base_measured = suite.evaluate_model("base", base, processor.tokenizer, measured_sets) if measured_sets else []

    def run_tasks(name: str, model: CLIPModel) -> list[suite.Measurement]:
        towers = TransformersTowers(model, processor.tokenizer, processor.image_processor)
        encoder = Encoder(name, towers, cache_dir=data_args.image_cache_dir, keep_texts=False)
        return suite.evaluate(encoder, data_args.eval_tasks.split(","), data_args.eval_data)[0]

    if data_args.eval_tasks:
        try:
            base_measured += run_tasks("base", base)
        except (ValueError, OSError) as error:
            sys.exit(f"train.py: {error}")
    if args.distillation_weight:
        train = add_base_caption_embeds(train, base, processor.tokenizer)
        if validation is not None:
            validation = add_base_caption_embeds(validation, base, processor.tokenizer)
    # the pictures are vectors now: the vision tower leaves memory, unless tasks have pictures of their own
    del base
    model = load_clip(base_name, vision=bool(data_args.eval_tasks), **hub)
    model.loss = args.make_loss()
    trainer = EvaluatingTrainer(
        model=add_lora(model, model_args.lora_r, model_args.lora_alpha, model_args.lora_dropout)
        if model_args.use_lora
        else model,
        args=args,
        train_dataset=tokenize(train, processor.tokenizer),
        eval_dataset=tokenize(validation, processor.tokenizer) if validation is not None else None,
        data_collator=ParaCLIPCollator(args.encode_chunk_tokens),
        compute_metrics=retrieval_metrics(validation) if validation is not None else None,
        processing_class=processor,
    )
    if data_args.eval_tasks:
        trainer.run_tasks = run_tasks
    try:
        trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    except (NotFiniteLoss, CheckpointError) as error:
        sys.exit(f"train.py: {error}")
    if trainer.terminated:
        logger.warning("stopped at step %d; go on with --resume_from_checkpoint last", trainer.state.global_step)
        sys.exit(128 + signal.SIGTERM)
    trainer.save_state()
    trained = trainer.whole_model()
    if not trainer.is_world_process_zero():
        return

    # from here on only what users download: the plain CLIPModel, as from_pretrained opens it
    tuned = publish(trained, processor, output_dir, base_name, **hub).to(args.device)
    tuned_measured = suite.evaluate_model("tuned", tuned, processor.tokenizer, measured_sets) if measured_sets else []
    if data_args.eval_tasks:
        tuned_measured += run_tasks("tuned", tuned)
    comparisons = report.compare(base_measured, tuned_measured)
    if comparisons:
        report.write_results(output_dir / "results.json", base_measured + tuned_measured)
        if measured_sets and all("image" in dataset.column_names for dataset in raw_sets.values()):
            base = load_clip(base_name, **hub)
            image_ids, gallery_embeds = suite.gallery_of(measured_sets)
            queries = next(iter(measured_sets.values()))
            open_picture = picture_opener(raw_sets)
            with torch.inference_mode():
                texts = {
                    name: suite.embed_triples(m.to(args.device), processor.tokenizer, queries)[:, :2]
                    for name, m in (("base", base), ("tuned", tuned))
                }
            report.write_ranking_sheet(
                output_dir / "rankings.png",
                list(zip(queries["caption"], queries["paraphrase_1"])),
                np.array([image_ids.index(image_id) for image_id in queries["image_id"]]),
                {name: (embeds, gallery_embeds) for name, embeds in texts.items()},
                lambda i: open_picture(image_ids[i]),
            )
        own_tasks = {m.dataset for m in base_measured if data_args.eval_tasks and m.task in data_args.eval_tasks}
        shown = [row for row in comparisons if row.is_headline or row.dataset in own_tasks]
        print("\n" + report.table(shown))
    seconds = time.perf_counter() - start
    embedded = model_args.model_name_or_path is None
    on_hub = not embedded and not Path(base_name).exists()
    repo_id = getattr(trainer, "hub_model_id", None) or output_dir.name
    report.write_card(
        output_dir / "README.md",
        Path(__file__).parent / "model_card.md",
        model_name=repo_id.split("/")[-1],
        base_model=base_name if on_hub else None,
        license="apache-2.0" if embedded else None,
        tuned=tuned_measured,
        comparisons=comparisons,
        repo_id=repo_id,
        base_name="the embedded base CLIP of ParaCLIP, trained on drawn scenes" if embedded else f"`{base_name}`",
        lora=f", by LoRA of rank {model_args.lora_r} (merged here; the adapter is in `adapter/`)"
        if model_args.use_lora
        else "",
        training_data=data_args.train_file or data_args.dataset_name or "the embedded `scenes` (drawn pictures)",
        num_train=f"{len(train):,}",
        gallery_size=f"{len(suite.gallery_of(measured_sets)[0]):,}" if measured_sets else None,
        weights=[
            f"{weight:g}"
            for weight in (
                args.image_text_weight,
                args.caption_paraphrase_weight,
                args.paraphrase_paraphrase_weight,
            )
        ],
        distillation_weight=f"{args.distillation_weight:g}" if args.distillation_weight else None,
        text_temperature=f"{args.text_temperature:g}" if args.text_temperature else None,
        learning_rate=f"{args.learning_rate:g}",
        batch_size=args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
        steps=trainer.state.global_step,
        seed=args.seed,
        seconds=round(seconds),
    )
    if args.push_to_hub:
        url = HfApi(token=args.hub_token).upload_folder(
            repo_id=repo_id,
            folder_path=output_dir,
            revision=args.hub_revision,
            commit_message="ParaCLIP",
            # checkpoints hold the optimizer's pickles; nobody downloads those
            ignore_patterns=["checkpoint-*/**", "runs/**", "*.bin", "*.pt", "*.pth"],
        )
        print(f"pushed to {url}")
    print(f"{output_dir} is ready after {seconds:.0f} s: CLIPModel.from_pretrained({str(output_dir)!r})")


def picture_opener(sets: dict[str, Dataset]):
    """A function from `image_id` to the picture, decoded when asked for."""
    where = {
        image_id: (name, row) for name, dataset in sets.items() for row, image_id in enumerate(dataset["image_id"])
    }

    def open_picture(image_id: str) -> Image.Image:
        name, row = where[image_id]
        return sets[name][row]["image"].convert("RGB")

    return open_picture


if __name__ == "__main__":
    main()
