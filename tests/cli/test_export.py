"""`tui-lora export`: what is refused, what is printed, and that a cancelled one leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.fake_merge import start_fake_merge
from tests.models import write_model
from tests.recorded import done_session
from tui_lora.core.errors import UserError
from tui_lora.core.export import RECORD
from tui_lora.headless import export as verb
from tui_lora.headless.export import Wanted


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_model(tmp_path / "base")


@pytest.fixture
def adapter(tmp_path: Path, base: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    config = {"base_model_name_or_path": str(base), "peft_type": "LORA", "r": 4}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapter_model.safetensors").write_bytes(b"x")
    return folder


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verb, "start_pipe_worker", start_fake_merge)
    monkeypatch.setattr(verb, "with_room", lambda root, target, dtype: target)


def test_what_was_verified_is_printed(
    tmp_path: Path, adapter: Path, fake: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verb.export(tmp_path, str(adapter), Wanted("merged"), as_json=False) == 0
    told = capsys.readouterr()
    assert "15.0 GB in bfloat16 (the base's files hold it so)" in told.err
    assert "! the embeddings have 2 more rows" in told.err
    assert "✓ 4 of 4 greedy answers are the same" in told.out
    assert "98.7% of what the adapter adds is left once rounded" in told.out
    assert told.out.splitlines()[-1] == str(tmp_path / "mine-merged")
    wanted = Wanted("merged", out=str(tmp_path / "x"), dtype="float16")
    assert verb.export(tmp_path, str(adapter), wanted, as_json=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["dtype"], found["verified"]["same_answers"]) == ("float16", 4)


@pytest.mark.parametrize(
    ("out", "code", "words"),
    [("wrong", 1, "rounding accounts for 0.4"), ("dead", 1, "fell off the bus")],
)
def test_a_merge_that_failed_is_never_done(
    tmp_path: Path, adapter: Path, fake: None, out: str, code: int, words: str
) -> None:
    wanted = Wanted("merged", out=str(tmp_path / out))
    with pytest.raises(UserError, match=words) as told:
        verb.export(tmp_path, str(adapter), wanted, as_json=False)
    assert told.value.exit_code == code


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"to": "hub"}, "There is: merged"),
        ({"dtype": "int4"}, "Choose of: auto, bfloat16"),
        ({"checkpoint": 3}, "this is a folder"),
    ],
)
def test_bad_input(tmp_path: Path, adapter: Path, given: dict[str, Any], words: str) -> None:
    wanted = Wanted(**{"to": "merged", **given})
    with pytest.raises(UserError) as told:
        verb.export(tmp_path, str(adapter), wanted, as_json=False)
    assert words in str(told.value)
    assert told.value.exit_code == 2


def test_a_whole_model_and_a_folder_that_is_taken(
    tmp_path: Path, base: Path, adapter: Path
) -> None:
    with pytest.raises(UserError, match="no adapter to merge"):
        verb.export(tmp_path, str(base), Wanted("merged"), as_json=False)
    (tmp_path / "mine-merged").mkdir()
    (tmp_path / "mine-merged" / RECORD).write_text("{}")
    with pytest.raises(UserError, match="Replace it with --force"):
        verb.export(tmp_path, str(adapter), Wanted("merged"), as_json=False)


def test_where_it_cannot_be_verified_nothing_begins(
    tmp_path: Path, adapter: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_lora.core.chat_fit import ChatFit
    from tui_lora.store import exports
    from tui_lora.store.chat_room import ChatRoom

    class Small(ChatFit):
        verdict = "does_not_fit"  # type: ignore[assignment]
        sentence = "chat does not fit."  # type: ignore[assignment]

    monkeypatch.setattr(
        exports,
        "look_for_room",
        lambda root, targets: ChatRoom(targets[0], Small("cpu", None, None, None)),
    )
    monkeypatch.setattr(verb, "start_pipe_worker", lambda *a, **k: pytest.fail("it began"))
    with pytest.raises(UserError, match="there is no room"):
        verb.export(tmp_path, str(adapter), Wanted("merged"), as_json=False)


def test_a_session_without_an_adapter(tmp_path: Path) -> None:
    done_session(tmp_path)
    with pytest.raises(UserError, match="has no adapter yet"):
        verb.export(tmp_path, "done", Wanted("merged"), as_json=False)


@pytest.mark.model
@pytest.mark.long
@pytest.mark.parametrize("blow", ["interrupt", "kill the worker"])
def test_a_cancelled_one_leaves_nothing(
    tmp_path: Path, tiny_model: Path, tiny_adapter: Path, blow: str
) -> None:
    out = tmp_path / "out" / "merged"
    out.parent.mkdir()
    command = ["-m", "tui_lora.cli", "--sessions", str(tmp_path), "export", str(tiny_adapter)]
    process = subprocess.Popen(
        [sys.executable, *command, "--to", "merged", "--out", str(out), "--devices", "cpu"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("asking base"):
            break
    (partial,) = out.parent.glob(".merged.*.partial")
    assert (partial / "model.safetensors").is_file()
    worker = int(partial.name.split(".")[-2])
    if blow == "interrupt":
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert list(out.parent.iterdir()) == []
        return
    os.kill(worker, signal.SIGKILL)
    assert process.wait(60) == 1
    assert not out.exists()
    # Whoever comes next sweeps it away.
    from tui_lora.store.beside import sweep

    deadline = time.monotonic() + 60
    while partial.exists() and time.monotonic() < deadline:
        sweep(out)
    assert list(out.parent.iterdir()) == []
