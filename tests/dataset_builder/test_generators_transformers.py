"""A local model of `transformers`: batches, and both steps with a model that was taught two answers."""

import asyncio

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from dataset_builder.generators.transformers import TransformersGenerator
from dataset_builder.journal import Journal, done_rows
from dataset_builder.paraphrase import PROMPT_1, PROMPT_2, Paraphraser


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
