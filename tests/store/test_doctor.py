"""The doctor: quick, without torch, and honest about what it cannot tell."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tui_lora.core.sensors import CardReading, MachineReading, SensorReading
from tui_lora.store import doctor
from tui_lora.store.doctor import Check, checks

NO_CARD = SensorReading((), MachineReading(16.0, 4.0, None, 2), nvml_problem="No driver. Get one.")
CARD = CardReading(
    index=0,
    uuid="x",
    name="Tesla T4",
    total_gib=15.0,
    used_gib=1.0,
    free_gib=14.0,
    load_percent=None,
    heat_celsius=None,
    power_watts=None,
    power_limit_watts=None,
    processes=None,
    note=None,
)
ONE_CARD = SensorReading((CARD,), MachineReading(16.0, 15.0, None, 2), nvml_problem=None)


@pytest.fixture(autouse=True)
def no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_read_sensors", lambda: NO_CARD)


def named(root: Path | None = None) -> dict[str, Check]:
    return {check.name: check for check in checks(root)}


def test_it_answers_in_a_second_and_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tui_lora.store.doctor import checks\n"
        f"assert len(checks(Path({str(tmp_path)!r}))) > 8\n"
        "bad = {'torch', 'transformers', 'bitsandbytes', 'numpy'} & set(sys.modules)\n"
        "assert not bad, bad"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Time on the processor, which others on this machine cannot stretch.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


def test_every_check_says_something_and_a_failed_one_what_to_do(tmp_path: Path) -> None:
    found = checks(tmp_path)
    assert len({check.name for check in found}) == len(found)
    for check in found:
        assert check.detail, check.name
        assert check.ok is not False or check.fix, check.name


def test_the_libraries_of_this_environment_fit() -> None:
    assert named()["libraries"].ok is True
    assert "bitsandbytes" in named()["libraries"].detail


def test_a_library_out_of_bounds_or_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        doctor,
        "_requirements",
        lambda: ["trl<0.1", "no-such-thing>=1", "peft", "x>=1; extra == 'dev'", "???"],
    )
    found = named()
    assert found["libraries"].ok is False
    assert "outside <0.1" in found["trl"].detail
    assert found["no-such-thing"].fix == "pip install 'no-such-thing>=1'"
    assert "x" not in found


def test_no_card_is_no_fault_but_a_silent_driver_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [check.ok for check in doctor._torch("2.13.0+cpu", NO_CARD)] == [True]
    cuda = next(doctor._cards("2.13.0+cu128", NO_CARD))
    assert (cuda.ok, cuda.detail, cuda.fix) == (False, "No driver.", "Get one.")


def test_a_torch_for_the_cpu_beside_a_card_is_a_fault() -> None:
    check = next(doctor._torch("2.13.0+cpu", ONE_CARD))
    assert check.ok is False
    assert "CUDA build" in check.fix
    assert next(doctor._torch("2.13.0+cu128", ONE_CARD)).ok is True
    assert next(doctor._torch(None, ONE_CARD)).ok is False
    assert next(doctor._cards("2.13.0", ONE_CARD)).detail == "Tesla T4, 15.0 GiB, 14.0 GiB free"


def test_little_memory_is_told() -> None:
    assert next(doctor._memory(NO_CARD)).ok is True
    assert next(doctor._memory(ONE_CARD)).ok is False


def test_a_sessions_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        assert named(root)["sessions folder"].ok is False
    assert named(tmp_path / "new" / "deep")["sessions folder"].ok is True
    assert not (tmp_path / "new").exists()


def test_a_token_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    found = checks()
    assert "a token is set" in named()["Hugging Face cache"].detail
    assert not any("hf_secret" in str(check) for check in found)


def test_a_check_that_fails_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("boom\x1b")

    monkeypatch.setattr(doctor, "_hub", broken)
    check = checks()[-1]
    assert (check.ok, check.detail) == (None, "could not be told: boom")
