"""The doctor: quick, without torch, and honest about what it cannot tell."""

import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.hub_server import HubServer, Request
from tui_lora.core.doctor import Check
from tui_lora.core.sensors import CardReading, MachineReading, SensorReading
from tui_lora.store import (
    doctor,
    doctor_disks,
    doctor_hub,
    doctor_libraries,
    doctor_logout,
    doctor_machine,
    doctor_terminal,
    doctor_torch,
    hub_client,
)
from tui_lora.store.doctor import Ask, ask_all, checks
from tui_lora.store.doctor_libraries import Build, build_in
from tui_lora.store.doctor_machine import Allowance, allowance
from tui_lora.store.doctor_torch import STAGES, Facts

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
CPU = Build("2.13.0+cpu", None)
CU128 = Build("2.13.0+cu128", "12.8")


@pytest.fixture(autouse=True)
def no_card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "_read_sensors", lambda: NO_CARD)
    monkeypatch.setenv("TUI_LORA_CONFIG", str(tmp_path / "config"))


def named(root: Path | None = None) -> dict[str, Check]:
    return {check.name: check for check in checks(root, quick=True)}


def only(found: Iterator[Check]) -> Check:
    (check,) = found
    return check


def oks(found: Iterator[Check]) -> list[bool | None]:
    return [check.ok for check in found]


# All of it.


def test_a_quick_look_takes_a_second_and_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tui_lora.store.doctor import checks\n"
        f"assert len(checks(Path({str(tmp_path)!r}), quick=True)) > 15\n"
        "bad = {'torch', 'transformers', 'bitsandbytes', 'numpy'} & set(sys.modules)\n"
        "assert not bad, bad"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Time on the processor, which others on this machine cannot stretch.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


def test_every_check_says_something_and_a_failed_one_what_to_do(tmp_path: Path) -> None:
    heard: list[Check] = []
    found = checks(tmp_path, quick=True, on_found=heard.append)
    assert heard == found
    assert len({check.name for check in found}) == len(found)
    for check in found:
        assert check.detail, check.name
        assert check.ok is not False or check.fix, check.name


def test_a_check_that_fails_or_hangs_costs_only_itself() -> None:
    never = threading.Event()

    def broken() -> Iterator[Check]:
        raise RuntimeError("boom\x1b")

    def stuck() -> list[Check]:
        never.wait()
        return []

    asked = [
        Ask("broken", broken),
        Ask("silent", stuck, limit_s=0.2),
        Ask("a disk", stuck, limit_s=0.2, stuck="Look at its mount."),
        Ask("well", lambda: [Check("well", True, "as it should be")]),
    ]
    began = time.monotonic()
    found = ask_all(asked)
    assert time.monotonic() - began < 30
    never.set()
    assert [check.ok for check in found] == [None, None, False, True]
    assert found[0].detail == "could not be told: boom"
    assert found[1].detail.startswith("there was no answer in")
    assert found[2].fix == "Look at its mount."


# Packages.


def test_the_libraries_of_this_environment_fit() -> None:
    check = only(doctor_libraries.libraries())
    assert check.ok is True
    assert "bitsandbytes" in check.detail


def test_a_library_out_of_bounds_or_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["trl<0.1", "no-such-thing>=1", "peft", "x>=1; extra == 'dev'", "???"]
    monkeypatch.setattr(doctor_libraries, "requirements", lambda: wanted)
    found = {check.name: check for check in doctor_libraries.libraries()}
    assert found["libraries"].ok is False
    assert "outside <0.1" in found["trl"].detail
    assert found["no-such-thing"].fix == "pip install 'no-such-thing>=1'"
    assert "x" not in found


def test_the_old_pynvml_is_told_from_the_new(monkeypatch: pytest.MonkeyPatch) -> None:
    really = doctor_libraries.version_of
    for version, ok in (("11.5.3", [True, False]), ("13.0.1", [True])):
        there = {"pynvml": version}
        monkeypatch.setattr(
            doctor_libraries, "version_of", lambda name, there=there: there.get(name, really(name))
        )
        assert oks(doctor_libraries.libraries()) == ok


VERSION_PY = (
    "__version__ = '2.13.0+cu130'\ncuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n"
)


@pytest.mark.parametrize(
    ("version", "text", "build"),
    [
        ("2.13.0", VERSION_PY, Build("2.13.0", "13.0")),
        ("2.13.0+cpu", "cuda: Optional[str] = None\nhip = None\n", CPU),
        ("2.9.0+rocm6.4", "cuda = None\nhip = '6.4.4'\n", Build("2.9.0+rocm6.4", None, "6.4.4")),
        ("2.13.0+cu128", "", CU128),
    ],
)  # fmt: skip
def test_what_torch_is_built_for(version: str, text: str, build: Build) -> None:
    assert build_in(version, text) == build


def test_a_torch_for_the_cpu_beside_a_card_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_libraries, "against", lambda wanted: ([], []))
    check = only(doctor_libraries.torch(CPU, ONE_CARD))
    assert check.ok is False
    assert "--index-url" in check.fix
    assert oks(doctor_libraries.torch(CPU, NO_CARD)) == [True]
    assert oks(doctor_libraries.torch(CU128, ONE_CARD)) == [True]
    assert oks(doctor_libraries.torch(None, ONE_CARD)) == [False]


@pytest.mark.parametrize(
    ("cuda", "shipped", "override", "ok", "said"),
    [
        ("12.8", ("cuda126", "cuda128"), "", True, "for CUDA 12.8"),
        ("12.9", ("cuda126", "cuda128"), "", True, "for CUDA 12.8"),
        ("13.0", ("cuda126", "cuda128"), "", False, "ships libraries for 12.6, 12.8"),
        ("12.8", ("cpu",), "", False, "ships libraries for none"),
        ("12.8", ("cuda126", "cuda128"), "126", True, "by $BNB_CUDA_VERSION"),
        ("12.8", ("cuda126", "cuda128"), "999", False, "$BNB_CUDA_VERSION asks for 999"),
        ("12.8", ("cuda128", "cuda130"), "130", False, "torch is built for 12.8"),
        (None, ("cpu", "cuda128"), "", True, "for the CPU"),
        (None, ("cuda128",), "", False, "is missing"),
    ],
)
def test_the_library_of_bitsandbytes(
    tmp_path: Path, cuda: str | None, shipped: tuple[str, ...], override: str, ok: bool, said: str
) -> None:
    for name in (*shipped, "rocm64"):
        (tmp_path / f"libbitsandbytes_{name}.so").touch()
    build = Build("2.13.0", cuda)
    check = only(doctor_libraries.bitsandbytes(build, tmp_path, override))
    assert check.ok is ok
    assert said in check.detail
    assert bool(check.fix) is not ok


# Cards.


def test_no_card_is_no_fault_but_a_silent_driver_is() -> None:
    assert oks(doctor_machine.cards(CPU, NO_CARD)) == [None]
    check = only(doctor_machine.cards(CU128, NO_CARD))
    assert (check.ok, check.detail, check.fix) == (False, "No driver.", "Get one.")
    assert only(doctor_machine.cards(CU128, ONE_CARD)).detail == "Tesla T4, 15.0 GiB, 14.0 GiB free"
    dark = replace(ONE_CARD, cards=(replace(CARD, note="no permission"),))
    assert oks(doctor_machine.cards(CU128, dark)) == [None]


def test_the_driver_is_held_against_torch_s_cuda() -> None:
    assert oks(doctor_machine.driver(CU128, "470.1")) == [False]
    assert oks(doctor_machine.driver(CU128, "580.1")) == [True]
    assert oks(doctor_machine.driver(CPU, "470.1")) == []
    assert oks(doctor_machine.driver(CU128, None)) == []


T4 = {"name": "Tesla T4", "capability": [7, 5]}
WELL: dict[str, dict[str, object]] = {
    "torch": {"version": "2.13.0+cu128"},
    "cards": {"available": True, "cards": [T4], "built_for": ["sm_75", "sm_80"]},
    "bitsandbytes": {"version": "0.50.2", "with_cuda": True},
    "four_bit": {"device": "cuda", "error": 0.07},
}


def at_work(
    changes: dict[str, dict[str, object] | None], ended: str = "", **given: object
) -> list[Check]:
    stages = {name: found for name, found in {**WELL, **changes}.items() if found is not None}
    settings: dict[str, object] = {"card_here": True, "hidden": None, **given}
    return list(doctor_torch.at_work(Facts(stages, ended), **settings))  # type: ignore[arg-type]


def test_torch_at_work() -> None:
    assert [check.ok for check in at_work({})] == [True] * 4


@pytest.mark.parametrize(
    ("changes", "given", "stage", "said"),
    [
        ({"torch": {"problem": "ImportError: libcudnn.so.9"}}, {}, "torch", "libcudnn"),
        ({"cards": {"available": False, "problem": "too old"}}, {}, "cards", "too old"),
        ({"cards": {"available": False}}, {"hidden": ""}, "cards", "hidden"),
        ({"cards": {**WELL["cards"], "built_for": ["sm_80"]}}, {}, "cards", "sm_80 only"),
        ({"bitsandbytes": {"version": "1", "with_cuda": False}}, {}, "bitsandbytes", "for the CPU"),
        ({"bitsandbytes": {"problem": "no binary"}}, {}, "bitsandbytes", "no binary"),
        ({"four_bit": {"device": "cuda", "problem": "no kernel"}}, {}, "four_bit", "no kernel"),
    ],
)  # fmt: skip
def test_what_does_not_work_is_named_with_its_mend(
    changes: dict[str, dict[str, object] | None], given: dict[str, object], stage: str, said: str
) -> None:
    found = {check.name: check for check in at_work(changes, **given)}
    check = found[doctor_torch.NAMES[stage]]
    assert check.ok is False
    assert said in check.detail
    assert check.fix


def test_without_a_card_there_is_nothing_to_try_and_no_fault() -> None:
    cpu: dict[str, dict[str, object] | None] = {
        "cards": {"available": False, "problem": ""},
        "bitsandbytes": {"version": "0.50.2", "with_cuda": False},
        "four_bit": {"device": "cpu", "error": 0.07},
    }
    assert [check.ok for check in at_work(cpu, card_here=False)] == [True, None, True, True]


def test_a_worker_that_dies_is_blamed_on_the_stage_it_was_in() -> None:
    for at, stage in enumerate(STAGES):
        gone: dict[str, dict[str, object] | None] = dict.fromkeys(STAGES[at:])
        found = at_work(gone, ended="the worker was ended by SIGSEGV")
        assert [check.ok for check in found] == [True] * at + [False]
        assert found[-1].name == doctor_torch.NAMES[stage]
        assert "SIGSEGV" in found[-1].detail


def worker(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let a Python program stand in for the worker."""
    really = subprocess.Popen

    def start(kind: str) -> subprocess.Popen[bytes]:
        assert kind == "facts"
        pipe = subprocess.PIPE
        return really([sys.executable, "-c", code], stdin=pipe, stdout=pipe, stderr=pipe)

    monkeypatch.setattr(doctor_torch.launch, "start_pipe_worker", start)


def test_what_a_dying_or_silent_worker_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    first = 'print(\'{"stage": "torch", "version": "2"}\\nnoise\', flush=True)'
    worker(monkeypatch, f"{first}\nimport os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    found = doctor_torch.ask_worker()
    assert list(found.stages) == ["torch"]
    assert "SIGSEGV" in found.ended
    worker(monkeypatch, f"{first}\nimport time; time.sleep(60)")
    found = doctor_torch.ask_worker(limit_s=1.0)
    assert list(found.stages) == ["torch"]
    assert "no answer" in found.ended


# Memory and limits.


def test_little_memory_is_told() -> None:
    assert oks(doctor_machine.memory(NO_CARD, Allowance())) == [True]
    assert oks(doctor_machine.memory(ONE_CARD, Allowance())) == [False]


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_the_limit_of_a_control_group_counts_instead_of_the_machine(tmp_path: Path) -> None:
    group(tmp_path, memory__max="max\n", memory__current="1\n")
    group(tmp_path / "box", memory__max=f"{4 << 30}\n", memory__current=f"{3 << 30}\n",
          memory__stat=f"anon 1\ninactive_file {1 << 30}\n", memory__swap__max="0\n",
          memory__events="low 0\noom_kill 2\n")  # fmt: skip
    group(tmp_path / "box" / "inner", memory__max=f"{64 << 30}\n", memory__current="0\n")
    allowed = allowance("0::/box/inner\n", tmp_path)
    assert (allowed.limit, allowed.free, allowed.swap, allowed.killed) == (4 << 30, 2 << 30, 0, 2)
    # Where the sensors go by the limit already, it is told all the same.
    by_it = replace(NO_CARD, machine=MachineReading(4.0, 2.0, None, 2, whole_gib=16.0))
    for reading in (NO_CARD, by_it):
        check = only(doctor_machine.memory(reading, allowed))
        assert check.ok is False
        assert "2.0 of 4.0 GiB" in check.detail
        assert "(the machine has 16.0 GiB)" in check.detail
    assert "2 processes were killed" in check.detail
    assert "--memory" in check.fix
    assert "may not use" in only(doctor_machine.swap(8 << 30, allowed)).detail


def test_control_groups_of_version_1(tmp_path: Path) -> None:
    top = tmp_path / "memory"
    # In a container the path is the host's, and only the top is there.
    group(top, memory__limit_in_bytes=f"{2 << 30}\n", memory__usage_in_bytes=f"{1 << 30}\n",
          memory__oom_control="oom_kill_disable 0\noom_kill 1\n")  # fmt: skip
    allowed = allowance("9:cpu:/x\n4:memory:/docker/abc\n0::/\n", tmp_path)
    assert (allowed.limit, allowed.used, allowed.killed) == (2 << 30, 1 << 30, 1)
    (top / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert allowance("4:memory:/docker/abc\n", tmp_path) == Allowance()
    assert allowance("", tmp_path / "nowhere") == Allowance()


def test_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert oks(doctor_machine.shared_memory(tmp_path)) == [True]
    assert oks(doctor_machine.shared_memory(tmp_path / "nowhere")) == [None]
    usage = doctor_machine.shutil.disk_usage(tmp_path)
    for space, mend in (((32 << 20, 0, 32 << 20), "--shm-size"), ((1 << 30, 0, 1 << 20), "killed")):
        monkeypatch.setattr(
            doctor_machine.shutil, "disk_usage", lambda _, space=space: type(usage)(*space)
        )
        check = only(doctor_machine.shared_memory(tmp_path))
        assert check.ok is False
        assert mend in check.fix


def test_limits_of_the_process() -> None:
    free = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    well = {"files": (1024, 4096), "address space": free, "file size": free}
    assert oks(doctor_machine.limits()) == [True]
    assert oks(doctor_machine.limits(well)) == [True]
    assert only(doctor_machine.limits(well | {"files": (256, 4096)})).fix == "ulimit -n 4096"
    for what, option in (("address space", "-v"), ("file size", "-f")):
        check = only(doctor_machine.limits(well | {what: (1 << 30, 1 << 30)}))
        assert check.ok is False
        assert option in check.fix


def test_a_container_and_its_first_process() -> None:
    assert oks(doctor_machine.container("bash", ())) == []
    assert "--init" in only(doctor_machine.container("bash\n", ("/.dockerenv",))).fix
    assert only(doctor_machine.container("tini\n", ("/.dockerenv",))).fix == ""


# Disks.


def test_a_sessions_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    for root in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "link"):
        assert oks(doctor_disks.sessions_folder(root)) == [False]
    assert oks(doctor_disks.sessions_folder(tmp_path / "new" / "deep")) == [True, True]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


def test_a_disk_that_locks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(doctor_disks.lock.fcntl, "lockf", refuse)
    _, check = doctor_disks.sessions_folder(tmp_path)
    assert check.ok is False
    assert "No locks available" in check.detail
    assert list(tmp_path.iterdir()) == []


def test_sessions_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    assert oks(doctor_disks.sessions(tmp_path / "nowhere")) == [None]
    for name, text in (("good", "model: m\ndataset: d.jsonl\n"), ("bad", "model: [\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.yaml").write_text(text)
    check = only(doctor_disks.sessions(tmp_path))
    assert check.ok is False
    assert check.detail.startswith("1 of 2 cannot be read: bad")


MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:30 / /data rw - nfs4 server:/export rw
31 30 0:31 / /data/my\\040disk ro,nosuid - fuse.sshfs me@host: rw
32 22 0:32 / /data rw - overlay overlay rw
broken line
"""


@pytest.mark.parametrize(
    ("path", "kind", "doubted"),
    [
        ("/home/x", "ext4", False),
        ("/database", "ext4", False),
        ("/data/my disk/sub", "fuse.sshfs", True),
        ("/data/other", "overlay", True),  # mounted over the first
    ],
)
def test_the_kind_of_a_disk(path: str, kind: str, doubted: bool) -> None:
    mount = doctor_disks.mount_of(Path(path), MOUNTS)
    assert mount is not None
    assert mount.kind == kind
    assert bool(doctor_disks.doubt(kind)) is doubted


def test_room_on_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mounted(kind: str, options: str = "rw") -> str:
        return f"22 1 254:0 / / {options} - {kind} x rw"

    def look(mounts: str) -> Check:
        return only(doctor_disks.disk("x", tmp_path / "later", mounts))

    assert look(mounted("ext4")).ok is True
    assert "locks and renames" in look(mounted("nfs4")).detail
    assert look(mounted("ext4", "ro,nosuid")).ok is False
    usage = doctor_disks.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(doctor_disks.shutil, "disk_usage", lambda _: usage._replace(free=1 << 20))
    assert "Free some room" in look(mounted("ext4")).fix
    monkeypatch.undo()
    full = os.statvfs_result((4096, 4096, 1 << 24, 1 << 24, 1 << 24, 10_000, 7, 7, 0, 255))
    monkeypatch.setattr(doctor_disks.os, "statvfs", lambda _: full)
    assert "inodes" in look(mounted("ext4")).fix


def test_a_broken_theme_is_named(tmp_path: Path) -> None:
    assert oks(doctor_disks.themes()) == [True]
    folder = tmp_path / "config" / "themes"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text("name = [")
    check = only(doctor_disks.themes())
    assert check.ok is False
    assert "mine.toml" in check.detail


# The terminal.

GOOD = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}


@pytest.mark.parametrize(
    ("environment", "size", "ok", "said"),
    [
        (GOOD, (80, 24), [True], "truecolor"),
        (GOOD, None, [None], "no terminal"),
        (GOOD, (79, 24), [False], "79x24"),
        ({**GOOD, "TERM": "dumb"}, (80, 24), [False], "dumb"),
        ({}, (80, 24), [False], "no TERM"),
        ({"TERM": "xterm-256color"}, (80, 24), [None], "256 colours"),
        ({**GOOD, "NO_COLOR": "1"}, (80, 24), [True], "no colour"),
        ({**GOOD, "TERM": "tmux-256color", "TMUX": "x"}, (80, 24), [True, None], "tmux"),
        ({**GOOD, "TMUX": "x"}, (80, 24), [True, None], "xterm"),
        ({**GOOD, "TERM": "screen", "STY": "x"}, (80, 24), [True, None], "screen"),
    ],
)
def test_terminals(
    environment: dict[str, str], size: tuple[int, int] | None, ok: list[bool | None], said: str
) -> None:
    found = list(doctor_terminal.terminal(environment, size))
    assert [check.ok for check in found] == ok
    assert said in found[0].detail


def test_what_tmux_has_to_be_told() -> None:
    told = only(doctor_terminal.between({"TERM": "tmux-256color", "TMUX": "x"})).fix
    assert "RGB" in told
    assert "set-clipboard" in told
    assert "default-terminal" in only(doctor_terminal.between({"TERM": "xterm", "TMUX": "x"})).fix


def test_a_locale_that_is_no_utf_8() -> None:
    assert only(doctor_terminal.encoding("UTF-8")).ok is True
    assert only(doctor_terminal.encoding("ANSI_X3.4-1968")).ok is False


# The Hub.


class WhoAmI(HubServer):
    """Knows one token, and answers with `status` whoever asks otherwise."""

    def __init__(self) -> None:
        self.status = 200
        self.headers_seen: list[str | None] = []
        super().__init__()

    def request(self) -> type[Request]:
        hub = self

        class Asked(Request):
            def serve(self) -> None:
                given = self.headers.get("Authorization")
                hub.headers_seen.append(given)
                if self.place == "/api/whoami-v2" and given != "Bearer hf_right":
                    self.refuse(401, "")
                elif hub.status != 200:
                    self.refuse(hub.status, "")
                else:
                    self.json({"name": "mary"})

        Asked.hub = hub
        return Asked


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[WhoAmI]:
    server = WhoAmI()
    monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    yield server
    server.close()


def test_the_hub_answers(hub: WhoAmI, monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(doctor_hub.answers()).ok is True
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    check = only(doctor_hub.answers())
    assert check.ok is True
    assert "knows the token" in check.detail
    assert "mary" not in str(check)
    assert hub.headers_seen == [None, "Bearer hf_right"]


def test_a_token_that_the_hub_does_not_know(hub: WhoAmI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrongwrong")
    check = only(doctor_hub.answers())
    assert check.ok is False
    assert "does not accept the token" in check.detail
    assert "hf_wrong" not in str(check)


@pytest.mark.parametrize(("status", "ok"), [(429, None), (503, False), (404, False)])
def test_a_hub_in_trouble(hub: WhoAmI, status: int, ok: bool | None) -> None:
    hub.status = status
    check = only(doctor_hub.answers())
    assert check.ok is ok
    assert check.fix


def test_a_hub_that_is_not_there_or_silent(hub: WhoAmI, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.close()
    check = only(doctor_hub.answers())
    assert check.ok is False
    assert "cannot be reached" in check.detail
    monkeypatch.setattr(doctor_hub, "PATIENCE_S", 0.3)
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        check = only(doctor_hub.answers())
        assert time.monotonic() - began < 3
    assert "no answer in" in check.detail


def test_who_is_offline_by_choice_asks_nobody(hub: WhoAmI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert hub_client.is_offline()
    assert only(doctor_hub.answers()).ok is None
    assert hub.asked == []


def test_where_a_token_is_and_never_what(
    hub: WhoAmI, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert only(doctor_hub.token()).ok is None
    file = tmp_path / "token"
    file.write_text("hf_secretsecret\n")
    for mode, ok in ((0o600, True), (0o644, False)):
        file.chmod(mode)
        check = only(doctor_hub.token())
        assert check.ok is ok
        assert str(file) in check.detail
        assert "hf_secret" not in str(check)
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    check = only(doctor_hub.token())
    assert (check.ok, check.detail) == (True, "set, in $HF_TOKEN")


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    assert only(doctor_hub.cache()).ok is True
    (tmp_path / "hub").touch()
    assert only(doctor_hub.cache()).ok is False


# Logging out.

LOGIN = "0::/user.slice/user-1000.slice/session-3.scope\n"
MANAGER = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-u1.scope\n"
SERVICE = "0::/system.slice/cron.service\n"


@pytest.fixture
def etc(tmp_path: Path) -> Callable[..., Path]:
    """A machine with systemd; names with __ for /, such as etc__logind.conf."""

    def make(lingers: bool = False, **files: str) -> Path:
        (tmp_path / "run/systemd/system").mkdir(parents=True, exist_ok=True)
        linger = tmp_path / "var/lib/systemd/linger"
        linger.mkdir(parents=True, exist_ok=True)
        if lingers:
            (linger / "mary").touch()
        places = {"etc": "etc/systemd", "run": "run/systemd", "lib": "usr/lib/systemd"}
        for name, text in files.items():
            top, _, rest = name.partition("__")
            part = f"logind.conf.d/{rest}.conf" if rest else "logind.conf"
            path = tmp_path / places[top] / part
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return make


YES, NO = "[Login]\nKillUserProcesses=yes\n", "[Login]\nKillUserProcesses=no\n"


@pytest.mark.parametrize(
    ("files", "kills"),
    [
        ({"etc": "[Login]\n#KillUserProcesses=no\n"}, False),  # the default that it was built with
        ({"lib": "[Login]\n#KillUserProcesses=yes\n"}, True),
        ({"etc": "#KillUserProcesses=yes\nKillUserProcesses=no\n"}, False),
        ({"etc": NO, "etc__50-site": YES}, True),
        ({"etc": YES, "lib__10-vendor": NO}, False),
        ({"etc": NO, "lib__50-site": NO, "etc__50-site": YES}, True),
        ({"etc": NO, "etc__10": YES, "run__90": NO}, False),
        ({"etc": f"{YES}KillExcludeUsers=root mary\n"}, False),
        ({"etc": f"{YES}KillOnlyUsers=john\n"}, False),
        ({"etc": f"{YES}KillOnlyUsers=john mary\n"}, True),
        ({"etc": "[Login]\n"}, None),
        ({}, None),
    ],
)
def test_whether_logind_kills(
    etc: Callable[..., Path], files: dict[str, str], kills: bool | None
) -> None:
    assert doctor_logout.kills_processes("mary", etc(**files)) is kills


@pytest.mark.parametrize(
    ("cgroup", "file", "lingers", "ok", "mend"),
    [
        (LOGIN, NO, False, True, ""),
        (LOGIN, YES, False, False, "loginctl enable-linger mary, and start it as: systemd-run"),
        # Lingering saves what is under the user's manager, and a login's scope is not.
        (LOGIN, YES, True, False, "systemd-run --user --scope"),
        (LOGIN, "", False, None, "loginctl enable-linger mary"),
        (MANAGER, NO, False, False, "loginctl enable-linger mary"),
        (MANAGER, YES, True, True, ""),
        (SERVICE, YES, False, None, ""),
    ],
)
def test_what_becomes_of_a_run_after_logout(
    etc: Callable[..., Path], cgroup: str, file: str, lingers: bool, ok: bool | None, mend: str
) -> None:
    check = only(doctor_logout.logout("mary", cgroup, etc(lingers, etc=file)))
    assert check.ok is ok
    assert mend in check.fix
    assert bool(check.fix) == bool(mend)


def test_without_systemd_logging_out_ends_nothing(tmp_path: Path) -> None:
    assert only(doctor_logout.logout("mary", LOGIN, tmp_path)).ok is None
