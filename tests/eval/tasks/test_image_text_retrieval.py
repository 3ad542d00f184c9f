import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.tasks import image_text_retrieval as task
from eval.tasks.image_text_retrieval import image_text_retrieval_values
from modeling_paraclip import InputError
from tests.eval.samples import pictures, replace


@settings(deadline=None)
@given(st.integers(0, 1000))
def test_recall_is_its_definition(seed):
    rng = np.random.default_rng(seed)
    texts, gallery = rng.integers(-2, 3, (9, 2)), rng.integers(-2, 3, (6, 2))  # many ties
    own = rng.integers(0, 5, 9)  # picture 5 is a distractor
    measured = image_text_retrieval_values(texts, gallery, own, ks=(1, 3))
    for k in (1, 3):
        hits = [own[i] in sorted(range(6), key=lambda j: (-(texts[i] @ gallery[j]), j))[:k] for i in range(9)]
        assert measured[f"text_to_image_recall@{k}"].tolist() == hits
        hits = [
            any(own[i] == j for i in sorted(range(9), key=lambda i: (-(texts[i] @ gallery[j]), i))[:k])
            for j in sorted(set(own))
        ]
        assert measured[f"image_to_text_recall@{k}"].tolist() == hits


def test_a_small_gallery_is_said(folder, encoder, caplog):
    task.warn_of_small_gallery.cache_clear()
    for _ in range(2):
        task.image_text_retrieval(encoder, folder)
    assert [record.getMessage() for record in caplog.records if "gallery of 16 pictures" in record.getMessage()] == [
        "Retrieval figures mean little in a gallery of 16 pictures; measure on more."
    ]


KARPATHY = [
    ("val2014", "0.png", "test", ["a red circle", "two blue stars"]),
    ("train2014", "1.png", "restval", ["the black moon"]),
    ("val2014", "2.png", "test", ["a green ring on sand"]),
]


@pytest.fixture
def karpathy(folder, tmp_path):
    """A folder as Karpathy's files and COCO's archives make it."""
    (tmp_path / "coco/images").mkdir(parents=True)
    shutil.copytree(folder / "photos/images", tmp_path / "coco/images/val2014")
    images = [
        {
            **{"filepath": year, "filename": name, "split": split, "imgid": i},
            "sentences": [{"raw": text, "sentid": 10 * i + j, "tokens": []} for j, text in enumerate(texts)],
        }
        for i, (year, name, split, texts) in enumerate(KARPATHY)
    ]
    (tmp_path / "coco/dataset_coco.json").write_text(json.dumps({"images": images}))
    return tmp_path


def test_karpathys_files_go_in_as_they_are(karpathy):
    (found,) = task.captions_in(karpathy)
    assert found.name == "coco test"
    assert found.texts == ["a red circle", "two blue stars", "a green ring on sand"]
    names = [Path(picture["path"]).relative_to(karpathy).as_posix() for picture in found.pictures]
    assert names == ["coco/images/val2014/0.png", "coco/images/val2014/2.png"]
    assert found.picture_of_text.tolist() == [0, 0, 1]
    assert (found.about.source, found.about.split) == ("coco/dataset_coco.json", "test")
    for picture in (karpathy / "coco/images/val2014").iterdir():  # without the folder of the year
        picture.rename(karpathy / "coco/images" / picture.name)
    (karpathy / "coco/images/val2014").rmdir()
    assert len(task.captions_in(karpathy)[0].pictures) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"images": []}', "has no list of images"),
        ("[1]", "has no list of images"),
        ('{"images": [{"split": "test"}]}', "image 1: split and filename have to be texts"),
        (
            '{"images": [{"split": "test", "filename": "1", "sentences": [{"raw": "a"}]}]}',
            "image 1: sentences have to",
        ),
    ],
)
def test_other_json_is_none_of_karpathys(content, message, karpathy):
    (karpathy / "coco/dataset_coco.json").write_text(content)
    with pytest.raises(InputError, match=message):
        task.captions_in(karpathy)


def test_two_sets_in_one_folder_are_refused(karpathy):
    (karpathy / "coco/captions.jsonl").write_text('{"image": "0.png", "captions": ["a"]}\n')
    with pytest.raises(InputError, match=r"coco has captions\.jsonl and dataset_coco\.json\. Keep one"):
        task.captions_in(karpathy)


def test_a_caption_of_two_pictures_is_a_query_for_each(encoder, folder, monkeypatch):
    tables = {
        "query": [{"id": "q0", "text": "a red circle"}, {"id": "q1", "text": "two blue stars"}],
        "corpus": [
            {"id": f"p{i}", "image": picture}
            for i, picture in enumerate(pictures(folder, "photos/images/0.png", "photos/images/1.png"))
        ],
        "qrels": [{"query": q, "picture": p} for q, p in (("q0", "p0"), ("q0", "p1"), ("q1", "p1"))],
    }
    monkeypatch.setattr(task, "rows_of", lambda file, source, **kinds: tables[source.name])
    monkeypatch.setattr(task, "HUB", {"COCO test": ("mteb/x", "0" * 40, 4)})
    measured = task.image_text_retrieval(encoder, None)
    scored = measured["COCO test", "text_to_image_recall@1"]
    texts = encoder.texts(["a red circle", "two blue stars"])
    first = (texts @ encoder.pictures([row["image"] for row in tables["corpus"]]).T).argmax(axis=1)
    assert scored.values.tolist() == [first[0] == 0, first[0] == 1, first[1] == 1]
    assert scored.about.share == (3, 4)
    assert scored.about.gallery == 2
    assert scored.statistic.units.tolist() == [0, 1, 1]
    assert len(measured["COCO test", "image_to_text_recall@1"].values) == 2
    tables["qrels"].append({"query": "q2", "picture": "p0"})
    with pytest.raises(InputError, match="mteb/x: the right answers name 'q2'"):
        task.image_text_retrieval(encoder, None)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(
            replace("photos/captions.jsonl", b'["a red circle", "two blue stars"]', b'"a"'), "list", id="no list"
        ),
        pytest.param(replace("photos/captions.jsonl", b'["nothing here"]', b"[]"), "list of texts", id="empty list"),
        pytest.param(replace("photos/captions.jsonl", b"1.png", b"0.png"), "more than once", id="repeated picture"),
    ],
)
def test_bad_input_is_one_clear_sentence(spoil, message, refused):
    refused("image_text_retrieval", spoil, message)
