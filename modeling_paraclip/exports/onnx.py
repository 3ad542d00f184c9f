"""ONNX: `onnx/text_model.onnx`, `_fp16` and `_quantized` (int8), which take texts of any length up to the limit."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..architectures import text_tower
from .tower import Tower, need, tokenize, write_config, write_tokenizer

NEEDS = ("onnx", "onnxruntime", "onnxscript")
OPSET = 20
ONE_FILE = 1.8 * 2**30  # bytes: a file of ONNX holds 2 GiB at most; beyond, the weights lie in a file beside it
FULL, HALF, INT8 = "text_model.onnx", "text_model_fp16.onnx", "text_model_quantized.onnx"
VECTORS = "embeds"
MARKS = ("onnx/text_model*.onnx",)
INSTALL = """\
session = onnxruntime.InferenceSession("{output}/onnx/text_model.onnx")
session.run(["{vectors}"], {{"input_ids": ids}}): ids are int64, (n, length), of tokenizer.json, padded on the right
The vectors are not normalised: divide each by its length before you compare it with the index."""


def export(folder: str | Path, tower: Tower, output: Path) -> None:
    """Write the three models, their configuration and tokenizer to `output`."""
    models = output / "onnx"
    models.mkdir()
    write_onnx(tower, models / FULL)
    write_half(models / FULL, models / HALF)
    write_int8(models / FULL, models / INT8)
    write_tokenizer(folder, tower, output)
    write_config(folder, output)


def encode(output: Path, texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Texts -> the (n, dim) vectors of each model that is there, by its file."""
    ids, mask = tokenize(output, texts)
    feeds = [{"input_ids": ids, "attention_mask": mask}]
    names = [name for name in (FULL, HALF, INT8) if (output / "onnx" / name).is_file()]
    return {f"onnx/{name}": run(output / "onnx" / name, feeds) for name in names}


def run(model: Path, batches: list[dict[str, np.ndarray]]) -> np.ndarray:
    """The first output of an ONNX model for each batch, which is given by name and may have more than is taken."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    taken = [entry.name for entry in session.get_inputs()]
    return np.concatenate([session.run(None, {name: batch[name] for name in taken})[0] for batch in batches])


def write_onnx(
    tower: Tower, path: Path, *, output_name: str | None = None, unit: bool = False, fixed: str = ""
) -> None:
    """Write a text tower as ONNX, its output (n, dim) float32.

    Args:
        output_name: by default the tower's own.
        unit: whether the output is L2-normalised.
        fixed: name of the one input, int32 (1, limit), of a model that takes one padded text. By default the inputs
            are `input_ids` and, where the tower needs it, `attention_mask`, both int64 (n, length).

    Raises:
        InputError: a package is not installed.
    """
    need(*NEEDS)
    tower.model.set_attn_implementation("eager")  # matrix products and a softmax, which every runtime has
    encoded = tower.tokenize(["a dog", "two dogs on a beach"])
    if fixed:
        encoded = {fixed: tower.tokenize(["a dog"], "max_length")["input_ids"].int()}
    elif tower.is_clip:
        del encoded["attention_mask"]
    elif tower.is_siglip:  # of any length: the graph pads
        encoded["input_ids"] = encoded["input_ids"][:, :8]
    with _quiet():
        program = torch.onnx.export(
            _TextTower(tower, unit).eval(),
            tuple(encoded.values()),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(encoded),
            output_names=[output_name or tower.output_name],
            dynamic_shapes=None if fixed else [{0: "batch", 1: "length"}] * len(encoded),
            verbose=False,
        )
    assert program is not None  # it is with dynamo
    _forget_source(program.model.graph)
    weights = sum(p.numel() * 4 for module in text_tower(tower.model) for p in module.parameters())
    program.save(str(path), external_data=weights > ONE_FILE)


class _TextTower(nn.Module):
    """What is traced: (n, length) ids and perhaps their mask -> (n, dim)."""

    def __init__(self, tower: Tower, unit: bool):
        super().__init__()
        self.model, self.unit = tower.model, unit
        self.is_clip, self.end, self.pad = tower.is_clip, tower.tokenizer.eos_token_id, tower.tokenizer.pad_token_id
        self.length = tower.limit if tower.is_siglip else None

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        if self.is_clip or self.length:  # transformers.js cuts a long text's end off, and with it the last token
            has_end = torch.eq(input_ids, self.end).any(dim=1, keepdim=True)
            last = torch.where(has_end, input_ids[:, -1:], self.end)
            input_ids = torch.cat([input_ids[:, :-1], last], dim=1)
        if self.length:
            filling = input_ids.new_full((1, self.length), self.pad or 0).expand(input_ids.shape[0], self.length)
            input_ids = torch.cat([input_ids, filling], dim=1)[:, : self.length]
        elif not self.is_clip and attention_mask is None:
            attention_mask = torch.ne(input_ids, self.pad or 0).long()
        embeds = self.model.get_text_features(input_ids=input_ids, attention_mask=attention_mask).pooler_output
        return F.normalize(embeds, dim=-1) if self.unit else embeds


def _forget_source(graph) -> None:
    """Remove what the exporter notes of the code, by its path on this machine."""
    for value in (*graph.inputs, *graph.initializers.values(), *graph.all_nodes()):
        value.metadata_props.clear()
        for made in getattr(value, "outputs", ()):
            made.metadata_props.clear()


def write_half(source: Path, target: Path) -> None:
    """Write a model with weights and arithmetic in float16; what goes in and comes out stays as it is."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with _quiet():
        is_large = len(list(source.parent.glob(f"{source.name}*"))) > 1  # shapes are inferred in files of 2 GiB only
        half = convert_float_to_float16(onnx.load(source), keep_io_types=True, disable_shape_infer=is_large)
    onnx.save(half, target)


def write_int8(source: Path, target: Path) -> None:
    """Write a model with weights in int8, whose activations are quantised as they come (dynamic quantisation)."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(source)
    del model.graph.value_info[:]  # a weight that is transposed on the way would contradict them
    with _quiet():
        quantize_dynamic(model, target, weight_type=QuantType.QInt8)


@contextmanager
def _quiet():
    """Without the warnings of exporter and quantiser, which are about themselves."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
