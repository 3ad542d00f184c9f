"""Pictures and texts per second of a ViT-B/32 with random weights: what embedding a collection and its queries takes.

    python benchmarks/embedding.py             4,000 JPEGs and 20,000 texts: for a GPU
    python benchmarks/embedding.py --tiny      the embedded model, 40 and 300: seconds anywhere

    files      JPEGs of 512 x 512 as train.py embeds them: decoded in worker processes, resized, embedded, kept
    tower      the image tower alone, on tensors, batches of 256
    packed     texts (drawn scenes' captions and rewordings) as training and evaluation encode them, with the tokenizer
    padded     the same through get_text_features, padded to 77, batches of 256

Pictures are embedded in bfloat16 where there is a GPU, as with --bf16; texts in float32. Memory is the GPU's peak.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, Image
from PIL import Image as Pillow
from transformers import AutoProcessor, CLIPConfig, CLIPImageProcessor, CLIPModel

sys.path.insert(0, str(Path(__file__).parents[1]))

from dataset_builder import scenes
from modeling_paraclip import BASE_MODEL_DIR, TEXT_COLUMNS, add_image_embeds
from modeling_paraclip.architectures import encode_texts

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BATCH = 256


def write_pictures(folder: Path, count: int) -> list[str]:
    """Write JPEGs of about 100 kB, as photographs on the web have: 20 pictures, each with comments of its own."""
    rng = np.random.default_rng(0)
    photographs = []
    for _ in range(20):
        blurred = Pillow.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).resize((512, 512), Pillow.BICUBIC)
        grainy = np.clip(blurred + rng.normal(0, 12, (512, 512, 3)), 0, 255).astype(np.uint8)
        Pillow.fromarray(grainy).save(file := io.BytesIO(), "JPEG", quality=85)
        photographs.append(file.getvalue())
    files = [str(folder / f"{i}.jpg") for i in range(count)]
    for i, file in enumerate(files):  # the cache knows a picture by its bytes
        data, comment = photographs[i % 20], b"\xff\xfe\x00\x06" + i.to_bytes(4, "big")
        Path(file).write_bytes(data[:2] + comment + data[2:])
    return files


def clock(work: Callable[[], object]) -> float:
    """Seconds."""
    start = time.perf_counter()
    work()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="the embedded model, few pictures and texts")
    parser.add_argument("--pictures", type=int, help="JPEGs (default: 4000; 40 with --tiny)")
    args = parser.parse_args()
    count, texts_wanted = args.pictures or (40 if args.tiny else 4000), 300 if args.tiny else 20_000
    processor = AutoProcessor.from_pretrained(BASE_MODEL_DIR)
    torch.manual_seed(0)
    config = CLIPConfig.from_pretrained(BASE_MODEL_DIR) if args.tiny else CLIPConfig()
    config.text_config.eos_token_id = processor.tokenizer.eos_token_id
    model = CLIPModel(config).eval().to(DEVICE)
    image_processor = processor.image_processor if args.tiny else CLIPImageProcessor()
    texts = [row[name] for row in scenes.generate("train", texts_wanted // 3) for name in TEXT_COLUMNS]
    side = config.vision_config.image_size
    pixels = torch.randn(min(BATCH, count), 3, side, side, device=DEVICE)

    def tower() -> None:
        with torch.inference_mode(), torch.autocast(DEVICE, torch.bfloat16, enabled=DEVICE == "cuda"):
            for _ in range(0, count, BATCH):
                model.get_image_features(pixel_values=pixels)

    @torch.inference_mode()
    def padded() -> None:
        for start in range(0, len(texts), BATCH):
            part = texts[start : start + BATCH]
            inputs = processor.tokenizer(
                part, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
            )
            model.get_text_features(**inputs.to(DEVICE))

    with tempfile.TemporaryDirectory() as folder:
        files = write_pictures(Path(folder), count)
        kilobytes = sum(Path(file).stat().st_size for file in files) / count / 1000
        pictures = Dataset.from_dict({"image_id": files, "image": files}).cast_column("image", Image())

        def embed() -> None:
            add_image_embeds(pictures, model, image_processor, cache_dir=Path(folder, "cache"), bf16=DEVICE == "cuda")

        ways = {
            "files": (embed, count),
            "tower": (tower, -(-count // BATCH) * len(pixels)),
            "packed": (lambda: encode_texts(model, processor.tokenizer, texts), len(texts)),
            "padded": (padded, len(texts)),
        }
        name = torch.cuda.get_device_name() if DEVICE == "cuda" else f"{torch.get_num_threads()} threads"
        print(f"torch {torch.__version__}, {name}: {count} JPEGs of {kilobytes:.0f} kB, {len(texts)} texts")
        print("| way | seconds | per second | MiB |\n| --- | ---: | ---: | ---: |")
        tower()  # warms up
        for way, (work, n) in ways.items():
            if DEVICE == "cuda":
                torch.cuda.reset_peak_memory_stats()
            seconds = clock(work)
            memory = f"{torch.cuda.max_memory_allocated() / 2**20:.0f}" if DEVICE == "cuda" else ""
            print(f"| {way} | {seconds:.2f} | {n / seconds:,.0f} | {memory} |", flush=True)


if __name__ == "__main__":
    main()
