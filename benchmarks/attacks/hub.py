"""The Hub, as a double on loopback, at its worst: refusals, faults, silence; and what is uploaded."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .box import SECRET_TOKEN, SECRETS, Box, Case, Result, refused, use_hub, works
from .folders import plant
from .texts import card_problem

ALLOWED = {
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "README.md",
    "results.json",
    ".gitattributes",
    # for sentence-transformers and older readers
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
}
SILENT = 900  # seconds: the Hub's own client tries a read that is never answered for six minutes
STEPS = {
    "the name": "whoami",
    "the creation": "repos/create",
    "the check of the card": "validate-yaml",
    "the plan": "preupload",
    "the batch": "objects/batch",
    "the weights": "/lfs/",
    "the commit": "/commit/",
}


class Trouble:
    """What goes wrong: requests whose address holds `where` get `answer`, from the `after`-th on."""

    def __init__(self, where: str, answer: Callable | int | str, after: int = 0, times: int = 10**9):
        self.where, self.answer, self.after, self.times = where, answer, after, times
        self.seen = 0


def hub_of(box: Box, *troubles: Trouble):
    """A `HubDouble` with troubles, taken for the Hub by this process."""
    from tests import hub_double

    sleep = time.sleep
    time.sleep = lambda seconds: sleep(min(seconds, 0.05))  # the client waits longer and longer between its attempts

    class Troubled(hub_double._Handler):
        def handle_any(self):
            for trouble in troubles:
                if trouble.where in self.path:
                    trouble.seen += 1
                    if trouble.after < trouble.seen <= trouble.after + trouble.times:
                        self.rfile.read(int(self.headers.get("Content-Length") or 0))
                        return _say(self, trouble.answer)
            return super().handle_any()

        do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815 (names of http.server)

        def do_DELETE(self):  # noqa: N802
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
            self.hub.repos.pop(f"{body.get('organization') or 'tester'}/{body['name']}", None)
            self.send({})

    class Hub(hub_double.HubDouble):
        def __enter__(self):
            plain, hub_double._Handler = hub_double._Handler, Troubled
            try:
                return super().__enter__()
            finally:
                hub_double._Handler = plain

    box.hub = Hub()
    box.hub.token = SECRET_TOKEN
    return box.hub


def _say(handler, answer) -> None:
    if answer == "hang":
        threading.Event().wait()
    elif answer == "close":
        handler.close_connection = True
        handler.connection.close()
    elif answer == "html":
        handler.send(b"<html>\x1b]0;evil\x07</html>", 502, Content_Type="text/html")
    elif answer == "nonsense":
        handler.send(b"\x00\xff{", 200)
    elif answer == "wrong":
        handler.send({"evil": 1}, 200)
    elif answer == "nested":
        handler.send(b"[" * 100_000, 200)
    elif answer == "hostile":
        handler.send({"error": "\x1b]0;evil\x07\u202e " + (handler.headers.get("Authorization") or "")}, 400)
    else:
        handler.send({"error": "no"}, answer)


def _push_model(*troubles: Trouble, prepare: Callable[[], object] = lambda: None, arguments: tuple = ()):
    def run(box: Box) -> Result:
        import huggingface_hub.constants as constants

        box.pairs()
        prepare()
        if Path("user").exists():
            box.protect("user")
        constants.HF_HUB_ETAG_TIMEOUT = constants.HF_HUB_DOWNLOAD_TIMEOUT = constants.DEFAULT_REQUEST_TIMEOUT = 3
        with hub_of(box, *troubles) as hub:
            use_hub(hub.url)
            return box.train("--push_to_hub", "--hub_token", SECRET_TOKEN, "--output_dir", "user/pushed", *arguments)

    return run


def _push_corpus(*troubles: Trouble, more: tuple = ()):
    def run(box: Box) -> Result:
        import huggingface_hub.constants as constants

        constants.HF_HUB_ETAG_TIMEOUT = constants.HF_HUB_DOWNLOAD_TIMEOUT = constants.DEFAULT_REQUEST_TIMEOUT = 3
        with hub_of(box, *troubles) as hub:
            use_hub(hub.url)
            return box.corpus("publish", box.fixtures / "corpus", "tester/corpus", "--license", "mit", *more)

    return run


def _nothing_half(box: Box, result: Result) -> str:
    """Refused with a sentence: nothing public and no half of a model, at most a private, empty place. Or whole."""
    repos = box.hub.repos
    if result.status == 0:
        return _whole(box, result)
    if problem := refused()(box, result):
        return problem
    half = {name: sorted(files) for name, files in repos.items() if name not in box.hub.private or _is_half(files)}
    return f"left on the Hub: {half}" if half else ""


def _is_half(files: dict[str, bytes]) -> bool:
    """Whether there is more than the stub of a data set that is being sent."""
    return bool(set(files) - {".gitattributes", "README.md"})


def _whole(box: Box, result: Result) -> str:
    """Every repository has a card that parses, only what is allowed, and no secret."""
    if not box.hub.repos:
        return "nothing was pushed"
    for name, files in box.hub.repos.items():
        if any(secret in data for data in files.values() for secret in SECRETS):
            return f"a secret is in {name}"
        Path("pushed-card.md").write_bytes(files.get("README.md", b""))
        if problem := card_problem("pushed-card.md"):
            return problem
        allowed = ALLOWED if "config.json" in files else {"README.md", ".gitattributes"}
        foreign = [p for p in files if p not in allowed and not p.endswith(".parquet")]
        if foreign:
            return f"uploaded: {foreign}"
        if (
            "model.safetensors" in files
            and files["model.safetensors"] != Path("user/pushed/model.safetensors").read_bytes()
        ):
            return "other weights were uploaded"
    return ""


def _planted() -> None:
    plant("user/pushed")
    plant(
        "user/pushed",
        {
            "out.txt": "PLANTED-FILE-51423",
            ".git/config": "PLANTED-FILE-51423",
            ".cache/x": "PLANTED-FILE-51423",
            "results.json.bak": "PLANTED-FILE-51423",
            "MODEL.SAFETENSORS": "PLANTED-FILE-51423",
            "tokenizer.json.orig": "PLANTED-FILE-51423",
            "*.json": "PLANTED-FILE-51423",
            "sub/config.json": "PLANTED-FILE-51423",
        },
    )


def _planted_links() -> None:
    plant("user/private", {"id_rsa": "PLANTED-FILE-51423"})
    Path("user/pushed").mkdir(exist_ok=True)
    for name in ("vocab.txt", "merges.txt", "added_tokens.json", "special_tokens_map.json", "vocab.json"):
        (Path("user/pushed") / name).symlink_to(Path("user/private/id_rsa").resolve())


def _read_model(
    *troubles: Trouble,
    revision: str = "main",
    files: Callable[[Box], dict[str, bytes]] | None = None,
    more: tuple = (),
):
    """Fine-tune a model that is on the Hub."""

    def run(box: Box) -> Result:
        import huggingface_hub.constants as constants

        constants.HF_HUB_ETAG_TIMEOUT = constants.HF_HUB_DOWNLOAD_TIMEOUT = constants.DEFAULT_REQUEST_TIMEOUT = 3
        os.environ["HF_HUB_CACHE"] = constants.HF_HUB_CACHE = str(Path("hubcache").resolve())
        box.pairs()
        with hub_of(box, *troubles) as hub:
            hub.repos["org/clip"] = {p.name: p.read_bytes() for p in (box.fixtures / "tiny").iterdir()} | (
                files(box) if files else {}
            )
            use_hub(hub.url)
            return box.train("--model_name_or_path", "org/clip", "--model_revision", revision, *more)

    return run


def _read_data(files: dict[str, bytes], *troubles: Trouble):
    def run(box: Box) -> Result:
        import huggingface_hub.constants as constants

        constants.HF_HUB_ETAG_TIMEOUT = constants.HF_HUB_DOWNLOAD_TIMEOUT = constants.DEFAULT_REQUEST_TIMEOUT = 3
        constants.HF_HUB_CACHE = str(Path("hubcache").resolve())
        box.pairs()
        with hub_of(box, *troubles) as hub:
            hub.repos["org/data"] = files
            use_hub(hub.url)
            arguments = box.train_arguments()
            at = arguments.index("--train_file")
            return box.train_bare(*arguments[:at], "--dataset_name", "org/data", *arguments[at + 2 :])

    return run


def _model_or_refusal(box: Box, result: Result) -> str:
    from .box import either, model_is_whole

    return either(check=model_is_whole)(box, result)


def cases(args) -> Iterator[Case]:
    """Every step of an upload crossed with every fault; what is uploaded; what is read."""
    answers: tuple = (
        400,
        401,
        403,
        404,
        409,
        413,
        429,
        500,
        503,
        "close",
        "html",
        "nonsense",
        "wrong",
        "nested",
        "hostile",
        "hang",
    )
    for step, where in STEPS.items():
        for answer in answers:
            if answer == "hang" and where not in ("whoami", "repos/create", "/commit/"):
                continue  # each takes minutes
            slow = 240 if answer in ("hang", 429, 500, 503, "close") else 90
            yield Case(
                "hub", f"push: {answer} at {step}", _push_model(Trouble(where, answer)), _nothing_half, deadline=slow
            )
            if where not in ("whoami",):
                yield Case(
                    "hub",
                    f"publish a corpus: {answer} at {step}",
                    _push_corpus(Trouble(where, answer)),
                    _nothing_half,
                    deadline=slow,
                )
    for step, where in STEPS.items():
        yield Case(
            "hub", f"push: one 500 at {step}", _push_model(Trouble(where, 500, times=1)), _nothing_half, deadline=120
        )
    yield Case("hub", "push: good", _push_model(), works(_whole))
    yield Case("hub", "push: into planted files", _push_model(prepare=_planted), works(_whole))
    yield Case("hub", "push: into planted links", _push_model(prepare=_planted_links), _nothing_half)
    yield Case(
        "hub",
        "push: planted, LoRA",
        _push_model(prepare=_planted, arguments=("--use_lora",)),
        works(_whole_with_adapter),
    )
    yield Case(
        "hub",
        "push: planted, measured",
        _push_model(prepare=_planted, arguments=("--validation_split_percentage", "40")),
        works(_whole),
    )
    yield Case(
        "hub",
        "push: planted, checkpoints",
        _push_model(prepare=_planted, arguments=("--save_steps", "1")),
        works(_whole),
    )
    for name in (
        "you/x y",
        "../x",
        "a/b/c",
        "x" * 200,
        "evil\x1b]0;x\x07",
        "-x",
        "x.git",
        "{{7*191}}",
        "tester/",
        "/x",
        "\u202ex",
        "tester/x--y",
        ".",
    ):
        yield Case("hub", f"push: to {name[:20]!r}", _push_model(arguments=(f"--hub_model_id={name}",)), _nothing_half)
    for arguments in (
        ("--hub_private_repo", "True"),
        ("--hub_revision", "evil"),
        ("--hub_revision", "\x1b]0;x\x07"),
        ("--publish_pictures",),
    ):
        yield Case("hub", f"push: {' '.join(arguments)!r}", _push_model(arguments=arguments), _pushed_some)
    yield Case("hub", "publish a corpus: good", _push_corpus(), works(_whole))
    for more in (
        ("--config_name", "../x"),
        ("--config_name", "a/b"),
        ("--config_name", "{{7*191}}"),
        ("--config_name", ""),
        ("--config_name", "x" * 300),
        ("--config_name", "a: ["),
        ("--config_name", "*"),
        ("--license", "a: [\nevil: 1"),
        ("--license", "{{7*191}}"),
        ("--private",),
        ("--validation_percentage", "100"),
        ("--validation_percentage", "0"),
    ):
        yield Case("hub", f"publish a corpus: {' '.join(more)[:40]!r}", _push_corpus(more=more), _nothing_half)

    for answer in answers:
        slow = SILENT if answer == "hang" else 240 if answer in (429, 500, 503, "close") else 90
        yield Case(
            "hub",
            f"read a model: {answer} everywhere",
            _read_model(Trouble("org/clip", answer)),
            _model_or_refusal,
            deadline=slow,
        )
        yield Case(
            "hub",
            f"read a model: {answer} at the weights",
            _read_model(Trouble("model.safetensors", answer)),
            _model_or_refusal,
            deadline=slow,
        )
        yield Case(
            "hub",
            f"read a model: {answer} at the tokenizer",
            _read_model(Trouble("tokenizer.json", answer)),
            _model_or_refusal,
            deadline=slow,
        )
    for revision in ("main", "0" * 40, "../../evil", "", "\x1b]0;x\x07", "refs/pr/1", "a b", "x" * 5000):
        yield Case(
            "hub", f"read a model: revision {revision[:12]!r}", _read_model(revision=revision), _model_or_refusal
        )
    yield Case("hub", "read a model: moved while reading", _moved, _of_one_commit)
    yield Case("hub", "read a model: with remote code", _read_model(files=_remote_files), _model_or_refusal)
    yield Case("hub", "read a model: pickle only", _read_model(files=_pickle_files), _model_or_refusal)
    row = (
        json.dumps(
            {"image_id": "train-000000.png", "caption": "a dog", "paraphrase_1": "a hound", "paraphrase_2": "one dog"}
        ).encode()
        + b"\n"
    )
    sets = {
        "good": {"train.jsonl": row * 4},
        "a script": {"data.py": b"open('PWNED', 'w')\n"},
        "a script and data": {"data.py": b"open('PWNED', 'w')\n", "train.jsonl": row * 4},
        "nothing": {},
        "broken": {"train.jsonl": b"{"},
        "other columns": {"train.jsonl": b'{"a": 1}\n'},
        "files elsewhere": {
            "README.md": b"---\nconfigs:\n- config_name: default\n  data_files: http://127.0.0.1:9/x.jsonl\n---\n",
            "train.jsonl": row,
        },
        "a path out": {
            "README.md": b"---\nconfigs:\n- config_name: default\n  data_files: ../../../../../etc/passwd\n---\n",
            "train.jsonl": row,
        },
        "a broken card": {"README.md": b"---\n: [\n---\n", "train.jsonl": row * 4},
    }
    for name, files in sets.items():
        yield Case("hub", f"read a data set: {name}", _read_data(files), _model_or_refusal)
    for answer in answers:
        slow = SILENT if answer == "hang" else 240 if answer in (429, 500, 503, "close") else 90
        yield Case(
            "hub",
            f"read a data set: {answer}",
            _read_data({"train.jsonl": row * 4}, Trouble("org/data", answer)),
            _model_or_refusal,
            deadline=slow,
        )


def _whole_with_adapter(box: Box, result: Result) -> str:
    for files in box.hub.repos.values():
        for name in ("adapter/adapter_config.json", "adapter/adapter_model.safetensors", "adapter/README.md"):
            if name not in files:
                return f"{name} was not uploaded"
            del files[name]
    return _whole(box, result)


def _pushed_some(box: Box, result: Result) -> str:
    for files in box.hub.repos.values():
        files.pop("rankings.png", None)
    return _nothing_half(box, result)


def _remote_files(box: Box) -> dict[str, bytes]:
    from .models import _remote_code

    folder = box.copy("tiny", "remote")
    _remote_code(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _pickle_files(box: Box) -> dict[str, bytes]:
    return {
        "model.safetensors": b"cos\nsystem\n(S'touch PWNED'\ntR.",
        "pytorch_model.bin": b"cos\nsystem\n(S'touch PWNED'\ntR.",
    }


def _moved(box: Box) -> Result:
    """The branch moves after the configuration was read: what is published must be of one commit."""
    import huggingface_hub.constants as constants

    constants.HF_HUB_CACHE = str(Path("hubcache").resolve())
    box.pairs()
    with hub_of(box) as hub:
        hub.repos["org/clip"] = {p.name: p.read_bytes() for p in (box.fixtures / "tiny").iterdir()}
        use_hub(hub.url)
        resolve = type(hub).sha
        seen = [0]

        def sha(self, repo: str) -> str:
            seen[0] += 1
            if seen[0] == 6:
                self.repos["org/clip"] = {p.name: p.read_bytes() for p in (box.fixtures / "other").iterdir()}
            return resolve(self, repo)

        type(hub).sha = sha
        return box.train("--model_name_or_path", "org/clip")


def _of_one_commit(box: Box, result: Result) -> str:
    from .box import model_is_whole

    if result.status:
        return refused()(box, result)
    return model_is_whole(box, result, base="tiny") and model_is_whole(box, result, base="other")
