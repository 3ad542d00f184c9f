"""open_clip, both ways: `open_clip_config.json` and `open_clip_model.safetensors`, and a checkpoint of it as a CLIP.

The tensors are the same numbers: some are transposed, and open_clip keeps q, k and v of an attention in one.
"""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoProcessor, AutoTokenizer, CLIPConfig, CLIPModel, CLIPTokenizer

from ..errors import InputError
from ..publish import staged
from ..weights import NOT_WEIGHTS, WEIGHTS, find_file, open_model, open_processor, weight_files
from .tower import Tower, open_tower, write_json, write_tokenizer

NEEDS = ()
VECTORS = "embeds"
CONFIG, MODEL = "open_clip_config.json", "open_clip_model.safetensors"
MARKS = (MODEL,)
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # where a checkpoint says none
INTERPOLATION = {"bilinear": 2, "bicubic": 3}  # as Pillow counts them
INSTALL = """\
model, _, preprocess = open_clip.create_model_and_transforms("local-dir:{output}"), or "hf-hub:org/name" once uploaded
tokenizer = open_clip.get_tokenizer("local-dir:{output}")
clip-retrieval: --clip_model "open_clip:ARCH/{output}/open_clip_model.safetensors", ARCH e.g. ViT-B-32 or, where
open_clip_config.json says quick_gelu, ViT-B-32-quickgelu: with the wrong one of the two, the vectors are wrong."""

# open_clip's names (beginnings of them) and ours
NAMES = {
    "visual.transformer.resblocks.": "vision_model.encoder.layers.",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.": "vision_model.embeddings.patch_embedding.",
    "visual.ln_pre.": "vision_model.pre_layrnorm.",
    "visual.ln_post.": "vision_model.post_layernorm.",
    "visual.proj": "visual_projection.weight",
    "transformer.resblocks.": "text_model.encoder.layers.",
    "token_embedding.": "text_model.embeddings.token_embedding.",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.": "text_model.final_layer_norm.",
    "text_projection": "text_projection.weight",
    "logit_scale": "logit_scale",
}
IN_LAYERS = {
    ".ln_1.": ".layer_norm1.",
    ".ln_2.": ".layer_norm2.",
    ".attn.": ".self_attn.",
    ".mlp.c_fc.": ".mlp.fc1.",
    ".mlp.c_proj.": ".mlp.fc2.",
}
TRANSPOSED = ("visual.proj", "text_projection")
# numbers in checkpoints of OpenAI, and the mask, which is computed
NO_WEIGHTS = ("input_resolution", "context_length", "vocab_size", "attn_mask")
# What a configuration may say, beside what describes the tensors themselves
VISION = {"image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio", "patch_dropout"}
TEXT = {
    "context_length",
    "vocab_size",
    "width",
    "heads",
    "layers",
    "mlp_ratio",
    "hf_tokenizer_name",
    "tokenizer_kwargs",
}
USUAL: dict[str, Any] = {"pool_type": ("tok", "argmax"), "pos_embed_type": ("learnable",), "proj_type": ("linear",)}


def export(folder: str | Path, tower: Tower, output: Path) -> None:
    """Write configuration, weights in the dtype that they have, and tokenizer.

    Raises:
        InputError: it is not a CLIP, or one that open_clip cannot describe.
    """
    config = tower.model.config
    if config.model_type != "clip":
        raise InputError(f"{folder} is no CLIP: only such can be given to open_clip.")
    state: dict[str, Tensor] = {}
    for file in weight_files(folder):
        state |= load_file(file)
    save_file(to_open_clip(state), output / MODEL, metadata={"format": "pt"})
    write_tokenizer(folder, tower, output)
    images = open_processor(folder).image_processor
    resample = {number: name for name, number in INTERPOLATION.items()}
    preprocess_cfg = {
        "size": config.vision_config.image_size,
        "mean": list(images.image_mean),
        "std": list(images.image_std),
        "interpolation": resample.get(int(images.resample), "bicubic"),
        "resize_mode": "shortest" if images.do_center_crop else "squash",
    }
    write_json(output / CONFIG, {"model_cfg": _model_cfg(folder, tower), "preprocess_cfg": preprocess_cfg})


def encode(output: Path, texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Texts -> (n, dim), by open_clip where it is installed, else by what is read back."""
    try:
        import open_clip
    except (ImportError, RuntimeError):  # RuntimeError: a torchvision that does not fit torch
        with tempfile.TemporaryDirectory() as back:
            from_open_clip(output, back)
            return {f"{MODEL}, read back": open_tower(back).encode(texts)}
    model = open_clip.create_model(f"local-dir:{output}").float().eval()
    with torch.inference_mode():
        return {MODEL: model.encode_text(open_clip.get_tokenizer(f"local-dir:{output}")(list(texts))).numpy()}


def from_open_clip(
    source: str | Path, output: str | Path, *, activation: str | None = None, tokenizer: str | Path | None = None
) -> None:
    """Make a CLIP of transformers of a checkpoint of open_clip: its own numbers, configuration, tokenizer, processor.

    Args:
        source: a file of safetensors, a folder with `open_clip_model.safetensors`, or a Hub id. Beside it lies
            `open_clip_config.json`; without one, heads are 64 wide.
        activation: "gelu" or "quick_gelu", where there is no configuration to say it.
        tokenizer: folder or Hub id with the tokenizer. By default the one that lies beside the checkpoint, else
            CLIP's, which comes with open_clip.

    Raises:
        InputError: it cannot be read, or is no CLIP that transformers knows.
        CheckpointError: it could not be written.
    """
    file, config = _find(source)
    try:
        state = to_transformers(load_file(file))
    except (OSError, SafetensorError) as error:
        raise InputError(f"{file} cannot be read as safetensors: {error}. Download it again.") from error
    tokens = _tokenizer(file.parent if Path(source).exists() else source, tokenizer)
    model_cfg, seen = config.get("model_cfg", {}), config.get("preprocess_cfg", {})
    try:
        clip = _clip_config(file, state, model_cfg, tokens, activation)
    except InputError:
        raise
    except KeyError as error:
        raise InputError(
            f"{file} has no tensor for {error.args[0]}: it is no CLIP with a vision transformer."
        ) from error
    # any value in a configuration can be wrong, and each fails in its own way
    except Exception as error:
        raise InputError(f"{CONFIG} of {file.parent} describes no model that can be built: {error}") from error
    tokens.model_max_length = clip.text_config.max_position_embeddings
    with staged(output) as aside:
        clip.save_pretrained(aside)
        save_file(state, aside / WEIGHTS, metadata={"format": "pt"})
        images = _image_processor(file, seen, clip.vision_config.image_size)
        write_json(aside / "preprocessor_config.json", images)
        tokens.save_pretrained(aside)
        open_model(CLIPModel, aside)
        open_processor(aside, AutoProcessor)


def to_open_clip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a `CLIPModel`, by name, as open_clip names and shapes them."""
    ours: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if NOT_WEIGHTS.search(name):
            continue
        for theirs, beginning in NAMES.items():
            if name.startswith(beginning):
                renamed = theirs + name.removeprefix(beginning)
                break
        for theirs, part in IN_LAYERS.items():
            renamed = renamed.replace(part, theirs)
        ours[renamed] = tensor.T.contiguous() if renamed in TRANSPOSED else tensor
    for query in [name for name in ours if ".attn.q_proj." in name]:
        parts = [ours.pop(query.replace(".q_proj.", f".{part}_proj.")) for part in "qkv"]
        ours[query.replace(".q_proj.", ".in_proj_")] = torch.cat(parts)
    return ours


def to_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of an open_clip checkpoint as `CLIPModel` names and shapes them.

    Raises:
        InputError: there is one that a `CLIPModel` does not have.
    """
    ours: dict[str, Tensor] = {}
    for full, tensor in state.items():
        name = full.removeprefix("module.").removeprefix("text.")  # of distributed training; of CustomTextCLIP
        if name in NO_WEIGHTS:
            continue
        beginning = next(
            (known for known in NAMES if name == known or (known[-1] == "." and name.startswith(known))), ""
        )
        if not beginning:
            raise InputError(f"the checkpoint has a tensor {full}, which a CLIP of transformers does not have.")
        renamed = NAMES[beginning] + name.removeprefix(beginning)
        for theirs, part in IN_LAYERS.items():
            renamed = renamed.replace(theirs, part)
        if ".in_proj_" in renamed:
            for part, third in zip("qkv", tensor.chunk(3)):
                ours[renamed.replace(".in_proj_", f".{part}_proj.")] = third.contiguous()
        else:
            ours[renamed] = tensor.T.contiguous() if name in TRANSPOSED else tensor
    return ours


def _model_cfg(folder: str | Path, tower: Tower) -> dict[str, Any]:
    """The configuration of a CLIP in open_clip's words."""
    config = tower.model.config
    text, vision = config.text_config, config.vision_config
    activations = {text.hidden_act, vision.hidden_act}
    if len(activations) > 1 or not activations <= {"gelu", "quick_gelu"}:
        raise InputError(
            f"{folder} has activations {sorted(activations)}: open_clip takes gelu or quick_gelu for all."
        )
    vision_cfg: dict[str, Any] = {"image_size": vision.image_size, "patch_size": vision.patch_size}
    if vision.hidden_size != 64 * vision.num_attention_heads:
        vision_cfg["head_width"] = vision.hidden_size // vision.num_attention_heads
    text_cfg: dict[str, Any] = {"context_length": text.max_position_embeddings, "vocab_size": text.vocab_size}
    text_cfg["heads"] = text.num_attention_heads
    for cfg, ours in ((vision_cfg, vision), (text_cfg, text)):
        cfg |= {"width": ours.hidden_size, "layers": ours.num_hidden_layers}
        if ours.intermediate_size != 4 * ours.hidden_size:
            cfg["mlp_ratio"] = ours.intermediate_size / ours.hidden_size
        if ours.layer_norm_eps != 1e-5:
            cfg["norm_kwargs"] = {"eps": ours.layer_norm_eps}
    if (len(tower.tokenizer), tower.tokenizer.eos_token_id) != (49408, 49407):  # not CLIP's, which open_clip has
        text_cfg["hf_tokenizer_name"] = "tokenizer.json"  # of local-dir; in a Hub repository it has to be its id
    quick_gelu = activations == {"quick_gelu"}
    return {
        "embed_dim": config.projection_dim,
        "quick_gelu": quick_gelu,
        "vision_cfg": vision_cfg,
        "text_cfg": text_cfg,
    }


def _clip_config(
    file: Path, state: dict[str, Tensor], model_cfg: dict[str, Any], tokens: CLIPTokenizer, activation: str | None
) -> CLIPConfig:
    """The configuration of a CLIP, from the shapes of its weights and what open_clip's configuration adds."""
    vision_cfg, text_cfg = dict(model_cfg.get("vision_cfg", {})), dict(model_cfg.get("text_cfg", {}))
    for cfg, known in ((vision_cfg, VISION), (text_cfg, TEXT)):
        for key in cfg.keys() - known - {"norm_kwargs"}:
            if cfg[key] and cfg[key] not in USUAL.get(key, ()):
                raise InputError(
                    f"{CONFIG} of {file.parent} says {key} {cfg[key]!r}, which no CLIP of transformers has."
                )
    quick = model_cfg.get("quick_gelu", False if model_cfg else None)
    if activation is None and quick is None:
        raise InputError(
            f"{file} has no {CONFIG} beside it, which says the activation function. Pass --activation quick_gelu "
            "(OpenAI's models, and those named -quickgelu) or --activation gelu."
        )
    patch = state["vision_model.embeddings.patch_embedding.weight"]
    side = round((len(state["vision_model.embeddings.position_embedding.weight"]) - 1) ** 0.5)
    positions = state["text_model.embeddings.position_embedding.weight"]
    towers = {}
    for tower, cfg, width in (("vision", vision_cfg, patch.shape[0]), ("text", text_cfg, positions.shape[1])):
        layers = f"{tower}_model.encoder.layers."
        heads = cfg.get("heads") or width // cfg.get("head_width", 64)
        if heads < 1 or width % heads:
            raise InputError(
                f"{file} has a {tower} tower {width} wide: put its {CONFIG} beside it, which says the heads."
            )
        towers[tower] = {
            "hidden_size": width,
            "intermediate_size": len(state[f"{layers}0.mlp.fc1.bias"]),
            "num_hidden_layers": len({name.removeprefix(layers).split(".")[0] for name in state if layers in name}),
            "num_attention_heads": heads,
            "layer_norm_eps": (cfg.get("norm_kwargs") or {}).get("eps", 1e-5),
            "hidden_act": activation or ("quick_gelu" if quick else "gelu"),
            "projection_dim": len(state["text_projection.weight"]),
        }
    special = {name: getattr(tokens, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return CLIPConfig(
        text_config={**towers["text"], **special, "max_position_embeddings": len(positions),
                     "vocab_size": len(state["text_model.embeddings.token_embedding.weight"])},
        vision_config={**towers["vision"], "patch_size": patch.shape[-1], "image_size": side * patch.shape[-1]},
        projection_dim=towers["text"]["projection_dim"],
        architectures=["CLIPModel"],
        dtype=str(patch.dtype).removeprefix("torch."),
    )  # fmt: skip


def _find(source: str | Path) -> tuple[Path, dict[str, Any]]:
    """The file of weights, and the configuration beside it, or an empty one."""
    path = Path(source)
    if path.is_file():
        if path.suffix != ".safetensors":
            raise InputError(f"{path} is not .safetensors. Pickled weights are not opened, as they can run code.")
        file: Path | None = path
        named: Path | None = path.parent / CONFIG
    else:
        file, named = find_file(source, MODEL), find_file(source, CONFIG)
    if file is None:
        raise InputError(f"{source} has no {MODEL}. Pickled weights are not opened, as they can run code.")
    try:
        config = json.loads(named.read_text(encoding="utf-8")) if named and named.is_file() else {}
        assert isinstance(config, dict) and isinstance(config.get("model_cfg", {}), dict)
    except (ValueError, AssertionError, RecursionError) as error:
        raise InputError(f"{named} cannot be read: it is no configuration of open_clip.") from error
    return file, config


def _tokenizer(source: str | Path, tokenizer: str | Path | None) -> CLIPTokenizer:
    if tokenizer or find_file(source, "tokenizer.json"):
        return open_processor(tokenizer or source, AutoTokenizer)
    package = find_spec("open_clip")
    if package is None or package.origin is None:
        raise InputError(
            f"{source} has no tokenizer.json. Pass --tokenizer, a folder or Hub id with CLIP's, or install the "
            "package that has it: pip install 'paraclip[openclip]'"
        )
    return clip_tokenizer(Path(package.origin).parent / "bpe_simple_vocab_16e6.txt.gz")


def clip_tokenizer(bpe: Path) -> CLIPTokenizer:
    """CLIP's tokenizer from the list of merges that its authors published."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in printable] + [chr(256 + n) for n in range(256 - len(printable))]
    with gzip.open(bpe, "rt", encoding="utf-8") as file:
        merges = [tuple(line.split()) for line in file.read().split("\n")[1 : 49152 - 256 - 2 + 1]]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges)]
    vocabulary = {token: n for n, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges)


def _image_processor(file: Path, preprocess_cfg: dict[str, Any], side: int) -> dict[str, Any]:
    mode = preprocess_cfg.get("resize_mode") or "shortest"
    if mode not in ("shortest", "squash"):
        raise InputError(f"{CONFIG} of {file.parent} says resize_mode {mode!r}, which CLIPImageProcessor cannot do.")
    return {
        "image_processor_type": "CLIPImageProcessor",
        "processor_class": "CLIPProcessor",
        "do_resize": True,
        "size": {"shortest_edge": side} if mode == "shortest" else {"height": side, "width": side},
        "resample": INTERPOLATION.get(preprocess_cfg.get("interpolation", "bicubic"), 3),
        "do_center_crop": mode == "shortest",
        "crop_size": {"height": side, "width": side},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preprocess_cfg.get("mean") or MEAN),
        "image_std": list(preprocess_cfg.get("std") or STD),
        "do_convert_rgb": True,
    }
