import json
import shutil

import pytest
import torch

from modeling_paraclip import InputError, load_clip
from modeling_paraclip.compatibility import check_compatible
from modeling_paraclip.weights import open_processor


@pytest.fixture
def check(tiny_clip, tmp_path):
    """Change files of a copy of a tiny CLIP, open it and check it."""
    folder = shutil.copytree(tiny_clip, tmp_path / "model")

    def run(change=None, **files):
        for name, values in files.items():
            path = folder / f"{name}.json"
            content = json.loads(path.read_text())
            part = content.get("image_processor", content)
            for key, value in values.items():
                (content["text_config"] if key == "eos_token_id" else part)[key] = value
            path.write_text(json.dumps(content))
        model, processor = load_clip(folder), open_processor(folder)
        if change:
            change(model, processor.tokenizer)
        check_compatible("org/name", model, processor.tokenizer, processor.image_processor)

    return run


def test_what_belongs_together_passes_and_draws_no_random_numbers(check):
    before = torch.get_rng_state()
    check(lambda model, tokenizer: torch.set_rng_state(before))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"processor_config": {"size": {"shortest_edge": 10**7}}}, "size 10000000 is not within 1 and 4096 pixels"),
        ({"processor_config": {"crop_size": {"height": 10**6, "width": 96}}}, "crop_size 1000000 is not within"),
        ({"processor_config": {"size": {"shortest_edge": -1}}}, "size -1 is not within"),
        (
            {"processor_config": {"crop_size": {"height": 64, "width": 64}}},
            "does not work: .*Input image size",
        ),
        ({"processor_config": {"image_std": [0, 0, 0]}}, "not finite|does not work"),
        ({"processor_config": {"image_mean": "x"}}, "does not work"),
        ({"tokenizer_config": {"model_max_length": "x"}}, "model_max_length"),
        ({"tokenizer_config": {"model_max_length": 3.5}}, "model_max_length 3.5 is no whole number"),
        ({"config": {"eos_token_id": 7}}, "does not end a text with the token at which"),
    ],
)
def test_what_does_not_fit_is_said_by_name(files, said, check):
    with pytest.raises(InputError, match=rf"org/name.*({said})|model has no tokenizer.*{said}"):
        check(**files)


def test_more_tokens_than_the_model_knows(check):
    with pytest.raises(
        InputError, match=r"org/name: its tokenizer has tokens up to \d+, but its text tower knows 930"
    ):
        check(lambda model, tokenizer: tokenizer.add_tokens(["<one more>"]))


@pytest.mark.parametrize("name", ["text_model", "visual_projection"])
def test_numbers_that_overflow(name, check):
    def overflow(model, tokenizer):
        for parameter in getattr(model, name).parameters():
            parameter.data.fill_(3e38)

    with pytest.raises(InputError, match=r"org/name: its vector.* (not finite|the same)"):
        check(overflow)


def test_a_temperature_that_overflows(check):
    with pytest.raises(InputError, match="its logit_scale 10000 is too large"):
        check(lambda model, tokenizer: model.logit_scale.fill_(1e4))


def test_a_missing_tokenizer_is_not_replaced_by_an_empty_one(tiny_clip, tmp_path):
    folder = shutil.copytree(tiny_clip, tmp_path / "model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(InputError, match=r"no tokenizer|does not tell texts apart|does not end|tokens"):
        check_compatible("org/name", load_clip(folder), open_processor(folder).tokenizer)
