"""The vectors of sentence encoders are those of sentence-transformers, or the model is refused."""

import json
import logging
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizerFast,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5Model,
)

from eval.encoders import load_encoder
from eval.sentence_encoders import OLD_KEYS, POOLINGS
from modeling_paraclip import InputError

WORDS = ["a", "dog", "runs", "two", "dogs", "on", "the", "sand", "photo", "of"]
TEXTS = ["a dog", "two dogs on the sand", "a dog", "runs", "A Dog RUNS on the sand " * 4, "of"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture
def sentence_transformers():
    return pytest.importorskip("sentence_transformers")


def write_tiny_bert(folder):
    """A random BERT with a tokenizer for `WORDS`, and no file of sentence-transformers."""
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL, *WORDS]))
    BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=False).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=15, max_position_embeddings=32, initializer_range=0.5, **sizes)).save_pretrained(
        folder
    )
    return folder


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory):
    return write_tiny_bert(tmp_path_factory.mktemp("tiny_bert"))


@pytest.fixture
def folder(tiny_bert, tmp_path):
    """A copy to write other files into."""
    shutil.copytree(tiny_bert, tmp_path / "model")
    return tmp_path / "model"


def write(folder, **files):
    for name, content in files.items():
        path = folder / f"{name.replace('__', '/')}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))


def modules(*kinds):
    return [
        {"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "", "type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(kinds)
    ]


def with_dense(folder, **settings):
    weights = {"linear.weight": torch.randn(8, 16), "linear.bias": torch.randn(8)}
    write(folder, modules=modules("Transformer", "Pooling", "Dense", "Normalize"))
    write(folder, **{"1_Pooling__config": {"embedding_dimension": 16, "pooling_mode": "mean"}})
    write(folder, **{"2_Dense__config": {"in_features": 16, "out_features": 8, "bias": True, **settings}})
    write(folder, **{"3_Normalize__config": {}})
    save_file(weights, folder / "2_Dense" / "model.safetensors")


def assert_same_vectors(sentence_transformers, folder, tmp_path):
    theirs = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    expected = theirs.encode(TEXTS, normalize_embeddings=True, batch_size=2)
    ours = load_encoder(str(folder), cache_dir=tmp_path / "cache", device="cpu").texts(TEXTS)
    np.testing.assert_allclose(ours, expected, atol=2e-6)
    np.testing.assert_array_equal(ours[0], ours[2])
    assert len(np.unique(ours.round(4), axis=0)) >= len(TEXTS) - 2
    return theirs


@pytest.mark.parametrize("mode", [*POOLINGS, ["cls", "mean"]], ids=str)
def test_each_pooling_by_its_newer_name(mode, folder, sentence_transformers, tmp_path):
    write(folder, modules=modules("Transformer", "Pooling"))
    write(folder, **{"1_Pooling__config": {"embedding_dimension": 16, "pooling_mode": mode}})
    theirs = assert_same_vectors(sentence_transformers, folder, tmp_path)
    assert theirs[1].pooling_mode == (mode if isinstance(mode, str) else tuple(mode))


@pytest.mark.parametrize("on", [*([key] for key in OLD_KEYS), ["mean_tokens", "cls_token"]], ids=str)
def test_each_pooling_by_its_older_key(on, folder, sentence_transformers, tmp_path):
    old = {f"pooling_mode_{key}": key in on for key in OLD_KEYS}
    write(folder, modules=modules("Transformer", "Pooling", "Normalize"))
    write(folder, **{"1_Pooling__config": {"word_embedding_dimension": 16, **old}, "2_Normalize__config": {}})
    assert_same_vectors(sentence_transformers, folder, tmp_path)


def test_a_folder_that_sentence_transformers_saves(tiny_bert, sentence_transformers, tmp_path):
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    torch.manual_seed(1)
    parts = [Transformer(str(tiny_bert)), Pooling(16, "cls"), Dense(16, 12), Dense(12, 8, bias=False), Normalize()]
    prompts = {"query": "two dogs ", "photo": "a photo of "}
    model = sentence_transformers.SentenceTransformer(
        modules=parts, device="cpu", prompts=prompts, default_prompt_name="photo"
    )
    model.save(str(tmp_path / "saved"))
    assert_same_vectors(sentence_transformers, tmp_path / "saved", tmp_path)


@pytest.mark.parametrize("activation", ["activation.Tanh", "linear.Identity"])
def test_dense_layers(activation, folder, sentence_transformers, tmp_path):
    torch.manual_seed(2)
    with_dense(folder, activation_function=f"torch.nn.modules.{activation}")
    assert_same_vectors(sentence_transformers, folder, tmp_path)
    assert load_encoder(str(folder), cache_dir=tmp_path).texts(["a"]).shape == (1, 8)


@pytest.mark.parametrize("file", ["sentence_bert_config", "sentence_roberta_config"])
def test_length_and_lower_case(file, folder, sentence_transformers, tmp_path, caplog):
    write(folder, modules=modules("Transformer", "Pooling"))
    write(folder, **{"1_Pooling__config": {"embedding_dimension": 16, "pooling_mode": "mean"}})
    write(folder, **{file: {"max_seq_length": 6, "do_lower_case": True}})
    assert_same_vectors(sentence_transformers, folder, tmp_path)
    assert "truncated to 6 tokens" in caplog.text
    vectors = load_encoder(str(folder), cache_dir=tmp_path).texts(["a dog", "A Dog"])
    np.testing.assert_array_equal(*vectors)


def test_default_prompt_and_dimensions(folder, sentence_transformers, tmp_path, caplog):
    write(folder, modules=modules("Transformer", "Pooling"))
    write(folder, **{"1_Pooling__config": {"embedding_dimension": 16, "pooling_mode": "mean"}})
    defaults = {"prompts": {"query": "a photo of ", "document": ""}, "default_prompt_name": "query", "truncate_dim": 8}
    write(folder, config_sentence_transformers=defaults)
    assert_same_vectors(sentence_transformers, folder, tmp_path)
    assert "prompts" not in caplog.text
    prompted = load_encoder(str(folder), cache_dir=tmp_path).texts(["dog"])
    write(folder, config_sentence_transformers={**defaults, "default_prompt_name": None})
    with caplog.at_level(logging.WARNING):
        assert_same_vectors(sentence_transformers, folder, tmp_path)
    assert "texts are encoded without its prompts (query): none is the default" in caplog.text
    assert not np.allclose(prompted, load_encoder(str(folder), cache_dir=tmp_path).texts(["dog"]))


def test_means_where_nothing_is_said(folder, sentence_transformers, tmp_path):
    assert_same_vectors(sentence_transformers, folder, tmp_path)


def test_the_last_token_of_a_causal_language_model(tiny_bert, sentence_transformers, tmp_path):
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(tiny_bert / "tokenizer.json"), pad_token="[PAD]")
    tokenizer.save_pretrained(tmp_path / "gpt")
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=15, n_positions=32, n_embd=16, n_layer=2, n_head=2, bos_token_id=2, eos_token_id=3)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt")
    assert_same_vectors(sentence_transformers, tmp_path / "gpt", tmp_path)


def test_other_files_find_nothing_in_the_cache(folder, tmp_path):
    seen = []
    for mode in ("cls", "mean"):
        write(folder, modules=modules("Transformer", "Pooling"))
        write(folder, **{"1_Pooling__config": {"pooling_mode": mode}})
        seen.append(load_encoder(str(folder), cache_dir=tmp_path / "cache").texts(["two dogs"]))
    assert not np.allclose(*seen)


GOOD = {"modules": modules("Transformer", "Pooling"), "1_Pooling__config": {"pooling_mode": "mean"}}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"modules": modules("Transformer", "WordWeights", "Pooling")}, "names Transformer, WordWeights, Pooling;"),
        ({"modules": modules("CLIPModel")}, "names CLIPModel; understood are"),
        ({"modules": modules("Transformer", "Pooling", "Normalize", "Dense")}, "understood are"),
        ({"modules": []}, "names nothing"),
        ({"modules": {}}, "a list is needed"),
        ({"modules": [1]}, "is no module"),
        ({"modules": [{"type": "os.path", "path": ""}]}, "os.path in '', which is not part of sentence-transformers"),
        ({"modules": [{**modules("Transformer")[0], "path": "../x"}]}, "which is not part of sentence-transformers"),
        ({"modules": [{**modules("Transformer")[0], "path": "0_T"}, modules("", "Pooling")[1]]}, "the folder 0_T"),
        ({"1_Pooling__config": {"pooling_mode": "attention"}}, "the pooling attention; known are cls, max"),
        ({"1_Pooling__config": {"pooling_mode": ["mean", 3]}}, "asks for the pooling"),
        ({"1_Pooling__config": {"pooling_mode_attention": False}}, "the pooling pooling_mode_attention"),
        ({"sentence_bert_config": {"max_seq_length": "long"}}, "max_seq_length 'long'"),
        ({"sentence_bert_config": {"processing_kwargs": {"text": {"padding": "max_length"}}}}, "says processing_k"),
        ({"sentence_bert_config": {"modality_config": {"message": {}}}}, "says modality_config"),
        ({"config_sentence_transformers": {"model_type": "SparseEncoder"}}, "is a SparseEncoder"),
        ({"config_sentence_transformers": {"default_prompt_name": "query"}}, "no prompt 'query', its default"),
        ({"config_sentence_transformers": {"truncate_dim": -1}}, "truncate_dim -1"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused(files, message, folder, tmp_path):
    write(folder, **{**GOOD, **files})
    with pytest.raises(InputError, match=message) as error:
        load_encoder(str(folder), cache_dir=tmp_path)
    assert str(folder) in str(error.value)


def test_a_prompt_that_is_left_out_of_the_pooling_is_refused(folder, tmp_path):
    write(folder, **GOOD)
    write(folder, **{"1_Pooling__config": {"pooling_mode": "mean", "include_prompt": False}})
    load_encoder(str(folder), cache_dir=tmp_path)  # no prompt: of no effect
    write(folder, config_sentence_transformers={"prompts": {"q": "a "}, "default_prompt_name": "q"})
    with pytest.raises(InputError, match="leaves its prompt out of the pooling"):
        load_encoder(str(folder), cache_dir=tmp_path)


def test_a_pooling_without_its_file_is_refused(folder, tmp_path):
    write(folder, modules=modules("Transformer", "Pooling"))
    with pytest.raises(InputError, match=r"no 1_Pooling/config\.json"):
        load_encoder(str(folder), cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"activation_function": "torch.nn.modules.activation.GELU"}, "more than a linear map and one of"),
        ({"activation_function": "mine.Activation"}, "more than a linear map and one of"),
        ({"use_residual": True}, "more than a linear map"),
        ({"module_input_name": "token_embeddings"}, "more than a linear map"),
        ({"bias": False}, r"2_Dense/model\.safetensors of .* cannot be read"),
    ],
)
def test_other_dense_layers_are_refused(settings, message, folder, tmp_path):
    with_dense(folder, **settings)
    with pytest.raises(InputError, match=message):
        load_encoder(str(folder), cache_dir=tmp_path)


def test_pickled_dense_weights_are_refused(folder, tmp_path):
    with_dense(folder)
    (folder / "2_Dense" / "model.safetensors").rename(folder / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(InputError, match="Pickled weights are not opened"):
        load_encoder(str(folder), cache_dir=tmp_path)


def test_an_encoder_with_a_decoder_is_refused(tiny_bert, tmp_path):
    BertTokenizerFast.from_pretrained(tiny_bert).save_pretrained(tmp_path)
    sizes = {"d_model": 16, "d_ff": 16, "d_kv": 8, "num_layers": 1, "num_heads": 2}
    T5Model(T5Config(vocab_size=15, decoder_start_token_id=0, **sizes)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="is a t5 with encoder and decoder"):
        load_encoder(str(tmp_path), cache_dir=tmp_path)
