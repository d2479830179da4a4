"""The first run: the quickstart session, from nothing to a comparison of base and adapter."""

from __future__ import annotations

import textwrap
from itertools import islice, zip_longest
from pathlib import Path

from tui_lora.core.chat import BASE, Turn
from tui_lora.core.errors import UserError
from tui_lora.core.sampling import Sampling
from tui_lora.core.spec import DatasetSpec
from tui_lora.core.status import Status
from tui_lora.core.text import clean, duration, number
from tui_lora.core.view import perplexity
from tui_lora.headless.conversation import Conversation
from tui_lora.headless.follow import to_stdout
from tui_lora.headless.verbs import follow_to_end, print_progress
from tui_lora.store import runs, sessions
from tui_lora.store.adapters import ChatTarget, session_target
from tui_lora.store.paths import SessionPaths
from tui_lora.store.presets import read_preset
from tui_lora.store.sources import open_source, rows_of
from tui_lora.store.spec_file import spec_in

NAME = "quickstart"
QUESTIONS = 3
MAX_NEW_TOKENS = 60
_COLUMN = 56


def start(root: Path) -> SessionPaths:
    """The quickstart that runs already, else a new one: `quickstart`, `quickstart-2` …"""
    for paths in sessions.listed(root):
        if _is_ours(paths.name) and sessions.status_of(paths).alive:
            to_stdout(f"{paths.name} is already running.")
            return paths
    name = sessions.free_name(root, NAME)
    spec = spec_in(read_preset(NAME).data, where=f"preset {NAME}")
    paths = runs.begin(root, name, spec, on_progress=print_progress())
    to_stdout(f"session {paths.name} started: {paths.folder}")
    return paths


def headless(root: Path) -> int:
    """Train, follow, then show what changed: perplexity and three held-out questions."""
    paths = start(root)
    code = follow_to_end(paths)
    status = sessions.status_of(paths)
    if code != 0 or status is not Status.DONE:
        return code
    result = sessions.read_result(paths)
    if result is None:
        raise UserError("the run left no result.", where=str(paths.result), exit_code=1)
    base, tuned = perplexity(result.base_eval_loss), perplexity(result.eval_loss)
    to_stdout(f"held-out perplexity: base {number(base)} → tuned {number(tuned)}")
    compare(paths)
    to_stdout(f"\nTalk to it: tui-lora chat {paths.name}    Look at it: tui-lora")
    return 0


def compare(paths: SessionPaths) -> None:
    """The base's and the adapter's answers to held-out questions, side by side."""
    tuned = session_target(paths)
    base = ChatTarget(BASE, tuned.model, tuned.quantization, tuned.devices)
    with Conversation([base, tuned], lambda label: to_stdout(f"{clean(label)} …")) as conversation:
        for number_, question in enumerate(held_out_questions(QUESTIONS), start=1):
            turns = [Turn(role="user", content=question)]
            answers = [
                conversation.ask(turns, name=name, sampling=Sampling(max_new_tokens=MAX_NEW_TOKENS))
                for name in (BASE, tuned.name)
            ]
            to_stdout(f"\n{number_}. {question}")
            to_stdout(f"{BASE:<{_COLUMN}}  {tuned.name}")
            for left, right in zip_longest(
                *(wrap(answer.text) for answer in answers), fillvalue=""
            ):
                to_stdout(f"{left:<{_COLUMN}}  {right}".rstrip())
            seconds = sum(answer.seconds for answer in answers)
            to_stdout(f"({sum(a.tokens for a in answers)} tokens in {duration(seconds)})")


def held_out_questions(count: int) -> list[str]:
    """The first questions of the held-out part of the quickstart dataset."""
    rows = rows_of(open_source(DatasetSpec(path="quickstart-heldout")))
    return [row.value["messages"][0]["content"] for row in islice(rows, count)]


def wrap(text: str) -> list[str]:
    lines: list[str] = []
    for paragraph in clean(text).splitlines():
        lines.extend(textwrap.wrap(paragraph, _COLUMN) or [""])
    return lines


def _is_ours(name: str) -> bool:
    rest = name.removeprefix(NAME)
    return name.startswith(NAME) and (rest == "" or rest.removeprefix("-").isdigit())
