"""docs/own-index.md, as a reader follows it: each block in its order, on a small index of drawn scenes."""

import json
import re
import shlex
from pathlib import Path

import datasets
import pytest

import dataset_builder.__main__ as corpus
import eval.__main__ as evaluation
import modeling_paraclip.__main__ as model
import train
from dataset_builder import scenes
from modeling_paraclip import BASE_MODEL_DIR, add_image_embeds, load_clip
from modeling_paraclip.weights import open_processor
from tests.train_command import FAST

PAGE = (Path(__file__).parent.parent / "docs" / "own-index.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, flags=re.M | re.S)
BASE = "openai/clip-vit-base-patch32"  # of the page; here it is the embedded one
ADDRESS = "jane.doe@example.com"
COMMANDS = {
    "python -m dataset_builder": corpus.main,
    "python train.py": lambda argv: train.main([*argv, *FAST]),
    "python -m eval": lambda argv: evaluation.main([*argv, "--cache_dir", "cache"]),
    "python -m modeling_paraclip": model.main,
}


@pytest.fixture
def index(tmp_path, monkeypatch):
    """The two files that the page begins with, in the current folder."""
    monkeypatch.chdir(tmp_path)
    rows = list(scenes.generate("train", 120))
    # words that `--generator rules` knows
    asked = [(row["image_id"], f"a child draws {row['caption']}") for row in rows]
    asked += [("gone.png", "a child draws a dog"), (rows[0]["image_id"], f"a child draws for {ADDRESS}")]
    with open("log.jsonl", "w") as log:
        log.writelines(json.dumps({"image_id": image_id, "caption": text}) + "\n" for image_id, text in asked)
    pictures = datasets.Dataset.from_list([{"image_id": row["image_id"], "image": row["image"]} for row in rows])
    processor = open_processor(str(BASE_MODEL_DIR))
    add_image_embeds(
        pictures, load_clip(BASE_MODEL_DIR), processor.image_processor, cache_dir=tmp_path, num_workers=0
    ).to_parquet("vectors.parquet")


def run(line):
    """One command of the page, in this process."""
    (command,) = [known for known in COMMANDS if line.startswith(f"{known} ")]
    COMMANDS[command](shlex.split(line.removeprefix(command).replace(BASE, str(BASE_MODEL_DIR))))


def test_the_page_works_from_its_first_block_to_its_last(index, capsys):
    pytest.importorskip("onnxruntime")
    shown = []
    for language, block in BLOCKS:
        if language == "python":
            exec(compile(block, "docs/own-index.md", "exec"), {})
        else:
            for line in block.replace("\\\n", " ").splitlines():
                run(line)
        shown.append(capsys.readouterr().out)
    assert len(shown) == 7
    texts = datasets.Dataset.from_parquet("triples.parquet")
    assert "a child draws a dog" in texts["caption"]
    assert ADDRESS not in " ".join(texts["caption"])
    splits = {name: datasets.Dataset.from_parquet(f"own-index/{name}.parquet") for name in ("train", "validation")}
    for column in ("image_id", "caption"):
        assert not set(splits["train"][column]) & set(splits["validation"][column])
    assert "gone.png" not in [*splits["train"]["image_id"], *splits["validation"]["image_id"]]
    *_, trained, after, _, found = shown
    assert "tuned is ready" in trained
    assert re.search(r"^base +0\.\d{4}.*\ntuned +-?0\.\d{4}", after, flags=re.M)
    assert "against half of 120 pictures" in after
    assert found.strip() in {"nothing found", *datasets.Dataset.from_parquet("vectors.parquet")["image_id"]}


def test_a_query_that_is_dropped_stays_in_the_journal(index, capsys):
    """As the page says: remove it."""
    for line in BLOCKS[0][1].splitlines():
        run(line)
    run("python -m dataset_builder rejected my-corpus --reason 'personal data' --format jsonl")
    assert ADDRESS in capsys.readouterr().out
