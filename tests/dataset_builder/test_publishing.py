"""From a corpus to the Hub and back, with the real client against a double of the Hub."""

import contextlib
import io
import json
import signal
import socket
import subprocess
import sys
import threading
import time

import huggingface_hub
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard

from dataset_builder import __main__ as cli
from dataset_builder import hub, publishing
from tests.processes import succeeds

from .conftest import RECIPE, add_rows


def publish(corpus, *options):
    cli.main(["publish", str(corpus), "org/pairs", "--license", "cc-by-4.0", *options])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--config_name", "../up"], "--config_name ../up: letters"),
        (["--config_name", "/tmp/x"], "letters"),
        (["--config_name", "a\n---\nb"], "letters"),
        (["--config_name", "*"], "letters"),
        (["--revision", "a b"], "--revision a b: letters"),
        (["--tag", "v 1"], "--tag v 1: letters"),
        (["--validation_percentage", "nan"], "at least 0, at most 100"),
    ],
)
def test_options_that_cannot_be_right_are_refused_before_anything_is_sent(options, message, finished):
    with pytest.raises(SystemExit, match=message):
        publish(finished, *options)


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000, b"HTTP/1.1 409 Conflict\r\n\r\n{}",
     b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\xff", b"HTTP/1.1 403 No\r\nX-Error-Message: {token}\r\n\r\n",
     None],
    ids=["nothing", "nested", "conflict", "not UTF-8", "the token", "never"],
)  # fmt: skip
def test_a_hub_that_answers_as_no_hub_does_is_one_sentence(answer, finished, monkeypatch):
    def talk(connection):
        with contextlib.suppress(OSError):
            asked = connection.recv(2**16)
            if answer is not None:
                connection.sendall(answer.replace(b"{token}", b"hf_secret" if b"hf_secret" in asked else b"?"))
                connection.close()

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connections.append(server.accept()[0])
                threading.Thread(target=talk, args=connections[-1:], daemon=True).start()

    connections = []
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(hub, "TIMEOUT", 0.5)
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(SystemExit, match=r"org/pairs cannot be published: .*\. Check the name") as stopped:
            publish(finished)
    assert "hf_secret" not in str(stopped.value)
    assert connections


@pytest.mark.parametrize("exists", [True, False])
def test_what_cannot_be_begun_leaves_no_repository_that_was_not_there(exists, finished, hub):
    hub.refuse = "/commit/"
    if exists:
        hub.repos["org/pairs"] = {"mine.txt": b"x"}
    with pytest.raises(SystemExit, match="org/pairs cannot be published"):
        publish(finished)
    assert hub.repos == ({"org/pairs": {"mine.txt": b"x"}} if exists else {})


@pytest.mark.parametrize("stays_private", [True, False])
def test_what_fails_half_way_is_private_until_the_same_command_finishes_it(stays_private, finished, hub):
    options = ["--private"] * stays_private
    hub.refuse = "/lfs/"
    with pytest.raises(SystemExit, match="give the same command again: what has arrived is not sent again"):
        publish(finished, *options)
    assert hub.repos == {"org/pairs": {"README.md": publishing.UNFINISHED.encode()}}
    assert hub.private == {"org/pairs"}
    hub.refuse = ""
    publish(finished, *options)
    assert "default/train-00000-of-00001.parquet" in hub.repos["org/pairs"]
    assert hub.private == ({"org/pairs"} if stays_private else set())


def test_a_repository_that_was_private_stays_so_and_this_is_said(finished, hub, caplog):
    hub.repos["org/pairs"], hub.private = {"mine.txt": b"x"}, {"org/pairs"}
    publish(finished)
    assert hub.private == {"org/pairs"}
    assert "org/pairs is private, as it was before" in caplog.text
    assert hub.repos["org/pairs"]["mine.txt"] == b"x"
    hub.private.clear()
    with pytest.raises(SystemExit, match="--private: org/pairs is public"):
        publish(finished, "--private")


@pytest.mark.slow
def test_what_has_arrived_before_a_kill_is_not_sent_again(finished, hub, tmp_path, monkeypatch):
    script = (
        "import sys; from dataset_builder import __main__ as cli, publishing; publishing.ROWS_PER_FILE = 5; "
        f"cli.main(['publish', {str(finished)!r}, 'org/pairs', '--license', 'mit', '--validation_percentage', '0'])"
    )
    hub.silent_after = 3
    process = subprocess.Popen([sys.executable, "-c", script], env=hub.environment(tmp_path / "home"))
    while process.poll() is None and len(hub.received) < 3:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(hub.received) == 3
    assert set(hub.repos["org/pairs"]) == {"README.md"}
    assert hub.private == {"org/pairs"}
    hub.silent_after = None
    monkeypatch.setattr(publishing, "ROWS_PER_FILE", 5)
    publish(finished, "--validation_percentage", "0")
    assert len(set(hub.received)) == len(hub.received) == 12
    files = {name: data for name, data in hub.repos["org/pairs"].items() if name.endswith(".parquet")}
    assert sorted(files) == [f"default/train-{i:05d}-of-00012.parquet" for i in range(12)]
    assert sum(pq.read_metadata(io.BytesIO(data)).num_rows for data in files.values()) == 59
    assert not hub.private


def test_several_configs_keep_their_own(finished, hub, tmp_path):
    add_rows(tmp_path / "other" / "journal.sqlite", {**RECIPE, "model": "writer-2"}, range(5))
    cli.main(["publish", str(finished), "org/pairs", "--license", "cc-by-4.0", "--validation_percentage", "20"])
    cli.main(["publish", str(tmp_path / "other"), "org/pairs", "--license", "mit", "--config_name", "other"])
    first = dict(hub.repos["org/pairs"])
    card = DatasetCard(first["README.md"].decode())
    assert [config["config_name"] for config in card.data.configs] == ["default", "other"]
    assert card.data.license == ["cc-by-4.0", "mit"]
    assert card.text.count("- **Licence:** cc-by-4.0") == card.text.count("- **Licence:** mit") == 1
    assert [name for name in ("writer-1", "writer-2") if name in card.text] == ["writer-1", "writer-2"]
    # one is made again: of the other nothing changes
    cli.main(["publish", str(finished), "org/pairs", "--license", "cc0-1.0", "--validation_percentage", "0"])
    again = hub.repos["org/pairs"]
    assert "default/validation-00000-of-00001.parquet" in first
    assert "default/validation-00000-of-00001.parquet" not in again
    assert again["other/train-00000-of-00001.parquet"] == first["other/train-00000-of-00001.parquet"]
    card = DatasetCard(again["README.md"].decode())
    assert card.data.license == ["mit", "cc0-1.0"]
    assert (card.text.count("cc0-1.0"), card.text.count("- **Licence:** mit"), card.text.count("cc-by-4.0")) == (
        2,
        1,
        0,
    )


def test_a_branch_and_a_tag(finished, hub):
    hub.repos["org/pairs"] = {"mine.txt": b"x"}
    publish(finished, "--revision", "try", "--tag", "v1", "--validation_percentage", "0")
    assert set(hub.repos["org/pairs"]) == {"mine.txt"}
    pushed = hub.branches["org/pairs", "try"]
    assert set(pushed) == {"mine.txt", "README.md", "default/train-00000-of-00001.parquet"}
    assert 'revision="try"' in pushed["README.md"].decode()
    assert hub.tags["org/pairs", "v1"] == hub.sha_of(pushed)
    with pytest.raises(SystemExit, match="--tag v1: org/pairs has this tag already"):
        publish(finished, "--tag", "v1")


def test_a_branch_of_a_repository_that_is_made_here(finished, hub):
    publish(finished, "--revision", "try")
    assert hub.repos == {"org/pairs": {}}
    assert "default/train-00000-of-00001.parquet" in hub.branches["org/pairs", "try"]
    assert not hub.private


SCRIPT = """
import json, datasets
whole = datasets.load_dataset("org/pairs", "default")
named = datasets.load_dataset("org/pairs", "second")
stream = datasets.load_dataset("org/pairs", "second", split="train", streaming=True)
print(json.dumps([{k: len(v) for k, v in whole.items()}, {k: len(v) for k, v in named.items()}, next(iter(stream)),
      sorted(set(whole["train"]["image_id"]) & set(whole["validation"]["image_id"]))]))
"""


@pytest.mark.slow
def test_published_it_loads_with_the_plain_library(finished, hub, tmp_path):
    """By config, whole and as a stream. The client has a process of its own: it reads the endpoint when imported."""
    publish(finished, "--validation_percentage", "20")
    publish(finished, "--config_name", "second", "--validation_percentage", "0")
    assert not [name for name, data in hub.repos["org/pairs"].items() if b"hf_secret" in data]
    done = succeeds([sys.executable, "-c", SCRIPT], env=hub.environment(tmp_path / "home"))
    sizes, named, first, shared = json.loads(done.stdout.splitlines()[-1])
    assert sum(sizes.values()) == 59
    assert sizes["validation"] > 3
    assert named == {"train": 59}
    assert first["paraphrase_2"].endswith("once more")
    assert first["model"] == "writer-1"
    assert shared == []


def test_negatives_are_published_where_a_job_made_them(hub, tmp_path):
    recipe = {**RECIPE, "prompts": [*RECIPE["prompts"], "Change {}"], "negative_filters": 1}
    add_rows(tmp_path / "corpus" / "journal.sqlite", recipe, range(5), negatives={0: "a cat", 3: None})
    publish(tmp_path / "corpus", "--validation_percentage", "0")
    (data,) = (data for name, data in hub.repos["org/pairs"].items() if name.endswith(".parquet"))
    assert pq.read_table(io.BytesIO(data))["negative"].to_pylist() == ["a cat", None, None, None, None]
    card = DatasetCard(hub.repos["org/pairs"]["README.md"].decode())
    assert "negative" in [feature["name"] for feature in card.data["dataset_info"]["features"]]
