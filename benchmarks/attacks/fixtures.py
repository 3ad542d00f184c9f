"""What the attacks start from, made once a run: tiny models, pairs, a trained model, a corpus, evaluation data."""

from __future__ import annotations

import json
import os
from pathlib import Path

from .box import TINY, write_jsonl

WORDS = ["a red circle", "two blue stars", "a green ring on sand", "the black moon", "one white square left of a disc"]


def build(root: Path) -> None:
    """Write all fixtures. To be called in a child: it computes with torch."""
    _pairs(root / "pairs")
    for seed, name in enumerate(("tiny", "other")):
        _clip(root / name, seed)
    _data(root / "data")
    _trained(root)
    _corpus(root)


def _pairs(folder: Path) -> None:
    from dataset_builder import scenes

    (folder / "pictures").mkdir(parents=True)
    rows = []
    for index, row in enumerate(scenes.generate("train", 12)):
        row.pop("image").save(folder / "pictures" / row["image_id"])
        rows.append({"index": index, **row})
    write_jsonl(folder / "pairs.jsonl", rows)


def _clip(folder: Path, seed: int) -> None:
    import torch
    from transformers import AutoProcessor, CLIPConfig, CLIPModel

    from dataset_builder import scenes
    from modeling_paraclip import BASE_MODEL_DIR

    processor = AutoProcessor.from_pretrained(BASE_MODEL_DIR)
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2}
    special = {name: getattr(processor.tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    torch.manual_seed(seed)
    model = CLIPModel(
        CLIPConfig(
            text_config={**tower, **special, "projection_dim": 8, "vocab_size": len(processor.tokenizer)},
            vision_config={**tower, "projection_dim": 8, "image_size": scenes.IMAGE_SIZE, "patch_size": 32},
            projection_dim=8,
        )
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def _trained(root: Path) -> None:
    import train

    os.chdir(root)
    arguments = ["--model_name_or_path", root / "tiny", "--train_file", root / "pairs" / "pairs.jsonl"]
    arguments += ["--image_dir", root / "pairs" / "pictures", *TINY, "--output_dir", root / "trained"]
    train.main([str(value) for value in (*arguments, "--max_steps", 4, "--save_steps", 2)])


def _corpus(root: Path) -> None:
    from dataset_builder.__main__ import main

    (root / "captions.txt").write_text("".join(f"a dog sits beside number {i} on the big road\n" for i in range(40)))
    main(
        [
            "paraphrase",
            "--captions",
            str(root / "captions.txt"),
            "--output",
            str(root / "corpus"),
            "--generator",
            "rules",
        ]
    )


def _tsv(file: Path, header: tuple, rows: list) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join("\t".join(map(str, line)) + "\n" for line in [header, *rows]))


def _data(root: Path) -> None:
    """A little of the data of every task."""
    import numpy as np
    from PIL import Image

    for name in ("photos", "aro", "sugarcrepe", "sugarcrepe_pp", "winoground"):
        (root / name / "images").mkdir(parents=True)
        for i in range(12):
            pixels = np.random.default_rng(i).integers(0, 255, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / "images" / f"{i}.png")
    pairs = [(i, WORDS[i % 5], WORDS[(i + 1) % 5]) for i in range(5)]
    captions = [{"image": f"{i}.png", "split": "val", "captions": [a, b]} for i, a, b in pairs]
    captions += [{"image": f"{i}.png", "split": "val", "captions": [f"picture number {i}"]} for i in range(5, 12)]
    write_jsonl(root / "photos/captions.jsonl", captions)
    write_jsonl(
        root / "photos/few_triples_val.jsonl",
        [{"image_id": f"{i}.png", "caption": a, "paraphrase_1": b, "paraphrase_2": a.upper()} for i, a, b in pairs],
    )
    box = {"bbox_x": 5, "bbox_y": 5, "bbox_w": 30, "bbox_h": 30}
    both = [{"image_path": f"{i}.png", "true_caption": a, "false_caption": b, **box} for i, a, b in pairs]
    relations = [{**row, "relation_name": name} for row, name in zip(both, ["on", "on", "under", "near", "near"])]
    (root / "aro/visual_genome_relation.json").write_text(json.dumps(relations))
    attributes = [{**row, "attributes": ["red", "blue"]} for row in both * 5]
    (root / "aro/visual_genome_attribution.json").write_text(json.dumps(attributes))
    _tsv(
        root / "aro/negclip_x.tsv",
        ("image", "caption", "negatives_json"),
        [(f"{i}.png", a, json.dumps([b])) for i, a, b in pairs],
    )
    _tsv(
        root / "sugarcrepe/swap.tsv",
        ("image", "caption", "negative_caption"),
        [(f"{i}.png", a, b) for i, a, b in pairs],
    )
    _tsv(
        root / "sugarcrepe_pp/swap.tsv",
        ("image", "caption", "caption2", "negative_caption"),
        [(f"{i}.png", a, a + " there", b) for i, a, b in pairs],
    )
    write_jsonl(
        root / "winoground/examples.jsonl",
        [{"image_0": "0", "image_1": str(i + 1), "caption_0": a, "caption_1": b} for i, a, b in pairs],
    )
    _tsv(root / "cxc/cxc_sts_val.tsv", ("score", "caption1", "caption2"), [(i, *WORDS[i : i + 2]) for i in range(4)])
    _tsv(root / "sts/STSB-test.tsv", ("score", "sentence1", "sentence2"), pairs)
    for name in ("red_dog", "cat"):
        (root / "zeroshot/pets" / name).mkdir(parents=True)
        for i in range(3):
            (root / "zeroshot/pets" / name / f"{i}.png").write_bytes((root / f"photos/images/{i}.png").read_bytes())
