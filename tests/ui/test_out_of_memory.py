"""Memory ran out: what the Train screen says of it, and the list that goes on from there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.recorded import make_session, opening, ran_out_session, steps, write
from tests.ui.conftest import keys, page, picture, run_of, show
from tests.ui.conftest import until as until_within
from tests.ui.fake_inspect import start_fake_inspect
from tests.ui.test_headroom import cards
from tui_lora.core.events import SpecChanged
from tui_lora.core.spec import RunSpec
from tui_lora.core.status import Status
from tui_lora.store import launch, runs
from tui_lora.store.paths import SessionPaths
from tui_lora.ui.app import TuiLora
from tui_lora.ui.messages import SensorsRead
from tui_lora.ui.screens.out_of_memory import MendList
from tui_lora.ui.widgets.line import Line, Lines
from tui_lora.ui.widgets.table import Table

pytestmark = pytest.mark.screens


async def until(pilot: Pilot[None], done: Callable[[], object]) -> None:
    """Workers are processes, which a busy machine starts slowly."""
    await until_within(pilot, done, 20.0)


@pytest.fixture
def resumed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Mapping[str, Any]]]:
    """What was resumed or begun, with which settings."""
    found: list[tuple[str, Mapping[str, Any]]] = []

    def resume(paths: SessionPaths, *, changes: Any = None, **_: Any) -> int:
        found.append((paths.name, changes))
        return 1

    def begin(root: Path, name: str, spec: RunSpec, **_: Any) -> SessionPaths:
        found.append((name, {"lora.r": spec.lora.r, "optimizer": spec.training.optimizer}))
        return SessionPaths(root / name)

    monkeypatch.setattr(runs, "resume", resume)
    monkeypatch.setattr(runs, "begin", begin)
    return found


def verdict(app: TuiLora) -> list[str]:
    return [row.plain for row in page(app).query_one("#verdict", Lines).said]


async def opened(pilot: Pilot[None], paths: SessionPaths, total_gib: float | None) -> MendList:
    """The list over a run, with a card of this size in the machine."""
    if total_gib is not None:
        pilot.app.post_message(SensorsRead(cards(total_gib)))
    await show(pilot, run_of(paths))
    await pilot.press("a")
    await until(pilot, lambda: isinstance(pilot.app.screen, MendList))
    assert isinstance(pilot.app.screen, MendList)
    return pilot.app.screen


def titles(mends: MendList) -> list[str]:
    return [row.key for row in mends.query_one(Table).rows]


def row_text(mends: MendList, title: str) -> str:
    row = next(row for row in mends.query_one(Table).rows if row.key == title)
    return " ".join(cell.plain for cell in row.cells)


def below(mends: MendList) -> str:
    said = [row.plain for row in mends.query_one("#about-change", Lines).said]
    return "\n".join([*said, mends.query_one("#picker-keys", Line).said.plain])


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (60, 16)])
async def test_where_the_memory_went(root: Path, size: tuple[int, int]) -> None:
    paths = ran_out_session(root)
    app = TuiLora(root, session=paths, live=False)
    async with app.run_test(size=size) as pilot:
        await show(pilot, run_of(paths))
        rows = verdict(app)
        said = "\n".join(rows)
        assert rows[0] == (
            "In the backward pass of step 213: batch 4 × 2,048 tokens, longest row 1,987."
        )
        assert "1.25 GiB more were asked for; 0.31 of 15.00 GiB of the card were free." in said
        assert "weights 5.32 (5.30)" in said
        assert "activations and workspace 7.10 (7.70)" in said
        assert "Xorg [/x] [31m 0.90" in said
        # What nobody is known to hold is CUDA's: 15.00 less all the others.
        assert "CUDA and the rest 0.19 (0.30)" in said
        assert "predicted 13.78 GiB at the peak, simulated" in said
        assert "a what makes it fit   r resumes from step 200" in said
        bar = next(row for row in rows if row.startswith("█") and "weights" not in row)
        assert len(bar) == max(40, size[0] - 2)
        assert all(len(row) <= size[0] for row in picture(app))
        if size[1] >= 24:
            assert "a what makes it fit" in "\n".join(picture(app))


async def test_on_the_processor_it_says_what_is_not_known(root: Path) -> None:
    paths = ran_out_session(root, card=False)
    app = TuiLora(root, session=paths, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        mends = await opened(pilot, paths, None)
        assert "of the processor's memory there is no forecast" in "\n".join(verdict(app))
        assert "only cards are simulated" in mends.query_one("#so-far", Lines).said[0].plain
        assert titles(mends)[:2] == ["checkpointing", "micro-batch 2, accumulation 8"]
        assert row_text(mends, titles(mends)[0]).count("—") == 3
        assert "checkpointing auto → yes" in below(mends)


async def test_enter_goes_on_from_the_checkpoint(
    root: Path, resumed: list[tuple[str, Mapping[str, Any]]]
) -> None:
    paths = ran_out_session(root, card=False)
    app = TuiLora(root, session=paths, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        mends = await opened(pilot, paths, None)
        await pilot.press("down")
        await until(pilot, lambda: "micro-batch 4 → 2, accumulation 4 → 8." in below(mends))
        assert "Enter goes on with it from step 200" in below(mends)
        await pilot.press("enter")
        await until(pilot, lambda: resumed)
        assert resumed == [("big", {"training.micro_batch": 2, "training.accumulation": 8})]


async def test_what_a_checkpoint_does_not_survive_begins_a_new_session(
    root: Path, resumed: list[tuple[str, Mapping[str, Any]]]
) -> None:
    paths = ran_out_session(root, card=False)
    app = TuiLora(root, session=paths, live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        mends = await opened(pilot, paths, None)
        mends.query_one(Table).point("adamw_8bit")
        await until(pilot, lambda: "new session, big-2, at step 0" in below(mends))
        assert "state of another optimizer" in below(mends)
        assert "a new session" in row_text(mends, "adamw_8bit")
        await pilot.press("enter")
        await until(pilot, lambda: resumed)
        assert resumed == [("big-2", {"lora.r": 16, "optimizer": "adamw_8bit"})]


async def test_on_a_card_each_is_simulated(
    root: Path,
    resumed: list[tuple[str, Mapping[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launch, "start_pipe_worker", start_fake_inspect)
    paths = ran_out_session(root)
    app = TuiLora(root, session=paths, live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        # By the simulation it takes 14 GiB and fits, so a smaller card is asked about.
        mends = await opened(pilot, paths, 16.0)
        found = "nf4 + micro-batch 1"
        await until(pilot, lambda: titles(mends) == [found])
        so_far = mends.query_one("#so-far", Lines).said[0].plain
        assert "simulated 14.00 GiB, which fits; it took more" in so_far
        assert "✓ fits" in row_text(mends, found)
        assert "8.00" in row_text(mends, found)
        # A step of other rows is nothing that a checkpoint survives.
        assert "a new session" in row_text(mends, found)
        assert "have to stay 16 rows a step" in below(mends)


async def test_escape_changes_nothing(
    root: Path, resumed: list[tuple[str, Mapping[str, Any]]]
) -> None:
    paths = ran_out_session(root, card=False)
    app = TuiLora(root, session=paths, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, paths, None)
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, MendList))
        assert not resumed


async def test_only_a_run_out_of_memory_has_the_key(root: Path) -> None:
    paths = make_session(root)
    write(paths, opening(400), steps(1, 5, 400))
    app = TuiLora(root, session=paths, live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await show(pilot, run_of(paths, Status.INTERRUPTED))
        await pilot.press("a")
        await pilot.pause()
        assert not isinstance(app.screen, MendList)
        assert "what fits" not in keys(app)


async def test_what_changed_since_the_start_stands_in_one_line(root: Path) -> None:
    paths = make_session(root)
    changes = {"training.micro_batch": 1, "training.accumulation": 16, "lora.r": 16}
    write(paths, opening(400), iter([SpecChanged(changes=changes)]), steps(1, 5, 400))
    app = TuiLora(root, session=paths, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, run_of(paths, Status.RUNNING))
        said = page(app).query_one("#changes", Line).said.plain
        assert said == "changed since the start: micro-batch 2 → 1, accumulation 8 → 16"
        assert said in "\n".join(picture(app))
