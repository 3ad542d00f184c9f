"""Whatever the engine does to be fast, loss and gradients are the plain ones: all against one forward over the whole
batch, every text padded to 77 with its mask, the full similarity matrix, plain autograd, in float64."""

import multiprocessing
import os
import socket

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import AutoProcessor, CLIPModel

from modeling_paraclip import ParaCLIPCollator, ParaCLIPLoss, add_lora, info_nce, load_clip, losses
from modeling_paraclip.collator import group_rows

WORDS = [
    "a",
    "red",
    "blue",
    "green",
    "circle",
    "star",
    "square",
    "ring",
    "on",
    "under",
    "beside",
    "two",
    "many",
    "small",
    "large",
    "dotted",
]


def make_rows(n, tokenizer, duplicates=True, negatives=False):
    """`negatives`: a fourth text, which every third row lacks."""
    rng = np.random.default_rng(3)
    texts = [[" ".join(rng.choice(WORDS, rng.integers(2, 14))) for _ in range(3)] for _ in range(n)]
    if duplicates:  # a caption twice, a text in two columns, a picture twice, x' that is x
        texts[5][0], texts[7][2], texts[3][1] = texts[2][0], texts[1][1], texts[3][0]
    if negatives:
        texts = [
            [*views, " ".join(rng.permutation(views[0].split())) if i % 3 else ""] for i, views in enumerate(texts)
        ]
        texts[8][3] = texts[1][3]
    return [
        {
            "image_id": "twice" if duplicates and i in (4, 9) else f"{i}.png",
            "image_embeds": rng.standard_normal(8),
            "input_ids": [ids if text else [] for ids, text in zip(tokenizer(views)["input_ids"], views)],
        }
        for i, views in enumerate(texts)
    ]


def collate(rows, chunk_tokens=60):
    batch = ParaCLIPCollator(chunk_tokens)(rows)
    batch["group_ids"] = torch.from_numpy(group_rows(batch.pop("row_keys").numpy()))
    batch["image_embeds"] = batch["image_embeds"].double()
    assert batch["padding"] > 0
    names = ("image_embeds", "chunks", "text_index", "group_ids", "has_negative")
    return {name: batch[name] for name in names if name in batch}


def plain(model, rows, negative_weight=0.0):
    """Loss by the equations, without anything of the engine but the model's weights."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    length = 77
    count = len(rows[0]["input_ids"])
    ids = torch.zeros(len(rows), count, length, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        for j, text in enumerate(row["input_ids"]):
            text = text or row["input_ids"][0]
            ids[i, j, : len(text)], mask[i, j, : len(text)] = torch.tensor(text), 1
    features = CLIPModel.get_text_features(base, ids.flatten(0, 1), attention_mask=mask.flatten(0, 1))
    views = features.pooler_output.unflatten(0, (len(rows), count)).unbind(1)
    images = torch.from_numpy(np.stack([row["image_embeds"] for row in rows]).astype(np.float32)).double()
    keys = [{row["image_id"], *map(tuple, row["input_ids"][:3])} for row in rows]
    reach = torch.tensor([[bool(a & b) for b in keys] for a in keys])
    for _ in rows:  # closure: rows that share through others
        reach = (reach.float() @ reach.float()) > 0
    same = reach & ~torch.eye(len(rows), dtype=torch.bool)

    def term(a, b, negatives=None):
        a, b = a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)
        logits = (a @ b.T * base.logit_scale.exp()).masked_fill(same, -torch.inf)
        positives, denominators = logits.diagonal(), logits.exp().sum(1)
        if negatives is not None:
            present = torch.tensor([bool(row["input_ids"][3]) for row in rows])
            cosines = torch.nn.functional.cosine_similarity(a, negatives)
            denominators = denominators + negative_weight * present * (cosines * base.logit_scale.exp()).exp()
        return ((denominators.log() - positives).mean() + (logits.logsumexp(0) - positives).mean()) / 2

    x, x1, x2, *more = views
    return term(images, x2, *more) + term(x, x1, *more) + term(x1, x2)


def gradients(loss, model):
    trained = [p for p in model.parameters() if p.requires_grad]
    return torch.autograd.grad(loss, trained)


def assert_same(found, expected):
    """Within 1e-6 relative: the loss, and each parameter's gradient by its norm."""
    (loss, grads), (expected_loss, expected_grads) = found, expected
    assert abs(loss - expected_loss) <= 1e-6 * abs(expected_loss)
    largest = max(g.norm() for g in expected_grads)
    for grad, wanted in zip(grads, expected_grads, strict=True):
        # a key's bias has no gradient but rounding, so the bound is never below the largest norm's rounding
        assert (grad - wanted).norm() <= 1e-6 * wanted.norm() + 1e-12 * largest


@pytest.fixture
def tokenizer(tiny_clip):
    return AutoProcessor.from_pretrained(tiny_clip).tokenizer


def open_model(tiny_clip, lora=False, negative_weight=0.0):
    model = load_clip(tiny_clip, vision=False)
    model.loss = losses.ParaCLIPLoss(negative_weight=negative_weight)
    if lora:
        torch.manual_seed(0)
        model = add_lora(model, r=4)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:  # zero at first, which would hide lora_A's gradient
                torch.nn.init.normal_(parameter, std=0.1)
    return model.double().train()


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize(
    ("duplicates", "negative_weight"),
    [(False, 0), (True, 0), (True, 1.5)],
    ids=["distinct", "duplicates", "negatives"],
)
def test_engine_is_plain_autograd(
    tiny_clip, tokenizer, lora, recompute, tiled, duplicates, negative_weight, monkeypatch
):
    model = open_model(tiny_clip, lora, negative_weight)
    rows = make_rows(24, tokenizer, duplicates, negatives=bool(negative_weight))
    expected_loss = plain(model, rows, negative_weight)
    expected = expected_loss, gradients(expected_loss, model)
    if tiled:
        monkeypatch.setattr(losses, "PLAIN_ROWS", 0)
        monkeypatch.setattr(losses, "TILE", 7 * 24)  # blocks of 7 rows, and a rest
    batch = collate(rows)
    assert len(batch["chunks"]) > 4
    loss = model(**batch, recompute=recompute)["loss"]
    assert_same((loss, gradients(loss, model)), expected)


def test_recomputing_replays_dropout(tiny_clip, tokenizer):
    """The same chunks with the same seed, kept and recomputed: bit for bit one gradient."""
    model = load_clip(tiny_clip, vision=False)
    model = add_lora(model, r=4, dropout=0.3).double().train()
    for module in model.modules():
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.2  # of the attention
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    batch, found = collate(make_rows(24, tokenizer)), []
    for seed, recompute in ((1, False), (1, True), (2, False)):
        torch.manual_seed(seed)
        loss = model(**batch, recompute=recompute)["loss"]
        found.append((loss.detach(), gradients(loss, model)))
    assert_same(found[1], found[0])
    assert found[2][0] != found[0][0]  # there is dropout


def test_tiled_loss_of_every_term_and_the_scale(monkeypatch):
    torch.manual_seed(0)
    embeds = [torch.randn(50, 6, dtype=torch.float64, requires_grad=True) for _ in range(4)]
    scale = torch.tensor(2.3, dtype=torch.float64, requires_grad=True)
    group_ids = torch.randint(0, 30, (50,))
    weights = {"image_text_weight": 0.5, "caption_paraphrase_weight": 2.0, "paraphrase_paraphrase_weight": 0.7}
    found = []
    for rows, tile in ((1024, 2**23), (0, 300)):
        monkeypatch.setattr(losses, "PLAIN_ROWS", rows)
        monkeypatch.setattr(losses, "TILE", tile)
        outputs = ParaCLIPLoss(**weights, text_logit_scale=1.5)(*embeds, scale, group_ids)
        found.append((outputs["loss"], torch.autograd.grad(outputs["loss"], [*embeds, scale])))
    assert_same(found[1], found[0])


@pytest.mark.slow
def test_a_large_batch_goes_in_blocks():
    """Against exact sums over a sample of its rows; memory is benchmarks/train.py's to show."""
    torch.manual_seed(0)
    n, every = 16_384, 16
    queries, keys = torch.randn(2, n, 4)
    queries.requires_grad_()
    loss = info_nce(queries, keys, 1.0)
    loss.backward()
    q, k = (torch.nn.functional.normalize(x.detach().double(), dim=1) for x in (queries, keys))
    rows, columns = (a[::every] @ b.T * np.e for a, b in ((q, k), (k, q)))
    estimate = ((rows.logsumexp(1) + columns.logsumexp(1)) / 2 - (q * k).sum(1)[::every] * np.e).mean()
    assert abs(loss.item() - estimate.item()) < 0.1  # of one row in 16
    assert torch.isfinite(queries.grad).all()


def _worker(rank, port, tiny_clip, rows, lora, recompute, sharded, negative_weight, queue):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    torch.set_num_threads(1)
    model = open_model(tiny_clip, lora, negative_weight)
    if sharded:
        wrapped = fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    else:
        wrapped = torch.nn.parallel.DistributedDataParallel(model)
    half = len(rows) // 2
    everyone = collate(rows)["group_ids"]
    batch = collate(rows[rank * half :][:half])
    batch["group_ids"] = everyone[rank * half :][:half]
    loss = wrapped(**batch, recompute=recompute)["loss"]
    loss.backward()
    mean = loss.detach().clone()
    dist.all_reduce(mean)
    grads = [p.grad.full_tensor() if sharded else p.grad for p in model.parameters() if p.requires_grad]
    if rank == 0:
        queue.put((float(mean / 2), [grad.numpy() for grad in grads]))
    dist.barrier()
    del wrapped, loss  # else its destructor ends the process group with the interpreter locked, and may wait for ever
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lora", "recompute", "sharded", "negative_weight"),
    [(False, False, False, 0.7), (True, True, False, 0), (False, False, True, 0), (False, True, True, 0.7)],
    ids=["ddp-negatives", "ddp-lora-recompute", "fsdp", "fsdp-recompute-negatives"],
)
def test_two_processes_are_one_with_twice_the_batch(tiny_clip, tokenizer, lora, recompute, sharded, negative_weight):
    rows = make_rows(24, tokenizer, negatives=bool(negative_weight))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [
        context.Process(
            target=_worker,
            args=(rank, port, tiny_clip, rows, lora, recompute, sharded, negative_weight, queue),
            daemon=True,
        )
        for rank in (0, 1)
    ]
    for worker in workers:
        worker.start()
    loss, grads = queue.get(timeout=120)
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    model = open_model(tiny_clip, lora)
    expected = plain(model, rows, negative_weight)
    assert_same(
        (torch.tensor(loss, dtype=torch.float64), [torch.from_numpy(g) for g in grads]),
        (expected.detach(), gradients(expected, model)),
    )
