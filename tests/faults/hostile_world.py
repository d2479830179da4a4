"""A home in which every file that the program reads was written by an enemy."""

from __future__ import annotations

import json
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from tests.hostile import LONE, Filler, hostile
from tests.models import write_model
from tests.recorded import done_session, finish, numbered, opening, ran_out_session, steps
from tui_lora.core.class_report import ClassReport
from tui_lora.core.events import (
    EVENTS,
    AttemptFinished,
    AttemptStarted,
    Event,
    Heartbeat,
    HoldChanged,
    Result,
    RunPlanned,
    SpecChanged,
    StepDone,
)
from tui_lora.core.spec import RunSpec, parse_spec
from tui_lora.store import class_reports, sessions
from tui_lora.store.answer_sheets import AnswerSheet
from tui_lora.store.journal import append_line
from tui_lora.store.paths import SessionPaths

SAID = "said-by-the-enemy"
"""Stands in what is shown for certain, so that it is known that hostile texts came that far."""

_OF_THE_RUN = (AttemptStarted, RunPlanned, StepDone, AttemptFinished, Heartbeat, HoldChanged)
"""Numbers of these must fit together, so they are those of a recorded run."""


def hostile_world(home: Path) -> dict[str, str]:
    """Makes it; returns the environment that names its folders."""
    fill = Filler()
    root = home / "sessions"
    _finished(root, fill)
    _finished(root, fill, name="classes", task="classification")
    _running_out(root, fill)
    for number, name in enumerate(("draft", "odd")):
        _draft(root, name, fill, broken=bool(number))
    _misnamed(root)
    _queue(root, fill)
    _config(home / "config", fill)
    _models(home, fill)
    _data(home / "work", fill)
    return {
        "TUI_LORA_SESSIONS": str(root),
        "TUI_LORA_CONFIG": str(home / "config"),
        "TUI_LORA_CACHE": str(home / "cache"),
        "TUI_LORA_DATA": str(home / "kept"),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_HOME": str(home / "home"),
    }


def hostile_spec(fill: Filler, **more: Any) -> RunSpec:
    data = {
        "model": {"id": fill.text()},
        "dataset": {"path": fill.text(), "eval_path": fill.text()},
        **more,
    }
    return parse_spec(data)


def hostile_events(fill: Filler, first: int = 5000) -> list[str]:
    """Every kind of event that has a text, each text hostile, three times over."""
    lines = []
    kinds = [kind for kind in EVENTS.types if kind not in _OF_THE_RUN and kind is not SpecChanged]
    for number, kind in enumerate([*kinds, *kinds, *kinds]):
        event: Event = fill.message(kind, seq=first + number, t=1.76e9 + number, mono=1.0, step=400)
        lines.append(EVENTS.encode(event))
    return lines


def _finished(root: Path, fill: Filler, name: str = "done", task: str = "sft") -> SessionPaths:
    paths = done_session(root, name, task=task)
    for line in hostile_events(fill):
        append_line(paths.events, line)
    finish(paths, 400, "failed", f"{SAID} {fill.text()}\n{fill.text()}")
    paths.resolved.write_text(yaml.safe_dump({
        "model_revision": fill.text(),
        "versions": {fill.text(): fill.text()},
        "chosen": {fill.text(): {"value": fill.text(), "reason": fill.text()} for _ in range(3)},
        fill.text(): fill.text(),
    }))  # fmt: skip
    _adapter(paths.adapter, fill, labels=task == "classification")
    labels = tuple(fill.text() for _ in range(3))
    report = fill.message(
        ClassReport, step=400, labels=labels, confusion=((3, 1, 0), (0, 2, 1), (1, 1, 1))
    )
    class_reports.write(paths, report)
    sheet: AnswerSheet = fill.message(AnswerSheet)
    body = sheet.model_dump(mode="json")
    for row in body["rows"]:
        row |= {"question": fill.text(), "reference": fill.text()}
        row["base"]["text"] = row["tuned"]["text"] = fill.text()
    (paths.evaluations / "answers-20260101-000000.json").write_text(json.dumps(body))
    for place in (paths.chats / "20260101-000000.jsonl", paths.folder / "notes.jsonl",
                  paths.left_out, paths.log):  # fmt: skip
        place.parent.mkdir(exist_ok=True)
        lines = [{"v": 1, "t": 1.0, "role": fill.text(), "content": fill.text(), "type": "noted",
                  "text": fill.text(), "tags": [fill.text()], "id": fill.text()}]  # fmt: skip
        place.write_text("".join(json.dumps(line) + "\n" for line in lines) + fill.text())
    checkpoint = paths.checkpoints / "step-000400"
    checkpoint.mkdir(parents=True)
    manifest = {"version": 1, "step": 400, "tokens_seen": 1, "files": {
        fill.text(): {"size": 3, "sha256": fill.text()}}}  # fmt: skip
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))
    return paths


def _adapter(folder: Path, fill: Filler, *, labels: bool = False) -> None:
    folder.mkdir(exist_ok=True)
    config = {"base_model_name_or_path": fill.text(), "peft_type": fill.text(), "r": fill.text(),
              "target_modules": [fill.text()], "task_type": fill.text()}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    header = json.dumps({fill.text(): {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})
    body = header.encode()
    weights = struct.pack("<Q", len(body)) + body + bytes(4)
    (folder / "adapter_model.safetensors").write_bytes(weights)
    if labels:
        (folder / "labels.json").write_text(json.dumps([fill.text(), fill.text()]))


def _running_out(root: Path, fill: Filler) -> None:
    paths = ran_out_session(root)
    for line in hostile_events(fill):
        append_line(paths.events, line)


def _draft(root: Path, name: str, fill: Filler, *, broken: bool) -> None:
    paths = sessions.create(root, name, hostile_spec(fill))
    if broken:
        paths.spec.write_text(paths.spec.read_text() + f'\n"{SAID} \\e]0;x\\a": 1\n')
        lines = numbered(iter([*opening(40), *steps(1, 20, 40)]))
        rubbish = hostile(3) + "\n" + "x" * 50_000
        paths.events.write_text("".join(map(EVENTS.encode, lines)) + rubbish)
    paths.result.write_text(Result(attempt=1, verdict="failed", step=3, message=fill.text(),
                                   metrics={fill.text(): 0.5}).model_dump_json())  # fmt: skip


def _misnamed(root: Path) -> None:
    """Folders that somebody else put there, under names that no session may have."""
    for seed in range(40):
        name = hostile(seed, pieces=3).replace("/", "").replace("\0", "")[:80]
        with suppress(OSError):
            folder = root / name
            folder.mkdir()
            (folder / "run.yaml").write_text("model: {id: tiny}\ndataset: {path: quickstart}\n")


def _queue(root: Path, fill: Filler) -> None:
    for number in range(4):
        line = {"v": 1, "type": "queued", "id": f"q{number}", "t": 1.0, "card": fill.text(),
                "name": "draft" if number == 0 else fill.text()}  # fmt: skip
        append_line(root / "queue.jsonl", json.dumps(line) + "\n")
    refused = {"v": 1, "type": "refused", "id": "r", "t": 2.0, "name": "odd", "why": fill.text()}
    append_line(root / "queue.jsonl", json.dumps(refused) + "\n")


def _config(folder: Path, fill: Filler) -> None:
    for name in ("themes", "presets"):
        (folder / name).mkdir(parents=True)
    about = json.dumps(fill.text().replace("\x7f", ""))
    (folder / "themes" / "mine.toml").write_text(f'name = "mine"\nabout = {about}\n')
    for number in range(3):
        theme = f"{json.dumps(fill.text().replace(chr(127), ''))} = {number}\n"
        (folder / "themes" / f"bad{number}.toml").write_text(theme)
    preset = f"# {SAID} {hostile(7)}\n# {hostile(9)}\nlora: {{r: 8}}\n"
    (folder / "presets" / "mine.yaml").write_text(preset.replace("\n\n", "\n"))
    (folder / "presets" / "broken.yaml").write_text(f"{json.dumps(hostile(11))}: 3\n")
    draft = {"name": fill.text(), "spec": {
        "model": {"id": "hostile/model"}, "dataset": {"path": "rows.jsonl", "columns": fill.text()},
        "lora": {"r": fill.text(), fill.text(): 3}, fill.text(): fill.text(),
    }}  # fmt: skip
    (folder / "draft.json").write_text(json.dumps(draft))
    preferences = {"theme": fill.text(), "card": fill.text(), "model_folders": [str(folder)]}
    (folder / "preferences.json").write_text(json.dumps(preferences))


def _models(home: Path, fill: Filler) -> None:
    for number in range(12):
        name = f"m{number}" + hostile(number, pieces=3).replace("/", "").replace("\0", "")[:60]
        for place in (home / "cache" / "models", home / "config"):
            with suppress(OSError):
                write_model(place / name, model_type=fill.text(), architectures=[fill.text()],
                            dtype=fill.text(), auto_map={"AutoConfig": fill.text()})  # fmt: skip
    for id in ("hostile/model", "some/adapter"):
        folder = home / "hub" / f"models--{id.replace('/', '--')}"
        commit = "0" * 40
        snapshot = folder / "snapshots" / commit
        method = {"quant_method": fill.text()}
        write_model(snapshot, license=fill.text(), quantization_config=method)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text(commit)
        if id == "some/adapter":
            _adapter(snapshot, fill)
    bad = home / "hub" / ("models--" + hostile(5, pieces=2).replace("/", "").replace("\0", "")[:60])
    bad.mkdir()


def _data(folder: Path, fill: Filler) -> None:
    folder.mkdir()
    rows: list[Any] = [
        {"messages": [{"role": "user", "content": fill.text()},
                      {"role": "assistant", "content": fill.text()}], fill.text(): fill.text()}
        for _ in range(30)
    ]  # fmt: skip
    rows += [{fill.text(): fill.text()}, {"messages": fill.text()}, [fill.text()], fill.text(),
             {"messages": [{"role": fill.text(), "content": "x" + LONE}]}]  # fmt: skip
    lines = [json.dumps(row) for row in rows]
    for number in range(8):
        name = f"r{number}" + hostile(number, pieces=2).replace("/", "").replace("\0", "")[:60]
        with suppress(OSError):
            (folder / f"{name}.jsonl").write_text("\n".join(lines))
    (folder / "rows.jsonl").write_text("\n".join([*lines, fill.text(), "{broken", "x" * 50_000]))
    table = [",".join(["text", "label", "h\x1b]0;owned\x07"])]
    table += [f'"{hostile(n)}","l{n % 3}\x1b[2J",z' for n in range(20)]
    (folder / "table.csv").write_text("\n".join(table).replace("\0", ""))
    (folder / "documents").mkdir()
    for n in range(3):
        (folder / "documents" / f"{n}.txt").write_text(fill.text() * 20)
