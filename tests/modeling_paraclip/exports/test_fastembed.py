import json

import numpy as np
import pytest

from modeling_paraclip.exports.tower import TEXTS, open_tower

from .conftest import needs, needs_onnx

pytestmark = [pytest.mark.slow, needs_onnx]


def test_its_files(exported):
    folder, _ = exported("fastembed")
    assert json.loads((folder / "special_tokens_map.json").read_text())["pad_token"] == "<|endoftext|>"
    for name in ("model.onnx", "config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (folder / name).is_file()


@needs("fastembed")
def test_the_real_fastembed_gives_the_same_vectors(exported, clip):
    from fastembed import TextEmbedding

    folder, _ = exported("fastembed")
    found = np.array(list(TextEmbedding("Qdrant/clip-ViT-B-32-text", specific_model_path=str(folder)).embed(TEXTS)))
    np.testing.assert_allclose(found, open_tower(clip).encode(TEXTS, "unit"), rtol=0, atol=1e-4)
