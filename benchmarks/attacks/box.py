"""What every attack uses: a case, the folder that it runs in, and what counts as right.

A case runs in a child process. `Box` gives it an empty folder and the four commands, as functions that return what a
user would see. `refused(...)` and `works(...)` make the predicates that say whether that was right.
"""

from __future__ import annotations

import ctypes
import hashlib
import http.server
import json
import math
import os
import re
import shutil
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

SECRET_KEY, SECRET_TOKEN = "sk-PLANTED-KEY-51423", "hf_PLANTEDTOKEN51423"
SECRETS = (SECRET_KEY.encode(), SECRET_TOKEN.encode(), b"PLANTED-FILE-51423")
CANARY = "PWNED"  # what hostile code would write, in the current folder
# a terminal obeys these: ESC (but for colours, and the cursor movement of nested progress bars), BEL, BS, CSI, bidi
OBEYED = re.compile(rb"\x1b(?!\[A|\[[\d;]*m)|\x07|\x08|\xc2\x9b|\xe2\x80[\xaa-\xae]|\xe2\x81[\xa6-\xa9]")
LONGEST_MESSAGE = 1500
NOT_ALL = 3  # of a job of paraphrases: it ended, but rows failed or none could be made
TINY = [
    *("--validation_split_percentage", "0", "--image_cache_dir", "cache", "--output_dir", "out", "--use_cpu"),
    *("--max_steps=2", "--per_device_train_batch_size=4", "--learning_rate=1e-3", "--disable_tqdm=True"),
]


class Skip(Exception):  # noqa: N818 (an outcome)
    """This machine cannot run a case; the message says why."""


@dataclass
class Result:
    """What a user sees of one command."""

    status: int
    out: str
    err: str
    uncaught: str = ""
    message: str = ""  # what sys.exit was given, or the last line of argparse
    rows_may_fail: bool = False  # of a job of paraphrases

    @property
    def ended(self) -> bool:
        """Whether the command did its work: exit status 0, or `NOT_ALL` of a job of paraphrases."""
        return self.status == 0 or (self.rows_may_fail and self.status == NOT_ALL)


@dataclass(frozen=True)
class Case:
    """One attack.

    Args:
        kind, name: together they are unique.
        run: does it. Returns the result to judge, or a dict of counts (`tried`, `handled`, `traceback`, `wrong`,
            `problems`) where one case is many attacks.
        right: (box, result) -> "" or what is wrong.
        deadline: seconds after which it hangs.
    """

    kind: str
    name: str
    run: Callable[[Box], Result | dict]
    right: Callable[[Box, Result], str] = lambda box, result: ""
    deadline: float = 60.0


@dataclass
class Box:
    """The folder of one case, which is the current one, and what can be done in it."""

    folder: Path
    fixtures: Path  # shared: never written to
    seed: int = 0
    kills: int = 0
    mounts: list[str] = field(default_factory=list)
    _planted: dict[str, str] = field(default_factory=dict)
    _calls: int = 0

    # ------------------------------------------------------------------------------------------------- commands
    def call(self, main: Callable[[list[str]], object], *argv: object) -> Result:
        """Run a command as its console script does; stdout and stderr of this process are files by now."""
        starts = [_size(1), _size(2)]
        status, uncaught, message = 0, "", ""
        try:
            main([str(argument) for argument in argv])
        except SystemExit as stop:
            if isinstance(stop.code, str):
                status, message = 1, stop.code
                print(stop.code, file=sys.stderr)
            else:
                status = int(stop.code or 0)
        except BaseException:  # what a user would see as a traceback
            status, uncaught = 1, traceback.format_exc()
            sys.stderr.write(uncaught)
        sys.stdout.flush()
        sys.stderr.flush()
        out, err = (_read(self.folder.parent / f"{self.folder.name}.{n}", s) for n, s in zip(("out", "err"), starts))
        if status and not message:
            lines = [line for line in err.splitlines() if line.strip()]
            message = lines[-1] if lines else ""
        return Result(status, out, err, uncaught, message)

    def train(self, *more: object) -> Result:
        """`train.py` on the tiny model and pairs, unless `more` says otherwise."""
        import train

        return self.call(train.main, *self.train_arguments(*more))

    def train_arguments(self, *more: object) -> list[str]:
        """See `train`."""
        given = ["--model_name_or_path", self.fixtures / "tiny", "--train_file", "pairs.jsonl", *TINY]
        if Path("pictures").exists():
            given += ["--image_dir", "pictures"]
        return [str(value) for value in (*given, *more)]

    def train_bare(self, *argv: object) -> Result:
        """`train.py` with exactly these arguments."""
        import train

        return self.call(train.main, *argv)

    def corpus(self, *argv: object) -> Result:
        """`python -m dataset_builder`."""
        from dataset_builder.__main__ import main

        result = self.call(main, *argv)
        result.rows_may_fail = argv[:1] == ("paraphrase",)
        return result

    def evaluate(self, *more: object) -> Result:
        """`python -m eval` of the tiny model on the folder `data`, unless `more` says otherwise."""
        from eval.__main__ import main

        given = ["--models", self.fixtures / "tiny", "--data", "data", "--cache_dir", "cache"]
        return self.call(main, *given, *more)

    def evaluate_bare(self, *argv: object) -> Result:
        """`python -m eval` with exactly these arguments."""
        from eval.__main__ import main

        return self.call(main, *argv)

    def model(self, *argv: object) -> Result:
        """`python -m modeling_paraclip`."""
        from modeling_paraclip.__main__ import main

        return self.call(main, *argv)

    # ---------------------------------------------------------------------------------------------------- files
    def pairs(self, rows: list | None = None, pictures: bool = True) -> Path:
        """Write `pairs.jsonl` (12 rows, unless given) and `pictures/`."""
        if pictures:
            shutil.copytree(self.fixtures / "pairs" / "pictures", "pictures")
        file = Path("pairs.jsonl")
        if rows is None:
            shutil.copyfile(self.fixtures / "pairs" / "pairs.jsonl", file)
        else:
            write_jsonl(file, rows)
        return file

    def rows(self) -> list[dict]:
        """The rows of the tiny pairs."""
        return [json.loads(line) for line in (self.fixtures / "pairs" / "pairs.jsonl").read_text().splitlines()]

    def copy(self, name: str, to: str | None = None) -> Path:
        """A copy of a fixture: `tiny`, `other`, `trained`, `corpus`, `data`, `pairs`."""
        Path(to or name).parent.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copytree(self.fixtures / name, to or name))

    def protect(self, *paths: str | Path) -> None:
        """These files and folders are the user's: nothing may change them."""
        for path in paths:
            self._planted |= hashes(Path(path))

    def changed(self) -> list[str]:
        """Which protected files are gone or differ."""
        return [name for name, digest in self._planted.items() if hash_of(Path(name)) != digest]


def _size(fd: int) -> int:
    (sys.stdout if fd == 1 else sys.stderr).flush()
    return os.fstat(fd).st_size


def _read(path: Path, start: int) -> str:
    with open(path, "rb") as file:
        file.seek(start)
        return file.read().decode(errors="replace")


def hash_of(path: Path) -> str:
    """Of a file's bytes, a link's target, or that it is not there."""
    if path.is_symlink():
        return f"link {os.readlink(path)}"
    if path.is_dir():
        return "folder"
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        return type(error).__name__


def hashes(path: Path) -> dict[str, str]:
    """Path -> hash, of a file or of everything in a folder."""
    path = Path(os.path.abspath(path))
    inside = path.rglob("*") if path.is_dir() and not path.is_symlink() else ()
    return {str(p): hash_of(p) for p in (path, *inside)}


def write_jsonl(file: str | Path, rows: list) -> None:
    """One JSON value per line."""
    Path(file).write_text("".join(json.dumps(row) + "\n" for row in rows))


# ----------------------------------------------------------------------------------------------------- predicates
def unclear(result: Result, *names: str) -> str:
    """ "" where a refusal is one clear message with all these names in it, else what it lacks."""
    if result.status == 0:
        return "exit status 0 where it had to be refused"
    shown = re.sub(
        r"(.{1,8}?)\1{20,}", r"\1", result.message
    )  # a name of 5,000 letters that the user gave is no fault
    if not 10 <= len(shown) <= LONGEST_MESSAGE:
        return f"a message of {len(result.message)} characters: {result.message[:300]!r}"
    missing = [name for name in names if name.lower() not in result.message.lower()]
    return f"the message does not name {missing}: {result.message[:400]!r}" if missing else ""


def refused(*names: str) -> Callable[[Box, Result], str]:
    """Right is: a clear message that names all of `names`, and no model in `out`."""

    def right(box: Box, result: Result) -> str:
        problem = unclear(result, *names)
        opens = Path("out/config.json").exists() and str(Path("out/config.json").resolve()) not in box._planted
        return problem or ("a model was left in out" if opens else "")

    return right


def works(check: Callable[[Box, Result], str] = lambda box, result: "") -> Callable[[Box, Result], str]:
    """Right is: the command `ended`, and `check`."""

    def right(box: Box, result: Result) -> str:
        return check(box, result) if result.ended else f"status {result.status}: {result.message[:400]}"

    return right


def either(*names: str, check: Callable[[Box, Result], str] = lambda box, result: "") -> Callable[[Box, Result], str]:
    """Right is `refused` or `works`."""

    def right(box: Box, result: Result) -> str:
        return check(box, result) if result.ended else refused(*names)(box, result)

    return right


def figures_are_finite(box: Box, result: Result) -> str:
    """All figures of `results.json`, but a correlation may be undefined (null): where all vectors are equal, it is."""
    entries = json.loads(Path("results.json").read_text())
    figures = [
        value
        for entry in entries
        for value in (entry["value"], *entry["ci95"])
        if value is not None or "spearman" not in entry["metric"]
    ]
    are_finite = all(value is not None and math.isfinite(value) for value in figures)
    return "" if entries and are_finite else f"figures {figures}"


def model_is_whole(box: Box, result: Result, folder: str = "out", base: str = "tiny") -> str:
    """The published model: all weights finite, the frozen ones those of the base, only the text tower moved."""
    import torch
    from safetensors.torch import load_file

    before = load_file(box.fixtures / base / "model.safetensors")
    after = load_file(Path(folder) / "model.safetensors")
    if before.keys() != after.keys():
        return "other weights than the base's"
    if not all(torch.isfinite(tensor).all() for tensor in after.values()):
        return "weights that are not finite were published"
    frozen = [name for name in before if not name.startswith(("text_model.", "text_projection."))]
    if not all(torch.equal(before[name], after[name]) for name in frozen):
        return "frozen weights differ from the base's"
    return ""


# ------------------------------------------------------------------------------------------------------- loopback
class Listener:
    """`with Listener() as listener:` counts what asks at `listener.url`; answers 404 unless told otherwise."""

    def __init__(self, status: int = 404, body: bytes = b"", headers: dict[str, str] | None = None):
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []
        listener = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def any(self):
                listener.requests.append(f"{self.command} {self.path}")
                listener.headers.append(dict(self.headers))
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_HEAD = do_POST = do_PUT = any  # noqa: N815 (names of http.server)

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def raw_server(talk: Callable[[socket.socket, bytes], None]) -> Iterator[str]:
    """A server that reads one request and then says what `talk` says, byte for byte. Yields its address."""
    server = socket.create_server(("127.0.0.1", 0), backlog=64)

    def one(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            talk(connection, connection.recv(2**16))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=one, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    finally:
        server.close()


def use_hub(url: str) -> None:
    """Take `url` for the Hub in this process, which was started offline."""
    import datasets
    import huggingface_hub.constants as constants

    constants.HF_HUB_OFFLINE = False
    constants.ENDPOINT = url
    constants.HUGGINGFACE_CO_URL_TEMPLATE = url + "/{repo_id}/resolve/{revision}/{filename}"
    datasets.config.HF_ENDPOINT = url
    datasets.config.HUB_DATASETS_URL = url + "/datasets/{repo_id}/resolve/{revision}/{path}"
    datasets.config.HF_HUB_OFFLINE = datasets.config.HF_DATASETS_OFFLINE = False


def obey_permissions() -> None:
    """Make root obey file permissions in this process, by giving up two capabilities. Other users do so anyway."""
    if os.geteuid():
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice 32 bits
    if libc.capget(header, sets):
        raise Skip("root ignores permissions here")
    for i in (0, 1):
        sets[i] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    if libc.capset(header, sets):
        raise Skip("root ignores permissions here")


def forked(work: Callable[[], object]) -> int:
    """Run `work` in a child of its own process group; returns the child's id. Exit status 0, or 1 with a traceback."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setpgid(0, 0)
        work()
        status = 0
    except SystemExit as stop:
        status = 0 if not stop.code else 2
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def reap(pid: int) -> int:
    """Wait for a child of `forked` and end what it left behind. Returns its status, negative for a signal."""
    _, status = os.waitpid(pid, 0)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(status)
