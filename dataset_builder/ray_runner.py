"""The same job on many machines: Ray Data gives each part to a worker, which keeps a journal of its own.

A part is every n-th row of the captions, so it has the same rows in every run with the same `--partitions`. Captions
and corpus lie on a file system that all machines see. Ray runs a part that dies again, and it goes on where it was.
"""

from __future__ import annotations

from .errors import InputError, check_range
from .generators import Fatal
from .job import Job, run

MARK = "partitions.txt"


def run_on_ray(job: Job, partitions: int) -> None:
    """Run the job in `partitions` parts.

    Raises:
        InputError: Ray is not installed, or the corpus was begun with another number of parts.
        Fatal: what ended a part; the other parts ran on.
    """
    try:
        import ray.data
    except ImportError as error:
        raise InputError("--runner ray needs the package ray: pip install 'paraclip[ray]'") from error

    check_range("--partitions", partitions, 1, 10**5)
    job.output.mkdir(parents=True, exist_ok=True)
    mark = job.output / MARK
    if mark.exists() and mark.read_text() != str(partitions):
        raise InputError(f"{job.output} was begun with --partitions {mark.read_text()}: give the same number again.")
    mark.write_text(str(partitions))
    if not ray.is_initialized():
        # Ray's ports listen on every interface. Its token, kept in the home folder, guards them: leave it on.
        ray.init(log_to_driver=False)
    context = ray.data.DataContext.get_current()
    context.max_errored_blocks = 0
    parts = ray.data.range(partitions, override_num_blocks=partitions)
    parts = parts.map(_run_part, fn_kwargs={"job": job, "partitions": partitions}, num_cpus=1).materialize()
    for part in parts.iter_rows():
        if part["error"]:
            raise Fatal(part["error"])


def _run_part(row: dict, job: Job, partitions: int) -> dict:
    index, error = int(row["id"]), ""
    try:
        run(job, (index, partitions))
    except (InputError, Fatal, OSError) as caught:  # Ray would bury it in a traceback, and lose its class
        error = str(caught)
    return {"id": index, "error": error}
