"""The path of docs/reproduce.md on random weights of the true size: every command, in order, with what it took.

    python benchmarks/reproduce.py                       ViT-B/32, 10 steps of 256 triples; minutes
    python benchmarks/reproduce.py --tiny --steps 2      two layers: seconds

The commands are those of docs/reproduce.md. What they talk to is on this machine, the tests' doubles of a Hub and of
an endpoint. The Hub has the checkpoint, open_clip's ViT-B-32-quickgelu with random weights; pictures and captions are
drawn scenes in a tar shard; the endpoint answers with the scenes' own rewordings. The tokenizer is CLIP's where the
package open_clip is installed, else the embedded one. Needs 5 GB of disk. Ends with status 1 where a stage fails.
Memory is the peak of a command's own process, without its workers.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

# No torch here: a child's peak memory is at least that of the process which started it. `--make` runs the rest.
ROOT = Path(__file__).resolve().parent.parent
BASE = "timm/vit_base_patch32_clip_224.laion400m_e32"
JOIN = """\
from dataset_builder import ParaCLIPParaphrases

builder = ParaCLIPParaphrases(config_name="webdataset", data_files=["shards/*.tar", "pairs.parquet"])
builder.download_and_prepare()
builder.as_dataset().save_to_disk("joined")"""


def serve(args: argparse.Namespace) -> None:
    """Be the Hub and the language model until the standard input ends; print where they are, as JSON."""
    from dataset_builder import scenes
    from tests.endpoint_double import EndpointDouble
    from tests.hub_double import HubDouble

    make_checkpoint(args.tiny)
    rewording: dict[str, str] = {}
    for row in scenes.generate("train", args.pictures):
        rewording |= {row["caption"]: row["paraphrase_1"], row["paraphrase_1"]: row["paraphrase_2"]}
    with EndpointDouble(lambda prompt: rewording[re.search('"(.*)"', prompt)[1]]) as endpoint, HubDouble() as hub:
        hub.add(BASE, {file.name: file.read_bytes() for file in Path("checkpoint").iterdir()}, "0" * 40)
        variables = hub.environment(Path("hub").resolve()).items() - os.environ.items()
        print(json.dumps({"OPENAI_BASE_URL": endpoint.url, **dict(variables)}), flush=True)
        sys.stdin.read()


def make_checkpoint(tiny: bool) -> None:
    """Write `open_clip_model.safetensors` and its configuration, as they are published, with random weights."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoTokenizer, CLIPConfig, CLIPModel

    from modeling_paraclip import BASE_MODEL_DIR
    from modeling_paraclip.exports.open_clip import CONFIG, MODEL, to_open_clip

    config = CLIPConfig()  # whose defaults are ViT-B/32
    if tiny:
        tower = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 1, "num_hidden_layers": 2}
        config = CLIPConfig(text_config=tower, vision_config={**tower, "image_size": 64}, projection_dim=32)
    text, vision = config.text_config, config.vision_config
    text.vocab_size = 49408
    torch.manual_seed(0)
    folder = Path("checkpoint")
    folder.mkdir()
    save_file(to_open_clip(CLIPModel(config).state_dict()), folder / MODEL)
    towers = {
        "vision_cfg": {"image_size": vision.image_size, "layers": vision.num_hidden_layers,
                       "width": vision.hidden_size, "patch_size": vision.patch_size},
        "text_cfg": {"context_length": text.max_position_embeddings, "vocab_size": text.vocab_size,
                     "width": text.hidden_size, "heads": text.num_attention_heads, "layers": text.num_hidden_layers},
    }  # fmt: skip
    model_cfg = {"embed_dim": config.projection_dim, "quick_gelu": True, **towers}
    (folder / CONFIG).write_text(json.dumps({"model_cfg": model_cfg, "preprocess_cfg": {}}))
    if find_spec("open_clip") is None:
        AutoTokenizer.from_pretrained(BASE_MODEL_DIR).save_pretrained(folder)


def make_shards(args: argparse.Namespace) -> None:
    """Write drawn scenes with their captions as img2dataset does: KEY.png, KEY.txt and KEY.json in a tar file."""
    from dataset_builder import scenes

    Path("shards").mkdir()
    with tarfile.open("shards/00000.tar", "w") as shard:
        for number, row in enumerate(scenes.generate("train", args.pictures)):
            key, picture = f"{number:09d}", io.BytesIO()
            row["image"].save(picture, "PNG")
            texts = {"txt": row["caption"], "json": json.dumps({"key": key, "caption": row["caption"]})}
            parts = {"png": picture.getvalue(), **{suffix: text.encode() for suffix, text in texts.items()}}
            for suffix, data in parts.items():
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(data)
                shard.addfile(member, io.BytesIO(data))


def make_sure(args: argparse.Namespace) -> None:
    """Open what was published and exported; of the checkpoint's tensors only the text tower's may have changed."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoProcessor, CLIPModel

    from modeling_paraclip.exports.open_clip import MODEL

    model, processor = CLIPModel.from_pretrained("tuned"), AutoProcessor.from_pretrained("tuned")
    inputs = processor.tokenizer(["a red circle", "a blue square"], padding=True, return_tensors="pt")
    with torch.inference_mode():
        assert torch.isfinite(model.get_text_features(**inputs).pooler_output).all()
    before, after = load_file(Path("checkpoint", MODEL)), load_file(Path("exported", MODEL))
    assert before.keys() == after.keys()
    changed = {name for name, weight in before.items() if not torch.equal(weight, after[name])}
    wrong = [name for name in changed if name.startswith("visual.") or name == "logit_scale"]
    assert changed and not wrong, f"changed: {sorted(wrong) or 'nothing'}"
    print(f"{len(changed)} of {len(before)} tensors of the checkpoint changed, all of them of the text tower")


MAKERS: dict[str, Callable[[argparse.Namespace], None]] = {"serve": serve, "shards": make_shards, "sure": make_sure}


def stages(args: argparse.Namespace, make: list[str], endpoint: str) -> list[tuple[str, list[str]]]:
    """(name, arguments of Python): the stages in order. Names in brackets are not part of docs/reproduce.md."""
    model, corpus = ["-m", "modeling_paraclip"], ["-m", "dataset_builder"]
    generator = ["--generator", "openai", "--model", "double", "--base_url", endpoint]
    train = ["--model_name_or_path", "openclip-base", "--dataset_name", "joined", "--output_dir", "tuned"]
    train += ["--max_steps", str(args.steps), "--per_device_train_batch_size", str(args.batch), "--logging_steps", "1"]
    train += ["--dataloader_drop_last", "--image_cache_dir", "cache", *shlex.split(args.train)]  # steps of one size
    return [
        ("base", [*model, "from-open-clip", BASE, "--output", "openclip-base"]),
        ("[shards]", [*make, "shards"]),
        ("paraphrase", [*corpus, "paraphrase", "--captions", "shards/*.tar", "--output", "corpus", *generator]),
        ("pairs", [*corpus, "export", "corpus", "--format", "parquet", "--output", "pairs.parquet"]),
        ("join", ["-c", JOIN]),
        ("train", [str(ROOT / "train.py"), *train]),
        ("check", [*model, "check", "tuned", "--base", "openclip-base"]),
        ("push", [*model, "push", "tuned", "you/paraclip"]),
        ("publish", [*corpus, "publish", "corpus", "you/paraclip-paraphrases", "--license", "cc-by-4.0"]),
        (
            "export",
            [*model, "export", "tuned", "--for", "open_clip", "--base", "openclip-base", "--output", "exported"],
        ),
        ("[open]", [*make, "sure"]),
    ]


@contextmanager
def serving(make: list[str], folder: Path, environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """The variables of the environment that say where Hub and endpoint are."""
    command = [sys.executable, *make, "serve"]
    child = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield json.loads(child.stdout.readline())
    finally:
        child.communicate()


def run(arguments: list[str], folder: Path, log: Path, environment: dict[str, str]) -> tuple[int, float, float, float]:
    """Run Python in a folder, its output in a log. Returns exit status, seconds, those of the processor, peak GiB."""
    start = time.perf_counter()
    with log.open("w") as file:
        child = subprocess.Popen([sys.executable, *arguments], cwd=folder, env=environment, stdout=file, stderr=file)
        _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    return child.returncode, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20


def measure(args: argparse.Namespace, folder: Path) -> None:
    """Run the stages in a folder, and print a row for each."""
    make = [
        str(Path(__file__).resolve()),
        *(["--tiny"] if args.tiny else []),
        "--pictures",
        str(args.pictures),
        "--make",
    ]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "HF_DATASETS_CACHE": str(folder / "datasets")}
    with serving(make, folder, environment) as where:
        print("| stage | seconds | of the processor | peak GiB | last line |\n| --- | ---: | ---: | ---: | --- |")
        for name, arguments in stages(args, make, where["OPENAI_BASE_URL"]):
            log = folder / f"{name.strip('[]')}.log"
            status, seconds, processor, gib = run(arguments, folder, log, environment | where)
            said = log.read_text(errors="replace")
            last = (said.strip().splitlines() or [""])[-1]
            print(
                f"| {name} | {seconds:.1f} | {processor:.1f} | {gib:.2f} | {last.replace('|', '/')[:120]} |",
                flush=True,
            )
            if status:
                sys.exit(f"{name} failed with status {status}:\n{said[-3000:]}")
    print(per_step(folder / "tuned" / "trainer_state.json"))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="two layers instead of ViT-B/32")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--pictures", type=int, default=600, help="drawn scenes (default: %(default)s)")
    parser.add_argument("--train", default="", metavar="ARGUMENTS", help="more arguments of train.py, as one text")
    parser.add_argument("--output", type=Path, help="folder to keep (default: a temporary one, which is removed)")
    parser.add_argument("--make", choices=MAKERS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.make:
        MAKERS[args.make](args)
        return
    folder = args.output or Path(tempfile.mkdtemp(prefix="reproduce-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        measure(args, folder.resolve())
    finally:
        if args.output is None:
            shutil.rmtree(folder)


def per_step(state: Path) -> str:
    """What a training step took, from the Trainer's log."""
    history = json.loads(state.read_text())["log_history"]
    steps = [entry for entry in history if "loss_image_text" in entry]
    seconds = next(entry["train_runtime"] for entry in history if "train_runtime" in entry) / len(steps)
    nodes = sum(entry["encoded_tokens"] for entry in steps) / len(steps)
    return f"{len(steps)} steps: {seconds:.2f} s per step, {nodes:,.0f} tokens encoded per step"


if __name__ == "__main__":
    main()
