"""The merge worker: one adapter into one base, for one viewer over pipes; ends when it is done.

It goes with its viewer: at the end of its input it ends at once, and what it was writing goes too.
"""

from __future__ import annotations

import contextlib
import queue
import resource
import shutil
import sys
import time
import traceback
from pathlib import Path

from tui_lora.core.errors import UserError
from tui_lora.core.export import (
    FROM_MERGE,
    TO_MERGE,
    FromMerge,
    Merge,
    Merged,
    MergeFailed,
    MergePlanned,
    MergeProgressed,
    ToMerge,
)
from tui_lora.core.text import clean, one_line
from tui_lora.store.atomic import sync_files, sync_folder
from tui_lora.store.beside import folder_beside, partial_of
from tui_lora.store.exports import check_out
from tui_lora.worker.stdio import Stdio

SAY_EVERY_S = 0.25


def main() -> int:
    """`merge`: takes one order on stdin, tells how it goes on stdout; the exit code."""
    pipes: Stdio[FromMerge, ToMerge] = Stdio(says=FROM_MERGE, hears=TO_MERGE)
    asked: queue.SimpleQueue[Merge] = queue.SimpleQueue()
    work: list[Merge] = []

    def hear(message: ToMerge) -> None:
        if isinstance(message, Merge) and not work:
            work.append(message)
            asked.put(message)

    def leave() -> None:
        for one in work:
            shutil.rmtree(partial_of(Path(one.out)), ignore_errors=True)

    pipes.listen(hear, at_end=leave)
    said = answer(asked.get(), pipes)
    pipes.say(said)
    return said.exit_code if isinstance(said, MergeFailed) else 0


def answer(asked: Merge, pipes: Stdio[FromMerge, ToMerge]) -> Merged | MergeFailed:
    """The merged model, or the sentence that says why there is none; never raises."""
    try:
        return merge(asked, pipes)
    except UserError as error:
        what = f"{error.where}: {error.what}" if error.where else error.what
        return MergeFailed(message=clean(what), then=error.then, exit_code=error.exit_code)
    except Exception as error:  # noqa: BLE001 a viewer needs a sentence, whatever it was
        traceback.print_exc(file=sys.stderr)
        from tui_lora.worker.oom import is_out_of_memory

        if is_out_of_memory(error) or isinstance(error, MemoryError):
            return MergeFailed(
                message="memory ran out.",
                then="Free some of it, or merge it on a larger machine.",
                exit_code=3,
            )
        why = one_line(str(error), max_chars=300).rstrip(".") or type(error).__name__
        return MergeFailed(message=f"the merge failed: {why}.")


def merge(asked: Merge, pipes: Stdio[FromMerge, ToMerge]) -> Merged:
    """Look, write beside, compare, put in place. Raises UserError and leaves nothing then."""
    began = time.monotonic()
    out = Path(asked.out)
    check_out(out, replace_it=asked.replace)
    from tui_lora.store.versions import versions
    from tui_lora.worker.merge_answers import measure_loss, verify
    from tui_lora.worker.merge_card import write_papers
    from tui_lora.worker.merge_check import check_weights
    from tui_lora.worker.merge_work import check_disk, prepare, write_weights
    from tui_lora.worker.merge_write import write_settings
    from tui_lora.worker.templates import end_of_turn_ids

    say = _Teller(pipes)
    work = prepare(asked, say)
    needed, free = check_disk(work)
    pipes.say(
        MergePlanned(
            dtype=str(work.dtype).removeprefix("torch."),
            dtype_reason=work.dtype_reason,
            size_bytes=needed,
            free_bytes=free,
            tensors=len(work.written_names()),
            layers=len(work.hollow.modules),
            notices=tuple(work.notices()),
        )
    )
    with folder_beside(out) as beside:
        written = write_weights(work, beside, needed, say)
        shards = written.close()
        tokenizer = work.tokenizer
        tokenizer.save_pretrained(beside)
        write_settings(
            beside,
            work.base,
            work.hollow.bare,
            work.dtype,
            tokenizer,
            untied=work.output_apart,
            labels=work.labels,
            ends=end_of_turn_ids(tokenizer) if not work.labels else frozenset(),
        )
        writing = _peak_rss()
        sync_files(beside)
        found = check_weights(work, beside, say)
        verified = verify(work, beside, found, say)
        loss = measure_loss(work, beside, say)
        write_papers(beside, work, verified, loss, versions(), time.time())
        say("putting it in place", None, None)
        sync_files(beside)
        _put_in_place(beside, out, replace=asked.replace)
    return Merged(
        path=clean(str(out)),
        dtype=str(work.dtype).removeprefix("torch."),
        size_bytes=sum(path.stat().st_size for path in out.iterdir()),
        shards=shards,
        layers=len(work.hollow.modules),
        seconds=round(time.monotonic() - began, 1),
        peak_rss_bytes=_peak_rss(),
        writing_rss_bytes=writing,
        verified=verified,
        loss=loss,
        notices=tuple(work.notices()),
    )


def _put_in_place(beside: Path, out: Path, *, replace: bool) -> None:
    """By one rename; what stood there is gone once the new one is there. Raises OSError."""
    check_out(out, replace_it=replace)
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    try:
        beside.rename(out)
    except OSError:
        with contextlib.suppress(OSError):
            old.rename(out)
        raise
    sync_folder(out.parent)
    shutil.rmtree(old, ignore_errors=True)


def _peak_rss() -> int:
    """Of this process so far, in bytes (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class _Teller:
    """Says what is being done, at most a few times a second for the same."""

    def __init__(self, pipes: Stdio[FromMerge, ToMerge]) -> None:
        self._pipes = pipes
        self._label, self._at = "", 0.0

    def __call__(
        self, label: str, done: int | None, total: int | None, unit: str = "bytes", /
    ) -> None:
        now = time.monotonic()
        if label == self._label and done != total and now - self._at < SAY_EVERY_S:
            return
        self._label, self._at = label, now
        self._pipes.say(
            MergeProgressed(label=clean(label), done=done, total=total, unit=clean(unit))
        )
