"""A packed chunk says which texts it holds, each beginning once; the tower makes of it what it makes of each text."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_paraclip import load_clip
from modeling_paraclip.packing import MULTIPLE, QuickGELU, pack
from tests.unpack import unpack

END = 9
texts_strategy = st.sets(
    st.lists(st.integers(0, 4), max_size=12).map(lambda ids: (*ids, END)), min_size=1, max_size=40
)


@settings(max_examples=200, deadline=None)
@given(texts=texts_strategy, chunk_tokens=st.integers(1, 60))
def test_pack_holds_each_text_once_and_each_beginning_once(texts, chunk_tokens):
    texts = sorted(texts)
    chunks, where, filling = pack(texts, chunk_tokens)
    packed = [tuple(text) for chunk in chunks for text in unpack(chunk)]
    assert [packed[i] for i in where] == texts
    real_nodes = 0
    for chunk in chunks:
        held = [tuple(text) for text in unpack(chunk)]
        beginnings = {text[: i + 1] for text in held for i in range(len(text))}
        real_nodes += len(beginnings)
        assert len(beginnings) <= chunk_tokens or len(held) == 1
        # a node is one beginning: its position, and every token that is it
        nodes = {}
        tokens = [text[: i + 1] for text in held for i in range(len(text))]
        for node, beginning in zip(chunk["node_of_token"].tolist(), tokens, strict=True):
            assert nodes.setdefault(node, beginning) == beginning
            assert chunk["position_ids"][node] == len(beginning) - 1
        assert sorted(nodes) == list(range(len(beginnings)))
        for node, beginning in nodes.items():
            assert tokens[chunk["token_of_node"][node]] == beginning
        assert [nodes[node] for node in chunk["end_nodes"].tolist()] == held
        assert len(chunk["input_ids"]) == len(chunk["position_ids"]) == len(chunk["token_of_node"])
        assert 0 <= len(chunk["input_ids"]) - len(beginnings) < MULTIPLE
        assert [length for length, _ in chunk["buckets"]] == sorted({len(text) for text in held})
    assert filling == pytest.approx(1 - real_nodes / sum(len(chunk["input_ids"]) for chunk in chunks))


def test_encoding_a_tree_is_encoding_each_text(tiny_clip):
    model = load_clip(tiny_clip).double().eval()
    end = model.config.text_config.eos_token_id
    rng = np.random.default_rng(0)
    texts = sorted({(*rng.integers(1, 5, rng.integers(0, 30)).tolist(), end) for _ in range(60)})
    chunks, where, _ = pack(texts, 120)
    assert len(chunks) > 2
    embeds = model.encode_chunks(chunks)[torch.from_numpy(where)]
    alone = torch.cat([model.encode_text(torch.tensor([text])) for text in texts])
    torch.testing.assert_close(embeds, alone, rtol=1e-9, atol=1e-12)


def test_quick_gelu_is_clips():
    x = torch.randn(50, dtype=torch.float64, requires_grad=True)
    expected = x * torch.sigmoid(1.702 * x)
    torch.testing.assert_close(QuickGELU()(x), expected)
    assert torch.autograd.gradcheck(QuickGELU(), x)
