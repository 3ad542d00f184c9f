"""Nonsense for every option of every command."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

from .box import Box, Case, Result, either, model_is_whole, refused, works

HOSTILE = "\x1b]0;evil\x07\x1b[2J\u202e"
NUMBERS = ("-1", "0", "nan", "inf", "1e400", "abc", "", "1.5", "99999999999999999999", "1,5", HOSTILE)
TEXTS = ("", " ", "nowhere/x", "x" * 5000, HOSTILE, "{{7*7}}", "$(touch PWNED)")  # also as outputs: no "/"
# options whose value decides the size of the work: these values would be honest requests for more than this test gives
TOO_MUCH = {
    ("--num_train_epochs", "inf"),
    ("--num_train_epochs", "99999999999999999999"),
    ("--max_steps", "99999999999999999999"),
    ("--logging_steps", "inf"),
    ("--dataloader_num_workers", "99999999999999999999"),
    ("--ddp_timeout", "-1"),
    ("--dataloader_prefetch_factor", "99999999999999999999"),
}


def _train_options() -> list[tuple[str, argparse.Action]]:
    import train

    actions = train.make_parser()._actions
    return [
        (action.option_strings[0], action) for action in actions if action.option_strings and action.dest != "help"
    ]


def _train(option: str, value: str, *more: str):
    def run(box: Box) -> Result:
        box.pairs()
        box.protect("pairs.jsonl", "pictures")
        return box.train(*more, f"{option}={value}")

    return run


def _whole(box: Box, result: Result) -> str:
    """Some run wherever its --output_dir went; what is in `out` has to be whole."""
    return model_is_whole(box, result) if Path("out/model.safetensors").exists() else ""


def cases(args) -> Iterator[Case]:
    """Each option of `train.py`, of `transformers` too, with nonsense of its type; then the other commands."""
    ours = {
        "--learning_rate",
        "--num_train_epochs",
        "--max_steps",
        "--per_device_train_batch_size",
        "--warmup_steps",
        "--weight_decay",
        "--image_text_weight",
        "--caption_paraphrase_weight",
        "--paraphrase_paraphrase_weight",
        "--distillation_weight",
        "--text_temperature",
        "--encode_chunk_tokens",
        "--lora_r",
        "--trained_layers",
        "--lora_alpha",
        "--lora_dropout",
        "--validation_split_percentage",
        "--save_total_limit",
        "--logging_steps",
        "--save_steps",
        "--eval_steps",
        "--seed",
        "--per_device_eval_batch_size",
        "--gradient_accumulation_steps",
        "--max_grad_norm",
        "--adam_beta1",
        "--adam_beta2",
        "--adam_epsilon",
    }
    for option, action in _train_options():
        if option == "--output_dir":
            values = TEXTS
        elif action.type in (int, float) or option in ours:
            values = NUMBERS if option in ours else ("-1", "nan", "abc", "")
        elif action.choices is not None or action.nargs == "?":
            values = ("evil", "", "-1")
        else:
            values = (
                TEXTS
                if option in ("--model_revision", "--image_dir", "--image_cache_dir", "--train_file")
                else ("evil", "")
            )
        for value in values:
            if (option, value) in TOO_MUCH:
                continue
            more = ["--use_lora"] if option.startswith("--lora") else []
            if option in ("--eval_steps", "--per_device_eval_batch_size"):
                more = ["--eval_strategy", "steps", "--validation_split_percentage", "40"]
            name, run = f"train {option} {value[:12]!r}", _train(option, value, *more)
            # compiling takes its time
            yield Case("arguments", name, run, either(check=_whole), deadline=300 if "compile" in option else 60)
    yield from _train_together()
    yield from _corpus()
    yield from _evaluate()
    yield from _model()


def _train_together() -> Iterator[Case]:
    """Arguments that contradict each other or want what is not there."""
    for name, arguments, names in (
        (
            "no weights",
            ["--image_text_weight=0", "--caption_paraphrase_weight=0", "--paraphrase_paraphrase_weight=0"],
            ["weight"],
        ),
        ("two sources", ["--dataset_name", "x"], ["--train_file", "--dataset_name"]),
        ("ray without ray", ["--runner", "ray"], ["ray"]),
        ("wandb without wandb", ["--report_to", "wandb"], ["wandb"]),
        ("8-bit optimiser", ["--optim", "adamw_bnb_8bit"], ["bitsandbytes"]),
        ("best model without evaluation", ["--load_best_model_at_end"], []),
        ("evaluation without data", ["--eval_strategy", "steps", "--eval_steps", "1"], ["eval"]),
        (
            "unknown best metric",
            [
                "--eval_strategy",
                "epoch",
                "--save_strategy",
                "epoch",
                "--load_best_model_at_end",
                "--validation_split_percentage",
                "40",
                "--metric_for_best_model",
                "evil",
            ],
            ["evil"],
        ),
        ("unknown task", ["--eval_tasks", "sts,evil"], ["evil"]),
        ("empty task", ["--eval_tasks", ","], ["task"]),
        ("task without data", ["--eval_tasks", "sts", "--eval_data", "nowhere"], ["nowhere"]),
        ("deepspeed", ["--deepspeed", "x.json"], ["deepspeed"]),
        ("fp16 on a CPU", ["--fp16"], []),
        ("fsdp alone", ["--fsdp", "full_shard"], []),
        ("tf32", ["--tf32", "true"], []),
        ("push without a Hub", ["--push_to_hub"], ["hub"]),
        ("group_by_length", ["--train_sampling_strategy", "group_by_length"], ["length"]),
        ("torch_compile with an unknown backend", ["--torch_compile", "--torch_compile_backend", "evil"], []),
        ("all validation", ["--validation_split_percentage", "100"], []),
        ("an unknown option", ["--evil"], ["--evil"]),
        ("a half option", ["--learning"], []),
        ("a stray value", ["stray"], ["stray"]),
        ("a config file of arguments", ["@args.txt"], []),
        ("batch of one", ["--per_device_train_batch_size=1"], ["batch"]),
        ("optim_args evil", ["--optim_args", "lr=__import__('os').system('touch PWNED')"], []),
        ("accelerator_config evil", ["--accelerator_config", '{"evil": 1}'], []),
        ("accelerator_config a file", ["--accelerator_config", "/etc/passwd"], []),
        ("lr_scheduler_kwargs evil", ["--lr_scheduler_kwargs", '{"evil": 1}'], []),
        ("lr_scheduler_kwargs no JSON", ["--lr_scheduler_kwargs", "{"], []),
        ("revision evil", ["--model_revision", "../../evil"], []),
    ):
        right = refused(*names) if names else either(*names, check=_whole)
        yield Case("arguments", f"train: {name}", _train_more(arguments), right)
    for name, argv in {
        "no model": ["--train_file", "pairs.jsonl"],
        "no data": ["--model_name_or_path", "x"],
        "pictures only": ["--image_dir", "pictures"],
        "validation only": ["--validation_file", "pairs.jsonl"],
        "help": ["--help"],
    }.items():
        right = works() if name == "help" else refused("--")
        yield Case("arguments", f"train: {name} given", lambda box, argv=argv: box.train_bare(*argv), right)


def _train_more(arguments: list[str]):
    def run(box: Box) -> Result:
        box.pairs()
        return box.train(*arguments)

    return run


def _corpus() -> Iterator[Case]:
    base = ["paraphrase", "--captions", "captions.txt", "--output", "corpus", "--generator", "rules"]

    def run(*argv: str):
        def work(box: Box) -> Result:
            Path("captions.txt").write_bytes((box.fixtures / "captions.txt").read_bytes())
            box.copy("corpus", "made")
            box.protect("captions.txt")
            return box.corpus(*argv)

        return work

    numbers = (
        "--limit",
        "--min_words",
        "--max_words",
        "--max_length_ratio",
        "--min_similarity",
        "--max_similarity",
        "--concurrency",
        "--price_in",
        "--price_out",
        "--partitions",
        "--temperature",
        "--top_p",
        "--max_tokens",
        "--max_retries",
        "--timeout",
    )
    texts = (
        "--captions",
        "--output",
        "--prompt_1",
        "--prompt_2",
        "--similarity_model",
        "--caption_column",
        "--image_id_column",
        "--dataset_split",
        "--model",
        "--base_url",
        "--generator",
        "--runner",
        "--gguf_file",
    )
    for option, value in itertools.product(numbers, NUMBERS):
        yield Case("arguments", f"paraphrase {option} {value[:12]!r}", run(*base, f"{option}={value}"), either())
        if option not in ("--partitions",):
            yield Case(
                "arguments",
                f"paraphrase dry {option} {value[:12]!r}",
                run(*base, "--dry_run", f"{option}={value}"),
                either(),
            )
    for option, value in itertools.product(texts, TEXTS):
        yield Case("arguments", f"paraphrase {option} {value[:12]!r}", run(*base, f"{option}={value}"), either())
    for value in TEXTS:
        yield Case(
            "arguments",
            f"paraphrase --dataset_name {value[:12]!r}",
            run("paraphrase", f"--dataset_name={value}", "--output", "corpus", "--generator", "rules"),
            refused(),
        )
        for command in ("stats", "export", "publish"):
            more = {"stats": [], "export": ["--output", "x.jsonl"], "publish": ["you/x", "--license", "mit"]}[command]
            yield Case("arguments", f"{command} of {value[:12]!r}", run(command, *more, "--", value), refused())
        yield Case(
            "arguments",
            f"export --format {value[:12]!r}",
            run("export", "made", "--output", "x", f"--format={value}"),
            refused("format"),
        )
        yield Case(
            "arguments",
            f"publish to {value[:12]!r}",
            run("publish", "--license", "mit", "--", "made", value),
            refused(),
        )
        yield Case(
            "arguments",
            f"publish --license {value[:12]!r}",
            run("publish", "made", "you/x", f"--license={value}"),
            refused(),
        )
        yield Case(
            "arguments",
            f"publish --config_name {value[:12]!r}",
            run("publish", "made", "you/x", "--license", "mit", f"--config_name={value}"),
            refused(),
        )
    for value in NUMBERS:
        yield Case(
            "arguments",
            f"publish --validation_percentage {value[:12]!r}",
            run("publish", "made", "you/x", "--license", "mit", f"--validation_percentage={value}"),
            refused(),
        )
    for argv in (
        [],
        ["evil"],
        ["paraphrase"],
        ["export"],
        ["stats"],
        ["publish", "made"],
        ["paraphrase", "--generator", "openai"],
        [*base[:-1], "openai"],
        [*base[:-1], "transformers"],
        [*base, "--runner", "ray"],
    ):
        yield Case("arguments", f"corpus {' '.join(argv)!r}", run(*argv), refused())


def _evaluate() -> Iterator[Case]:
    def run(*argv: str):
        def work(box: Box) -> Result:
            box.copy("data")
            box.protect("data")
            return box.evaluate("--tasks", "sts", *argv)

        return work

    for option in ("--max_tokens", "--num_workers", "--interpolate"):
        for value in NUMBERS:
            yield Case("arguments", f"eval {option} {value[:12]!r}", run(f"{option}={value}"), either())
    for option in ("--tasks", "--data", "--device", "--dtype", "--cache_dir", "--card", "--models"):
        for value in TEXTS:
            yield Case("arguments", f"eval {option} {value[:12]!r}", run(f"{option}={value}"), either())
    for value in ("sts,", "sts,sts", ",", "evil", "all,sts", "STS", "sts aro"):
        yield Case("arguments", f"eval --tasks {value!r} too", run(f"--tasks={value}"), refused("tasks"))
    for value in ("cuda:99", "cuda", "mps", "meta", "evil", "cpu:7", "xla"):
        yield Case("arguments", f"eval --device {value!r} too", run(f"--device={value}"), either("device"))
    for argv in (
        [],
        ["--models"],
        ["--tasks", "sts"],
        ["--models", "a", "a"],
        ["--models", "a", "--interpolate", "0.5"],
    ):
        yield Case(
            "arguments", f"eval only {' '.join(argv)!r}", lambda box, argv=argv: box.evaluate_bare(*argv), refused()
        )


def _model() -> Iterator[Case]:
    for value in (*NUMBERS, "2", "-0.1", "1e-300"):
        yield Case(
            "arguments",
            f"interpolate --alpha {value[:12]!r}",
            lambda box, v=value: box.model(
                "interpolate", box.fixtures / "tiny", box.fixtures / "trained", f"--alpha={v}", "--output", "out"
            ),
            refused("alpha") if value not in ("0", "1e-300") else works(model_is_whole),
        )
    for value in TEXTS:
        yield Case(
            "arguments",
            f"publish {value[:12]!r}",
            lambda box, v=value: box.model("publish", "--output", "out", "--", v),
            refused(),
        )
        yield Case(
            "arguments",
            f"publish --base {value[:12]!r}",
            lambda box, v=value: box.model(
                "publish", box.fixtures / "trained" / "checkpoint-4", f"--base={v}", "--output", "out"
            ),
            either(check=model_is_whole),
        )
        yield Case(
            "arguments",
            f"publish --output {value[:12]!r}",
            lambda box, v=value: box.model("publish", box.fixtures / "trained" / "checkpoint-4", f"--output={v}"),
            either(),
        )
    for argv in (
        [],
        ["evil"],
        ["publish"],
        ["interpolate", "a"],
        ["interpolate", "a", "b", "--output", "x"],
        ["publish", "x", "--output"],
    ):
        yield Case("arguments", f"model {' '.join(argv)!r}", lambda box, argv=argv: box.model(*argv), refused())
