"""A wheel, built and installed as a user does, and every console command from a folder with names like ours."""

import json
import os
import shutil
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from transformers import CLIPModel

from tests.processes import succeeds
from tests.train_command import FAST

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SOURCES = (
    *("train.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"),
    *("modeling_paraclip", "dataset_builder", "eval"),
)
DECOYS = ("train.py", "eval/__init__.py", "dataset_builder/__init__.py", "evaluation.py")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of the commands: a virtual environment that has our wheel, and this one's other packages."""
    folder = tmp_path_factory.mktemp("wheel")
    (folder / "sources").mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / "sources" / name)
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder), str(folder / "sources")]
    succeeds([*pip, *build])
    venv.create(folder / "venv")
    where = [folder / "venv/bin/python", "-c", "import site; print(site.getsitepackages()[0])"]
    ours = Path(succeeds(where).stdout.strip())
    (ours / "others.pth").write_text("\n".join(site.getsitepackages()))  # behind our wheel, without its own .pth files
    (wheel,) = folder.glob("*.whl")
    install = ["--python", str(folder / "venv/bin/python"), "install", "--no-deps", "--no-index", str(wheel)]
    succeeds([*pip, *install])
    shutil.rmtree(folder / "sources")
    return folder / "venv" / "bin"


@pytest.fixture
def elsewhere(tmp_path):
    """A current folder whose files have our names. None of them may be imported or run."""
    for name in DECOYS:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise SystemExit('the decoy was run')\n")
    return tmp_path


def run(command, folder, **environment):
    done = subprocess.run(
        list(map(str, command)), cwd=folder, capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("on_path", [False, True])
def test_training_measures_publishes_and_leaves_a_card(on_path, installed, elsewhere, tiny_clip, pairs):
    command = [installed / "paraclip-train", "--model_name_or_path", tiny_clip, "--train_file", pairs / "pairs.jsonl"]
    command += ["--image_dir", pairs / "pictures", "--output_dir", "out", "--image_cache_dir", "cache"]
    command += ["--validation_split_percentage", "40", "--save_steps", "2", *FAST]
    said = run(command, elsewhere, **({"PYTHONPATH": str(elsewhere)} if on_path else {}))
    assert "out is ready" in said
    assert type(CLIPModel.from_pretrained(elsewhere / "out")) is CLIPModel
    assert ModelCard.load(elsewhere / "out" / "README.md").data.eval_results
    run([installed / "paraclip-model", "publish", "out/checkpoint-2", "--output", "again"], elsewhere)
    assert (elsewhere / "again" / "config.json").is_file()


def test_evaluating_from_the_command_line(installed, elsewhere, tiny_clip):
    (elsewhere / "data" / "sts").mkdir(parents=True)
    rows = [(5, "a red circle", "red circle"), (1, "a blue star", "two moons"), (3, "a ring", "a ring on sand")]
    lines = ["score\tsentence1\tsentence2", *("\t".join(map(str, row)) for row in rows)]
    (elsewhere / "data" / "sts" / "STSB-test.tsv").write_text("\n".join(lines) + "\n")
    arguments = ["--models", tiny_clip, "--tasks", "sts", "--data", "data", "--cache_dir", "cache"]
    assert "STS-B" in run([installed / "paraclip-eval", *arguments, "--output", "results.json"], elsewhere)
    assert json.loads((elsewhere / "results.json").read_text())[0]["dataset"] == "STS-B"


def test_a_corpus_from_the_command_line(installed, elsewhere):
    (elsewhere / "captions.txt").write_text("a man rides a bicycle on the street\ntwo dogs run on the beach\n")
    paraphrase = ["paraphrase", "--captions", "captions.txt", "--output", "corpus", "--generator", "rules"]
    run([installed / "paraclip-corpus", *paraphrase], elsewhere)
    run([installed / "paraclip-corpus", "export", "corpus", "--format", "jsonl", "--output", "x.jsonl"], elsewhere)
    assert "paraphrase_2" in (elsewhere / "x.jsonl").read_text()


def test_modules_run_from_an_empty_folder(installed, tmp_path):
    for module in ("train", "eval", "dataset_builder", "modeling_paraclip"):
        assert "usage:" in run([installed / "python", "-m", module, "--help"], tmp_path)
