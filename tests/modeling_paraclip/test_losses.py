"""The loss against its definition, written down once more in NumPy and float64, element by element."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_paraclip import ParaCLIPLoss, info_nce


def slow_info_nce(queries, keys, logit_scale, same=None):
    """Section 3.2 as it reads: no softmax, no matrix product, no mask; sums over the rows that count."""
    n = len(queries)
    unit = [[row / np.linalg.norm(row) for row in side.astype(np.float64)] for side in (queries, keys)]
    s = [[math.exp(logit_scale) * float(q @ k) for k in unit[1]] for q in unit[0]]

    def log_sum_exp(values):
        top = max(values)
        return top + math.log(sum(math.exp(v - top) for v in values))

    total = 0.0
    for i in range(n):
        counted = [j for j in range(n) if j == i or same is None or not same[i][j]]
        total += log_sum_exp([s[i][j] for j in counted]) - s[i][i]
        total += log_sum_exp([s[j][i] for j in counted]) - s[i][i]
    return total / (2 * n)


def embeds(n, dim=6, seed=0, views=2):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, dim)).astype(np.float32) for _ in range(views)]


def tensors(*arrays):
    return [torch.from_numpy(array) for array in arrays]


@settings(deadline=None, max_examples=60)
@given(n=st.integers(1, 12), dim=st.integers(2, 9), seed=st.integers(0, 10_000), scale=st.floats(-2, 4.6052))
def test_info_nce_is_its_definition(n, dim, seed, scale):
    q, k = embeds(n, dim, seed)
    assert info_nce(*tensors(q, k), scale).item() == pytest.approx(slow_info_nce(q, k, scale), rel=2e-5, abs=2e-5)


@settings(deadline=None, max_examples=60)
@given(groups=st.lists(st.integers(0, 3), min_size=1, max_size=10), seed=st.integers(0, 10_000))
def test_group_ids_are_never_negatives(groups, seed):
    views = embeds(len(groups), seed=seed, views=4)
    same = [[a == b for b in groups] for a in groups]
    losses = ParaCLIPLoss()(*tensors(*views), torch.tensor(1.5), torch.tensor(groups))
    image, x, x1, x2 = views
    expected = {
        "loss_image_text": slow_info_nce(image, x2, 1.5, same),
        "loss_caption_paraphrase": slow_info_nce(x, x1, 1.5, same),
        "loss_paraphrase_paraphrase": slow_info_nce(x1, x2, 1.5, same),
    }
    assert {name: losses[name].item() for name in expected} == pytest.approx(expected, rel=2e-5, abs=2e-5)
    assert losses["loss"].item() == pytest.approx(sum(expected.values()), rel=2e-5, abs=2e-5)


def test_one_group_is_like_a_batch_of_one():
    q, k = tensors(*embeds(5))
    assert info_nce(q, k, 2.0, positives=torch.ones(5, 5, dtype=torch.bool)).item() == 0
    assert info_nce(q[:1], k[:1], 2.0).item() == 0


def test_batch_of_one_has_no_gradient():
    q, k = (t.requires_grad_() for t in tensors(*embeds(1)))
    info_nce(q, k, 2.0).backward()
    assert torch.count_nonzero(q.grad) == 0


def test_identical_embeddings_give_log_n():
    q = torch.ones(7, 4)
    assert info_nce(q, q, 4.6052).item() == pytest.approx(math.log(7), rel=1e-5)


def test_duplicate_rows():
    q, k = embeds(4)
    q, k = np.concatenate([q, q]), np.concatenate([k, k])
    assert info_nce(*tensors(q, k), 2.0).item() == pytest.approx(slow_info_nce(q, k, 2.0), rel=1e-5)


@pytest.mark.parametrize("scale", [10.0, 20.0, 60.0])
def test_huge_logit_scale_stays_finite_and_right(scale):
    q, k = embeds(6, seed=3)
    q_, k_ = (t.requires_grad_() for t in tensors(q, k))
    loss = info_nce(q_, k_, scale)
    loss.backward()
    assert loss.item() == pytest.approx(slow_info_nce(q, k, scale), rel=1e-4)
    assert torch.isfinite(q_.grad).all()


def test_zero_embedding_stays_finite():
    q = torch.zeros(3, 4, requires_grad=True)
    loss = info_nce(q, torch.randn(3, 4), 4.0)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(3))
    assert torch.isfinite(q.grad).all()


def test_float32_whatever_the_autocast():
    q, k = tensors(*embeds(8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = info_nce(q, k, 4.6)
        from_bf16 = info_nce(q.bfloat16(), k.bfloat16(), 4.6)
    assert inside.dtype == from_bf16.dtype == torch.float32
    assert inside.item() == info_nce(q, k, 4.6).item()
    assert from_bf16.item() == info_nce(q.bfloat16().float(), k.bfloat16().float(), 4.6).item()


def test_weights_scale_their_terms_only():
    views = tensors(*embeds(6, views=4))
    plain = ParaCLIPLoss()(*views, 2.0)
    weighted = ParaCLIPLoss(image_text_weight=0.5, caption_paraphrase_weight=2.0, paraphrase_paraphrase_weight=0.0)(
        *views, 2.0
    )
    assert weighted["loss_image_text"] == plain["loss_image_text"]
    expected = 0.5 * plain["loss_image_text"] + 2.0 * plain["loss_caption_paraphrase"]
    assert weighted["loss"].item() == pytest.approx(expected.item())


def test_gradient_matches_finite_differences():
    q, k = (t.double().requires_grad_() for t in tensors(*embeds(4)))
    positives = torch.eye(4, dtype=torch.bool)
    positives[0, 1] = positives[1, 0] = True
    assert torch.autograd.gradcheck(lambda a, b: info_nce(a, b, 1.0, positives=positives), (q, k))


def test_formula_is_what_is_summed():
    assert ParaCLIPLoss().formula() == "L = L1(images, x'') + L2(x, x') + L3(x', x'')"
    loss = ParaCLIPLoss(image_text_weight=0, caption_paraphrase_weight=0.3, distillation_weight=2)
    assert loss.formula() == "L = 0.3 L2(x, x') + L3(x', x'') + 2 mean(1 - cos(x, x of the base))"


def test_the_terms_beyond_the_paper_are_their_formulas():
    """With arrays of NumPy: the mean of 2 - cos(x, x') - cos(x, x''), and the contrast of images and captions."""
    image, x, x1, x2 = embeds(5, views=4, seed=3)
    found = ParaCLIPLoss(image_caption_weight=0.5, alignment_weight=3)(*tensors(image, x, x1, x2), 1.2)
    unit = [row / np.linalg.norm(row, axis=1, keepdims=True) for row in (x, x1, x2)]
    alignment = np.mean(2 - (unit[0] * unit[1]).sum(axis=1) - (unit[0] * unit[2]).sum(axis=1))
    assert found["loss_alignment"].item() == pytest.approx(alignment, rel=1e-5)
    assert found["loss_image_caption"].item() == pytest.approx(slow_info_nce(image, x, 1.2), rel=1e-5)
    paper = ParaCLIPLoss()(*tensors(image, x, x1, x2), 1.2)
    assert "loss_alignment" not in paper
    expected = paper["loss"] + 0.5 * found["loss_image_caption"] + 3 * found["loss_alignment"]
    assert found["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_weights_that_make_no_loss_are_refused():
    with pytest.raises(ValueError, match="all weights of the loss are 0"):
        ParaCLIPLoss(image_text_weight=0, caption_paraphrase_weight=0, paraphrase_paraphrase_weight=0)
    with pytest.raises(ValueError, match="imagetext_weight: no such weight; there are image_text"):
        ParaCLIPLoss(imagetext_weight=1)
    with pytest.raises(ValueError, match="the term distillation needs base_caption_embeds"):
        ParaCLIPLoss(distillation_weight=1)(*tensors(*embeds(3, views=4)), 1.0)


def test_a_negative_counts_in_the_denominator_of_its_own_row():
    """As one more key that no other row sees; a weight counts it so many times; without one a row is as it was."""
    q, k, n = embeds(7, views=3, seed=1)
    weights = torch.tensor([0.0, 1, 2, 3, 0, 1, 1])
    unit = [row / np.linalg.norm(row, axis=1, keepdims=True) for row in (q, k, n)]
    s, extra = np.exp(unit[0] @ unit[1].T * math.exp(1.5)), np.exp((unit[0] * unit[2]).sum(axis=1) * math.exp(1.5))
    rows, columns, positives = s.sum(axis=1) + weights.numpy() * extra, s.sum(axis=0), s.diagonal()
    expected = (np.log(rows / positives).mean() + np.log(columns / positives).mean()) / 2
    found = info_nce(*tensors(q, k), 1.5, negatives=torch.from_numpy(n), negative_weights=weights)
    assert found.item() == pytest.approx(expected, rel=1e-5)
    none = info_nce(*tensors(q, k), 1.5, negatives=torch.from_numpy(n), negative_weights=torch.zeros(7))
    assert none.item() == pytest.approx(slow_info_nce(q, k, 1.5), rel=1e-5)


def test_rows_without_a_negative_give_it_no_gradient():
    q, k, n = (x.requires_grad_() for x in tensors(*embeds(4, views=3)))
    info_nce(q, k, 1.0, negatives=n, negative_weights=torch.tensor([1.0, 0, 1, 0])).backward()
    assert (n.grad.abs().sum(dim=1) > 0).tolist() == [True, False, True, False]
    assert torch.isfinite(q.grad).all()


def test_negatives_are_part_of_the_formula_and_must_be_there():
    found = ParaCLIPLoss(negative_weight=1).formula()
    assert found.endswith(", negatives in the denominators of L1(images, x''), L2(x, x')")
    found = ParaCLIPLoss(negative_weight=1, image_caption_weight=1, caption_paraphrase_weight=0).formula()
    assert found.endswith(" of L1(images, x''), L1(images, x)")
    with pytest.raises(ValueError, match="negative_weight -1: is below 0"):
        ParaCLIPLoss(negative_weight=-1)
    with pytest.raises(ValueError, match="none of the terms that take negatives has a weight"):
        ParaCLIPLoss(negative_weight=1, image_text_weight=0, caption_paraphrase_weight=0)
    assert "0.5 times" in ParaCLIPLoss(negative_weight=0.5).formula()
    with pytest.raises(ValueError, match="negative_embeds"):
        ParaCLIPLoss(negative_weight=1)(*tensors(*embeds(3, views=4)), 1.0)
