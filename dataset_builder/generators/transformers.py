"""A local model of `transformers`, causal or sequence-to-sequence, on whatever device there is."""

from __future__ import annotations

import asyncio

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from ..journal import Answer
from . import CallFailed, Fatal


class TransformersGenerator:
    """Answers in batches: what is asked within `wait` seconds goes through the model together.

    Args:
        model: a folder or Hub id; for GGUF, the folder or id and `gguf_file`.
        sampling: as for an endpoint (`temperature`, `top_p`, `max_tokens`); a temperature of 0 is greedy.
        batch_size: prompts at once.
    """

    def __init__(
        self,
        model: str,
        *,
        sampling: dict,
        gguf_file: str | None = None,
        batch_size: int = 16,
        wait: float = 0.05,
        seed: int = 0,
    ):
        self.identity = (
            {"model": model, "gguf_file": gguf_file, **sampling} if gguf_file else {"model": model, **sampling}
        )
        self.retried = 0
        source = {"gguf_file": gguf_file} if gguf_file else {}
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(model, **source)
            config = AutoConfig.from_pretrained(model, **source)
            kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
            # a GGUF is read without pickle; anything else has to be safetensors
            safe = {} if gguf_file else {"use_safetensors": True}
            self._model = kind.from_pretrained(model, **source, **safe).eval()
        except (OSError, ValueError) as error:
            raise Fatal(f"--model {model} cannot be opened: {error}") from error
        if torch.cuda.is_available():
            self._model.to("cuda")
        self._tokenizer.padding_side = "right" if config.is_encoder_decoder else "left"
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._encoder_decoder = config.is_encoder_decoder
        self._batch_size, self._wait = batch_size, wait
        self._waiting: list[tuple[str, asyncio.Future]] = []
        self._runner: asyncio.Task | None = None
        torch.manual_seed(seed)

    async def generate(self, prompt: str, text: str) -> Answer:
        """One answer, from the next batch."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((prompt, future))
        if self._runner is None:
            self._runner = asyncio.create_task(self._run())
        return await future

    async def close(self) -> None:
        if self._runner is not None:
            await asyncio.gather(self._runner, return_exceptions=True)

    async def _run(self) -> None:
        while self._waiting:
            if len(self._waiting) < self._batch_size:
                await asyncio.sleep(self._wait)
            batch, self._waiting = self._waiting[: self._batch_size], self._waiting[self._batch_size :]
            try:
                answers = await asyncio.to_thread(self._answer, [prompt for prompt, _ in batch])
                results = [(future, answer, None) for (_, future), answer in zip(batch, answers, strict=True)]
            except (RuntimeError, ValueError, IndexError) as error:  # out of memory, a prompt over the model's length
                results = [(future, None, CallFailed(f"model error: {type(error).__name__}")) for _, future in batch]
            for future, answer, error in results:
                if future.done():
                    continue
                if error is None:
                    future.set_result(answer)
                else:
                    future.set_exception(error)
        self._runner = None

    @torch.inference_mode()
    def _answer(self, prompts: list[str]) -> list[Answer]:
        if self._tokenizer.chat_template:
            prompts = [
                self._tokenizer.apply_chat_template(
                    [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
                )
                for prompt in prompts
            ]
        inputs = self._tokenizer(
            prompts, padding=True, return_tensors="pt", add_special_tokens=not self._tokenizer.chat_template
        ).to(self._model.device)
        inputs.pop("token_type_ids", None)
        temperature = self.identity.get("temperature", 1.0)
        sampling = (
            {"do_sample": True, "temperature": temperature, "top_p": self.identity.get("top_p", 1.0)}
            if temperature
            else {"do_sample": False}
        )
        limit = self.identity.get("max_tokens", 512)
        output = self._model.generate(
            **inputs, **sampling, max_new_tokens=limit, pad_token_id=self._tokenizer.pad_token_id
        )
        new = output if self._encoder_decoder else output[:, inputs["input_ids"].shape[1] :]
        ends = self._model.generation_config.eos_token_id
        ends = set(ends if isinstance(ends, list) else [ends])
        answers = []
        for ids, mask in zip(new.tolist(), inputs["attention_mask"]):
            stop = next((i for i, token in enumerate(ids) if token in ends and i + self._encoder_decoder > 0), None)
            answers.append(
                Answer(
                    self._tokenizer.decode(ids[:stop], skip_special_tokens=True),
                    "length" if stop is None else "stop",
                    int(mask.sum()),
                    len(ids) if stop is None else stop + 1,
                )
            )
        return answers
