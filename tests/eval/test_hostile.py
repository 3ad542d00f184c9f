"""Nothing that a file, a name or a folder holds breaks a terminal, a table or a card, or ends in a traceback."""

import ast
import json
import logging
import os
import re
import shutil
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.errors import HTTPError

from eval import __main__ as cli
from eval import card, files, hub, plots, report, suite
from eval.data import rows_of
from eval.encoders import load_encoder
from eval.hub import HubSource
from eval.statistics import Scored
from eval.suite import Measurement
from modeling_paraclip import CheckpointError, InputError
from tests.eval.samples import write

NAME = "a\x1b[31m|`x`<img src=x onerror=alert(1)>[l](javascript:1)$\\frac{$\n---\n{{ 7 * 7 }}\u202e\udcff"

NEGCLIP, CREPE = b"image\tcaption\tnegatives_json\n", b"image\tcaption\tnegative_caption\n"
CAT = "zeroshot/pets/cat"


def measurements(model, dataset=NAME, task="paraphrased_retrieval", metric="average_overlap@10"):
    values = np.random.default_rng(len(model)).uniform(size=20)
    return [Measurement(model, task, dataset, metric, Scored(values))]


@pytest.fixture
def by_model():
    return [measurements(NAME), measurements(f"{NAME} tuned")]


def test_a_hostile_name_is_inert_in_a_terminal(by_model):
    for text in (report.side_by_side(by_model), report.table(report.compare(zip(*by_model)))):
        assert text.replace("\n", "").isprintable()
        assert len(text.splitlines()) == 4
        assert r"a\x1b[31m" in text


def test_a_hostile_name_is_inert_in_markdown(by_model):
    for text in (
        report.side_by_side(by_model, markdown=True),
        report.table(report.compare(zip(*by_model)), markdown=True),
    ):
        text.encode()
        header, separator, row, *_ = text.splitlines()
        cells = {line.replace("\\|", "").count("|") for line in (header, separator, row)}
        assert len(cells) == 1
        assert "<" not in text
        assert "`" not in text.replace("\\`", "")
        assert "[l]" not in text


def test_a_hostile_name_is_inert_in_a_card(by_model, tmp_path):
    facts = dict.fromkeys(("base_name", "training_data", "repo_id", "num_train", "gallery_size", "formula"), NAME)
    card.write_card(
        tmp_path / "README.md",
        model_name=NAME,
        metadata={"base_model": NAME, "license": None},
        tuned=by_model[1],
        comparisons=report.compare(zip(*by_model)),
        **facts,
    )
    written = ModelCard.load(tmp_path / "README.md")
    shown = NAME.replace("\x1b", r"\x1b").replace("\u202e", r"\u202e").replace("\udcff", r"\udcff")
    assert written.data.base_model == written.data.model_name == shown
    result = written.data.eval_results[0]
    assert "/".join(filter(None, [result.dataset_name, result.dataset_config])) == shown
    prose = re.sub("```.*?```", "", written.text, flags=re.S)
    assert "<img" not in prose
    assert "49" not in written.text
    assert "[l]" not in prose
    assert written.text.replace("\n", "").isprintable()
    assert written.text.count("\n---\n") == 0
    lines = [line for line in written.text.splitlines() if line.startswith("model = ")]
    assert len(lines) == 2  # transformers, sentence-transformers
    for line in lines:
        name = re.search(r"(?:from_pretrained|SentenceTransformer)\((\".*?[^\\]\")\)", line)
        assert name and ast.literal_eval(name[1]) == NAME


@pytest.mark.parametrize(
    "name", ["yes", "'\"", "a: b", "- a", "#x", "!!python/object:os.system", "&a", "*a", "...", ""]
)
def test_names_in_metadata_are_read_back_as_they_are(name, tmp_path):
    (tmp_path / "README.md").write_text("# Mine\n")  # no metadata
    card.add_to_card(tmp_path / "README.md", measurements(name or "x", dataset=f"{name} set"))
    (model,) = yaml.safe_load((tmp_path / "README.md").read_text().split("---\n")[1])["model-index"]
    assert model["name"] == (name or "x")
    dataset = model["results"][0]["dataset"]
    assert "/".join([dataset["name"], *filter(None, [dataset.get("config")])]) == f"{name} set"


@pytest.mark.parametrize(
    "content",
    [
        b"---\na: [\n---\n",
        b"---\n- a\n---\n",
        b"---\n1: x\n---\n",
        b"---\ntags: 3\n---\n",
        b"---\nmodel-index: x\n---\n",
        b"---\nmodel-index: [x]\n---\n",
        b"---\nignore_metadata_errors: x\n---\n",
        b"---\na: " + b"[" * 100_000 + b"\n---\n",
        b"---\na: \x1b\n---\n",
        b"\xff\xfe-\0",
        b"",
        b"x" * (2**26 + 1),
    ],
)
def test_a_broken_card_is_one_sentence(content, tmp_path):
    (tmp_path / "README.md").write_bytes(content)
    with pytest.raises(InputError, match=r"README\.md") as refused:
        card.add_to_card(tmp_path / "README.md", measurements("x"))
    assert str(refused.value).isprintable()
    assert (tmp_path / "README.md").read_bytes() == content


def test_plots_take_any_name_and_models_without_pictures(by_model, tmp_path):
    text_only = measurements("sentences", task="sts", metric="x")
    paths = plots.write_plots(tmp_path / "a", by_model) + plots.write_plots(tmp_path / "b", [by_model[0], text_only])
    assert [path.name for path in paths] == ["paraphrased_retrieval.png", "overlap.png", "paraphrased_retrieval.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def full_disk(*_args, **_kwargs):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    "writer",
    [
        lambda path, m: report.write_results(path, m[0]),
        lambda path, m: card.add_to_card(path, m[0]),
        lambda path, m: files.write_text(path, "x"),
        lambda path, m: plots.write_plots(path.parent, m),
    ],
    ids=["results", "card", "text", "plots"],
)
def test_a_full_disk_leaves_what_was_there(writer, by_model, tmp_path, monkeypatch):
    names = "README.md", "paraphrased_retrieval.png"
    for name in names:
        (tmp_path / name).write_text("before")
    monkeypatch.setattr(files.os, "replace", full_disk)
    with pytest.raises(CheckpointError, match=r"cannot be written: No space left on device\.$") as failed:
        writer(tmp_path / "README.md", by_model)
    assert str(tmp_path) in str(failed.value)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(names, "before")


def test_a_device_is_written_to_and_never_replaced():
    with pytest.raises(CheckpointError, match="/dev/full cannot be written: No space left on device"):
        report.write_results(Path("/dev/full"), measurements("x"))
    files.write_text(Path("/dev/null"), "x")
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.json", b"[" * 100_000, "nested too deeply"),
        ("x.jsonl", b'{"a": "u"}\n' + b"[" * 100_000, "line 2: is JSON, but nested too deeply"),
        ("x.jsonl", b'{"a": "u"}\n{"a": ' + b"1" * 5000 + b"}", "line 2: is JSON, but cannot be read"),
        ("x.jsonl", b'{"a": "' + b"x" * 2**21, "line 1: is longer than"),
        ("x.tsv", b"a\n" + b"x" * 2**21, "line 2: is longer than"),
        ("x.json", b'["' + b"x" * 2**26, "is larger than"),
        ("x.tsv", "a\nü\n".encode("utf-16"), "is not UTF-8: line 1"),
        ("x.tsv", "a\nx\n".encode("utf-16-le"), "line 1: has a NUL character"),
        ("x.jsonl", b'{"a": "u"}\n{"a": "\0"}', "line 2: has a NUL character"),
        ("x.jsonl", rb'{"a": "\ud800"}', "line 1: a is .* half of a surrogate pair"),
        ("x.jsonl", b'{"a": 0}', "line 1: a is 0, not a text"),
        ("x.jsonl", b'{"a": null}', "line 1: a is empty"),
        ("x.jsonl", b'{"a": ' + b"[" * 300 + b"]" * 300 + b"}", "line 1: a is .*not a text"),
        ("x.jsonl", b'{"\\u001b[2J": 1}', r"no column a; found are \\x1b\[2J"),
    ],
)  # fmt: skip
def test_a_hostile_file_is_one_sentence(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as refused:
        rows_of(tmp_path / name, None, ("a",))
    assert name in str(refused.value)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 600


def test_what_is_no_plain_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "x.tsv")
    (tmp_path / "zero.tsv").symlink_to("/dev/zero")
    (tmp_path / "folder.tsv").mkdir()
    for name, said in (("x", "no plain file"), ("zero", "no plain file"), ("folder", "a folder")):
        with pytest.raises(InputError, match=said):
            rows_of(tmp_path / f"{name}.tsv", None, ("a",))


@pytest.mark.parametrize(
    ("task", "spoil", "message"),
    [
        ("negclip", write("aro/negclip_x.tsv", NEGCLIP + b'0.png\ta\t{"a": 1}\n'), "line 2: .*list"),
        (
            "negclip",
            write("aro/negclip_x.tsv", NEGCLIP + b"0.png\ta\t" + b"[" * 100_000),
            "line 2: .*nested too deeply",
        ),
        ("sugarcrepe", write("sugarcrepe/swap.tsv", CREPE + b"x" * 5000 + b"\ta\tb\n"), "1 of 1 pictures are missing"),
        ("zero_shot", lambda root: os.rename(root / CAT, os.fsencode(root / CAT) + b"\xff"), "not UTF-8"),
    ],
)
def test_a_hostile_folder_is_one_sentence(task, spoil, message, folder, encoder, tmp_path):
    shutil.copytree(folder, tmp_path / "data")
    spoil(tmp_path / "data")
    with pytest.raises(InputError, match=message) as refused:
        suite.evaluate(encoder, [task], tmp_path / "data")
    assert len(str(refused.value)) < 600


def test_a_folder_that_may_not_be_read_is_one_sentence(folder, encoder, monkeypatch):
    def refuse(self, pattern):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(suite.Path, "glob", refuse)
    with pytest.raises(InputError, match=f"{folder}/sugarcrepe cannot be read: Permission denied"):
        suite.evaluate(encoder, ["sugarcrepe"], folder)


@pytest.fixture
def requests():
    """The address of a server, and what it was asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def parse_request(self):  # of any method
            asked.append(self.raw_requestline)
            return False

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/x.png", asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("task", ["aro", "sugarcrepe", "winoground", "zero_shot", "image_text_retrieval"])
@pytest.mark.parametrize("feature", [datasets.Image(), datasets.List(datasets.Image()), datasets.Value("string")])
def test_an_address_in_data_is_never_requested(task, feature, requests, encoder, monkeypatch):
    address, asked = requests
    pictures = [[address]] if isinstance(feature, datasets.List) else [address]
    columns = {
        **dict.fromkeys(
            ("true_caption", "false_caption", "caption", "negative_caption", "caption_0", "caption_1"), "a"
        ),
        **{"text": "a", "id": "1", "query-id": "1", "corpus-id": "1", "label": 0, "fine_label": 0, "cls": 0},
    }
    table = datasets.Dataset.from_dict({name: [value] for name, value in columns.items()})
    for column in ("image", "images", "image_0", "image_1", "img", "jpg"):
        table = table.add_column(column, pictures).cast_column(column, feature)
    monkeypatch.setattr(hub, "load_split", lambda source: table)
    with pytest.raises(InputError, match=r"row 1: image(_0)? is (no picture|the address .* Nothing is requested)"):
        suite.evaluate(encoder, [task], None)
    assert not asked


@pytest.mark.parametrize("task", ["sugarcrepe", "winoground", "image_text_retrieval", "negclip", "aro"])
def test_an_address_in_a_local_file_is_never_requested(task, requests, folder, encoder, tmp_path):
    address, asked = requests
    shutil.copytree(folder, tmp_path / "data")
    for file in (*tmp_path.glob("data/*/*.tsv"), *tmp_path.glob("data/*/*.json*")):
        file.write_text(
            file.read_text().replace("0.png", address).replace('"image_0": "0"', f'"image_0": "{address}"')
        )
    with pytest.raises(InputError, match="pictures are missing"):
        suite.evaluate(encoder, [task], tmp_path / "data")
    assert not asked


@pytest.mark.parametrize(
    "error", [ConnectionError("off\nline"), HTTPError("404"), yaml.YAMLError("a card"), OSError()]
)
@pytest.mark.parametrize("task", ["aro", "sts", "sugarcrepe", "winoground", "zero_shot", "image_text_retrieval"])
def test_what_the_hub_answers_is_one_sentence_of_each_task(task, error, encoder, monkeypatch):
    def refuse(*args, **kwargs):
        raise error

    monkeypatch.setattr(hub.datasets, "load_dataset_builder", refuse)
    with pytest.raises(InputError, match="cannot be loaded from the Hub: ") as refused:
        suite.evaluate(encoder, [task], None)
    assert str(refused.value).isprintable()


def test_labels_that_are_held_back_and_columns_without_names(encoder, folder, monkeypatch):
    picture = str(folder / "photos/images/0.png")
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    table = datasets.Dataset.from_dict({"img": [picture], "label": [-1]}, features=features)
    monkeypatch.setattr(hub, "load_split", lambda source: table)
    with pytest.raises(InputError, match=r"CIFAR-10: .*labels -1 to -1, but 2 classes"):
        suite.evaluate(encoder, ["zero_shot"], None)
    with pytest.raises(InputError, match="the column img does not name its classes"):
        hub.hub_labels(HubSource("a/b", "0" * 40, "test", {"label": "img"}), "label")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", b"[]"),
        ("config.json", b'{"model_type": 3}'),
        ("config.json", b'{"model_type": "clip", "text_config": 3}'),
        ("config.json", b"[" * 100_000),
        ("config.json", b"\xff"),
        ("model.safetensors", b"\x80\x04."),
        ("model.safetensors", None),
        ("tokenizer.json", b"{}"),
        ("tokenizer.json", b"\x1b"),
    ],
)
def test_a_folder_that_is_no_model_is_one_sentence(file, content, tiny_clip, tmp_path):
    shutil.copytree(tiny_clip, tmp_path / "model")
    (tmp_path / "model" / file).unlink(missing_ok=True)
    if content is None:
        (tmp_path / "model" / "pytorch_model.bin").write_bytes(b"\x80\x04.")  # a pickle, which is not opened
    else:
        (tmp_path / "model" / file).write_bytes(content)
    with pytest.raises(InputError, match=r"model.* (cannot be|has no).* ") as refused:
        load_encoder(str(tmp_path / "model"), cache_dir=tmp_path)
    assert str(refused.value).isprintable()


def test_weights_that_are_not_numbers(tiny_clip, folder, tmp_path):
    encoder = load_encoder(str(tiny_clip), cache_dir=tmp_path)
    encoder._towers.model.text_projection.weight.data.fill_(torch.nan)
    with pytest.raises(InputError, match="not finite"):
        suite.evaluate(encoder, ["sts"], folder)


def test_a_model_of_the_current_folder_has_a_name(tiny_clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tiny_clip)
    assert load_encoder(".", cache_dir=tmp_path).name == tiny_clip.name


def test_log_lines_and_tables_of_a_run_hold_no_control_character(tiny_clip, folder, tmp_path, capfd):
    model = shutil.copytree(tiny_clip, tmp_path / "m\x1b[31m\u202e")
    command = ["--models", str(model), "--data", str(folder), "--tasks", "sts", "--cache_dir", str(tmp_path)]
    root, before = logging.getLogger(), logging.getLogger().handlers
    root.handlers = []
    try:
        cli.main(command)
    finally:
        root.handlers = before
    shown = capfd.readouterr()
    assert r"m\x1b[31m\u202e: sts in" in shown.err
    assert r"m\x1b[31m\u202e" in shown.out
    assert "\x1b[31m" not in shown.out + shown.err


@pytest.mark.parametrize(
    "arguments",
    [["--models", ""], ["--models", "a", "--tasks", "\x1b"], ["--models", "a", "--data", "x\x1b"], ["\x1b"]],
)
def test_nonsense_is_refused_before_the_work(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.replace("\n", "").isprintable()


def test_results_outlive_a_table_that_cannot_be_printed(tiny_clip, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "_print", lambda text: pytest.fail("printed before the files were written"))
    monkeypatch.setattr(report, "side_by_side", lambda by_model: "")
    command = ["--models", str(tiny_clip), "--data", str(folder), "--tasks", "sts", "--cache_dir", str(tmp_path)]
    with pytest.raises(pytest.fail.Exception):
        cli.main([*command, "--output", str(tmp_path / "results.json")])
    assert json.loads((tmp_path / "results.json").read_text())


def test_a_full_disk_is_found_before_the_work(tiny_clip, tmp_path, monkeypatch, capsys):
    class Full:
        write = full_disk

        def __enter__(self):
            return self

        def __exit__(self, *args):
            pass

    monkeypatch.setattr(cli.tempfile, "TemporaryFile", lambda dir: Full())
    with pytest.raises(SystemExit):
        cli.main(["--models", str(tiny_clip), "--output", str(tmp_path / "x.json")])
    assert "x.json: cannot be written: No space left on device." in capsys.readouterr().err
