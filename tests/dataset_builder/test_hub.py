"""Data sets of the Hub as captions, with the real clients against a double of the Hub, in a process of their own."""

import gzip
import io
import json
import random
import re
import sys
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.hub_double import HubDouble
from tests.processes import succeeds

from .test_triples import ROW

DEEP = '{"caption": ' + "[" * 100_000 + "]" * 100_000 + "}"
SEMICOLONS = b"---\nconfigs:\n- config_name: default\n  data_files: train.csv\n  sep: ';'\n---\n"
SCRIPT = """
import json
from dataset_builder import InputError, load_triples
from dataset_builder.sources import open_source

def said(**options):
    try:
        return [row[1:] for row in open_source(**options).rows()]
    except InputError as error:
        return str(error)

pictures = open_source(dataset_name="org/pictures")
print(json.dumps({
    "pictures": [pictures.total(), *[row[1:] for row in pictures.rows()][::20]],
    "where": [type(row[2]).__name__ for row in open_source(dataset_name="org/pictures", where="id < 1").rows()][:3],
    "known": pictures.fingerprint(),
    "lines": said(dataset_name="org/lines"),
    "deep": said(dataset_name="org/deep"),
    "german": said(dataset_name="org/two", dataset_config="de", split="test"),
    "which": said(dataset_name="org/two"),
    "no split": said(dataset_name="org/lines", split="test"),
    "nowhere": said(dataset_name="org/nowhere"),
    "semicolons": said(dataset_name="org/semicolons"),
    "table": said(dataset_name="org/table"),
    "shards": said(dataset_name="org/shards"),
}))
for name in ("org/triples", "org/deep", "org/deep-gz"):
    try:
        print(list(load_triples(name)["caption"]))
    except InputError as error:
        print(error)
"""


@pytest.mark.slow
def test_captions_are_streamed_from_the_hub(tmp_path):
    rng, buffer = random.Random(0), io.BytesIO()
    rows = [
        {"image": {"bytes": rng.randbytes(10**5), "path": f"{i}.jpg"}, "caption": f"dog {i}", "id": i}
        for i in range(60)
    ]
    pq.write_table(pa.Table.from_pylist(rows), buffer, row_group_size=20)
    card = "---\nconfigs:\n" + "".join(
        f"- config_name: {name}\n  data_files:\n  - split: test\n    path: {name}/*.csv\n" for name in ("de", "en")
    )
    with HubDouble() as hub:
        hub.repos |= {
            "org/pictures": {"data/train-00000-of-00001.parquet": buffer.getvalue()},
            "org/lines": {"train.jsonl": b'{"text": "a dog", "url": "u"}\n{broken\n{"text": "a cat"}\n'},
            "org/triples": {"train.jsonl.gz": gzip.compress(json.dumps({**ROW, "image_embeds": [1.0]}).encode())},
            "org/deep": {"train.jsonl": f'{{"caption": "a dog"}}\n{DEEP}\n'.encode()},
            "org/deep-gz": {"train.jsonl.gz": gzip.compress(f"{DEEP}\n".encode())},
            "org/two": {
                "README.md": f"{card}---\n".encode(),
                "de/t.csv": b"id,caption\n007,NA\n",
                "en/t.csv": b"caption\na\n",
            },
            "org/semicolons": {"README.md": SEMICOLONS, "train.csv": b"caption;id\na dog;007\n"},
            "org/table": {"train.tsv": b'caption\tid\n"a dog\t007\n'},
            "org/shards": {"train-0.tar": _shard()},
        }
        done = succeeds([sys.executable, "-c", SCRIPT], env=hub.environment(tmp_path / "home"))
        commit = hub.sha("org/pictures")
        sent = hub.sent["data/train-00000-of-00001.parquet"]
    said, triples, *refused = done.stdout.splitlines()
    assert json.loads(said) == {
        "pictures": [None, ["0", "dog 0"], ["20", "dog 20"], ["40", "dog 40"]],
        "where": ["str", "LeftOut", "LeftOut"],
        "known": {"dataset": "org/pictures", "split": "train", "revision": commit},
        "lines": [["u", "a dog"], ["1", None], ["2", "a cat"]],
        "deep": [["0", "a dog"], ["1", None]],
        "german": [["007", "NA"]],
        "which": _Any("org/two: split 'train' .* cannot be opened: .*Config name is missing"),
        "no split": "org/lines: has no split 'test'; its splits are train.",
        "nowhere": _Any("org/nowhere: this data set cannot be opened: .*Check the name"),
        "semicolons": [["7", "a dog"]],  # as pandas reads it
        "table": [["007", '"a dog']],
        "shards": [["a", "a dog"]],
    }
    assert triples == str([ROW["caption"]])
    assert sent < len(buffer.getvalue()) / 4  # the footer, again and again, and the texts
    for line, name in zip(
        refused, ("org/deep@.*train.jsonl, line 2", "org/deep-gz@.*train.jsonl.gz, line 1"), strict=True
    ):
        assert _Any(f"{name}: is nested more than 60 deep") == line


def _shard():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in (("a.jpg", b"no picture"), ("a.txt", b"a dog")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


class _Any:
    """Equal to any text in which the expression is found."""

    def __init__(self, expression):
        self.expression = expression

    def __eq__(self, text):
        return re.search(self.expression, text) is not None

    def __repr__(self):
        return self.expression
