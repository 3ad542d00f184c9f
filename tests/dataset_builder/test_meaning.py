"""The filters by meaning, with models of a few hundred random weights."""

import asyncio
import contextlib
import json
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cosine_similarity
from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizer

from dataset_builder import __main__ as cli
from dataset_builder import meaning
from dataset_builder.errors import InputError
from dataset_builder.filters import Limits, Rejected
from dataset_builder.meaning import Batches, Entailment, SentenceSimilarity, meaning_checks

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "dog", "cat", "runs", "sleeps"]
SIZES = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}


def save(folder, kind, **config):
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    torch.manual_seed(0)
    kind(BertConfig(**SIZES, vocab_size=len(WORDS), **config)).save_pretrained(folder)
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def encoder(tmp_path):
    return save(tmp_path, BertModel)


@pytest.fixture
def nli(tmp_path):
    labels = {0: "contradiction", 1: "entailment", 2: "neutral"}
    return save(tmp_path, BertForSequenceClassification, id2label=labels, label2id={v: k for k, v in labels.items()})


def test_similarity_is_the_cosine_of_the_mean_states(encoder):
    model, tokenizer = BertModel.from_pretrained(encoder).eval(), BertTokenizer.from_pretrained(encoder)

    def embed(text):
        with torch.no_grad():
            return model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(dim=0)

    pairs = [("a dog runs", "a cat sleeps"), ("a cat", "a cat"), ("a", "a dog runs a dog sleeps")]
    found = SentenceSimilarity(encoder, torch.float32)(pairs)
    expected = [cosine_similarity(embed(one), embed(other), dim=0).item() for one, other in pairs]
    assert found == pytest.approx(expected, abs=1e-5)
    assert found[1] == pytest.approx(1)


def test_an_encoder_that_takes_the_first_state(encoder):
    (Path(encoder) / "1_Pooling").mkdir()
    settings = Path(encoder) / "1_Pooling" / "config.json"
    pairs = [("a dog runs", "a cat sleeps")]
    mean = SentenceSimilarity(encoder, torch.float32)(pairs)
    model, tokenizer = BertModel.from_pretrained(encoder).eval(), BertTokenizer.from_pretrained(encoder)
    with torch.no_grad():
        one, other = (model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0, 0] for text in pairs[0])
    for said in ({"pooling_mode": "cls"}, {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}):
        settings.write_text(json.dumps(said))
        first = SentenceSimilarity(encoder, torch.float32)(pairs)
        assert first == pytest.approx([cosine_similarity(one, other, dim=0).item()], abs=1e-5)
        assert first != pytest.approx(mean, abs=1e-3)
    settings.write_text(json.dumps({"pooling_mode": "mean"}))
    assert SentenceSimilarity(encoder, torch.float32)(pairs) == pytest.approx(mean)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("1_Pooling/config.json", {"pooling_mode": "lasttoken"}),
        ("1_Pooling/config.json", {"pooling_mode": ["mean", "max"]}),
        ("modules.json", [{"type": "sentence_transformers.models.Dense"}]),
    ],
)
def test_another_kind_of_encoder_is_refused(encoder, file, said):
    path = Path(encoder) / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(said))
    with pytest.raises(InputError, match="which is not done here"):
        SentenceSimilarity(encoder)


def test_a_text_is_not_encoded_again(encoder, monkeypatch):
    monkeypatch.setattr(meaning, "REMEMBERED", 3)
    similarity = SentenceSimilarity(encoder, torch.float32)
    encoded = []
    encode = similarity._encode
    similarity._encode = lambda inputs: encoded.append(len(inputs["input_ids"])) or encode(inputs)
    first = similarity([("a dog", "a cat"), ("a cat", "a dog")])
    assert sum(encoded) == 2
    assert similarity([("a dog", "a cat")]) == pytest.approx(first[:1])
    similarity([("a cat", "a dog runs"), ("a dog", "a cat sleeps")])
    assert sum(encoded) == 4
    assert len(similarity._embeds) == 3  # not more than are to be remembered: the oldest goes
    assert "a dog" not in similarity._embeds


def test_entailment_is_the_lower_of_both_ways(nli):
    model, tokenizer = BertForSequenceClassification.from_pretrained(nli).eval(), BertTokenizer.from_pretrained(nli)

    def entailed(one, other):
        with torch.no_grad():
            return model(**tokenizer(one, other, return_tensors="pt")).logits[0].softmax(dim=0)[1].item()

    pairs = [("a dog runs", "a cat"), ("a cat sleeps", "a cat sleeps"), ("a cat", "a dog runs")]
    found = Entailment(nli, torch.float32)(pairs)
    assert found == pytest.approx([min(entailed(a, b), entailed(b, a)) for a, b in pairs], abs=1e-5)
    assert found[0] == pytest.approx(found[2])


def test_a_model_without_the_label_is_refused(encoder):
    with pytest.raises(InputError, match=r"--nli_model .* none named entailment"):
        Entailment(encoder)


@pytest.mark.parametrize("models", [("no/such/folder", None), (None, "no/such/folder")])
def test_a_model_that_is_not_there_is_refused(models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="cannot be opened"):
        meaning_checks(Limits(), *models)


def reasons(checks, pairs):
    async def reason(pair):
        try:
            for check in checks:
                await check(*pair)
        except Rejected as error:
            return error.reason

    async def all_of_them():
        return await asyncio.gather(*map(reason, pairs))

    return asyncio.run(all_of_them())


def test_the_checks_obey_the_limits(encoder):
    pairs = [("a dog runs", "a cat"), ("a cat", "a cat")]
    cosine = SentenceSimilarity(encoder)(pairs)[0]
    assert reasons(meaning_checks(Limits(), encoder, None), pairs) == [None, None]
    between = (1 + cosine) / 2
    assert reasons(meaning_checks(Limits(min_similarity=between), encoder, None), pairs) == ["meaning", None]
    assert reasons(meaning_checks(Limits(max_similarity=between), encoder, None), pairs) == [None, "copy"]


def test_entailment_is_checked_where_it_is_asked_for(nli):
    pairs = [("a dog runs", "a cat")]
    probability = Entailment(nli)(pairs)[0]
    below, above = Limits(min_entailment=probability - 0.01), Limits(min_entailment=probability + 0.01)
    assert reasons(meaning_checks(below, None, nli), pairs) == [None]
    assert reasons(meaning_checks(above, None, nli), pairs) == ["entailment"]
    assert meaning_checks(Limits(), None, None) == []


def test_not_a_number_is_another_meaning():
    check = meaning._similarity_check(
        Limits(min_similarity=0.5), Batches(lambda pairs: [float("nan")] * len(pairs), "m")
    )
    assert reasons([check], [("a", "b")]) == ["meaning"]


def test_what_waits_goes_in_batches(monkeypatch):
    monkeypatch.setattr(meaning, "BATCH", 10)
    sizes = []

    def score(pairs):
        sizes.append(len(pairs))
        return [float(text) for text, _ in pairs]

    async def run():
        batches = Batches(score, "--nli_model m")
        first = await asyncio.gather(*(batches((str(i), "")) for i in range(25)))
        return first, await batches(("7", ""))

    assert asyncio.run(run()) == ([float(i) for i in range(25)], 7.0)
    assert sizes == [10, 10, 5, 1]


def test_an_error_reaches_those_who_wait_and_no_others():
    def score(pairs):
        if len(pairs) > 1:
            raise RuntimeError("out of memory")
        return [1.0]

    async def run():
        batches = Batches(score, "--nli_model m")
        failed = await asyncio.gather(batches(("a", "b")), batches(("c", "d")), return_exceptions=True)
        return failed, await batches(("a", "b"))

    failed, after = asyncio.run(run())
    assert [type(error) for error in failed] == [InputError] * 2
    assert "--nli_model m fails: out of memory" in str(failed[0])
    assert after == 1.0


@pytest.mark.parametrize(
    ("option", "needed"),
    [
        ("--min_similarity", "--similarity_model"),
        ("--max_similarity", "--similarity_model"),
        ("--min_entailment", "--nli_model"),
    ],
)
def test_a_limit_without_the_model_that_measures_it_is_refused(option, needed, tmp_path):
    (tmp_path / "captions.txt").write_text("a dog runs\n")
    command = ["paraphrase", "--captions", str(tmp_path / "captions.txt"), "--output", str(tmp_path / "corpus")]
    with pytest.raises(SystemExit, match=f"{option} needs a model that measures it: give {needed}"):
        cli.main([*command, "--generator", "rules", option, "0.9"])


def test_the_job_checks_the_meaning_of_both_steps(encoder, tmp_path, capsys):
    """With a limit that no two different texts meet, all that is left is what the filters by words drop."""
    (tmp_path / "captions.txt").write_text("a dog runs on the beach\nthe man is sleeping near a cat\n")
    command = ["paraphrase", "--captions", str(tmp_path / "captions.txt"), "--output", str(tmp_path / "corpus")]
    options = ["--generator", "rules", "--similarity_model", encoder, "--min_similarity", "1"]
    with contextlib.suppress(SystemExit):
        cli.main([*command, *options])
    assert "step 1: meaning" in capsys.readouterr().out
