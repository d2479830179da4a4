"""The room of a chat: a base in memory, the adapters beside it, and the answers they write.

Everything that touches the model is here, and runs in one thread, one message after the other.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_lora.core.chat import (
    BASE,
    AdapterLoaded,
    AdapterUnloaded,
    AnswerEnded,
    Ask,
    ChatFailed,
    FromChat,
    LoadAdapter,
    Loading,
    LoadModel,
    LookAtTokens,
    MemoryHeld,
    Predict,
    Ready,
    ToChat,
    UnloadAdapter,
)
from tui_lora.core.errors import ContextOverrun, UserError
from tui_lora.core.spec import ModelSpec, QuantizationSpec
from tui_lora.core.text import clean, one_line
from tui_lora.worker.answers import Answers, Written
from tui_lora.worker.generation import generation_config
from tui_lora.worker.held_memory import GIB, free_memory, memory_held, weights_bytes
from tui_lora.worker.oom import is_out_of_memory
from tui_lora.worker.stdio import Stdio
from tui_lora.worker.streaming import Writing
from tui_lora.worker.switching import Switch, check_strength, why_fixed
from tui_lora.worker.voices import Voice, adapters_tokenizer, begun_of, prompt_of, voice_of

if TYPE_CHECKING:
    from tui_lora.worker.model import Loaded


@dataclass
class Room:
    """The model in memory and everyone who can speak through it. `spec` and `quantization` are how
    the base was asked for."""

    loaded: Loaded
    pipes: Stdio[FromChat, ToChat]
    voices: dict[str, Voice] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    most_tokens: int | None = None
    spec: ModelSpec | None = None
    quantization: QuantizationSpec = QuantizationSpec()

    def __post_init__(self) -> None:
        from tui_lora.worker.chat_bounds import conversation_tokens

        self.model = self.loaded.model.eval()
        self.context = conversation_tokens(self.model.config, self.most_tokens)
        self.answers = Answers()
        self._switch = Switch()
        # peft's names must have no dots; the viewer's are free text.
        self._inner_names = (f"adapter_{number}" for number in itertools.count())
        self._own_ends: frozenset[int] = frozenset()
        self.voices[BASE] = self._own_voice()

    def _own_voice(self) -> Voice:
        self._own_ends = _take_ends(self.loaded.model)
        return voice_of(None, self.loaded.tokenizer, ends=self._own_ends)

    def ready(self, model: str, seconds: float) -> Ready:
        return Ready(
            model=clean(model),
            device=self.loaded.device,
            dtype=str(self.loaded.dtype).removeprefix("torch."),
            context_tokens=self.context,
            seconds=round(seconds, 2),
        )

    def memory(self) -> MemoryHeld:
        return memory_held(self.loaded.device)

    # -- who is here -----------------------------------------------------------------------------

    def load_adapter(self, asked: LoadAdapter) -> FromChat:
        """Load an adapter, or say what is wrong with it; one of the same name is replaced."""
        return self._loaded(asked, "adapter", self._load)

    def load_model(self, asked: LoadModel) -> FromChat:
        """Load a whole model beside the base, as a voice of its own."""
        return self._loaded(asked, "model", self._load_whole)

    def _loaded(
        self, asked: LoadAdapter | LoadModel, kind: str, load: Callable[[Path], Voice]
    ) -> FromChat:
        began = time.monotonic()
        failed = f"the {kind} {clean(asked.name)} cannot be used"
        folder = Path(asked.path).expanduser()
        before = weights_bytes(self.model)
        try:
            if asked.name == BASE:
                raise UserError(f"{BASE} is the name of the model without any adapter.")
            voice = load(folder)
        except UserError as error:
            message = clean(f"{failed}: {error}")
        except Exception as error:  # noqa: BLE001 peft and tokenizers meet foreign files
            why = out_of_memory(error) or one_line(str(error), max_chars=300).rstrip(".")
            message = f"{failed}: {why or type(error).__name__}."
        else:
            whole = voice.model is not None
            held = weights_bytes(voice.model) if whole else weights_bytes(self.model) - before
            self._forget(asked.name)
            self.voices[asked.name] = voice
            self._switch.learn(self.model)
            return AdapterLoaded(
                name=asked.name,
                path=clean(asked.path),
                seconds=round(time.monotonic() - began, 2),
                labels=self.labels,
                gib=held / GIB,
                whole=whole,
                fixed=voice.fixed,
                warning="" if whole else self._unlike_trained(folder),
            )
        # Here, not in the handler: the exception's frames hold the tensors that filled the memory.
        free_memory()
        # What failed may have left layers otherwise than they were.
        self._switch.learn(self.model)
        return ChatFailed(message=message, name=asked.name)

    def _unlike_trained(self, adapter: Path) -> str:
        """How the base in memory is not the one that the adapter was trained on; empty if it is."""
        from tui_lora.store.loftq_adapters import counts_twice_in_chat
        from tui_lora.store.moved_on import moved_on

        moved = "" if self.spec is None else moved_on(adapter, self.spec)
        return moved or counts_twice_in_chat(adapter, self.quantization.scheme)

    def unload(self, asked: UnloadAdapter) -> FromChat:
        """Forget an adapter or a whole model; its memory is free when this returns."""
        if asked.name == BASE:
            return ChatFailed(
                message="the base carries the others, and is freed when the chat ends."
            )
        if asked.name not in self.voices:
            return ChatFailed(message=clean(f"{asked.name} is not here, so it cannot go."))
        self._forget(asked.name)
        self._switch.learn(self.model)
        free_memory()
        return AdapterUnloaded(name=asked.name)

    def _forget(self, name: str) -> None:
        from tui_lora.worker.adapter import take_off

        voice = self.voices.pop(name, None)
        if voice is not None and voice.adapter is not None:
            self.model = take_off(self.model, voice.adapter)

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
        return voice_of(inner, tokenizer, ends=self._own_ends, fixed=why_fixed(self.model, inner))

    def _load_whole(self, folder: Path) -> Voice:
        from tui_lora.worker.whole_model import load_whole_model

        loaded = load_whole_model(
            folder,
            self.loaded,
            self.quantization,
            lambda label, expect_s: self.pipes.say(Loading(label=clean(label), expect_s=expect_s)),
        )
        ends = _take_ends(loaded.model) | self._own_ends
        fixed = "it is a whole model, and no adapter is added to it"
        return voice_of(None, loaded.tokenizer, model=loaded.model.eval(), ends=ends, fixed=fixed)

    def speaker(self, name: str) -> Voice | None:
        """Who answers to `name`. Where all others write turns the same way, the base is asked in
        these words too, so that it can be compared with them; else in its own."""
        voice = self.voices.get(name)
        others = [other for known, other in self.voices.items() if known != BASE]
        if name != BASE or voice is None or len({other.writes for other in others}) != 1:
            return voice
        return replace(voice, tokenizer=others[0].tokenizer, ends=others[0].ends | voice.ends)

    def the_speaker(self, name: str) -> Voice:
        """The same. Raises UserError where nobody answers to `name`."""
        voice = self.speaker(name)
        if voice is None:
            raise UserError(
                f"there is no adapter {clean(name)} here.",
                then=f"Loaded are: {clean(', '.join(self.voices))}.",
            )
        return voice

    def speaking(self, voice: Voice, strength: float = 1.0) -> AbstractContextManager[Any]:
        """The model as it answers with `voice`."""
        if voice.model is not None:
            return nullcontext(voice.model)
        if self.model is self.loaded.model:
            return nullcontext(self.model)
        return self._switch.speaking(voice.adapter, strength)

    # -- answers ---------------------------------------------------------------------------------

    def answer(self, asked: Ask, cancelled: threading.Event) -> FromChat:
        """Write an answer, streaming it, and return how it ended; never raises."""
        return answered(asked.id, "no answer", lambda: self._answer(asked, cancelled))

    def predict(self, asked: Predict) -> FromChat:
        """A model that answers sorts nothing."""
        return ChatFailed(
            id=asked.id, message="this model answers and does not sort texts into labels; ask it."
        )

    def look(self, asked: LookAtTokens) -> FromChat:
        """The tokens of an answer and what else stood in the place of each; never raises."""
        from tui_lora.worker.seen_tokens import tokens_shown

        return answered(asked.id, "no tokens", lambda: tokens_shown(self, asked))

    def _answer(self, asked: Ask, cancelled: threading.Event) -> FromChat:
        import torch

        voice = self.the_speaker(asked.name)
        check_strength(asked.strength, voice.fixed)
        prompt, begun = self._read(voice, asked)
        length = len(prompt) + len(begun)
        most = self._most_new_tokens(asked, length)
        began = time.monotonic()
        writing = Writing(
            self.pipes,
            voice.tokenizer,
            asked.id,
            cancelled,
            ends=voice.ends,
            stop=asked.sampling.stop,
            begun=[*prompt, *begun] if asked.plain else begun,
        )
        if writing.ended_by is None:
            torch.manual_seed(asked.sampling.seed)
            read = torch.tensor([[*prompt, *begun]], device=self.loaded.device)
            with self.speaking(voice, asked.strength) as model:
                model.generate(
                    input_ids=read,
                    attention_mask=torch.ones_like(read),
                    generation_config=generation_config(
                        asked.sampling,
                        most=most,
                        ends=voice.ends,
                        pad=voice.tokenizer.pad_token_id,
                    ),
                    stopping_criteria=writing.criteria(),
                )
        ended_by = writing.close()
        tokens = len(writing.ids)
        self.answers.keep(
            asked.id,
            Written(
                name=asked.name,
                turns=asked.turns,
                plain=asked.plain,
                strength=asked.strength,
                prompt=tuple(prompt),
                ids=(*begun, *writing.ids),
                text=asked.begun + writing.text,
            ),
        )
        return AnswerEnded(
            id=asked.id,
            name=asked.name,
            text=writing.text,
            tokens=tokens,
            prompt_tokens=length,
            first_token_s=None if writing.first is None else round(writing.first - began, 3),
            seconds=round(time.monotonic() - began, 3),
            ended_by=ended_by,
            context_left=None if self.context is None else max(0, self.context - length - tokens),
        )

    def _read(self, voice: Voice, asked: Ask) -> tuple[list[int], list[int]]:
        """The tokens of the prompt, and those of the answer where it has begun already."""
        prompt = prompt_of(voice, asked.turns, plain=asked.plain)
        if not asked.begun:
            return prompt, []
        written = self.answers.begun(asked, voice.tokenizer)
        if written is not None and written.prompt == tuple(prompt):
            return prompt, list(written.ids)
        whole = begun_of(voice, asked.turns, asked.begun, plain=asked.plain)
        # Where both became one token, the answer has no beginning of its own.
        cut = len(prompt) if whole[: len(prompt)] == prompt else len(whole)
        return whole[:cut], whole[cut:]

    def _most_new_tokens(self, asked: Ask, length: int) -> int:
        wanted = asked.sampling.max_new_tokens
        if self.context is None:
            return wanted
        if length >= self.context:
            held = self.context == self.most_tokens
            ends = "beside a training it is held to" if held else "this model's context ends at"
            raise ContextOverrun(
                f"the conversation has {length:,} tokens, and {ends} {self.context:,}.",
                then="Begin a new conversation, or shorten this one.",
            )
        return min(wanted, self.context - length)


def answered(id: str, what: str, work: Callable[[], FromChat]) -> FromChat:
    """What `work` returns, or why it failed in a sentence that begins with `what`."""
    try:
        return work()
    except UserError as error:
        overrun = isinstance(error, ContextOverrun)
        return ChatFailed(id=id, message=clean(str(error)), overrun=overrun)
    except Exception as error:  # noqa: BLE001 the worker outlives a failed answer
        why = out_of_memory(error) or one_line(str(error), max_chars=300).rstrip(".")
        message = f"{what}: {why or type(error).__name__}."
    # Here, not in the handler: the exception's frames hold the tensors that filled the memory.
    free_memory()
    return ChatFailed(id=id, message=message)


def out_of_memory(error: BaseException) -> str:
    """What to do about memory that ran out; empty when it was something else."""
    if is_out_of_memory(error):
        return (
            "memory ran out; ask for fewer tokens, begin a new conversation, load the model with "
            "--quantization nf4, or free memory that others hold"
        )
    return ""


def _take_ends(model: Any) -> frozenset[int]:
    """The tokens with which a model ends an answer; its generation_config is emptied.

    generate() fills what an answer leaves unset from there: a model's own temperature or repetition
    penalty would mix with what the viewer set, and warn.
    """
    from transformers import GenerationConfig

    ends = model.generation_config.eos_token_id
    model.generation_config = GenerationConfig()
    if ends is None:
        return frozenset()
    return frozenset(int(token) for token in (ends if isinstance(ends, list | tuple) else [ends]))
