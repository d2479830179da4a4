"""`python -P -m tui_lora.worker KIND ...`: the one door of every worker process.

Each kind is imported when it is asked for: torch takes seconds, and a train worker takes its
session's lock before that.
"""

from __future__ import annotations

import faulthandler
import os
import sys

from tui_lora.worker import hub_kernels

KINDS = {
    "train": "train SESSION_FOLDER [--changes JSON] [--reason TEXT] "
    "[--retry NUMBER] [--heard BYTES] [--lock DESCRIPTOR]",
    "next": "next SESSIONS_ROOT --card CARD --after PID [--guard SESSION]",
    "chat": "chat MODEL [--revision R] [--devices D] [--quantization Q] [--dtype T] "
    "[--trust-remote-code FINGERPRINT] [--classifier ADAPTER_FOLDER]",
    "inspect": "inspect",
    "evaluate": "evaluate",
    "merge": "merge",
    "check": "check",
    "forecast": "forecast",
    "fit_check": "fit_check",
    "convert": "convert GGUF_FILE OUT_FOLDER",
    "fetch": "fetch [--adapter] HUB_ID [REVISION]",
    "facts": "facts",
}


def main(arguments: list[str]) -> int:
    """Run the worker that `arguments` names; returns its exit code, 2 for arguments unknown."""
    kind, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    # A crash of a library (a bus error where /dev/shm is full) leaves its name and the stack.
    faulthandler.enable()
    # Whoever installed the package for one run has not asked for native code in all others.
    hub_kernels.keep_out()
    if kind == "train" and rest:
        from tui_lora.worker import train

        return train.main(rest)
    if kind == "next" and rest:
        from tui_lora.worker import next_in_queue

        return next_in_queue.main(rest)
    if kind == "chat" and rest:
        from tui_lora.worker import chat

        return chat.main(rest)
    if kind == "inspect" and not rest:
        from tui_lora.worker import inspect

        return inspect.main()
    if kind == "evaluate" and not rest:
        from tui_lora.worker import evaluate

        return evaluate.main()
    if kind == "merge" and not rest:
        from tui_lora.worker import merge

        return merge.main()
    if kind == "check" and not rest:
        from tui_lora.worker import check

        return check.main()
    if kind == "forecast" and not rest:
        from tui_lora.worker import forecast_run

        return forecast_run.main()
    if kind == "fit_check" and not rest:
        from tui_lora.worker import fit_check

        return fit_check.main()
    if kind == "convert" and len(rest) == 2:
        # Its stderr is a pipe that is read only when it fails; progress bars would fill it.
        os.environ["TQDM_DISABLE"] = "1"
        from tui_lora.worker import gguf

        return gguf.main(rest)
    if kind == "fetch" and 1 <= len(rest) - (rest[:1] == ["--adapter"]) <= 2:
        from tui_lora.worker import fetch

        return fetch.main(rest)
    if kind == "facts" and not rest:
        from tui_lora.worker import facts

        return facts.main()
    usage = "\n".join(f"  python -m tui_lora.worker {line}" for line in KINDS.values())
    sys.stderr.write(f"usage:\n{usage}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
