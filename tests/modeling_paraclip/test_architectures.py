import pytest
import torch
from torch.nn import functional as F
from transformers import (
    AutoProcessor,
    BertConfig,
    BertModel,
    BertTokenizer,
    CLIPModel,
    RobertaConfig,
    RobertaModel,
    SiglipModel,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
)

from modeling_paraclip import InputError, encode_texts
from modeling_paraclip.architectures import (
    MAX_PADDING,
    Chunking,
    chunks_by_tokens,
    is_text_weight,
    token_ids,
    token_limit,
)

TEXTS = ["a red circle", "two small blue stars left of a big green square on grass", "moon", "a red circle", "a red"]


def one_by_one(model, tokenizer, texts):
    """The reference: each text by itself, as the tokenizer gives it, with its mask."""
    model.eval()
    with torch.no_grad():
        inputs = [tokenizer(text, truncation=True, max_length=77, return_tensors="pt") for text in texts]
        embeds = [model.get_text_features(i["input_ids"], i["attention_mask"]).pooler_output for i in inputs]
    return F.normalize(torch.cat(embeds), dim=-1)


@pytest.mark.parametrize("max_tokens", [1, 8, 8192])
def test_packed_embeddings_are_clips_own(max_tokens, tiny_clip, tokenizer):
    model = CLIPModel.from_pretrained(tiny_clip).train()
    found = encode_texts(model, tokenizer, TEXTS, max_tokens=max_tokens)
    assert model.training
    torch.testing.assert_close(found, one_by_one(model, tokenizer, TEXTS), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("eos", [2, "its own"])
def test_old_configurations_read_the_highest_id(eos, tiny_clip, tokenizer):
    model = CLIPModel.from_pretrained(tiny_clip)
    model.text_model.eos_token_id = model.config.text_config.eos_token_id = (
        tokenizer.eos_token_id if eos == "its own" else eos
    )
    found = encode_texts(model, tokenizer, TEXTS)
    torch.testing.assert_close(found, one_by_one(model, tokenizer, TEXTS), rtol=1e-4, atol=1e-5)


def test_a_tokenizer_of_another_model_is_refused(tiny_clip, tokenizer):
    model = CLIPModel.from_pretrained(tiny_clip)
    model.config.text_config.eos_token_id = 5
    with pytest.raises(InputError, match="the two do not belong together"):
        encode_texts(model, tokenizer, TEXTS)


def dual_encoder(tiny_clip, text_model):
    clip = CLIPModel.from_pretrained(tiny_clip)
    config = VisionTextDualEncoderConfig.from_vision_text_configs(
        clip.config.vision_config, text_model.config, projection_dim=8
    )
    torch.manual_seed(0)
    return VisionTextDualEncoderModel(config, vision_model=clip.vision_model, text_model=text_model)


def test_a_clip_text_tower_in_a_dual_encoder_is_packed(tiny_clip, tokenizer):
    model = dual_encoder(tiny_clip, CLIPModel.from_pretrained(tiny_clip).text_model)
    assert Chunking(model, tokenizer.pad_token_id).is_packed
    found = encode_texts(model, tokenizer, TEXTS, max_tokens=8)
    torch.testing.assert_close(found, one_by_one(model, tokenizer, TEXTS), rtol=1e-4, atol=1e-5)


@pytest.fixture
def bert(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "circle", "two", "blue", "stars", "moon"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    return BertModel(BertConfig(**sizes, vocab_size=len(words))).eval(), BertTokenizer(str(tmp_path / "vocab.txt"))


def test_any_other_text_tower_is_padded(tiny_clip, bert):
    model = dual_encoder(tiny_clip, bert[0])
    found = encode_texts(model, bert[1], TEXTS, max_tokens=12)
    torch.testing.assert_close(found, one_by_one(model, bert[1], TEXTS), rtol=1e-4, atol=1e-5)


def test_a_sentence_encoder_averages_its_last_states(bert):
    model, tokenizer = bert
    found = encode_texts(model, tokenizer, TEXTS, max_tokens=12)
    for text, embed in zip(TEXTS, found):
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        torch.testing.assert_close(embed, F.normalize(states.mean(dim=0), dim=-1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_near(dtype, tiny_clip, tokenizer):
    exact = encode_texts(CLIPModel.from_pretrained(tiny_clip), tokenizer, TEXTS)
    half = encode_texts(CLIPModel.from_pretrained(tiny_clip, dtype=dtype), tokenizer, TEXTS)
    assert half.dtype == torch.float32
    assert F.cosine_similarity(exact, half).min() > 0.99


def test_limit_is_the_smaller_of_tokenizer_and_model(tiny_clip, tokenizer):
    model = CLIPModel.from_pretrained(tiny_clip)
    assert token_limit(model, tokenizer) == 77
    tokenizer.model_max_length = 10**30
    assert token_limit(model, tokenizer) == 77
    tokenizer.model_max_length = 20
    assert token_limit(model, tokenizer) == 20


def test_truncated_texts_keep_their_end_and_are_counted(tiny_clip, tokenizer, caplog):
    model, texts = CLIPModel.from_pretrained(tiny_clip), ["circle " * 200, "moon"]
    ids, truncated = token_ids(tokenizer, texts, 77)
    assert truncated == [True, False]
    assert len(ids[0]) == 77 and ids[0][-1] == tokenizer.eos_token_id
    found = encode_texts(model, tokenizer, texts)
    torch.testing.assert_close(found, one_by_one(model, tokenizer, texts), rtol=1e-4, atol=1e-5)
    assert "1 of 2 texts were truncated to 77 tokens" in caplog.text


def test_chunks_have_a_token_budget():
    assert chunks_by_tokens([5, 2, 9, 2, 3], 8) == [[1, 3], [4], [0], [2]]


def test_little_of_a_chunk_is_padding():
    lengths = [3 + (i * i) % 37 for i in range(500)]
    chunks = chunks_by_tokens(lengths, 1000)
    assert sorted(i for chunk in chunks for i in chunk) == list(range(500))
    for chunk in chunks:
        padded = len(chunk) * max(lengths[i] for i in chunk)
        assert padded <= 1000 and sum(lengths[i] for i in chunk) >= (1 - MAX_PADDING) * padded


@pytest.mark.parametrize("max_tokens", [1, 8192])
def test_siglip_is_padded_as_it_was_trained(max_tokens, tiny_siglip):
    model, tokenizer = SiglipModel.from_pretrained(tiny_siglip), AutoProcessor.from_pretrained(tiny_siglip).tokenizer
    ids = tokenizer(TEXTS, padding="max_length", max_length=16, truncation=True, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = F.normalize(model.get_text_features(ids).pooler_output, dim=-1)
    torch.testing.assert_close(encode_texts(model, tokenizer, TEXTS, max_tokens=max_tokens), expected)


def test_roberta_counts_positions_after_the_padding(tiny_clip, bert):
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = RobertaConfig(**sizes, vocab_size=11, max_position_embeddings=12, pad_token_id=1)
    model, tokenizer = dual_encoder(tiny_clip, RobertaModel(config).eval()), bert[1]
    assert token_limit(model, tokenizer) == 10
    encode_texts(model, tokenizer, ["red " * 100])


def test_towers_are_told_apart_by_name(tiny_clip):
    names = CLIPModel.from_pretrained(tiny_clip).state_dict()
    assert {name.split(".")[0] for name in names if is_text_weight(name)} == {"text_model", "text_projection"}
