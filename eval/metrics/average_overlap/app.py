"""The page of this metric's Space: predictions and references as JSON, and what the metric says of them.

Each metric's folder has this file, the same in all: a Space holds one folder.
"""

import ast
import doctest
import json
import os
from pathlib import Path

import evaluate

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "0")  # read when gradio is imported
import gradio as gr

(MODULE,) = (path for path in Path(__file__).parent.glob("*.py") if path.stem not in ("app", "__init__"))


def load():
    """The metric, with nothing of an earlier user in it."""
    return evaluate.load(str(MODULE), keep_in_memory=True)


def example(documentation: str) -> dict:
    """The arguments of the last call in the examples of a metric's documentation."""
    source = doctest.DocTestParser().get_examples(documentation)[-1].source
    call = next(node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return {argument.arg: ast.literal_eval(argument.value) for argument in call.keywords}


def compute(arguments: str) -> dict:
    """What the metric gives for its arguments as a JSON object. gr.Error where they are wrong."""
    try:
        return load().compute(**json.loads(arguments))
    except (ValueError, TypeError) as error:
        raise gr.Error(str(error), print_exception=False) from error


def build() -> gr.Interface:
    """The page."""
    metric = load()
    lines = (f" {json.dumps(name)}: {json.dumps(value)}" for name, value in example(metric.inputs_description).items())
    return gr.Interface(
        compute,
        gr.Code("\n".join(["{", ",\n".join(lines), "}"]), language="json", label="Arguments"),
        gr.JSON(label="Result"),
        title=MODULE.stem.replace("_", " ").capitalize(),
        description=metric.description,
        article=f"```\n{metric.inputs_description.strip()}\n```",
        flagging_mode="never",
    )


if __name__ == "__main__":
    build().launch()
