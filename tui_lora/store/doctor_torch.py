"""The doctor's look at torch and bitsandbytes at work: in a worker, which alone imports them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tui_lora.core.doctor import CUDA_12_WHEELS, Check, architecture_fits, pip_torch
from tui_lora.core.text import one_line
from tui_lora.store import launch

LIMIT_S = 120.0
STAGES = ("torch", "cards", "bitsandbytes", "four_bit")
NAMES = {
    "torch": "torch at work",
    "cards": "CUDA at work",
    "bitsandbytes": "bitsandbytes at work",
    "four_bit": "4-bit round trip",
}
_CU126 = CUDA_12_WHEELS.replace("cu128", "cu126")


@dataclass(frozen=True)
class Facts:
    """What the worker said by stage; `ended` is why it said no more, empty when it got through."""

    stages: dict[str, dict[str, Any]]
    ended: str = ""


def ask_worker(limit_s: float = LIMIT_S) -> Facts:
    """Let a worker try torch and bitsandbytes; never raises."""
    try:
        process = launch.start_pipe_worker("facts")
    except OSError as error:
        return Facts({}, f"the worker could not be started: {error.strerror or error}")
    out, err, code = launch.wait_out(process, limit_s)
    if code is None:
        return Facts(_stages(out), f"there was no answer in {limit_s:.0f} s")
    if code == 0:
        return Facts(_stages(out))
    last = [line for line in err.decode("utf-8", "replace").splitlines() if line.strip()][-1:]
    return Facts(_stages(out), f"the worker {_end(code)}: {''.join(last).strip()}")


def at_work(facts: Facts, *, card_here: bool, hidden: str | None = None) -> Iterator[Check]:
    """`card_here`: the driver knows a card; `hidden` is $CUDA_VISIBLE_DEVICES."""
    for stage in STAGES:
        name, found = NAMES[stage], facts.stages.get(stage)
        if found is None:
            if facts.ended:
                yield Check(name, False, one_line(facts.ended, max_chars=300), _MENDS[stage])
            return
        if stage == "torch":
            yield _torch(name, found)
        elif stage == "cards":
            yield from _cards(name, found, card_here, hidden)
        elif stage == "bitsandbytes":
            yield _bitsandbytes(name, found, facts.stages["cards"])
        else:
            yield _round_trip(name, found)


_MENDS = {
    "torch": "Install torch anew: pip install --force-reinstall torch",
    "cards": "Run nvidia-smi: it should see the card. Then install a torch that fits its driver.",
    "bitsandbytes": "pip install --force-reinstall --no-deps bitsandbytes. Without it, quantization"
    " none still trains.",
    "four_bit": "Train with quantization none, and look for a bitsandbytes that fits this torch.",
}


def _torch(name: str, found: dict[str, Any]) -> Check:
    if problem := found.get("problem"):
        return Check(name, False, _short(problem), _MENDS["torch"])
    return Check(name, True, f"{one_line(str(found.get('version')))} can be imported")


def _cards(
    name: str, found: dict[str, Any], card_here: bool, hidden: str | None
) -> Iterator[Check]:
    if not found.get("available"):
        if not card_here:
            yield Check(name, None, "no card, so nothing to try")
        elif hidden is not None and hidden.strip() in ("", "-1", "NoDevFiles"):
            said = f"the card is hidden: CUDA_VISIBLE_DEVICES is {one_line(hidden)!r}"
            yield Check(name, False, said, "unset CUDA_VISIBLE_DEVICES")
        else:
            why = _short(found.get("problem") or "torch is not built for it")
            yield Check(name, False, f"torch does not see the card: {why}", _MENDS["cards"])
        return
    built_for = tuple(str(one) for one in found.get("built_for", ()))
    for card in found.get("cards", ()):
        major, minor = card["capability"]
        shown = f"{one_line(str(card['name']))}, compute {major}.{minor}"
        if not built_for or architecture_fits((major, minor), built_for):
            yield Check(name, True, shown)
            continue
        listed = ", ".join(built_for)
        fix = (
            f"Install a build that knows older cards: {pip_torch(_CU126)}"
            if (major, minor) < (7, 5)
            else "Install a newer torch: pip install --upgrade torch"
        )
        yield Check(name, False, f"{shown}: torch is built for {listed} only", fix)


def _bitsandbytes(name: str, found: dict[str, Any], cards: dict[str, Any]) -> Check:
    if problem := found.get("problem"):
        return Check(name, False, _short(problem), _MENDS["bitsandbytes"])
    if cards.get("available") and not found.get("with_cuda"):
        said = "it loaded its library for the CPU, though there is a card"
        return Check(name, False, said, _MENDS["bitsandbytes"])
    return Check(name, True, f"{one_line(str(found.get('version')))}, its library loads")


def _round_trip(name: str, found: dict[str, Any]) -> Check:
    device = one_line(str(found.get("device")))
    if problem := found.get("problem"):
        return Check(name, False, f"on {device}: {_short(problem)}", _MENDS["four_bit"])
    said = f"on {device}: numbers come back within {found['error']:.2f} of N(0, 1) on average"
    return Check(name, True, said)


def _stages(out: bytes) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for line in out.splitlines():
        try:
            said = json.loads(line)
            found[said["stage"]] = said
        except (ValueError, KeyError, TypeError):
            continue
    return found


def _end(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _short(text: object) -> str:
    return one_line(str(text).strip(), max_chars=300)


def hidden_cards() -> str | None:
    return os.environ.get("CUDA_VISIBLE_DEVICES")
