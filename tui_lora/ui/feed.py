"""The one module that reads live sessions for the UI: four threads that post only what changed.

Disks stall, drivers block, and a run of days has a long log, so nothing here touches the UI's own
thread. What is found is handed over newest first: while the UI is busy, a newer fact takes the
place of an older one, so nothing piles up behind a stalled link.
"""

from __future__ import annotations

import threading
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from textual.message import Message

from tui_lora.core.errors import UserError
from tui_lora.core.events import Result
from tui_lora.core.sensors import SensorReading, calmed
from tui_lora.core.spec import RunSpec
from tui_lora.core.status import Status
from tui_lora.core.text import one_line
from tui_lora.core.view import RunView
from tui_lora.store import lock, sessions
from tui_lora.store.journal import Tail
from tui_lora.store.log_ends import LogEnds
from tui_lora.store.memory_table import with_learned
from tui_lora.store.orders import OrdersGiven
from tui_lora.store.parent import read_parent
from tui_lora.store.paths import SessionPaths
from tui_lora.store.patience import PatientSensors
from tui_lora.store.queue_now import not_started, turns
from tui_lora.store.quiet import why_quiet
from tui_lora.store.sessions import Summary
from tui_lora.store.signals_sent import SignalsSent
from tui_lora.store.spec_file import read_spec
from tui_lora.store.spec_now import with_changes
from tui_lora.store.sudden_end import why_it_ended
from tui_lora.ui.messages import RunChanged, Said, SensorsRead, SessionsListed
from tui_lora.ui.state import RunNow

TAIL_EVERY_S = 0.25
STATUS_EVERY_S = 1.0
LIST_EVERY_S = 2.0
SENSORS_EVERY_S = 1.0
ENDS_EVERY_S = 3.0
BLOCK_BYTES = 1 << 20
FIRST_ROWS = 30


class Outbox:
    """Carries facts from any thread to the UI's, only the newest of each kind."""

    def __init__(self, loop: AbstractEventLoop, post: Callable[[Message], object]) -> None:
        self._loop = loop
        self._post = post
        self._lock = threading.Lock()
        self._newest: dict[type[Message], Message] = {}

    def put(self, message: Message) -> None:
        with self._lock:
            asleep = not self._newest
            self._newest[type(message)] = message
        if asleep:
            with suppress(RuntimeError):  # the UI has left
                self._loop.call_soon_threadsafe(self._deliver)

    def call(self, what: Callable[[], object]) -> None:
        """Have something done in the UI's own thread."""
        with suppress(RuntimeError):  # the UI has left
            self._loop.call_soon_threadsafe(what)

    def _deliver(self) -> None:
        with self._lock:
            messages, self._newest = list(self._newest.values()), {}
        for message in messages:
            self._post(message)


class Follower:
    """Follows one session: `look` gives a snapshot when there is something new, else None."""

    def __init__(self, paths: SessionPaths) -> None:
        self.paths = paths
        self._view = RunView()
        self._tail = Tail(paths.events)
        self._orders = OrdersGiven(paths)
        self._signals = SignalsSent(paths)
        self._spec: RunSpec | None = None
        self._parent = read_parent(paths)
        self._problem = ""
        self._status: Status | None = None
        self._result: Result | None = None
        self._status_due = 0.0
        self._grew = False

    def glance(self) -> RunNow | None:
        """The run from the ends of its log; None for a log so short that `look` is as fast."""
        self._read_spec()
        lines, skipped = sessions.first_and_last(self.paths)
        if not skipped:
            return None
        view = sessions.fold(lines, RunView())
        status = sessions.status_of(self.paths, view)
        return self._now(view, status, whole=False)

    def look(self, go_on: Callable[[], bool]) -> RunNow | None:
        """Read what came since the last look; a long log is left half-way once `go_on` is false."""
        while go_on() and (lines := self._tail.read(BLOCK_BYTES)):
            if self._tail.restarted:
                self._tail.restarted = False
                self._view = RunView()
            sessions.fold(lines, self._view)
            self._grew = True
        asked, sent = self._orders.look(), self._signals.look()
        self._grew = asked or sent or self._grew
        if not go_on() or (not self._grew and time.monotonic() < self._status_due):
            return None
        self._status_due = time.monotonic() + STATUS_EVERY_S
        if self._spec is None:
            self._read_spec()
        status = sessions.status_of(self.paths, self._view)
        if not self._grew and status is self._status:
            return None
        self._status, self._grew = status, False
        self._result = None if status.alive else sessions.read_result(self.paths)
        return self._now(self._view.snapshot(), status, whole=True)

    def _now(self, view: RunView, status: Status, *, whole: bool) -> RunNow:
        spec, problem = self._spec, self._problem
        if spec is not None and view.spec_changes:
            try:
                spec = with_changes(spec, view.spec_changes)
            except UserError as error:
                problem = one_line(str(error).splitlines()[0])
        why = one_line(why_it_ended(self.paths)) if status is Status.INTERRUPTED else ""
        # What stands between the ends of a long log may have answered them.
        asked = self._orders.waiting(view) if status.alive and whole else ()
        return RunNow(
            self.paths,
            status,
            view,
            spec,
            problem,
            self._result,
            whole,
            self._spec,
            why,
            asked,
            parent=self._parent,
            signals=self._signals.since(view.attempt_started_t) if status.alive else (),
            why_quiet=one_line(why_quiet(self.paths)) if status is Status.QUIET else "",
        )

    def _read_spec(self) -> None:
        try:
            self._spec, self._problem = read_spec(self.paths.spec), ""
        except UserError as error:
            self._problem = one_line(str(error).splitlines()[0])


class Lister:
    """Summaries of all sessions; reads again only those whose files or whose worker changed."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[str, tuple[object, Summary]] = {}
        self._ends: dict[str, LogEnds] = {}

    def look(self, first: Callable[[tuple[Summary, ...]], object]) -> tuple[Summary, ...]:
        """All of them; `first` gets the top of a long list that takes a while."""
        known: dict[str, tuple[object, Summary]] = {}
        fresh = 0
        waits, refused = turns(self._root), not_started(self._root)
        for paths in sessions.listed(self._root):
            stamp = (_stamp(paths), paths.name in waits)
            before = self._known.get(paths.name)
            alive = lock.holder(paths.lock) is not None
            if before is None or before[0] != stamp or alive or before[1].status.alive:
                ends = self._ends.setdefault(paths.name, LogEnds(paths.events))
                before = (stamp, sessions.summarize(paths, ends))
                fresh += 1
            turn, why = waits.get(paths.name), one_line(refused.get(paths.name, ""))
            if (before[1].turn, before[1].refused) != (turn, why):
                before = (stamp, replace(before[1], turn=turn, refused=why))
            known[paths.name] = before
            if not self._known and fresh == FIRST_ROWS:
                first(tuple(summary for _, summary in known.values()))
        self._known = known
        self._ends = {name: ends for name, ends in self._ends.items() if name in known}
        return tuple(summary for _, summary in known.values())


def _stamp(paths: SessionPaths) -> object:
    stamps: list[tuple[int, int] | None] = []
    for path in (paths.events, paths.result, paths.spec, paths.adapter):
        try:
            found = path.stat()
            stamps.append((found.st_mtime_ns, found.st_size))
        except OSError:
            stamps.append(None)
    return stamps


class Feed:
    """The threads. `follow` and `list_sessions` say what to read; `stop` lets them run out.
    `ring` is called once for the end of each run that was seen running, whichever is shown.

    They are daemons: a driver call that blocks must not keep the program from leaving.
    """

    def __init__(self, outbox: Outbox, root: Path, ring: Callable[[], object]) -> None:
        self._outbox = outbox
        self._root = root
        self._bell = ring
        self._chosen: SessionPaths | None = None
        self._listing = threading.Event()
        self._list_now = threading.Event()
        self._turned = threading.Event()
        self._stopped = threading.Event()

    def start(self) -> None:
        for loop in (self._follow, self._list, self._sense, self._ring):
            name = f"feed-{loop.__name__.strip('_')}"
            threading.Thread(target=self._guarded, args=(loop,), name=name, daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()
        self._turned.set()
        self._listing.set()
        self._list_now.set()

    def follow(self, paths: SessionPaths | None) -> None:
        """Turn to another session (or to none); what is known of it comes at once."""
        self._chosen = paths
        self._turned.set()

    def list_sessions(self, wanted: bool) -> None:
        """List the sessions at once and from now on, or no longer."""
        if wanted:
            self._listing.set()
            self._list_now.set()
        else:
            self._listing.clear()

    def _guarded(self, loop: Callable[[], None]) -> None:
        while not self._stopped.is_set():
            try:
                loop()
            except Exception as error:  # noqa: BLE001 - a feed that dies in silence shows old figures
                what = f"reading failed ({type(error).__name__}: {error}); trying again."
                self._outbox.put(Said(one_line(what, max_chars=300), "error"))
                self._stopped.wait(LIST_EVERY_S)

    def _follow(self) -> None:
        follower: Follower | None = None
        while not self._stopped.is_set():
            self._turned.clear()
            paths = self._chosen
            if follower is None or follower.paths != paths:
                follower = Follower(paths) if paths is not None else None
                if follower is not None and (now := follower.glance()) is not None:
                    self._outbox.put(RunChanged(now))
            if follower is None:
                self._turned.wait()
                continue
            if (now := follower.look(lambda: not self._turned.is_set())) is not None:
                self._outbox.put(RunChanged(now))
            self._turned.wait(TAIL_EVERY_S)

    def _list(self) -> None:
        lister = Lister(self._root)
        shown: tuple[Summary, ...] | None = None
        while self._listing.wait() and not self._stopped.is_set():
            self._list_now.clear()
            found = lister.look(lambda rows: self._outbox.put(SessionsListed(rows)))
            if found != shown:
                shown = found
                self._outbox.put(SessionsListed(found))
            self._list_now.wait(LIST_EVERY_S)

    def _sense(self) -> None:
        sensors = PatientSensors()
        shown: SensorReading | None = None
        while not self._stopped.is_set():
            reading = calmed(shown, with_learned(sensors.read()))
            if reading != shown:
                shown = reading
                self._outbox.put(SensorsRead(reading))
            self._stopped.wait(SENSORS_EVERY_S)

    def _ring(self) -> None:
        ran: set[Path] = set()
        while not self._stopped.is_set():
            runs = {paths.folder for paths in sessions.running(self._root)}
            for _ in ran - runs:
                self._outbox.call(self._bell)
            ran = runs
            self._stopped.wait(ENDS_EVERY_S)
