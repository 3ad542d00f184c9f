"""Train the embedded base CLIP from scratch: `python scripts/train_base_clip.py` (7 to 8 minutes on 2 cores).

It sees only drawn scenes and their web captions x, never a paraphrase, and uses CLIP's own loss (plain symmetric
InfoNCE, Radford et al. 2021). The tokenizer's merges are learnt from all training texts, because a vocabulary knows
more words than a captioner uses. It overwrites `modeling_paraclip/base/` and prints R@1 on the validation split when
it is done.
"""

import argparse
import itertools
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from tqdm.auto import tqdm
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer, set_seed
from transformers.optimization import get_cosine_schedule_with_warmup

from dataset_builder import scenes
from modeling_paraclip.losses import info_nce

BASE_DIR = Path(__file__).parent.parent / "modeling_paraclip" / "base"
BOS, EOS = "<|startoftext|>", "<|endoftext|>"


def train_tokenizer(texts: list[str], vocab_size: int) -> CLIPTokenizer:
    """A CLIP tokenizer (byte-level BPE with `</w>`) whose merges come from `texts`."""
    reference = CLIPTokenizer(vocab={BOS: 0, EOS: 1}, merges=[]).backend_tokenizer  # CLIP's normaliser and splitter
    bpe = Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix="</w>", unk_token=EOS))
    bpe.normalizer, bpe.pre_tokenizer = reference.normalizer, reference.pre_tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    learnt = json.loads(bpe.to_str())["model"]
    # CLIP's own order: bytes, bytes that end a word, merges, and the two special tokens last
    tokens = [*alphabet, *(f"{byte}</w>" for byte in alphabet)]
    merges = [tuple(merge) for merge in learnt["merges"]]
    tokens += [token for token in dict.fromkeys(a + b for a, b in merges) if token not in set(tokens)]
    vocab = {token: i for i, token in enumerate([*tokens, BOS, EOS])}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77)


def recall_at_1(model: CLIPModel, tokenizer: CLIPTokenizer, pixels: torch.Tensor, texts: list[str]) -> float:
    """The share of texts whose own picture comes first among all of `pixels`."""
    model.eval()
    with torch.inference_mode():
        image_embeds = torch.cat([model.get_image_features(p).pooler_output for p in pixels.split(100)])
        text_embeds = model.get_text_features(**tokenizer(texts, padding=True, return_tensors="pt")).pooler_output
    scores = torch.nn.functional.normalize(text_embeds, dim=-1) @ torch.nn.functional.normalize(image_embeds, dim=-1).T
    model.train()
    return (scores.argmax(dim=1) == torch.arange(len(texts))).float().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default=BASE_DIR)
    parser.add_argument("--num_scenes", type=int, default=24_000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--text_layers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    set_seed(args.seed)

    rows = list(tqdm(scenes.generate("train", args.num_scenes), total=args.num_scenes, desc="drawing"))
    validation = list(scenes.generate("validation", 500))
    tokenizer = train_tokenizer(
        [row[column] for row in rows for column in ("caption", "paraphrase_1", "paraphrase_2")], vocab_size=1000
    )
    image_processor = CLIPImageProcessor(
        size={"shortest_edge": scenes.IMAGE_SIZE}, crop_size={"height": scenes.IMAGE_SIZE, "width": scenes.IMAGE_SIZE}
    )
    tower = {
        "hidden_size": args.width,
        "intermediate_size": 4 * args.width,
        "num_attention_heads": 2,
        "projection_dim": args.width,
        "hidden_act": "quick_gelu",
    }
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    model = CLIPModel(
        CLIPConfig(
            text_config={**tower, **special, "num_hidden_layers": args.text_layers, "vocab_size": len(tokenizer)},
            vision_config={
                **tower,
                "num_hidden_layers": args.layers,
                "image_size": scenes.IMAGE_SIZE,
                "patch_size": scenes.IMAGE_SIZE // 8,
            },
            projection_dim=args.width,
        )
    )

    # pictures stay bytes until they are used: 24,000 float pictures would take 2.6 GB
    pictures = torch.from_numpy(np.stack([np.asarray(row["image"]) for row in rows]))
    mean, std = torch.tensor(image_processor.image_mean), torch.tensor(image_processor.image_std)
    input_ids = tokenizer([row["caption"] for row in rows], padding=True, return_tensors="pt")["input_ids"]
    validation_pixels = image_processor([row["image"] for row in validation], return_tensors="pt")["pixel_values"]
    validation_texts = [row["caption"] for row in validation]

    decay = [p for p in model.parameters() if p.ndim > 1]
    no_decay = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.1}, {"params": no_decay, "weight_decay": 0.0}],
        lr=args.learning_rate,
        betas=(0.9, 0.98),
    )
    steps = len(rows) // args.batch_size * args.epochs
    schedule = get_cosine_schedule_with_warmup(optimizer, steps // 20, steps)
    batches = itertools.chain.from_iterable(
        torch.randperm(len(rows))[: len(rows) // args.batch_size * args.batch_size].split(args.batch_size)
        for _ in range(args.epochs)
    )
    progress = tqdm(batches, total=steps, desc="training")
    for step, batch in enumerate(progress, start=1):
        pixels = ((pictures[batch].float() / 255 - mean) / std).permute(0, 3, 1, 2)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            image_embeds = model.get_image_features(pixels).pooler_output
            text_embeds = model.get_text_features(input_ids[batch]).pooler_output
        loss = info_nce(image_embeds, text_embeds, model.logit_scale)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        model.logit_scale.data.clamp_(max=4.6052)  # CLIP: never above 100
        if step % 200 == 0 or step == steps:
            r1 = recall_at_1(model, tokenizer, validation_pixels, validation_texts)
            progress.write(f"step {step}: loss {loss.item():.3f}, validation R@1 {r1:.1%}")

    model.save_pretrained(args.output_dir)
    CLIPProcessor(image_processor, tokenizer).save_pretrained(args.output_dir)
    for name in ("paraphrase_1", "paraphrase_2"):
        r1 = recall_at_1(model, tokenizer, validation_pixels, [row[name] for row in validation])
        print(f"validation R@1 with {name}: {r1:.1%}")


if __name__ == "__main__":
    main()
