import itertools
import json
import logging
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoProcessor, CLIPModel

from eval import __main__ as cli
from eval import suite
from eval.open_clip import PREFIX, WITH_CONFIG
from tests.eval.samples import WORDS, write_tsv

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_all_tasks_in_one_command(folder, tiny_clip, second_clip, tmp_path, capsys):
    arguments = ["--models", str(tiny_clip), str(second_clip), "--data", str(folder)]
    arguments += ["--cache_dir", str(tmp_path / "cache"), "--report", str(tmp_path / "r.md")]
    cli.main([*arguments, "--output", str(tmp_path / "1.json"), "--plots", str(tmp_path / "plots")])
    cli.main([*arguments, "--output", str(tmp_path / "2.json")])
    assert "not run" not in capsys.readouterr().out
    first, second = ((tmp_path / f"{run}.json").read_text() for run in (1, 2))
    assert re.sub(r'"seconds": [\d.]+', "", first) == re.sub(r'"seconds": [\d.]+', "", second)
    entries = json.loads(first)
    assert {entry["model"] for entry in entries} == {tiny_clip.name, str(second_clip)}  # two folders of one name
    assert {entry["task"] for entry in entries} == set(suite.TASKS)
    assert {entry["dataset"] for entry in entries if entry["task"] == "aro"} == {
        *("VG-Relation cropped", "VG-Attribution cropped", "photos-Order val")
    }
    assert all(-1 <= entry["ci95"][0] <= entry["ci95"][1] <= 2 for entry in entries)
    plots = {path.name for path in (tmp_path / "plots").iterdir()}
    assert plots == {*(f"{task}.png" for task in suite.TASKS), "overlap.png", "rankings.png"}
    assert (tmp_path / "r.md").read_text().startswith("| data set | metric | n |")


def test_a_sweep_between_two_models(tiny_clip, tmp_path, capsys):
    (tmp_path / "sts").mkdir()  # enough pairs that no two models put them in one order
    pairs = [(i % 7 % 6, first, second) for i, (first, second) in enumerate(itertools.product(WORDS, WORDS))]
    write_tsv(tmp_path / "sts" / "STSB-test.tsv", ("score", "sentence1", "sentence2"), pairs)
    tuned = CLIPModel.from_pretrained(tiny_clip)
    tuned.text_projection.weight.data += torch.randn_like(tuned.text_projection.weight)
    tuned.save_pretrained(tmp_path / "tuned")
    AutoProcessor.from_pretrained(tiny_clip).save_pretrained(tmp_path / "tuned")
    command = ["--tasks", "sts", "--data", str(tmp_path), "--cache_dir", str(tmp_path / "cache")]
    command += ["--output", str(tmp_path / "results.json"), "--interpolate", "0,1"]
    cli.main(["--models", str(tiny_clip), str(tmp_path / "tuned"), *command])
    by_model = {}
    for entry in json.loads((tmp_path / "results.json").read_text()):
        by_model.setdefault(entry["model"], []).append(entry["value"])
    base, at_0, at_1, end = by_model.values()
    assert list(by_model)[1:] == ["tuned@0", "tuned@1", "tuned"]
    assert base == pytest.approx(at_0)
    assert at_0 != pytest.approx(at_1)
    assert at_1 == pytest.approx(end)
    with pytest.raises(SystemExit):
        cli.main(["--models", str(tiny_clip), *command])
    assert "takes two --models" in capsys.readouterr().err


@pytest.fixture
def small_data(tmp_path):
    """A few pairs in the real files' schema."""
    (tmp_path / "data" / "sts").mkdir(parents=True)
    rows = [
        (5, "a red circle", "red circle"),
        (1, "a blue star", "two moons"),
        (3, "a ring on sand", "a ring"),
        (0, "a", "b"),
    ]
    lines = "score\tsentence1\tsentence2\n" + "".join("\t".join(map(str, row)) + "\n" for row in rows)
    for name in ("FNWN", "OnWN", "headlines"):
        (tmp_path / "data" / "sts" / f"STS13-{name}.tsv").write_text(lines)
    (tmp_path / "data" / "sugarcrepe_pp").mkdir()
    (tmp_path / "data" / "sugarcrepe_pp" / "swap.tsv").write_text(
        "id\tcaption\tcaption2\tnegative_caption\n0\ta red circle\ta circle in red\ta blue star\n1\tone\ttwo\ttwo\n"
    )
    return tmp_path / "data"


@pytest.mark.slow
def test_models_side_by_side(small_data, tiny_clip, second_clip, tmp_path, capsys):
    arguments = [
        "--models",
        str(tiny_clip),
        str(second_clip),
        "--tasks",
        "sts,sugarcrepe_pp",
        "--data",
        str(small_data),
    ]
    arguments += ["--cache_dir", str(tmp_path / "cache")]
    for run in (1, 2):
        cli.main([*arguments, "--output", str(tmp_path / f"{run}.json")])
    out = capsys.readouterr().out
    assert "STS13/headlines" in out
    assert "SugarCrepe++ swap" in out
    results, again = (json.loads((tmp_path / f"{run}.json").read_text()) for run in (1, 2))
    sts13 = next(entry for entry in results if entry["dataset"] == "STS13")
    assert sts13["n"] == 12
    assert sts13["metric"] == "spearman"
    assert -1 <= sts13["value"] <= 1
    swap = next(entry for entry in results if entry["dataset"] == "SugarCrepe++ swap")
    assert swap["value"] in (0.0, 0.5)  # the second item is a tie, which is wrong
    for entry in results + again:
        entry.pop("seconds")
    assert results == again


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "nonsense"], "nonsense: unknown; known are paraphrased_retrieval"),
        (["--tasks", "cxc_sts"], "cxc_sts: .*sts_val.csv is not there"),
        (["--models", "absent/model"], "absent/model"),
    ],
)
def test_refuses_in_one_sentence(arguments, message, small_data, tiny_clip, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(
            [
                "--models",
                str(tiny_clip),
                "--data",
                str(small_data),
                "--tasks",
                "sts",
                "--cache_dir",
                str(small_data),
                *arguments,
            ]
        )
    assert re.search(message, f"{stopped.value} {capsys.readouterr().err}")


def one_sentence(command, capsys, status=2):
    """The last line of standard error of a command that ends with this exit status."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(list(map(str, command)))
    code = stopped.value.code  # a text: printed by Python, with status 1
    assert isinstance(code, str) or code == status
    last = code if isinstance(code, str) else capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("eval: ")
    assert last.isprintable()
    return last


def test_no_model_is_measured_before_all_are_open(small_data, tiny_clip, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(suite, "evaluate", lambda *args, **kwargs: pytest.fail("the work began"))
    command = ["--models", str(tiny_clip), str(tmp_path / "absent"), "--tasks", "sts", "--data", str(small_data)]
    assert "absent cannot be opened as a model" in one_sentence(command, capsys)


@pytest.mark.parametrize("metadata", ["a: [", "- a list"])
def test_a_card_that_cannot_be_updated_is_found_before_the_work(metadata, tiny_clip, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli, "load", lambda args: pytest.fail("the work began"))
    (tmp_path / "README.md").write_text(f"---\n{metadata}\n---\n\n# Mine\n")
    message = one_sentence(["--models", tiny_clip, "--card", tmp_path / "README.md"], capsys)
    assert "README.md: its metadata cannot be read" in message


@pytest.fixture
def second_clip(tiny_clip, tmp_path):
    """The same model in another folder of the same name."""
    return shutil.copytree(tiny_clip, tmp_path / "second" / tiny_clip.name)


def test_help_imports_nothing_heavy():
    heavy = ["torch", "transformers", "datasets", "numpy", "scipy", "PIL", "modeling_paraclip"]
    program = (
        "import runpy, sys\n"
        "sys.argv = ['eval', '--help']\n"
        "try:\n    runpy.run_module('eval', run_name='__main__')\n"
        "except SystemExit as stopped:\n    assert not stopped.code\n"
        f"print('imported:', [name for name in {heavy} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    *shown, imported = done.stdout.splitlines()
    assert imported == "imported: []"
    text = " ".join(" ".join(shown).split())
    assert all(f"{name} {data}" in text for name, data in suite.TASKS.items())
    assert "(default: 4096)" in text
    assert "python -m eval --models" in text


@pytest.fixture
def refusal(tiny_clip, monkeypatch, capsys):
    """The one sentence that ends a run before any work."""
    monkeypatch.setattr(cli, "load", lambda args: pytest.fail("the work began"))

    def run(*arguments):
        with pytest.raises(SystemExit) as stopped:
            cli.main(["--models", str(tiny_clip), *map(str, arguments)])
        assert stopped.value.code == 2
        return capsys.readouterr().err.splitlines()[-1]

    return run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "sts,"], "'sts,': a comma has nothing before or after it"),
        (["--tasks", "sts,,aro"], "a comma has nothing"),
        (["--tasks", ""], "a comma has nothing"),
        (["--tasks", "sts,aro,sts"], "sts is named twice"),
        (["--tasks", "all,sts"], "all: unknown"),
        (["--interpolate", "7"], "7: each number has to be from 0"),
        (["--interpolate", "nan"], "nan: each number has to be from 0"),
        (["--interpolate", "half"], "half: numbers are needed, e.g. 0.25"),
        (["--interpolate", "0.5,"], "a comma has nothing"),
        (["--interpolate", "0.5,0.50"], "0.5 is named twice"),
        (["--interpolate", "0.5"], "takes two --models, a base and a tuned one; here are 1"),
        (["--max_tokens", "0"], "0: a whole number from 1 to"),
        (["--num_workers", "-1"], "-1: a whole number from 0 to"),
        (["--data", "absent"], "--data absent: no such folder"),
    ],
)
def test_arguments_are_checked_before_the_work(arguments, message, refusal):
    # "--option=value", as a value may begin with a minus
    assert message in refusal(f"{arguments[0]}={arguments[1]}")


def test_a_model_named_twice(tiny_clip, second_clip, refusal):
    for again in (tiny_clip, f"{tiny_clip}/."):
        assert f"--models: {again} is named twice." in refusal("--models", second_clip, tiny_clip, again)
    assert "--models: org/model is named twice." in refusal("--models", "org/model", "org/model")


def test_help_names_each_form_of_an_open_clip_model(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    shown = "".join(capsys.readouterr().out.split())  # help breaks lines at hyphens
    for form in ("ARCH/TAG", "ARCH/FILE", *WITH_CONFIG):
        assert f"{PREFIX}{form}" in shown


@pytest.mark.parametrize("option", ["--output", "--report", "--card", "--plots"])
def test_places_that_cannot_be_written_are_found_before_the_work(option, refusal, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    message = refusal(option, tmp_path / "file" / "x")
    assert message.startswith("python -m eval: error: ")
    assert f"{option} {tmp_path}/file/x: " in message
    if option != "--plots":
        assert f"{option} {tmp_path}: " in refusal(option, tmp_path)
        assert f"{option} {tmp_path}/absent/x: " in refusal(option, tmp_path / "absent" / "x")

    def refuse(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(cli.tempfile, "TemporaryFile", refuse)
    path = tmp_path / "file" if option == "--card" else tmp_path / "new"
    assert f"{option} {path}: cannot be written: Permission denied." in refusal(option, path)


def test_a_folder_for_plots_is_made_with_its_parents(tmp_path):
    assert cli.parse(["--models", "a", "--plots", str(tmp_path / "new" / "plots")]).plots == tmp_path / "new" / "plots"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("package", "arguments", "install"),
    [
        ("matplotlib", ["--plots", "{tmp}"], "pip install 'paraclip[plots]'"),
        ("textblob", ["--tasks", "sts,aro", "--data", "{folder}"], "pip install 'paraclip[order]'"),
        ("open_clip", ["--models", "a", "openclip:ViT-B-32/x"], "pip install open_clip_torch"),
    ],
)
def test_a_missing_package_is_found_before_the_work(
    package, arguments, install, refusal, folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None if name == package else "found")
    message = refusal(*(argument.format(tmp=tmp_path, folder=folder) for argument in arguments))
    assert message.endswith(f"needs a package that is not installed: {install}")


def test_a_bug_gives_a_traceback(folder, tiny_clip, tmp_path, monkeypatch):
    def evaluate(*args, **kwargs):
        raise ValueError("a bug")

    monkeypatch.setattr(suite, "evaluate", evaluate)
    command = ["--models", str(tiny_clip), "--data", str(folder), "--tasks", "sts", "--cache_dir", str(tmp_path)]
    with pytest.raises(ValueError, match="a bug"):
        cli.main(command)


def test_a_device_that_is_not_there(folder, tiny_clip, capsys):
    command = ["--models", tiny_clip, "--data", folder, "--tasks", "sts", "--device", "nonsense"]
    assert one_sentence(command, capsys).startswith("eval: --device nonsense: ")


def test_libraries_are_quiet(folder, tiny_clip, tmp_path):
    command = ["--models", str(tiny_clip), "--data", str(folder), "--tasks", "sts", "--cache_dir", str(tmp_path)]
    cli.main(command)
    for name in ("httpx", "httpx2", "httpcore2", "datasets", "filelock"):
        assert not logging.getLogger(name).isEnabledFor(logging.INFO)


def test_the_console_command_is_this_module():
    done = subprocess.run([sys.executable, "-m", "eval"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert "the following arguments are required: --models" in done.stderr
