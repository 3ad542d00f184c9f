import pytest
import torch
from torch.nn.functional import cosine_similarity
from transformers import BertConfig, BertModel, BertTokenizer

from dataset_builder.similarity import SentenceSimilarity


@pytest.fixture
def encoder(tmp_path):
    """A random sentence encoder of a few hundred weights."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "dog", "cat", "runs", "sleeps"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertModel(BertConfig(**sizes, vocab_size=len(words))).save_pretrained(tmp_path)
    BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    return tmp_path


def test_similarity_is_the_cosine_of_the_mean_states(encoder):
    model, tokenizer = BertModel.from_pretrained(encoder).eval(), BertTokenizer.from_pretrained(encoder)

    def embed(text):
        with torch.no_grad():
            return model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(dim=0)

    texts, others = ["a dog runs", "a cat"], ["a cat sleeps", "a cat"]
    found = SentenceSimilarity(str(encoder))(texts, others)
    expected = [cosine_similarity(embed(a), embed(b), dim=0).item() for a, b in zip(texts, others)]
    assert found == pytest.approx(expected, abs=1e-5)
    assert found[1] == pytest.approx(1)
