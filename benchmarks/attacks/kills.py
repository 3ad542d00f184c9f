"""SIGKILL at seeded moments, then the same command again: never a mixture, and in the end what an undisturbed run
has.

Half of the moments are times, spread over the whole life of the job. The other half are places: the child counts what
it does to files (opens for writing, renames, removals, ...) and kills itself before the n-th, so each rename is hit.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from .box import SECRET_TOKEN, Box, Case, forked, reap, use_hub

TOUCHES = {
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "shutil.rmtree",
    "shutil.copyfile",
    "os.truncate",
    "sqlite3.connect",
    "os.link",
    "os.symlink",
}


def touching(then: Callable[[int], None]) -> None:
    """Call `then(n)` before this process touches files or sockets for the n-th time."""
    counted = [0]

    def hook(event: str, arguments: tuple) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in TOUCHES or writes:
            counted[0] += 1
            then(counted[0])

    sys.addaudithook(hook)
    for name in ("send", "sendall", "recv", "recv_into"):  # an upload touches sockets
        setattr(socket.socket, name, _counted(getattr(socket.socket, name), hook))


def _counted(original: Callable, hook: Callable) -> Callable:
    def wrapped(self, *arguments):
        hook("os.rename", ())
        return original(self, *arguments)

    return wrapped


def count_touches(work: Callable[[], object]) -> tuple[int, float, int]:
    """Run `work` undisturbed in a child: (how often it touches files, seconds, exit status)."""
    began = time.monotonic()

    def counted() -> None:
        touching(lambda n: os.pwrite(file, n.to_bytes(8, "little"), 0))
        work()

    file = os.open("touches", os.O_CREAT | os.O_RDWR)
    status = reap(forked(counted))
    touches = int.from_bytes(os.pread(file, 8, 0), "little")
    os.close(file)
    return touches, time.monotonic() - began, status


def killed(work: Callable[[], object], rng: random.Random, touches: int, seconds: float) -> bool:
    """Run `work` in a child that is killed at a random moment. Returns whether it was, rather than ending first."""
    if rng.random() < 0.5:
        at = rng.randint(1, touches)

        def deadly() -> None:
            touching(lambda n: os.kill(os.getpid(), signal.SIGKILL) if n == at else None)
            work()

        return reap(forked(deadly)) == -signal.SIGKILL
    pid = forked(work)
    timer = threading.Timer(rng.random() * seconds, lambda: os.kill(pid, signal.SIGKILL))
    timer.start()
    status = reap(pid)
    timer.cancel()
    return status == -signal.SIGKILL


def repeat(
    kills: int,
    seed: int,
    begin: Callable[[], None],
    work: Callable[[], object],
    broken: Callable[[], str],
    differs: Callable[[], str],
) -> dict:
    """Kill `work` until there were enough kills, each time one to three times in a row before it may end.

    Args:
        begin: clean up and prepare.
        work: the job; in a child.
        broken: after each kill, "" or why what is there may not be.
        differs: after a whole run, "" or why it is not as an undisturbed one.
    """
    rng = random.Random(seed)
    begin()
    touches, seconds, status = count_touches(work)
    problems = [f"undisturbed: {problem}"] if (problem := f"status {status}" * bool(status) or differs()) else []
    done = attempts = 0
    wrong = 0
    while done < kills and attempts < 20 * kills and not problems[20:]:
        begin()
        for _ in range(rng.choice((1, 1, 2, 3))):
            attempts += 1
            if done < kills and killed(work, rng, touches, seconds):
                done += 1
                if problem := broken():
                    problems.append(f"after kill {done}: {problem}")
                    wrong += 1
        status = reap(forked(work))
        # refused where the work was done before the kill came: the folder is whole, and another run is never mixed in
        problem = differs()
        if problem := (f"the run after kill {done} ends with {status}: {problem}" if status and problem else problem):
            problems.append(problem)
            wrong += 1
    if done < kills:
        problems.append(f"only {done} of {attempts} were killed in time")
    wrong = min(done, max(wrong, len(problems) > 0))
    return {"tried": done, "wrong": wrong, "problems": problems, "last": f"{touches} touches, {seconds:.1f} s"}


def must(result) -> None:
    """End this child as the command would."""
    if result.status:
        raise SystemExit(result.status)


# ------------------------------------------------------------------------------------------------------- training
def _published(folder: str, whole: dict[str, bytes]) -> str:
    """Whatever opens has to be one of the whole models. `whole`: name -> bytes of its weights."""
    if not (Path(folder) / "config.json").exists():
        return ""
    weights = Path(folder) / "model.safetensors"
    if not weights.exists():
        return ""  # nothing opens
    found = [name for name, data in whole.items() if weights.read_bytes() == data]
    if not found:
        return "a model that is neither the old nor the new one opens"
    missing = [name for name in ("tokenizer.json", "tokenizer_config.json") if not (Path(folder) / name).exists()]
    return f"a model opens without {missing}" if missing else ""


def _training(more: tuple[str, ...] = ()):
    def run(box: Box) -> dict:
        box.pairs()
        arguments = ("--max_steps", 8, "--save_steps", 2, "--resume_from_checkpoint", "last", *more)

        def work(out: str = "out") -> None:
            must(box.train("--output_dir", out, *arguments))

        assert reap(forked(lambda: work("whole"))) == 0
        whole = Path("whole/model.safetensors").read_bytes()

        def differs() -> str:
            return "" if Path("out/model.safetensors").read_bytes() == whole else "other weights"

        return repeat(
            box.kills,
            box.seed,
            lambda: shutil.rmtree("out", ignore_errors=True),
            work,
            lambda: _published("out", {"new": whole}),
            differs,
        )

    return run


def _overwriting(box: Box) -> dict:
    """A new run over an old one: whatever opens is the old or the new model."""
    box.pairs()
    old = (box.fixtures / "trained" / "model.safetensors").read_bytes()
    arguments = ("--max_steps", 4, "--learning_rate", "1e-2")
    assert reap(forked(lambda: must(box.train("--output_dir", "whole", *arguments)))) == 0
    new = Path("whole/model.safetensors").read_bytes()

    def begin() -> None:
        shutil.rmtree("out", ignore_errors=True)
        box.copy("trained", "out")
        Path("out/mine.txt").write_text("mine")

    def broken() -> str:
        return _published("out", {"old": old, "new": new}) or (
            "" if Path("out/mine.txt").exists() else "mine.txt is gone"
        )

    def differs() -> str:
        return broken() or ("" if Path("out/model.safetensors").read_bytes() == new else "other weights")

    return repeat(
        box.kills, box.seed + 1, begin, lambda: must(box.train("--overwrite_output_dir", *arguments)), broken, differs
    )


# ---------------------------------------------------------------------------------------------------- publication
def _publication(command: str):
    def run(box: Box) -> dict:
        def argv(out: str) -> list:
            if command == "publish":
                return ["publish", box.fixtures / "trained" / "checkpoint-4", "--output", out]
            return ["interpolate", box.fixtures / "tiny", box.fixtures / "trained", "--alpha", 0.5, "--output", out]

        assert reap(forked(lambda: must(box.model(*argv("whole"))))) == 0
        whole = Path("whole/model.safetensors").read_bytes()
        names = {path.name for path in Path("whole").iterdir()}

        def differs() -> str:
            if {path.name for path in Path("out").iterdir()} != names:
                return f"files {sorted(path.name for path in Path('out').iterdir())} instead of {sorted(names)}"
            return _published("out", {"new": whole}) or ("" if Path("out/config.json").exists() else "no model")

        return repeat(
            box.kills,
            box.seed + 2,
            lambda: shutil.rmtree("out", ignore_errors=True),
            lambda: must(box.model(*argv("out"))),
            lambda: _published("out", {"new": whole}),
            differs,
        )

    return run


# ------------------------------------------------------------------------------------------- generation and export
def _generation_at_endpoint(parts: int = 0):
    """`benchmarks/kill.py`: real processes, an endpoint that answers late and with faults."""

    def run(box: Box) -> dict:
        from benchmarks import kill

        rows = [(i, f"{i}.jpg", f"a dog beside number {i % 590 + 100}") for i in range(600)]
        folder = Path("kill").resolve()
        folder.mkdir()
        try:
            counted = kill.run(folder, rows, box.kills, box.seed, latency=0.05, parts=parts)
        except AssertionError as error:
            return {"tried": box.kills, "wrong": 1, "problems": [str(error)[-2000:]]}
        return {"tried": counted["kills"], "last": str(counted)}

    return run


def _journal(folder: str) -> list[tuple]:
    """The rows of all journals of a corpus."""
    found: list[tuple] = []
    for path in Path(folder).glob("journal*.sqlite"):
        with sqlite3.connect(path) as db:
            rows = db.execute("SELECT idx, image_id, caption, paraphrase_1, paraphrase_2, status, reason FROM rows")
            found += rows.fetchall()
    return sorted(found)


def _generation(box: Box) -> dict:
    text = "".join(f"a dog sits beside number {i} on the big road\n" for i in range(2500))
    Path("captions.txt").write_text(text)

    def work(out: str = "corpus") -> None:
        must(box.corpus("paraphrase", "--captions", "captions.txt", "--output", out, "--generator", "rules"))

    assert reap(forked(lambda: work("whole"))) == 0
    whole = _journal("whole")

    def broken() -> str:
        with suppress(sqlite3.OperationalError):  # not there yet
            if set(_journal("corpus")) - set(whole):
                return "the journal holds rows that the undisturbed one lacks"
        return ""

    return repeat(
        box.kills,
        box.seed + 3,
        lambda: shutil.rmtree("corpus", ignore_errors=True),
        work,
        broken,
        lambda: "" if _journal("corpus") == whole else "another journal",
    )


def _generation_in_parts(box: Box) -> dict:
    """What the workers of `--runner ray` do, one part after the other: journals elsewhere, and copies of them."""
    from dataset_builder import __main__, options, ray_runner

    text = "".join(f"a dog sits beside number {i % 800} on the big road\n" for i in range(1000))
    Path("captions.txt").write_text(text)
    job = ["paraphrase", "--captions", "captions.txt", "--generator", "rules", "--output"]
    assert reap(forked(lambda: must(box.corpus(*job, "whole")))) == 0
    whole = _journal("whole")
    local = Path("local").resolve()

    def work() -> None:
        ray_runner.tempfile.tempdir = str(local)
        todo = options.job_of(__main__.parser().parse_args([*job, "corpus"]))
        layout = ray_runner.lay_out(todo.output, 3)
        if problems := "".join(ray_runner._run_part({"id": i}, todo, layout, {})["error"] for i in range(3)):
            raise SystemExit(problems)

    def begin() -> None:
        for folder in ("corpus", "local"):
            shutil.rmtree(folder, ignore_errors=True)
        local.mkdir()

    def broken() -> str:
        with suppress(sqlite3.OperationalError):  # not there yet
            if set(_journal("corpus")) - set(whole):
                return "a journal holds rows that the undisturbed one lacks"
        return ""

    def differs() -> str:
        left = [path.name for path in [*local.rglob("*"), *Path("corpus").glob(".*")] if path.is_file()]
        return "another corpus" if _journal("corpus") != whole else f"left behind: {left}" * bool(left)

    return repeat(box.kills, box.seed + 7, begin, work, broken, differs)


def _batch_files(box: Box) -> dict:
    """`requests` and `import-answers` in turn; what answers the files does so once for each file."""
    from tests.endpoint_double import completion, reword

    Path("captions.txt").write_text("".join(f"a dog beside number {i % 800}\n" for i in range(1000)))
    corpus = Path("corpus")

    def answered() -> None:
        """The batch API: an answer for each request of each file that was not sent yet."""
        for file in corpus.glob("requests*.jsonl"):
            results = Path("sent") / file.name
            if not results.exists():
                lines = [json.loads(line) for line in file.read_text().splitlines()]
                bodies = (completion(reword(line["body"]["messages"][-1]["content"])) for line in lines)
                rows = [
                    {"custom_id": line["custom_id"], "response": {"body": body}} for line, body in zip(lines, bodies)
                ]
                results.with_suffix(".part").write_text("".join(json.dumps(row) + "\n" for row in rows))
                results.with_suffix(".part").replace(results)

    def work() -> None:
        while True:
            must(box.corpus("requests", "--captions", "captions.txt", "--output", corpus, "--model", "m"))
            if all((Path("sent") / file.name).exists() for file in corpus.glob("requests*.jsonl")):
                rows = [row for row in _journal("corpus") if row[5] == "done"]
                if len(rows) == 1000:
                    return
            answered()
            must(box.corpus("import-answers", corpus, *sorted(Path("sent").glob("*.jsonl"))))

    def begin() -> None:
        for folder in ("corpus", "sent"):
            shutil.rmtree(folder, ignore_errors=True)
        Path("sent").mkdir()

    def paid() -> str:
        lines = [line for file in Path("sent").glob("*.jsonl") for line in file.read_text().splitlines()]
        ids = [json.loads(line)["custom_id"] for line in lines]
        return f"{len(ids) - len(set(ids))} requests were paid for twice" if len(set(ids)) < len(ids) else ""

    begin()
    assert reap(forked(work)) == 0
    whole = _journal("corpus")

    def broken() -> str:
        with suppress(sqlite3.OperationalError):  # not there yet
            if set(_journal("corpus")) - set(whole):
                return "the journal holds rows that the undisturbed one lacks"
        return paid()

    def differs() -> str:
        return paid() or ("" if _journal("corpus") == whole else "another corpus")

    return repeat(box.kills, box.seed + 8, begin, work, broken, differs)


def _export(kind: str):
    def run(box: Box) -> dict:
        text = "".join(f"a dog sits beside number {i} on the big road\n" for i in range(4000))
        Path("captions.txt").write_text(text)
        job = ["paraphrase", "--captions", "captions.txt", "--output", "corpus", "--generator", "rules"]
        assert reap(forked(lambda: must(box.corpus(*job)))) == 0

        def work(out: str) -> None:
            must(box.corpus("export", "corpus", "--format", kind, "--output", out))

        assert reap(forked(lambda: work("whole"))) == 0
        whole = Path("whole").read_bytes()
        Path("deep").mkdir()

        def begin() -> None:
            shutil.rmtree("deep")
            Path("deep").mkdir()
            Path(f"deep/pairs.{kind}").write_text("old")

        def broken() -> str:
            return (
                ""
                if Path(f"deep/pairs.{kind}").read_bytes() in (b"old", whole)
                else "neither the old nor the new file"
            )

        def differs() -> str:
            if Path(f"deep/pairs.{kind}").read_bytes() != whole:
                return "another file"
            left = [path.name for path in Path("deep").iterdir() if path.name != f"pairs.{kind}"]
            return f"left behind: {left}" if left else ""

        return repeat(box.kills, box.seed + 4, begin, lambda: work(f"deep/pairs.{kind}"), broken, differs)

    return run


# ------------------------------------------------------------------------------------------------------ embedding
def _vectors(folder: str) -> dict:
    vectors = {}
    for file in Path(folder).glob("*.sqlite"):
        with sqlite3.connect(file) as db:
            vectors |= {
                (file.name, digest): vector for digest, vector in db.execute("SELECT digest, vector FROM embeddings")
            }
    return vectors


def _embedding(box: Box) -> dict:
    import numpy as np
    from PIL import Image

    Path("pictures").mkdir()
    rows = box.rows()
    for i in range(330):  # more than FEW: worker processes decode
        pixels = np.random.default_rng(i).integers(0, 255, (48, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"pictures/{i}.png")
        os.utime(f"pictures/{i}.png", (1e9, 1e9))
    many = [{**rows[i % 12], "image_id": f"{i}.png", "caption": f"picture {i}"} for i in range(330)]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in many))

    def work(out: str = "out", cache: str = "cache") -> None:
        shutil.rmtree(out, ignore_errors=True)
        must(box.train("--output_dir", out, "--image_cache_dir", cache, "--max_steps", 1))

    assert reap(forked(lambda: work("whole", "whole-cache"))) == 0
    whole, model = _vectors("whole-cache"), Path("whole/model.safetensors").read_bytes()

    def broken() -> str:
        with suppress(sqlite3.OperationalError):
            found = _vectors("cache")
            if any(whole.get(key) != vector for key, vector in found.items()):
                return "a vector differs from the undisturbed one"
        return ""

    def differs() -> str:
        if _vectors("cache") != whole:
            return "the cache differs from the undisturbed one"
        return "" if Path("out/model.safetensors").read_bytes() == model else "other weights"

    return repeat(box.kills, box.seed + 5, lambda: shutil.rmtree("cache", ignore_errors=True), work, broken, differs)


# ----------------------------------------------------------------------------------------------------------- push
class RemoteHub:
    """A Hub double in a process of its own, which outlives the client. `ask()` gives its repositories."""

    def __init__(self):
        import multiprocessing

        self._ours, theirs = multiprocessing.Pipe()

        def serve() -> None:
            from tests.hub_double import HubDouble

            with HubDouble() as hub:
                hub.token = SECRET_TOKEN
                theirs.send(hub.url)
                while True:
                    command = theirs.recv()
                    if command == "end":
                        return
                    if command == "clear":
                        hub.repos.clear()
                        hub.lfs.clear()
                    theirs.send({name: dict(files) for name, files in hub.repos.items()})

        self._pid = forked(serve)
        self.url = self._ours.recv()

    def ask(self, command: str = "repos") -> dict[str, dict[str, bytes]]:
        self._ours.send(command)
        return self._ours.recv()

    def end(self) -> None:
        self._ours.send("end")
        reap(self._pid)


def _push(update: bool):
    """`upload`, the last stage of `train.py --push_to_hub`: to a new repository, or over an older model."""

    def run(box: Box) -> dict:
        from modeling_paraclip.publish import upload

        folder, older = box.copy("trained", "out"), box.copy("tiny", "older")
        hub = RemoteHub()
        try:
            use_hub(hub.url)

            def push(source: Path) -> None:
                print(upload(source, "tester/model", token=SECRET_TOKEN))

            assert reap(forked(lambda: push(folder))) == 0
            new = hub.ask()["tester/model"]
            hub.ask("clear")
            old: dict[str, bytes] = {}
            if update:
                assert reap(forked(lambda: push(older))) == 0
                old = hub.ask()["tester/model"]

            def begin() -> None:
                hub.ask("clear")
                if update:
                    reap(forked(lambda: push(older)))

            def broken() -> str:
                found = hub.ask().get("tester/model", {})
                # a repository that was made and has nothing yet cannot be avoided at a kill
                return "" if found in (old, {**old, **new}, {}) else f"a mixture: {sorted(found)}"

            def differs() -> str:
                found = hub.ask().get("tester/model", {})
                right = {**old, **new}
                other = sorted(name for name in found.keys() | right.keys() if found.get(name) != right.get(name))
                return f"other files: {other}" if other else ""

            return repeat(box.kills, box.seed + 6, begin, lambda: push(folder), broken, differs)
        finally:
            hub.end()

    return run


def cases(args) -> Iterator[Case]:
    """Each job, killed `--kills` times."""
    jobs: dict[str, Callable[[Box], dict]] = {
        "training": _training(),
        "training with LoRA": _training(("--use_lora", "--lora_dropout", "0.1")),
        "training over an older run": _overwriting,
        "publication": _publication("publish"),
        "interpolation": _publication("interpolate"),
        "generation": _generation,
        "generation at an endpoint": _generation_at_endpoint(),
        "generation in parts": _generation_in_parts,
        "generation in parts at an endpoint": _generation_at_endpoint(parts=3),
        "generation by batch files": _batch_files,
        "embedding": _embedding,
        "export jsonl": _export("jsonl"),
        "export parquet": _export("parquet"),
        "push": _push(False),
        "push over an older model": _push(True),
    }
    for name, run in jobs.items():

        def counted(box: Box, run=run) -> dict:
            box.kills = args.kills
            return run(box)

        yield Case("kills", name, counted, deadline=60 + 15 * args.kills)
