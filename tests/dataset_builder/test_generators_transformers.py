"""A local model of `transformers`: batches, and both steps with a model that was taught two answers."""

import asyncio

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from dataset_builder import InputError
from dataset_builder.generators import CallFailed
from dataset_builder.generators.transformers import TransformersGenerator
from dataset_builder.journal import Answer, Journal
from dataset_builder.paraphrase import PROMPT_1, PROMPT_2, Paraphraser
from dataset_builder.records import done_rows


@pytest.fixture(params=["causal", "seq2seq", "chat"])
def local_model(request, tmp_path):
    """A random model of a few thousand weights, whose tokens are words."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocab = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", "a", "dog", "cat", "Paraphrase", "user"])}
    words = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=64
    )
    if request.param == "chat":
        tokenizer.chat_template = "{% for m in messages %}user {{ m.content }}{% endfor %} a"
    torch.manual_seed(0)
    special = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 1}
    if request.param == "seq2seq":
        sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
        model = T5ForConditionalGeneration(
            T5Config(vocab_size=8, **sizes, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)
        )
    else:
        model = GPT2LMHeadModel(GPT2Config(vocab_size=8, n_positions=128, n_embd=16, n_layer=1, n_head=2, **special))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


def test_a_local_model_answers_in_batches(local_model):
    """Greedy answers do not depend on who shares the batch."""
    prompts = ["Paraphrase a dog", "a cat a cat a cat", "dog"]

    async def ask(batch_size):
        generator = TransformersGenerator(
            str(local_model), sampling={"temperature": 0, "max_tokens": 5}, batch_size=batch_size
        )
        answers = await asyncio.gather(*(generator.generate(prompt, "", 1) for prompt in prompts))
        await generator.close()
        return answers

    alone, together = asyncio.run(ask(1)), asyncio.run(ask(8))
    assert alone == together
    for answer in together:
        assert answer.finish_reason in ("length", "stop")
        assert answer.tokens_out <= 6
        assert "<pad>" not in answer.text
        assert "Paraphrase a dog" not in answer.text  # only what is new


CAPTION, FIRST, SECOND = "a dog barks", "the hound makes noise", "loud canine sounds"


@pytest.fixture
def writer(tmp_path):
    """A causal model that was taught two answers: `FIRST` to the prompt of step 1, `SECOND` to that of step 2."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    taught = [(PROMPT_1.replace("{}", CAPTION), FIRST), (PROMPT_2.replace("{}", FIRST), SECOND)]
    split = pre_tokenizers.WhitespaceSplit()
    words = {word for pair in taught for text in pair for word, _ in split.pre_tokenize_str(text)}
    vocab = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", *sorted(words)])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = split
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    torch.manual_seed(0)
    special = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 1}
    sizes = {"vocab_size": len(vocab), "n_positions": 64, "n_embd": 32, "n_layer": 1, "n_head": 2}
    model = GPT2LMHeadModel(GPT2Config(**sizes, **special, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(100):
        loss = torch.tensor(0.0)
        for prompt, answer in taught:
            ids = tokenizer(f"{prompt} {answer} </s>", return_tensors="pt")["input_ids"]
            loss = loss + model(input_ids=ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(tmp_path / "writer")
    tokenizer.save_pretrained(tmp_path / "writer")
    return tmp_path / "writer"


def test_a_local_model_paraphrases_by_both_prompts(writer, tmp_path):
    journal = Journal(tmp_path / "j" / "journal.sqlite", {"generator": "transformers", "model": "m"})

    async def job():
        generator = TransformersGenerator(str(writer), sampling={"temperature": 0, "max_tokens": 8})
        progress = await Paraphraser(generator, journal).run([(0, "0", CAPTION)])
        await generator.close()
        return progress

    try:
        progress = asyncio.run(job())
    finally:
        journal.close()
    assert progress.outcomes == {"done": 1}, progress.reasons
    assert progress.calls == 2
    (row,) = done_rows(journal.path)
    assert row[:5] == (0, "0", CAPTION, FIRST, SECOND)


THOUGHT = ["<|channel|>", "<think>", "</think>"]  # tokens; gpt-oss calls its marks special, Qwen3 does not
TEMPLATE = (
    "{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}"
    "{% if enable_thinking is defined and not enable_thinking %}<think> </think>{% endif %}"
)


class Model:
    """What a generator asks of a model: it answers `said`, and keeps what it was asked."""

    def __init__(self, generator, said):
        self.tokenizer, self.said = generator._tokenizer, said
        self.device, self.generation_config = generator._model.device, generator._model.generation_config

    def generate(self, input_ids, attention_mask, **options):
        self.prompts, self.options = self.tokenizer.batch_decode(input_ids), options
        said = self.tokenizer(self.said, return_tensors="pt", add_special_tokens=False)["input_ids"]
        return torch.cat([input_ids, said.repeat(len(input_ids), 1)], dim=1)


@pytest.fixture
def thinking_model(tmp_path):
    """A tiny causal model with a chat template, which thinks unless it is told not to."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["<pad>", "</s>", "<unk>", *THOUGHT, "a", "dog", "hound", "is", "so", "system", "user", "Be", "brief"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": THOUGHT[:1]})
    tokenizer.chat_template = TEMPLATE
    sizes = {"vocab_size": len(words), "n_positions": 64, "n_embd": 8, "n_layer": 1, "n_head": 1}
    GPT2LMHeadModel(GPT2Config(**sizes, eos_token_id=1, bos_token_id=1)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


def answered(folder, said, sampling, **options):
    """(answer to "a dog", what the model was asked)."""
    generator = TransformersGenerator(str(folder), sampling=sampling, **options)
    generator._model = model = Model(generator, said)
    return asyncio.run(generator.generate("a dog", "", 1)), model


def test_a_thinking_model_is_told_not_to_think(thinking_model):
    sampling = {"temperature": 0.5, "top_k": 3, "max_tokens": 7, "chat_template_kwargs": {"enable_thinking": False}}
    answer, model = answered(thinking_model, "a hound </s>", sampling, system_prompt="Be brief")
    assert model.prompts == ["system Be brief user a dog <think> </think>"]
    assert model.options == {"do_sample": True, "temperature": 0.5, "top_p": 1.0, "top_k": 3, "max_new_tokens": 7,
                             "pad_token_id": 0}  # fmt: skip
    assert answer == Answer("a hound", "stop", 8, 3)


@pytest.mark.parametrize(
    ("said", "text", "finish_reason"),
    [
        ("<think> so </think> a hound </s>", "<think> so </think> a hound", "stop"),
        ("<|channel|> so <|channel|> a hound </s>", "<|channel|> so <|channel|> a hound", "stop"),
        ("<think> so so so", "<think> so so so", "length"),
    ],
)
def test_a_thought_is_kept_with_its_marks(thinking_model, said, text, finish_reason):
    """`clean_answer` takes it off, and cannot without them."""
    answer, model = answered(thinking_model, said, {"max_tokens": 4})
    assert model.prompts == ["user a dog"]
    assert (answer.text, answer.finish_reason) == (text, finish_reason)


def test_options_are_in_the_identity_of_a_local_model(thinking_model):
    sampling = {"temperature": 0.5, "max_tokens": 7, "seed": 3}
    generator = TransformersGenerator(str(thinking_model), sampling=sampling, system_prompt="Be brief")
    told = {"system_prompt": "Be brief"}
    assert generator.identity == {"model": str(thinking_model), "temperature": 0.5, "seed": 3} | told
    assert generator.sampling == sampling | told
    assert generator.max_tokens == 7


def test_the_seed_decides_what_is_sampled(thinking_model):
    def sample(seed):
        sampling = {"temperature": 5.0, "max_tokens": 20, "seed": seed}
        return asyncio.run(TransformersGenerator(str(thinking_model), sampling=sampling).generate("a dog", "", 1))

    assert sample(1) == sample(1) != sample(2)


@pytest.mark.parametrize(
    ("template", "options", "message"),
    [
        (TEMPLATE, {"sampling": {"frequency_penalty": 1}}, "frequency_penalty is unknown to --generator transformers"),
        (None, {"sampling": {}, "system_prompt": "Be brief"}, "--system_prompt: .* has no chat template"),
        (None, {"sampling": {"chat_template_kwargs": {"a": 1}}}, "chat_template_kwargs: .* has no chat template"),
        ("{{ raise_exception('no system role') }}", {"sampling": {}, "system_prompt": "Be brief"}, "no system role"),
    ],
)
def test_what_a_model_cannot_be_told_is_refused_at_once(thinking_model, template, options, message):
    from transformers import AutoTokenizer

    (thinking_model / "chat_template.jinja").unlink()
    tokenizer = AutoTokenizer.from_pretrained(thinking_model)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(thinking_model)
    with pytest.raises(InputError, match=message):
        TransformersGenerator(str(thinking_model), **options)


def test_whatever_a_model_raises_fails_the_call(thinking_model):
    """Nobody waits for ever."""
    generator = TransformersGenerator(str(thinking_model), sampling={})
    generator._model = None
    with pytest.raises(CallFailed, match="model error: AttributeError") as failed:
        asyncio.run(generator.generate("a dog", "", 1))
    assert "NoneType" in failed.value.said
