"""A local model of `transformers`, causal or sequence-to-sequence, on whatever device there is."""

from __future__ import annotations

import argparse
import asyncio

from ..journal import Answer
from . import CallFailed, Fatal, model_of, sampling_of


def add_arguments(parser: argparse._ArgumentGroup) -> None:
    """Declare the options of this backend."""
    parser.add_argument("--gguf_file", help="name of the GGUF file in the folder or repository --model, if it is one")
    parser.add_argument(
        "--batch_size",
        type=int,
        default=16,
        help="how many prompts go through the model at once (default: %(default)s)",
    )


def from_args(args: argparse.Namespace) -> TransformersGenerator:
    """Make the generator that the command line asks for."""
    return TransformersGenerator(
        model_of(args), sampling=sampling_of(args), gguf_file=args.gguf_file, batch_size=args.batch_size
    )


class TransformersGenerator:
    """Answers in batches: what is asked within `wait` seconds goes through the model together.

    Args:
        model: a folder or Hub id.
        sampling: as for an endpoint (`temperature`, `top_p`, `max_tokens`); a temperature of 0 is greedy.
        gguf_file: the file in that folder or repository, for a GGUF.
        batch_size: how many prompts go through the model at once.
        wait: seconds to wait for a batch to fill up.
        seed: of the sampling.

    Raises:
        Fatal: the model cannot be opened.
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
        import torch  # here, so that the other backends do not wait for it
        from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

        source = {"gguf_file": gguf_file} if gguf_file else {}
        self.sampling = dict(sampling)
        self.identity = {"model": model, **source, **sampling}
        self.retried = 0
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

    async def generate(self, prompt: str, text: str, step: int) -> Answer:
        """One answer, from the next batch."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((prompt, future))
        if self._runner is None:
            self._runner = asyncio.create_task(self._run())
        return await future

    async def close(self) -> None:
        """Wait for the batch under way."""
        if self._runner is not None:
            await asyncio.gather(self._runner, return_exceptions=True)

    async def _run(self) -> None:
        while self._waiting:
            if len(self._waiting) < self._batch_size:
                await asyncio.sleep(self._wait)
            batch, self._waiting = self._waiting[: self._batch_size], self._waiting[self._batch_size :]
            try:
                answers = await asyncio.to_thread(self._answer, [prompt for prompt, _ in batch])
            except (RuntimeError, ValueError, IndexError) as error:  # out of memory, a prompt over the model's length
                for _, future in batch:
                    if not future.done():
                        future.set_exception(CallFailed(f"model error: {type(error).__name__}"))
                continue
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():  # whoever waited may have been cancelled
                    future.set_result(answer)
        self._runner = None

    def _answer(self, prompts: list[str]) -> list[Answer]:
        import torch

        inputs = self._inputs(prompts)
        temperature = self.sampling.get("temperature", 1.0)
        options: dict = {"do_sample": False}
        if temperature:
            options = {"do_sample": True, "temperature": temperature, "top_p": self.sampling.get("top_p", 1.0)}
        options["max_new_tokens"] = self.sampling.get("max_tokens", 512)
        with torch.inference_mode():
            output = self._model.generate(**inputs, **options, pad_token_id=self._tokenizer.pad_token_id)
        new = output if self._encoder_decoder else output[:, inputs["input_ids"].shape[1] :]
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        return [self._cut(ids, tokens_in) for ids, tokens_in in zip(new.tolist(), lengths)]

    def _inputs(self, prompts: list[str]):
        """The tokens of the prompts, as turns of a chat where the model was trained on chats."""
        tokenizer = self._tokenizer
        if tokenizer.chat_template:
            prompts = [
                str(
                    tokenizer.apply_chat_template(
                        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
                    )
                )
                for prompt in prompts
            ]
        inputs = tokenizer(
            prompts, padding=True, return_tensors="pt", add_special_tokens=not tokenizer.chat_template
        ).to(self._model.device)
        inputs.pop("token_type_ids", None)
        return inputs

    def _cut(self, ids: list[int], tokens_in: int) -> Answer:
        """The answer up to the first end token; a decoder's own start token may be one."""
        ends = self._model.generation_config.eos_token_id
        ends = set(ends if isinstance(ends, list) else [ends])
        stop = next((i for i, token in enumerate(ids) if token in ends and i + self._encoder_decoder > 0), None)
        return Answer(
            str(self._tokenizer.decode(ids[:stop], skip_special_tokens=True)),
            "length" if stop is None else "stop",
            tokens_in,
            len(ids) if stop is None else stop + 1,
        )
