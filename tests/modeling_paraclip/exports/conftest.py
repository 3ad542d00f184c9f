"""A tiny CLIP whose vectors differ, the base it was trained from, and exports of it, each written once a session."""

import shutil
from importlib.util import find_spec

import pytest
import torch
from transformers import CLIPModel

from modeling_paraclip.architectures import is_text_weight
from modeling_paraclip.exports import export_model


def needs(*packages):
    """Skip, saying what is not installed."""
    absent = [package for package in packages if find_spec(package) is None]
    return pytest.mark.skipif(bool(absent), reason=f"not installed: {', '.join(absent)}")


needs_onnx = needs("onnx", "onnxruntime", "onnxscript")


@pytest.fixture(scope="session")
def clip(tiny_clip, tmp_path_factory):
    """`tiny_clip` with another text tower."""
    folder = tmp_path_factory.mktemp("clip") / "model"
    shutil.copytree(tiny_clip, folder)
    model = CLIPModel.from_pretrained(folder)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if is_text_weight(name):
                weight.add_(torch.randn_like(weight) * 0.3)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def exported(clip, tiny_clip, tmp_path_factory):
    """`exported(application)` -> the folder and the printed lines."""
    made = {}

    def export(application):
        if application not in made:
            folder = tmp_path_factory.mktemp(application) / "out"
            made[application] = folder, export_model(clip, application, folder, tiny_clip)
        return made[application]

    return export
