"""Triples to train on, and a short training of a tiny model."""

import datasets
import torch

from modeling_paraclip import ParaCLIPCollator, ParaCLIPTrainer, ParaCLIPTrainingArguments, load_clip, tokenize


def make_rows(n, **changes):
    """n triples; `changes` are columns to replace."""
    rng = torch.Generator().manual_seed(0)
    return [
        {
            "image_id": f"{i}.png",
            "caption": f"a red circle {i}",
            "paraphrase_1": f"circle number {i} in red",
            "paraphrase_2": f"the scarlet disc {i}",
            "image_embeds": torch.randn(8, generator=rng).tolist(),
            **{name: values[i] for name, values in changes.items()},
        }
        for i in range(n)
    ]


def train(tiny_clip, tmp_path, tokenizer, rows, resume=None, model=None, run=None, arguments_class=None, **arguments):
    """Train `tiny_clip` on `rows` and return the trainer."""
    trainer = ParaCLIPTrainer(
        model=model or load_clip(tiny_clip, vision=False),
        args=(arguments_class or ParaCLIPTrainingArguments)(
            **{
                "output_dir": str(tmp_path),
                "learning_rate": 1e-2,
                "per_device_train_batch_size": 4,
                "logging_steps": 1,
                "save_strategy": "no",
                "use_cpu": True,
                "disable_tqdm": True,
                **arguments,
            }
        ),
        train_dataset=tokenize(datasets.Dataset.from_list(rows), tokenizer),
        eval_dataset=tokenize(datasets.Dataset.from_list(rows), tokenizer),
        run=run,
        data_collator=ParaCLIPCollator(arguments.get("encode_chunk_tokens", 8192)),
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer
