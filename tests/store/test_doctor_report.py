"""The report: what helps is in it, and of what is secret nothing, wherever it was planted."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tui_lora.core.doctor import Check
from tui_lora.core.errors import UserError
from tui_lora.store import doctor_report
from tui_lora.store.doctor_report import free_path, scrubber_here, write
from tui_lora.store.paths import SessionPaths

HEX = "fedcba9876543210" * 2 + "fedcba98"
PLANTED = {
    "HF_TOKEN": "hf_PlantedPlantedPlanted00",
    "WANDB_API_KEY": HEX,
    "MY_SECRET": 'pa"ss\\wört with spaces',
    "DB_PASSWORD": "correct-horse",
    "HTTPS_PROXY": "http://mary:proxypass@proxy.example.org:3128",
}
SECRETS = (*list(PLANTED.values())[:4], "proxypass", "filetoken-1234", "netrcpass-99")


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SessionPaths:
    """A session with secrets in every file, and in all that is around it."""
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    from huggingface_hub import constants

    (tmp_path / "token").write_text("filetoken-1234\n")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password netrcpass-99\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path / "maryhome"))
    monkeypatch.setattr(doctor_report.getpass, "getuser", lambda: "marysmith")
    monkeypatch.setattr(doctor_report.platform, "node", lambda: "bigbox.example.org")
    folder = tmp_path / "maryhome" / "sessions" / "mine"
    folder.mkdir(parents=True)
    paths = SessionPaths(folder)
    every = " ".join(SECRETS)
    paths.spec.write_text(f"model: {tmp_path}/maryhome/models/x\ndataset: d.jsonl\n# {every}\n")
    paths.resolved.write_text(f"hub_token: {every}\n")
    paths.result.write_text(json.dumps({"verdict": "failed", "message": every}))
    paths.worker.write_text(json.dumps({"pid": 1, "host": "bigbox"}))
    with paths.events.open("w") as file:
        for step in range(400):
            text = f"step {step} by marysmith on bigbox: {every}"
            file.write(json.dumps({"type": "notice", "seq": step, "text": text}) + "\n")
    paths.log.write_text(f"loading\r\x1b[31m{every}\x1b[0m\nRuntimeError: it broke\nlast words")
    return paths


WINDOW = 1 << 12
FOUND = [Check("disk", False, "full at /x", "Free some."), Check("token", True, "set")]


def test_no_secret_of_many_places_is_in_it(session: SessionPaths, tmp_path: Path) -> None:
    report = write(tmp_path / "out" / "report.txt", FOUND, session)
    text = report.path.read_text()
    for secret in (*SECRETS, "marysmith", "bigbox", str(Path.home())):
        assert secret not in text
        assert json.dumps(secret)[1:-1] not in text
    assert report.size_bytes == len(text.encode())
    assert (report.path.stat().st_mode & 0o777) == 0o600


def test_what_helps_is_in_it(session: SessionPaths, tmp_path: Path) -> None:
    report = write(tmp_path / "report.txt", FOUND, session)
    text = report.path.read_text()
    for words in (
        "!!  disk: full at /x\n      → Free some.",
        "bitsandbytes ",
        "HF_TOKEN=[removed]",
        "model: ~/models/x",
        "step 399 by [user] on [host]",
        "RuntimeError: it broke\nlast words",
    ):
        assert words in text
    # The last lines only.
    assert "step 99 by" not in text
    assert any("events.jsonl" in title for title in report.sections)
    assert "\x1b" not in text


def test_only_variables_that_concern_us_are_in_it(
    session: SessionPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("SOMEBODYS_DIARY", "dear diary")
    text = write(tmp_path / "report.txt", []).path.read_text()
    assert "CUDA_VISIBLE_DEVICES=3" in text
    assert "diary" not in text.lower()
    assert "session" not in text


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    token=st.from_regex(r"hf_[A-Za-z0-9]{20,40}", fullmatch=True),
    where=st.sampled_from(["run.yaml", "result.json", "events.jsonl", "worker.log"]),
    before=st.text(max_size=200),
    cut=st.integers(0, 300),
)
@example(token="hf_PlantedPlanted0000000", where="worker.log", before="torn \x1b[", cut=300)
@example(token="hf_PlantedPlanted0000000", where="worker.log", before="torn \x9b", cut=300)
def test_a_token_planted_anywhere(
    session: SessionPaths,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    token: str,
    where: str,
    before: str,
    cut: int,
) -> None:
    monkeypatch.setattr(doctor_report, "_TAIL_BYTES", WINDOW)
    # Also where the window on a long file begins in the middle of it.
    text = f"{before} {token} after\n" + "y" * (WINDOW - cut) + "\n"
    for name in ("run.yaml", "result.json", "events.jsonl", "worker.log"):
        (session.folder / name).write_text("")
    (session.folder / where).write_text(text, encoding="utf-8", errors="replace")
    path = tmp_path / "report.txt"
    path.unlink(missing_ok=True)
    written = write(path, FOUND, session).path.read_text()
    assert token not in written
    assert token[-16:] not in written


def test_a_report_is_never_written_over_something(tmp_path: Path) -> None:
    path = tmp_path / "report.txt"
    path.write_text("mine")
    with pytest.raises(UserError, match="already something"):
        write(path, [])
    assert path.read_text() == "mine"
    first = free_path(tmp_path)
    first.touch()
    assert free_path(tmp_path) != first


def test_a_folder_that_takes_no_report(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="could not be written"):
        write(tmp_path / "file" / "report.txt", [])


def test_what_is_known_here() -> None:
    scrubber = scrubber_here(os.environ)
    assert str(Path.home()) in scrubber.homes
    assert scrubber.users
    assert scrubber.hosts
