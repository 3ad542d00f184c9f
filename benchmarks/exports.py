"""What each export costs in the real applications: difference from torch, AO@10 of the ranking, size, time.

    pip install -e ".[deploy-test]" && npm install --prefix NODE @huggingface/transformers
    python benchmarks/exports.py --model DIR --photos flickr8k --node NODE --weaviate PYTHON --open-clip PYTHON

Each application encodes every query alone, in a process of its own. The ranking is of pictures by a query, with the
vectors of pictures from torch. Without --photos the model is the embedded base, and the pictures are drawn scenes.
PYTHON is the interpreter of an environment with what cannot live in this one: sentence-transformers 3.2.1 with
transformers 4, which is in Weaviate's container, and open_clip with the torch of its torchvision. What is absent is
left out. Prints a table; times are medians.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
NODE = """
import { AutoTokenizer, CLIPTextModelWithProjection, env } from "@huggingface/transformers";
import fs from "fs";
const [folder, dtype, queries, file] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = "/";
const tokenizer = await AutoTokenizer.from_pretrained(folder);
const model = await CLIPTextModelWithProjection.from_pretrained(folder, { dtype });
const vectors = [], ms = [];
for (const query of JSON.parse(fs.readFileSync(queries))) {
  const start = performance.now();
  const { text_embeds } = await model(tokenizer([query], { padding: true, truncation: true }));
  ms.push(performance.now() - start);
  vectors.push(text_embeds.tolist()[0]);
}
const version = JSON.parse(fs.readFileSync("node_modules/@huggingface/transformers/package.json")).version;
fs.writeFileSync(file, JSON.stringify({ version, vectors, ms }));
"""


# One function per application: folder -> its version, and what makes a query a vector. They import nothing of ours.


def onnx(folder: str, file: str = "onnx/text_model.onnx") -> tuple[str, Callable]:
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    tokenizer.enable_truncation(77)
    session = onnxruntime.InferenceSession(f"{folder}/{file}")
    return onnxruntime.__version__, lambda query: session.run(
        None, {"input_ids": np.array([tokenizer.encode(query).ids])}
    )[0][0]


def immich(folder: str) -> tuple[str, Callable]:
    import onnxruntime
    from tokenizers import Tokenizer

    length = json.loads(Path(f"{folder}/config.json").read_text())["text_cfg"]["context_length"]
    pad_token = json.loads(Path(f"{folder}/textual/tokenizer_config.json").read_text())["pad_token"]
    tokenizer = Tokenizer.from_file(f"{folder}/textual/tokenizer.json")
    tokenizer.enable_padding(length=length, pad_token=pad_token, pad_id=tokenizer.token_to_id(pad_token))
    tokenizer.enable_truncation(max_length=length)
    session = onnxruntime.InferenceSession(f"{folder}/textual/model.onnx")

    def encode(query: str):
        ids = tokenizer.encode(" ".join(query.split())).ids
        return session.run(None, {"text": np.array([ids], dtype=np.int32)})[0][0]

    return f"onnxruntime {onnxruntime.__version__}", encode


def fastembed(folder: str) -> tuple[str, Callable]:
    from importlib.metadata import version

    from fastembed import TextEmbedding

    model = TextEmbedding("Qdrant/clip-ViT-B-32-text", specific_model_path=folder)
    return version("fastembed"), lambda query: next(iter(model.embed([query])))


def weaviate(folder: str) -> tuple[str, Callable]:
    import sentence_transformers

    model = sentence_transformers.SentenceTransformer(folder, device="cpu")
    return sentence_transformers.__version__, lambda query: model.encode([query])[0]


def open_clip(folder: str) -> tuple[str, Callable]:
    import open_clip
    import torch

    model = open_clip.create_model(f"local-dir:{folder}").eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")

    def encode(query: str):
        with torch.inference_mode():
            return model.encode_text(tokenizer([query]))[0].numpy()

    return open_clip.__version__, encode


def diffusers(folder: str) -> tuple[str, Callable]:
    import torch
    import transformers

    model = transformers.CLIPTextModel.from_pretrained(f"{folder}/text_encoder").eval()
    tokenizer = transformers.CLIPTokenizer.from_pretrained(f"{folder}/tokenizer")

    def encode(query: str):
        ids = tokenizer([query], padding="max_length", truncation=True, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            return model(ids)[0][0].numpy()

    return f"transformers {transformers.__version__}", encode


def torch(folder: str) -> tuple[str, Callable]:
    import torch
    import transformers

    model = transformers.CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def encode(query: str):
        with torch.inference_mode():
            ids = tokenizer([query], truncation=True, return_tensors="pt")["input_ids"]
            return model.get_text_features(input_ids=ids).pooler_output[0].numpy()

    return torch.__version__, encode


def client(name: str, *arguments: str) -> None:
    """What runs in a process of its own: encode each query, write version, vectors and milliseconds."""
    *places, queries, output = arguments
    version, encode = globals()[name](*places)
    vectors, milliseconds = [], []
    for query in json.loads(Path(queries).read_text()):
        start = time.perf_counter()
        vectors.append(np.asarray(encode(query)))
        milliseconds.append(1000 * (time.perf_counter() - start))
    np.save(f"{output}.npy", np.array(vectors, dtype=np.float32))
    Path(output).write_text(json.dumps({"version": version, "ms": milliseconds}))


def pictures_and_queries(photos: Path | None, count: int) -> tuple[list, list[str]]:
    """Validation pictures, and one caption of each."""
    if photos is None:
        from dataset_builder import scenes

        rows = list(scenes.generate("validation", count))
        return [row["image"] for row in rows], [row["caption"] for row in rows]
    from PIL import Image

    rows = [json.loads(line) for line in (photos / "captions.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["split"] == "val"][:count]
    return [Image.open(photos / "images" / row["image"]) for row in rows], [row["captions"][0] for row in rows]


def images(model, preprocess, pictures: list) -> np.ndarray:
    """(n, dim), normalised, as torch embeds them."""
    import torch

    with torch.inference_mode():
        batches = [torch.stack([preprocess(p) for p in pictures[i : i + 50]]) for i in range(0, len(pictures), 50)]
        vectors = torch.cat([model.get_image_features(pixel_values=batch).pooler_output for batch in batches])
    return torch.nn.functional.normalize(vectors, dim=-1).numpy()


def runs(args: argparse.Namespace, model: Path, folder: Path) -> list[tuple[str, list[str], Path]]:
    """What is measured: its label, the command without queries and output, and the file whose size is shown."""
    this = [sys.executable, __file__, "--client"]
    listed = [("torch", [*this, "torch", str(model)], model / "model.safetensors")]
    variants = {"float32": ("fp32", ""), "fp16": ("fp16", "_fp16"), "int8": ("q8", "_quantized")}
    for label, (_, suffix) in variants.items():
        file = f"onnx/text_model{suffix}.onnx"
        listed.append((f"ONNX {label}", [*this, "onnx", str(folder / "onnx"), file], folder / "onnx" / file))
    for label, (dtype, suffix) in variants.items() if args.node else ():
        file = folder / "transformersjs" / f"onnx/text_model{suffix}.onnx"
        script = args.node / "encode.mjs"
        script.write_text(NODE)
        listed.append((f"transformers.js {label}", ["node", str(script), str(folder / "transformersjs"), dtype], file))
    inner = {"immich": "textual/model.onnx", "fastembed": "model.onnx", "weaviate": "0_CLIPModel/model.safetensors",
             "open_clip": "open_clip_model.safetensors", "diffusers": "text_encoder/model.safetensors"}  # fmt: skip
    others = {"weaviate": args.weaviate, "open_clip": args.open_clip}
    for name, file in inner.items():
        client = [name, str(folder / name)]
        if name != "open_clip" or not args.open_clip:
            listed.append((name, [*this, *client], folder / name / file))
        if others.get(name):
            listed.append((name, [others[name], *this[1:], *client], folder / name / file))
    return listed


def matrix(args: argparse.Namespace) -> None:
    """Export, measure, print."""
    sys.path.insert(0, str(ROOT))
    from eval.metrics.average_overlap.average_overlap import average_overlap
    from modeling_paraclip import BASE_MODEL_DIR
    from modeling_paraclip.exports import EXPORTS, export_model
    from modeling_paraclip.exports.tower import open_tower
    from modeling_paraclip.pictures import PixelValues
    from modeling_paraclip.weights import open_processor

    model = (args.model or BASE_MODEL_DIR).resolve()
    pictures, queries = pictures_and_queries(args.photos, args.pictures)
    tower = open_tower(model)
    gallery = images(tower.model, PixelValues(open_processor(model).image_processor), pictures)

    def rank(vectors: np.ndarray) -> np.ndarray:
        return np.argsort(-(vectors @ gallery.T), axis=1, kind="stable")[:, :10]

    expected = {kind: tower.encode(queries, kind) for kind in ("embeds", "unit", "states")}
    kinds = {"immich": "unit", "fastembed": "unit", "diffusers": "states"}
    print(f"{model.name}: {len(queries)} queries, {len(pictures)} pictures; {machine()}\n")
    print("| what was run | version | largest difference | AO@10 | MB | ms per query |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        for name in EXPORTS:
            export_model(model, name, folder / name)
        (folder / "queries.json").write_text(json.dumps(queries))
        for label, command, file in runs(args, model, folder):
            output = folder / "result.json"
            done = subprocess.run(
                [*command, folder / "queries.json", output], cwd=args.node or ROOT, capture_output=True, text=True
            )
            if done.returncode:
                print(f"| {label} | left out: {done.stderr.strip().splitlines()[-1][:90]} |")
                continue
            result = json.loads(output.read_text())
            vectors = np.array(result["vectors"]) if "vectors" in result else np.load(f"{output}.npy")
            kind = kinds.get(label, "embeds")
            difference = np.abs(vectors - expected[kind]).max()
            overlap = "" if kind == "states" else (
                f"{100 * average_overlap(rank(vectors), rank(expected[kind]), 10).mean():.2f}"
            )  # fmt: skip
            ms = statistics.median(result["ms"])
            size = file.stat().st_size / 1e6
            print(
                f"| {label} | {result['version']} | {difference:.1e} | {overlap} | {size:.1f} | {ms:.2f} |", flush=True
            )


def machine() -> str:
    """Processor, cores, versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if os.path.exists("/proc/cpuinfo") else []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    return f"{cpu or platform.processor()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def main() -> None:
    """Parse the command line."""
    if sys.argv[1:2] == ["--client"]:
        return client(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder of a CLIP (default: the embedded base)")
    parser.add_argument("--photos", type=Path, help="folder with captions.jsonl and images/, e.g. Flickr8k")
    parser.add_argument("--pictures", type=int, default=1000, help="how many, and as many queries")
    parser.add_argument("--node", type=Path, help="folder in which npm installed @huggingface/transformers")
    parser.add_argument("--weaviate", metavar="PYTHON", help="with sentence-transformers 3.2.1")
    parser.add_argument("--open-clip", metavar="PYTHON", help="with open_clip")
    return matrix(parser.parse_args())


if __name__ == "__main__":
    main()
