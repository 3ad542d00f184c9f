import numpy as np
import pytest
from PIL import Image
from transformers import AutoProcessor

from modeling_paraclip import load_clip


@pytest.fixture
def tokenizer(tiny_clip):
    return AutoProcessor.from_pretrained(tiny_clip).tokenizer


@pytest.fixture
def model(tiny_clip):
    return load_clip(tiny_clip)


@pytest.fixture
def image_processor(tiny_clip):
    return AutoProcessor.from_pretrained(tiny_clip).image_processor


@pytest.fixture
def pictures(tmp_path):
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    for i, path in enumerate(paths):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (50, 40, 3), dtype=np.uint8)).save(path)
    return paths
