import importlib
from pathlib import Path

import datasets
import numpy as np
import pytest
from transformers import AutoProcessor

from eval import hub, suite, tasks
from eval.encoders import load_encoder
from modeling_paraclip import InputError, encode_texts, load_clip


def test_gallery_is_the_distinct_pictures_of_all_sets(eval_set):
    other = datasets.Dataset.from_dict({"image_id": ["0.png", "new.png"], "image_embeds": [[9.0] * 8, [2.0] * 8]})
    image_ids, embeds = suite.gallery_of({"val": eval_set, "other": other})
    assert image_ids == [f"{i}.png" for i in range(12)] + ["new.png"]
    np.testing.assert_allclose(np.linalg.norm(embeds, axis=1), 1, rtol=1e-6)


def test_embed_triples_keeps_rows_and_views(tiny_clip, eval_set):
    model = load_clip(tiny_clip)
    tokenizer = AutoProcessor.from_pretrained(tiny_clip).tokenizer
    embeds = suite.embed_triples(model, tokenizer, eval_set)
    assert embeds.shape == (24, 3, 8)
    expected = encode_texts(model, tokenizer, [eval_set[5]["paraphrase_1"]])[0]
    np.testing.assert_allclose(embeds[5, 1], expected, atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_vectors_that_cannot_be_compared_end_the_run(value, tiny_clip, eval_set):
    model = load_clip(tiny_clip)
    model.text_projection.weight.data.fill_(value)
    tokenizer = AutoProcessor.from_pretrained(tiny_clip).tokenizer
    with pytest.raises(InputError, match=r"tuned's vector of 'a red circle 0' is zero or not finite"):
        suite.evaluate_model("tuned", model, tokenizer, {"val": eval_set})


def test_everything_is_encoded_once(folder, tiny_clip, tmp_path, monkeypatch):
    encoder = load_encoder(str(tiny_clip), cache_dir=tmp_path)
    seen = []
    embed = encoder._towers.embed_texts
    monkeypatch.setattr(encoder._towers, "embed_texts", lambda texts, name: seen.extend(texts) or embed(texts, name))
    suite.evaluate(encoder, list(suite.TASKS), folder)
    assert seen
    assert len(seen) == len(set(seen))
    again = load_encoder(str(tiny_clip), cache_dir=tmp_path)
    monkeypatch.setattr(again._towers, "embed_texts", lambda texts, name: pytest.fail("encoded again"))
    monkeypatch.setattr(again._towers, "embed_images", lambda pixels: pytest.fail("encoded again"))
    suite.evaluate(again, list(suite.TASKS), folder)


def test_sentence_encoders_run_text_tasks_only(encoder, folder, monkeypatch):
    monkeypatch.setattr(encoder, "has_images", False)
    measured, not_run = suite.evaluate(encoder, list(suite.TASKS), folder, skip_missing=True)
    assert {m.task for m in measured} == set(suite.TEXT_TASKS)
    assert all("no image tower" in reason for reason in not_run.values())


def test_what_the_hub_does_not_give_is_said(encoder, monkeypatch):
    def refuse(*args, **kwargs):
        raise ConnectionError("offline")

    monkeypatch.setattr(hub.datasets, "load_dataset_builder", refuse)
    measured, not_run = suite.evaluate(encoder, list(suite.TASKS), None, skip_missing=True)
    assert not measured
    assert set(not_run) == set(suite.TASKS)
    with pytest.raises(ValueError, match=r"the task sts: .*offline"):
        suite.evaluate(encoder, ["sts"], None)


def test_each_task_is_one_file_and_one_name():
    files = {path.stem for path in Path(tasks.__file__).parent.glob("*.py")} - {"__init__", "choices"}
    assert set(suite.TASKS) == files
    assert len(suite.TASKS) == len(files)
    assert set(suite.TEXT_TASKS) <= set(suite.TASKS)
    for name in suite.TASKS:
        assert callable(getattr(importlib.import_module(f"eval.tasks.{name}"), name))


def test_named_tasks_without_data_are_an_input_error(encoder, tmp_path):
    with pytest.raises(InputError, match=r"the task sts: .*is not there"):
        suite.evaluate(encoder, ["sts"], tmp_path)
