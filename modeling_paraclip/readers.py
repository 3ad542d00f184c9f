"""What other programs look for next to a model's own files: sentence-transformers (and so MTEB), and older readers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .weights import read_json

# sentence-transformers 5.4 and later: texts and pictures through one model of transformers
MODULES = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"}]
TRANSFORMER = {
    "transformer_task": "feature-extraction",
    "modality_config": {
        "text": {"method": "get_text_features", "method_output_name": "pooler_output"},
        "image": {"method": "get_image_features", "method_output_name": "pooler_output"},
    },
    "module_output_name": "sentence_embedding",
}
SENTENCE_TRANSFORMERS = {"model_type": "SentenceTransformer", "similarity_fn_name": "cosine"}
SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
FILES = (
    *("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"),
    *("preprocessor_config.json", "special_tokens_map.json", "vocab.json", "merges.txt"),
)


def write_reader_files(folder: Path) -> None:
    """Add those of `FILES` that the folder of a dual encoder lacks, out of the files that it has.

    The last four say what `processor_config.json`, `tokenizer_config.json` and `tokenizer.json` say: transformers 4
    and fastembed read them there.
    """
    config = _read(folder / "config.json")
    encode: dict[str, Any] = dict(TRANSFORMER)
    if config["model_type"] == "siglip":  # without a mask, padded to the length that it was trained with
        length = config["text_config"].get("max_position_embeddings", 64)
        encode["processing_kwargs"] = {
            "text": {"padding": "max_length", "max_length": length, "return_attention_mask": False}
        }
    written: dict[str, Any] = {
        "modules.json": MODULES,
        "sentence_bert_config.json": encode,
        "config_sentence_transformers.json": SENTENCE_TRANSFORMERS,
    }
    processor = _read(folder / "processor_config.json").get("image_processor")
    if processor:
        written["preprocessor_config.json"] = processor
    tokenizer = _read(folder / "tokenizer_config.json")
    tokens = {name: tokenizer[name] for name in SPECIAL_TOKENS if tokenizer.get(name)}
    if tokens:
        written["special_tokens_map.json"] = tokens
    model = _read(folder / "tokenizer.json").get("model", {})
    if model.get("type") == "BPE":
        written["vocab.json"] = model["vocab"]
    for name, content in written.items():
        if not (folder / name).exists():
            (folder / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if model.get("type") == "BPE" and not (folder / "merges.txt").exists():
        lines = (merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"])
        (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *lines]) + "\n", encoding="utf-8")


def _read(file: Path) -> dict:
    return read_json(file) if file.exists() else {}
