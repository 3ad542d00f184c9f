import json

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
    monkeypatch.setattr(module, "RESULTS", tmp_path)
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


def test_a_run_whose_arguments_changed_is_made_again(tmp_path, tiny_clip, data, monkeypatch):
    trained = []
    monkeypatch.setattr(
        module, "_train", lambda each, folder: trained.append(each.variant) or folder.mkdir(parents=True)
    )
    monkeypatch.setattr(
        module,
        "_measure",
        lambda each, folder, *_: folder.with_suffix(".json").write_text(
            json.dumps({"arguments": each.arguments, "versions": {}, "date": "", "figures": []})
        ),
    )
    run(config_file(tmp_path, tiny_clip, seeds=[0]), data, tmp_path / "runs")
    monkeypatch.setattr(module, "_train", lambda each, folder: trained.append(f"{each.variant} again"))
    changed = config_file(tmp_path, tiny_clip, seeds=[0], variants={"full": {}, "low rank": {"use_lora": True}})
    run(changed, data, tmp_path / "runs")
    assert trained == ["full", "low rank", "low rank again"]


def test_a_run_that_fails_is_named_with_its_log(tmp_path, tiny_clip, data):
    file = config_file(tmp_path, tiny_clip, variants={"odd": {"learning_rate": -1}})
    with pytest.raises(InputError, match=r"tiny/odd/seed-0 ended with status 2: see .*seed-0\.log"):
        run(file, data, tmp_path / "runs")
    assert "--learning_rate" in (tmp_path / "runs" / "small" / "tiny" / "odd" / "seed-0.log").read_text()


def test_figures_from_elsewhere_stay_until_the_arguments_change(tmp_path, tiny_clip, data, monkeypatch):
    made = []
    monkeypatch.setattr(module, "_train", lambda each, folder: folder.mkdir(parents=True))

    def measure(each, folder, *_):
        made.append(each.variant)
        figures = {"arguments": each.arguments, "versions": {}, "date": str(len(made)), "figures": []}
        folder.with_suffix(".json").write_text(json.dumps(figures))

    monkeypatch.setattr(module, "_measure", measure)
    results = run(config_file(tmp_path, tiny_clip, seeds=[0]), data, tmp_path / "one machine")
    variants = {"full": {"lr_scheduler_type": "constant"}, "low rank": {"use_lora": True, "lora_r": 2}}
    file = config_file(tmp_path, tiny_clip, seeds=[0], variants=variants)
    run(file, data, tmp_path / "another", only="full")
    assert made == ["full", "low rank", "full"]
    assert {r["variant"]: r["date"] for r in json.loads(results.read_text())["runs"]} == {"full": "3", "low rank": "2"}
    run(config_file(tmp_path, tiny_clip, seeds=[0], tasks=["order_text"]), data, tmp_path / "third", only="nothing")
    assert json.loads(results.read_text())["runs"] == []


def test_derived_training_files_are_asked_for_and_made(tmp_path, tiny_clip, data, capsys):
    variants = {"negatives": {"train_file": "{files}/negatives.jsonl", "negative_weight": 1}}
    file = config_file(tmp_path, tiny_clip, seeds=[0], variants=variants)
    command = ["--data", str(data), "--runs", str(tmp_path / "runs")]
    with pytest.raises(SystemExit, match=r"files is not there. Make it first: python -m experiments files --data "):
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
    assert all(row["paraphrase_2"] == row["paraphrase_1"] for row in written["one-step"])
    assert written["rules"] and {row["caption"] for row in written["rules"]} <= {row[1] for row in rows}
    assert [row["image_id"] for row in written["model-people"]] == ["1.jpg", "2.jpg", "3.jpg"]
    assert len(written["all"]) == 6 + len(written["rules"])
    assert len(written["first-500"]) == 3
