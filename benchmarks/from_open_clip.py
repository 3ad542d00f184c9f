"""`from-open-clip` and back at full size: the vectors of both, and whether the checkpoint comes back bit for bit.

    pip install -e ".[openclip]" && python benchmarks/from_open_clip.py [ViT-B-32 ViT-B-32-quickgelu ViT-B-16 ViT-L-14]

The models are open_clip's own, with random weights: there is nothing to download. ViT-L-14 takes 8 GB of memory.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import open_clip
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, CLIPModel

sys.path.insert(0, str(Path(__file__).parents[1]))

from modeling_paraclip.exports import export_model, from_open_clip
from modeling_paraclip.exports.open_clip import CONFIG, MODEL
from modeling_paraclip.exports.tower import TEXTS


def random_checkpoint(name: str, folder: Path) -> torch.nn.Module:
    """A model of open_clip's, as it is published, no weight of which is 0 or 1 throughout."""
    torch.manual_seed(0)
    model = open_clip.create_model(name).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    folder.mkdir()
    save_file({key: weight.contiguous() for key, weight in model.state_dict().items()}, folder / MODEL)
    config = {"model_cfg": open_clip.get_model_config(name), "preprocess_cfg": {}}
    (folder / CONFIG).write_text(json.dumps(config))
    return model


def main(names: list[str]) -> None:
    """One row per model."""
    print("| model | parameters | texts | pictures | back bit for bit | seconds | GiB |")
    print("| --- | ---: | ---: | ---: | --- | ---: | ---: |")
    for name in names:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as work, torch.inference_mode():
            theirs = random_checkpoint(name, Path(work, "theirs"))
            from_open_clip(Path(work, "theirs"), Path(work, "ours"))
            ours = CLIPModel.from_pretrained(Path(work, "ours")).eval()
            tokens = AutoTokenizer.from_pretrained(Path(work, "ours"))(
                TEXTS, padding=True, truncation=True, return_tensors="pt"
            )
            side = ours.config.vision_config.image_size
            pictures = torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(0))
            texts = theirs.encode_text(open_clip.get_tokenizer(name)(TEXTS))
            differences = [
                (ours.get_text_features(**tokens).pooler_output - texts).abs().max(),
                (ours.get_image_features(pixel_values=pictures).pooler_output - theirs.encode_image(pictures))
                .abs()
                .max(),
            ]
            parameters = sum(weight.numel() for weight in ours.parameters())
            del ours
            export_model(Path(work, "ours"), "open_clip", Path(work, "back"))
            given, back = theirs.state_dict(), load_file(Path(work, "back", MODEL))
            is_same = given.keys() == back.keys() and all(torch.equal(w, back[key]) for key, w in given.items())
        shown = " | ".join(f"{difference:.1e}" for difference in differences)
        seconds, gib = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"| {name} | {parameters:,} | {shown} | {is_same} | {seconds:.0f} | {gib:.1f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or ["ViT-B-32", "ViT-B-32-quickgelu", "ViT-B-16", "ViT-L-14"])
