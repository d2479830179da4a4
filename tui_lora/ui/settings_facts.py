"""What the Settings screen asks of the disk: called in its threads, answered with facts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from textual.message import Message

from tui_lora.core import fields
from tui_lora.core.errors import Problem, SpecError, UserError
from tui_lora.core.spec import SHORT, RunSpec
from tui_lora.store import presets, runs, sessions, spec_file
from tui_lora.store.atomic import write_whole
from tui_lora.store.paths import SessionPaths, expanded, is_there
from tui_lora.store.preflight import anchored
from tui_lora.store.queue import put_in
from tui_lora.store.queue_file import read_queue
from tui_lora.ui.forms.ask_line import Refused
from tui_lora.ui.forms.checked import check_all, is_taken
from tui_lora.ui.forms.survey import Survey, survey_of, wanted_name
from tui_lora.ui.messages import Newest
from tui_lora.ui.state import Draft

Post = Callable[[Message], object]


class Surveyed(Message):
    """The disk was asked about the draft."""

    def __init__(self, survey: Survey) -> None:
        self.survey = survey
        super().__init__()


class ProblemsFound(Message):
    """What was asked for cannot be done, for these reasons; `file` is where they stand."""

    def __init__(self, problems: tuple[Problem, ...], file: str = "") -> None:
        self.problems = problems
        self.file = file
        super().__init__()


class StartProgressed(Newest):
    """How far a start is; the share is None when it is not known."""

    def __init__(self, label: str, share: float | None) -> None:
        self.label = label
        self.share = share
        super().__init__()


class StartEnded(Message):
    """A start is over: `paths` is the session that runs, None when there is none; or that waits
    in the queue, and `waits` says behind what."""

    def __init__(
        self, paths: SessionPaths | None, *, cancelled: bool = False, waits: str = ""
    ) -> None:
        self.paths = paths
        self.cancelled = cancelled
        self.waits = waits
        super().__init__()


class SpecOpened(Message):
    """A run spec was read from a file."""

    def __init__(self, file: str, spec: RunSpec) -> None:
        self.file = file
        self.spec = spec
        super().__init__()


class SpecWritten(Message):
    """The draft was written to a file."""

    def __init__(self, file: str) -> None:
        self.file = file
        super().__init__()


class WouldReplace(Message):
    """There is a file already where the draft was to be written."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        super().__init__()


class StartCancelled(Exception):
    """Raised where progress is reported, since nothing else is asked there."""


def surveyed(draft: Draft, root: Path) -> Surveyed:
    survey = survey_of(draft, lambda wanted: sessions.free_name(root, wanted))
    return Surveyed(replace(survey, taken=draft.name if is_taken(root, draft.name) else ""))


def start(
    draft: Draft, root: Path, cancel: threading.Event, post: Post, *, queued: bool = False
) -> None:
    """Check everything, then make the session and start its worker; where it is `queued`, when its
    card is free."""
    ended: StartEnded = StartEnded(None)

    def progressed(label: str, share: float | None) -> None:
        if cancel.is_set():
            raise StartCancelled
        post(StartProgressed(label, share))

    try:
        progressed("looking at the model and the rows", None)
        spec, problems = check_all(draft, root)
        if spec is None or problems:
            post(ProblemsFound(problems))
            return
        name = draft.name or sessions.free_name(root, wanted_name(draft))
        if queued:
            paths = runs.prepare(root, name, spec, on_progress=progressed)
            said = put_in(root, paths)
            waits = read_queue(root).entry(paths.name) is not None
            ended = StartEnded(paths, waits=said if waits else "")
        else:
            progressed("starting the worker", None)
            ended = StartEnded(runs.begin(root, name, spec, on_progress=progressed))
    except StartCancelled:
        ended = StartEnded(None, cancelled=True)
    except SpecError as error:
        post(ProblemsFound(error.problems))
    finally:
        post(ended)


def opened(text: str) -> Message:
    """What was typed as the path of a run spec to open."""
    path = expanded(text).absolute()
    try:
        spec = spec_file.read_spec(path)
    except SpecError as error:
        return ProblemsFound(error.problems, str(path))
    except UserError as error:
        where = f"{error.where}: " if error.where else ""
        return Refused(f"{where}{error.what} {error.then}".strip())
    return SpecOpened(str(path), anchored(spec, path.parent))


def written(text: str, spec: RunSpec, *, over: bool) -> Message:
    """What was typed as the path to write the draft to; `over`: even where a file is."""
    path = expanded(text).absolute()
    if path.suffix not in (".yaml", ".yml"):
        path = path.with_name(f"{path.name}.yaml")
    if is_there(path) and not over:
        return WouldReplace(text, str(path))
    header = f"Start it: tui-lora train {path.name}"
    try:
        write_whole(path, spec_file.to_yaml(anchored(spec, Path.cwd()), header=header))
    except (OSError, ValueError) as error:
        return Refused(f"it cannot be written: {getattr(error, 'strerror', None) or error}.")
    return SpecWritten(str(path))


def with_preset(draft: Draft, name: str) -> Draft:
    """The draft with a preset's settings; what it leaves open of model and dataset stays.

    The task goes with the dataset: it stays where the preset names neither.
    """
    preset = presets.read_preset(name)
    data = dict(preset.data)
    for section in ("model", "dataset"):
        own = draft.data.get(section)
        if fields.get(data, f"{section}.{SHORT[section]}") is ... and own is not None:
            for key, value in dict(data.get(section, {})).items():
                own = fields.put({section: own}, f"{section}.{key}", value)[section]
            data[section] = own
    if "task" in draft.data and not {"task", "dataset"} & preset.data.keys():
        data["task"] = draft.data["task"]
    return Draft(draft.name, data)
