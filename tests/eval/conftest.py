"""A small folder with the data of every task, a tiny model, and triples."""

import json
import shutil

import datasets
import numpy as np
import pytest
from PIL import Image

from eval import suite
from eval.encoders import load_encoder
from modeling_paraclip import InputError
from tests.eval.samples import WORDS, write_jsonl, write_tsv


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A little of everything."""
    root = tmp_path_factory.mktemp("data")
    for name in ("photos", "aro", "sugarcrepe", "sugarcrepe_pp", "winoground"):
        (root / name / "images").mkdir(parents=True)
        for i in range(16):  # overlaps at 10 need more than 10
            pixels = np.random.default_rng(i).integers(0, 255, (60, 50, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / "images" / f"{i}.png")
    pairs = [(i, WORDS[i % 5], WORDS[(i + 1) % 5]) for i in range(5)]

    write_jsonl(
        root / "photos/captions.jsonl",
        [{"image": f"{i}.png", "split": "train" if i == 5 else "val", "captions": [a, b]} for i, a, b in pairs]
        + [{"image": "5.png", "split": "val", "captions": ["nothing here"]}]
        + [{"image": f"{i}.png", "split": "val", "captions": [f"picture number {i}"]} for i in range(6, 16)],
    )
    write_jsonl(
        root / "photos/few_triples_val.jsonl",
        [{"image_id": f"{i}.png", "caption": a, "paraphrase_1": b, "paraphrase_2": a.upper()} for i, a, b in pairs],
    )
    box = {"bbox_x": 5, "bbox_y": 5, "bbox_w": 30, "bbox_h": 40}
    both = [{"image_path": f"{i}.png", "true_caption": a, "false_caption": b, **box} for i, a, b in pairs]
    relations = ["on", "on", "under", "near", "near"]  # "near" is symmetric
    (root / "aro/visual_genome_relation.json").write_text(
        json.dumps([{**row, "relation_name": name} for row, name in zip(both, relations)])
    )
    (root / "aro/visual_genome_attribution.json").write_text(
        json.dumps([{**row, "attributes": ["red", "blue"]} for row in both * 5])  # 25 items
    )
    write_tsv(
        root / "aro/negclip_x.tsv",
        ("image", "caption", "negatives_json"),
        [(f"{i}.png", a, json.dumps([b])) for i, a, b in pairs],
    )
    write_tsv(
        root / "sugarcrepe/swap.tsv",
        ("image", "caption", "negative_caption"),
        [(f"{i}.png", a, b) for i, a, b in pairs],
    )
    write_tsv(
        root / "sugarcrepe_pp/swap.tsv",
        ("image", "caption", "caption2", "negative_caption"),
        [(f"{i}.png", a, a + " there", b) for i, a, b in pairs],
    )
    write_jsonl(
        root / "winoground/examples.jsonl",
        [{"image_0": "0", "image_1": str(i + 1), "caption_0": a, "caption_1": b} for i, a, b in pairs],
    )
    (root / "captions").mkdir()
    write_jsonl(
        root / "captions/others.jsonl",
        [{"image": f"{i}.png", "captions": [a, f"{a} at night", b]} for i, a, b in pairs],
    )
    (root / "cxc").mkdir()
    write_tsv(
        root / "cxc/cxc_sts_val.tsv", ("score", "caption1", "caption2"), [(i, *WORDS[i : i + 2]) for i in range(4)]
    )
    (root / "sts").mkdir()
    write_tsv(root / "sts/STSB-test.tsv", ("score", "sentence1", "sentence2"), pairs)
    for name in ("red_dog", "cat"):
        (root / "zeroshot/pets" / name).mkdir(parents=True)
        for i in range(3):
            (root / "zeroshot/pets" / name / f"{i}.png").write_bytes((root / f"photos/images/{i}.png").read_bytes())
    return root


@pytest.fixture(scope="session")
def encoder(tiny_clip, tmp_path_factory):
    return load_encoder(str(tiny_clip), cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def refused(folder, encoder, tmp_path):
    """A check that a task refuses a spoiled copy of the folder in one sentence that names it."""

    def check(task, spoil, message):
        root = tmp_path / "data"
        shutil.copytree(folder, root)
        spoil(root)
        with pytest.raises(InputError, match=message) as error:
            suite.evaluate(encoder, [task], root, skip_missing=True)
        assert str(root) in str(error.value)

    return check


@pytest.fixture
def eval_set():
    rng = np.random.default_rng(0)
    return datasets.Dataset.from_dict(
        {
            "image_id": [f"{i // 2}.png" for i in range(24)],  # two rows per picture
            "caption": [f"a red circle {i}" for i in range(24)],
            "paraphrase_1": [f"circle {i} in red" for i in range(24)],
            "paraphrase_2": [f"the scarlet disc {i}" for i in range(24)],
            "image_embeds": np.repeat(rng.normal(size=(12, 8)), 2, axis=0),
        }
    )
