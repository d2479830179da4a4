"""The chat worker as its viewer knows it: a real process over real pipes."""

from __future__ import annotations

import itertools
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.tiny import CONTEXT, make_tiny_adapter, make_tiny_model
from tui_lora.core.chat import (
    BASE,
    FROM_CHAT,
    TO_CHAT,
    AdapterLoaded,
    AdapterUnloaded,
    AnswerEnded,
    AnswerGrew,
    Ask,
    Cancel,
    ChatFailed,
    FromChat,
    LoadAdapter,
    Loading,
    LoadModel,
    LookAtTokens,
    MemoryHeld,
    Ready,
    ToChat,
    TokensShown,
    Turn,
    UnloadAdapter,
)
from tui_lora.core.sampling import Sampling
from tui_lora.store.launch import start_pipe_worker
from tui_lora.store.pipe import PipeWorker

pytestmark = pytest.mark.model

PATIENCE_S = 60.0
QUESTION = (Turn(role="user", content="What is the rank of a matrix?"),)


class Mute:
    """Pipes that nobody listens to."""

    def say(self, message: FromChat) -> None:
        pass


class Talk:
    """A viewer with a memory: sends, and waits for what it wants to hear."""

    def __init__(self, model: Path | str, *arguments: str) -> None:
        self.heard: queue.SimpleQueue[FromChat | tuple[int, str]] = queue.SimpleQueue()
        self.worker: PipeWorker[ToChat, FromChat] = PipeWorker(
            start_pipe_worker("chat", str(model), *arguments, devices="cpu"),
            sends=TO_CHAT,
            hears=FROM_CHAT,
            on_message=self.heard.put,
            on_end=lambda code, words: self.heard.put((code, words)),
        )
        self.memory: MemoryHeld | None = None
        self._ids = itertools.count()

    def until(self, kind: type[FromChat]) -> list[FromChat]:
        """Every message up to and with the first of `kind`, or a failure of the worker."""
        messages: list[FromChat] = []
        deadline = time.monotonic() + PATIENCE_S
        while True:
            message = self.heard.get(timeout=max(0.1, deadline - time.monotonic()))
            assert not isinstance(message, tuple), f"the worker ended: {message}"
            if isinstance(message, MemoryHeld) and kind is not MemoryHeld:
                self.memory = message
                continue
            messages.append(message)
            if isinstance(message, (kind, ChatFailed)):
                return messages

    def last(self, kind: type[FromChat]) -> FromChat:
        return self.until(kind)[-1]

    def end(self) -> tuple[int, str]:
        """The exit code and last words; skips what is said before."""
        while True:
            message = self.heard.get(timeout=PATIENCE_S)
            if isinstance(message, tuple):
                return message

    def ask(self, name: str = BASE, **settings: object) -> str:
        id = f"answer-{next(self._ids)}"
        drawn = {k: settings.pop(k) for k in list(settings) if k in Sampling.model_fields}
        sampling = Sampling.model_validate({"max_new_tokens": 40, **drawn})
        fields = {"turns": QUESTION, **settings}
        assert self.worker.send(Ask(id=id, name=name, sampling=sampling, **fields))  # type: ignore[arg-type]
        return id

    def answer(self, name: str = BASE, **settings: object) -> AnswerEnded:
        self.ask(name, **settings)
        answer = self.last(AnswerEnded)
        assert isinstance(answer, AnswerEnded), answer
        return answer

    def load(self, name: str, folder: Path) -> FromChat:
        assert self.worker.send(LoadAdapter(name=name, path=str(folder)))
        return self.last(AdapterLoaded)


@pytest.fixture(scope="module")
def talk(tiny_model: Path) -> Iterator[Talk]:
    """One worker for all of this file: each start costs seconds of imports."""
    talk = Talk(tiny_model)
    opening = talk.until(Ready)
    assert any(isinstance(message, Loading) for message in opening)
    ready = opening[-1]
    assert isinstance(ready, Ready), ready
    assert (ready.device, ready.dtype, ready.context_tokens) == ("cpu", "float32", CONTEXT)
    yield talk
    talk.worker.close()
    assert talk.worker.unreadable == 0, "something else than messages reached stdout"


def test_an_answer_streams_in_pieces_that_make_the_whole(talk: Talk) -> None:
    id = talk.ask(max_new_tokens=300)
    *pieces, ended = talk.until(AnswerEnded)
    assert isinstance(ended, AnswerEnded), ended
    assert all(isinstance(piece, AnswerGrew) and piece.id == id for piece in pieces)
    assert "".join(piece.text for piece in pieces if isinstance(piece, AnswerGrew)) == ended.text
    assert len(pieces) > 1
    # At most one piece each 50 ms, and the last whenever the end comes.
    assert len(pieces) <= ended.seconds / 0.05 + 2
    assert ended.ended_by in ("length", "end")
    assert ended.tokens == 300 or ended.ended_by == "end"
    assert ended.prompt_tokens > 10
    assert ended.first_token_s is not None
    assert 0 < ended.first_token_s <= ended.seconds
    assert "<|im_" not in ended.text


def test_the_base_and_two_adapters_take_turns_without_reloading(
    talk: Talk, tiny_model: Path, tiny_adapter: Path, tmp_path: Path
) -> None:
    other = make_tiny_adapter(tiny_model, tmp_path / "other", seed=2)
    base = talk.answer()
    assert isinstance(talk.load("run 1.2 [/INST] é", tiny_adapter), AdapterLoaded)
    assert isinstance(talk.load("other", other), AdapterLoaded)
    first, second = talk.answer("run 1.2 [/INST] é"), talk.answer("other")
    assert len({base.text, first.text, second.text}) == 3
    assert talk.answer().text == base.text
    assert talk.answer("run 1.2 [/INST] é").text == first.text
    # The same name again, for an adapter that was trained on: the new one answers.
    assert isinstance(talk.load("run 1.2 [/INST] é", other), AdapterLoaded)
    assert talk.answer("run 1.2 [/INST] é").text == second.text
    assert talk.answer().text == base.text


def test_an_adapter_answers_as_in_a_plain_script(
    talk: Talk, tiny_model: Path, tiny_adapter: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert isinstance(talk.load("plain", tiny_adapter), AdapterLoaded)
    tokenizer = AutoTokenizer.from_pretrained(tiny_adapter)
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_model), tiny_adapter
    )
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION[0].content}],
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    )
    output = model.generate(**prompt, max_new_tokens=30, do_sample=False)
    expected = tokenizer.decode(output[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    from tui_lora.core.text import clean

    # Half a character at the end is not told.
    assert talk.answer("plain", max_new_tokens=30).text == clean(expected).rstrip("\ufffd")


def test_tokens_memory_and_unloading_are_told_over_the_wire(
    talk: Talk, tiny_model: Path, tiny_adapter: Path
) -> None:
    loaded = talk.load("gone soon", tiny_adapter)
    assert isinstance(loaded, AdapterLoaded)
    ended = talk.answer("gone soon", max_new_tokens=5)
    talk.worker.send(LookAtTokens(id="look", answer_id=ended.id))
    shown = talk.last(TokensShown)
    assert isinstance(shown, TokensShown), shown
    assert len(shown.tokens) == ended.prompt_tokens + ended.tokens
    talk.worker.send(LoadModel(name="whole", path=str(tiny_model)))
    whole = talk.last(AdapterLoaded)
    assert isinstance(whole, AdapterLoaded), whole
    assert whole.whole
    for name in ("whole", "gone soon"):
        talk.worker.send(UnloadAdapter(name=name))
        assert talk.last(AdapterUnloaded) == AdapterUnloaded(name=name)
    talk.ask("gone soon")
    assert isinstance(talk.last(AnswerEnded), ChatFailed)
    held = talk.last(MemoryHeld)
    assert isinstance(held, MemoryHeld), held
    assert (held.device, held.reserved_gib) == ("cpu", None)
    assert 0.05 < held.allocated_gib < 8


def test_sampling_is_seeded(talk: Talk) -> None:
    def sampled(seed: int) -> str:
        return talk.answer(temperature=1.0, top_p=0.9, seed=seed).text

    assert sampled(1) == sampled(1) != sampled(2)


def test_a_cancel_is_heard_while_the_answer_is_written(talk: Talk) -> None:
    id = talk.ask(max_new_tokens=3000, temperature=1.0, seed=3)
    grew = talk.last(AnswerGrew)
    assert isinstance(grew, AnswerGrew), grew
    sent = time.monotonic()
    talk.worker.send(Cancel(id=id))
    ended = talk.last(AnswerEnded)
    waited = time.monotonic() - sent
    assert isinstance(ended, AnswerEnded), ended
    assert ended.ended_by == "cancel"
    assert ended.text
    # A token takes some 3 ms here; what was on its way between the two may be a few dozen.
    assert waited < 2
    assert ended.tokens - grew.tokens < 150


def test_a_cancel_reaches_an_answer_that_still_waits(talk: Talk) -> None:
    first = talk.ask(max_new_tokens=400, temperature=1.0, seed=3)
    second = talk.ask(max_new_tokens=3000)
    talk.worker.send(Cancel(id=second))
    talk.worker.send(Cancel(id="never asked"))
    endings = [talk.last(AnswerEnded), talk.last(AnswerEnded)]
    assert [e.id for e in endings if isinstance(e, AnswerEnded)] == [first, second]
    last = endings[1]
    assert isinstance(last, AnswerEnded)
    assert (last.ended_by, last.text, last.tokens) == ("cancel", "", 0)
    assert last.first_token_s is None


def test_what_cannot_be_answered_gets_a_sentence(talk: Talk) -> None:
    id = talk.ask(turns=(Turn(role="user", content="word " * CONTEXT),))
    failed = talk.last(ChatFailed)
    assert isinstance(failed, ChatFailed)
    assert failed.id == id
    assert not failed.fatal
    assert f"{CONTEXT:,}" in failed.message
    talk.ask("nobody")
    assert "no adapter nobody" in talk.last(ChatFailed).message  # type: ignore[attr-defined]
    talk.ask(turns=(Turn(role="system", content="Be kind."),))
    assert "no question" in talk.last(ChatFailed).message  # type: ignore[attr-defined]
    assert talk.answer().text


def test_an_answer_ends_where_the_context_does(talk: Talk) -> None:
    turns = (Turn(role="user", content="ab " * 1200),)
    prompt = talk.answer(turns=turns, max_new_tokens=1).prompt_tokens
    assert prompt < CONTEXT
    longer = (Turn(role="user", content="ab " * (1200 + (CONTEXT - prompt) // 3)),)
    ended = talk.answer(turns=longer, max_new_tokens=3000)
    assert ended.prompt_tokens + ended.tokens <= CONTEXT


def spoil_nowhere(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


def spoil_pickle(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def spoil_truncated(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])


def spoil_config(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{")


def spoil_missing_weights(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "adapter_model.safetensors")
    half = {name: tensor for name, tensor in weights.items() if ".layers.0." in name}
    save_file(half, folder / "adapter_model.safetensors")


def spoil_rank(folder: Path) -> None:
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "r": 8}))


def spoil_targets(folder: Path) -> None:
    config = json.loads((folder / "adapter_config.json").read_text())
    config["target_modules"] = ["c_attn"]
    (folder / "adapter_config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (spoil_nowhere, "there is no folder"),
        (spoil_pickle, "pickle"),
        (spoil_truncated, "weights are damaged"),
        (spoil_config, "adapter_config.json is damaged"),
        (spoil_missing_weights, "another base"),
        (spoil_rank, "size mismatch"),
        (spoil_targets, "c_attn"),
    ],
)
def test_a_bad_adapter_gets_a_sentence_and_the_worker_lives(
    talk: Talk, tiny_model: Path, tmp_path: Path, spoil: Callable[[Path], None], says: str
) -> None:
    before = talk.answer()
    folder = make_tiny_adapter(tiny_model, tmp_path / "adapter")
    spoil(folder)
    failed = talk.load("bad [one]", folder)
    assert isinstance(failed, ChatFailed), failed
    assert failed.message.startswith("the adapter bad [one] cannot be used: ")
    assert says in failed.message
    assert not failed.fatal
    assert talk.answer().text == before.text
    talk.ask("bad [one]")
    assert isinstance(talk.last(AnswerEnded), ChatFailed)


def test_an_adapter_of_a_larger_base_is_refused(talk: Talk, tmp_path: Path) -> None:
    larger = make_tiny_model(tmp_path / "larger", hidden=128)
    failed = talk.load("large", make_tiny_adapter(larger, tmp_path / "adapter"))
    assert isinstance(failed, ChatFailed), failed
    assert "128" in failed.message
    assert "another base" in failed.message
    assert str(larger) in failed.message
    assert isinstance(talk.load(BASE, tmp_path), ChatFailed)


def test_a_base_that_cannot_be_loaded_is_fatal(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    talk = Talk(tmp_path / "empty")
    failed = talk.last(Ready)
    assert isinstance(failed, ChatFailed), failed
    assert failed.fatal
    assert "empty" in failed.message
    assert talk.end()[0] == 1
    talk.worker.close()


def test_a_failed_first_adapter_leaves_the_base_plain(tiny_model: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    from tui_lora.core.errors import UserError
    from tui_lora.worker.adapter import attach

    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    before = [(name, type(module)) for name, module in base.named_modules()]
    for spoil in (spoil_rank, spoil_missing_weights, spoil_targets):
        folder = make_tiny_adapter(tiny_model, tmp_path / spoil.__name__)
        spoil(folder)
        with pytest.raises(UserError):
            attach(base, folder, "adapter_0", "cpu")
        assert [(name, type(module)) for name, module in base.named_modules()] == before


def test_a_lone_adapter_and_the_base_are_asked_in_the_same_words(
    tiny_model: Path, tmp_path: Path
) -> None:
    """In this process: what is asked is how the prompt is built."""
    from tui_lora.core.spec import ModelSpec, QuantizationSpec
    from tui_lora.worker.model import load_model
    from tui_lora.worker.room import Room
    from tui_lora.worker.voices import prompt_of

    bare = tmp_path / "bare"
    shutil.copytree(tiny_model, bare)
    (bare / "chat_template.jinja").unlink()
    alpaca = make_tiny_adapter(tiny_model, tmp_path / "alpaca")
    (alpaca / "chat_template.jinja").write_text(
        "{% for m in messages %}### {{ m['content'] }}{{ eos_token }}{% endfor %}"
    )
    plain = make_tiny_adapter(tiny_model, tmp_path / "plain")
    room = Room(load_model(ModelSpec(id=str(bare)), QuantizationSpec(), devices="cpu"), Mute())
    turns = (Turn(role="user", content="Hi"),)

    def written(name: str) -> str:
        voice = room.speaker(name)
        return voice.tokenizer.decode(prompt_of(voice, turns))

    assert written(BASE) == "<|user|>\nHi<|im_end|>\n<|assistant|>\n"
    assert isinstance(room.load_adapter(LoadAdapter(name="a", path=str(alpaca))), AdapterLoaded)
    assert written("a") == written(BASE) == "### Hi<|im_end|>"
    assert isinstance(room.load_adapter(LoadAdapter(name="b", path=str(plain))), AdapterLoaded)
    assert written("b") == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert written(BASE).startswith("<|user|>")


def test_the_end_of_input_ends_an_answering_worker_at_once(tiny_model: Path) -> None:
    talk = Talk(tiny_model)
    assert isinstance(talk.last(Ready), Ready)
    talk.ask(max_new_tokens=3000, temperature=1.0, seed=3)
    talk.last(AnswerGrew)
    began = time.monotonic()
    talk.worker.process.stdin.close()  # type: ignore[union-attr]
    assert talk.end()[0] == 0
    assert time.monotonic() - began < 10


NOISY = """
import os
from tui_lora.core.chat import FROM_CHAT, TO_CHAT, Loading
from tui_lora.worker.stdio import Stdio
pipes = Stdio(says=FROM_CHAT, hears=TO_CHAT)
print("a library's print")
os.system("echo a child of a library")
os.write(1, b"a C library")
pipes.say(Loading(label="loud"))
pipes.listen(lambda message: None)
while True:
    pass
"""


def test_nothing_that_a_library_prints_reaches_the_wire() -> None:
    process = subprocess.run(
        [sys.executable, "-c", NOISY], input=b"", capture_output=True, timeout=60, check=True
    )
    assert [FROM_CHAT.decode(line).message for line in process.stdout.splitlines()] == [
        Loading(label="loud")
    ]
    assert b"a child of a library" in process.stderr
    assert b"a C library" in process.stderr


VIEWER = """
import sys, time
from tui_lora.store.launch import start_pipe_worker
worker = start_pipe_worker("chat", sys.argv[1], devices="cpu")
worker.stdout.readline()
print(worker.pid, flush=True)
time.sleep(600)
"""


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (OSError, IndexError):
        return False
    return state != "Z"


def test_a_worker_dies_with_a_killed_viewer_even_while_it_loads(tiny_model: Path) -> None:
    viewer = subprocess.Popen(
        [sys.executable, "-c", VIEWER, str(tiny_model)], stdout=subprocess.PIPE
    )
    assert viewer.stdout is not None
    pid = int(viewer.stdout.readline())
    assert is_running(pid)
    os.kill(viewer.pid, signal.SIGKILL)
    viewer.wait()
    deadline = time.monotonic() + 60
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(pid)
