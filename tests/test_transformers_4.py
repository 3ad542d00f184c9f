"""A published folder in transformers 4, whose folder of packages TRANSFORMERS_4 names; .ci/run installs it:

pip install --no-deps --target DIR "transformers==4.57.*" "huggingface_hub<1" "tokenizers<0.23"
"""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from eval.card import write_card
from modeling_paraclip import load_clip, publish_model

INSTALLED = os.environ.get("TRANSFORMERS_4", "")
pytestmark = pytest.mark.skipif(
    not os.path.isdir(os.path.join(INSTALLED or "absent", "transformers")),
    reason="not installed: transformers 4, in the folder that TRANSFORMERS_4 names",
)
OPEN = """
import sys
import numpy as np
import torch
import transformers
from PIL import Image

folder, output = sys.argv[1:]
model = transformers.CLIPModel.from_pretrained(folder).eval()
processor = transformers.AutoProcessor.from_pretrained(folder)
tokens = transformers.AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, truncation=True, return_tensors="pt")
encoder = transformers.CLIPTextModelWithProjection.from_pretrained(folder).eval()
picture = Image.effect_mandelbrot((60, 80), (-3, -2.5, 2, 2.5), 50).convert("RGB")
with torch.no_grad():
    texts = encoder(**tokens).text_embeds
    image = model.get_image_features(**processor(images=picture, return_tensors="pt"))
image = getattr(image, "pooler_output", image)
classify = transformers.pipeline("zero-shot-image-classification", folder)
(best, *_) = classify(picture, candidate_labels=["a red circle", "moon"])
np.savez(output, texts=texts, image=image, score=best["score"])
print(transformers.__version__)
"""
TEXTS = ["a red circle", "two small blue stars left of a big green square on grass", "photograph " * 200]


def python(code, *arguments, path=INSTALLED):
    # without the variables of other tests: transformers 4 reads them all
    environment = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", f"TEXTS = {TEXTS}\n{code}", *map(str, arguments)], env=environment,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def published(tiny_clip, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published") / "model"
    model = load_clip(tiny_clip)
    with torch.no_grad():
        model.text_projection.weight.mul_(-2)
    publish_model(model, tiny_clip, folder)
    write_card(folder / "README.md", model_name="model", metadata={}, tuned=[], comparisons=[], repo_id=str(folder),
               model_class="CLIPModel", dim=8, lora=", by LoRA")  # fmt: skip
    return folder


def test_it_opens_in_both_and_is_the_same_model(published, tmp_path):
    assert python(OPEN, published, tmp_path / "four.npz").startswith("4.57")
    assert python(OPEN, published, tmp_path / "five.npz", path="").startswith("5.")
    four, five = (np.load(tmp_path / f"{name}.npz") for name in ("four", "five"))
    for name in ("texts", "image", "score"):
        np.testing.assert_allclose(four[name], five[name], rtol=0, atol=1e-5)


def test_the_cards_snippets_run(published, tmp_path):
    """But for that of sentence-transformers, whose version for transformers 5 does not run on 4."""
    snippets = re.findall("```python\n(.*?)```", (published / "README.md").read_text(), flags=re.S)
    snippets = [snippet for snippet in snippets if "sentence_transformers" not in snippet]
    assert len(snippets) == 2 and "text_embeds" in snippets[0] and "PeftModel" in snippets[1]
    save = "import sys, numpy\nnumpy.save(sys.argv[1], text_embeds.numpy())"
    python("\n".join([*snippets, save]), tmp_path / "found.npy")
    tokens = AutoTokenizer.from_pretrained(published)(["two dogs on a beach"], return_tensors="pt")
    with torch.no_grad():
        expected = AutoModel.from_pretrained(published).get_text_features(**tokens).pooler_output
    np.testing.assert_allclose(
        np.load(tmp_path / "found.npy"), expected / expected.norm(dim=-1, keepdim=True), rtol=0, atol=1e-5
    )
