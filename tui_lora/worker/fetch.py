"""The fetch worker: brings one model of the Hub to this machine, and ends when it is here.

It goes with its viewer: at the end of its input it ends at once, and what came so far is kept.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tui_lora.core.errors import UserError
from tui_lora.core.fetch import (
    FROM_FETCH,
    TO_FETCH,
    Fetched,
    FetchFailed,
    FetchPaused,
    FetchPlanned,
    FetchProgressed,
    FromFetch,
    ToFetch,
)
from tui_lora.core.text import clean
from tui_lora.store.bring import ADAPTER
from tui_lora.store.fetching import (
    ANOTHER,
    BrokenLine,
    FetchPlan,
    HubFile,
    check_room,
    fetch_file,
    plan,
    settle,
)
from tui_lora.worker.stdio import Stdio

FILES_AT_ONCE = 4
SAY_EVERY_S = 0.5
RATE_OVER_S = 10.0
TRIES = 10
"""How often a line may break before anything more came over it."""
LONGEST_WAIT_S = 60.0

Say = Callable[[FromFetch], None]
Wait = Callable[[float], object]


def main(arguments: list[str]) -> int:
    """`fetch [--adapter] HUB_ID [REVISION]`: progress on stdout, until the model is here or cannot
    come. With `--adapter` nothing but an adapter comes."""
    pipes: Stdio[FromFetch, ToFetch] = Stdio(says=FROM_FETCH, hears=TO_FETCH)
    pipes.listen(lambda message: None)
    adapter = arguments[0] == ADAPTER
    hub_id, *revision = arguments[1:] if adapter else arguments
    return fetch(hub_id, revision[0] if revision else None, pipes.say, adapter=adapter)


def fetch(
    hub_id: str,
    revision: str | None,
    say: Say,
    wait: Wait = time.sleep,
    *,
    adapter: bool = False,
) -> int:
    """Fetch a model, telling `say` all about it; the exit code. Waits with `wait`."""
    began = time.monotonic()
    try:
        _, wanted = plan(hub_id, revision, adapter=adapter)
        check_room(wanted)
        say(
            FetchPlanned(
                files=len(wanted.files),
                total_bytes=wanted.total_bytes,
                here_bytes=wanted.here_bytes,
            )
        )
        place = _bring(wanted, say, wait)
    except UserError as error:
        say(FetchFailed(message=error.what, then=error.then))
        return error.exit_code
    except Exception as error:  # noqa: BLE001 a viewer that hears nothing waits for ever
        say(FetchFailed(message=f"the fetch worker failed ({type(error).__name__})."))
        return 1
    seconds = round(time.monotonic() - began, 1)
    say(Fetched(place=clean(str(place)), total_bytes=wanted.total_bytes, seconds=seconds))
    return 0


def _bring(wanted: FetchPlan, say: Say, wait: Wait) -> Path:
    """All files, a few at a time; a line that breaks is waited for. Raises UserError."""
    meter = _Meter(wanted.here_bytes, say)
    try:
        # The first file alone: what refuses one refuses all.
        for files in ([*wanted.files[:1]], [*wanted.files[1:]]):
            _bring_some(wanted, files, meter, say, wait)
    finally:
        meter.close()
    return settle(wanted)


def _bring_some(
    wanted: FetchPlan, files: list[HubFile], meter: _Meter, say: Say, wait: Wait
) -> None:
    tries = 0
    while files:
        before = meter.done
        files, broken = _round(wanted, files, meter)
        if broken is None:
            continue
        tries = 0 if meter.done > before or str(broken) == ANOTHER else tries + 1
        if tries >= TRIES:
            raise UserError(
                f"{broken}, {tries} times in a row.",
                then="What came is kept: fetch it again, and it goes on from there.",
                exit_code=1,
            )
        pause = broken.retry_s or min(2.0**tries, LONGEST_WAIT_S)
        say(FetchPaused(why=str(broken), retry_s=pause))
        wait(pause)
        meter.resume()
        meter.say_now()


def _round(
    wanted: FetchPlan, files: list[HubFile], meter: _Meter
) -> tuple[list[HubFile], BrokenLine | None]:
    """Try each file once; those that did not come whole, and why. Raises UserError."""
    ended: list[BrokenLine | UserError] = []
    refused = threading.Event()

    def came(more: int) -> None:
        meter.came(more)
        if refused.is_set():
            raise BrokenLine("called off")

    def one(file: HubFile) -> bool:
        if ended:
            return False  # the line broke for another file, so it would for this one
        try:
            fetch_file(wanted, file, came)
        except (BrokenLine, UserError) as error:
            ended.append(error)
            if isinstance(error, UserError):
                refused.set()
            return False
        return True

    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        here = list(pool.map(one, files))
    meter.say_now()
    for error in ended:
        if isinstance(error, UserError):
            raise error
    broken = next((error for error in ended if isinstance(error, BrokenLine)), None)
    return [file for file, done in zip(files, here, strict=True) if not done], broken


class _Meter:
    """Counts what comes, from several threads, and says so now and then, until it is closed."""

    def __init__(self, here: int, say: Say) -> None:
        self.done = here
        self._say = say
        self._lock = threading.Lock()
        self._said = here
        self._closed = threading.Event()
        self._past: deque[tuple[float, int]] = deque()
        self.resume()
        threading.Thread(target=self._tick, name="meter", daemon=True).start()

    def close(self) -> None:
        self._closed.set()

    def came(self, more: int) -> None:
        with self._lock:
            self.done += more

    def resume(self) -> None:
        """The time of a pause does not count."""
        with self._lock:
            self._past.clear()
            self._past.append((time.monotonic(), self.done))

    def say_now(self) -> None:
        with self._lock:
            now = time.monotonic()
            self._past.append((now, self.done))
            while len(self._past) > 2 and now - self._past[0][0] > RATE_OVER_S:
                self._past.popleft()
            then, before = self._past[0]
            rate = (self.done - before) / (now - then) if now - then >= SAY_EVERY_S else 0.0
            self._said = self.done
            self._say(FetchProgressed(done_bytes=self.done, bytes_per_s=rate if rate > 0 else None))

    def _tick(self) -> None:
        while not self._closed.wait(SAY_EVERY_S):
            if self.done != self._said:
                self.say_now()
