"""The two backends that need no server: rules, and a local model of `transformers`."""

import asyncio
import re

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from dataset_builder.filters import Limits, check_paraphrase, numbers
from dataset_builder.generators import lexicon
from dataset_builder.generators.rules import RulesGenerator, reword
from dataset_builder.generators.transformers import TransformersGenerator
from dataset_builder.journal import Journal
from dataset_builder.paraphrase import PROMPT_1, Paraphraser

CAPTIONS = [
    "A man in a red shirt is riding a bicycle on the street.",
    "Two small dogs run through the grass",
    "A boy and a girl are playing on the beach",
    "three children without hats sitting next to a big rock",
    "A black and white dog leaps over a fence",
    "A woman holding an umbrella walks down the sidewalk while smiling",
    "Michael Jordan jumps in front of a crowd",
    "An elderly lady watches a baby near the ocean",
    "no people are in the picture of a snowy hill",
    "A brown dog is chasing a ball in the park",
]


@pytest.mark.parametrize("thorough", [False, True])
@pytest.mark.parametrize("caption", CAPTIONS)
def test_rules_reword_and_keep_what_must_be_kept(caption, thorough):
    said = reword(caption, thorough)
    if thorough:
        check_paraphrase(said, caption, Limits())
    assert said == reword(caption, thorough)
    assert numbers(said) == numbers(caption)
    colours = r"\b(?:red|black|white|brown)\b"
    assert re.findall(colours, said) == re.findall(colours, caption)
    assert ("Michael Jordan" in caption) == ("Michael Jordan" in said)
    assert said.endswith(".") == caption.endswith(".")
    assert not re.search(r"\ba [aeio]|\ban [^aeiouh]|  ", said)


@pytest.mark.parametrize(
    ("caption", "never"),
    [
        ("a dog house by a road sign", ["canine house", "hound house", "roadway sign", "street sign"]),
        ("a man man-handles a dog-sled", ["canine-sled", "guy-handles"]),
        ("the running shoe of a man", ["dashing shoe", "racing shoe"]),
        ("a woman wearing a hat holds a cup", ["there is"]),
        ("people boat on a lake", ["vessel"]),
    ],
)
def test_rules_leave_alone_what_they_cannot_know(caption, never):
    for thorough in (False, True):
        assert not [bad for bad in never if bad in reword(caption, thorough)]


def test_rules_inflect():
    assert reword("children chased puppies", True).lower() in {
        f"{noun} pursued pups" for noun in ("kids", "youngsters")
    }


def test_lexicon_touches_no_number_colour_or_negation():
    entries = {**lexicon.NOUNS, **lexicon.VERBS, **lexicon.OTHERS}
    colours = {"red", "blue", "green", "black", "white", "brown", "yellow", "pink", "orange", "purple", "gray", "grey"}
    for word, synonyms in entries.items():
        assert synonyms and word not in synonyms
        assert not {word} & colours
        for synonym in synonyms:
            assert numbers(synonym) == numbers(word), (word, synonym)
            assert not set(synonym.split()) & (colours | {"no", "not", "without", "never"})


def test_rules_run_the_job(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite", {"generator": "rules", "model": "r"})

    async def job():
        rows = [(i, str(i), caption) for i, caption in enumerate(CAPTIONS)]
        return await Paraphraser(RulesGenerator(), journal).run(rows)

    try:
        progress = asyncio.run(job())
    finally:
        journal.close()
    assert sum(progress.outcomes.values()) == len(CAPTIONS)
    assert progress.outcomes["done"] >= 6


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
        answers = await asyncio.gather(*(generator.generate(prompt, "") for prompt in prompts))
        await generator.close()
        return answers

    alone, together = asyncio.run(ask(1)), asyncio.run(ask(8))
    assert alone == together
    for answer in together:
        assert answer.finish_reason in ("length", "stop")
        assert answer.tokens_out <= 6
        assert "<pad>" not in answer.text
        assert "Paraphrase a dog" not in answer.text  # only what is new


def test_a_local_model_paraphrases_by_both_prompts(local_model, tmp_path):
    journal = Journal(tmp_path / "j" / "journal.sqlite", {"generator": "transformers", "model": "m"})

    async def job():
        generator = TransformersGenerator(
            str(local_model), sampling={"temperature": 1.0, "top_p": 0.1, "max_tokens": 4}
        )
        progress = await Paraphraser(generator, journal).run([(0, "0", "a dog barks")])
        await generator.close()
        return progress

    try:
        progress = asyncio.run(job())
    finally:
        journal.close()
    assert sum(progress.outcomes.values()) == 1
    assert PROMPT_1.count("{}") == 1
