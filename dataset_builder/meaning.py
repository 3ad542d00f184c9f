"""The optional filters by meaning: the similarity of two texts, and whether each follows from the other."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import normalize
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer, BatchEncoding
from transformers.utils import cached_file

from .errors import InputError, one_sentence, short
from .filters import Limits, Rejected

BATCH = 64  # pairs of texts
CHUNK = 32  # texts that go through a model together, of similar lengths
LONGEST = 256  # tokens; what is longer is cut
REMEMBERED = 20_000  # embeddings
Pair = tuple[str, str]  # text, paraphrase
# As sentence-transformers names them, now and before its version 6
POOLINGS = {"mean": "mean", "cls": "cls", "pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}


def meaning_checks(
    limits: Limits, similarity_model: str | None, nli_model: str | None
) -> list[Callable[[str, str], Awaitable[None]]]:
    """Load the models, and return a check for each: (text, paraphrase) -> None, or raises Rejected.

    Args:
        limits: `min_similarity` and `max_similarity`, `min_entailment`.
        similarity_model: a sentence encoder's folder or Hub id.
        nli_model: a folder or Hub id of a cross-encoder for natural language inference.

    Raises:
        InputError: a model cannot be opened, or is of another kind.
    """
    checks = []
    if similarity_model is not None:
        similarity = Batches(SentenceSimilarity(similarity_model), f"--similarity_model {similarity_model}")
        checks.append(_similarity_check(limits, similarity))
    if nli_model is not None:
        checks.append(_entailment_check(limits, Batches(Entailment(nli_model), f"--nli_model {nli_model}")))
    return checks


def _similarity_check(limits: Limits, similarity: Batches) -> Callable[[str, str], Awaitable[None]]:
    async def check(text: str, paraphrase: str) -> None:
        cosine = await similarity((text, paraphrase))
        if not cosine >= limits.min_similarity:  # catches NaN
            raise Rejected("meaning")
        if cosine > limits.max_similarity:
            raise Rejected("copy")

    return check


def _entailment_check(limits: Limits, entailment: Batches) -> Callable[[str, str], Awaitable[None]]:
    async def check(text: str, paraphrase: str) -> None:
        if not await entailment((text, paraphrase)) >= limits.min_entailment:
            raise Rejected("entailment")

    return check


class Batches:
    """Scores pairs in batches, in a thread: what comes while one batch is under way goes into the next.

    Args:
        score: a list of pairs -> a number for each.
        name: of the model, for errors.
    """

    def __init__(self, score: Callable[[list[Pair]], list[float]], name: str):
        self._score = score
        self._name = name
        self._waiting: list[tuple[Pair, asyncio.Future[float]]] = []
        self._runner: asyncio.Task | None = None

    async def __call__(self, pair: Pair) -> float:
        """Return the score of a pair. Raises InputError if the model fails, e.g. as memory is short."""
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting.append((pair, future))
        if self._runner is None:
            self._runner = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                try:
                    scores = await asyncio.to_thread(self._score, [pair for pair, _ in batch])
                except (RuntimeError, IndexError, ValueError) as error:
                    told = InputError(f"{self._name} fails: {short(error)}. Give another model, or leave it out.")
                    for _, future in batch:
                        if not future.done():
                            future.set_exception(told)
                    continue
                for (_, future), score in zip(batch, scores, strict=True):
                    if not future.done():  # whoever waited may have been cancelled
                        future.set_result(score)
        finally:
            self._runner = None


class SentenceSimilarity:
    """Cosine similarity of the embeddings of a sentence encoder: the mean of its last states, or the first of them.

    Which of the two is read in the files that sentence-transformers writes; without them it is the mean. Embeddings
    are remembered, as x is compared twice and x' is a source too.

    Args:
        model: a folder or Hub id.
        dtype: of the model; by default the quickest of the machine.

    Raises:
        InputError: the model cannot be opened, or makes its embeddings in another way.
    """

    def __init__(self, model: str, dtype: torch.dtype | None = None):
        self._model, self._tokenizer = _opened("--similarity_model", model, AutoModel, dtype)
        self._takes_first = _pooling(model) == "cls"
        self._embeds: dict[str, torch.Tensor] = {}

    def __call__(self, pairs: list[Pair]) -> list[float]:
        """n pairs of texts -> n cosines in -1..1."""
        new = [text for text in dict.fromkeys(itertools.chain(*pairs)) if text not in self._embeds]
        for chunk, embeds in _by_length(self._tokenizer, new, self._encode):
            self._embeds.update(zip(chunk, embeds))
        one, other = (torch.stack([self._embeds[pair[side]] for pair in pairs]) for side in (0, 1))
        for text in list(itertools.islice(self._embeds, max(0, len(self._embeds) - REMEMBERED))):
            del self._embeds[text]
        return (one * other).sum(dim=1).tolist()

    def _encode(self, inputs: BatchEncoding) -> torch.Tensor:
        states = self._model(**inputs.to(self._model.device)).last_hidden_state.float()
        mask = inputs["attention_mask"][..., None].to(states.device)
        embeds = states[:, 0] if self._takes_first else (states * mask).sum(dim=1) / mask.sum(dim=1)
        return normalize(embeds, dim=-1).cpu()


class Entailment:
    """Whether two texts follow from each other, by a cross-encoder that was trained on natural language inference.

    Args:
        model: a folder or Hub id; one of its labels names entailment.
        dtype: of the model; by default the quickest of the machine.

    Raises:
        InputError: the model cannot be opened, or has no such label.
    """

    def __init__(self, model: str, dtype: torch.dtype | None = None):
        self._model, self._tokenizer = _opened("--nli_model", model, AutoModelForSequenceClassification, dtype)
        labels = {index: str(label).lower() for index, label in self._model.config.id2label.items()}
        found = [index for index, label in labels.items() if label.startswith("entail")]
        if len(found) != 1:
            raise InputError(
                f"--nli_model {model}: has the labels {', '.join(labels.values())}, and none named entailment. Give a "
                "model that was trained on natural language inference, e.g. cross-encoder/nli-deberta-v3-base."
            )
        self._label = found[0]

    def __call__(self, pairs: list[Pair]) -> list[float]:
        """n pairs of texts -> n probabilities, each the lower one of both directions."""
        directed = list(dict.fromkeys([*pairs, *((other, one) for one, other in pairs)]))
        found: dict[Pair, float] = {}
        for chunk, probabilities in _by_length(self._tokenizer, directed, self._entailed):
            found.update(zip(chunk, probabilities.tolist()))
        return [min(found[one, other], found[other, one]) for one, other in pairs]

    def _entailed(self, inputs: BatchEncoding) -> torch.Tensor:
        return self._model(**inputs.to(self._model.device)).logits.float().softmax(dim=-1)[:, self._label].cpu()


def _by_length(tokenizer: Any, texts: list, run: Callable[[Any], torch.Tensor]):
    """Yield (some texts or pairs, what `run` gives for them), so that those of a chunk need little padding."""
    if not texts:
        return
    is_pair = not isinstance(texts[0], str)
    limit = min(LONGEST, tokenizer.model_max_length)
    encoded = tokenizer(
        *(map(list, zip(*texts)) if is_pair else (texts,)), truncation=True, max_length=limit, padding=False
    )
    rows = [{name: values[i] for name, values in encoded.items()} for i in range(len(texts))]
    order = sorted(range(len(texts)), key=lambda i: len(rows[i]["input_ids"]))
    size = math.ceil(len(order) / math.ceil(len(order) / CHUNK))
    for start in range(0, len(order), size):
        chunk = order[start : start + size]
        with torch.inference_mode():
            yield [texts[i] for i in chunk], run(tokenizer.pad([rows[i] for i in chunk], return_tensors="pt"))


def _opened(option: str, name: str, kind: Any, dtype: torch.dtype | None) -> tuple[Any, Any]:
    """The model on the device there is, and its tokenizer."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        model = kind.from_pretrained(name, use_safetensors=True, dtype=dtype or _quickest(device)).eval()
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"{option} {name} cannot be opened: {error}") from error
    return model.to(device), tokenizer


def _pooling(name: str) -> str:
    """How a sentence encoder makes one vector of its states: "mean" or "cls"."""
    with one_sentence(f"--similarity_model {name}: its settings cannot be read", "Give another model."):
        modules = [module["type"].rsplit(".", 1)[-1] for module in _settings(name, "modules.json")]
        settings = dict(_settings(name, "1_Pooling/config.json"))
    named = settings.get("pooling_mode") or [key for key, value in settings.items() if "pooling_mode" in key and value]
    mode = POOLINGS.get(str(named[0] if isinstance(named, list) and len(named) == 1 else named or "mean"))
    if mode is None or set(modules) - {"Transformer", "Pooling", "Normalize"}:
        raise InputError(
            f"--similarity_model {name}: makes its embeddings by {', '.join(modules)} and {named}, which is not done "
            "here. Give one that takes the mean of all states or the first one, e.g. all-MiniLM-L6-v2 or BGE."
        )
    return mode


def _settings(name: str, file: str) -> Any:
    """What a file of settings in a model's folder or repository says; nothing where it is missing."""
    path = cached_file(
        name, file, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False
    )
    return json.loads(Path(path).read_text("utf-8")) if path else {}


def _quickest(device: str) -> torch.dtype:
    """bfloat16 where the hardware multiplies in it, which changes a cosine by less than 0.001 (all-MiniLM-L6-v2)."""
    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    able = torch.cpu.get_capabilities()
    return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else torch.float32
