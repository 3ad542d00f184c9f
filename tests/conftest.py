"""A tiny corpus and a tiny CLIP, made once a session; nothing here is downloaded."""

import json
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
# pytest runs several processes side by side: each of them, and what it starts, has its share of the cores
os.environ.setdefault(
    "OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))))
)

import pytest
import torch
from transformers import (
    AutoProcessor,
    BertConfig,
    BertModel,
    BertTokenizer,
    CLIPConfig,
    CLIPModel,
    SiglipConfig,
    SiglipModel,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
    VisionTextDualEncoderProcessor,
)

from dataset_builder import scenes
from modeling_paraclip import BASE_MODEL_DIR


@pytest.fixture(scope="session", autouse=True)
def own_caches(tmp_path_factory):
    """No test reads or leaves anything in the user's caches."""
    import datasets

    datasets.config.HF_DATASETS_CACHE = tmp_path_factory.mktemp("datasets_cache")


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    """A folder with `pairs.jsonl` (40 triples) and `pictures/`: what a user brings."""
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "pictures").mkdir()
    with open(folder / "pairs.jsonl", "w") as file:
        for index, row in enumerate(scenes.generate("train", 40)):
            row.pop("image").save(folder / "pictures" / row["image_id"])
            file.write(json.dumps({"index": index, **row}) + "\n")
    return folder


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory):
    """A random CLIP of a few thousand weights, with the embedded base's tokenizer and image processor."""
    folder = tmp_path_factory.mktemp("tiny_clip")
    processor = AutoProcessor.from_pretrained(BASE_MODEL_DIR)
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2}
    special = {name: getattr(processor.tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    torch.manual_seed(0)
    model = CLIPModel(
        CLIPConfig(
            text_config={**tower, **special, "projection_dim": 8, "vocab_size": len(processor.tokenizer)},
            vision_config={**tower, "projection_dim": 8, "image_size": scenes.IMAGE_SIZE, "patch_size": 32},
            projection_dim=8,
        )
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_siglip(tmp_path_factory):
    """A random SigLIP, with the embedded base's tokenizer and image processor."""
    folder = tmp_path_factory.mktemp("tiny_siglip")
    processor = AutoProcessor.from_pretrained(BASE_MODEL_DIR)
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2}
    special = {name: getattr(processor.tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    text = {**tower, **special, "vocab_size": len(processor.tokenizer), "max_position_embeddings": 16}
    vision = {**tower, "image_size": scenes.IMAGE_SIZE, "patch_size": 32}
    torch.manual_seed(0)
    model = SiglipModel(SiglipConfig(text_config={**text, "projection_size": 16}, vision_config=vision))
    model.logit_scale.data.fill_(2.0)  # at random it is whatever was in memory
    model.logit_bias.data.fill_(-2.0)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_dual(tiny_clip, tmp_path_factory):
    """A random dual encoder of a CLIP's image tower and a BERT."""
    folder = tmp_path_factory.mktemp("tiny_dual")
    words = sorted({word for row in scenes.generate("train", 40) for word in row["caption"].lower().split()})
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
    tokenizer = BertTokenizer(str(folder / "vocab.txt"), model_max_length=64)
    clip = CLIPModel.from_pretrained(tiny_clip)
    torch.manual_seed(0)
    bert = BertModel(BertConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
                                vocab_size=len(tokenizer), max_position_embeddings=64,
                                hidden_dropout_prob=0, attention_probs_dropout_prob=0))  # fmt: skip
    config = VisionTextDualEncoderConfig.from_vision_text_configs(
        clip.config.vision_config, bert.config, projection_dim=8
    )
    VisionTextDualEncoderModel(config, vision_model=clip.vision_model, text_model=bert).save_pretrained(folder)
    image_processor = AutoProcessor.from_pretrained(tiny_clip).image_processor
    VisionTextDualEncoderProcessor(image_processor, tokenizer).save_pretrained(folder)
    return folder
