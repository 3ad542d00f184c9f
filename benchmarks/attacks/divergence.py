"""Runs that diverge: weights that are not finite, or nothing, are never published."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .box import Box, Case, Result, either, model_is_whole


def _run(*arguments: str):
    def run(box: Box) -> Result:
        box.pairs()
        return box.train("--max_steps", 8, *arguments)

    return run


def _right(box: Box, result: Result) -> str:
    if Path("out/config.json").exists():
        return model_is_whole(box, result)
    return ""


def cases(args) -> Iterator[Case]:
    """Rates, weights, temperatures and optimisers that blow up."""
    extremes: dict[str, list[str]] = {
        **{
            f"learning rate {rate}": ["--learning_rate", rate]
            for rate in ("1", "1e3", "1e10", "1e20", "1e30", "1e38", "1e300", "-1e30", "0")
        },
        **{
            f"learning rate {rate}, no warm-up": [
                "--learning_rate",
                rate,
                "--warmup_steps",
                "0",
                "--lr_scheduler_type",
                "constant",
            ]
            for rate in ("1e3", "1e30", "1e38", "1e300")
        },
        **{
            f"SGD at {rate}": [
                "--optim",
                "sgd",
                "--learning_rate",
                rate,
                "--lr_scheduler_type",
                "constant",
                "--warmup_steps",
                "0",
            ]
            for rate in ("1e3", "1e10", "1e30", "1e38")
        },
        **{
            f"LoRA at {rate}": ["--use_lora", "--learning_rate", rate, "--lr_scheduler_type", "constant"]
            for rate in ("1e3", "1e30", "1e38")
        },
        **{f"bf16 at {rate}": ["--bf16", "--learning_rate", rate] for rate in ("1e3", "1e30", "1e38")},
        **{
            f"weight decay {value}": ["--weight_decay", value, "--learning_rate", "1"]
            for value in ("1e10", "1e30", "-1e10")
        },
        **{
            f"image_text_weight {value}": ["--image_text_weight", value]
            for value in ("1e30", "1e38", "1e300", "-1", "-1e30")
        },
        **{f"distillation_weight {value}": ["--distillation_weight", value] for value in ("1e30", "1e300", "-1")},
        **{
            f"text_temperature {value}": ["--text_temperature", value]
            for value in ("1e-30", "1e-300", "1e30", "1e300", "5e-324")
        },
        **{
            f"max_grad_norm {value}": ["--max_grad_norm", value, "--learning_rate", "1e30"]
            for value in ("0", "1e300", "-1")
        },
        **{f"adam_epsilon {value}": ["--adam_epsilon", value] for value in ("0", "1e-300", "1e300")},
        **{f"adam_beta2 {value}": ["--adam_beta2", value] for value in ("0", "1", "2", "-1")},
        **{f"lora_alpha {value}": ["--use_lora", "--lora_alpha", value] for value in ("1000000000", "-1", "0")},
        "last step only": ["--learning_rate", "1e38", "--max_steps", "1", "--warmup_steps", "0"],
        "saved every step": ["--learning_rate", "1e38", "--save_steps", "1", "--warmup_steps", "0"],
        "measured": ["--learning_rate", "1e38", "--warmup_steps", "0", "--validation_split_percentage", "40"],
        "measured every step": [
            "--learning_rate",
            "1e38",
            "--warmup_steps",
            "0",
            "--validation_split_percentage",
            "40",
            "--eval_strategy",
            "steps",
            "--eval_steps",
            "1",
        ],
        "no NaN filter": ["--learning_rate", "1e38", "--warmup_steps", "0", "--logging_nan_inf_filter", "False"],
    }
    for name, arguments in extremes.items():

        def right(box: Box, result: Result) -> str:
            return _right(box, result) or either(check=_right)(box, result)

        yield Case("divergence", name, _run(*arguments), right)
        if "--max_steps" not in arguments:
            yield Case("divergence", f"{name}, one step", _run(*arguments, "--max_steps", "1"), right)
