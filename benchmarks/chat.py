"""What a chat costs: tokens a second beside bare generate, switching, the first token, and bytes a
second over a terminal.

    python benchmarks/chat.py [--quick] [--model FOLDER] [--no-terminal|--only-terminal]

The model is the demo's (fetched before with `tui-lora demo`) or another folder. Streamed and bare
answers take turns in one process, so that a busy machine slows both. Switching is asked of a chat
worker over its pipes. On the terminal it is a worker without a model that writes, at 40 tokens a
second. Exits with 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

RATIO, SWITCH_S, BYTES_A_SECOND = 0.97, 0.2, 6 * 1024
ADAPTERS = 4
PROMPT = "Explain in a few paragraphs what the rank of a matrix is, and why it matters."


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer answers and seconds")
    parser.add_argument("--model", type=Path, help="a folder; else the demo model's")
    parser.add_argument("--no-terminal", action="store_true", help="leave the screen out")
    parser.add_argument("--only-terminal", action="store_true", help="leave the rest out")
    given = parser.parse_args()
    report = Report()
    if not given.only_terminal:
        model = given.model or demo_model()
        with tempfile.TemporaryDirectory() as folder:
            in_process(report, model, Path(folder), rounds=2 if given.quick else 8, tokens=64)
            over_the_wire(report, model, Path(folder))
    if not given.no_terminal:
        over_a_terminal(report, seconds=10 if given.quick else 30)
    if report.missed:
        print(f"missed: {'; '.join(report.missed)}")
    return 1 if report.missed else 0


def demo_model() -> Path:
    from tui_lora.store.paths import DEMO_MODEL, model_place

    return Path(model_place(DEMO_MODEL))


def save_adapter(base: Any, folder: Path) -> None:
    """An adapter on all linear layers that changes little; the base is as it was afterwards."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM")
    made = get_peft_model(base, config)
    for name, parameter in made.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=1e-3)
    made.save_pretrained(folder, save_embedding_layers=False)
    made.unload()


def in_process(report: Report, model: Path, adapter: Path, rounds: int, tokens: int) -> None:
    """Streamed answers and bare ones, of the base and of an adapter, which is left in `adapter`."""
    import torch

    from tui_lora.core.chat import BASE, Ask, LoadAdapter, Turn
    from tui_lora.core.sampling import Sampling
    from tui_lora.core.spec import ModelSpec, QuantizationSpec
    from tui_lora.worker.generation import generation_config
    from tui_lora.worker.model import load_model
    from tui_lora.worker.room import Room
    from tui_lora.worker.voices import prompt_of

    spec = ModelSpec(id=str(model))
    loaded = load_model(spec, QuantizationSpec())
    layers = loaded.model.config.num_hidden_layers
    print(f"{model.name}: {layers} layers, {loaded.dtype} on {loaded.device}", flush=True)
    room = Room(loaded, Pipes(), spec=spec)  # type: ignore[arg-type]
    save_adapter(loaded.model, adapter)
    for number in range(ADAPTERS):
        said = room.load_adapter(LoadAdapter(name=f"adapter {number}", path=str(adapter)))
        if not hasattr(said, "gib"):
            raise SystemExit(said.message)  # type: ignore[attr-defined]

    turns = (Turn(role="user", content=PROMPT),)
    sampling = Sampling(max_new_tokens=tokens, temperature=0.7, seed=1)
    never = threading.Event()

    def streamed(name: str) -> Took:
        asked = Ask(id="1", name=name, turns=turns, sampling=sampling)
        began, used = time.monotonic(), time.process_time()
        ended: Any = room.answer(asked, never)
        seconds = time.monotonic() - began
        return Took(ended.tokens, seconds, time.process_time() - used, ended.first_token_s)

    def bare(name: str) -> Took:
        voice = room.the_speaker(name)
        ids = torch.tensor([prompt_of(voice, turns)], device=loaded.device)
        how = generation_config(
            sampling, most=tokens, ends=voice.ends, pad=voice.tokenizer.pad_token_id
        )
        with room.speaking(voice) as speaking:
            torch.manual_seed(sampling.seed)
            began, used = time.monotonic(), time.process_time()
            out = speaking.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=how
            )
        seconds = time.monotonic() - began
        return Took(out.shape[1] - ids.shape[1], seconds, time.process_time() - used)

    for name in (BASE, "adapter 0"):
        streamed(name), bare(name)  # warm
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(streamed(name))
            theirs.append(bare(name))
        speeds = [
            statistics.median(one.tokens / one.seconds for one in all) for all in (ours, theirs)
        ]
        first = statistics.median(one.first for one in ours)
        print(f"{name}: {speeds[0]:.2f} tok/s streamed, {speeds[1]:.2f} bare")
        report.show("  first token", first, "s", None)
        pairs = list(zip(ours, theirs, strict=True))
        wall = statistics.median(a.tokens / a.seconds / (b.tokens / b.seconds) for a, b in pairs)
        work = statistics.median(a.tokens / a.cpu / (b.tokens / b.cpu) for a, b in pairs)
        note = f"{rounds} pairs of {ours[0].tokens} tokens"
        report.show(f"to bare, {name}", wall, "", RATIO, at_least=True, note=note)
        note = "what others do left out"
        report.show(f"by processor, {name}", work, "", RATIO, at_least=True, note=note)
    alone(report, room)


def alone(report: Report, room: Any) -> None:
    """What a switch costs in itself, and peft's own ways beside it."""
    from tui_lora.core.chat import BASE

    names = [BASE, *(f"adapter {n}" for n in range(ADAPTERS))]
    ours = []
    for number in range(20):
        began = time.monotonic()
        room._switch.to(room.voices[names[number % len(names)]].adapter)
        ours.append(time.monotonic() - began)
    report.show("the switch alone", statistics.median(ours), "s", None)
    theirs = []
    for number in range(5):
        began = time.monotonic()
        room.model.set_adapter(f"adapter_{number % ADAPTERS}", inference_mode=True)
        theirs.append(time.monotonic() - began)
    report.show("peft's set_adapter", statistics.median(theirs), "s", None)
    began = time.monotonic()
    with room.model.disable_adapter():
        report.show("peft's disable_adapter", time.monotonic() - began, "s", None)


def over_the_wire(report: Report, model: Path, adapter: Path) -> None:
    """From the order on the wire to the first switched logits, as a viewer of a chat worker has it:
    until the answer of one token is there, so a little more. What is read is one token too, since
    reading a prompt takes as long without a switch."""
    from tui_lora.core.chat import BASE, Turn
    from tui_lora.core.sampling import Sampling
    from tui_lora.core.spec import ModelSpec
    from tui_lora.headless.conversation import Conversation
    from tui_lora.store.adapters import ChatTarget

    spec = ModelSpec(id=str(model))
    names = [f"adapter {number}" for number in range(ADAPTERS)]
    targets = [ChatTarget(name, spec, adapter=adapter) for name in names]
    turns, one = (Turn(role="user", content="a"),), Sampling(max_new_tokens=1)
    names = [BASE, *names]
    with Conversation(targets) as conversation:

        def ordered(name: str) -> float:
            began = time.monotonic()
            ended = conversation.ask(turns, name=name, sampling=one, plain=True)
            seconds = time.monotonic() - began
            if ended.tokens != 1:
                raise SystemExit(f"{name} wrote {ended.tokens} tokens instead of one")
            return seconds

        for name in names:
            ordered(name)  # warm
        switched = [ordered(names[number % len(names)]) for number in range(20)]
        staying = [ordered(names[0]) for _ in range(11)][1:]
    note = f"worst {max(switched):.3f}; {statistics.median(staying):.3f} without a switch"
    median = statistics.median(switched)
    report.show("order to switched logits", median, "s", SWITCH_S, note=note)


APP = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from benchmarks import streaming_chat
from tui_lora.ui import chat_link
chat_link.start_chat = streaming_chat.start
from tui_lora.cli import main
main()
"""


def over_a_terminal(report: Report, seconds: float) -> None:
    """The Chat screen while somebody writes 40 tokens a second; every byte that it sends counts."""
    from tests.pty_terminal import Terminal
    from tui_lora.core.spec import parse_spec
    from tui_lora.store import sessions

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "sessions"
        os.environ["TUI_LORA_SESSIONS"] = str(root)
        os.environ["TUI_LORA_CONFIG"] = str(Path(folder) / "config")
        spec = parse_spec({"model": "owner/steady", "dataset": "rows.jsonl"})
        paths = sessions.create(root, "talkative", spec)
        paths.adapter.mkdir()
        (paths.adapter / "adapter_model.safetensors").write_bytes(b"x")
        for columns, rows in ((120, 40), (80, 24)):
            program = ("-c", APP, str(HERE.parent))
            with Terminal(columns=columns, rows=rows, program=program) as terminal:
                terminal.wait_for("talkative")
                terminal.send("6")
                terminal.wait_for("to talk|talkative(.|\n)*owner/steady", 20)
                time.sleep(1)
                terminal.send("\r")
                time.sleep(4)
                terminal.send("What is a rank?")
                time.sleep(1)
                terminal.send("\r")
                terminal.wait_for("linearly", 30)
                # A full screen scrolls, which is what costs most.
                time.sleep(8)
                at = time.monotonic()
                time.sleep(seconds)
                end = time.monotonic()
                rate = terminal.bytes_between(at, end) / (end - at)
                note = f"mean of {end - at:.0f} s at 40 tokens a second"
                report.show(f"Chat at {columns}x{rows}", rate, "B/s", BYTES_A_SECOND, note=note)


@dataclass(frozen=True)
class Took:
    """Tokens, seconds by the clock and of the processor, and seconds to the first token."""

    tokens: int
    seconds: float
    cpu: float
    first: float = 0.0


class Pipes:
    """Written out as over the real pipes, to nobody."""

    def __init__(self) -> None:
        from tui_lora.core.chat import FROM_CHAT

        self._encode = FROM_CHAT.encode
        self._out = os.open(os.devnull, os.O_WRONLY)

    def say(self, message: Any) -> None:
        os.write(self._out, self._encode(message).encode())


class Report:
    """Prints each figure, and knows which goals were missed."""

    def __init__(self) -> None:
        self.missed: list[str] = []

    def show(
        self,
        name: str,
        value: float,
        unit: str,
        goal: float | None,
        *,
        at_least: bool = False,
        note: str = "",
    ) -> None:
        met = goal is None or (value >= goal if at_least else value <= goal)
        if not met:
            self.missed.append(name.strip())
        verdict = "" if goal is None else f"   goal {goal:g}: {'met' if met else 'MISSED'}"
        print(f"{name:<24}{value:>10.4f} {unit:<4} {note}{verdict}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
