"""Fine-tuning a CLIP text tower with the three-term loss: this project beside the usual ways, in one table.

    python benchmarks/train.py                                    ViT-B/32, batch 64, 3 steps: about 5 minutes
    python benchmarks/train.py --tiny --batch 16 --steps 2        a smoke test: seconds
    python benchmarks/train.py --only ours --batch 256 4096       time and memory by batch

Random weights and random words of caption-like lengths, the same for all; as many optimiser steps for each, in a
process of its own. The first step is not counted. Ways:

    ours        this project: ParaCLIPTrainer, image embeddings made once (before the clock), bfloat16
    ours-fp32   the same in float32
    hf          as transformers' run_clip.py: texts padded to 77, pictures encoded at every step, float32
    hf-tuned    the same, padded to the longest, bfloat16
    st          sentence-transformers' MultipleNegativesRankingLoss on the text tower, bfloat16: its encoding, our
                terms
    st-cached   the same with CachedMultipleNegativesRankingLoss
    (open_clip's --lock-image would be next; it needs torchvision.)

Memory is the process's peak. The floor is the time of the matrix products that the distinct texts need (6 operations a
weight and token, without attention), at the rate of the machine's own matrix product in that precision.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from transformers import AutoTokenizer, CLIPConfig, CLIPModel

sys.path.insert(0, str(Path(__file__).parents[1]))
from datasets import Dataset

from modeling_paraclip import BASE_MODEL_DIR, ParaCLIPCollator, ParaCLIPTrainer, ParaCLIPTrainingArguments, load_clip
from modeling_paraclip.trainer import TEXT_COLUMNS, tokenize

WAYS = ("ours", "ours-fp32", "hf", "hf-tuned", "st", "st-cached")
LEARNING_RATE = 1e-5


def write_model(folder: Path, tiny: bool) -> None:
    """ViT-B/32's shapes (the defaults of `CLIPConfig`) with random weights; or the small embedded model."""
    torch.manual_seed(0)
    model = CLIPModel.from_pretrained(BASE_MODEL_DIR) if tiny else CLIPModel(CLIPConfig())
    if not tiny:  # the end-of-text token of the tokenizer in use
        model.config.text_config.eos_token_id = AutoTokenizer.from_pretrained(BASE_MODEL_DIR).eos_token_id
    model.save_pretrained(folder)


def triples(n: int, tokenizer) -> list[dict]:
    """Texts of 5 to 40 tokens, 14 in the mean, as Flickr8k's captions have with CLIP's tokenizer."""
    rng = np.random.default_rng(0)
    words = [w for w, i in tokenizer.get_vocab().items() if w.endswith("</w>") and w[:-4].isalpha() and i > 300]
    words = sorted(w[:-4] for w in words)
    lengths = np.clip(rng.gamma(5, 2, (n, 3)) + 2, 3, 38).astype(int)
    return [
        {column: " ".join(rng.choice(words, length)) for column, length in zip(TEXT_COLUMNS, row)} for row in lengths
    ]


def three_terms(images, x, x1, x2, scale):
    """The loss, as one writes it."""
    total = 0
    for a, b in ((images, x2), (x, x1), (x1, x2)):
        logits = F.normalize(a.float(), dim=-1) @ F.normalize(b.float(), dim=-1).T * scale
        target = torch.arange(len(logits), device=logits.device)
        total = total + (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    return total


def ours(way: str, folder: Path, rows: list[dict], pixels, args) -> tuple[list[float], list[float], dict]:
    if pixels is None:
        embeds = np.random.default_rng(1).standard_normal((len(rows), 512), dtype=np.float32)
        embeds = embeds[:, : CLIPConfig.from_pretrained(folder).projection_dim]
    else:
        clip = load_clip(folder)
        with torch.inference_mode():
            embeds = torch.cat([clip.encode_image(part) for part in pixels.split(64)]).half().numpy()
        del clip
    tokenizer = AutoTokenizer.from_pretrained(BASE_MODEL_DIR)
    data = tokenize(Dataset.from_list(rows), tokenizer)
    data = data.add_column("image_embeds", list(embeds)).add_column("image_id", [str(i) for i in range(len(rows))])
    training = ParaCLIPTrainingArguments(
        output_dir=tempfile.mkdtemp(), per_device_train_batch_size=args.batch, max_steps=args.steps + 1,
        learning_rate=LEARNING_RATE, lr_scheduler_type="constant", warmup_steps=0, weight_decay=0.0, max_grad_norm=0,
        bf16=way == "ours", logging_steps=1, save_strategy="no", disable_tqdm=True, dataloader_pin_memory=False,
        train_sampling_strategy="sequential", encode_chunk_tokens=args.chunk_tokens,
    )  # fmt: skip
    trainer = _Timed(
        model=load_clip(folder, vision=False), args=training, train_dataset=data,
        data_collator=ParaCLIPCollator(args.chunk_tokens),
    )  # fmt: skip
    trainer.train()
    peak = _peak()  # before this benchmark's own counting of tokens
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    config = trainer.model.config.text_config
    layer = 4 * config.hidden_size**2 + 2 * config.hidden_size * config.intermediate_size
    distinct = {tuple(ids) for row in data["input_ids"][args.batch :] for ids in row}
    tokens = sum(map(len, distinct))
    # in the last layer only the last token of a text needs more than its key and its value
    last = 2 * config.hidden_size**2 * tokens + (layer - 2 * config.hidden_size**2) * len(distinct)
    needed = 6 * ((config.num_hidden_layers - 1) * layer * tokens + last) / args.steps  # operations a step
    seconds = np.diff(trainer.ends).tolist()
    return seconds, [entry["loss"] for entry in logged], {"needed": needed, "MiB": peak}


class _Timed(ParaCLIPTrainer):
    """Notes when each step ends."""

    def log(self, logs, *args, **kwargs):
        if "loss" in logs:  # a step's, not the summary of the run
            self.ends = [*getattr(self, "ends", []), time.perf_counter()]
        super().log(logs, *args, **kwargs)


def by_hand(way: str, folder: Path, rows: list[dict], pixels, args) -> tuple[list[float], list[float], dict]:
    """A plain loop; `way` decides how a batch is encoded."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = CLIPModel.from_pretrained(folder).to(device)
    model.requires_grad_(False)
    model.text_model.requires_grad_(True)
    model.text_projection.requires_grad_(True)
    tokenizer = AutoTokenizer.from_pretrained(BASE_MODEL_DIR)
    padding = {"padding": "max_length", "max_length": 77} if way == "hf" else {"padding": True}
    scale = model.logit_scale.exp()
    if way.startswith("st"):
        embeds = torch.cat([model.get_image_features(part.to(device)).pooler_output for part in pixels.split(64)])
        loss_of = _sentence_transformers(way, model, tokenizer, scale, args)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=LEARNING_RATE, weight_decay=0.0
    )
    seconds, losses = [], []
    for step in range(args.steps + 1):
        start = time.perf_counter()
        part = slice(step * args.batch, (step + 1) * args.batch)
        columns = [[row[column] for row in rows[part]] for column in TEXT_COLUMNS]
        with torch.autocast(device, torch.bfloat16, enabled=way != "hf"):
            if way.startswith("st"):
                loss = loss_of(columns, embeds[part])
            else:
                with torch.no_grad():
                    images = model.get_image_features(pixels[part].to(device)).pooler_output
                texts = tokenizer(sum(columns, []), return_tensors="pt", truncation=True, **padding).to(device)
                views = model.get_text_features(**texts).pooler_output.split(args.batch)
                loss = three_terms(images, *views, scale)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - start)
    return seconds[1:], losses, {}


def _sentence_transformers(way: str, model: CLIPModel, tokenizer, scale, args):
    """Their batching, encoding and gradient cache around our three terms."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import losses

    class TextTower(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model, self.tokenizer = model, tokenizer

        def forward(self, features):
            features["sentence_embedding"] = self.model.get_text_features(
                features["input_ids"], features["attention_mask"]
            ).pooler_output
            return features

    class Plain(losses.MultipleNegativesRankingLoss):
        def compute_loss_from_embeddings(self, embeddings, labels):
            return three_terms(self.images, *embeddings, scale)

    class Cached(losses.CachedMultipleNegativesRankingLoss):
        def calculate_loss(self, reps, *rest, with_backward=False, **kwargs):
            loss = three_terms(self.images, *(torch.cat(parts) for parts in reps), scale)
            if with_backward:
                loss.backward()
                loss = loss.detach()
            return loss

    encoder = SentenceTransformer(modules=[TextTower()], device=str(model.device))
    loss = Plain(encoder) if way == "st" else Cached(encoder, mini_batch_size=64)

    def loss_of(columns, images):
        loss.images = images
        features = [dict(tokenizer(column, padding=True, return_tensors="pt").to(model.device)) for column in columns]
        return loss(features, labels=None)

    return loss_of


def matrix_rate(dtype: torch.dtype) -> float:
    """Operations a second of the machine's matrix product at the text tower's own shapes; best of 20."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    a, b = torch.randn(8192, 512, device=device, dtype=dtype), torch.randn(512, 2048, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        (a @ b)[0, 0].item()
        best = min(best, time.perf_counter() - start)
    return 2 * 8192 * 512 * 2048 / best


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(way: str, args) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder), args.tiny)
        n = args.batch * (args.steps + 1)
        size = CLIPModel.config_class.from_pretrained(folder).vision_config.image_size
        rows = triples(n, AutoTokenizer.from_pretrained(BASE_MODEL_DIR))
        # past 1,024 there is only ours, on random image embeddings: pictures alone would fill the memory
        pixels = torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(0)) if n <= 1024 else None
        if pixels is None and not way.startswith("ours"):
            raise ValueError(f"{n} triples in all: only ours goes beyond 1,024")
        run = ours if way.startswith("ours") else by_hand
        seconds, losses, more = run(way, Path(folder), rows, pixels, args)
    more |= {"rate": matrix_rate(torch.float32 if way in ("hf", "ours-fp32") else torch.bfloat16)}
    return {"seconds": float(np.median(seconds)), "loss": losses[-1], "MiB": _peak(), **more}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[64])
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--chunk_tokens", type=int, default=8192, help="--encode_chunk_tokens of ours")
    parser.add_argument("--tiny", action="store_true", help="the embedded model instead of ViT-B/32")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        args.batch = args.batch[0]
        print(json.dumps(measure(args.only[0], args)))
        return
    print(f"{'way':10} {'batch':>6} {'s/step':>8} {'triples/s':>9} {'slower':>7} {'MiB':>7} {'loss':>9}  of the floor")
    for batch in args.batch:
        first = None
        for way in args.only:
            command = [sys.executable, __file__, "--child", "--only", way, "--batch", str(batch)]
            command += ["--steps", str(args.steps), "--chunk_tokens", str(args.chunk_tokens)]
            done = subprocess.run([*command, *["--tiny"] * args.tiny], capture_output=True, text=True)
            if done.returncode:
                print(
                    f"{way:10} {batch:6} not run: {(done.stderr.strip().splitlines() or ['killed'])[-1]}", flush=True
                )
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            first = first or found["seconds"]
            floor = (
                f"{found['needed'] / found['rate'] / found['seconds']:.0%} of {found['rate'] / 1e9:.0f} GFLOP/s"
                if "needed" in found
                else ""
            )
            print(
                f"{way:10} {batch:6} {found['seconds']:8.2f} {batch / found['seconds']:9.1f} "
                f"{found['seconds'] / first:6.2f}x {found['MiB']:7.0f} {found['loss']:9.5f}  {floor}",
                flush=True,
            )


if __name__ == "__main__":
    main()
