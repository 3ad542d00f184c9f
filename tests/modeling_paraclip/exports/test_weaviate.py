import json
import shutil

import numpy as np
import pytest
from transformers import CLIPModel

from modeling_paraclip import InputError
from modeling_paraclip.exports import export_model
from modeling_paraclip.exports.tower import TEXTS, open_tower

from .conftest import needs

SHORT = TEXTS[:98]  # sentence-transformers 3.2.1, which the container has, does not truncate: the base neither


def test_its_files(exported, clip):
    folder, _ = exported("weaviate")
    (module,) = json.loads((folder / "modules.json").read_text())
    assert module["type"] == "sentence_transformers.models.CLIPModel"
    inner = folder / module["path"]
    assert (inner / "model.safetensors").read_bytes() == (clip / "model.safetensors").read_bytes()
    assert json.loads((inner / "preprocessor_config.json").read_text())["image_mean"]
    vocabulary = json.loads((inner / "tokenizer.json").read_text())["model"]["vocab"]
    assert json.loads((inner / "vocab.json").read_text()) == vocabulary
    assert (inner / "merges.txt").read_text().startswith("#version: 0.2\n")
    assert type(CLIPModel.from_pretrained(inner)) is CLIPModel


def test_a_broken_processor_is_named(clip, tmp_path):
    model = shutil.copytree(clip, tmp_path / "model")
    (model / "processor_config.json").write_text("{")
    with pytest.raises(InputError, match=r"processor_config\.json cannot be read as JSON"):
        export_model(model, "weaviate", tmp_path / "out")


@pytest.mark.slow
@needs("sentence_transformers")
def test_the_real_sentence_transformers_gives_the_same_vectors(exported, clip):
    from sentence_transformers import SentenceTransformer

    found = SentenceTransformer(str(exported("weaviate")[0]), device="cpu").encode(SHORT)
    np.testing.assert_allclose(found, open_tower(clip).encode(SHORT), rtol=0, atol=1e-4)
