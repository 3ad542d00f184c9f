"""`train.py` as people run it, on a tiny model: what it leaves, what it refuses, that it resumes and pushes."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModel, AutoProcessor, CLIPModel, pipeline

import train
from modeling_paraclip import encode_texts, last_checkpoint, load_clip, readers
from modeling_paraclip.output_dir import claimed
from modeling_paraclip.training_args import DataArguments, ModelArguments
from tests.hub_double import HubDouble
from tests.processes import succeeds
from tests.train_command import FAST, run, start_and_signal, train_command


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
    best = load_file(Path(state["best_model_checkpoint"]) / "trained.safetensors")
    published = load_file(trained / "model.safetensors")
    assert {name.split(".")[0] for name in best} == {"text_model", "text_projection"}
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


def test_the_card_has_this_structure(trained):
    card = ModelCard.load(trained / "README.md")
    prose = re.sub("```.*?```", "", card.text, flags=re.S)
    assert re.findall("^#+ .*", prose, flags=re.M) == [
        f"# {trained.name}", "## Use", "## Evaluation", "## Training", "## Limits", "## Citation",
    ]  # fmt: skip
    data = card.data.to_dict()
    assert {"model-index", "tags", "library_name", "pipeline_tag"} <= data.keys()
    assert not {"base_model", "base_model_relation", "datasets"} & data.keys()  # these were local
    (entry,) = data["model-index"]
    wordings = {result["dataset"].get("config") for result in entry["results"]}
    assert {"caption", "paraphrase_1", "paraphrase_2"} <= wordings
    keys = [
        (r["dataset"]["name"], r["dataset"].get("config"), m["name"]) for r in entry["results"] for m in r["metrics"]
    ]
    assert len(keys) == len(set(keys))  # nothing is merged
    assert card.text.count("| validation") > 10 and "<details>" in card.text
    assert "python train.py --model_name_or_path" in card.text and "--hub_token" not in card.text
    for said in ("schedule", "float32", "CPU", "torch ", "transformers "):
        assert said in card.text


def test_the_cards_snippets_run(trained, tmp_path, monkeypatch):
    """With the folder in place of its name on the Hub. That of sentence-transformers where it is installed."""
    text = (trained / "README.md").read_text()
    monkeypatch.chdir(trained.parent)
    snippets = re.findall("```python\n(.*?)```", text, flags=re.S)
    assert len(snippets) == 2
    for snippet in snippets:
        if "sentence_transformers" in snippet and importlib.util.find_spec("sentence_transformers") is None:
            continue
        names: dict = {}
        exec(snippet, names)
        assert len(names["text_embeds"]) == 1


def test_the_command_of_the_card_holds_no_path_and_no_token(pairs):
    argv = ["--train_file", str(pairs / "pairs.jsonl"), f"--image_dir={pairs}/pictures", "--hub_token", "hf_secret",
            "--hub_token=hf_secret", "--learning_rate", "1e-3", "--output_dir", "/nowhere/out"]  # fmt: skip
    assert train.shown_command(argv) == (
        "python train.py --train_file pairs.jsonl --image_dir=pictures --learning_rate 1e-3 --output_dir out"
    )


def test_the_licence_of_the_base_is_kept(tiny_clip, pairs, tmp_path):
    base = shutil.copytree(tiny_clip, tmp_path / "base")
    (base / "README.md").write_text("---\nlicense: mit\nlanguage: [de, fr]\n---\n")
    run(base, pairs, tmp_path / "out", "--validation_split_percentage", "0", "--max_steps", "1")
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.license == "mit" and card.data.language == ["de", "fr"]
    run(
        base,
        pairs,
        tmp_path / "asked",
        "--license",
        "cc0-1.0",
        "--validation_split_percentage",
        "0",
        "--max_steps",
        "1",
    )
    assert ModelCard.load(tmp_path / "asked" / "README.md").data.license == "cc0-1.0"


def test_a_language_is_that_of_a_card_and_never_guessed(tmp_path):
    base, data = tmp_path / "base", tmp_path / "data"
    base.mkdir()
    data.mkdir()
    model_args = ModelArguments(model_name_or_path=str(base))
    data_args = DataArguments(dataset_name=str(data))
    assert train.language_of(model_args, data_args) is None
    (data / "README.md").write_text("---\nlanguage:\n- en\ntask_categories: [zero-shot-image-classification]\n---\n")
    assert train.language_of(model_args, data_args) == ["en"]
    assert train.language_of(model_args, DataArguments(train_file="pairs.jsonl")) is None
    (base / "README.md").write_text("---\nlanguage: ko\n---\n")
    assert train.language_of(model_args, data_args) == "ko"
    (base / "README.md").write_text("---\n- a list\n---\n")  # told, and no reason to fail
    assert train.language_of(model_args, data_args) == ["en"]


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


def test_only_the_last_layers_change_and_the_card_says_so(tiny_clip, pairs, tmp_path, capsys):
    run(tiny_clip, pairs, tmp_path, "--trained_layers", "1", "--max_steps", "2")
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny_clip, tmp_path))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    layers = json.loads((tiny_clip / "config.json").read_text())["text_config"]["num_hidden_layers"]
    last = (f"text_model.encoder.layers.{layers - 1}.", "text_model.final_layer_norm.", "text_projection.")
    assert changed and all(name.startswith(last) for name in changed)
    assert "only its last layers (1) and what follows them" in (tmp_path / "README.md").read_text()
    count = sum(before[name].numel() for name in before if name in changed)
    assert f"weights: {count:,} are trained, of the text tower" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"--trained_layers 9: the text tower has \d"):
        run(tiny_clip, pairs, tmp_path / "more", "--trained_layers", "9")


def test_negatives_are_trained_against(tiny_clip, pairs, tmp_path, capsys):
    shutil.copytree(pairs, tmp_path / "pairs")
    file = tmp_path / "pairs" / "pairs.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    refused = ("--negative_weight", "1", "--max_steps", "2")
    with pytest.raises(SystemExit, match=r"have no negatives in a column `negative`"):
        run(tiny_clip, tmp_path / "pairs", tmp_path / "none", *refused)
    for i, row in enumerate(rows):
        row["negative"] = f"no {row['caption']}" if i % 2 else None
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    weights = {}
    for weight in ("0", "2"):
        run(tiny_clip, tmp_path / "pairs", tmp_path / weight, "--negative_weight", weight, "--max_steps", "2")
        weights[weight] = load_file(tmp_path / weight / "model.safetensors")["text_projection.weight"]
    assert not torch.equal(weights["0"], weights["2"])
    assert (
        "negatives 2 times in the denominators of L1(images, x''), L2(x, x'), L1(images, x)"
        in (tmp_path / "2" / "README.md").read_text()
    )
    assert "negatives" not in (tmp_path / "0" / "README.md").read_text()
    rows[0]["negative"] = rows[0]["paraphrase_1"]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(SystemExit, match=r"pairs\.jsonl, row 1: its negative is also its caption or paraphrase"):
        run(tiny_clip, tmp_path / "pairs", tmp_path / "same", *refused)


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [("--encode_chunk_tokens=32",), ("--fsdp",), ("--fsdp", "--use_lora", "--encode_chunk_tokens=32")],
    ids=["ddp", "fsdp", "fsdp-lora"],
)
def test_two_processes_train_the_model_of_one(arguments, tiny_clip, pairs, tmp_path):
    """Half the batch each, the negatives of both, in a run from data to publication.

    Compared are the loss and the gradient's norm at every step, and what the published models say of texts. Weights
    are not: the gradient of `k_proj.bias` is zero in exact arithmetic, and Adam makes full steps of its rounding. With
    SGD, losses and embeddings depend continuously on rounding. (float64 gradients: test_exactness.py.)
    """
    lora = [argument for argument in arguments if "lora" in argument]
    rest = ["--logging_steps=1", "--max_steps=5", "--optim=sgd", "--learning_rate=0.01"]  # five full batches of 40
    alone = train_command(tiny_clip, pairs, tmp_path / "one", "--per_device_train_batch_size=8", *rest, *lora)
    succeeds(alone)
    script = Path(__file__).with_name("fsdp_on_cpu.py") if "--fsdp" in arguments else Path(train.__file__)
    two = train_command(tiny_clip, pairs, tmp_path / "two", "--per_device_train_batch_size=4", *rest, *arguments)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    succeeds([*launcher, *two[2:]], env=environment)
    logs = [json.loads((tmp_path / name / "trainer_state.json").read_text())["log_history"] for name in ("one", "two")]
    for one, both in zip(*logs, strict=True):
        for name in [name for name in one if name.startswith("loss") or name == "grad_norm"]:
            assert both[name] == pytest.approx(one[name], rel=1e-2, abs=1e-3), name
    tokenizer = AutoProcessor.from_pretrained(tiny_clip).tokenizer
    texts = [json.loads(line)["caption"] for line in (pairs / "pairs.jsonl").read_text().splitlines()]
    base, one, both = (
        encode_texts(CLIPModel.from_pretrained(folder), tokenizer, texts)
        for folder in (tiny_clip, tmp_path / "one", tmp_path / "two")
    )
    moved = (one - base).norm()
    assert moved > 1e-4
    assert (one - both).norm() < 0.02 * moved
    assert last_checkpoint(tmp_path / "two").endswith("checkpoint-5")


# A process that kills itself at one moment of one step, so that the test does not depend on how fast anything is.
SUICIDE = """
import os, shutil, signal, sys
import train
from modeling_paraclip import ParaCLIPTrainer, checkpoints

moment, step = sys.argv.pop(1), int(sys.argv.pop(1))
now = [0]
owner = {"rmtree": shutil, "mark_complete": checkpoints}.get(moment, ParaCLIPTrainer)
original = getattr(owner, moment)
compute_loss = ParaCLIPTrainer.compute_loss

def deadly(*args, **kwargs):
    if now[0] >= step and (moment != "rmtree" or "checkpoint-" in str(args[0])):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*args, **kwargs)

def counted(self, model, *args, **kwargs):
    if model.training:
        now[0] = self.state.global_step + 1
    return (deadly if moment == "compute_loss" else compute_loss)(self, model, *args, **kwargs)

setattr(owner, moment, deadly)
ParaCLIPTrainer.compute_loss = counted
train.main()
"""


@pytest.mark.slow
def test_killed_at_any_moment_and_resumed_ends_bitwise_equal(tiny_clip, pairs, tmp_path):
    """SIGKILL while a checkpoint is written, before it is marked, while an old one is removed, and in a step."""
    steps = ["--max_steps=24", "--save_steps=1", "--resume_from_checkpoint=last"]
    run(tiny_clip, pairs, tmp_path / "whole", "--validation_split_percentage=0", *steps)
    cut = train_command(tiny_clip, pairs, tmp_path / "cut", *steps)
    environment = {**os.environ, "PYTHONPATH": str(Path(train.__file__).parent)}
    for moment, step in (("_save_rng_state", 4), ("mark_complete", 8), ("rmtree", 12), ("compute_loss", 16)):
        command = [sys.executable, "-c", SUICIDE, moment, str(step), *cut[2:]]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
        assert last_checkpoint(tmp_path / "cut") == str(
            tmp_path / "cut" / f"checkpoint-{step - 1 + (moment == 'rmtree')}"
        )
    succeeds(cut)
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut"))
    assert first == second


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops(number, tiny_clip, pairs, tmp_path):
    command = train_command(tiny_clip, pairs, tmp_path, "--max_steps=5000", "--save_steps=20", "--save_total_limit=9")
    status, output = start_and_signal(command, tmp_path, number)
    assert status == 128 + number, output
    assert "Traceback" not in output
    step = int(re.search(r"stopped at step (\d+)", output)[1])
    assert 20 <= step < 5000
    assert (tmp_path / f"checkpoint-{step}" / "complete.json").is_file()
    assert not (tmp_path / "model.safetensors").exists()


def test_the_terms_the_paper_lacks(tiny_clip, pairs, tmp_path):
    run(tiny_clip, pairs, tmp_path, "--recipe", "paper", "--distillation_weight", "2", "--text_temperature", "0.05",
        "--logging_steps", "1", "--encode_chunk_tokens", "64")  # fmt: skip
    log = json.loads((tmp_path / "trainer_state.json").read_text())["log_history"]
    first = next(entry for entry in log if "loss_distillation" in entry)
    assert first["loss_distillation"] == pytest.approx(0, abs=1e-4)  # nothing has moved yet
    terms = [first[f"loss_{name}"] for name in ("image_text", "caption_paraphrase", "paraphrase_paraphrase")]
    assert first["loss"] == pytest.approx(sum(terms), abs=1e-3)
    assert next(e for e in reversed(log) if "loss_distillation" in e)["loss_distillation"] > 1e-4
    card = (tmp_path / "README.md").read_text()
    assert "`L = L1(images, x'') + L2(x, x') + L3(x', x'') + 2 mean(1 - cos(x, x of the base))`" in card
    assert "in L2 and L3 it is 0.05." in card


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
        (["--eval_tasks", "sts,nonsense"], "--eval_tasks sts,nonsense: unknown task; known are"),
        (["--eval_tasks", ","], "--eval_tasks ,: unknown task"),
        (["--eval_tasks", "sts", "--fsdp", "full_shard"], "--eval_tasks cannot be run on a sharded model"),
        (["--validation_file", "a/val.jsonl", "b/val.jsonl"], "two files are named val"),
        (["--neftune_noise_alpha", "5"], "--neftune_noise_alpha cannot be used"),
        (["--hub_strategy", "every_save"], "a checkpoint is not a model"),
        (["--overwrite_output_dir", "--resume_from_checkpoint", "last"], "removes the checkpoints that"),
        (
            ["--validation_split_percentage", "15", "--eval_strategy", "epoch", "--save_strategy", "epoch",
             "--load_best_model_at_end", "--metric_for_best_model", "average_overlap@10"],
            "--metric_for_best_model average_overlap@10: there is no such figure",
        ),
        (["--model_name_or_path", "absent"], "absent cannot be opened as a model"),
        (["--metric_for_best_model", "typo@3", "--eval_strategy", "epoch"], "typo@3: there is no such figure"),
        (["--use_lora", "--lora_r", "0"], "--lora_r 0: has to be within 1 and 4096"),
        (["--deepspeed", "x.json"], "--deepspeed cannot be used"),
    ],
)  # fmt: skip
def test_refuses_in_one_sentence(arguments, message, tiny_clip, pairs, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(tiny_clip, pairs, tmp_path, *arguments)
    assert message in f"{stopped.value} {capsys.readouterr().err}"
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".safetensors", ".json")]  # nothing was begun


def test_a_named_model_needs_data(tiny_clip, capsys):
    with pytest.raises(SystemExit):
        train.main(["--model_name_or_path", str(tiny_clip)])
    assert "give the triples to train" in capsys.readouterr().err


def test_the_base_is_never_overwritten(tiny_clip, pairs):
    before = (tiny_clip / "model.safetensors").read_bytes()
    with pytest.raises(SystemExit, match="is read from, so it cannot be the output"):
        run(tiny_clip, pairs, tiny_clip, "--overwrite_output_dir")
    assert (tiny_clip / "model.safetensors").read_bytes() == before


def test_an_output_folder_that_cannot_be_written_is_found_first(tiny_clip, pairs, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match="cannot be written to: Not a directory"):
        run(tiny_clip, pairs, tmp_path / "file" / "out")


def test_two_runs_are_never_mixed(tiny_clip, pairs, tmp_path, capsys):
    out, fast = tmp_path / "out", ("--save_steps", "2")
    run(tiny_clip, pairs, out, *fast)
    (out / "notes.txt").write_text("mine")
    run(tiny_clip, pairs, tmp_path / "other", *fast, "--seed", "7")
    first = (out / "model.safetensors").read_bytes()
    with pytest.raises(SystemExit, match=r"holds files of an earlier run: config.json, .* and \d+ more"):
        run(tiny_clip, pairs, out, *fast)
    with pytest.raises(SystemExit, match="checkpoint-4 belongs to another run: seed was 42, now 7"):
        run(tiny_clip, pairs, out, *fast, "--seed", "7", "--resume_from_checkpoint", "last")
    with pytest.raises(SystemExit, match="holds files of an earlier run"):
        run(tiny_clip, pairs, out, *fast, "--resume_from_checkpoint", str(tmp_path / "other" / "checkpoint-2"))
    with pytest.raises(SystemExit, match=r"absent.jsonl: no such file"):  # nothing is removed for it
        run(tiny_clip, pairs, out, *fast, "--train_file", "absent.jsonl", "--overwrite_output_dir")
    assert (out / "model.safetensors").read_bytes() == first
    run(tiny_clip, pairs, out, *fast, "--seed", "7", "--overwrite_output_dir", "--validation_split_percentage", "0")
    assert (out / "notes.txt").read_text() == "mine"
    assert (out / "model.safetensors").read_bytes() != first
    assert not (out / "results.json").exists()
    assert not (out / "rankings.png").exists()
    assert "Not evaluated." in (out / "README.md").read_text()


@pytest.mark.slow
def test_a_failed_upload_is_one_sentence_before_or_after_the_work(tiny_clip, pairs, tmp_path):
    """Nobody answers at all; then the Hub knows the user, but takes no file."""
    with HubDouble() as hub:
        environment = hub.environment(tmp_path / "home")
    command = train_command(tiny_clip, pairs, tmp_path / "a", "--push_to_hub")
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "train.py: the Hub does not know you" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "a" / "model.safetensors").exists()
    with HubDouble() as hub:
        hub.refuse = "/preupload/"
        command = train_command(tiny_clip, pairs, tmp_path / "b", "--push_to_hub")
        done = subprocess.run(command, env=hub.environment(tmp_path / "home"), capture_output=True, text=True)
        assert done.returncode == 1
        assert "train.py: the upload failed" in done.stderr
        assert "Traceback" not in done.stderr
        assert 'from_pretrained("tester/b")' in (tmp_path / "b" / "README.md").read_text()
        assert hub.repos == {}


def test_what_is_about_to_happen_is_said(tiny_clip, pairs, tmp_path, capsys):
    run(tiny_clip, pairs, tmp_path / "out")
    said = capsys.readouterr().out
    assert "train on: 25 triples of 25 pictures" in said
    assert "measure: validation (15 triples); gallery of 15 pictures" in said
    assert "loss: L = L1(images, x'') + L2(x, x') + L3(x', x'')" in said
    assert "steps: 4 of 8 triples" in said
    assert "time: very roughly" in said
    assert re.search(r"weights: [\d,]+ are trained, of the text tower", said)
    assert "hardly anything can be learned in 4 steps" in said
    assert "figures mean little in a gallery of 15 pictures" in said


def test_no_path_of_this_machine_is_published(trained, pairs, tiny_clip):
    for path in trained.iterdir():
        if path.is_file() and path.name != "trainer_state.json":  # which is not published
            assert str(pairs.parent).encode() not in path.read_bytes(), path
            assert str(tiny_clip).encode() not in path.read_bytes(), path
    assert "pairs.jsonl" in (trained / "README.md").read_text()


def test_a_sheet_that_cannot_be_drawn_ends_no_run(tiny_clip, pairs, tmp_path, monkeypatch, caplog):
    def gone(*_):
        raise FileNotFoundError("a picture was moved")

    monkeypatch.setattr("eval.plots.draw_rankings", gone)
    run(tiny_clip, pairs, tmp_path / "out")
    assert "rankings.png was not drawn: a picture was moved" in caplog.text
    assert len(ModelCard.load(tmp_path / "out" / "README.md").data.eval_results) > 0


def test_base_and_tuned_are_measured_in_one_dtype(tiny_clip, pairs, tmp_path):
    """Of a half precision base that did not move, the tuned model has the same figures, not almost the same."""
    CLIPModel.from_pretrained(tiny_clip).half().save_pretrained(tmp_path / "half")
    for name in ("tokenizer.json", "tokenizer_config.json", "processor_config.json"):
        shutil.copy(tiny_clip / name, tmp_path / "half")
    run(tmp_path / "half", pairs, tmp_path / "out", "--learning_rate", "0")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    base, tuned = ([e["value"] for e in results if e["model"] == name] for name in ("base", "tuned"))
    assert base == tuned
    assert load_file(tmp_path / "out" / "model.safetensors")["logit_scale"].dtype == torch.float16


def test_a_resumed_run_counts_all_its_seconds(tiny_clip, pairs, tmp_path):
    run(tiny_clip, pairs, tmp_path / "out", "--save_steps", "2")
    marker = tmp_path / "out" / "checkpoint-4" / "complete.json"
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "seconds": 5000.0}))
    run(tiny_clip, pairs, tmp_path / "out", "--save_steps", "2", "--resume_from_checkpoint", "last")
    card = (tmp_path / "out" / "README.md").read_text().splitlines()
    header = "| learning rate | schedule | batch size | optimiser steps | precision | seed | seconds | hardware |"
    row = card[card.index(header) + 2]
    assert int(row.split("|")[7]) >= 5000


def test_own_data_needs_a_named_model(pairs, capsys):
    with pytest.raises(SystemExit):
        train.main(["--train_file", str(pairs / "pairs.jsonl")])
    assert "--model_name_or_path" in capsys.readouterr().err


def test_help_teaches(capsys):
    """Our options come first, each with its default, then those of transformers."""
    with pytest.raises(SystemExit):
        train.main(["--help"])
    text = capsys.readouterr().out
    body = text[text.index("options:") :]
    places = [
        body.index(name)
        for name in (
            "model:",
            "--use_lora",
            "data:",
            "--image_dir",
            "training:",
            "--distillation_weight",
            "transformers.TrainingArguments:",
            "--adam_beta1",
        )
    ]
    assert places == sorted(places)
    assert "pairs.jsonl" in text
    assert "Rank of the adapters. (default: 16)" in " ".join(text.split())


@pytest.mark.slow
def test_logs_are_quiet_with_a_model_of_the_hub(tiny_clip, pairs, tmp_path):
    with HubDouble() as hub:
        hub.repos["tester/base"] = {path.name: path.read_bytes() for path in tiny_clip.iterdir()}
        command = train_command("tester/base", pairs, tmp_path / "out", "--use_lora", "--lora_r", "4")
        done = succeeds(command, env=hub.environment(tmp_path / "home"))
        assert "HTTP Request" not in done.stdout + done.stderr
        assert (
            json.loads((tmp_path / "out" / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"]
            == "tester/base"
        )
        assert "base_model: tester/base" in (tmp_path / "out" / "README.md").read_text()
        load = "import sys; from peft import AutoPeftModel; AutoPeftModel.from_pretrained(sys.argv[1])"
        adapter = str(tmp_path / "out" / "adapter")
        succeeds([sys.executable, "-c", load, adapter], env=hub.environment(tmp_path / "home"))


@pytest.mark.slow
def test_push_to_hub(tiny_clip, pairs, tmp_path):
    """The real client, in a process of its own as its endpoint is read at import."""
    with HubDouble() as hub:
        environment = hub.environment(tmp_path / "home")
        (tmp_path / "out" / "pictures").mkdir(parents=True)
        planted = ("secrets.env", "captions-private.csv", "pictures/me.jpg", "weights.pkl", "model.safetensors.tmp")
        for name in planted:
            (tmp_path / "out" / name).write_text("private")
        command = train_command(tiny_clip, pairs, tmp_path / "out", "--validation_split_percentage", "40")
        command += ["--save_steps", "2", "--push_to_hub", "--hub_model_id", "tester/paraclip"]
        succeeds(command, env=environment)
        pushed = hub.repos["tester/paraclip"]
        assert pushed["model.safetensors"] == (tmp_path / "out" / "model.safetensors").read_bytes()
        assert {"README.md", "config.json", "processor_config.json", "tokenizer.json", "results.json"} <= set(pushed)
        assert set(pushed) - {".gitattributes"} == {
            *("README.md", "config.json", "processor_config.json", "results.json"),
            *("tokenizer.json", "tokenizer_config.json", "model.safetensors"),
            *readers.FILES,
        }
        assert (tmp_path / "out" / "rankings.png").exists()  # it shows the user's pictures
        assert not [name for name, data in pushed.items() if str(tmp_path).encode() in data]
        assert not [name for name, data in pushed.items() if b"hf_secret" in data]
        load = (
            "from transformers import CLIPModel, AutoProcessor;"
            "print(type(CLIPModel.from_pretrained('tester/paraclip')).__name__,"
            "type(AutoProcessor.from_pretrained('tester/paraclip')).__name__)"
        )
        loaded = succeeds([sys.executable, "-c", load], env=environment)
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


def test_a_second_run_into_one_folder_is_refused(tiny_clip, pairs, tmp_path):
    with claimed(tmp_path / "out"), pytest.raises(SystemExit, match="out: another run writes to it"):
        run(tiny_clip, pairs, tmp_path / "out")


def test_a_disk_without_room_is_found_before_the_work(tiny_clip, pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(SystemExit, match="has room for 0 MiB, but the model and its checkpoints take"):
        run(tiny_clip, pairs, tmp_path / "out")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("lora", [(), ("--use_lora", "--lora_r", "4")], ids=["full", "lora"])
@pytest.mark.parametrize("name", ["tiny_siglip", "tiny_dual"])
def test_any_dual_encoder_is_trained_and_its_image_side_stays(name, lora, pairs, tmp_path, request):
    """In chunks and recomputed, from data to figures: the losses are those of one chunk."""
    base = request.getfixturevalue(name)
    losses = []
    for i, chunk_tokens in enumerate(("8192", "64")):
        out = tmp_path / str(i)
        run(
            base, pairs, out, "--encode_chunk_tokens", chunk_tokens, "--logging_steps", "1", "--recipe", "paper", *lora
        )
        log = json.loads((out / "trainer_state.json").read_text())["log_history"]
        losses.append([entry["loss"] for entry in log if "loss" in entry])
        before, after = (load_file(folder / "model.safetensors") for folder in (base, out))
        assert before.keys() == after.keys()
        changed = {n.split(".")[0] for n in before if before[n].numpy().tobytes() != after[n].numpy().tobytes()}
        assert changed == {"text_model"} | ({"text_projection"} & {n.split(".")[0] for n in before})
        AutoModel.from_pretrained(out), AutoProcessor.from_pretrained(out)
    assert losses[1] == pytest.approx(losses[0], rel=2e-2)
    assert losses[0][-1] < losses[0][0]
