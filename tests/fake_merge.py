"""A merge worker without a model: a real process on real pipes that speaks the real protocol.

What it does depends on the name of the folder it is to write: with `slow` it waits for the file in
`FAKE_MERGE_GATE` to be gone, with `wrong` the result is not verified, with `dead` it ends without a
word. At the end of its input it goes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from tui_lora.core.export import (
    FROM_MERGE,
    TO_MERGE,
    FromMerge,
    Merge,
    Merged,
    MergeFailed,
    MergePlanned,
    MergeProgressed,
    StorageLoss,
    Verified,
)

GATE = "FAKE_MERGE_GATE"
NOTICE = "the embeddings have 2 more rows, for the new tokens [/INST]"


def start_fake_merge(kind: str, *arguments: str, devices: str = "auto") -> subprocess.Popen[bytes]:
    """Stands in for `store.launch.start_pipe_worker`, for merge workers."""
    return subprocess.Popen(
        [sys.executable, __file__, devices],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )


def main(devices: str) -> None:
    def say(message: FromMerge) -> None:
        sys.stdout.write(FROM_MERGE.encode(message))
        sys.stdout.flush()

    asked = TO_MERGE.decode(sys.stdin.readline()).message
    assert isinstance(asked, Merge)
    threading.Thread(target=lambda: os._exit(0) if not sys.stdin.read() else None).start()
    name = Path(asked.out).name
    if "dead" in name:
        sys.stderr.write("the library fell off the bus\n")
        sys.stderr.flush()
        os._exit(3)
    dtype = "bfloat16" if asked.precision == "auto" else asked.precision
    say(
        MergePlanned(
            dtype=dtype,
            dtype_reason="the base's files hold it so",
            size_bytes=15_000_000_000,
            free_bytes=80_000_000_000,
            tensors=291,
            layers=224,
            notices=(NOTICE,),
        )
    )
    say(MergeProgressed(label="merging", done=6_000_000_000, total=15_000_000_000))
    gate = os.environ.get(GATE)
    while "slow" in name and gate and Path(gate).exists():
        time.sleep(0.01)
    if "wrong" in name:
        say(
            MergeFailed(
                message="the merged model does not answer as base and adapter do: its logits are "
                "3.1 from those of base and adapter, and rounding accounts for 0.4.",
                then="It was not put in place.",
            )
        )
        os._exit(1)
    say(
        Merged(
            path=asked.out,
            dtype=dtype,
            size_bytes=15_000_000_000,
            shards=15,
            layers=224,
            seconds=312.0,
            peak_rss_bytes=16_000_000_000,
            writing_rss_bytes=1_900_000_000,
            verified=Verified(
                weights=123_456,
                worst_ulp=0.5,
                kept_share=0.987,
                prompts=4,
                device=devices,
                logits_rms=0.1,
                logits_allowed=0.4,
                yardstick=0.1,
                top_agree=1.0,
                answers=4,
                same_answers=4,
                answer_tokens=80,
            ),
            loss=StorageLoss(
                scheme="nf4",
                merged=2.18,
                quantized=1.66,
                tokens=58,
                rows=5,
                source="rows.jsonl",
            )
            if asked.quantization.scheme != "none"
            else None,
            notices=(NOTICE,),
        )
    )
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
