"""The real transformers.js under Node; `npm install @huggingface/transformers` in the folder NODE_MODULES_IN names."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from modeling_paraclip.exports import export_model
from modeling_paraclip.exports.tower import TEXTS, open_tower

from .conftest import needs_onnx

INSTALLED = Path(os.environ.get("NODE_MODULES_IN", "."))
SCRIPT = """
import { AutoTokenizer, CLIPTextModelWithProjection, SiglipTextModel, env } from "@huggingface/transformers";
import fs from "fs";
const [folder, file] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = "/";
const texts = JSON.parse(fs.readFileSync(file));
const tokenizer = await AutoTokenizer.from_pretrained(folder);
const { model_type } = JSON.parse(fs.readFileSync(`${folder}/config.json`));
const kind = model_type === "siglip" ? SiglipTextModel : CLIPTextModelWithProjection;
const vectors = {};
for (const dtype of ["fp32", "fp16", "q8"]) {
  const model = await kind.from_pretrained(folder, { dtype });
  const { text_embeds, pooler_output } = await model(tokenizer(texts, { padding: true, truncation: true }));
  vectors[dtype] = (text_embeds ?? pooler_output).tolist();
}
fs.writeFileSync(file, JSON.stringify(vectors));
"""


@pytest.mark.slow
@needs_onnx
@pytest.mark.skipif(shutil.which("node") is None, reason="not installed: node")
@pytest.mark.skipif(
    not (INSTALLED / "node_modules" / "@huggingface" / "transformers").is_dir(),
    reason="not installed: npm's @huggingface/transformers, in the folder that NODE_MODULES_IN names",
)
@pytest.mark.parametrize("model", ["clip", "siglip", "siglip2"])
def test_the_real_transformersjs_gives_the_same_vectors(model, request, tmp_path):
    model, folder = request.getfixturevalue(model), tmp_path / "exported"
    export_model(model, "transformersjs", folder)
    script, texts = tmp_path / "encode.mjs", tmp_path / "texts.json"
    (tmp_path / "node_modules").symlink_to((INSTALLED / "node_modules").resolve())
    script.write_text(SCRIPT)
    texts.write_text(json.dumps(TEXTS))
    subprocess.run(["node", script, folder, texts], check=True)
    found, expected = json.loads(texts.read_text()), open_tower(model).encode(TEXTS)
    np.testing.assert_allclose(found["fp32"], expected, rtol=0, atol=1e-4)
    for dtype, tolerance in (("fp16", 0.02), ("q8", 0.3)):
        assert np.abs(np.array(found[dtype]) - expected).max() < tolerance * np.abs(expected).max()
