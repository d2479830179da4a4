"""The room of a chat: a base in memory, the adapters beside it, and the answers they write.

Everything that touches the model is here, and runs in one thread, one message after the other.
"""

from __future__ import annotations

import copy
import gc
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_lora.core.chat import (
    BASE,
    AdapterLoaded,
    AnswerEnded,
    Ask,
    ChatFailed,
    FromChat,
    LoadAdapter,
    Predict,
    Ready,
    ToChat,
)
from tui_lora.core.errors import UserError
from tui_lora.core.text import clean, one_line
from tui_lora.store.json_file import read_object
from tui_lora.store.model_code import own_classes
from tui_lora.store.model_tokenizer import vocabulary
from tui_lora.worker.oom import is_out_of_memory
from tui_lora.worker.stdio import Stdio
from tui_lora.worker.streaming import stop_when, stream_to

if TYPE_CHECKING:
    from tui_lora.worker.model import Loaded


@dataclass(frozen=True)
class Voice:
    """What answers: an adapter (None: the base), and a tokenizer that writes turns its way.

    `ends` are the tokens with which it ends an answer: those of the template beside the end token,
    or a model whose end token is another one would talk on past them.
    """

    adapter: str | None
    tokenizer: Any
    ends: frozenset[int]


@dataclass
class Room:
    """The model in memory and everyone who can speak through it."""

    loaded: Loaded
    pipes: Stdio[FromChat, ToChat]
    voices: dict[str, Voice] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    most_tokens: int | None = None

    def __post_init__(self) -> None:
        from transformers import GenerationConfig

        from tui_lora.worker.chat_bounds import conversation_tokens

        base = self.loaded.model
        base.eval()
        self.model = base
        self.context = conversation_tokens(base.config, self.most_tokens)
        self.ends = _token_ids(base.generation_config.eos_token_id)
        # generate() fills what an answer leaves unset from here: a model's own temperature or
        # repetition penalty would mix with what the viewer set, and warn.
        base.generation_config = GenerationConfig()
        self.voices[BASE] = _voice(None, self.loaded.tokenizer)
        # peft's names must have no dots; the viewer's are free text.
        self._inner_names = (f"adapter_{number}" for number in itertools.count())

    def ready(self, model: str, seconds: float) -> Ready:
        return Ready(
            model=clean(model),
            device=self.loaded.device,
            dtype=str(self.loaded.dtype).removeprefix("torch."),
            context_tokens=self.context,
            seconds=round(seconds, 2),
        )

    # -- adapters ------------------------------------------------------------------------------

    def load_adapter(self, asked: LoadAdapter) -> FromChat:
        """Load an adapter, or say what is wrong with it; one of the same name is replaced."""
        began = time.monotonic()
        shown = clean(asked.name)
        try:
            if asked.name == BASE:
                raise UserError(f"an adapter cannot be called {BASE}; that is the model without.")
            voice = self._load(Path(asked.path).expanduser())
        except UserError as error:
            return ChatFailed(message=clean(f"the adapter {shown} cannot be used: {error}"))
        except Exception as error:  # noqa: BLE001 peft and tokenizers meet foreign files
            _free_memory()
            why = out_of_memory(error) or one_line(str(error), max_chars=300).rstrip(".")
            return ChatFailed(
                message=f"the adapter {shown} cannot be used: {why or type(error).__name__}."
            )
        replaced = self.voices.get(asked.name)
        self.voices[asked.name] = voice
        if replaced is not None and replaced.adapter is not None:
            self.model.delete_adapter(replaced.adapter)
        return AdapterLoaded(
            name=asked.name,
            path=clean(asked.path),
            seconds=round(time.monotonic() - began, 2),
            labels=self.labels,
        )

    def _load(self, folder: Path) -> Voice:
        from tui_lora.store.adapter_files import check_adapter_files
        from tui_lora.worker.adapter import attach, check_fits

        if check_adapter_files(folder).get("task_type") == "SEQ_CLS":
            raise UserError(
                "it sorts texts into labels instead of answering.", then="Open it by itself."
            )
        check_fits(folder, self.loaded.model)
        tokenizer = adapters_tokenizer(folder, self.loaded)
        inner = next(self._inner_names)
        self.model = attach(self.model, folder, inner, self.loaded.device)
        return _voice(inner, tokenizer)

    def speaker(self, name: str) -> Voice | None:
        """Who answers to `name`. Beside a lone adapter the base is asked in the adapter's words,
        so that the two can be compared; else in its own."""
        voice = self.voices.get(name)
        if name != BASE or len(self.voices) != 2:
            return voice
        lone = next(voice for name, voice in self.voices.items() if name != BASE)
        return replace(lone, adapter=None)

    # -- answers -------------------------------------------------------------------------------

    def answer(self, asked: Ask, cancelled: threading.Event) -> FromChat:
        """Write an answer, streaming it, and return how it ended; never raises."""
        return answered(asked.id, "no answer", lambda: self._answer(asked, cancelled))

    def predict(self, asked: Predict) -> FromChat:
        """A model that answers sorts nothing."""
        return ChatFailed(
            id=asked.id, message="this model answers and does not sort texts into labels; ask it."
        )

    def _answer(self, asked: Ask, cancelled: threading.Event) -> FromChat:
        import torch

        voice = self.speaker(asked.name)
        if voice is None:
            raise UserError(
                f"there is no adapter {clean(asked.name)} here.",
                then=f"Loaded are: {clean(', '.join(self.voices))}.",
            )
        prompt = prompt_of(voice, asked)
        length = int(prompt["input_ids"].shape[1])
        most = self._most_new_tokens(asked, length)
        began = time.monotonic()
        stream = stream_to(self.pipes, voice.tokenizer, asked.id)
        ended_by = "cancel"
        if not cancelled.is_set():
            torch.manual_seed(asked.sampling.seed)
            config = self._generation_config(asked, voice, most)
            with self._speaking(voice):
                output = self.model.generate(
                    **{name: value.to(self.loaded.device) for name, value in prompt.items()},
                    generation_config=config,
                    streamer=stream,
                    stopping_criteria=stop_when(cancelled),
                )
            last = int(output[0, -1])
            if last in config.eos_token_id:
                ended_by = "end"
            elif not cancelled.is_set():
                ended_by = "length"
        stream.flush()
        return AnswerEnded(
            id=asked.id,
            name=asked.name,
            text=stream.text,
            tokens=stream.tokens,
            prompt_tokens=length,
            first_token_s=None if stream.first is None else round(stream.first - began, 3),
            seconds=round(time.monotonic() - began, 3),
            ended_by=ended_by,
        )

    def _most_new_tokens(self, asked: Ask, length: int) -> int:
        wanted = max(1, asked.sampling.max_new_tokens)
        if self.context is None:
            return wanted
        if length >= self.context:
            held = self.context == self.most_tokens
            ends = "beside a training it is held to" if held else "this model's context ends at"
            raise UserError(
                f"the conversation has {length:,} tokens, and {ends} {self.context:,}.",
                then="Begin a new conversation, or shorten this one.",
            )
        return min(wanted, self.context - length)

    def _generation_config(self, asked: Ask, voice: Voice, most: int) -> Any:
        from transformers import GenerationConfig

        sampling: dict[str, Any] = {"do_sample": False}
        if asked.sampling.temperature > 0:
            sampling = {
                "do_sample": True,
                "temperature": asked.sampling.temperature,
                "top_p": min(1.0, max(1e-3, asked.sampling.top_p)),
                # transformers' own default is the 50 likeliest; nobody asked for that.
                "top_k": 0,
            }
        return GenerationConfig(
            max_new_tokens=most,
            eos_token_id=sorted(self.ends | voice.ends),
            pad_token_id=voice.tokenizer.pad_token_id,
            use_cache=True,
            **sampling,
        )

    def _speaking(self, voice: Voice) -> Any:
        """A context in which the model answers as `voice`."""
        from contextlib import nullcontext

        if voice.adapter is not None:
            self.model.set_adapter(voice.adapter, inference_mode=True)
            return nullcontext()
        # Without any adapter loaded the model is not peft's yet.
        return (
            self.model.disable_adapter() if self.model is not self.loaded.model else nullcontext()
        )


def answered(id: str, what: str, work: Callable[[], FromChat]) -> FromChat:
    """What `work` returns, or why it failed in a sentence that begins with `what`."""
    try:
        return work()
    except UserError as error:
        return ChatFailed(id=id, message=clean(str(error)))
    except Exception as error:  # noqa: BLE001 the worker outlives a failed answer
        why = out_of_memory(error) or one_line(str(error), max_chars=300).rstrip(".")
        message = f"{what}: {why or type(error).__name__}."
    # Here, not in the handler: the exception's frames hold the tensors that filled the memory.
    _free_memory()
    return ChatFailed(id=id, message=message)


def adapters_tokenizer(folder: Path, loaded: Loaded) -> Any:
    """The adapter's own tokenizer and template where its folder has them, else the base's.

    Raises UserError when its tokens go beyond the base's vocabulary.
    """
    from tui_lora.worker.model import load_tokenizer
    from tui_lora.worker.templates import settle_pad
    from tui_lora.worker.token_rows import rows_of

    base = loaded.tokenizer
    settings = read_object(folder / "tokenizer_config.json")
    has_code = settings is not None and bool(own_classes({}, settings))
    if has_code and not vocabulary(folder, settings or {}).added.keys() <= base.get_vocab().keys():
        raise UserError(
            "it added tokens to a tokenizer with code of its own, and code is not run out of an "
            "adapter's folder.",
            then="Train without new tokens on this model.",
        )
    if settings is None or has_code:
        template = folder / "chat_template.jinja"
        if not template.is_file():
            return base
        own = copy.copy(base)
        own.chat_template = template.read_text(encoding="utf-8")
        return own
    own = load_tokenizer(str(folder))
    # An adapter that has rows of its own for them brings these along.
    rows = max(loaded.model.get_input_embeddings().weight.shape[0], rows_of(folder))
    if len(own) > rows:
        raise UserError(
            f"its tokenizer has {len(own):,} tokens and this base has room for {rows:,}.",
            then="Load it on the base that it was trained on.",
        )
    own.chat_template = own.chat_template or base.chat_template
    settle_pad(own)
    return own


def _voice(adapter: str | None, tokenizer: Any) -> Voice:
    from tui_lora.worker.templates import end_of_turn_ids

    return Voice(adapter, tokenizer, end_of_turn_ids(tokenizer))


def prompt_of(voice: Voice, asked: Ask) -> dict[str, Any]:
    """The turns as token ids, ready for the answer to begin. Raises UserError."""
    from jinja2 import TemplateError

    turns = [{"role": turn.role, "content": turn.content} for turn in asked.turns]
    if not any(turn["role"] == "user" for turn in turns):
        raise UserError("there is no question to answer.")
    try:
        encoded = voice.tokenizer.apply_chat_template(
            turns,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
    except TemplateError as error:
        raise UserError(
            f"the chat template does not take these turns: {clean(str(error))}.",
            then="Some templates know no system turn, or want user and assistant to alternate.",
        ) from None
    if encoded["input_ids"].shape[1] == 0:
        raise UserError("there is no question to answer.")
    return {name: encoded[name] for name in ("input_ids", "attention_mask") if name in encoded}


def _token_ids(value: Any) -> set[int]:
    if value is None:
        return set()
    return {int(token) for token in (value if isinstance(value, list | tuple) else [value])}


def out_of_memory(error: BaseException) -> str:
    """What to do about memory that ran out; empty when it was something else."""
    if is_out_of_memory(error):
        return (
            "memory ran out; ask for fewer tokens, begin a new conversation, load the model with "
            "--quantization nf4, or free memory that others hold"
        )
    return ""


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
