"""The wheel carries all that it needs and runs outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

HERE = Path(__file__).resolve().parent.parent.parent


def test_the_wheel_runs_by_itself(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=HERE,
        check=True,
        capture_output=True,
    )
    wheel = next(tmp_path.glob("*.whl"))
    place = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(place)
    top = {name.split("/")[0] for name in names}
    assert top == {"tui_lora", next(name for name in top if name.endswith(".dist-info"))}
    assert sum(name.startswith("tui_lora/_data/themes/") for name in names) >= 5
    for needed in (
        "tui_lora/_data/sessions/example/run.yaml",
        "tui_lora/_data/sessions/example/adapter/adapter_model.safetensors",
        "tui_lora/_data/quickstart/train.jsonl",
        "tui_lora/_data/presets/quickstart.yaml",
        "tui_lora/_data/templates/zephyr.jinja",
        "tui_lora/ui/screens/train.tcss",
    ):
        assert needed in names

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "tui_lora.cli", *arguments],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": str(place),
                "TUI_LORA_SESSIONS": str(tmp_path / "sessions"),
                "TUI_LORA_CONFIG": str(tmp_path / "config"),
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    where = subprocess.run(
        [sys.executable, "-P", "-c", "import tui_lora; print(tui_lora.__file__)"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.strip().startswith(str(place))
    assert "no sessions" in run("ls").stdout
    assert "Python" in run("doctor").stdout
    shipped = place / "tui_lora" / "_data" / "sessions"
    watched = run("--sessions", str(shipped), "watch", "example")
    assert watched.returncode == 0, watched.stderr
    assert "example: done" in watched.stdout
