"""Memory ran out, in a shell: the words, the exit code, and `train SESSION --set` that goes on."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.models import write_model
from tests.recorded import ran_out, ran_out_session
from tests.store.test_sessions import write_events
from tui_lora.core.errors import UserError
from tui_lora.core.events import AttemptStarted, SpecChanged
from tui_lora.headless import verbs
from tui_lora.headless.out_of_memory import ran_out_lines
from tui_lora.store import launch
from tui_lora.store.paths import SessionPaths
from tui_lora.store.spec_file import read_spec
from tui_lora.store.spec_now import spec_now


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []

    def start(paths: SessionPaths, *, changes: Mapping[str, Any] | None = None, **_: Any) -> int:
        found.append((paths.name, dict(changes or {})))
        return 1

    monkeypatch.setattr(launch, "start_training", start)
    return found


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SessionPaths:
    monkeypatch.chdir(tmp_path)
    found = ran_out_session(tmp_path)
    model = write_model(tmp_path / "model")
    found.spec.write_text(found.spec.read_text().replace("id: tiny", f"id: {model}"))
    return found


def train(paths: SessionPaths, *changes: str, name: str | None = None) -> int:
    return verbs.train(
        paths.folder.parent,
        what=paths.name,
        preset=None,
        name=name,
        changes=list(changes),
        detach=True,
    )


def test_the_end_says_where_it_went_and_how_to_go_on(
    paths: SessionPaths,
    capsys: pytest.CaptureFixture[str],
    started: list[tuple[str, dict[str, Any]]],
) -> None:
    assert verbs.watch(paths.folder.parent, paths.name, raw=False) == 3
    said = capsys.readouterr().out
    assert "In the backward pass of step 213: batch 4 × 2,048 tokens, longest row 1,987." in said
    assert "CUDA and the rest" in said
    assert "\x1b" not in said
    assert "predicted: 13.78 GiB at the peak (simulated)" in said
    assert "each goes on from step 200" in said
    # Every command that is printed works as it stands.
    commands = [line.strip() for line in said.splitlines() if line.startswith("    tui-lora")]
    assert commands[0] == (
        "tui-lora train big --set training.micro_batch=2 --set training.accumulation=8"
    )
    for command in commands:
        words = shlex.split(command)
        texts = [words[at + 1] for at, word in enumerate(words) if word == "--set"]
        name = words[words.index("--name") + 1] if "--name" in words else None
        assert train(paths, *texts, name=name) == 0
    assert [name for name, _ in started] == ["big"] * (len(commands) - 1) + ["big-2"]
    assert started[0][1] == {"training.micro_batch": 2, "training.accumulation": 8}


def test_what_was_predicted_of_an_earlier_attempt_is_not_told(
    paths: SessionPaths,
) -> None:
    write_events(paths, AttemptStarted(attempt=2, pid=1, resumed_from=200), *ran_out(201))
    assert "\npredicted:" not in "\n".join(ran_out_lines(paths))


def test_what_a_checkpoint_does_not_survive_is_refused_with_the_way(
    paths: SessionPaths, started: list[tuple[str, dict[str, Any]]]
) -> None:
    with pytest.raises(UserError) as caught:
        train(paths, "lora.r=8", "training.micro_batch=1")
    said = str(caught.value)
    assert "big cannot go on from step 200 with that" in said
    assert "lora.r: cannot change now: the checkpoint holds the weights of another adapter" in said
    assert "have to stay 16 rows a step" in said
    assert "--name NEW --set lora.r=8 --set training.micro_batch=1" in said
    assert not started


@pytest.mark.parametrize("text", ["lora.rank=8", "training.micro_batch=none", "micro"])
def test_what_is_no_setting_is_refused(
    paths: SessionPaths, started: list[tuple[str, dict[str, Any]]], text: str
) -> None:
    with pytest.raises(UserError):
        train(paths, text)
    assert not started


def test_a_name_makes_a_new_session_of_the_spec_as_it_holds_now(
    paths: SessionPaths, started: list[tuple[str, dict[str, Any]]]
) -> None:
    write_events(
        paths,
        AttemptStarted(attempt=2, pid=1),
        SpecChanged(changes={"training.micro_batch": 1, "training.accumulation": 16}),
    )
    assert train(paths, "lora.r=8", name="smaller") == 0
    assert started == [("smaller", {})]
    spec = read_spec(SessionPaths(paths.folder.parent / "smaller").spec)
    assert (spec.lora.r, spec.training.micro_batch) == (8, 1)
    assert spec_now(paths).lora.r == 16


def test_settings_that_it_has_already_are_no_change(
    paths: SessionPaths,
    started: list[tuple[str, dict[str, Any]]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train(paths, "lora.r=16") == 0
    assert started == [("big", {})]
    assert "has these settings already" in capsys.readouterr().out
