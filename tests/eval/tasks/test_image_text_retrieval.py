import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.tasks import image_text_retrieval as task
from eval.tasks.image_text_retrieval import image_text_retrieval_values
from tests.eval.samples import replace


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
