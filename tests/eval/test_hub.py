import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
from huggingface_hub.errors import HTTPError
from PIL import Image

from eval import hub
from eval.data import rows_of
from eval.files import MissingData
from eval.hub import HubSource, hub_labels
from eval.tasks import aro, image_text_retrieval, sts, sugarcrepe, sugarcrepe_pp, winoground, zero_shot
from modeling_paraclip import InputError
from modeling_paraclip.embedding_cache import EmbeddingCache, embed_pictures
from tests.eval.samples import WORDS
from tests.hub_double import HubDouble, parquet

ROOT = Path(__file__).parents[2]
SOURCE = HubSource("owner/name", "0" * 40, "test", {"a": "theirs"})


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("offline"),
        datasets.exceptions.DatasetNotFoundError("gated"),
        datasets.exceptions.DatasetGenerationError("broken"),
        ValueError("Unknown split"),
        RuntimeError("Dataset scripts are no longer supported"),
        HTTPError("timed out"),
    ],
)
def test_what_the_hub_answers_is_missing_data(error, monkeypatch):
    def refuse(*args, **kwargs):
        raise error

    monkeypatch.setattr(hub.datasets, "load_dataset_builder", refuse)
    with pytest.raises(MissingData, match=f"owner/name cannot be loaded from the Hub: .*{error}"):
        rows_of(None, SOURCE, ("a",))
    with pytest.raises(MissingData, match=f"owner/name cannot be loaded from the Hub: .*{error}"):
        hub_labels(SOURCE, "a")


def test_a_bug_is_not_missing_data(monkeypatch):
    monkeypatch.setattr(hub.datasets, "load_dataset_builder", lambda *args, **kwargs: {}["bug"])
    with pytest.raises(KeyError):
        rows_of(None, SOURCE, ("a",))


def test_rows_count_from_1(monkeypatch):
    monkeypatch.setattr(hub, "ROWS", 2)
    table = datasets.Dataset.from_dict({"theirs": ["x", "y", ""]})
    monkeypatch.setattr(hub, "load_split", lambda source: table)
    with pytest.raises(InputError, match="owner/name, row 3: a is empty"):
        rows_of(None, SOURCE, ("a",))
    with pytest.raises(InputError, match="no column other; found are theirs"):
        rows_of(None, HubSource("owner/name", "0" * 40, "test", {"a": "other"}), ("a",))


def test_labels_have_names(monkeypatch):
    features = datasets.Features(
        {"theirs": datasets.ClassLabel(names=["cat", "dog"]), "text": datasets.Value("string")}
    )
    table = datasets.Dataset.from_dict({"theirs": [0], "text": ["x"]}, features=features)
    monkeypatch.setattr(hub, "load_split", lambda source: table)
    assert hub_labels(SOURCE, "a") == ["cat", "dog"]
    with pytest.raises(InputError, match="the column text does not name its classes"):
        hub_labels(HubSource("owner/name", "0" * 40, "test", {"a": "text"}), "a")


def picture(i: int) -> bytes:
    pixels = np.random.default_rng(i).integers(0, 255, (9, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


def table_of_pictures(number: int) -> datasets.Dataset:
    return datasets.Dataset.from_dict(
        {"theirs": [{"bytes": picture(i), "path": None} for i in range(number)]},
        features=datasets.Features({"theirs": datasets.Image()}),
    )


class Counted(bytes):
    """Bytes that know how many of them there are in memory."""

    now = most = read = 0

    def __init__(self, *_):
        Counted.now += 1
        Counted.read += 1
        Counted.most = max(Counted.most, Counted.now)

    def __del__(self):
        Counted.now -= 1


def test_pictures_are_in_memory_one_at_a_time(monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "load_split", lambda source: table_of_pictures(40))
    read = hub.read_bytes
    monkeypatch.setattr(hub, "read_bytes", lambda column, row: Counted(read(column, row)))
    Counted.now = Counted.most = Counted.read = 0
    rows = rows_of(None, SOURCE, pictures=("a",))
    assert Counted.read == 0
    with EmbeddingCache(tmp_path / "cache.sqlite", np.float32) as cache:
        digests, problems = embed_pictures(
            [row["a"] for row in rows],
            lambda image: torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1),
            lambda pixels: pixels.float().flatten(1)[:, :4] + 1,
            cache,
            batch_size=8,
            num_workers=0,
        )
        vectors = cache.get(digests)
    assert not problems
    assert Counted.read >= 40
    assert Counted.most == 1
    assert len(np.unique(vectors, axis=0)) == 40
    assert rows[7]["a"]["bytes"] == picture(7)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"bytes": None, "path": None}, "row 2: a is no picture"),
        ({"bytes": None, "path": "http://x/y.png"}, "row 2: a is the address 'http://x/y.png'"),
        (None, "row 2: a is no picture"),
    ],
)
def test_what_is_no_picture_is_named(value, message, monkeypatch):
    table = datasets.Dataset(pa.table({"theirs": [{"bytes": picture(0), "path": None}, value]}))
    monkeypatch.setattr(hub, "load_split", lambda source: table)
    with pytest.raises(InputError, match=message):
        rows_of(None, SOURCE, pictures=("a",))


# -------------------------------------------------- every source, as it is on the Hub, loaded by the real client
def rows(number: int, shift: int = 0, **columns) -> datasets.Dataset:
    """A table: of each column a function of the row's number. Bytes are pictures."""
    made = {name: [value(i) for i in range(shift, shift + number)] for name, value in columns.items()}
    pictures = [name for name, values in made.items() if isinstance(values[0], bytes)]
    made |= {name: [{"bytes": data, "path": None} for data in made[name]] for name in pictures}
    features = datasets.Dataset.from_dict(made).features | dict.fromkeys(pictures, datasets.Image())
    return datasets.Dataset.from_dict(made, features=datasets.Features(features))


def word(i: int) -> str:
    return f"{WORDS[i % 5]} {i}"


def other(i: int) -> str:
    return f"{WORDS[(i + 1) % 5]} {i}"


def shuffled(k: int):
    """Of row i its caption (k = 0), or a text of the same words."""
    return lambda i: " ".join(word(i).split()[k:] + word(i).split()[:k])


def fill(double: HubDouble) -> None:
    """What the cards and MTEB's tasks say of each repository, with few rows."""
    for name, (repo, revision, _) in image_text_retrieval.HUB.items():
        right = 15 if name.startswith("COCO") else 12  # of COCO some captions have two pictures
        double.add_dataset(
            repo,
            {
                ("corpus", "corpus"): [
                    rows(3, id=lambda i: f"p{i}", modality=lambda i: "image", image=picture),
                    rows(2, id=lambda i: f"p{i}", modality=lambda i: "image", image=picture, shift=3),
                ],
                ("query", "test"): [rows(12, id=lambda i: f"q{i}", modality=lambda i: "text", text=word)],
                ("qrels", "test"): [
                    rows(
                        right,
                        **{
                            "query-id": lambda i: f"q{i % 12}",
                            "corpus-id": lambda i: f"p{i % 5}",
                            "score": lambda i: 1,
                        },
                    )
                ],
            },
            revision,
        )
    for repo, revision, image, texts in aro.HUB.values():
        columns = {image: picture, **{text: shuffled(k) for k, text in enumerate(texts)}}
        double.add_dataset(repo, {("default", "test"): [rows(9, **columns), rows(3, **columns, shift=9)]}, revision)
    pairs = [
        rows(8, sentence1=word, sentence2=other, score=lambda i: i * 3 % 7 / 2, shift=shift) for shift in (0, 8, 16)
    ]
    for source in sts.HUB.values():
        splits = {("default", "train"): pairs[:1], ("default", "test"): pairs[1:]}
        double.add_dataset(source.repo, splits, source.revision)
    table = rows(12, images=picture, caption=word, negative_caption=other)
    double.add_dataset(sugarcrepe.HUB.repo, {("default", "train"): [table]}, sugarcrepe.HUB.revision)
    for source in sugarcrepe.HUB_KINDS.values():
        table = rows(4, image=picture, tested_labels=lambda i: [word(i), other(i)], true_label=lambda i: i)
        double.add(source.repo, {"default/test/0000.parquet": parquet(table)}, source.revision)
    texts = [
        {"id": i, "filename": f"{i}.jpg", "caption": word(i), "caption2": f"{word(i)}!", "negative_caption": other(i)}
        for i in range(4)
    ]
    configs = [
        {"config_name": source.name, "data_files": f"{kind}.json"} for kind, source in sugarcrepe_pp.HUB.items()
    ]
    files = {f"{kind}.json": json.dumps(texts).encode() for kind in sugarcrepe_pp.HUB}
    files["README.md"] = f"---\nconfigs: {json.dumps(configs)}\n---\n".encode()
    double.add("Aman-J/SugarCrepe_pp", files, sugarcrepe_pp.HUB["swap_obj"].revision)
    source = winoground.HUB
    table = rows(12, image_0=picture, image_1=lambda i: picture(i + 1), caption_0=word, caption_1=other)
    double.add_dataset(source.repo, {("default", "test"): [table]}, source.revision)
    for name, number, label in (("CIFAR-10", 10, "label"), ("CIFAR-100", 100, "fine_label")):
        source = zero_shot.HUB[name]
        names = datasets.ClassLabel(names=[f"class{i}" for i in range(number)])
        train, test = (
            rows(6, img=picture, **{label: lambda i: i % 10}, shift=shift).cast_column(label, names)
            for shift in (0, 6)
        )
        double.add_dataset(source.repo, {("default", "train"): [train], ("default", "test"): [test]}, source.revision)
    source = zero_shot.HUB["ImageNet"]
    double.add(
        source.repo,
        {f"{split}/{shard}.tar": webdataset(3) for split in ("train", "test") for shard in (0, 1)},
        source.revision,
    )


def webdataset(number: int) -> bytes:
    with tarfile.open(fileobj=(buffer := io.BytesIO()), mode="w") as archive:
        for i in range(number):
            for name, data in ((f"s{i:07}.jpg", picture(i)), (f"s{i:07}.cls", str(i).encode())):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


PROGRAM = """
import sys
from eval.__main__ import main
from eval.data import rows_of
from eval.hub import HubSource
from eval.tasks import zero_shot

main(sys.argv[1:])
rows = rows_of(None, zero_shot.HUB["ImageNet"], numbers=("label",), pictures=("image",))
print("ImageNet", [row["label"] for row in rows], {len(row["image"]["bytes"]) > 0 for row in rows})
for revision, split, name in (("1", "test", "texts"), ("2", "corpus", "texts"), ("1", "corpus", "none")):
    try:
        rows_of(None, HubSource("owner/name", revision * 40, split, {"a": "a"}, name), ("a",))
    except ValueError as error:
        print("refused:", error)
"""
TASKS = ("image_text_retrieval", "aro", "sts", "sugarcrepe", "sugarcrepe_pp", "winoground", "zero_shot")


@pytest.mark.slow
def test_every_source_loads_with_the_real_client(tiny_clip, tmp_path):
    """A process of its own, as the endpoint is read at import."""
    with HubDouble() as double:
        fill(double)
        table = rows(3, a=word)
        double.add_dataset("owner/name", {("texts", "corpus"): [table], ("others", "test"): [table]}, "1" * 40)
        arguments = [
            "--models",
            str(tiny_clip),
            "--tasks",
            ",".join(TASKS),
            "--output",
            str(tmp_path / "results.json"),
        ]
        command = [sys.executable, "-c", PROGRAM, *arguments, "--cache_dir", str(tmp_path / "cache")]
        environment = double.environment(tmp_path / "home")
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        served = set(double.served)
        entries = json.loads((tmp_path / "results.json").read_text())
        command[command.index(",".join(TASKS))] = "sts,sugarcrepe"
        again = {**environment, "HF_HUB_OFFLINE": "1"}  # what was loaded once needs no Hub
        offline = subprocess.run(command, env=again, capture_output=True, text=True, cwd=ROOT)
        assert offline.returncode == 0, offline.stderr
        assert double.served == served
    n = {(entry["dataset"], entry["metric"]): entry["n"] for entry in entries}
    kinds = {f"SugarCrepe {kind}" for kind in sugarcrepe.HUB_KINDS} | {
        f"SugarCrepe++ {kind}" for kind in sugarcrepe_pp.HUB
    }
    assert {entry["dataset"] for entry in entries} == {
        *("Flickr30k test", "COCO test", "VG-Relation uncropped", "VG-Attribution uncropped", "COCO-Order MTEB"),
        *("Flickr30k-Order MTEB", "STS12", "STS13", "STS14", "STS15", "STS16", "STS-B", "SICK-R", "SugarCrepe"),
        *("Winoground", "CIFAR-10", "CIFAR-100", *kinds),
    }
    assert n["COCO test", "text_to_image_recall@1"] == 15  # one query for each right answer
    assert n["COCO test", "image_to_text_recall@1"] == 5
    assert n["VG-Relation uncropped", "accuracy_micro"] == 12
    assert n["STS12", "spearman"] == 16
    assert n["SugarCrepe swap_obj", "multiple_choice_accuracy"] == 4
    assert n["SugarCrepe++ swap_att", "text_accuracy"] == 4
    assert n["CIFAR-100", "top5_accuracy"] == 6
    no_split, no_revision, no_configuration = [
        line for line in done.stdout.splitlines() if line.startswith("refused:")
    ]
    assert "it has no split test, only corpus" in no_split
    assert "Revision '2222" in no_revision
    assert "texts" in no_configuration
    assert "ImageNet [0.0, 1.0, 2.0, 0.0, 1.0, 2.0] {True}" in done.stdout
    assert "ImageNet needs the class names of open_clip" in done.stderr or "ImageNet" in {
        e["dataset"] for e in entries
    }
    # only the files of the splits that are measured
    train = {path for repo, path in served if "train" in path and repo != sugarcrepe.HUB.repo}
    assert not train
    about = {entry["dataset"]: entry for entry in entries}
    assert about["COCO test"]["source"] == "mteb/mbeir_mscoco_task0"
    assert about["COCO test"]["split"] == "query/test"
    assert about["COCO test"]["share"] == [15, 25_010]
    assert about["CIFAR-10"]["protocol"] == "18 CIFAR templates"
    assert about["VG-Relation uncropped"]["protocol"] == "uncropped"
    assert all(len(entry["revision"]) == 40 for entry in entries)


MTEB = """
import io, json, sys
import mteb
import numpy as np
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ModelMeta
from eval.encoders import load_encoder
from eval.suite import evaluate
from eval.tasks import zero_shot


class Ours(AbsEncoder):
    def __init__(self, encoder):
        self.encoder = encoder
        self.mteb_model_meta = ModelMeta.create_empty(overwrites={"name": "ours/x", "modalities": ["text", "image"]})

    def encode(self, inputs, **kwargs):
        found = []
        for batch in inputs:
            for image in batch.get("image", []):
                image.save(buffer := io.BytesIO(), "PNG")
                found.extend(self.encoder.pictures([{"path": None, "bytes": buffer.getvalue()}]))
            found.extend(self.encoder.texts(batch["text"]) if "text" in batch else [])
        return np.stack(found)


encoder = load_encoder(sys.argv[1], cache_dir=sys.argv[2])
theirs = {}
for name in sys.argv[3:]:
    results = mteb.evaluate(Ours(encoder), mteb.get_task(name), cache=None, encode_kwargs={"batch_size": 4})
    theirs[name] = results.task_results[0].scores["test"][0]
zero_shot.TEMPLATES["cifar"] = ["a photo of a {}."]  # its own
tasks = ["image_text_retrieval", "aro", "sts", "sugarcrepe", "winoground", "zero_shot"]
ours = [(m.dataset, m.metric, m.value) for m in evaluate(encoder, tasks, None)[0]]
print(json.dumps({"theirs": theirs, "ours": ours}, default=str))
"""
# task of MTEB, its figure -> data set and figure here
SAME = {
    **{
        (f"ARO{theirs}", "text_acc"): (ours, "accuracy_micro")
        for theirs, ours in (
            ("VisualRelation", "VG-Relation uncropped"),
            ("VisualAttribution", "VG-Attribution uncropped"),
            ("CocoOrder", "COCO-Order MTEB"),
            ("FlickrOrder", "Flickr30k-Order MTEB"),
        )
    },
    ("SugarCrepe", "text_acc"): ("SugarCrepe", "multiple_choice_accuracy"),
    ("Winoground", "text_acc"): ("Winoground", "text_score"),
    ("Winoground", "image_acc"): ("Winoground", "image_score"),
    ("Winoground", "accuracy"): ("Winoground", "group_score"),
    **{
        (name, "cosine_spearman"): (name, "spearman")
        for name in ("STS12", "STS13", "STS14", "STS15", "STS16", "SICK-R")
    },
    ("STSBenchmark", "cosine_spearman"): ("STS-B", "spearman"),
    ("CIFAR10ZeroShot", "accuracy"): ("CIFAR-10", "top1_accuracy"),
    ("CIFAR100ZeroShot", "accuracy"): ("CIFAR-100", "top1_accuracy"),
    **{
        ("Flickr30kT2IRetrieval", f"recall_at_{k}"): ("Flickr30k test", f"text_to_image_recall@{k}")
        for k in (1, 5, 10)
    },
}


@pytest.mark.slow
def test_mteb_finds_the_same_data_and_the_same_figures(tiny_clip, tmp_path):
    """Its own loader and evaluators, on the same repositories: all but COCO, where it has another protocol."""
    pytest.importorskip("mteb")
    names = list(dict.fromkeys(name for name, _ in SAME))
    with HubDouble() as double:
        fill(double)
        command = [sys.executable, "-c", MTEB, str(tiny_clip), str(tmp_path / "cache"), *names]
        done = subprocess.run(
            command, env=double.environment(tmp_path / "home"), capture_output=True, text=True, cwd=ROOT
        )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    ours = {(dataset, metric): value for dataset, metric, value in found["ours"]}
    theirs = {(name, metric): found["theirs"][name][metric] for name, metric in SAME}
    assert {key: ours[SAME[key]] for key in SAME} == pytest.approx(theirs, abs=1e-5)  # MTEB rounds recall
