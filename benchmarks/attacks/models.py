"""Models that are broken or hostile, through every command that opens one."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from .box import CANARY, Box, Case, Result, either, figures_are_finite, refused

Spoil = Callable[[Path], object]
SPOILED = "user/spoiled"


class _Payload:
    def __reduce__(self):
        return os.system, (f"touch {CANARY}",)


def _config(**changes) -> Spoil:
    """Change `config.json`: `text__hidden_size=...` goes into `text_config`; DELETE removes."""

    def spoil(model: Path) -> None:
        file = model / "config.json"
        config = json.loads(file.read_text())
        for name, value in changes.items():
            part = config
            for prefix in ("text", "vision"):
                if name.startswith(f"{prefix}__"):
                    part, name = config[f"{prefix}_config"], name.removeprefix(f"{prefix}__")
            if value is DELETE:
                part.pop(name, None)
            else:
                part[name] = value
        file.write_text(json.dumps(config))

    return spoil


DELETE = object()


def _file(name: str, content: bytes | None) -> Spoil:
    def spoil(model: Path) -> None:
        if content is None:
            (model / name).unlink()
        else:
            (model / name).write_bytes(content)

    return spoil


def _json(name: str, **changes) -> Spoil:
    def spoil(model: Path) -> None:
        file = model / name
        content = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps(content | changes))

    return spoil


def _weights(change: Callable[[dict], None]) -> Spoil:
    """Change the tensors."""

    def spoil(model: Path) -> None:
        from safetensors.torch import load_file, save_file

        tensors = load_file(model / "model.safetensors")
        change(tensors)
        save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})

    return spoil


def _bytes(change: Callable[[bytes], bytes]) -> Spoil:
    """Change the bytes of the weights' file."""

    def spoil(model: Path) -> None:
        file = model / "model.safetensors"
        file.write_bytes(change(file.read_bytes()))

    return spoil


def _header(change: Callable[[dict], None]) -> Spoil:
    def changed(data: bytes) -> bytes:
        (size,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + size])
        change(header)
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data[8 + size :]

    return _bytes(changed)


def _tensor(name: str, value: Callable) -> Spoil:
    def change(tensors: dict) -> None:
        tensors[name] = value(tensors[name])

    return _weights(change)


def _pickled(model: Path) -> None:
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(_Payload()))


def _pickled_too(model: Path) -> None:
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(_Payload()))


def _pickle_in_safetensors(model: Path) -> None:
    (model / "model.safetensors").write_bytes(pickle.dumps(_Payload()))


def _index_to(*shards: str) -> Spoil:
    def spoil(model: Path) -> None:
        (model / "model.safetensors").rename(model / "real.safetensors")
        names = json.loads(header_of(model / "real.safetensors"))
        names.pop("__metadata__", None)
        weight_map = {name: shards[i % len(shards)] for i, name in enumerate(names)}
        (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))

    return spoil


def header_of(file: Path) -> str:
    data = file.read_bytes()
    return data[8 : 8 + struct.unpack("<Q", data[:8])[0]].decode()


def _remote_code(model: Path) -> None:
    (model / "evil.py").write_text(
        f"import os\nos.system('touch {CANARY}')\n"
        "from transformers import CLIPConfig, CLIPModel, CLIPTokenizerFast\n"
        "class C(CLIPConfig):\n    pass\nclass M(CLIPModel):\n    pass\nclass T(CLIPTokenizerFast):\n    pass\n"
    )
    auto_map = {"AutoConfig": "evil.C", "AutoModel": "evil.M", "AutoProcessor": "evil.P", "AutoTokenizer": "evil.T"}
    _config(auto_map=auto_map)(model)
    _json("tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", "evil.T"]})(model)
    _json("processor_config.json", auto_map={"AutoProcessor": "evil.P"})(model)


def _remote_type(model: Path) -> None:
    _remote_code(model)
    _config(model_type="evil")(model)


def _more_ids(model: Path) -> None:
    """A tokenizer with ids that the model has no embedding for."""
    file = model / "tokenizer.json"
    content = json.loads(file.read_text())
    for word in ("circle</w>", "a</w>", "the</w>", "red</w>"):
        if word in content["model"]["vocab"]:
            content["model"]["vocab"][word] += 10**6
    file.write_text(json.dumps(content))


def _chat_template(model: Path) -> None:
    evil = "{{ ''.__class__.__mro__[1].__subclasses__() }}{% for i in range(10**12) %}x{% endfor %}"
    _json("tokenizer_config.json", chat_template=evil)(model)
    (model / "chat_template.jinja").write_text(evil)


def _linked(name: str, target: str) -> Spoil:
    def spoil(model: Path) -> None:
        (model / name).unlink()
        (model / name).symlink_to(target)

    return spoil


def _fifo(name: str) -> Spoil:
    def spoil(model: Path) -> None:
        (model / name).unlink()
        os.mkfifo(model / name)

    return spoil


def _folder(name: str) -> Spoil:
    def spoil(model: Path) -> None:
        (model / name).unlink()
        (model / name).mkdir()

    return spoil


def _torch(name: str, *args, **kwargs) -> Callable:
    def value(tensor):
        import torch

        return getattr(torch, name)(tensor, *args, **kwargs)

    return value


def _nan(tensor):
    tensor = tensor.clone()
    tensor.flatten()[0] = float("nan")
    return tensor


TEXT, VISION = "text_model.encoder.layers.0.mlp.fc1.weight", "vision_model.encoder.layers.0.mlp.fc1.weight"
MUST_REFUSE: dict[str, Spoil] = {
    **{
        f"missing tensor {name}": _weights(lambda tensors, name=name: tensors.pop(name))
        for name in (
            TEXT,
            VISION,
            "text_projection.weight",
            "visual_projection.weight",
            "logit_scale",
            "text_model.embeddings.token_embedding.weight",
            "text_model.final_layer_norm.weight",
            "text_model.encoder.layers.1.self_attn.k_proj.bias",
        )
    },
    **{
        f"misshaped tensor {name}": _tensor(name, lambda tensor: tensor[:-1].clone())
        for name in (
            TEXT,
            VISION,
            "text_projection.weight",
            "visual_projection.weight",
            "text_model.embeddings.token_embedding.weight",
            "text_model.embeddings.position_embedding.weight",
        )
    },
    **{f"NaN in {name}": _tensor(name, _nan) for name in (TEXT, VISION, "text_projection.weight", "logit_scale")},
    "infinite text weight": _tensor(TEXT, lambda t: t * float("inf")),
    "infinite logit_scale": _tensor("logit_scale", lambda t: t * float("inf")),
    "no tensors": _weights(lambda tensors: tensors.clear()),
    "no text tower": _weights(lambda t: [t.pop(n) for n in list(t) if n.startswith("text")]),
    "no vision tower": _weights(lambda t: [t.pop(n) for n in list(t) if n.startswith("vis")]),
    "all names prefixed": _weights(lambda t: [t.__setitem__(f"module.{n}", t.pop(n)) for n in list(t)]),
    "weights empty": _bytes(lambda data: b""),
    "weights cut to 7 bytes": _bytes(lambda data: data[:7]),
    "weights cut in the header": _bytes(lambda data: data[:200]),
    "weights cut by half": _bytes(lambda data: data[: len(data) // 2]),
    "weights cut by one byte": _bytes(lambda data: data[:-1]),
    "header of 2**63 bytes": _bytes(lambda data: struct.pack("<Q", 2**63) + data[8:]),
    "header of 2**64 - 1 bytes": _bytes(lambda data: struct.pack("<Q", 2**64 - 1) + data[8:]),
    "header of 0 bytes": _bytes(lambda data: struct.pack("<Q", 0) + data[8:]),
    "header of 99 MB": _bytes(lambda data: struct.pack("<Q", 99_000_000) + data[8:]),
    "header not JSON": _bytes(lambda data: data[:8] + b"#" * 40 + data[48:]),
    "header deeply nested": _bytes(lambda data: struct.pack("<Q", 200_000) + b"[" * 200_000 + data),
    "offsets beyond the file": _header(lambda h: h[TEXT].update(data_offsets=[0, 2**40])),
    "offsets overlap": _header(lambda h: h[TEXT].update(data_offsets=h[VISION]["data_offsets"])),
    "negative offsets": _header(lambda h: h[TEXT].update(data_offsets=[-4, 4])),
    "shape of 2**62": _header(lambda h: h[TEXT].update(shape=[2**62, 2**62])),
    "unknown dtype": _header(lambda h: h[TEXT].update(dtype="F999")),
    "weights are a pickle": _pickle_in_safetensors,
    "weights only as a pickle": _pickled,
    "weights a folder": _folder("model.safetensors"),
    "weights a dead link": _linked("model.safetensors", "nowhere"),
    "weights a FIFO": _fifo("model.safetensors"),
    "weights /dev/zero": _linked("model.safetensors", "/dev/zero"),
    "weights missing": _file("model.safetensors", None),
    "index to /etc/passwd": _index_to("../../../../../../etc/passwd"),
    "index to a missing shard": _index_to("real.safetensors", "absent.safetensors"),
    "index without map": lambda m: (_index_to("real.safetensors")(m), _file("model.safetensors.index.json", b"{}")(m)),
    "index a list": lambda m: (_index_to("real.safetensors")(m), _file("model.safetensors.index.json", b"[]")(m)),
    "index not JSON": lambda m: (_index_to("real.safetensors")(m), _file("model.safetensors.index.json", b"{")(m)),
    "index map of numbers": lambda m: (
        _index_to("real.safetensors")(m),
        _json("model.safetensors.index.json", weight_map={TEXT: 7})(m),
    ),
    "config missing": _file("config.json", None),
    "config empty": _file("config.json", b""),
    "config not JSON": _file("config.json", b"{"),
    "config a list": _file("config.json", b"[]"),
    "config a number": _file("config.json", b"7"),
    "config null": _file("config.json", b"null"),
    "config not UTF-8": _file("config.json", b"\xff\xfe{}"),
    "config nested 100,000 deep": _file(
        "config.json", b'{"model_type": "clip", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    ),
    "config nested 100,000 objects": _file("config.json", b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "config integer of 5,000 digits": _file(
        "config.json", b'{"model_type": "clip", "projection_dim": ' + b"9" * 5000 + b"}"
    ),
    "config a folder": _folder("config.json"),
    "config a FIFO": _fifo("config.json"),
    "config without model_type": lambda m: _file("config.json", b"{}")(m),
    **{
        f"model_type {value!r}": _config(model_type=value)
        for value in ("bert", "siglip", "", 7, None, ["clip"], "evil", "clip_text_model")
    },
    **{
        f"{name} {value!r}": _config(**{name: value})
        for name in (
            "text__hidden_size",
            "vision__hidden_size",
            "projection_dim",
            "text__num_hidden_layers",
            "vision__num_hidden_layers",
            "text__vocab_size",
            "text__intermediate_size",
        )
        for value in (10**9, -1, "many", None, 1.5, [16], 17)
    },
    **{
        f"{name} {value!r}": _config(**{name: value})
        for name in (
            "text__num_attention_heads",
            "vision__num_attention_heads",
            "text__max_position_embeddings",
            "vision__image_size",
            "vision__patch_size",
        )
        for value in (10**9, -1, "many", None, 0)
    },
    **{f"text hidden_act {value!r}": _config(text__hidden_act=value) for value in ("evil", 7, None)},
    **{f"text_config {value!r}": _config(text_config=value) for value in ([], 7, "x")},
    **{f"vision_config {value!r}": _config(vision_config=value) for value in ([], 7, "x")},
    "text eos_token_id 7": _config(text__eos_token_id=7),
    "text eos_token_id a text": _config(text__eos_token_id="end"),
    "torch_dtype evil": _config(torch_dtype="evil", dtype="evil"),
    "hostile code by model_type": _remote_type,
    "tokenizer missing": lambda m: [_file(n, None)(m) for n in ("tokenizer.json", "tokenizer_config.json")],
    "tokenizer not JSON": _file("tokenizer.json", b"{"),
    "tokenizer empty object": _file("tokenizer.json", b"{}"),
    "tokenizer deeply nested": _file("tokenizer.json", b"[" * 100_000 + b"]" * 100_000),
    "tokenizer with more ids than the model": _more_ids,
    "tokenizer_config not JSON": _file("tokenizer_config.json", b"{"),
    "tokenizer_config a list": _file("tokenizer_config.json", b"[]"),
    "processor missing": lambda m: [
        _file(n, None)(m) for n in ("processor_config.json", "preprocessor_config.json") if (m / n).exists()
    ],
    "processor not JSON": _file("processor_config.json", b"{"),
    "processor a list": _file("processor_config.json", b"[]"),
}
MAY_WORK: dict[str, Spoil] = {
    "untouched": lambda model: None,
    "unexpected tensor": _weights(lambda t: t.__setitem__("evil.weight", t[TEXT].clone())),
    "a pickle next to the weights": _pickled_too,
    "hostile code by auto_map": _remote_code,
    "chat template that never ends": _chat_template,
    "float16 text weight": _tensor(TEXT, lambda t: t.half()),
    "integer text weight": _tensor(TEXT, lambda t: t.int()),
    "float64 text weight": _tensor(TEXT, lambda t: t.double()),
    "zero text projection": _tensor("text_projection.weight", lambda t: t * 0),
    "zero visual projection": _tensor("visual_projection.weight", lambda t: t * 0),
    "huge text weight": _tensor(TEXT, lambda t: t * 1e30),
    "logit_scale 1e4": _tensor("logit_scale", lambda t: t * 0 + 1e4),
    "logit_scale -1e4": _tensor("logit_scale", lambda t: t * 0 - 1e4),
    "logit_scale of two numbers": _tensor("logit_scale", lambda t: t.repeat(2)),
    "tokenizer_config of BERT": _json("tokenizer_config.json", tokenizer_class="BertTokenizer"),
    "tokenizer_config of nobody": _json("tokenizer_config.json", tokenizer_class="EvilTokenizer"),
    "tokenizer_config of a path": _json("tokenizer_config.json", tokenizer_class="../../evil.T"),
    "tokenizer class a number": _json("tokenizer_config.json", tokenizer_class=7),
    **{
        f"model_max_length {value!r}": _json("tokenizer_config.json", model_max_length=value)
        for value in (-1, 0, 1, 2, "x", None, 10**30, 3.5)
    },
    "eos_token of nobody": _json("tokenizer_config.json", eos_token="<evil>"),
    "processor class of nobody": _json("processor_config.json", processor_class="EvilProcessor"),
    "image processor of nobody": _json("processor_config.json", image_processor={"image_processor_type": "Evil"}),
    **{
        f"image processor {name} {value!r}": _json(
            "processor_config.json", image_processor={"image_processor_type": "CLIPImageProcessor", name: value}
        )
        for name, value in (
            ("size", 10**6),
            ("size", -1),
            ("size", {"shortest_edge": 10**7}),
            ("size", "x"),
            ("image_std", [0, 0, 0]),
            ("image_mean", "x"),
            ("rescale_factor", 1e308),
            ("crop_size", {"height": 10**6, "width": 10**6}),
            ("resample", 99),
        )
    },
    "logit_scale_init_value a text": _config(logit_scale_init_value="x"),
    "architectures evil": _config(architectures=["EvilModel"]),
    "_name_or_path of a home": _config(_name_or_path="/home/PLANTED-FILE-51423/models"),
    "quantization_config evil": _config(quantization_config={"quant_method": "evil"}),
    "quantization_config bitsandbytes": _config(
        quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True}
    ),
    "text attention implementation evil": _config(attn_implementation="evil", _attn_implementation="evil"),
    "attention from the Hub": _config(_attn_implementation="evil/kernels", attn_implementation="evil/kernels"),
    "text layer_norm_eps NaN": _config(text__layer_norm_eps=float("nan")),
    "text hidden_act relu": _config(text__hidden_act="relu"),
    "text attention_dropout 2": _config(text__attention_dropout=2.0),
    "adapter_config.json of an evil base": _json(
        "adapter_config.json", base_model_name_or_path="evil/base", peft_type="LORA"
    ),
    "generation_config evil": _file("generation_config.json", b"[" * 100_000),
    "readme with a secret": _file("README.md", b"PLANTED"),
}


def cases(args) -> Iterator[Case]:
    """Every spoiled model through training; a part of them through the other commands."""
    for name, spoil in MUST_REFUSE.items():
        yield Case("models", f"train: {name}", _through_train(spoil), refused("spoiled"))
    for name, spoil in MAY_WORK.items():
        yield Case("models", f"train: {name}", _through_train(spoil), either("spoiled", check=_trained_well))
    commands = {"sts": _through_sts, "publish": _through_publish, "interpolate": _through_interpolate}
    for command, through in commands.items():
        for name, spoil in (MUST_REFUSE | MAY_WORK).items():
            if command == "interpolate" and "tokenizer" in name:
                continue
            right = either("spoiled", check=figures_are_finite if command == "sts" else _opens_whole)
            if command == "sts" and name in MUST_REFUSE and "logit_scale" not in name:
                right = refused("spoiled")
            yield Case("models", f"{command}: {name}", through(spoil), right)
    yield Case("models", "train: base is the output", _base_is_output, refused("tiny", "output"))
    yield Case("models", "publish: base is the output", _publish_onto_base, refused("tiny", "output"))
    yield Case("models", "interpolate: base is the output", _interpolate_onto_base, refused("tiny", "output"))
    yield Case("models", "interpolate: two bases", _interpolate_strangers, refused("not of one base"))
    for name in (
        "a-folder-that-is-not-there/x",
        "",
        ".",
        "..",
        "/",
        "\0",
        "x" * 5000,
        "https://127.0.0.1/x",
        "../../etc",
        "org/name/more",
        "file:///etc/passwd",
        "openclip:",
        "openclip:evil/evil",
        "-",
        "\u202eevil",
        "\x1b[31mred",
    ):
        yield Case("models", f"train: name {name[:40]!r}", _train_named(name), refused())
        yield Case("models", f"sts: name {name[:40]!r}", _sts_named(name), refused())


def _through_train(spoil: Spoil):
    def run(box: Box) -> Result:
        spoil(box.copy("tiny", SPOILED))
        box.pairs()
        box.protect("pairs.jsonl", "pictures")
        return box.train("--model_name_or_path", SPOILED)

    return run


def _trained_well(box: Box, result: Result) -> str:
    import torch
    from safetensors.torch import load_file

    before, after = (load_file(Path(folder) / "model.safetensors") for folder in (SPOILED, "out"))
    if before.keys() != after.keys():
        return "other weights than the base's"
    if not all(torch.isfinite(tensor).all() for tensor in after.values() if tensor.is_floating_point()):
        return "weights that are not finite were published"
    if any(name in json.loads(Path("out/config.json").read_text()) for name in ("auto_map", "_name_or_path")):
        return "the configuration was published with auto_map or a path"
    if any(path.suffix in (".py", ".bin") for path in Path("out").rglob("*") if "checkpoint" not in str(path)):
        return "code or a pickle was published"
    return ""


def _through_sts(spoil: Spoil):
    def run(box: Box) -> Result:
        spoil(box.copy("tiny", SPOILED))
        box.copy("data")
        box.protect("data")
        return box.evaluate("--models", SPOILED, "--tasks", "sts,image_text_retrieval", "--output", "results.json")

    return run


def _through_publish(spoil: Spoil):
    """A good checkpoint onto a spoiled base."""

    def run(box: Box) -> Result:
        checkpoint = box.copy("trained") / "checkpoint-4"
        spoil(box.copy("tiny", SPOILED))
        box.protect("trained")
        return box.model("publish", checkpoint, "--base", SPOILED, "--output", "out")

    return run


def _through_interpolate(spoil: Spoil):
    def run(box: Box) -> Result:
        spoil(box.copy("trained", SPOILED))
        return box.model("interpolate", box.fixtures / "tiny", SPOILED, "--alpha", 0.5, "--output", "out")

    return run


def _opens_whole(box: Box, result: Result) -> str:
    """What was published opens with all its weights, and all of them are finite."""
    import torch
    from transformers import CLIPModel

    model, info = CLIPModel.from_pretrained("out", output_loading_info=True)
    if info["missing_keys"] or info["mismatched_keys"]:
        return f"published without {sorted(info['missing_keys'])[:3]}{sorted(info['mismatched_keys'])[:3]}"
    bad = [name for name, tensor in model.state_dict().items() if not torch.isfinite(tensor).all()]
    return f"published with weights that are not finite: {bad}" if bad else ""


def _base_is_output(box: Box) -> Result:
    box.copy("tiny")
    box.pairs()
    box.protect("tiny")
    return box.train("--model_name_or_path", "tiny", "--output_dir", "tiny", "--overwrite_output_dir")


def _publish_onto_base(box: Box) -> Result:
    box.copy("tiny")
    box.protect("tiny")
    return box.model("publish", box.fixtures / "trained" / "checkpoint-4", "--base", "tiny", "--output", "tiny")


def _interpolate_onto_base(box: Box) -> Result:
    box.copy("tiny")
    box.protect("tiny")
    return box.model("interpolate", "tiny", box.fixtures / "trained", "--alpha", 0.5, "--output", "./tiny/")


def _interpolate_strangers(box: Box) -> Result:
    return box.model("interpolate", box.fixtures / "tiny", box.fixtures / "other", "--alpha", 0.5, "--output", "out")


def _train_named(name: str):
    def run(box: Box) -> Result:
        box.pairs()
        return box.train("--model_name_or_path", name)

    return run


def _sts_named(name: str):
    def run(box: Box) -> Result:
        box.copy("data")
        return box.evaluate("--models", name, "--tasks", "sts")

    return run
