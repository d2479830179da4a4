"""The sensors against the real NVML bindings and a stub of the driver's library.

Each case runs in a child process: a process loads libnvidia-ml.so.1 once and for good.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LIBRARY = "libnvidia-ml.so.1"

NEWER = {
    "slice": None,
    "whole_uuid": None,
    "shared": False,
    "silent_since": None,
    "context_gib": None,
    "context_source": "",
}

READ_ONCE = """
import json
from dataclasses import asdict
from tui_lora.store.gpu import Sensors
print(json.dumps(asdict(Sensors().read())))
"""

UNKNOWN = dict.fromkeys(
    [
        "total_gib",
        "used_gib",
        "free_gib",
        "load_percent",
        "heat_celsius",
        "power_watts",
        "power_limit_watts",
        "processes",
    ]
)


@pytest.fixture(scope="session")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the stub of the driver's library."""
    if shutil.which("cc") is None:
        pytest.fail("these tests build a stub of NVML: install a C compiler that answers to `cc`")
    folder = tmp_path_factory.mktemp("nvml")
    source, library = str(HERE / "nvml_stub.c"), str(folder / LIBRARY)
    command = ["cc", "-shared", "-fPIC", "-Wall", "-Wextra", "-o", library, source]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, f"{' '.join(command)} failed:\n{built.stderr}"
    return folder


def child(code: str, libraries: Path, mode: str = "one", **variables: str) -> Any:
    """What the code printed, with the driver's library taken from that folder."""
    environment = os.environ | {
        "LD_LIBRARY_PATH": str(libraries),
        "PYTHONPATH": str(ROOT),
        "TUI_LORA_STUB": mode,
        **variables,
    }
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def the_card(reading: Any) -> Any:
    assert reading["nvml_problem"] is None
    (card,) = reading["cards"]
    return card


def test_one_card(stub: Path) -> None:
    card = the_card(child(READ_ONCE, stub))
    ours, other = card.pop("processes")
    assert card == {
        "index": 0,
        "uuid": "GPU-00000000-0000-0000-0000-000000000000",
        "name": "Tesla T4",
        "total_gib": 15.0,
        "used_gib": 4.25,  # 4 by programs, 0.25 kept by the driver
        "free_gib": 10.75,
        "load_percent": 37.0,
        "heat_celsius": 61.0,
        "power_watts": 68.5,
        "power_limit_watts": 70.0,
        "note": None,
        "capability": [7, 5],
        **NEWER,
    }
    assert ours["pid"] > 0
    assert "python" in ours["name"]
    assert ours["used_gib"] == 3.5
    assert other == {"pid": 4194305, "name": None, "used_gib": None}


def test_four_cards(stub: Path) -> None:
    reading = child(READ_ONCE, stub, "four")
    assert reading["nvml_problem"] is None
    assert reading["cards"] == [
        {
            "index": i,
            "uuid": f"GPU-00000000-0000-0000-0000-{i:012}",
            "name": "NVIDIA RTX A4000",
            "total_gib": 16.0,
            "used_gib": 1.0 + i,
            "free_gib": 15.0 - i,
            "load_percent": 10.0 * i,  # a true 0 stays 0
            "heat_celsius": 40.0 + i,
            "power_watts": 50.0 + i,
            "power_limit_watts": 140.0,
            "processes": [],
            "note": None,
            "capability": [8, 6],
            **NEWER,
        }
        for i in range(4)
    ]


def test_no_permission(stub: Path) -> None:
    card = the_card(child(READ_ONCE, stub, "no_permission"))
    assert {key: card[key] for key in UNKNOWN} == UNKNOWN
    assert card["name"] == "Tesla T4"
    assert "permission" in card["note"]


def test_values_not_supported(stub: Path) -> None:
    card = the_card(child(READ_ONCE, stub, "not_supported"))
    assert card["load_percent"] is None
    assert card["power_watts"] is None
    assert card["power_limit_watts"] is None
    assert card["processes"] is None
    assert (card["total_gib"], card["used_gib"], card["free_gib"]) == (15.0, 4.25, 10.75)
    assert card["heat_celsius"] == 61.0


def test_old_driver_gives_the_same_numbers(stub: Path) -> None:
    old = the_card(child(READ_ONCE, stub, "old_driver"))
    new = the_card(child(READ_ONCE, stub, "one"))
    for card in (old, new):
        card["processes"][0].pop("pid")  # the child's own
    assert old == new


def test_unified_memory_is_the_machine_s(stub: Path) -> None:
    reading = child(READ_ONCE, stub, "unified")
    card, machine = the_card(reading), reading["machine"]
    assert card["total_gib"] == machine["memory_total_gib"]
    assert card["used_gib"] == machine["memory_used_gib"]
    assert card["free_gib"] == pytest.approx(card["total_gib"] - card["used_gib"])
    assert card["shared"] is True
    assert card["note"] == "memory is shared with the machine"
    assert card["load_percent"] == 37.0


def test_a_lost_card_hides_no_other(stub: Path) -> None:
    reading = child(READ_ONCE, stub, "lost")
    well, lost = reading["cards"]
    assert (well["total_gib"], well["silent_since"]) == (15.0, None)
    assert (lost["index"], lost["name"]) == (1, "card 1")
    assert {key: lost[key] for key in UNKNOWN} == UNKNOWN
    assert "does not answer" in lost["note"]


def test_a_card_that_is_lost_keeps_its_name_and_comes_back(stub: Path) -> None:
    code = """
import json, os
from dataclasses import asdict
from tui_lora.store.gpu import Sensors
now = 5000.0
sensors = Sensors(wall=lambda: now)
seen = []
for now, mode in ((5000.0, "one"), (5001.0, "falls_silent"), (5009.0, "falls_silent"),
                  (5010.0, "one")):
    os.environ["TUI_LORA_STUB"] = mode
    seen.append(asdict(sensors.read().cards[0]))
print(json.dumps(seen))
"""
    well, lost, still, back = child(code, stub)
    assert [card["silent_since"] for card in (well, lost, still, back)] == [None, 5001, 5001, None]
    assert {card["name"] for card in (well, lost, still, back)} == {"Tesla T4"}
    assert {card["uuid"] for card in (well, lost, still, back)} == {well["uuid"]}
    assert {key: lost[key] for key in UNKNOWN} == UNKNOWN
    assert "GPU is lost" in lost["note"]
    assert back["free_gib"] == 10.75


def test_a_driver_that_hangs_holds_up_nobody(stub: Path) -> None:
    code = """
import json, os, time
from dataclasses import asdict
from tui_lora.store.patience import PatientSensors
now = 5000.0
sensors = PatientSensors(patience_s=60, wall=lambda: now)
seen, took = [], []
def look():
    began = time.monotonic()
    reading = sensors.read()
    took.append(time.monotonic() - began)
    seen.append(asdict(reading))
look()
os.environ["TUI_LORA_STUB"] = "hangs"
sensors._patience_s = 0.3
now = 5001.0; look()
now = 5009.0; look()
os.environ["TUI_LORA_STUB"] = "one"
sensors._answered.wait(60)
sensors._patience_s = 60
now = 5010.0; look()
print(json.dumps([seen, took]))
"""
    (well, silent, still, back), took = child(code, stub)
    assert took[1] >= 0.3
    assert took[2] < took[1]  # nobody waits for an answer that is overdue
    cards = [reading["cards"][0] for reading in (well, silent, still, back)]
    assert [card["silent_since"] for card in cards] == [None, 5001.0, 5001.0, None]
    assert {card["name"] for card in cards} == {"Tesla T4"}
    assert {key: cards[1][key] for key in UNKNOWN} == UNKNOWN
    assert still["machine"]["memory_total_gib"] > 0
    assert cards[3]["total_gib"] == 15.0


def test_a_driver_that_hangs_from_the_start(stub: Path) -> None:
    code = """
import json
from dataclasses import asdict
from tui_lora.store.patience import PatientSensors
print(json.dumps(asdict(PatientSensors(patience_s=0.2, wall=lambda: 5000.0).read())))
"""
    card = the_card(child(code, stub, "hangs"))
    assert (card["name"], card["silent_since"]) == ("the card", 5000.0)
    assert {key: card[key] for key in UNKNOWN} == UNKNOWN


def test_slices_are_cards_of_their_own(stub: Path) -> None:
    reading = child(READ_ONCE, stub, "mig")
    first, second, whole = reading["cards"]
    name = "NVIDIA A100-SXM4-40GB MIG 1g.5gb"
    assert [(c["index"], c["slice"], c["name"]) for c in (first, second)] == [
        (0, 0, name),
        (0, 2, name),
    ]
    assert [c["uuid"][:4] for c in reading["cards"]] == ["MIG-", "MIG-", "GPU-"]
    assert [c["total_gib"] for c in reading["cards"]] == [4.75, 4.75, 40.0]
    assert [c["used_gib"] for c in reading["cards"]] == [0.5, 1.5, 1.0]
    assert [c["whole_uuid"] for c in reading["cards"]] == [
        "GPU-00000000-0000-0000-0000-000000000000"
    ] * 2 + [None]
    assert (first["load_percent"], first["heat_celsius"], first["note"]) == (None, 61.0, None)
    assert len(first["processes"]) == 2
    assert second["processes"] == []
    assert (whole["slice"], whole["load_percent"]) == (None, 37.0)


def test_a_card_that_nobody_has_split_yet_says_so(stub: Path) -> None:
    card = the_card(child(READ_ONCE, stub, "mig_empty"))
    assert (card["slice"], card["total_gib"]) == (None, 15.0)
    assert "MIG is on" in card["note"]


USED = """
import json
from tui_lora.store.gpu import Sensors
reading = Sensors().read()
names = json.loads('NAMES')
print(json.dumps([(c.number if (c := reading.card_of(name)) else None) for name in names]))
"""


@pytest.mark.parametrize(
    ("mode", "visible", "used"),
    [
        ("four", None, {"auto": "0", "2": "2", "9": None, "cpu": None}),
        ("four", "3,1", {"auto": "3", "1": "1"}),
        ("four", "GPU-00000000-0000-0000-0000-000000000002", {"auto": "2"}),
        ("four", "", {"auto": None}),
        ("four", "-1", {"auto": None}),
        ("mig", None, {"auto": "0:0", "0": "0:0", "1": "1"}),
        ("mig", "MIG-00000000-0000-0000-0000-000000000002", {"auto": "0:2"}),
        ("mig", None, {"MIG-00000000-0000-0000-0000-000000000002": "0:2", "MIG-nobody": None}),
        ("mig", None, {"GPU-00000000-0000-0000-0000-000000000000": "0:0"}),
    ],
)
def test_which_card_a_worker_would_use(
    stub: Path,
    mode: str,
    visible: str | None,
    used: dict[str, str | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    variables = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    code = USED.replace("NAMES", json.dumps(list(used)))
    assert child(code, stub, mode, **variables) == list(used.values())


def test_what_draws_on_the_card_is_told_once(stub: Path) -> None:
    processes = the_card(child(READ_ONCE, stub, "drawing"))["processes"]
    assert len(processes) == len({process["pid"] for process in processes}) == 3
    (drawing,) = (process for process in processes if process["pid"] == 1)
    assert drawing["used_gib"] == 300 / 1024


def test_in_a_container_a_name_is_given_only_to_who_has_cuda_open(stub: Path) -> None:
    code = """
import ctypes, json
from tui_lora.store import gpu_card
from tui_lora.store.gpu import Sensors
gpu_card._FIRST_PID_NAMESPACE = -1  # as if this were not the machine's own
def names():
    return [p.name for p in Sensors().read().cards[0].processes]
before = names()
ctypes.CDLL("FOLDER/libcuda.so.1")
print(json.dumps([before, names()]))
"""
    shutil.copy(stub / LIBRARY, stub / "libcuda.so.1")
    before, after = child(code.replace("FOLDER", str(stub)), stub)
    assert before == [None, None]
    assert "python" in after[0]
    assert after[1] is None


def test_names_lose_their_control_characters(stub: Path) -> None:
    name = the_card(child(READ_ONCE, stub, "hostile_name"))["name"]
    assert name.isprintable()
    assert name.startswith("Tesla")


def test_library_fails_to_start(stub: Path) -> None:
    reading = child(READ_ONCE, stub, "fails_to_start")
    assert reading["cards"] == []
    assert "driver was upgraded" in reading["nvml_problem"]
    assert "Reboot" in reading["nvml_problem"]


def test_library_absent(tmp_path: Path) -> None:
    # A file that is no library hides the real driver, where the tests' machine has one.
    (tmp_path / LIBRARY).write_text("not a library")
    reading = child(READ_ONCE, tmp_path)
    assert reading["cards"] == []
    assert "NVIDIA driver" in reading["nvml_problem"]
    assert "not found" in reading["nvml_problem"]


def test_tries_again_after_30_seconds(stub: Path) -> None:
    code = """
import json, os
from tui_lora.store.gpu import Sensors
now = 1000.0
sensors = Sensors(clock=lambda: now)
seen = []
def look():
    reading = sensors.read()
    seen.append([now, len(reading.cards), reading.nvml_problem is None])
look()
os.environ["TUI_LORA_STUB"] = "one"
for now in (1000.5, 1029.9, 1030.0, 1031.0): look()
os.environ["TUI_LORA_STUB"] = "gone"
now = 1032.0; look()
os.environ["TUI_LORA_STUB"] = "one"
for now in (1061.9, 1062.0): look()
print(json.dumps(seen))
"""
    assert child(code, stub, "fails_to_start") == [
        [1000.0, 0, False],
        [1000.5, 0, False],
        [1029.9, 0, False],
        [1030.0, 1, True],
        [1031.0, 1, True],
        [1032.0, 0, False],
        [1061.9, 0, False],
        [1062.0, 1, True],
    ]


def test_close_may_be_called_at_any_time(stub: Path) -> None:
    code = """
import json
from tui_lora.store.gpu import Sensors
sensors = Sensors()
sensors.close()
counts = [len(sensors.read().cards)]
sensors.close()
sensors.close()
counts.append(len(sensors.read().cards))
print(json.dumps(counts))
"""
    assert child(code, stub) == [1, 1]


def test_bindings_are_imported_at_the_first_reading(stub: Path) -> None:
    code = """
import json, sys
import tui_lora.store.gpu
tui_lora.store.gpu.Sensors()
print(json.dumps(sorted({"pynvml", "psutil", "torch"} & set(sys.modules))))
"""
    assert child(code, stub) == []


def test_machine(stub: Path) -> None:
    code = """
import json, time
from dataclasses import asdict
from tui_lora.store.gpu import Sensors
sensors = Sensors()
first = sensors.read().machine
time.sleep(0.3)
print(json.dumps([asdict(first), asdict(sensors.read().machine)]))
"""
    first, second = child(code, stub)
    assert first["cpu_percent"] is None  # there is nothing yet to compare with
    assert 0.0 <= second["cpu_percent"] <= 100.0
    for machine in (first, second):
        assert 0.1 < machine["memory_used_gib"] + 0.1 < machine["memory_total_gib"] < 100_000
        assert machine["cores"] == os.cpu_count()


def test_the_driver_s_version(stub: Path) -> None:
    code = "import json; from tui_lora.store.gpu import driver_version\nprint(json.dumps("
    assert child(code + "driver_version()))", stub) == "580.82.07"
    assert child(code + "driver_version()))", stub, "fails_to_start") is None
