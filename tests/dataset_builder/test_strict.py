"""What training refuses is named by its line."""

import gzip
import json

import pytest

from dataset_builder import InputError, load_triples
from dataset_builder.strict import file_rows


def test_json_that_would_crash_pyarrow_is_refused_by_line(tmp_path):
    row = {"image_id": "a", "caption": "a [[[ dog", "paraphrase_1": "b", "paraphrase_2": "c", "boxes": [[1]] * 100}
    deep = json.dumps(row)[:-1] + ', "x": ' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}"
    text = json.dumps(row) + "\n" + deep + "\n"
    (tmp_path / "c.jsonl").write_text(text)
    for source in (tmp_path, tmp_path / "c.jsonl"):
        with pytest.raises(InputError, match=r"c\.jsonl, line 2: is nested more than 60 deep"):
            load_triples(source)
    (tmp_path / "c.jsonl").unlink()
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    for source in (tmp_path, tmp_path / "c.jsonl.gz"):
        with pytest.raises(InputError, match=r"c\.jsonl\.gz, line 2: is nested more than 60 deep"):
            load_triples(source)


def test_a_header_that_comes_again_is_named(tmp_path):
    (tmp_path / "a.csv").write_text("image_id,caption\n1,a dog\nimage_id,caption\n2,a cat\n")
    with pytest.raises(InputError, match=r"a\.csv, line 3: is the header once more"):
        list(file_rows(tmp_path / "a.csv"))
