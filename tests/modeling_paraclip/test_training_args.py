import logging

import pytest

from modeling_paraclip import InputError, ParaCLIPLoss, ParaCLIPTrainingArguments
from modeling_paraclip.training_args import RECIPES, DataArguments, ModelArguments


def make(tmp_path, **arguments):
    return ParaCLIPTrainingArguments(output_dir=str(tmp_path), use_cpu=True, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"label_smoothing_factor": 0.1}, "--label_smoothing_factor cannot be used: the loss has no labels"),
        ({"neftune_noise_alpha": 5.0}, "--neftune_noise_alpha cannot be used"),
        ({"batch_eval_metrics": True}, "--batch_eval_metrics cannot be used: the metrics rank one gallery"),
        ({"gradient_checkpointing": True}, "--gradient_checkpointing cannot be used.*--encode_chunk_tokens"),
        ({"auto_find_batch_size": True}, "--auto_find_batch_size cannot be used"),
        ({"train_sampling_strategy": "group_by_length"}, "group_by_length cannot be used: .*biased negatives"),
        ({"hub_strategy": "every_save"}, "--hub_strategy every_save cannot be used: a checkpoint is not a model"),
        ({"report_to": "a_tracker"}, "--report_to a_tracker needs .*pip install a_tracker"),
        ({"optim": "adamw_bnb_8bit"}, "--optim adamw_bnb_8bit needs .*pip install bitsandbytes"),
        ({"text_temperature": 0.0}, "--text_temperature 0.0: has to be above 0"),
        ({"encode_chunk_tokens": 0}, "--encode_chunk_tokens 0: has to be at least 1"),
        (
            {
                "recipe": "paper",
                "image_text_weight": 0,
                "caption_paraphrase_weight": 0,
                "paraphrase_paraphrase_weight": 0,
            },
            "all weights of the loss are 0",
        ),
    ],
)
def test_what_cannot_work_is_refused_in_one_sentence(arguments, message, tmp_path):
    with pytest.raises(InputError, match=message) as refused:
        make(tmp_path, **arguments)
    assert "\n" not in str(refused.value)


def test_a_recipe_gives_the_weights_that_are_not_given(tmp_path):
    assert make(tmp_path, recipe="paper").make_loss().formula() == "L = L1(images, x'') + L2(x, x') + L3(x', x'')"
    plain = make(tmp_path).make_loss().weights
    assert plain == {
        **ParaCLIPLoss().weights,
        **{n.removesuffix("_weight"): w for n, w in RECIPES["retaining"].items()},
    }
    own = make(tmp_path, alignment_weight=0, image_text_weight=0.5)
    assert own.make_loss().weights == {**plain, "alignment": 0, "image_text": 0.5}
    assert own.decisive()["image_text_weight"] == 0.5  # what a checkpoint is compared by, whatever the recipe's name


def test_what_decides_the_weights_is_json_without_a_token(tmp_path):
    decisive = make(tmp_path, seed=3, distillation_weight=2, hub_token="hf_secret").decisive()
    assert decisive["seed"] == 3
    assert decisive["distillation_weight"] == 2
    assert decisive["batch_size"] == 256
    assert "hf_secret" not in str(decisive)


def test_one_gpu_is_used_and_the_others_are_named(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("transformers.TrainingArguments.n_gpu", property(lambda self: 4))
    with caplog.at_level(logging.WARNING):
        assert make(tmp_path).n_gpu == 1
    assert "using one of 4 GPUs; for all of them: torchrun --nproc_per_node 4" in caplog.text


def test_tasks_and_lora_as_they_are_meant():
    assert DataArguments(eval_tasks="sts, aro,").tasks == ["sts", "aro"]
    assert DataArguments().tasks == []
    assert ModelArguments().lora is None
    assert ModelArguments(use_lora=True, lora_r=4).lora == {"r": 4, "alpha": 32, "dropout": 0.0}
