"""The steps of Immich's machine learning, `clip/textual.py` and `transforms.py`, taken one by one."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer

from modeling_paraclip.exports.tower import TEXTS, open_tower

from .conftest import needs_onnx

pytestmark = [pytest.mark.slow, needs_onnx]


def test_its_steps_give_the_same_vectors(exported, clip):
    import onnxruntime

    folder, lines = exported("immich")
    textual = folder / "textual"
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*") if path.name[0] != ".")
    assert files == [
        "config.json",
        *(f"textual/{n}" for n in ("model.onnx", "tokenizer.json", "tokenizer_config.json")),
    ]
    length = json.loads((folder / "config.json").read_text())["text_cfg"]["context_length"]
    pad_token = json.loads((textual / "tokenizer_config.json").read_text())["pad_token"]
    tokenizer = Tokenizer.from_file(str(textual / "tokenizer.json"))
    tokenizer.enable_padding(length=length, pad_token=pad_token, pad_id=tokenizer.token_to_id(pad_token))
    tokenizer.enable_truncation(max_length=length)
    session = onnxruntime.InferenceSession(str(textual / "model.onnx"))
    (taken,) = session.get_inputs()
    assert (taken.name, taken.type, taken.shape) == ("text", "tensor(int32)", [1, 77])
    assert session.get_outputs()[0].name == "text_embedding"
    found = []
    for text in TEXTS:
        ids = tokenizer.encode(" ".join(text.split())).ids
        found.append(session.run(None, {"text": np.array([ids], dtype=np.int32)})[0][0])
    np.testing.assert_allclose(found, open_tower(clip).encode(TEXTS, "unit"), rtol=0, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=0, atol=1e-5)
    assert any("Keep that NAME" in line for line in lines)
