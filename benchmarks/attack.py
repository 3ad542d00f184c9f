"""Attack the whole product and count what it withstands: `python benchmarks/attack.py --output attack.json`

Each case runs one of the four commands on hostile or broken input, in a child process and a temporary folder, and says
what right is: one clear message and nothing lost, or the stated result. Everything stays on this machine (loopback).
A table counts the cases of each kind by what became of them; anything in its last two columns makes the exit status 1.

  python benchmarks/attack.py --only models folders      these kinds only
  python benchmarks/attack.py --case "models: NaN"       one case again, with all its output

Cases that end by themselves take a second each. A case hangs after 60 seconds, and takes too much memory at 4 GB.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import itertools
import json
import os
import random
import resource
import shutil
import signal
import socketserver
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from attacks.box import CANARY, OBEYED, SECRET_KEY, SECRET_TOKEN, SECRETS, Box, Case, Skip

ROOT = Path(__file__).resolve().parent.parent
KINDS = (
    *("models", "folders", "triples", "arguments", "pictures", "captions", "shards", "caches", "divergence"),
    *("evaluation", "texts", "endpoints", "hub", "kills", "mutated"),
)
MEMORY = 4 * 2**30
NUMBERS = itertools.count()


@dataclass
class Row:
    """What became of the cases of one kind."""

    tried: int = 0
    handled: int = 0
    traceback: int = 0
    wrong: int = 0
    skipped: int = 0
    left: int = 0
    seconds: float = 0.0


@dataclass
class Running:
    """A child that runs a case."""

    case: Case
    folder: Path
    started: float = field(default_factory=time.monotonic)
    verdict: dict | None = None


def environment(home: Path) -> None:
    """Set what the libraries read at import: no network, no GPU, one thread per process, planted secrets."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    os.environ |= {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(home),
        "HF_TOKEN": SECRET_TOKEN,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "OPENAI_API_KEY": SECRET_KEY,
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "MPLBACKEND": "Agg",
        "HOME": str(home),
    }


def preload() -> None:
    """Import the product once; children are forked from here."""
    sys.path[:0] = [str(ROOT)]
    import torch

    torch.set_num_threads(1)
    for module in ("train", "eval.__main__", "eval.report", "dataset_builder.__main__", "modeling_paraclip.__main__"):
        importlib.import_module(module)
    for module in ("aiohttp", "openai", "tests.hub_double", "tests.endpoint_double", "datasets", "scipy.stats"):
        importlib.import_module(module)
    for module in ("transformers.models.clip.modeling_clip", "transformers.models.clip.image_processing_clip"):
        importlib.import_module(module)


# --------------------------------------------------------------------------------------------------- in the child
def run_case(case: Case, box: Box) -> dict:
    """Run and judge a case. Returns its verdict."""
    import datasets

    datasets.config.HF_DATASETS_CACHE = Path(f"{box.folder}.datasets")
    datasets.config.HF_DATASETS_CACHE.mkdir()
    try:
        result = case.run(box)
    except Skip as reason:
        return {"skipped": str(reason)}
    problems = []
    if isinstance(result, dict):
        return result
    problem = ""
    if not result.uncaught and "Traceback (most recent call last)" not in result.err:
        try:
            problem = case.right(box, result)
        except Exception:  # e.g. what was published does not open
            problem = f"what is left cannot be checked: {traceback.format_exc()[-1500:]}"
    else:
        problems.append("traceback")
    if changed := box.changed():
        problem = f"the user's files changed: {changed[:5]}"
    return {
        "status": result.status,
        "message": result.message[:2000],
        "traceback": bool(problems),
        "wrong": problem,
        "last": (result.uncaught or result.err)[-3000:],
    }


def start(case: Case, work: Path, fixtures: Path, seed: int) -> tuple[int, Running]:
    """Fork a child for a case."""
    folder = work / f"{next(NUMBERS):05d}"
    folder.mkdir()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid, Running(case, folder)
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # dies with the runner
        for descriptor, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{folder}.{name}", os.O_CREAT | os.O_RDWR | os.O_APPEND), descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.chdir(folder)
        socketserver.BaseServer.handle_error = lambda *_: (
            None
        )  # of the servers in this process: no fault of the product
        random.seed(f"{seed} {case.kind} {case.name}")
        box = Box(folder, fixtures, seed)
        written = os.open(f"{folder}.verdict", os.O_CREAT | os.O_WRONLY)  # now: a case may give up its rights
        try:
            verdict = run_case(case, box)
        except BaseException:
            verdict = {"wrong": f"the attack itself failed: {traceback.format_exc()[-3000:]}"}
        finally:
            for mount in box.mounts:
                os.system(f"umount -l '{mount}'")
        os.write(written, json.dumps(verdict).encode())
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(0)


# -------------------------------------------------------------------------------------------------- in the parent
def memory_of(session: int) -> int:
    """Resident bytes of the processes of a session, what they share with the runner not counted."""
    total = 0
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                fields = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == session:
                    resident, shared = Path(entry.path, "statm").read_text().split()[1:3]
                    total += (int(resident) - int(shared)) * resource.getpagesize()
            except (OSError, IndexError, ValueError):
                continue
    return total


def end(pid: int) -> None:
    """End a session that a case left behind."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                fields = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == pid:
                    os.kill(int(entry.name), signal.SIGKILL)
            except (OSError, IndexError, ValueError):
                continue


def outcome(running: Running, status: int, stopped: str) -> dict:
    """The verdict of a case that ended, with what the runner itself looks for."""
    file = Path(f"{running.folder}.verdict")
    said = file.read_text() if file.exists() else ""
    verdict = json.loads(said) if said else {"wrong": f"the process died with status {status}"}
    if stopped:
        verdict["wrong"] = stopped
    if "tried" in verdict or "skipped" in verdict:
        return verdict
    texts = [Path(f"{running.folder}.{name}") for name in ("out", "err")]
    for file in [*texts, *running.folder.rglob("*")]:
        if file.name == CANARY:
            verdict["wrong"] = "hostile code ran"
        if not file.is_file() or file.is_symlink() or "user" in file.relative_to(running.folder.parent).parts:
            continue
        try:
            data = file.read_bytes() if file.stat().st_size < 2**26 else b""
        except OSError:
            continue
        if any(secret in data for secret in SECRETS):
            verdict["wrong"] = f"a secret is in {file.name}"
        if (file in texts or file.suffix == ".md") and (found := OBEYED.search(data)):
            verdict["wrong"] = f"{file.name} has {data[max(0, found.start() - 40) : found.end() + 20]!r}"
    return verdict


def run_all(cases: list[Case], work: Path, fixtures: Path, args: argparse.Namespace) -> tuple[dict[str, Row], list]:
    """Run the cases, `jobs` at a time. Returns the table and the failures."""
    table: dict[str, Row] = {}
    failures: list[dict] = []
    running: dict[int, Running] = {}
    until = time.monotonic() + 60 * args.minutes if args.minutes else float("inf")
    waiting = list(reversed(cases))

    for case in cases:
        table.setdefault(case.kind, Row()).left += 1
    while waiting or running:
        while waiting and len(running) < args.jobs and time.monotonic() < until:
            pid, child = start(waiting.pop(), work, fixtures, args.seed)
            running[pid] = child
        if not running:
            break  # out of time
        time.sleep(0.02)
        for pid, child in list(running.items()):
            stopped, age = "", time.monotonic() - child.started
            if age > child.case.deadline:
                stopped = f"hangs: not done after {child.case.deadline:.0f} s"
            elif age > 1 and memory_of(pid) > MEMORY:
                stopped = f"takes more than {MEMORY >> 30} GB"
            if stopped:
                end(pid)
            found, status = os.waitpid(pid, 0 if stopped else os.WNOHANG)
            if not found:
                continue
            del running[pid]
            end(pid)
            verdict = outcome(child, os.waitstatus_to_exitcode(status), stopped)
            count(table[child.case.kind], child, verdict, failures, args)
            for path in (child.folder, Path(f"{child.folder}.datasets")):
                if not args.case:
                    shutil.rmtree(path, ignore_errors=True)
    return table, failures


def count(row: Row, child: Running, verdict: dict, failures: list[dict], args: argparse.Namespace) -> None:
    """Add a verdict to its row of the table."""
    row.left -= 1
    row.seconds += time.monotonic() - child.started
    name = f"{child.case.kind}: {child.case.name}"
    if "skipped" in verdict:
        row.skipped += 1
        print(f"skipped  {name}: {verdict['skipped']}", flush=True)
        return
    tried = verdict.get("tried", 1)
    row.tried += tried
    bad = {column: verdict[column] for column in ("wrong", "traceback") if verdict.get(column)}
    if "tried" in verdict and all(isinstance(value, int) for value in bad.values()):
        row.wrong += bad.get("wrong", 0)
        row.traceback += bad.get("traceback", 0)
        row.handled += tried - sum(bad.values())
    elif "wrong" in bad:
        row.wrong += 1
    elif "traceback" in bad:
        row.traceback += 1
    else:
        row.handled += tried
    if bad:
        texts = {n: Path(f"{child.folder}.{n}").read_text(errors="replace")[-4000:] for n in ("out", "err")}
        failures.append({"case": name, **verdict, **texts})
        label = "wrong" if bad.get("wrong") else "traceback"
        shown = verdict.get("problems") or (verdict["wrong"] if label == "wrong" else last_line(verdict.get("last")))
        print(f"{label:9} {name}: {ascii(str(shown))[1:-1][:400]}", flush=True)
    if args.case:
        for n in ("out", "err"):
            print(f"--- {n}\n{Path(f'{child.folder}.{n}').read_text(errors='replace')}")
        print(f"--- verdict\n{json.dumps(verdict, indent=1)}\n--- folder {child.folder}")


def last_line(text: str | None) -> str:
    """The last line that is not blank."""
    return next((line for line in reversed((text or "").splitlines()) if line.strip()), "")


def print_table(table: dict[str, Row]) -> None:
    """One line per kind."""
    header = (
        "kind",
        "tried",
        "handled",
        "traceback, nothing lost",
        "wrong or lost",
        "skipped",
        "not tried",
        "seconds",
    )
    print("\n| " + " | ".join(header) + " |\n|" + " --- |" * len(header))
    total = Row()
    for row in table.values():
        for name, value in vars(row).items():
            setattr(total, name, getattr(total, name) + value)
    for kind, r in (*table.items(), ("all", total)):
        cells = (r.tried, r.handled, r.traceback, r.wrong, r.skipped, r.left)
        print(f"| {kind} | " + " | ".join(f"{cell:,}" for cell in cells) + f" | {r.seconds:.0f} |")


def main() -> None:
    """Run the attacks and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS, metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--pictures", type=int, default=100_000, help="mutated pictures (default: %(default)s)")
    parser.add_argument("--shards", type=int, default=1000, help="cut tar shards (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=50, help="SIGKILLs of each kind (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, help="start no case after this time, and say what was not tried")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="cases at a time (default: all cores)")
    parser.add_argument("--output", type=Path, help="JSON of each failing case with its output")
    parser.add_argument("--case", help='one case, "KIND: NAME" or the beginning of it: shows everything')
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # cleans up
    work = Path(tempfile.mkdtemp(prefix="attack-"))
    began = time.monotonic()
    try:
        environment(work / "home")
        preload()
        fixtures = work / "fixtures"
        cases = []
        for kind in args.only:
            cases += importlib.import_module(f"attacks.{kind}").cases(args)
        names = [f"{case.kind}: {case.name}" for case in cases]
        assert len(set(names)) == len(names), sorted({name for name in names if names.count(name) > 1})
        if args.minutes:  # a part of every kind, rather than every case of some
            random.Random(args.seed).shuffle(cases)
        if args.case:
            cases = [case for case, name in zip(cases, names) if name.startswith(args.case)]
        build(fixtures)
        before = fixture_hashes(fixtures)
        print(f"{len(cases)} cases; ready after {time.monotonic() - began:.0f} s", flush=True)
        (work / "cases").mkdir()
        table, failures = run_all(cases, work / "cases", fixtures, args)
        if fixture_hashes(fixtures) != before:
            failures.append({"case": "all", "wrong": "files that are only read were changed"})
            print("wrong    all: files that are only read were changed")
    finally:
        if not args.case:
            shutil.rmtree(work, ignore_errors=True)
    print_table(table)
    print(f"{time.monotonic() - began:.0f} s in all, {args.jobs} at a time, seed {args.seed}")
    if args.output:
        args.output.write_text(json.dumps(failures, indent=1) + "\n")
    sys.exit(1 if failures else 0)


def build(fixtures: Path) -> None:
    """Make the fixtures, in a child."""
    from attacks import fixtures as made
    from attacks.box import forked, reap

    fixtures.mkdir()
    log = fixtures.parent / "fixtures.log"

    def work() -> None:
        descriptor = os.open(log, os.O_CREAT | os.O_WRONLY)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        made.build(fixtures)

    if reap(forked(work)):
        sys.exit(f"the fixtures could not be made:\n{log.read_text()[-3000:]}")


def fixture_hashes(fixtures: Path) -> dict[str, str]:
    """Of all files that cases share."""
    from attacks.box import hashes

    return hashes(fixtures)


if __name__ == "__main__":
    main()
