"""The tasks of MTEB on our encoder, and ours as tasks of MTEB: the same figures both ways."""

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest

from eval import mteb as command
from eval import suite
from eval.encoders import load_encoder
from modeling_paraclip import InputError
from tests.eval.samples import WORDS, write_tsv
from tests.eval.test_sentence_encoders import WORDS as BERT_WORDS
from tests.eval.test_sentence_encoders import modules, write, write_tiny_bert
from tests.hub_double import HubDouble

ROOT = Path(__file__).parents[2]
mteb = pytest.importorskip("mteb")


def scores_by_mteb(encoder, task):
    """Run one task: subset -> its scores."""
    model = command.EncoderForMteb(encoder)
    result = mteb.evaluate(model, task, cache=None, encode_kwargs={"batch_size": 3}, show_progress_bar=False)
    (split,) = result.task_results[0].scores.values()
    return {scores["hf_subset"]: scores for scores in split}


def measured_by_the_suite(encoder, task, folder):
    return {(m.dataset, m.metric): m.value for m in suite.evaluate(encoder, [task], folder)[0]}


def test_sts_both_ways(encoder, tmp_path):
    rows = [(i % 6, first, second) for i, (first, second) in enumerate(zip(WORDS * 3, [*WORDS[2:], *WORDS[:2]] * 3))]
    rows = [(score, f"{first} {i % 4}", second) for i, (score, first, second) in enumerate(rows)]
    (tmp_path / "sts").mkdir()
    write_tsv(tmp_path / "sts/STSB-test.tsv", ("score", "sentence1", "sentence2"), rows)
    columns = dict(zip(("score", "sentence1", "sentence2"), zip(*rows)))
    task = mteb.get_task("STSBenchmark")
    task.dataset, task.data_loaded = {"test": datasets.Dataset.from_dict(columns)}, True
    ours = measured_by_the_suite(encoder, "sts", tmp_path)["STS-B", "spearman"]
    assert scores_by_mteb(encoder, task)["default"]["cosine_spearman"] == pytest.approx(ours, abs=1e-9)


def test_the_vectors_are_the_models_own(encoder, folder):
    from datasets import Image as Picture
    from torch.utils.data import DataLoader

    model = command.EncoderForMteb(encoder)
    facts = {"task_metadata": None, "hf_split": "test", "hf_subset": "default"}
    texts = model.encode([{"text": WORDS[:2]}, {"text": WORDS[2:]}], **facts)
    np.testing.assert_array_equal(texts, encoder.texts(WORDS))
    files = [str(folder / f"photos/images/{i}.png") for i in range(3)]
    decoded = datasets.Dataset.from_dict({"image": files}).cast_column("image", Picture())
    batches = DataLoader(decoded, batch_size=2, collate_fn=lambda rows: {"image": [row["image"] for row in rows]})
    expected = encoder.pictures([{"path": file, "bytes": None} for file in files])
    np.testing.assert_array_equal(model.encode(batches, **facts), expected)
    with pytest.raises(InputError, match="text and picture together"):
        model.encode([{"text": ["a"], "image": [decoded[0]["image"]]}], **facts)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "STS12,STS12"], "a name is empty or there twice"),
        (["--tasks", "STS12", "--data", "nowhere"], "nowhere: no such folder"),
        (["--tasks", "STS-12"], "'STS-12' not found. Did you mean: 'STS12'?"),
        (["--tasks", "ParaphrasedImageRetrieval"], "its data are not on the Hub; give a folder with --data"),
    ],
)
def test_what_is_wrong_is_one_sentence(arguments, message, capsys):
    with pytest.raises(SystemExit) as error:
        command.main(["no/model", *arguments])
    assert message in f"{error.value} {capsys.readouterr().err}"


def test_a_text_encoder_has_no_task_with_pictures(encoder, folder, monkeypatch):
    monkeypatch.setattr(encoder, "has_images", False)
    task = command.task_named("SugarCrepePlusPlusImage", folder)
    with pytest.raises(InputError, match="has no image tower"):
        list(command.run(encoder, [task]))


@pytest.mark.slow
def test_the_command_on_data_of_the_hub(tiny_clip, tmp_path):
    """A process of its own, as the endpoint is read at import."""
    from eval.mteb_tasks import SugarCrepePlusPlusText

    pairs = {"sentence1": WORDS, "sentence2": WORDS[::-1], "score": [0.0, 1.0, 5.0, 2.0, 3.0]}
    triplets = {"caption": WORDS, "caption2": WORDS[::-1], "negative_caption": [*WORDS[1:], "a disc"]}
    about = {task.metadata.name: task.metadata for task in (mteb.get_task("STSBenchmark"), SugarCrepePlusPlusText())}
    with HubDouble() as hub:
        parts = [datasets.Dataset.from_dict(pairs)]
        hub.add_dataset("mteb/stsbenchmark-sts", {("default", "test"): parts}, about["STSBenchmark"].revision)
        kinds = {(kind, "train"): [datasets.Dataset.from_dict(triplets)]
                 for kind in about["SugarCrepePlusPlusText"].hf_subsets}  # fmt: skip
        hub.add_dataset("Aman-J/SugarCrepe_pp", kinds, about["SugarCrepePlusPlusText"].revision)
        arguments = [str(tiny_clip), "--tasks", ",".join(about), "--output", str(tmp_path / "out")]
        arguments += ["--cache_dir", str(tmp_path / "cache"), "--device", "cpu"]
        done = subprocess.run(
            [sys.executable, "-m", "eval.mteb", *arguments],
            env=hub.environment(tmp_path / "home"),
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
    assert done.returncode == 0, done.stderr
    for folder, file, columns in (("sts", "STSB-test", pairs), ("sugarcrepe_pp", "swap_obj", triplets)):
        (tmp_path / "data" / folder).mkdir(parents=True)
        write_tsv(tmp_path / "data" / folder / f"{file}.tsv", tuple(columns), zip(*columns.values()))
    encoder = load_encoder(str(tiny_clip), cache_dir=tmp_path / "cache", device="cpu")
    correlation = measured_by_the_suite(encoder, "sts", tmp_path / "data")["STS-B", "spearman"]
    choices = measured_by_the_suite(encoder, "sugarcrepe_pp", tmp_path / "data")
    accuracy = choices["SugarCrepe++ swap_obj", "text_accuracy"]
    printed = done.stdout.splitlines()
    assert f"STSBenchmark\ttest/default\tcosine_spearman\t{100 * correlation:.2f}" in printed
    assert f"SugarCrepePlusPlusText\ttrain/swap_object\taccuracy\t{100 * accuracy:.2f}" in printed
    assert len(printed) == 1 + 5
    (file,) = (tmp_path / "out").rglob("STSBenchmark.json")
    found = json.loads(file.read_text())["scores"]["test"][0]["cosine_spearman"]
    assert found == pytest.approx(correlation, abs=1e-5)


def test_a_sentence_encoder_has_the_figure_that_mteb_gives_it(tmp_path):
    """MTEB opens it with sentence-transformers: another encoder than ours, on a model that reads its first token."""
    from sentence_transformers import SentenceTransformer

    folder = write_tiny_bert(tmp_path / "model")
    pooling = {"word_embedding_dimension": 16, "pooling_mode_cls_token": True}
    write(folder, modules=modules("Transformer", "Pooling"), **{"1_Pooling__config": pooling})
    texts = [" ".join(words) for words in itertools.permutations(BERT_WORDS[:5], 3)]
    rows = [(i * i % 7 % 6, first, second) for i, (first, second) in enumerate(zip(texts, texts[7:]))]
    (tmp_path / "sts").mkdir()
    write_tsv(tmp_path / "sts/STSB-test.tsv", ("score", "sentence1", "sentence2"), rows)
    columns = dict(zip(("score", "sentence1", "sentence2"), zip(*rows)))
    task = mteb.get_task("STSBenchmark")
    task.dataset, task.data_loaded = {"test": datasets.Dataset.from_dict(columns)}, True
    result = mteb.evaluate(SentenceTransformer(str(folder), device="cpu"), task, cache=None, show_progress_bar=False)
    theirs = result.task_results[0].scores["test"][0]["cosine_spearman"]
    encoder = load_encoder(str(folder), cache_dir=tmp_path / "cache", device="cpu")
    ours = measured_by_the_suite(encoder, "sts", tmp_path)["STS-B", "spearman"]
    assert ours == pytest.approx(theirs, abs=1e-4)  # cosines that differ by rounding may change places


def test_nothing_else_imports_mteb():
    importing = re.compile(r"^\s*(import|from) mteb", re.MULTILINE)
    found = {file.name for file in (ROOT / "eval").rglob("*.py") if importing.search(file.read_text())}
    assert found == {"mteb.py", "mteb_tasks.py"}
    assert not re.search(r"^(import|from) (mteb|\.mteb_tasks)", (ROOT / "eval/mteb.py").read_text(), re.MULTILINE)
