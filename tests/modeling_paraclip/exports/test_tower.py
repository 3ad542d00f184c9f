import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from modeling_paraclip import InputError
from modeling_paraclip.architectures import encode_texts
from modeling_paraclip.exports.tower import (
    TEXTS,
    Tower,
    check_image_tower,
    largest_difference,
    need,
    open_tower,
    ranking_overlap,
    tokenize,
    write_tokenizer,
)


def test_there_are_100_different_texts():
    assert len(TEXTS) == len(set(TEXTS)) == 100


@pytest.mark.parametrize("model", ["clip", "siglip", "siglip2", "tiny_dual"])
def test_tower_encodes_as_training_does(model, request):
    tower = open_tower(request.getfixturevalue(model))
    expected = encode_texts(tower.model, tower.tokenizer, TEXTS)
    torch.testing.assert_close(torch.from_numpy(tower.encode(TEXTS, "unit")), expected, rtol=0, atol=1e-5)


def test_states_of_all_tokens(clip):
    assert open_tower(clip).encode(TEXTS[:2], "states").shape == (2, 77, 16)


def test_other_models_are_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="of type 'bert': what is exported is of type clip, vision"):
        open_tower(tmp_path)


def test_the_two_tokenizer_files_are_all_that_is_needed(clip, tmp_path):
    tower = open_tower(clip)
    write_tokenizer(clip, tower, tmp_path)
    ids, mask = tokenize(tmp_path, TEXTS)
    expected = AutoTokenizer.from_pretrained(clip)(TEXTS, padding=True, truncation=True)
    assert ids.tolist() == expected["input_ids"] and mask.tolist() == expected["attention_mask"]
    assert tokenize(tmp_path, ["a"], 77)[0].shape == (1, 77)


def test_tokenizer_configuration_is_completed_and_tells_no_path(clip, tmp_path):
    shutil.copytree(clip, tmp_path / "model")
    file = tmp_path / "model" / "tokenizer_config.json"
    file.write_text(json.dumps({"tokenizer_class": "CLIPTokenizer", "name_or_path": "/home/me"}))
    write_tokenizer(tmp_path / "model", open_tower(tmp_path / "model"), tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert (config["pad_token"], config["model_max_length"]) == ("<|endoftext|>", 77) and "name_or_path" not in config


def test_a_tokenizer_that_cannot_be_written_for_others_is_refused(clip, tmp_path):
    (tmp_path / "config.json").write_bytes((clip / "config.json").read_bytes())

    class SentencePiece:
        def save_pretrained(self, folder):
            (folder / "spiece.model").write_bytes(b"")

    tower = Tower(open_tower(clip).model, SentencePiece())
    with pytest.raises(InputError, match=r"has no tokenizer\.json"):
        write_tokenizer(tmp_path, tower, tmp_path)


def test_largest_difference():
    assert largest_difference(np.array([[1.0, 2.5]]), np.array([[1.0, 2.0]])) == 0.5
    assert largest_difference(np.array([1.0]), np.array([[1.0, 2.0]])) == float("inf")
    assert largest_difference(np.array([np.nan]), np.array([1.0])) == float("inf")


def test_ranking_overlap():
    vectors = np.random.default_rng(0).normal(size=(30, 8))
    assert ranking_overlap(vectors * 3, vectors) == 100
    assert ranking_overlap(-vectors, vectors) < 20
    # four texts on a line of angles; the query that moves swaps its two nearest: AO@2 of it is 50, of the others 100
    angles = np.array([0.0, 1.0, 2.2, 3.0])
    moved = angles + np.array([0, 0.3, 0, 0])
    points = [np.stack([np.cos(a), np.sin(a)], axis=1) for a in (moved, angles)]
    assert ranking_overlap(points[0], points[1], k=2) == pytest.approx(100 * (3 + 0.5) / 4)


def test_image_tower_is_compared_byte_for_byte(clip, tiny_clip, tmp_path):
    state = load_file(tiny_clip / "model.safetensors")
    kept = [name for name in state if not name.startswith("text_")]
    assert check_image_tower(clip, tiny_clip) == len(kept)
    for name, change in (("nudged", lambda w: w.nextafter(w + 1)), ("half", lambda w: w.half())):
        shutil.copytree(clip, tmp_path / name)
        key = "visual_projection.weight"
        save_file(state | {key: change(state[key])}, tmp_path / name / "model.safetensors", {"format": "pt"})
        with pytest.raises(InputError, match=r"is not that of .* visual_projection\.weight differs"):
            check_image_tower(tmp_path / name, tiny_clip)


def test_a_missing_package_is_named():
    need("torch")
    with pytest.raises(InputError, match=r"needs no_such_package: pip install 'paraclip\[export\]'"):
        need("torch", "no_such_package")
