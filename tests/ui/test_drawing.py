"""The small drawing functions: bars, trends, axes, the card in a line; and the terminal's end."""

from __future__ import annotations

import math
import os
import pty
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from textual.content import Content

from tui_lora.core.sensors import CardReading, MachineReading, SensorReading
from tui_lora.ui.ink import bar, between, fitting, ink, left, right
from tui_lora.ui.state import RunOnCard
from tui_lora.ui.terminal import HANGUP_EXIT, too_small
from tui_lora.ui.widgets.loss_plot import x_limit, y_limits
from tui_lora.ui.widgets.top_line import sensors
from tui_lora.ui.widgets.trend import trend


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (0, "────"),
        (0.001, "╸───"),
        (0.5, "━━──"),
        (0.6, "━━╸─"),
        (1, "━━━━"),
        (7, "━━━━"),
        (None, "────"),
    ],
)
def test_a_bar(share: float | None, shown: str) -> None:
    assert bar(share, 4).plain == shown


def test_columns_hold_their_width() -> None:
    assert left("a name that is long", 8).plain == "a name …"
    assert left("模型", 6).cell_length == 6
    assert right("1.5", 6).plain == "   1.5"
    assert right("123456789", 6).cell_length == 6
    assert between(ink("start"), ink("end"), 12).plain == "start    end"
    assert between(ink("a long start"), ink("end"), 8).plain == "a …  end"
    assert fitting([ink("one"), ink("two"), ink("three")], 10).plain == "one   two"


def test_a_trend() -> None:
    assert trend([], 5) == ""
    assert trend([1, 1, 1], 5) == "▁▁▁"
    assert trend([1, 2, 3, 4, 5, 6], 6) == "▁▂▃▄▅▆"
    assert trend([math.nan, 1, math.inf, 2], 5) == "▁▆"
    assert len(trend(list(range(1000)), 12)) == 12


def test_the_axis_moves_a_few_times_a_run() -> None:
    limits = {x_limit(step, 1000) for step in range(1, 1001)}
    assert len(limits) <= 9
    assert x_limit(501, 1000) == 1000
    assert x_limit(500, 1000) == 500
    assert x_limit(30, None) == 30
    for values in ([1.234], [0.0, 0.0], [3.2, 1.1], [1e-9], [-1.0, 2.0], [1e12]):
        low, high = y_limits(values)
        assert low <= min(values)
        assert high >= max(values)
        assert high > low


def card(**changes: object) -> SensorReading:
    values: dict[str, object] = {
        "index": 0,
        "uuid": "u",
        "name": "NVIDIA GeForce RTX 4080",
        "total_gib": 16.0,
        "used_gib": 11.2,
        "free_gib": 4.8,
        "load_percent": 97.0,
        "heat_celsius": 71.0,
        "power_watts": 243.0,
        "power_limit_watts": 320.0,
        "processes": (),
        "note": None,
    }
    reading = CardReading(**{**values, **changes})  # type: ignore[arg-type]
    return SensorReading((reading,), MachineReading(31.0, 5.0, 3, 8), None)


def test_the_card_in_a_line() -> None:
    long = sensors(card(), long=True).plain
    assert long.startswith("RTX 4080")
    assert "11.2 of 16 GiB   headroom 4.8" in long
    assert long.endswith(" 97%  71°C  243 W")
    short = sensors(card(), long=False).plain
    assert "16G" in short
    assert "11.2 +4.8" in short
    assert len(short) < 50
    assert "▲ tight" in sensors(card(free_gib=0.5), long=True).plain
    assert "headroom 2.8" in sensors(card(), RunOnCard("auto", 2.0), long=True).plain
    unknown = card(
        total_gib=None, used_gib=None, load_percent=None, heat_celsius=None, power_watts=None
    )
    assert "memory unknown" in sensors(unknown, long=True).plain
    assert "—" in sensors(unknown, long=True).plain
    assert sensors(None, long=True) == Content("")
    none = SensorReading((), MachineReading(None, None, None, 8), "no driver")
    assert sensors(none, long=False).plain == "no GPU  cpu   —%"


@pytest.mark.parametrize("long", [True, False])
def test_the_predicted_peak_is_a_mark_in_the_card_s_bar(long: bool) -> None:
    def drawn(peak_gib: float | None) -> str:
        shown = sensors(card(), RunOnCard("auto", 0.0, peak_gib), long=long).plain
        return next(word for word in shown.split() if set(word) <= set("━╸─┃▶"))

    plain, width = drawn(None), 20 if long else 10
    assert len(plain) == width
    assert drawn(12.0).index("┃") == int(12 / 16 * width)
    assert drawn(8.0).index("┃") == width // 2
    assert drawn(17.5) == plain[:-1] + "▶"
    assert {len(drawn(peak)) for peak in (None, 0.0, 8.0, 16.0, 99.0)} == {width}


def several() -> SensorReading:
    (first,) = card().cards
    cards = tuple(replace(first, index=i, uuid=f"GPU-{i}", used_gib=4.0 + i) for i in range(3))
    return replace(card(), cards=cards, visible="1,2")


@pytest.mark.parametrize(
    ("devices", "number", "used"),
    [("auto", 1, "5.0"), ("2", 2, "6.0"), ("GPU-0", 0, "4.0"), ("cpu", 0, "4.0"), ("7", 0, "4.0")],
)
def test_of_several_cards_the_run_s_is_shown(devices: str, number: int, used: str) -> None:
    for long in (True, False):
        shown = sensors(several(), RunOnCard(devices), long=long).plain
        assert shown.startswith(f"#{number} of 3 ")
        assert f" {used} " in shown


def test_a_slice_and_shared_memory_are_called_so() -> None:
    (whole,) = card().cards
    name = "NVIDIA A100-SXM4-40GB MIG 1g.5gb"
    cards = tuple(replace(whole, name=name, slice=place, total_gib=4.75) for place in (0, 2))
    shown = sensors(replace(card(), cards=cards), long=True).plain
    assert shown.startswith("#0:0 of 2 A100-SXM4-4…MIG 1g.5gb")
    assert "the machine’s" in sensors(card(shared=True, total_gib=119.7), long=True).plain
    assert "120G shared" in sensors(card(shared=True, total_gib=119.7), long=False).plain


@pytest.mark.parametrize("long", [True, False])
def test_a_card_that_does_not_answer_says_since_when(long: bool) -> None:
    since = time.mktime((2026, 11, 22, 14, 3, 20, 0, 0, -1))
    figures = dict.fromkeys(
        ["total_gib", "used_gib", "free_gib", "load_percent", "heat_celsius", "power_watts"]
    )
    shown = sensors(card(**figures, silent_since=since), long=long).plain
    assert "the card does not answer since 14:03" in shown
    assert "—%" in shown
    assert "—°C" in shown
    assert not any(figure in shown for figure in ("11.2", "97", "71", " 0"))


def test_too_small_is_a_sentence() -> None:
    assert too_small(60, 16) is None
    assert too_small(40, 10) == "the terminal has 40x10 characters; tui-lora needs 60x16 or more."


def test_a_dead_terminal_ends_the_program() -> None:
    code = """
import time
from tui_lora.ui import terminal
terminal.leave_on_hangup()
print("ready", flush=True)
time.sleep(600)
"""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=slave,
        stdout=subprocess.PIPE,
        # Not the terminal's leader, and deaf to SIGHUP: only the poll can tell.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    os.close(slave)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    os.close(master)
    assert process.wait(60) in (HANGUP_EXIT, -signal.SIGHUP)
