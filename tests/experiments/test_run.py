import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments import run as module
from experiments.__main__ import main
from experiments.run import run, runs_of
from modeling_paraclip import InputError
from tests.train_command import FAST

SENTENCES = [("a red circle", "a blue square"), ("a dog", "a cat"), ("two stars", "three stars"), ("a boat", "a ship")]


@pytest.fixture
def data(pairs, tmp_path):
    """A folder with one task's data, and results that go nowhere else."""
    (tmp_path / "data" / "sts").mkdir(parents=True)
    lines = [f"{score}\t{a}\t{b}" for score, (a, b) in enumerate(SENTENCES)]
    (tmp_path / "data" / "sts" / "STSB-test.tsv").write_text("\n".join(["score\tsentence1\tsentence2", *lines]))
    (tmp_path / "data" / "pictures").symlink_to(pairs / "pictures")
    (tmp_path / "data" / "pairs.jsonl").write_text((pairs / "pairs.jsonl").read_text())
    return tmp_path / "data"


def config_file(tmp_path, tiny_clip, **changes):
    fast = dict(argument.removeprefix("--").partition("=")[::2] for argument in FAST if "=" in argument)
    config = {
        "question": "Does it run?",
        "seeds": [0, 1],
        "tasks": ["sts"],
        "common": {
            **fast,
            "train_file": "{data}/pairs.jsonl",
            "image_dir": "{data}/pictures",
            "image_cache_dir": str(tmp_path / "cache"),
            "validation_split_percentage": 0,
        },
        "bases": {"tiny": {"model_name_or_path": str(tiny_clip)}},
        "variants": {"full": {}, "low rank": {"use_lora": True, "by_base": {"tiny": {"lora_r": 2}}}},
        "rows": {"STS-B": [["STS-B", "spearman"]]},
        **changes,
    }
    file = tmp_path / "small.json"
    file.write_text(json.dumps(config))
    return file


@pytest.fixture(autouse=True)
def own_results(tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results")


def test_every_variant_gets_its_arguments_and_all_first_seeds_come_first(tmp_path, tiny_clip, data):
    runs = list(runs_of(json.loads(config_file(tmp_path, tiny_clip).read_text()), data, tmp_path))
    assert [(r.variant, r.seed) for r in runs] == [("full", 0), ("low rank", 0), ("full", 1), ("low rank", 1)]
    assert runs[1].arguments["lora_r"] == 2 and "by_base" not in runs[1].arguments
    assert runs[0].arguments["train_file"] == str(data / "pairs.jsonl") and "use_lora" not in runs[0].arguments


@pytest.mark.slow
def test_a_configuration_is_trained_measured_and_not_done_twice(tmp_path, tiny_clip, data, monkeypatch, capsys):
    file = config_file(tmp_path, tiny_clip, seeds=[0])
    main(["run", str(file), "--data", str(data), "--runs", str(tmp_path / "runs"), "--only", "full"])
    results = json.loads((tmp_path / "results" / "small.json").read_text())
    (only,) = results["runs"]
    assert (only["base"], only["variant"], only["seed"]) == ("tiny", "full", 0)
    (figure,) = only["figures"]
    assert (figure["dataset"], figure["metric"], figure["n"]) == ("STS-B", "spearman", len(SENTENCES))
    assert -1 <= figure["base"] <= 1 and figure["tuned"] != figure["base"]
    assert str(tmp_path) not in json.dumps(only)

    monkeypatch.setattr(module, "_train", lambda *_: pytest.fail("trained again"))
    again = main(["run", str(file), "--data", str(data), "--runs", str(tmp_path / "runs"), "--only", "full"])
    assert again is None and json.loads((tmp_path / "results" / "small.json").read_text()) == results


@pytest.fixture
def made(monkeypatch):
    """The variants that were trained and measured, one after the other: nothing is."""
    made = []
    monkeypatch.setattr(module, "_train", lambda each, folder: folder.mkdir(parents=True, exist_ok=True))

    def measure(each, folder, tasks, data):
        made.append(each.variant)
        figures = {**module._inputs(each), "tasks": tasks, "versions": {}, "date": str(len(made)), "figures": []}
        folder.with_suffix(".json").write_text(json.dumps(figures))

    monkeypatch.setattr(module, "_measure", measure)
    return made


def test_a_run_whose_arguments_data_or_tasks_changed_is_made_again(tmp_path, tiny_clip, data, made):
    def again(**changes):
        made.clear()
        run(config_file(tmp_path, tiny_clip, seeds=[0], **changes), data, tmp_path / "runs")
        return list(made)

    assert again() == ["full", "low rank"]
    assert again() == []
    assert again(variants={"full": {}, "low rank": {"use_lora": True}}) == ["low rank"]
    changed = {"variants": {"full": {}}}
    assert again(tasks=["sts", "order_text"], **changed) == ["full"]
    assert again(**changed) == ["full"]
    with (data / "pairs.jsonl").open("a") as lines:
        lines.write("\n")
    assert again(**changed) == ["full"]


def test_only_names_runs_as_the_configuration_spells_them(tmp_path, tiny_clip, data, made):
    variants = {"both, 1": {}, "both, 100": {}, "paper's loss": {}}
    file = config_file(tmp_path, tiny_clip, seeds=[0], variants=variants)
    run(file, data, tmp_path / "runs", only="both, 1/")
    run(file, data, tmp_path / "runs", only="paper's loss")
    assert made == ["both, 1", "paper's loss"]
    with pytest.raises(InputError, match=r"--only large: no run has this in its name, e.g. tiny/both, 1/seed-0"):
        run(file, data, tmp_path / "runs", only="large")


def test_what_was_trained_and_not_measured_is_only_measured(tmp_path, tiny_clip, data, monkeypatch):
    trained = []
    monkeypatch.setattr(module, "_measure", lambda *_: None)

    class Training:
        def __init__(self, command, **_):
            trained.append("last" in command)
            folder = Path(command[command.index("--output_dir") + 1])
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "checkpoint-1").mkdir(exist_ok=True)
            self.wait = lambda: 0 if trained[-1] else 1

    monkeypatch.setattr(module.subprocess, "Popen", Training)
    file = config_file(tmp_path, tiny_clip, seeds=[0], variants={"full": {}})
    with pytest.raises(InputError, match="ended with status 1"):
        run(file, data, tmp_path / "runs")
    run(file, data, tmp_path / "runs")
    assert trained == [False, True]  # from the start, from the checkpoint
    run(file, data, tmp_path / "runs")
    assert len(trained) == 2
    changed = config_file(tmp_path, tiny_clip, seeds=[0], variants={"full": {"seed": 1}})
    with pytest.raises(InputError, match="ended with status 1"):  # an old model is no model of these arguments
        run(changed, data, tmp_path / "runs")
    assert trained[2:] == [False]


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C of a terminal of POSIX")
def test_ctrl_c_lets_the_training_save(tmp_path, tiny_clip, data, monkeypatch):
    saver = tmp_path / "saver.py"
    saver.write_text(
        "import pathlib, signal, sys, time\n"
        "def save(*_): time.sleep(1); pathlib.Path(sys.argv[1]).touch(); sys.exit(3)\n"
        "signal.signal(signal.SIGINT, save)\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    started = subprocess.Popen

    class Interrupted(started):
        def __init__(self, command, **kwargs):
            super().__init__([sys.executable, str(saver), str(tmp_path / "saved")], **kwargs)
            self.calls = 0

        def wait(self, *args, **kwargs):
            self.calls += 1
            if self.calls == 1:
                log = next((tmp_path / "runs").rglob("*.log"))
                while "ready" not in log.read_text():
                    time.sleep(0.05)
                self.send_signal(signal.SIGINT)
                raise KeyboardInterrupt
            return super().wait(*args, **kwargs)

    monkeypatch.setattr(module.subprocess, "Popen", Interrupted)
    file = config_file(tmp_path, tiny_clip, seeds=[0], variants={"full": {}})
    with pytest.raises(SystemExit, match=r"Stopped\. Give the same command again"):
        main(["run", str(file), "--data", str(data), "--runs", str(tmp_path / "runs")])
    assert (tmp_path / "saved").exists()


def test_a_run_that_fails_is_named_with_its_log(tmp_path, tiny_clip, data):
    file = config_file(tmp_path, tiny_clip, variants={"odd": {"learning_rate": -1}})
    with pytest.raises(InputError, match=r"tiny/odd/seed-0 ended with status 2: see .*seed-0\.log"):
        run(file, data, tmp_path / "runs")
    assert "--learning_rate" in (tmp_path / "runs" / "small" / "tiny" / "odd" / "seed-0.log").read_text()


def test_figures_from_elsewhere_stay_until_the_arguments_change(tmp_path, tiny_clip, data, made):
    results = run(config_file(tmp_path, tiny_clip, seeds=[0]), data, tmp_path / "one machine")
    variants = {"full": {"lr_scheduler_type": "constant"}, "low rank": {"use_lora": True, "lora_r": 2}}
    file = config_file(tmp_path, tiny_clip, seeds=[0], variants=variants)
    run(file, data, tmp_path / "another", only="full")
    assert made == ["full", "low rank", "full"]
    assert {r["variant"]: r["date"] for r in json.loads(results.read_text())["runs"]} == {"full": "3", "low rank": "2"}
    run(config_file(tmp_path, tiny_clip, seeds=[0], tasks=["order_text"]), data, tmp_path / "third", only="full")
    assert [r["date"] for r in json.loads(results.read_text())["runs"]] == ["4"]


def test_derived_training_files_are_asked_for_and_made(tmp_path, tiny_clip, data, capsys):
    variants = {"negatives": {"train_file": "{files}/negatives.jsonl", "negative_weight": 1}}
    file = config_file(tmp_path, tiny_clip, seeds=[0], variants=variants)
    command = ["--data", str(data), "--runs", str(tmp_path / "runs")]
    with pytest.raises(
        SystemExit, match=r"negatives.jsonl is not there. Make it first: python -m experiments files --data "
    ):
        main(["run", str(file), *command])

    (data / "flickr8k").mkdir()
    rows = [
        ("1.jpg", "A dog chases a cat", "A hound is chasing a cat", "a cat that a dog is after"),
        ("2.jpg", "A man in a red shirt walks", "A man in red walks", "a strolling man dressed in red"),
        ("3.jpg", "A woman is reading", "A woman reads", "A woman reads"),
    ]
    names = ("image_id", "caption", "paraphrase_1", "paraphrase_2")
    for name, repeated in (("llm", rows), ("human", [*rows, *rows])):
        lines = [json.dumps(dict(zip(names, row))) for row in repeated]
        (data / "flickr8k" / f"{name}_triples_train.jsonl").write_text("\n".join(lines))
    main(["files", *command])
    written = {
        path.stem: [json.loads(line) for line in path.read_text().splitlines()]
        for path in (tmp_path / "runs" / "files").glob("*.jsonl")
    }
    assert [row["image_id"] for row in written["people"]] == ["1.jpg", "2.jpg", "3.jpg"]
    assert [row["image_id"] for row in written["filtered"]] == ["1.jpg", "2.jpg"]
    assert written["negatives"][0]["negative"] == "A cat chases a dog"
    assert written["swaps"][0]["negative"] == "A cat chases a dog"
    assert written["swaps"][1]["negative"] == "A shirt in a red man walks"
    assert all(row["paraphrase_2"] == row["paraphrase_1"] for row in written["one-step"])
    assert written["rules"] and {row["caption"] for row in written["rules"]} <= {row[1] for row in rows}
    assert [row["image_id"] for row in written["model-people"]] == ["1.jpg", "2.jpg", "3.jpg"]
    assert len(written["all"]) == 6 + len(written["rules"])
    assert len(written["first-500"]) == 3
