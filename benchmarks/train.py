"""Fine-tuning a CLIP text tower with the three-term loss: this project and the usual ways, in one table.

    python benchmarks/train.py                                    ViT-B/32, batch 64, 3 steps: about 5 minutes
    python benchmarks/train.py --triples pairs.jsonl --tokenizer openai/clip-vit-base-patch32         on real captions
    python benchmarks/train.py --tiny --batch 16 --steps 2        a smoke test: seconds
    python benchmarks/train.py --only ours --batch 256 4096       time and memory by batch size

All ways train the same random weights on the same triples, with the same number of optimiser steps, each in a process
of its own. By default the triples are random words in texts as long as captions; they share hardly any beginning,
which is the worst case for ours. The first step is not counted. The ways:

    ours        this project: ParaCLIPTrainer, image embeddings computed once (before the clock starts), bfloat16
    ours-fp32   the same in float32
    hf          like transformers' run_clip.py: texts padded to 77, pictures encoded at every step, float32
    hf-tuned    the same, padded to the longest text, bfloat16
    st          sentence-transformers' MultipleNegativesRankingLoss on the text tower, bfloat16: its encoding with our
                terms of the loss
    st-cached   the same with CachedMultipleNegativesRankingLoss
    open-clip   open_clip's model with its image tower locked (--lock-image), bfloat16; not with --tiny

Memory is the peak of the process, on a GPU of the GPU's memory. The floor is the time of the matrix products that the
distinct beginnings of the texts need (6 operations per weight and token, without attention), at the rate that the
machine reaches for a matrix product in that precision. MFU is the same for the rate of the GPU's data sheet, in
bfloat16, where it is known. `similarities` is the time of the products of the loss alone (24 batch^2 dim operations),
in float32.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from transformers import AutoTokenizer, CLIPConfig, CLIPModel

sys.path.insert(0, str(Path(__file__).parents[1]))
from datasets import Dataset

from modeling_paraclip import (
    BASE_MODEL_DIR,
    TEXT_COLUMNS,
    ParaCLIPCollator,
    ParaCLIPTrainer,
    ParaCLIPTrainingArguments,
    load_clip,
    tokenize,
)

WAYS = ("ours", "ours-fp32", "hf", "hf-tuned", "st", "st-cached", "open-clip")
LEARNING_RATE = 1e-5
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# Of data sheets: 10^12 operations per second in bfloat16, dense, by words of the GPU's name; the first that fits
PEAKS = {"H100 PCIe": 756, "NVL": 835, "H100": 989, "H200": 989, "A100": 312, "L40S": 362, "L4": 121}


def write_model(folder: Path, tokenizer, tiny: bool) -> None:
    """Write a model with random weights, shaped like ViT-B/32 (the defaults of `CLIPConfig`) or the embedded one."""
    torch.manual_seed(0)
    config = CLIPConfig.from_pretrained(BASE_MODEL_DIR) if tiny else CLIPConfig()
    config.text_config.eos_token_id = tokenizer.eos_token_id
    config.text_config.vocab_size = len(tokenizer) if tiny else 49408
    CLIPModel(config).save_pretrained(folder)


def triples(n: int, tokenizer, file: str | None = None) -> list[dict]:
    """Return `n` triples of a JSONL file, repeated if it has fewer; or random words in texts of 5 to 40 tokens, 14 on
    average, as Flickr8k's captions have with CLIP's tokenizer."""
    rng = np.random.default_rng(0)
    if file:
        rows = [json.loads(line) for line in Path(file).read_text().splitlines()]
        order = np.resize(rng.permutation(len(rows)), n)
        return [{column: rows[i][column] for column in TEXT_COLUMNS} for i in order]
    words = [w for w, i in tokenizer.get_vocab().items() if w.endswith("</w>") and w[:-4].isalpha() and i > 300]
    words = sorted(w[:-4] for w in words)
    lengths = np.clip(rng.gamma(5, 2, (n, 3)) + 2, 3, 38).astype(int)
    return [
        {column: " ".join(rng.choice(words, length)) for column, length in zip(TEXT_COLUMNS, row)} for row in lengths
    ]


def three_terms(images, x, x1, x2, scale):
    """The loss, as one would write it by hand."""
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
        clip = load_clip(folder).to(DEVICE)
        with torch.inference_mode():
            embeds = torch.cat([clip.encode_image(part.to(DEVICE)) for part in pixels.split(64)]).half().cpu().numpy()
        del clip
    data = tokenize(Dataset.from_list(rows), AutoTokenizer.from_pretrained(args.tokenizer))
    data = data.add_column("image_embeds", list(embeds)).add_column("image_id", [str(i) for i in range(len(rows))])
    rows.clear()
    del embeds, pixels
    training = ParaCLIPTrainingArguments(
        output_dir=tempfile.mkdtemp(), per_device_train_batch_size=args.batch, max_steps=args.steps + 1,
        learning_rate=LEARNING_RATE, lr_scheduler_type="constant", warmup_steps=0, weight_decay=0.0, max_grad_norm=0,
        bf16=way == "ours" and args.precision == "bfloat16", logging_steps=1, save_strategy="no", disable_tqdm=True,
        dataloader_pin_memory=False, train_sampling_strategy="sequential", encode_chunk_tokens=args.chunk_tokens,
        torch_compile=args.torch_compile,
    )  # fmt: skip
    collator = ParaCLIPCollator(args.chunk_tokens)
    trainer = _Timed(model=load_clip(folder, vision=False), args=training, train_dataset=data, data_collator=collator)
    trainer.train()
    peak = _peak()  # before this benchmark's own counting of what was needed
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    config = trainer.model.config.text_config
    layer = 4 * config.hidden_size**2 + 2 * config.hidden_size * config.intermediate_size
    needed = []
    for step in range(1, args.steps + 1):
        chunks = collator(list(data.select(range(step * args.batch, (step + 1) * args.batch))))["chunks"]
        nodes = sum(int(chunk["node_of_token"].max()) + 1 for chunk in chunks)  # without the filling
        texts = sum(len(chunk["end_nodes"]) for chunk in chunks)
        # in the last layer, only the last token of a text needs more than its key and value
        last = 2 * config.hidden_size**2 * nodes + (layer - 2 * config.hidden_size**2) * texts
        needed.append(6 * ((config.num_hidden_layers - 1) * layer * nodes + last))
    more = {
        "needed": float(np.median(needed)),
        "similarities": 24 * args.batch**2 * trainer.model.config.projection_dim,
    }
    return np.diff(trainer.ends).tolist(), [entry["loss"] for entry in logged], {"MiB": peak, **more}


class _Timed(ParaCLIPTrainer):
    """Records when each step ends."""

    def log(self, logs, *args, **kwargs):
        if "loss" in logs:  # of a step, not the summary of the run
            self.ends = [*getattr(self, "ends", []), time.perf_counter()]
        super().log(logs, *args, **kwargs)


def by_hand(way: str, folder: Path, rows: list[dict], pixels, args) -> tuple[list[float], list[float], dict]:
    """Run a plain loop; `way` decides how a batch is encoded."""
    model = CLIPModel.from_pretrained(folder).to(DEVICE)
    model.requires_grad_(False)
    model.text_model.requires_grad_(True)
    model.text_projection.requires_grad_(True)
    tokenizer = AutoTokenizer.from_pretrained(args.tokenizer)
    padding = {"padding": "max_length", "max_length": 77} if way in ("hf", "open-clip") else {"padding": True}
    if way == "open-clip":
        model = _open_clip(model).to(DEVICE)
    scale = model.logit_scale.exp()
    if way.startswith("st"):
        embeds = torch.cat([model.get_image_features(part.to(DEVICE)).pooler_output for part in pixels.split(64)])
        loss_of = _sentence_transformers(way, model, tokenizer, scale, args)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=LEARNING_RATE, weight_decay=0.0
    )
    seconds, losses = [], []
    for step in range(args.steps + 1):
        start = time.perf_counter()
        part = slice(step * args.batch, (step + 1) * args.batch)
        columns = [[row[column] for row in rows[part]] for column in TEXT_COLUMNS]
        with torch.autocast(DEVICE, torch.bfloat16, enabled=way != "hf" and args.precision == "bfloat16"):
            if way.startswith("st"):
                loss = loss_of(columns, embeds[part])
            elif way == "open-clip":
                texts = tokenizer(list(chain(*columns)), return_tensors="pt", truncation=True, **padding)["input_ids"]
                views = model.encode_text(texts.to(DEVICE)).split(args.batch)
                loss = three_terms(model.encode_image(pixels[part].to(DEVICE)), *views, scale)
            else:
                with torch.no_grad():
                    images = model.get_image_features(pixels[part].to(DEVICE)).pooler_output
                texts = tokenizer(list(chain(*columns)), return_tensors="pt", truncation=True, **padding).to(DEVICE)
                views = model.get_text_features(**texts).pooler_output.split(args.batch)
                loss = three_terms(images, *views, scale)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - start)
    return seconds[1:], losses, {}


def _open_clip(model: CLIPModel):
    """Put the same weights into open_clip's ViT-B/32, with its image tower locked, as --lock-image does."""
    import open_clip

    theirs = open_clip.create_model("ViT-B-32-quickgelu")
    ours = model.state_dict()
    renamed = {"logit_scale": ours["logit_scale"], "text_projection": ours["text_projection.weight"].T}
    for tower, prefix in (("text_model", ""), ("vision_model", "visual.")):
        embeddings = f"{tower}.embeddings"
        renamed[f"{prefix}positional_embedding"] = ours[f"{embeddings}.position_embedding.weight"]
        for i in range(12):
            layer, block = f"{tower}.encoder.layers.{i}", f"{prefix}transformer.resblocks.{i}"
            for kind in ("weight", "bias"):
                parts = [ours[f"{layer}.self_attn.{name}_proj.{kind}"] for name in "qkv"]
                renamed[f"{block}.attn.in_proj_{kind}"] = torch.cat(parts)
                names = {"self_attn.out_proj": "attn.out_proj", "layer_norm1": "ln_1", "layer_norm2": "ln_2"}
                for old, new in (names | {"mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}).items():
                    renamed[f"{block}.{new}.{kind}"] = ours[f"{layer}.{old}.{kind}"]
    norms = {"text_model.final_layer_norm": "ln_final", "vision_model.pre_layrnorm": "visual.ln_pre"}
    for old, new in (norms | {"vision_model.post_layernorm": "visual.ln_post"}).items():
        renamed |= {f"{new}.{kind}": ours[f"{old}.{kind}"] for kind in ("weight", "bias")}
    renamed["token_embedding.weight"] = ours["text_model.embeddings.token_embedding.weight"]
    renamed["visual.class_embedding"] = ours["vision_model.embeddings.class_embedding"]
    renamed["visual.conv1.weight"] = ours["vision_model.embeddings.patch_embedding.weight"]
    renamed["visual.proj"] = ours["visual_projection.weight"].T
    theirs.load_state_dict(renamed)
    theirs.lock_image_tower()
    theirs.logit_scale.requires_grad_(False)
    return theirs


def _sentence_transformers(way: str, model: CLIPModel, tokenizer, scale, args):
    """Put their batching, encoding and gradient cache around our three terms."""
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
    """Operations per second of this machine's matrix product, in the text tower's own shapes; best of 20."""
    a, b = torch.randn(8192, 512, device=DEVICE, dtype=dtype), torch.randn(512, 2048, device=DEVICE, dtype=dtype)
    best, products = float("inf"), 1 if DEVICE == "cpu" else 50  # on a GPU one takes as long as being waited for
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(products):
            product = a @ b
        product[0, 0].item()
        best = min(best, (time.perf_counter() - start) / products)
    return 2 * 8192 * 512 * 2048 / best


def _peak() -> float:
    if DEVICE == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def of_the_floor(found: dict) -> str:
    """What the last column says of a way that counts what it needs."""
    if "needed" not in found:
        return ""
    said = f"{found['needed'] / found['rate'] / found['seconds']:.0%} of {found['rate'] / 1e9:.0f} GFLOP/s"
    if found["peak"]:
        said += f", MFU {found['needed'] / found['peak'] / found['seconds']:.1%} of {found['peak'] / 1e12:.0f} TFLOP/s"
    return f"{said}, similarities {found['similarities'] / found['fp32']:.3f} s"


def measure(way: str, args) -> dict:
    tokenizer = AutoTokenizer.from_pretrained(args.tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder), tokenizer, args.tiny)
        n = max(args.batch * (args.steps + 1), args.rows)
        size = CLIPConfig.from_pretrained(folder).vision_config.image_size
        rows = triples(n, tokenizer, args.triples)
        # beyond 1,024 only ours is measured, on random image embeddings: pictures alone would fill the memory
        pixels = torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(0)) if n <= 1024 else None
        if pixels is None and not way.startswith("ours"):
            raise ValueError(f"{n} triples in total: only ours is measured beyond 1,024")
        run = ours if way.startswith("ours") else by_hand
        seconds, losses, more = run(way, Path(folder), rows, pixels, args)
    single = way in ("hf", "ours-fp32") or args.precision == "float32"
    more = {"MiB": _peak(), **more}  # before the products
    more |= {"rate": matrix_rate(torch.float32 if single else torch.bfloat16), "fp32": matrix_rate(torch.float32)}
    name = torch.cuda.get_device_name() if DEVICE == "cuda" and not single else ""
    more["peak"] = next((1e12 * peak for known, peak in PEAKS.items() if re.search(rf"\b{known}\b", name)), None)
    return {"seconds": float(np.median(seconds)), "loss": losses[-1], **more}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[64])
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument(
        "--rows", type=int, default=0, help="keep at least this many triples in memory, so that batch sizes compare"
    )
    parser.add_argument("--chunk_tokens", type=int, default=8192, help="--encode_chunk_tokens for ours")
    parser.add_argument(
        "--precision", choices=("bfloat16", "float32"), default="bfloat16",
        help="of all ways but hf and ours-fp32; float32 is faster on CPUs without bfloat16 tiles (AMX)",
    )  # fmt: skip
    parser.add_argument("--triples", help="JSONL file of real triples; also give the --tokenizer of a CLIP")
    parser.add_argument("--tokenizer", default=str(BASE_MODEL_DIR), help="folder or Hub id; default: the embedded one")
    parser.add_argument("--torch_compile", action="store_true", help="compile the layers of ours")
    parser.add_argument("--tiny", action="store_true", help="the embedded model instead of ViT-B/32")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        args.batch = args.batch[0]
        print(json.dumps(measure(args.only[0], args)))
        return
    where = torch.cuda.get_device_name() if DEVICE == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"torch {torch.__version__}, {where}, {args.precision}")
    print(f"{'way':10} {'batch':>6} {'s/step':>8} {'triples/s':>9} {'slower':>7} {'MiB':>7} {'loss':>9}  of the floor")
    failed = False
    for batch in args.batch:
        first = None
        for way in args.only:
            command = [sys.executable, __file__, "--child", *sys.argv[1:], "--only", way, "--batch", str(batch)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["killed"])[-1]
                print(f"{way:10} {batch:6} not run: {reason}", flush=True)
                failed = True
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            first = first or found["seconds"]
            print(
                f"{way:10} {batch:6} {found['seconds']:8.3f} {batch / found['seconds']:9.1f} "
                f"{found['seconds'] / first:6.2f}x {found['MiB']:7.0f} {found['loss']:9.5f}  {of_the_floor(found)}",
                flush=True,
            )
    sys.exit(failed)


if __name__ == "__main__":
    main()
