"""Tiny models whose vectors differ, the base of one, and exports of it, each written once a session."""

import json
import shutil
from importlib.util import find_spec

import pytest
import torch
from transformers import AutoModel, GemmaTokenizer

from modeling_paraclip.architectures import is_text_weight
from modeling_paraclip.exports import export_model


def needs(*packages):
    """Skip, saying what is not installed."""
    absent = [package for package in packages if find_spec(package) is None]
    return pytest.mark.skipif(bool(absent), reason=f"not installed: {', '.join(absent)}")


needs_onnx = needs("onnx", "onnxruntime", "onnxscript")


def moved(base, folder):
    """A copy of a model with another text tower."""
    shutil.copytree(base, folder)
    model = AutoModel.from_pretrained(folder)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if is_text_weight(name):
                weight.add_(torch.randn_like(weight) * 0.3)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def clip(tiny_clip, tmp_path_factory):
    """`tiny_clip` with another text tower."""
    return moved(tiny_clip, tmp_path_factory.mktemp("clip") / "model")


@pytest.fixture(scope="session")
def siglip(tiny_siglip, tmp_path_factory):
    """`tiny_siglip` with another text tower."""
    return moved(tiny_siglip, tmp_path_factory.mktemp("siglip") / "model")


@pytest.fixture(scope="session")
def siglip2(siglip, tmp_path_factory):
    """A SigLIP 2 of fixed resolution: of the type siglip, with Gemma's tokenizer, which pads on the left if let."""
    folder = tmp_path_factory.mktemp("siglip2") / "model"
    shutil.copytree(siglip, folder)
    letters = "\u2581abcdefghijklmnopqrstuvwxyz"
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters, "re", "red"]
    tokenizer = GemmaTokenizer(
        vocab={piece: n for n, piece in enumerate(pieces)},
        merges=[("r", "e"), ("re", "d")],
        add_bos_token=False,
        add_eos_token=True,
        model_max_length=64,
    )
    (folder / "tokenizer.json").unlink()
    tokenizer.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] |= {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
    (folder / "config.json").write_text(json.dumps(config))
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
