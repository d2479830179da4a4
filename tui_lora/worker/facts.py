"""What torch and bitsandbytes can do on this machine, found by doing it: one JSON line a stage.

A native library that does not fit may end the process; whoever reads then knows the stage by the
lines that are missing.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

TOLERANCE = 0.25
"""A 4-bit round trip of N(0, 1) differs by 0.07 on average (nf4, blocks of 64)."""


def main() -> int:
    """Say what there is, stage by stage; returns 0 when every stage was reached."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # no library's print gets between the lines
    # bitsandbytes asks the Hub for kernels when it is imported; a look at the machine fetches none.
    os.environ["HF_HUB_OFFLINE"] = "1"

    def say(stage: str, **facts: Any) -> None:
        out.write(json.dumps({"stage": stage, **facts}) + "\n")
        out.flush()

    try:
        import torch
    except Exception as error:  # noqa: BLE001 whatever it is, the user reads it
        say("torch", problem=f"{type(error).__name__}: {error}")
        return 0
    say("torch", version=torch.__version__, cuda=torch.version.cuda, hip=torch.version.hip)
    say("cards", **_cards(torch))
    try:
        import bitsandbytes
    except Exception as error:  # noqa: BLE001
        say("bitsandbytes", problem=f"{type(error).__name__}: {error}")
        return 0
    say("bitsandbytes", version=bitsandbytes.__version__, **_library(bitsandbytes))
    say("four_bit", **_round_trip(torch))
    return 0


def _cards(torch: Any) -> dict[str, Any]:
    """The card that a worker would see, or why it sees none."""
    if not torch.cuda.is_available():
        why = ""
        if torch.version.cuda is not None or torch.version.hip is not None:
            try:
                torch.cuda.init()
            except Exception as error:  # noqa: BLE001
                why = str(error)
        return {"available": False, "problem": why}
    cards = [
        {
            "name": torch.cuda.get_device_name(index),
            "capability": list(torch.cuda.get_device_capability(index)),
        }
        for index in range(torch.cuda.device_count())
    ]
    return {"available": True, "cards": cards, "built_for": torch.cuda.get_arch_list()}


def _library(bitsandbytes: Any) -> dict[str, Any]:
    lib = bitsandbytes.cextension.lib
    if type(lib).__name__.startswith("ErrorHandler"):
        return {"problem": str(getattr(lib, "error_msg", "its library was not loaded"))}
    return {"with_cuda": bool(lib.compiled_with_cuda)}


def _round_trip(torch: Any) -> dict[str, Any]:
    """Numbers into nf4 and back on the device that would train."""
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        given = torch.randn(256, 256, generator=torch.Generator().manual_seed(0)).to(device)
        codes, state = quantize_4bit(given, quant_type="nf4")
        error = float((dequantize_4bit(codes, state) - given).abs().mean())
        float((given @ given).sum())
    except Exception as problem:  # noqa: BLE001
        return {"device": device, "problem": f"{type(problem).__name__}: {problem}"}
    found: dict[str, Any] = {"device": device, "error": error}
    if not error < TOLERANCE:
        found["problem"] = f"numbers come back changed by {error:.3g} on average"
    return found


if __name__ == "__main__":
    sys.exit(main())
