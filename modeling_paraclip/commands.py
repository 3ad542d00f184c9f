"""The console commands: each runs what was installed with it, whatever a folder of the user's is called.

`train`, `eval` and `dataset_builder` are names that a user may have in the current folder, or on PYTHONPATH, too. Here
they are taken from the folder that this package is in, and from nowhere else.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType

from .__main__ import main

HOME = str(Path(__file__).resolve().parents[1])


def _own(name: str) -> ModuleType:
    """Import a top-level module from `HOME`."""
    spec = PathFinder.find_spec(name, [HOME])
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"{name} is not installed in {HOME}")
    sys.modules[name] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def train() -> None:
    """`paraclip-train`: `python train.py`."""
    _own("dataset_builder")
    _own("eval")
    _own("train").main()


def evaluate() -> None:
    """`paraclip-eval`: `python -m eval`."""
    _own("eval")
    import_module("eval.__main__").main()


def corpus() -> None:
    """`paraclip-corpus`: `python -m dataset_builder`."""
    _own("dataset_builder")
    import_module("dataset_builder.__main__").main()


def model() -> None:
    """`paraclip-model`: `python -m modeling_paraclip`."""
    main()
