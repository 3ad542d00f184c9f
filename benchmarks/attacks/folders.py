"""Output folders that hold something already, or cannot be written: nothing of the user's may change."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from .box import Box, Case, Result, Skip, either, forked, model_is_whole, obey_permissions, reap, refused, works

FOREIGN = {
    ".env": "SECRET=PLANTED-FILE-51423\n",
    "weights.pkl": "PLANTED-FILE-51423",
    "notes.md": "PLANTED-FILE-51423",
    "training_args.bin": "PLANTED-FILE-51423",
    "pytorch_model.bin": "PLANTED-FILE-51423",
    "photo.jpg": "PLANTED-FILE-51423",
    "sub/private.txt": "PLANTED-FILE-51423",
    "checkpoint-best/model.safetensors": "PLANTED-FILE-51423",
    "checkpoint-final/x": "PLANTED-FILE-51423",
    "checkpoint/trained.safetensors": "PLANTED-FILE-51423",
    "adapter/private.key": "PLANTED-FILE-51423",
    "evil.safetensors": "PLANTED-FILE-51423",
    "vocab_private.json": "PLANTED-FILE-51423",
}


def plant(folder: str | Path, names: dict[str, str] | None = None) -> None:
    """Write a user's files, all beneath a folder of that name so that the runner's search for secrets skips them."""
    for name, content in (names or FOREIGN).items():
        file = Path(folder) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)


def _in_out(prepare: Callable[[Box], None], *arguments: str, overwrite: bool = False):
    """Train into `user/out`, which `prepare` filled; what is in it is the user's, but for what a run owns."""

    def run(box: Box) -> Result:
        box.pairs()
        Path("user").mkdir()
        prepare(box)
        if not overwrite:
            box.protect("user")
        return box.train("--output_dir", "user/out", *arguments)

    return run


def _earlier(box: Box) -> None:
    box.copy("trained", "user/out")


def _earlier_with_foreign(box: Box) -> None:
    _earlier(box)
    plant("user/out")
    box.protect(*(f"user/out/{name}" for name in FOREIGN))


def _checkpoint_only(box: Box) -> None:
    shutil.copytree(box.fixtures / "trained" / "checkpoint-2", "user/out/checkpoint-2")


def _half_deleted(name: str):
    def prepare(box: Box) -> None:
        _earlier(box)
        (Path("user/out/checkpoint-4") / name).unlink()

    return prepare


def _cut(name: str):
    def prepare(box: Box) -> None:
        _earlier(box)
        file = Path("user/out/checkpoint-4") / name
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    return prepare


def _same_size(name: str, folder: str = "checkpoint-4"):
    """Damage that the size does not show."""

    def prepare(box: Box) -> None:
        _earlier(box)
        file = Path("user/out") / folder / name
        file.write_bytes(bytes(255 - byte for byte in file.read_bytes()))

    return prepare


def _marker(**changes):
    def prepare(box: Box) -> None:
        _earlier(box)
        for file in Path("user/out").glob("checkpoint-*/complete.json"):
            file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return prepare


def _marker_text(text: str):
    def prepare(box: Box) -> None:
        _earlier(box)
        for file in Path("user/out").glob("checkpoint-*/complete.json"):
            file.write_text(text)

    return prepare


def _foreign_checkpoint(name: str, *files: str):
    def prepare(box: Box) -> None:
        plant("user/out", {f"{name}/{file}": "PLANTED-FILE-51423" for file in files})

    return prepare


def _published_names_of_others(*names: str):
    """A folder that is not a run's, but has files of the names that a run writes."""

    def prepare(box: Box) -> None:
        plant("user/out", dict.fromkeys(names, "PLANTED-FILE-51423"))
        box.protect("user")

    return prepare


def _linked(to: str, prepare: Callable[[Box], None] | None = None):
    def run(box: Box) -> Result:
        box.pairs()
        Path("user").mkdir()
        if prepare:
            prepare(box)
            box.protect("user")
        Path("link").symlink_to(to)
        return box.train("--output_dir", "link")

    return run


def _linked_inside(name: str):
    """An output folder in which a name that a run writes is a link to a file of the user's."""

    def run(box: Box) -> Result:
        box.pairs()
        plant("user", {"mine.txt": "PLANTED-FILE-51423"})
        box.protect("user")
        Path("out").mkdir()
        (Path("out") / name).symlink_to(Path("user/mine.txt").resolve())
        return box.train("--overwrite_output_dir")

    return run


def _linked_folder_inside(name: str):
    def run(box: Box) -> Result:
        box.pairs()
        plant("user/dir", {"mine.txt": "PLANTED-FILE-51423", "config.json": "{}"})
        box.protect("user")
        Path("out").mkdir()
        (Path("out") / name).symlink_to(Path("user/dir").resolve())
        return box.train("--save_steps", 1, *(["--overwrite_output_dir"] if "overwrite" in name else []))

    return run


def _file_as_folder(box: Box) -> Result:
    box.pairs()
    Path("out").write_text("a file of mine")
    box.protect("out")
    return box.train()


def _below_a_file(box: Box) -> Result:
    box.pairs()
    Path("file").write_text("a file of mine")
    box.protect("file")
    return box.train("--output_dir", "file/out")


def _mounted(box: Box, size: str, folder: str = "small", options: str = "") -> None:
    Path(folder).mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}{options}", "tmpfs", folder], capture_output=True, check=False
    )
    if done.returncode:
        raise Skip("a small tmpfs may not be mounted here")
    box.mounts.append(str(Path(folder).resolve()))


def _full(size: str, *arguments: str):
    def run(box: Box) -> Result:
        box.pairs()
        _mounted(box, size)
        return box.train("--output_dir", "small/out", "--save_steps", 1, *arguments)

    return run


def _full_is_told(box: Box, result: Result) -> str:
    left = Path("small/out")
    if result.status == 0:
        return model_is_whole(box, result, "small/out")
    if (left / "config.json").exists() and "the model is" not in result.message:
        return "a model was left in a full folder"
    return refused("small")(box, result)


def _full_cache(box: Box) -> Result:
    box.pairs()
    _mounted(box, "8k")
    return box.train("--image_cache_dir", "small")


def _full_export(box: Box) -> Result:
    box.copy("corpus")
    _mounted(box, "8k")
    return box.corpus("export", "corpus", "--format", "jsonl", "--output", "small/pairs.jsonl")


def _full_journal(box: Box) -> Result:
    _mounted(box, "48k")
    return box.corpus(
        "paraphrase", "--captions", box.fixtures / "captions.txt", "--output", "small/corpus", "--generator", "rules"
    )


def _full_results(box: Box) -> Result:
    box.copy("data")
    _mounted(box, "4k")
    Path("small/filler").write_bytes(b"x" * 4096)
    return box.evaluate("--tasks", "sts", "--output", "small/results.json")


def _full_publish(box: Box) -> Result:
    _mounted(box, "64k")
    return box.model("publish", box.fixtures / "trained" / "checkpoint-4", "--output", "small/out")


def _read_only(run: Callable[[Box], Result]):
    """The folder `ro` on a read-only mount: holds for root too."""

    def wrapped(box: Box) -> Result:
        box.pairs()
        box.copy("data")
        _mounted(box, "1m", "ro")
        subprocess.run(["mount", "-o", "remount,ro", "ro"], check=True)
        return run(box)

    return wrapped


def _permission(run: Callable[[Box], Result]):
    """A folder without write permission, which binds root too here."""

    def wrapped(box: Box) -> Result:
        box.pairs()
        box.copy("data")
        Path("denied").mkdir()
        os.chmod("denied", 0o500)
        obey_permissions()
        return run(box)

    return wrapped


def _two_at_once(box: Box) -> Result:
    """Two runs into one folder: one wins whole, the other is told so or writes the same."""
    box.pairs()

    def work() -> None:
        result = box.train("--output_dir", "out", "--save_steps", 1, "--max_steps", 6)
        Path(f"status-{os.getpid()}").write_text(json.dumps([result.status, result.message, result.uncaught]))

    children = [forked(work) for _ in range(2)]
    for child in children:
        reap(child)
    found = [json.loads(path.read_text()) for path in Path().glob("status-*")]
    uncaught = "".join(entry[2] for entry in found)
    return Result(0 if any(status == 0 for status, *_ in found) else 1, json.dumps(found), "", uncaught, found[0][1])


def _one_won(box: Box, result: Result) -> str:
    if result.status:
        return f"none of the two ended well: {result.out[:600]}"
    return model_is_whole(box, result)


def _two_journals(box: Box) -> Result:
    from dataset_builder.journal import Journal

    journal = Journal(Path("corpus/journal.sqlite"), {"generator": "x"})
    try:
        return box.corpus(
            "paraphrase", "--captions", box.fixtures / "captions.txt", "--output", "corpus", "--generator", "rules"
        )
    finally:
        journal.close()


def _publish_into(prepare: Callable[[Box], None]):
    def run(box: Box) -> Result:
        Path("user").mkdir()
        prepare(box)
        box.protect("user")
        return box.model("publish", box.fixtures / "trained" / "checkpoint-4", "--output", "user/out")

    return run


def _interpolate_into(prepare: Callable[[Box], None]):
    def run(box: Box) -> Result:
        Path("user").mkdir()
        prepare(box)
        box.protect("user")
        return box.model(
            "interpolate", box.fixtures / "tiny", box.fixtures / "trained", "--alpha", 0.5, "--output", "user/out"
        )

    return run


def _whole_in(folder: str):
    return lambda box, result: model_is_whole(box, result, folder)


def _resume(prepare: Callable[[Box], None], *arguments: object):
    def run(box: Box) -> Result:
        box.pairs()
        Path("user").mkdir()
        prepare(box)
        return box.train(
            "--output_dir",
            "user/out",
            "--max_steps",
            4,
            "--save_steps",
            2,
            "--resume_from_checkpoint",
            "last",
            *arguments,
        )

    return run


def _resumed_exactly(box: Box, result: Result) -> str:
    """The bytes of the run that was not disturbed."""
    ours, theirs = (Path(folder) / "model.safetensors" for folder in ("user/out", box.fixtures / "trained"))
    return "" if ours.read_bytes() == theirs.read_bytes() else "other weights than those of the undisturbed run"


def _export_to(path: str, prepare: Callable[[], None] = lambda: None):
    def run(box: Box) -> Result:
        box.copy("corpus")
        prepare()
        return box.corpus("export", "corpus", "--format", "jsonl", "--output", path)

    return run


def _paraphrase_to(path: str, prepare: Callable[[], None] = lambda: None):
    def run(box: Box) -> Result:
        prepare()
        return box.corpus(
            "paraphrase", "--captions", box.fixtures / "captions.txt", "--output", path, "--generator", "rules"
        )

    return run


def _evaluate_to(option: str, path: str, prepare: Callable[[], None] = lambda: None):
    def run(box: Box) -> Result:
        box.copy("data")
        prepare()
        return box.evaluate("--tasks", "sts", option, path)

    return run


def _device() -> None:
    """A device of our own that is always full: a command that replaces files would replace /dev/full too."""
    try:
        os.mknod("full", stat.S_IFCHR | 0o666, os.makedev(1, 7))
    except PermissionError as error:
        raise Skip("only root may make a device") from error


def _device_stays(box: Box, result: Result) -> str:
    return refused("full")(box, result) or (
        "" if Path("full").is_char_device() else "the device was replaced by a file"
    )


def _mkfile(name: str):
    return lambda: Path(name).write_text("mine")


def _mkfolder(name: str):
    return lambda: Path(name).mkdir()


EARLIER = {
    "files of others": (lambda box: plant("user/out"), True),
    "an earlier run": (_earlier, False),
    "an earlier run and files of others": (_earlier_with_foreign, False),
    "a checkpoint only": (_checkpoint_only, False),
    "an index that is no JSON": (_published_names_of_others("model.safetensors.index.json"), False),
    **{
        f"a {name} of others": (_published_names_of_others(name), False)
        for name in (
            "config.json",
            "model.safetensors",
            "README.md",
            "results.json",
            "rankings.png",
            "tokenizer.json",
            "vocab.txt",
            "trainer_state.json",
            "adapter/README.md",
            "not_finite_batch.json",
        )
    },
    "a foreign checkpoint-7": (_foreign_checkpoint("checkpoint-7", "model.safetensors"), False),
    "a foreign checkpoint-best": (_foreign_checkpoint("checkpoint-best", "model.safetensors"), True),
    "an empty checkpoint-7": (lambda box: Path("user/out/checkpoint-7").mkdir(parents=True), False),
    "a file checkpoint-7": (lambda box: plant("user/out", {"checkpoint-7": "mine"}), None),
    "a half-deleted checkpoint": (_half_deleted("trained.safetensors"), False),
    "a marker that is a list": (_marker_text("[]"), False),
    "a marker nested deep": (_marker_text("[" * 100_000), False),
}


def cases(args) -> Iterator[Case]:
    """Folders crossed with the commands that write to them."""
    for name, (prepare, fine) in EARLIER.items():
        right = works(_whole_in("user/out")) if fine else either("user/out", check=_whole_in("user/out"))
        yield Case("folders", f"train into {name}", _in_out(prepare), right if fine else refused("user/out"))
        yield Case("folders", f"publish into {name}", _publish_into(prepare), either(check=_whole_in("user/out")))
        yield Case(
            "folders", f"interpolate into {name}", _interpolate_into(prepare), either(check=_whole_in("user/out"))
        )
        over = prepare
        yield Case(
            "folders",
            f"overwrite {name}",
            _in_out(over, "--overwrite_output_dir", overwrite=True),
            either("user/out", check=_whole_in("user/out")),
        )
    spoiled = {
        **{
            f"checkpoint without {name}": _half_deleted(name)
            for name in (
                "trained.safetensors",
                "optimizer.pt",
                "complete.json",
                "scheduler.pt",
                "rng_state.pth",
                "trainer_state.json",
            )
        },
        **{
            f"checkpoint with half of {name}": _cut(name)
            for name in (
                "trained.safetensors",
                "optimizer.pt",
                "complete.json",
                "scheduler.pt",
                "rng_state.pth",
                "trainer_state.json",
            )
        },
    }
    for name, prepare in spoiled.items():
        yield Case("folders", f"resume: {name}", _resume(prepare), works(_resumed_exactly))
    for name in (
        "trained.safetensors",
        "optimizer.pt",
        "scheduler.pt",
        "rng_state.pth",
        "trainer_state.json",
        "complete.json",
    ):
        yield Case(
            "folders",
            f"resume: every byte of {name} inverted",
            _resume(_same_size(name)),
            either("user/out", check=_resumed_exactly),
        )
        yield Case(
            "folders",
            f"resume: every byte of an older {name} inverted",
            _resume(_same_size(name, "checkpoint-2")),
            either("user/out", check=_resumed_exactly),
        )
    markers = {
        "run null": {"run": None},
        "run a text": {"run": "x"},
        "files a list": {"files": []},
        "files null": {"files": None},
        "files elsewhere": {"files": {"../../../../../../etc/passwd": 1}},
        "max_steps a text": {"max_steps": "x"},
        "seconds a text": {"seconds": "x"},
        "seconds null": {"seconds": None},
        "sizes texts": {"files": {"trained.safetensors": "big"}},
        "global_step huge": {"global_step": 10**30},
        "NUL in a name": {"files": {"a\0b": 1}},
    }
    for name, changes in markers.items():
        yield Case(
            "folders",
            f"resume: marker with {name}",
            _resume(_marker(**changes)),
            either("user/out", check=_whole_in("user/out")),
        )
    others = {
        "another learning rate": ("--learning_rate", "1e-2"),
        "another seed": ("--seed", "7"),
        "another batch size": ("--per_device_train_batch_size", "3"),
        "LoRA": ("--use_lora",),
        "another weight": ("--image_text_weight", "2"),
        "another optimiser": ("--optim", "sgd"),
    }
    for name, more in others.items():
        yield Case("folders", f"resume another run: {name}", _resume(_earlier, *more), refused("another run"))
    for name, more in {
        "a folder that is not there": "nowhere",
        "a file": "pairs.jsonl",
        "empty": "",
        "a folder of others": "pictures",
        "/": "/",
    }.items():
        yield Case(
            "folders", f"resume from {name}", _in_out(lambda box: None, "--resume_from_checkpoint", more), either()
        )
    yield Case("folders", "resume and overwrite", _resume(_earlier, "--overwrite_output_dir"), refused("overwrite"))

    yield Case("folders", "a file as the output", _file_as_folder, refused("out"))
    yield Case("folders", "an output beneath a file", _below_a_file, refused("file/out"))
    yield Case("folders", "a link to an earlier run", _linked("user/out", _earlier), refused("link"))
    yield Case("folders", "a link to an empty folder", _linked("user"), works(_whole_in("link")))
    yield Case("folders", "a dead link", _linked("nowhere"), either("link", check=_whole_in("link")))
    yield Case("folders", "a link to itself", _linked("link"), refused("link"))
    yield Case("folders", "a link to /dev/null", _linked("/dev/null"), refused("link"))
    for name in (
        ".writable",
        ".publishing",
        "README.md",
        "config.json",
        "model.safetensors",
        "results.json",
        "trainer_state.json",
        "checkpoint.saving",
    ):
        yield Case("folders", f"overwrite where {name} links to a user's file", _linked_inside(name), either())
    for name in ("checkpoint-1", "checkpoint-2", ".publishing", "checkpoint.saving", "adapter", "runs"):
        yield Case("folders", f"where {name} links to a user's folder", _linked_folder_inside(name), either())

    for size in ("4k", "40k", "200k", "400k", "700k", "1m"):
        yield Case("folders", f"a full output folder of {size}", _full(size), _full_is_told)
    yield Case("folders", "a full output folder with LoRA", _full("400k", "--use_lora"), _full_is_told)
    for name, run in {
        "a full cache": _full_cache,
        "a full export": _full_export,
        "a full journal": _full_journal,
        "full results": _full_results,
        "a full folder to publish into": _full_publish,
    }.items():
        yield Case("folders", name, run, refused("small"))
    denied = {
        "output": lambda folder: lambda box: box.train("--output_dir", f"{folder}/out"),
        "cache": lambda folder: lambda box: box.train("--image_cache_dir", f"{folder}/cache"),
        "corpus": lambda folder: (
            lambda box: box.corpus(
                "paraphrase",
                "--captions",
                box.fixtures / "captions.txt",
                "--output",
                f"{folder}/c",
                "--generator",
                "rules",
            )
        ),
        "export": lambda folder: (
            lambda box: box.corpus("export", box.fixtures / "corpus", "--output", f"{folder}/x.parquet")
        ),
        "publish": lambda folder: (
            lambda box: box.model("publish", box.fixtures / "trained" / "checkpoint-4", "--output", f"{folder}/m")
        ),
        "results": lambda folder: lambda box: box.evaluate("--tasks", "sts", "--output", f"{folder}/r.json"),
        "plots": lambda folder: lambda box: box.evaluate("--tasks", "sts", "--plots", f"{folder}/plots"),
        "evaluation cache": lambda folder: lambda box: box.evaluate("--tasks", "sts", "--cache_dir", f"{folder}/c"),
    }
    for name, of in denied.items():
        yield Case("folders", f"read-only {name}", _read_only(of("ro")), refused("ro/"))
        yield Case("folders", f"no permission for {name}", _permission(of("denied")), refused("denied/"))

    yield Case("folders", "two runs at once", _two_at_once, _one_won)
    yield Case("folders", "two journals at once", _two_journals, refused("another process"))
    for path, prepare, right in (
        ("x", _mkfolder("x"), refused("x")),
        ("f/x.jsonl", _mkfile("f"), refused("f")),
        (
            "deep/er/x.jsonl",
            lambda: None,
            works(lambda box, result: "" if Path("deep/er/x.jsonl").is_file() else "no file"),
        ),
        ("y" * 300, lambda: None, refused()),
        ("", lambda: None, refused()),
        (".", lambda: None, refused()),
        ("full", _device, _device_stays),
    ):
        yield Case("folders", f"export to {path[:20]!r}", _export_to(path, prepare), right)
    for path, prepare in (
        ("f", _mkfile("f")),
        ("f/c", _mkfile("f")),
        ("y" * 300, lambda: None),
    ):
        yield Case("folders", f"paraphrase to {path[:20]!r}", _paraphrase_to(path, prepare), refused())
    for option in ("--output", "--report", "--plots"):
        for path, prepare in (
            ("f/x", _mkfile("f")),
            ("nowhere/x", lambda: None),
            ("y" * 300, lambda: None),
            ("", lambda: None),
            ("full", _device),
        ):
            yield Case(
                "folders",
                f"eval {option} {path[:20]!r}",
                _evaluate_to(option, path, prepare),
                either() if path in ("", "nowhere/x") else _device_stays if path == "full" else refused(),
            )
