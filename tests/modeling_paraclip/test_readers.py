"""A published folder in the clients that people have: sentence-transformers and MTEB, as they are installed."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image
from torch.nn import functional as F
from transformers import AutoImageProcessor, AutoModel, AutoProcessor, CLIPModel, CLIPTokenizer

from modeling_paraclip import encode_texts, load_clip, publish_model
from modeling_paraclip.publish import published_files
from modeling_paraclip.readers import FILES, write_reader_files
from tests.hub_double import HubDouble

TEXTS = ["a red circle", "two small blue stars left of a big green square on grass", "moon"]


@pytest.fixture(scope="module", params=["tiny_clip", "tiny_siglip", "tiny_dual"])
def published(request, tmp_path_factory):
    folder, base = tmp_path_factory.mktemp(request.param), request.getfixturevalue(request.param)
    publish_model(load_clip(base), base, folder)
    return folder


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (80, 100, 3), dtype=np.uint8)) for _ in range(3)]


def test_sentence_transformers_gives_the_models_own_vectors(published, pictures):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    model, processor = AutoModel.from_pretrained(published).eval(), AutoProcessor.from_pretrained(published)
    theirs = sentence_transformers.SentenceTransformer(str(published), device="cpu")
    found = torch.tensor(theirs.encode(TEXTS, normalize_embeddings=True))
    torch.testing.assert_close(found, encode_texts(model, processor.tokenizer, TEXTS), rtol=0, atol=1e-6)
    pixel_values = processor.image_processor(pictures, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        expected = F.normalize(model.get_image_features(pixel_values=pixel_values).pooler_output, dim=-1)
    found = torch.tensor(theirs.encode(pictures, normalize_embeddings=True))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_sentence_transformers_equals_a_clip_bit_for_bit(tiny_clip, tmp_path, pictures):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    publish_model(load_clip(tiny_clip), tiny_clip, tmp_path)
    model, processor = CLIPModel.from_pretrained(tmp_path).eval(), AutoProcessor.from_pretrained(tmp_path)
    theirs = sentence_transformers.SentenceTransformer(str(tmp_path), device="cpu")
    with torch.no_grad():
        texts = model.get_text_features(**processor.tokenizer(TEXTS, padding=True, return_tensors="pt")).pooler_output
        images = model.get_image_features(**processor.image_processor(pictures, return_tensors="pt")).pooler_output
    assert np.array_equal(theirs.encode(TEXTS), texts.numpy())
    assert np.array_equal(theirs.encode(pictures), images.numpy())


def test_mteb_runs_an_image_task(published, pictures):
    """SugarCrepe's own class, on four rows; a plain CLIP repository is refused."""
    mteb = pytest.importorskip("mteb")
    sentence_transformers = pytest.importorskip("sentence_transformers")
    task = mteb.get_task("SugarCrepe")
    rows = {
        "images": [[picture] for picture in (*pictures, pictures[0])],
        "caption": ["a red circle", "a moon", "two stars", "a red circle"],
        "negative_caption": ["a red moon", "a moon", "two red stars", "stars"],
    }
    task.dataset, task.data_loaded = {"default": {"test": Dataset.from_dict(rows)}}, True
    model = sentence_transformers.SentenceTransformer(str(published), device="cpu")
    wrapper = mteb.models.SentenceTransformerEncoderWrapper(model)  # of a folder, it does not look at the modalities
    wrapper.mteb_model_meta = wrapper.mteb_model_meta.model_copy(update={"modalities": ["text", "image"]})
    (result,) = mteb.evaluate(wrapper, task, cache=None, show_progress_bar=False).task_results
    texts = [model.encode(rows[name], normalize_embeddings=True) for name in ("caption", "negative_caption")]
    images = model.encode([*pictures, pictures[0]], normalize_embeddings=True)
    right, wrong = ((images * text).sum(axis=1) for text in texts)
    # row 2 is a tie, which MTEB counts as right
    assert result.scores["test"][0]["text_acc"] == pytest.approx((right >= wrong).mean())


def test_mteb_finds_both_modalities_on_the_hub(published, tmp_path):
    """As `mteb run -m org/name` does; of a plain CLIP repository it finds texts only."""
    pytest.importorskip("mteb")
    code = "from mteb.models.model_meta import ModelMeta; print(ModelMeta.from_hub('tester/model').modalities)"
    with HubDouble() as hub:
        hub.repos["tester/model"] = {name: (published / name).read_bytes() for name in published_files(published)}
        hub.repos["tester/model"]["README.md"] = b"---\nlicense: mit\n---\n"
        done = subprocess.run(
            [sys.executable, "-c", code], env=hub.environment(tmp_path), capture_output=True, text=True
        )
    assert done.stdout.split("\n")[-2] == "['image', 'text']", done.stderr


def test_what_older_readers_need_says_what_the_others_say(tiny_clip, tmp_path):
    publish_model(load_clip(tiny_clip), tiny_clip, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= set(FILES)
    tokenizer = CLIPTokenizer.from_pretrained(tiny_clip)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    slow = CLIPTokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    assert slow(TEXTS)["input_ids"] == tokenizer(TEXTS)["input_ids"]
    (tmp_path / "processor_config.json").unlink()
    images = AutoImageProcessor.from_pretrained(tmp_path)
    assert images.to_dict()["size"] == AutoImageProcessor.from_pretrained(tiny_clip).to_dict()["size"]
    assert json.loads((tmp_path / "special_tokens_map.json").read_text())["eos_token"] == tokenizer.eos_token


def test_files_of_the_base_stay(tmp_path):
    for name in ("config.json", "processor_config.json", "tokenizer_config.json"):
        (tmp_path / name).write_text('{"model_type": "clip"}')
    (tmp_path / "modules.json").write_text("[]")
    write_reader_files(tmp_path)
    assert (tmp_path / "modules.json").read_text() == "[]"
