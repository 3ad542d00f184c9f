"""A local model of `transformers`, causal or sequence-to-sequence, on whatever device there is."""

from __future__ import annotations

import argparse
import asyncio
import re

from ..errors import InputError, short
from ..journal import Answer
from . import SAMPLING, CallFailed, Fatal, identity_of, limit_of, messages_of, model_of, sampling_of

# What `--extra_body` may hold besides the sampling options of every backend
GENERATION = ("top_k", "min_p", "typical_p", "repetition_penalty", "no_repeat_ngram_size")
THOUGHT_MARKS = re.compile("think|thought|channel|message", re.IGNORECASE)


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
        model_of(args),
        sampling=sampling_of(args),
        system_prompt=args.system_prompt,
        gguf_file=args.gguf_file,
        batch_size=args.batch_size,
    )


class TransformersGenerator:
    """Answers in batches: what is asked within `wait` seconds goes through the model together.

    Args:
        model: a folder or Hub id.
        sampling: as for an endpoint (`temperature`, `top_p`, `max_tokens`, `seed`); a temperature of 0 is greedy. Also
            `chat_template_kwargs`, e.g. `{"enable_thinking": False}`, and the options in `GENERATION`.
        system_prompt: what the model is told before each prompt.
        gguf_file: the file in that folder or repository, for a GGUF.
        batch_size: how many prompts go through the model at once.
        wait: seconds to wait for a batch to fill up.

    Raises:
        Fatal: the model cannot be opened.
        InputError: an option that the model or this backend does not know.
    """

    def __init__(
        self,
        model: str,
        *,
        sampling: dict,
        system_prompt: str | None = None,
        gguf_file: str | None = None,
        batch_size: int = 16,
        wait: float = 0.05,
    ):
        import torch  # here, so that the other backends do not wait for it
        from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

        source = {"gguf_file": gguf_file} if gguf_file else {}
        self.sampling = sampling | ({"system_prompt": system_prompt} if system_prompt else {})
        self.identity = identity_of(model, source | sampling, system_prompt)
        self.max_tokens = limit_of(sampling) or SAMPLING["max_tokens"]  # a model that never ends has to
        self.retried = 0
        self._system_prompt = system_prompt
        self._options = self._generation_options(sampling)
        self._template_options = sampling.get("chat_template_kwargs") or {}
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
        # what marks a thought has to stay, although some tokenizers call it special: it is taken off with the thought
        self._dropped = {
            number
            for number, token in self._tokenizer.added_tokens_decoder.items()
            if token.special and not THOUGHT_MARKS.search(token.content)
        }
        self._encoder_decoder = config.is_encoder_decoder
        self._check_chat()
        self._batch_size, self._wait = batch_size, wait
        self._waiting: list[tuple[str, asyncio.Future]] = []
        self._runner: asyncio.Task | None = None
        torch.manual_seed(sampling.get("seed", 0))

    def messages(self, prompt: str) -> list[dict[str, str]]:
        """The turns of the chat that the model goes on with."""
        return messages_of(prompt, self._system_prompt)

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
            except Exception as error:  # out of memory, too long a prompt; whatever it is, whoever waits has to know
                for _, future in batch:
                    if not future.done():
                        future.set_exception(CallFailed(f"model error: {type(error).__name__}", short(error)))
                continue
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():  # whoever waited may have been cancelled
                    future.set_result(answer)
        self._runner = None

    def _answer(self, prompts: list[str]) -> list[Answer]:
        import torch

        inputs = self._inputs(prompts)
        with torch.inference_mode():
            output = self._model.generate(**inputs, **self._options, pad_token_id=self._tokenizer.pad_token_id)
        new = output if self._encoder_decoder else output[:, inputs["input_ids"].shape[1] :]
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        return [self._cut(ids, tokens_in) for ids, tokens_in in zip(new.tolist(), lengths)]

    def _generation_options(self, sampling: dict) -> dict:
        """The sampling options as `generate` names them. Raises InputError."""
        known = {"max_tokens", "max_completion_tokens", "max_new_tokens", "temperature", "top_p", "seed"}
        if unknown := sorted(sampling.keys() - known - {"chat_template_kwargs", *GENERATION}):
            raise InputError(
                f"--extra_body: {', '.join(unknown)} is unknown to --generator transformers. It takes "
                f"chat_template_kwargs, {', '.join(GENERATION)}."
            )
        options = {name: sampling[name] for name in GENERATION if name in sampling}
        if temperature := sampling.get("temperature", 1.0):
            options |= {"do_sample": True, "temperature": temperature, "top_p": sampling.get("top_p", 1.0)}
        else:
            options["do_sample"] = False
        return {**options, "max_new_tokens": self.max_tokens}

    def _check_chat(self) -> None:
        """Raises InputError for a system prompt, or options of the template, that the model cannot be told."""
        asked = "--system_prompt" if self._system_prompt else "chat_template_kwargs" if self._template_options else ""
        if not self._tokenizer.chat_template:
            if asked:
                raise InputError(f"{asked}: --model {self.identity['model']} has no chat template. Leave it out.")
            return
        try:
            self._chat("a dog")
        except Exception as error:  # a template is a program, and raises what it likes
            raise InputError(
                f"The chat template of --model {self.identity['model']} does not take the prompt: {short(error)}. Try "
                "without --system_prompt and chat_template_kwargs, or choose another model."
            ) from error

    def _chat(self, prompt: str) -> str:
        """The prompt as a turn of a chat, up to where the answer begins."""
        return str(
            self._tokenizer.apply_chat_template(
                self.messages(prompt), tokenize=False, add_generation_prompt=True, **self._template_options
            )
        )

    def _inputs(self, prompts: list[str]):
        """The tokens of the prompts, as turns of a chat where the model was trained on chats."""
        tokenizer = self._tokenizer
        if tokenizer.chat_template:
            prompts = [self._chat(prompt) for prompt in prompts]
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
        kept = [token for token in ids[:stop] if token not in self._dropped]
        return Answer(
            str(self._tokenizer.decode(kept)),
            "length" if stop is None else "stop",
            tokens_in,
            len(ids) if stop is None else stop + 1,
        )
