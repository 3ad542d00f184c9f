"""On Ray the corpus is the same as in one process, keys are passed on, and a worker that dies loses nothing."""

import functools
import json
import os
import signal
import subprocess
import sys
import types
from dataclasses import replace

import pytest

from dataset_builder import InputError, corpus, ray_runner
from dataset_builder import __main__ as cli
from dataset_builder.generators import rules
from dataset_builder.job import Job, Part, run
from dataset_builder.journal import Journal
from dataset_builder.ray_runner import lay_out, on_local_disk, run_on_ray
from dataset_builder.records import recipes
from dataset_builder.sources import open_source
from tests.endpoint_double import EndpointDouble, response, reword

from .jobs import PROMPTS, RECIPE, Says, ask, finished, source, writes
from .test_job import kept, said_job

CAPTIONS = [f"a dog next to number {i}" for i in range(100, 140)]


@pytest.fixture(autouse=True)
def local_disk(tmp_path, monkeypatch):
    """The local disk of the workers."""
    (tmp_path / "local").mkdir()
    monkeypatch.setattr(ray_runner.tempfile, "gettempdir", lambda: str(tmp_path / "local"))
    return tmp_path / "local"


def run_parts(job, partitions):
    """What the workers do, one after the other. Returns what ended them."""
    layout = lay_out(job.output, partitions)
    return [ray_runner._run_part({"id": index}, job, layout, {})["error"] for index in range(partitions)]


# ----------------------------------------------------------------------------------------------- without Ray itself
def test_the_journals_are_written_elsewhere_and_copied(tmp_path, local_disk):
    job = said_job(tmp_path, CAPTIONS, Says())
    assert run_parts(job, 2) == ["", ""]
    names = sorted(path.name for path in job.output.iterdir())
    assert names == ["journal-00000-of-00002.sqlite", "journal-00001-of-00002.sqlite", "partitions.json"]
    assert corpus.statistics(job.output)["rows"] == {"done": 40}
    assert [path for path in local_disk.rglob("*") if path.is_file()] == []
    generator = Says()
    run_parts(said_job(tmp_path, CAPTIONS, generator), 2)
    assert not generator.prompts


def test_what_a_dead_worker_paid_for_is_not_paid_for_again(tmp_path, local_disk):
    """It died on this machine after 5 rows; the last copy had 2."""
    job = said_job(tmp_path, CAPTIONS, Says())
    layout, part, first = lay_out(job.output, 1), Part(0, 1), Says()
    limited = replace(job, make_generator=lambda: first)
    with on_local_disk(job.output, part, layout.corpus_id) as folder:
        run(replace(limited, output=folder, source=replace(job.source, limit=2)), part)
    last_copy = (job.output / part.journal).read_bytes()
    with on_local_disk(job.output, part, layout.corpus_id) as folder:
        run(replace(limited, output=folder, source=replace(job.source, limit=5)), part)
        left = {path: path.read_bytes() for path in folder.iterdir()}
    (job.output / part.journal).write_bytes(last_copy)
    for path, data in left.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    assert len(first.prompts) == 10
    assert run_parts(replace(job, make_generator=lambda: first), 1) == [""]
    assert len(first.prompts) == len(set(first.prompts)) == 80


def test_what_was_rejected_is_asked_again_in_the_part_that_has_it(tmp_path):
    refusing = Says(lambda prompt: "I'm sorry, but I can't." if "number 107" in prompt else reword(prompt))
    run_parts(said_job(tmp_path, CAPTIONS, refusing), 3)
    generator = Says()
    assert run_parts(said_job(tmp_path, CAPTIONS, generator, retry_rejected="refused"), 3) == [""] * 3
    assert len(generator.prompts) == 2
    assert corpus.statistics(tmp_path / "corpus")["rows"] == {"done": 40}


def test_what_another_journal_has_is_taken_over(tmp_path):
    ask(source(2), tmp_path, Says())
    (tmp_path / "other").mkdir()
    ask(source(4), tmp_path / "other", Says(), {**RECIPE, "limits": "others"})
    ray_runner.absorb(tmp_path / "journal.sqlite", tmp_path / "other" / "journal.sqlite")
    assert len(finished(tmp_path)) == 4
    assert [recipe["rows"] for recipe in recipes(tmp_path)] == [2, 2]
    generator = Says()
    ask(source(4), tmp_path, generator)
    assert not generator.prompts


def test_negatives_are_made_in_parts_and_taken_over_from_another_journal(tmp_path):
    job = said_job(tmp_path, CAPTIONS, Says(writes), prompts=PROMPTS)
    assert run_parts(job, 2) == ["", ""]
    rows = list(corpus.triples(job.output))
    assert len(rows) == 40
    assert all(row["negative"] == row["caption"].replace("dog", "cat") for row in rows)
    generator = Says()
    run_parts(replace(job, make_generator=lambda: generator), 2)  # from the copies in the corpus
    assert not generator.prompts
    assert corpus.statistics(job.output)["negatives"] == {"done": 40}


def test_a_copy_is_made_now_and_then(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_runner, "COPY_EVERY", 0.01)
    part = Part(0, 1)
    with on_local_disk(tmp_path / "corpus", part, "x") as folder:
        (tmp_path / "corpus").mkdir()
        journal = Journal(folder / part.journal, RECIPE)
        while not (tmp_path / "corpus" / part.journal).exists():
            pass
        journal.close()
    assert corpus.statistics(tmp_path / "corpus")["answers"] == 0


def test_parts_by_number_of_version_0_2_go_on_as_they_were(tmp_path):
    job = said_job(tmp_path, CAPTIONS, Says())
    job.output.mkdir()
    (job.output / "partitions.txt").write_text("2")
    for index in range(2):
        run(replace(job, source=replace(job.source, limit=10)), Part(index, 2, by_number=True))
    assert lay_out(job.output, 2).by_number
    generator = Says()
    assert run_parts(said_job(tmp_path, CAPTIONS, generator), 2) == ["", ""]
    assert len(generator.prompts) == 60
    assert corpus.statistics(job.output)["rows"] == {"done": 40}
    assert json.loads((job.output / "partitions.json").read_text())["by_number"] is True


def test_another_number_of_parts_is_refused(tmp_path):
    lay_out(tmp_path / "corpus", 2)
    with pytest.raises(InputError, match="was begun with --partitions 2: give the same number again"):
        lay_out(tmp_path / "corpus", 3)
    Journal(tmp_path / "other" / "journal.sqlite").close()
    with pytest.raises(InputError, match="begun with another number of parts"):
        lay_out(tmp_path / "other", 2)


def test_a_corpus_that_takes_the_place_of_another_does_not_get_its_journals(tmp_path):
    assert lay_out(tmp_path / "one", 2).corpus_id != lay_out(tmp_path / "two", 2).corpus_id
    assert lay_out(tmp_path / "one", 2) == lay_out(tmp_path / "one", 2)


def test_without_captions_nothing_is_begun(tmp_path):
    with pytest.raises(SystemExit, match=r"absent\.txt: no such file"):
        cli.main(["paraphrase", "--captions", str(tmp_path / "absent.txt"), "--generator", "rules",
                  "--output", str(tmp_path / "o"), "--runner", "ray"])  # fmt: skip
    assert not (tmp_path / "o").exists()


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs POSIX")
def test_a_folder_of_somebody_else_is_not_used(tmp_path, local_disk):
    (tmp_path / "theirs").mkdir()
    (local_disk / f"paraclip-{ray_runner.getpass.getuser()}").symlink_to(tmp_path / "theirs")
    with pytest.raises(InputError, match="belongs to somebody else"), on_local_disk(tmp_path, Part(0, 1), "x"):
        pass


def test_keys_are_not_in_what_is_logged():
    assert "sk-secret" not in repr({"environment": ray_runner._Environment(OPENAI_API_KEY="sk-secret")})


def test_without_ray_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    (tmp_path / "c.txt").write_text("a dog barks\n")
    job = Job(
        tmp_path / "o", open_source([str(tmp_path / "c.txt")]), "rules", functools.partial(rules.from_args, None)
    )
    with pytest.raises(InputError, match=r"pip install 'paraclip\[ray\]'"):
        run_on_ray(job, 2, print)
    assert not (tmp_path / "o").exists()


# -------------------------------------------------------------------------------------------------------- with Ray
@pytest.fixture(scope="module")
def ray():
    """Ray on this machine, started without the keys that its workers get later."""
    ray = pytest.importorskip("ray", reason="ray is an extra: pip install paraclip[ray]")
    os.environ.pop("OPENAI_API_KEY", None)
    ray.init(num_cpus=2, log_to_driver=False)
    yield ray
    ray.shutdown()


def test_on_ray_it_is_the_same_corpus(tmp_path, ray, capsys):
    (tmp_path / "captions.txt").write_text("".join(f"{caption}\n" for caption in CAPTIONS))
    base = ["paraphrase", "--captions", str(tmp_path / "captions.txt"), "--generator", "rules", "--output"]
    cli.main([*base, str(tmp_path / "local")])
    cli.main([*base, str(tmp_path / "ray"), "--runner", "ray", "--partitions", "2"])
    assert kept(tmp_path / "local") == kept(tmp_path / "ray")
    assert len(list((tmp_path / "ray").glob("journal-*.sqlite"))) == 2
    assert "40 rows, at most 80 calls." in capsys.readouterr().out
    cli.main([*base, str(tmp_path / "ray"), "--runner", "ray", "--partitions", "2", "--max_words", "14"])
    assert "No call is needed." in capsys.readouterr().out
    with pytest.raises(SystemExit, match="give the same number again"):
        cli.main([*base, str(tmp_path / "ray"), "--runner", "ray", "--partitions", "3"])


def test_keys_are_passed_on_and_not_logged_and_the_concurrency_is_a_total(tmp_path, ray, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret-key")
    (tmp_path / "captions.txt").write_text("".join(f"{caption}\n" for caption in CAPTIONS))
    with EndpointDouble(latency=0.02) as endpoint:
        cli.main(["paraphrase", "--captions", str(tmp_path / "captions.txt"), "--output", str(tmp_path / "o"),
                  "--generator", "openai", "--base_url", endpoint.url, "--model", "m", "--runner", "ray",
                  "--partitions", "4", "--concurrency", "5"])  # fmt: skip
        assert {headers["Authorization"] for headers in endpoint.headers} == {"Bearer sk-very-secret-key"}
        assert endpoint.most_in_flight <= 5
        assert endpoint.requests == 80
    logs = ray._private.worker.global_worker.node.get_logs_dir_path()
    found = subprocess.run(["grep", "-rl", "sk-very-secret-key", logs, str(tmp_path)], capture_output=True, text=True)
    assert found.stdout == ""


def dying(mark, url):
    """A generator in whose first process the worker is killed at the tenth call."""
    from dataset_builder.generators.openai import OpenAIGenerator

    class Dying(OpenAIGenerator):
        calls = 0

        async def generate(self, prompt, text, step):
            self.calls += 1
            if self.calls == 10 and not os.path.exists(mark):
                open(mark, "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
            return await super().generate(prompt, text, step)

    return Dying("m", url)


def test_a_worker_that_dies_is_run_again_and_goes_on(tmp_path, ray):
    (tmp_path / "captions.txt").write_text("".join(f"{caption}\n" for caption in CAPTIONS))
    with EndpointDouble() as endpoint:
        make = functools.partial(dying, str(tmp_path / "died"), endpoint.url)
        job = Job(tmp_path / "o", open_source([str(tmp_path / "captions.txt")]), "openai", make, concurrency=1)
        run_on_ray(job, 1, print)
        assert (tmp_path / "died").exists()
        assert endpoint.requests == 80  # with one call at a time, none was in flight
    assert corpus.statistics(tmp_path / "o")["rows"] == {"done": 40}


def test_other_captions_are_refused_before_ray_starts(tmp_path, monkeypatch):
    run_parts(said_job(tmp_path, CAPTIONS, Says()), 2)
    (tmp_path / "others.txt").write_text("a dog barks\n")
    ray = types.SimpleNamespace(data=None)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.data", ray)
    job = replace(said_job(tmp_path, CAPTIONS, Says()), source=open_source([str(tmp_path / "others.txt")]))
    with pytest.raises(InputError, match=r"begun with other captions: captions\.txt, not others\.txt"):
        run_on_ray(job, 2, print)


def test_what_ends_a_part_is_one_sentence(tmp_path, ray):
    (tmp_path / "captions.txt").write_text("a dog barks\n")
    given = ["--captions", str(tmp_path / "captions.txt"), "--output", str(tmp_path / "o"), "--generator", "openai"]
    with EndpointDouble(lambda _: response({"error": "no"}, status=401)) as endpoint:
        given += ["--base_url", endpoint.url, "--model", "m", "--runner", "ray"]
        with pytest.raises(SystemExit, match="refuses the key"):
            cli.main(["paraphrase", *given])
