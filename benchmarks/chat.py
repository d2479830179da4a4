"""What a chat costs: tokens a second beside bare generate, switching, the first token, and bytes a
second over a terminal.

    python benchmarks/chat.py [--quick] [--model FOLDER] [--no-terminal|--only-terminal]

The model is the demo's (fetched before with `tui-lora demo`) or another folder. Everything is
loaded in one process; streamed and bare answers take turns, so that a busy machine slows both. On
the terminal it is a worker without a model that writes, at 40 tokens a second.
"""

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer answers and seconds")
    parser.add_argument("--model", type=Path, help="a folder; else the demo model's")
    parser.add_argument("--no-terminal", action="store_true", help="leave the screen out")
    parser.add_argument("--only-terminal", action="store_true", help="leave the rest out")
    given = parser.parse_args()
    if not given.only_terminal:
        model = given.model or demo_model()
        in_process(model, rounds=2 if given.quick else 8, tokens=64)
    if not given.no_terminal:
        over_a_terminal(seconds=10 if given.quick else 30)


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


def in_process(model: Path, rounds: int, tokens: int) -> None:
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
    with tempfile.TemporaryDirectory() as folder:
        save_adapter(loaded.model, Path(folder))
        for number in range(ADAPTERS):
            said = room.load_adapter(LoadAdapter(name=f"adapter {number}", path=folder))
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
        show("  first token", first, "s", None)
        pairs = list(zip(ours, theirs, strict=True))
        wall = statistics.median(a.tokens / a.seconds / (b.tokens / b.seconds) for a, b in pairs)
        work = statistics.median(a.tokens / a.cpu / (b.tokens / b.cpu) for a, b in pairs)
        note = f"{rounds} pairs of {ours[0].tokens} tokens"
        show("streamed to bare", wall, "", RATIO, at_least=True, note=note)
        show("  by processor time", work, "", RATIO, at_least=True, note="what others do left out")
    switching(room)


def switching(room: Any) -> None:
    """From the order to the first switched logits: those of one token, since reading a prompt takes
    as long without a switch. Beside it peft's own ways to switch."""
    import torch

    from tui_lora.core.chat import BASE

    def forward(name: str) -> float:
        voice = room.the_speaker(name)
        ids = torch.tensor([[1]], device=room.loaded.device)
        began = time.monotonic()
        with room.speaking(voice) as model, torch.inference_mode():
            model(input_ids=ids).logits.cpu()
        return time.monotonic() - began

    names = [BASE, *(f"adapter {n}" for n in range(ADAPTERS))]
    for name in names:
        forward(name)
    whole = [forward(names[n % len(names)]) for n in range(20)]
    staying = [forward(names[1]) for _ in range(10)]
    alone = []
    for number in range(20):
        began = time.monotonic()
        room._switch.to(room.voices[names[number % len(names)]].adapter)
        alone.append(time.monotonic() - began)
    show(
        "switch to first logits",
        statistics.median(whole),
        "s",
        SWITCH_S,
        note=f"worst {max(whole):.3f}; of it the forward {statistics.median(staying):.3f}, the "
        f"switch {statistics.median(alone):.4f}",
    )
    theirs = []
    for number in range(5):
        began = time.monotonic()
        room.model.set_adapter(f"adapter_{number % ADAPTERS}", inference_mode=True)
        theirs.append(time.monotonic() - began)
    show("peft's set_adapter", statistics.median(theirs), "s", None)
    began = time.monotonic()
    with room.model.disable_adapter():
        show("peft's disable_adapter", time.monotonic() - began, "s", None)


APP = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from benchmarks import streaming_chat
from tui_lora.ui import chat_link
chat_link.start_chat = streaming_chat.start
from tui_lora.cli import main
main()
"""


def over_a_terminal(seconds: float) -> None:
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
                show(f"Chat at {columns}x{rows}", rate, "B/s", BYTES_A_SECOND, note=note)


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


def show(
    name: str,
    value: float,
    unit: str,
    goal: float | None,
    *,
    at_least: bool = False,
    note: str = "",
) -> None:
    met = goal is None or (value >= goal if at_least else value <= goal)
    verdict = "" if goal is None else f"   goal {goal:g}: {'met' if met else 'MISSED'}"
    print(f"{name:<24}{value:>10.4f} {unit:<4} {note}{verdict}", flush=True)


if __name__ == "__main__":
    main()
