"""Fine-tune CLIP's text tower so that rewording a query does not change what it finds.

    python train.py
        the embedded example: drawn scenes, a small base CLIP, no network

    python train.py --model_name_or_path openai/clip-vit-base-patch32 --train_file pairs.jsonl --image_dir pictures \\
        --output_dir my-paraclip --num_train_epochs 3
        your own pictures

A line of pairs.jsonl: {"image_id": "cat.jpg", "caption": "...", "paraphrase_1": "...", "paraphrase_2": "..."}
What is left in --output_dir is a plain CLIPModel with its card.

In Python the stages can be called one by one: prepare, fit, publish, measure, card, draw, push.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, fields
from pathlib import Path

from datasets import Dataset
from PIL import Image
from transformers import HfArgumentParser, PreTrainedModel, TrainingArguments, set_seed

import dataset_builder
from dataset_builder import load_scenes, load_triples, split_by_image_id, split_names
from dataset_builder.triples import NEGATIVE
from eval import plots, report, suite
from eval.card import read_card, training_facts, write_card
from eval.statistics import About
from eval.training import EvaluatingTrainer, Evaluation, check_best_metric, overview, retrieval_metrics
from modeling_paraclip import (
    TEXT_COLUMNS,
    CheckpointError,
    InputError,
    NotFiniteLoss,
    ParaCLIPCollator,
    ParaCLIPTrainingArguments,
    add_base_caption_embeds,
    add_image_embeds,
    add_lora,
    load_clip,
    publish_model,
    tokenize,
    train_last_layers,
)
from modeling_paraclip.architectures import Chunking, plain_class, token_limit
from modeling_paraclip.compatibility import check_compatible
from modeling_paraclip.distributed import await_main_process, main_process_first
from modeling_paraclip.errors import printable
from modeling_paraclip.output_dir import check_output_dir, check_space, claimed, remove_earlier_files
from modeling_paraclip.publish import (
    CARD,
    RESULTS,
    SHEET,
    check_base,
    full_repo_id,
    upload,
)
from modeling_paraclip.terminal import set_up_output
from modeling_paraclip.training_args import DataArguments, ModelArguments, check_args
from modeling_paraclip.weights import find_file, open_processor, weight_files

logger = logging.getLogger("train")

# Chosen on the validation split. The embedded base is a tiny model, far from where it should be: it takes steps that
# would wreck a real CLIP.
SCENES_DEFAULTS = {
    "learning_rate": 3e-4,
    "num_train_epochs": 3,
    "per_device_train_batch_size": 128,
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "dataloader_pin_memory": False,
    "logging_steps": 50,
}


# ----------------------------------------------------------------------------------------------------------- arguments
class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults, and the description as it is."""


def make_parser() -> HfArgumentParser:
    """Our arguments first, then those of `transformers`."""
    parser = HfArgumentParser(
        [ModelArguments, DataArguments, ParaCLIPTrainingArguments],
        description=__doc__,
        formatter_class=HelpFormatter,
    )
    theirs = {f.name for f in fields(TrainingArguments)} - set(ParaCLIPTrainingArguments.__annotations__)
    ours = parser.add_argument_group("training")
    rest = parser.add_argument_group("transformers.TrainingArguments")
    # argparse has no public way to move an argument to another group
    for action in [a for a in parser._optionals._group_actions if a.dest != "help"]:
        parser._optionals._group_actions.remove(action)
        (rest if action.dest in theirs else ours)._group_actions.append(action)
    return parser


def parse_args(argv: list[str] | None = None) -> tuple[ModelArguments, DataArguments, ParaCLIPTrainingArguments]:
    """Parse a command line; what cannot work ends here, in one sentence."""
    parser = make_parser()
    data, _ = HfArgumentParser(DataArguments, add_help=False).parse_args_into_dataclasses(
        argv, return_remaining_strings=True
    )
    if data.source is None:
        parser.set_defaults(**SCENES_DEFAULTS)
    try:
        model, data, training = parser.parse_args_into_dataclasses(argv)
        check_args(model, data, training)
        unknown = [task for task in data.tasks if task not in suite.TASKS]
        if unknown or (data.eval_tasks is not None and not data.tasks):
            raise InputError(f"--eval_tasks {data.eval_tasks}: unknown task; known are {', '.join(suite.TASKS)}.")
    # our checks; those of transformers, and what it does not check: its JSON arguments, numbers that overflow, paths
    except (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError) as error:
        parser.exit(2, f"train.py: {InputError(error)}\n")  # without 100 lines of usage
    return model, data, training


# ------------------------------------------------------------------------------------------------------------- prepare
@dataclass
class Prepared:
    """What training and measuring need.

    Attributes:
        train: triples with `image_embeds` (and what further terms of the loss need).
        validation: likewise, what is evaluated on during training, or None.
        evaluation: what the model is measured on at the end.
        open_image: `image_id` -> picture, where the measured sets came with pictures.
        base_measured: how the base does. Only on the main process.
    """

    train: Dataset
    validation: Dataset | None
    evaluation: Evaluation
    open_image: Callable[[str], Image.Image] | None
    base_measured: list[suite.Measurement] = field(default_factory=list)


def load_data(args: DataArguments) -> tuple[Dataset, dict[str, Dataset], list[str]]:
    """(training triples, evaluation sets by name, names of those measured at the end).

    The first evaluation set is the one that is evaluated on during training.
    """
    if args.source is None:
        scenes = load_scenes()
        return scenes.pop("train"), scenes, ["test", "test_unseen"]

    train = load_triples(args.source, image_dir=args.image_dir)
    if args.validation_file is not None:
        sets = {Path(file).stem: load_triples(file, image_dir=args.image_dir) for file in args.validation_file}
    elif args.dataset_name is not None and "validation" in split_names(args.dataset_name):
        sets = {"validation": load_triples(args.dataset_name, split="validation", image_dir=args.image_dir)}
    else:
        train, validation = split_by_image_id(train, args.validation_split_percentage)
        sets = {"validation": validation} if len(validation) else {}
    if len(train) < 2:
        raise InputError(f"{len(train)} triples are left to train on: a contrastive loss needs at least 2.")
    for name, dataset in sets.items():
        shared = set(train["image_id"]) & set(dataset["image_id"])
        if shared:
            logger.warning("%d pictures of %s are trained on too: its figures will flatter", len(shared), name)
    return train, sets, list(sets)


def prepare(model_args: ModelArguments, data_args: DataArguments, args: ParaCLIPTrainingArguments) -> Prepared:
    """Read the data, embed the pictures, measure the base: each once per machine, whatever the number of processes.

    Raises:
        InputError: data or model cannot be used; the message says what to do.
    """
    with main_process_first(args):
        if args.process_index == 0:
            check_output(args)
        # what is published is what was trained on, even if the branch moves in the meantime
        model_args.model_revision = check_base(model_args.base, model_args.model_revision)
        train, sets, measured = load_data(data_args)
        if args.negative_weight:
            train, *negative = (with_negatives(data) for data in (train, *sets.values()))
            sets = dict(zip(sets, negative))
            if not any(train[NEGATIVE]):
                raise InputError("--negative_weight: the training data have no negatives in a column `negative`.")
        open_image = plots.picture_opener([sets[name] for name in measured])
        has_pictures = any("image_embeds" not in dataset.column_names for dataset in (train, *sets.values()))
        base = load_base(model_args, vision=has_pictures or bool(data_args.tasks)).to(args.device)
        check_space(args.output_dir, space_needed(base, model_args, args))
        processor = load_processor(model_args)
        check_compatible(
            model_args.base, base, processor.tokenizer, processor.image_processor if has_pictures else None
        )
        train, *embedded = (embed(data, base, processor, data_args, args) for data in (train, *sets.values()))
        sets = dict(zip(sets, embedded))
        validation = next(iter(sets.values()), None)
        if validation is None and args.eval_strategy != "no":
            raise InputError("--eval_strategy: there is nothing to evaluate on; give --validation_file.")
        evaluation = Evaluation(
            {name: sets[name] for name in measured},
            processor,
            data_args.tasks,
            data_args.eval_data,
            data_args.image_cache_dir,
            {name: About(source_of(data_args, name), f"sha256:{content_hash(sets[name])}", name) for name in measured},
        )
        measured_base = []
        if args.process_index == 0:
            measured_base = evaluation.measure("base", base, base_name(model_args))
            if validation is not None:
                check_best_metric(args, validation, measured_base)
            if args.overwrite_output_dir:  # last of all: nothing is removed for a run that cannot begin
                remove_earlier_files(args.output_dir)
    return Prepared(train, validation, evaluation, open_image, measured_base)


def with_negatives(dataset: Dataset) -> Dataset:
    """With a column `negative`, empty where there was none."""
    return dataset if NEGATIVE in dataset.column_names else dataset.add_column(NEGATIVE, [None] * len(dataset))


def check_output(args: ParaCLIPTrainingArguments) -> None:
    """Find out before the work whether the result can be written and, where that is wanted, uploaded."""
    check_output_dir(args.output_dir, overwrite=args.overwrite_output_dir, resume=args.resume_from_checkpoint)
    if args.push_to_hub:
        args.hub_model_id = full_repo_id(args.hub_model_id or Path(args.output_dir).resolve().name, args.hub_token)


def space_needed(base: PreTrainedModel, model_args: ModelArguments, args: ParaCLIPTrainingArguments) -> int:
    """Bytes that the published model and the checkpoints will take.

    A checkpoint holds what trains and Adam's two moments, and a new one is whole before an old one goes.
    """
    files = weight_files(model_args.base, revision=model_args.model_revision)
    model = sum(file.stat().st_size for file in files)
    if args.save_strategy == "no" or model_args.use_lora:  # those of adapters are small
        return model
    trained = sum(parameter.numel() * 4 for parameter in base.parameters() if parameter.requires_grad)
    return model + 3 * trained * ((args.save_total_limit or 1) + 1)


def embed(
    dataset: Dataset, base: PreTrainedModel, processor, data_args: DataArguments, args: ParaCLIPTrainingArguments
) -> Dataset:
    """Add what the loss needs of the frozen base: vectors of the pictures and, for distillation, of the captions."""
    dataset = add_image_embeds(
        dataset,
        base,
        processor.image_processor,
        cache_dir=data_args.image_cache_dir,
        skip_bad_images=data_args.skip_bad_images,
        bf16=args.bf16,
        runner=data_args.runner,
        allow_remote_images=data_args.allow_remote_images,
    )
    if args.distillation_weight:
        dataset = add_base_caption_embeds(dataset, base, processor.tokenizer, cache_dir=data_args.image_cache_dir)
    return dataset


def load_base(model_args: ModelArguments, vision: bool = False) -> PreTrainedModel:
    """The model to fine-tune, with its vision tower where pictures have to be embedded."""
    model = load_clip(model_args.base, vision=vision, revision=model_args.model_revision)
    if model_args.trained_layers is not None:
        train_last_layers(model, model_args.trained_layers)
    return model


def load_processor(model_args: ModelArguments):
    """The base's tokenizer and image processor."""
    return open_processor(model_args.base, revision=model_args.model_revision)


# ----------------------------------------------------------------------------------------------------------------- fit
def fit(
    prepared: Prepared, model_args: ModelArguments, data_args: DataArguments, args: ParaCLIPTrainingArguments
) -> EvaluatingTrainer:
    """Train. The trainer's `whole_model()` is the result, unless `stopped_by` says that a signal stopped it.

    Raises:
        InputError, CheckpointError, NotFiniteLoss: see `ParaCLIPTrainer`.
    """
    set_seed(args.seed)  # adapters start the same in all processes, whatever each of them did so far
    # the pictures are vectors now: the vision tower leaves memory, unless tasks have pictures of their own
    clip = load_base(model_args, vision=bool(data_args.tasks))
    clip.loss = args.make_loss()
    tokenizer, validation = prepared.evaluation.processor.tokenizer, prepared.validation
    limit = token_limit(clip, tokenizer)
    columns = (*TEXT_COLUMNS, NEGATIVE) if args.negative_weight else TEXT_COLUMNS
    trainer = EvaluatingTrainer(
        model=add_lora(clip, **model_args.lora) if model_args.lora else clip,
        args=args,
        train_dataset=tokenize(prepared.train, tokenizer, limit, columns),
        eval_dataset=tokenize(validation, tokenizer, limit, columns) if validation is not None else None,
        data_collator=ParaCLIPCollator(args.encode_chunk_tokens, Chunking(clip, tokenizer.pad_token_id)),
        compute_metrics=retrieval_metrics(validation) if validation is not None else None,
        run={
            "base": model_args.base,
            "revision": model_args.model_revision,
            "lora": model_args.lora,
            "trained_layers": model_args.trained_layers,
            "data": content_hash(prepared.train),
        },
    )
    trainer.evaluation = prepared.evaluation
    if trainer.is_world_process_zero():
        print(printable(overview(trainer, prepared.train)), flush=True)
    trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    return trainer


def content_hash(dataset: Dataset) -> str:
    """Hash of the triples, in their order, with their negatives where there are any."""
    digest = hashlib.sha256()
    for column in ("image_id", *TEXT_COLUMNS, *({NEGATIVE} & set(dataset.column_names))):
        for value in dataset[column]:
            digest.update((value or "").encode(errors="surrogatepass") + b"\0")
    return digest.hexdigest()[:16]


# ---------------------------------------------------------------------------------------- publish, measure, card, push
def publish(trainer: EvaluatingTrainer, model: PreTrainedModel, model_args: ModelArguments) -> None:
    """Write the plain CLIPModel, which opens with `from_pretrained`."""
    publish_model(model, model_args.base, trainer.args.output_dir, revision=model_args.model_revision)


def measure(trainer: EvaluatingTrainer, prepared: Prepared) -> tuple[list[suite.Measurement], list[report.Comparison]]:
    """The figures of the published model, written to `results.json` with the base's, and the comparison, printed."""
    evaluation, output_dir = prepared.evaluation, Path(trainer.args.output_dir)
    if not (evaluation.sets or evaluation.tasks):
        return [], []
    # opened and computed with as the base was, so that only the training makes a difference
    tuned = load_clip(output_dir, vision=bool(evaluation.tasks)).to(trainer.args.device)
    tuned_measured = evaluation.measure("tuned", tuned, repo_id(trainer.args))
    report.write_results(output_dir / RESULTS, prepared.base_measured + tuned_measured)
    comparisons = report.compare(zip(prepared.base_measured, tuned_measured, strict=True))
    tasks = {m.dataset for m in tuned_measured if m.task in evaluation.tasks}
    print("\n" + report.table([row for row in comparisons if row.is_headline or row.dataset in tasks]))
    return tuned_measured, comparisons


def draw(trainer: EvaluatingTrainer, prepared: Prepared, model_args: ModelArguments) -> None:
    """Draw what two wordings find before and after, to look at. That it cannot be drawn ends no run."""
    evaluation, output_dir = prepared.evaluation, Path(trainer.args.output_dir)
    if not evaluation.sets or prepared.open_image is None:
        return
    queries, tokenizer = next(iter(evaluation.sets.values())), evaluation.processor.tokenizer
    models = {"base": load_base(model_args), "tuned": load_clip(output_dir, vision=False)}
    texts = {
        name: suite.embed_triples(model.to(trainer.args.device), tokenizer, queries) for name, model in models.items()
    }
    try:
        plots.draw_rankings(output_dir / SHEET, prepared.open_image, queries, evaluation.gallery, texts)
    except (OSError, ValueError) as error:  # e.g. a picture that was moved in the meantime
        logger.warning("%s was not drawn: %s", SHEET, error)


def card(
    trainer: EvaluatingTrainer,
    prepared: Prepared,
    tuned_measured: list[suite.Measurement],
    comparisons: list[report.Comparison],
    model_args: ModelArguments,
    data_args: DataArguments,
    command: str = "",
) -> None:
    """Write the model card. It names what came from this machine by file name, never by path."""
    output_dir = Path(trainer.args.output_dir)
    embedded = model_args.model_name_or_path is None
    data_id = data_args.dataset_name if data_args.dataset_name and not Path(data_args.dataset_name).exists() else None
    is_local = Path(model_args.base).exists()
    license_: str | list[str] | None = "apache-2.0"  # of what is embedded
    language: str | list[str] | None = "en"
    if not embedded:
        stated = named_in_card("license", model_args.base, revision=model_args.model_revision)
        license_, language = model_args.license or stated, language_of(model_args, data_args)
    write_card(
        output_dir / CARD,
        model_name=repo_id(trainer.args).split("/")[-1],
        metadata={
            "base_model": None if is_local else model_args.base,
            "base_model_relation": None if is_local else "finetune",
            "license": license_,
            "language": language,
            "datasets": data_id,
        },
        tuned=tuned_measured,
        comparisons=comparisons,
        repo_id=repo_id(trainer.args),
        base_name=f"`{base_name(model_args)}`" if not embedded else base_name(model_args),
        training_data=training_data(data_args),
        num_train=f"{len(prepared.train):,}",
        command=command,
        gallery_size=f"{len(prepared.evaluation.gallery[0]):,}" if prepared.evaluation.sets else None,
        **training_facts(trainer),
    )


def repo_id(args: ParaCLIPTrainingArguments) -> str:
    """What the model is called: its place on the Hub, or its folder."""
    return args.hub_model_id or Path(args.output_dir).resolve().name


def base_name(model_args: ModelArguments) -> str:
    """What the base is called, without a path of this machine."""
    if model_args.model_name_or_path is None:
        return "the embedded base CLIP of ParaCLIP, trained on drawn scenes"
    return Path(model_args.base).name if Path(model_args.base).exists() else model_args.base


def training_data(data_args: DataArguments) -> str:
    """What the data are called, without a path of this machine."""
    if data_args.source is None:
        return "the embedded `scenes` (drawn pictures)"
    source = Path(data_args.source)
    return source.name if source.exists() else str(source)


def source_of(data_args: DataArguments, name: str) -> str:
    """What the data of a measured set are called."""
    files = {Path(file).stem: Path(file).name for file in data_args.validation_file or ()}
    return files.get(name, training_data(data_args))


def named_in_card(entry: str, name_or_path: str, **hub_kwargs) -> str | list[str] | None:
    """What the card of a model or data set says, e.g. its licence. None: there is no card, or it does not say."""
    try:
        card = find_file(name_or_path, CARD, **hub_kwargs)
        return getattr(read_card(card).data, entry, None) if card else None
    except InputError as error:
        logger.warning("the %s of %s is not known: %s", entry, name_or_path, error)
        return None


def language_of(model_args: ModelArguments, data_args: DataArguments) -> str | list[str] | None:
    """The languages that the card of the base or of the data set names; they are not guessed."""
    named = named_in_card("language", model_args.base, revision=model_args.model_revision)
    if named or data_args.dataset_name is None:
        return named
    return named_in_card("language", data_args.dataset_name, repo_type="dataset")


def shown_command(argv: Sequence[str]) -> str:
    """The command for the card: of what is on this machine only names, and no token."""
    shown, is_secret = [], False
    for argument in argv:
        name, equals, value = argument.partition("=")
        if not is_secret and name != "--hub_token":
            said = value if equals else name
            is_local = said.startswith("/") or Path(said).exists()
            shown.append(argument.removesuffix(said) + Path(said).name if is_local else argument)
        is_secret = argument == "--hub_token"
    return shlex.join(["python", "train.py", *shown])


def push(trainer: EvaluatingTrainer, data_args: DataArguments) -> str:
    """Upload what this run published, and nothing else that may be in the folder. Returns the address.

    Raises:
        CheckpointError: the upload failed; the model is complete in its folder.
    """
    args = trainer.args
    return upload(
        args.output_dir,
        args.hub_model_id,
        pictures=data_args.publish_pictures or data_args.source is None,
        private=args.hub_private_repo,
        revision=args.hub_revision,
        token=args.hub_token,
    )


def run(
    model_args: ModelArguments, data_args: DataArguments, args: ParaCLIPTrainingArguments, command: str = ""
) -> int:
    """All stages. Returns the exit status: 0, or 128 + the number of the signal that stopped the training.

    Args:
        command: what the card says the model was made with.
    """
    with claimed(args.output_dir, sources=(model_args.base,)) if args.process_index == 0 else nullcontext():
        return _stages(model_args, data_args, args, command)


def _stages(
    model_args: ModelArguments, data_args: DataArguments, args: ParaCLIPTrainingArguments, command: str
) -> int:
    prepared = prepare(model_args, data_args, args)
    trainer = fit(prepared, model_args, data_args, args)
    if trainer.stopped_by:
        logger.warning("stopped at step %d; go on with --resume_from_checkpoint last", trainer.state.global_step)
        return 128 + trainer.stopped_by
    model = trainer.whole_model()
    await_main_process(args)
    if not trainer.is_world_process_zero():
        return 0
    publish(trainer, model, model_args)
    try:
        card(trainer, prepared, [], [], model_args, data_args, command)
        trainer.save_state()
        card(trainer, prepared, *measure(trainer, prepared), model_args, data_args, command)
    except OSError as error:
        raise CheckpointError(f"the model is in {args.output_dir}, but not its card and results: {error}") from error
    draw(trainer, prepared, model_args)
    if args.push_to_hub:
        print(f"pushed to {push(trainer, data_args)}")
    where, opened_with = printable(args.output_dir), plain_class(trainer.clip).__name__
    print(f"{where} is ready after {trainer.seconds:.0f} s: {opened_with}.from_pretrained({str(args.output_dir)!r})")
    return 0


def main(argv: list[str] | None = None) -> None:
    """The command line: what a user can cause ends in one sentence."""
    arguments = parse_args(argv)
    set_up_output(sys.stdout)
    try:
        status = run(*arguments, command=shown_command(sys.argv[1:] if argv is None else argv))
    # OSError: whatever the machine does not let us do, e.g. a full disk
    except (InputError, dataset_builder.InputError, NotFiniteLoss, OSError) as error:
        sys.exit(f"train.py: {error}")
    except KeyboardInterrupt:
        sys.exit("\ntrain.py: stopped. Embeddings and checkpoints are kept; rerun with --resume_from_checkpoint last.")
    if status:
        sys.exit(status)


if __name__ == "__main__":
    main()
