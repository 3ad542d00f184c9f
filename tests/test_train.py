"""`train.py` as people run it, on a tiny model: what it leaves, what it refuses, that it resumes and pushes."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import datasets
import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoProcessor, CLIPModel, pipeline

import train
from modeling_paraclip import last_checkpoint, load_clip
from tests.hub_double import HubDouble

FAST = ["--use_cpu", "--max_steps=4", "--per_device_train_batch_size=8", "--learning_rate=1e-2", "--disable_tqdm=True"]


def run(tiny_clip, pairs, out, *arguments):
    train.main(
        ["--model_name_or_path", str(tiny_clip), "--train_file", str(pairs / "pairs.jsonl")]
        + ["--image_dir", str(pairs / "pictures"), "--output_dir", str(out)]
        + ["--image_cache_dir", str(out / "cache"), "--validation_split_percentage", "40", *FAST, *arguments]
    )


@pytest.fixture(scope="module")
def trained(tiny_clip, pairs, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    run(tiny_clip, pairs, out, "--save_steps", "2", "--eval_strategy", "steps", "--eval_steps", "2",
        "--load_best_model_at_end", "--metric_for_best_model", "average_overlap@10")  # fmt: skip
    return out


def test_leaves_a_publishable_model(trained, tiny_clip):
    model = CLIPModel.from_pretrained(trained)
    processor = AutoProcessor.from_pretrained(trained)
    classify = pipeline("zero-shot-image-classification", str(trained))
    answers = classify(Image.new("RGB", (96, 96), "red"), candidate_labels=["red circle", "blue star"])
    assert {answer["label"] for answer in answers} == {"red circle", "blue star"}
    assert type(model) is CLIPModel
    assert processor.tokenizer.model_max_length == 77
    assert not [p for p in trained.iterdir() if p.suffix in (".bin", ".pt", ".pth", ".pkl", ".py")]
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny_clip, trained))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[0] for name in changed} == {"text_model", "text_projection"}


def test_evaluates_during_training_and_keeps_the_best(trained):
    state = json.loads((trained / "trainer_state.json").read_text())
    assert sum("eval_average_overlap@10" in entry for entry in state["log_history"]) == 2
    assert state["best_metric"] == max(
        entry["eval_average_overlap@10"] for entry in state["log_history"] if "eval_loss" in entry
    )
    best = load_file(Path(state["best_model_checkpoint"]) / "model.safetensors")
    published = load_file(trained / "model.safetensors")
    assert set(published) - set(best) == {name for name in published if name.startswith("vis")}  # never in memory
    assert all(torch.equal(best[name], published[name]) for name in best)


def test_card_and_results_agree(trained):
    results = json.loads((trained / "results.json").read_text())
    assert {entry["model"] for entry in results} == {"base", "tuned"}
    card = ModelCard.load(trained / "README.md")
    assert len(card.data.eval_results) == len(results) / 2
    figure = next(e for e in results if e["model"] == "tuned" and e["metric"] == "average_overlap@10")
    assert f"{100 * figure['value']:.1f}" in card.text
    assert "not evaluated" not in card.text.lower()
    assert (trained / "rankings.png").stat().st_size > 1000


def test_without_anything_to_measure_the_card_says_so(tiny_clip, pairs, tmp_path):
    run(tiny_clip, pairs, tmp_path, "--validation_split_percentage", "0", "--max_steps", "1")
    assert "Not evaluated." in (tmp_path / "README.md").read_text()
    assert not (tmp_path / "results.json").exists()


def test_lora_leaves_the_frozen_side_alone_and_an_adapter(tiny_clip, pairs, tmp_path):
    run(tiny_clip, pairs, tmp_path, "--use_lora", "--lora_r", "4")
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny_clip, tmp_path))
    assert before.keys() == after.keys()
    for name in before:
        if name.startswith(("vision_model", "visual_projection", "logit_scale")):
            assert before[name].numpy().tobytes() == after[name].numpy().tobytes()
    assert not torch.equal(before["text_model.encoder.layers.0.mlp.fc1.weight"],
                           after["text_model.encoder.layers.0.mlp.fc1.weight"])  # fmt: skip
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["r"] == 4
    assert "LoRA of rank 4" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize("lora", [(), ("--use_lora", "--lora_dropout", "0.1")], ids=["full", "lora"])
def test_resumed_run_ends_bitwise_equal(lora, tiny_clip, pairs, tmp_path):
    run(tiny_clip, pairs, tmp_path / "whole", "--save_steps", "2", *lora)
    (tmp_path / "cut").mkdir()
    shutil.copytree(tmp_path / "whole" / "checkpoint-2", tmp_path / "cut" / "checkpoint-2")
    run(tiny_clip, pairs, tmp_path / "cut", "--save_steps", "2", "--resume_from_checkpoint", "last", *lora)
    whole, cut = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut"))
    assert whole == cut
    log = json.loads((tmp_path / "cut" / "trainer_state.json").read_text())
    assert log["global_step"] == 4


def train_command(tiny_clip, pairs, out, *arguments):
    command = [sys.executable, train.__file__, "--model_name_or_path", str(tiny_clip), "--output_dir", str(out)]
    command += ["--train_file", str(pairs / "pairs.jsonl"), "--image_dir", str(pairs / "pictures"), *FAST]
    return [*command, "--validation_split_percentage", "0", "--image_cache_dir", str(out / "cache"), *arguments]


@pytest.mark.parametrize(
    "arguments",
    [("--encode_chunk_tokens=32",), ("--fsdp",), ("--fsdp", "--use_lora", "--encode_chunk_tokens=32")],
    ids=["ddp", "fsdp", "fsdp-lora"],
)
def test_two_processes_train_the_model_of_one(arguments, tiny_clip, pairs, tmp_path):
    """Half the batch each, the negatives of both: one model, in a run from data to publication."""
    lora = [argument for argument in arguments if "lora" in argument]
    rest = ["--logging_steps=1", "--max_steps=5", "--learning_rate=1e-3"]  # five full batches of 40
    alone = train_command(tiny_clip, pairs, tmp_path / "one", "--per_device_train_batch_size=8", *rest, *lora)
    subprocess.run(alone, check=True, capture_output=True)
    script = Path(__file__).with_name("fsdp_on_cpu.py") if "--fsdp" in arguments else Path(train.__file__)
    two = train_command(tiny_clip, pairs, tmp_path / "two", "--per_device_train_batch_size=4", *rest, *arguments)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(train.__file__).parent)}
    subprocess.run([*launcher, *two[2:]], check=True, capture_output=True, env=environment, timeout=120)
    logs = [json.loads((tmp_path / name / "trainer_state.json").read_text())["log_history"] for name in ("one", "two")]
    for one, both in zip(*logs, strict=True):
        for name in [name for name in one if name.startswith("loss") or name == "grad_norm"]:
            assert both[name] == pytest.approx(one[name], rel=1e-3), name
    models = [load_file(tmp_path / name / "model.safetensors") for name in ("one", "two")]
    for name in models[0]:
        torch.testing.assert_close(models[0][name], models[1][name], rtol=0, atol=1e-4, msg=name)
    assert last_checkpoint(tmp_path / "two").endswith("checkpoint-5")


def start_and_signal(command, out, number, checkpoint="checkpoint-*"):
    """Start, send the signal once there is such a checkpoint, and wait. Returns (exit status, output)."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for _ in range(1200):
            if list(out.glob(checkpoint)) or process.poll() is not None:
                break
            time.sleep(0.05)
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
    return process.returncode, output


def test_killed_at_any_moment_and_resumed_ends_bitwise_equal(tiny_clip, pairs, tmp_path):
    """SIGKILL while a checkpoint is written, then after some; no moment is chosen by the program."""
    steps = ["--max_steps=60", "--save_steps=1", "--resume_from_checkpoint=last"]
    whole = train_command(tiny_clip, pairs, tmp_path / "whole", *steps)
    subprocess.run(whole, check=True, capture_output=True)
    cut, killed = train_command(tiny_clip, pairs, tmp_path / "cut", *steps), 0
    for checkpoint in ("checkpoint.saving/*", "checkpoint-1[0-9]", "checkpoint-2[0-9]"):
        status, _ = start_and_signal(cut, tmp_path / "cut", signal.SIGKILL, checkpoint)
        killed += status == -signal.SIGKILL
    assert killed >= 2
    subprocess.run(cut, check=True, capture_output=True)
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut"))
    assert first == second


def test_sigterm_saves_and_stops(tiny_clip, pairs, tmp_path):
    command = train_command(tiny_clip, pairs, tmp_path, "--max_steps=5000", "--save_steps=20", "--save_total_limit=9")
    status, output = start_and_signal(command, tmp_path, signal.SIGTERM)
    assert status == 128 + signal.SIGTERM, output
    step = int(re.search(r"stopped at step (\d+)", output)[1])
    assert 20 <= step < 5000
    assert (tmp_path / f"checkpoint-{step}" / "complete.json").is_file()
    assert not (tmp_path / "model.safetensors").exists()


def test_the_terms_the_paper_lacks(tiny_clip, pairs, tmp_path):
    run(tiny_clip, pairs, tmp_path, "--distillation_weight", "2", "--text_temperature", "0.05", "--logging_steps", "1",
        "--encode_chunk_tokens", "64")  # fmt: skip
    log = json.loads((tmp_path / "trainer_state.json").read_text())["log_history"]
    first = next(entry for entry in log if "loss_distillation" in entry)
    assert first["loss_distillation"] == pytest.approx(0, abs=1e-4)  # nothing has moved yet
    terms = [first[f"loss_{name}"] for name in ("image_text", "caption_paraphrase", "paraphrase_paraphrase")]
    assert first["loss"] == pytest.approx(sum(terms), abs=1e-3)
    assert next(e for e in reversed(log) if "loss_distillation" in e)["loss_distillation"] > 1e-4
    card = (tmp_path / "README.md").read_text()
    assert "in L2 and L3 0.05. Beside them `2 mean(1 - cos(x, x of the base))`." in card
    with pytest.raises(SystemExit):
        run(tiny_clip, pairs, tmp_path, "--text_temperature", "0")


def test_same_seed_same_model(tiny_clip, pairs, tmp_path):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        run(tiny_clip, pairs, tmp_path / name, "--seed", seed)
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b != c


def test_dataset_with_embeds_and_validation_split_needs_no_pictures(tiny_clip, tmp_path, monkeypatch):
    rows = {name: [f"{name} {i}" for i in range(12)] for name in ("caption", "paraphrase_1", "paraphrase_2")}
    split = datasets.Dataset.from_dict(
        {
            **rows,
            "image_id": list(map(str, range(12))),
            "image_embeds": [[i / 10 + j for j in range(8)] for i in range(12)],
        }
    )
    datasets.DatasetDict(train=split, validation=split).save_to_disk(tmp_path / "corpus")
    opened = []
    monkeypatch.setattr(
        train, "load_clip", lambda *args, **kwargs: opened.append(load_clip(*args, **kwargs)) or opened[-1]
    )
    train.main(["--model_name_or_path", str(tiny_clip), "--dataset_name", str(tmp_path / "corpus"),
                "--output_dir", str(tmp_path / "out"), *FAST])  # fmt: skip
    assert not any(hasattr(model, "vision_model") for model in opened)
    assert (tmp_path / "out" / "results.json").exists()
    assert not (tmp_path / "out" / "rankings.png").exists()


def test_skipped_pictures_leave_a_trained_model(tiny_clip, pairs, tmp_path, caplog):
    shutil.copytree(pairs, tmp_path / "pairs")
    next((tmp_path / "pairs" / "pictures").iterdir()).write_bytes(b"broken")
    with pytest.raises(SystemExit, match="cannot read picture"):
        run(tiny_clip, tmp_path / "pairs", tmp_path / "out")
    run(tiny_clip, tmp_path / "pairs", tmp_path / "out", "--skip_bad_images")
    assert "1 bad pictures, 1 rows left out" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--per_device_train_batch_size", "1"], "a batch of 1 has no negatives"),
        (["--dataset_name", "x"], "give one of the two"),
        (["--validation_split_percentage", "0", "--eval_strategy", "epoch"], "nothing to evaluate on"),
        (["--train_file", "absent.jsonl"], "absent.jsonl: no such file"),
    ],
)
def test_refuses_in_one_sentence(arguments, message, tiny_clip, pairs, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(tiny_clip, pairs, tmp_path, *arguments)
    assert message in f"{stopped.value} {capsys.readouterr().err}"


def test_own_data_needs_a_named_model(pairs, capsys):
    with pytest.raises(SystemExit):
        train.main(["--train_file", str(pairs / "pairs.jsonl")])
    assert "--model_name_or_path" in capsys.readouterr().err


def test_help_teaches(capsys):
    with pytest.raises(SystemExit):
        train.main(["--help"])
    text = capsys.readouterr().out
    assert "pairs.jsonl" in text
    assert "--use_lora" in text


def test_push_to_hub(tiny_clip, pairs, tmp_path):
    """The real client, in a process of its own as its endpoint is read at import."""
    with HubDouble() as hub:
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_secret", "HF_HUB_OFFLINE": "0",
                       "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home")}  # fmt: skip
        command = [sys.executable, train.__file__, "--model_name_or_path", str(tiny_clip)]
        command += ["--train_file", str(pairs / "pairs.jsonl"), "--image_dir", str(pairs / "pictures")]
        command += ["--output_dir", str(tmp_path / "out"), "--validation_split_percentage", "40", *FAST]
        command += ["--save_steps", "2", "--push_to_hub", "--hub_model_id", "tester/paraclip"]
        subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        pushed = hub.repos["tester/paraclip"]
        assert pushed["model.safetensors"] == (tmp_path / "out" / "model.safetensors").read_bytes()
        assert {"README.md", "config.json", "processor_config.json", "tokenizer.json", "results.json"} <= set(pushed)
        assert not [name for name in pushed if name.startswith("checkpoint") or name.endswith((".pt", ".pth", ".bin"))]
        assert not [name for name, data in pushed.items() if b"hf_secret" in data]
        load = (
            "from transformers import CLIPModel, AutoProcessor;"
            "print(type(CLIPModel.from_pretrained('tester/paraclip')).__name__,"
            "type(AutoProcessor.from_pretrained('tester/paraclip')).__name__)"
        )
        loaded = subprocess.run(
            [sys.executable, "-c", load], env=environment, check=True, capture_output=True, text=True
        )
    assert loaded.stdout.split() == ["CLIPModel", "CLIPProcessor"]


def test_any_task_as_evaluation(pairs, tiny_clip, tmp_path, capsys):
    data = tmp_path / "data" / "sts"
    data.mkdir(parents=True)
    rows = [(5, "a red circle", "red circle"), (1, "a blue star", "two moons"), (3, "a ring", "a ring on sand")]
    lines = ["score\tsentence1\tsentence2", *("\t".join(map(str, row)) for row in rows)]
    (data / "STSB-test.tsv").write_text("\n".join(lines) + "\n")
    out = tmp_path / "out"
    arguments = ["--model_name_or_path", str(tiny_clip), "--train_file", str(pairs / "pairs.jsonl")]
    arguments += ["--image_dir", str(pairs / "pictures"), "--output_dir", str(out), "--num_train_epochs", "1"]
    arguments += ["--per_device_train_batch_size", "8", "--image_cache_dir", str(tmp_path / "cache")]
    train.main([*arguments, "--eval_strategy", "epoch", "--eval_tasks", "sts", "--eval_data", str(tmp_path / "data")])
    state = json.loads((out / "trainer_state.json").read_text())
    assert any("eval_STS-B_spearman" in entry for entry in state["log_history"])
    results = json.loads((out / "results.json").read_text())
    assert [e["model"] for e in results if e["dataset"] == "STS-B"] == ["base", "tuned"]
    assert "STS-B" in capsys.readouterr().out
    assert not list((tmp_path / "cache").glob("eval-text*"))
