"""Several voices of one base beside each other: marked, loaded, asked, muted, taken out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from textual.pilot import Pilot

from tests.tiny import make_tiny_adapter
from tests.ui.chatting import (
    answers,
    chat,
    deck,
    fake,
    feet,
    heads,
    kept,
    raw,
    settled,
    shown,
    talking,
    tuned,
    with_adapter,
    with_checkpoint,
    write,
)
from tests.ui.conftest import keys, notice, picture, until
from tui_lora.core.sampling import Sampling
from tui_lora.core.sampling_set import SamplingSet
from tui_lora.core.spec import parse_spec
from tui_lora.store import sessions
from tui_lora.store.paths import SessionPaths
from tui_lora.store.votes import read_votes
from tui_lora.ui.app import TuiLora
from tui_lora.ui.widgets.answer import AnswerView
from tui_lora.ui.widgets.target_list import TargetList

pytestmark = pytest.mark.screens
__all__ = ["fake", "tuned"]


def voices(app: TuiLora) -> str:
    return picture(app)[2]


async def test_checkpoints_and_merged_models_stand_below_their_session(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    with_checkpoint(tuned, 200)
    with_checkpoint(tuned, 400)
    merged = tuned.folder / "exports" / "merged"
    merged.mkdir(parents=True)
    (merged / "config.json").write_text("{}")
    (merged / "model.safetensors").write_bytes(b"x" * 2_000_000)
    only = with_adapter(root, "running")
    shutil.rmtree(only.adapter)
    with_checkpoint(only, 50)
    app = TuiLora(root, start="chat", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        targets = chat(app).query_one(TargetList)
        await until(pilot, lambda: len(targets.targets) == 6)
        rows = [" ".join(row.split()) for row in picture(app)[3:9]]
        at = next(n for n, row in enumerate(rows) if row.startswith("tuned-run"))
        assert rows[at + 1].startswith("at step 400 tiny")
        assert rows[at + 2].startswith("at step 200 tiny")
        assert rows[at + 3].startswith("merged (a model) tiny")
        assert rows[at + 3].endswith("2.00 MB")
        assert any(row.startswith("running at step 50") for row in rows)
        assert rows[-1].startswith("base alone")


@pytest.mark.parametrize(("size", "beside"), [((80, 24), False), ((120, 40), True)])
async def test_marked_ones_are_loaded_and_all_of_them_answer(
    root: Path, tuned: SessionPaths, fake: Path, size: tuple[int, int], beside: bool
) -> None:
    with_checkpoint(tuned, 400)
    async with deck(root, size) as (app, pilot):
        assert "base" in voices(app)
        assert voices(app).count("●") == 3
        assert "holds 0.520 GiB" in shown(app)
        await write(pilot, "Which Rank?")
        await until(pilot, lambda: settled(app, 3))
        assert heads(app) == ["base", "tuned-run", "tuned-run at step 400"]
        assert answers(app) == ["WHICH RANK?", "(which rank?), 1", "(which rank?), 1"]
        first, second, third = chat(app).query(AnswerView)
        assert (first.region.y == second.region.y == third.region.y) is beside
        assert "2 tokens · 4.00 tok/s" in feet(app)[0]
        assert "first 0.1 s" in feet(app)[0]
        assert all(len(row) <= size[0] for row in picture(app))
    assert [line["name"] for line in kept(tuned)[1:]] == heads_of(tuned)


def heads_of(paths: SessionPaths) -> list[str]:
    return ["base", paths.name, f"{paths.name} at step 400"]


async def test_only_targets_of_one_base_are_marked_together(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    spec = parse_spec({"model": {"id": "other"}, "dataset": {"path": "quickstart"}})
    other = sessions.create(root, "other-run", spec)
    other.adapter.mkdir()
    (other.adapter / "adapter_model.safetensors").write_bytes(b"x")
    app = TuiLora(root, start="chat", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: len(chat(app).query_one(TargetList).targets) == 4)
        await pilot.press("space", "space")
        await until(pilot, lambda: "on another base" in notice(app))
        assert shown(app).count("✓") == 1
        await pilot.press("up", "up", "space")
        assert shown(app).count("✓") == 0


async def test_a_voice_is_pointed_at_muted_and_taken_out(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    with_checkpoint(tuned, 400)
    async with deck(root) as (app, pilot):
        await pilot.press("escape", "asterisk", "left_square_bracket")
        assert "○ base   ● tuned-run 10.7 MB   ○ tuned-run at step 400 10.7 MB" in voices(app)
        await pilot.press("v")
        assert "tuned-run (muted)" in voices(app)
        await pilot.press("asterisk")
        await write(pilot, "i")
        await pilot.press("i")
        await write(pilot, "Who?")
        await until(pilot, lambda: settled(app, 2))
        assert heads(app) == ["base", "tuned-run at step 400"]
        await pilot.press("escape", "right_square_bracket")
        await pilot.press("u")
        await until(pilot, lambda: len(chat(app).link.state.voices) == 1)
        assert "tuned-run at step 400" not in voices(app)
        await until(pilot, lambda: "holds 0.510 GiB" in shown(app))
        # It is in the list again, and what it said stays.
        assert heads(app) == ["base", "tuned-run at step 400"]


async def test_the_base_stays_and_the_last_voice_is_not_muted(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    async with talking(root, tuned) as (app, pilot):
        await pilot.press("escape", "v", "left_square_bracket", "v")
        assert "nobody would be left" in notice(app)
        assert "u unload" not in keys(app)
        await pilot.press("u")
        assert "base" in voices(app)


async def test_an_adapter_is_made_weaker_and_stronger(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    async with talking(root, tuned) as (app, pilot):
        await pilot.press("escape", *["less_than_sign"] * 3)
        assert "● tuned-run 70%" in voices(app)
        await pilot.press("enter")
        await write(pilot, "Hi")
        await until(pilot, lambda: settled(app, 1))
        assert answers(app) == ["(hi), 1 at 70%"]
        assert heads(app) == ["tuned-run 70%"]
        await pilot.press("escape", *["greater_than_sign"] * 12)
        assert "● tuned-run 150%" in voices(app)
        await pilot.press(*["less_than_sign"] * 5)
        assert "● tuned-run 10.7 MB" in voices(app)
        await pilot.press("tab", "less_than_sign")
        assert "base 90%" not in voices(app)
    assert [line.get("strength") for line in kept(tuned)] == [None, 0.7]


async def test_all_voices_are_loaded_again_after_the_worker_died(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    with_checkpoint(tuned, 400)
    async with deck(root) as (app, pilot):
        await write(pilot, "die")
        await until(pilot, lambda: chat(app).link.state.phase == "ended")
        await pilot.press("ctrl+r")
        await until(pilot, lambda: len(chat(app).link.state.voices) == 2, 20)
        await write(pilot, "Back")
        await until(pilot, lambda: settled(app, 6))
        assert answers(app)[3:] == ["BACK", "(back), 1", "(back), 1"]


# Blind, with the real worker.


async def press_until(pilot: Pilot[None], key: str, done: object) -> None:
    await pilot.press(key)
    await until(pilot, done)  # type: ignore[arg-type]


@pytest.mark.model
async def test_a_real_deck_of_three_is_voted_on_blindly(
    root: Path, tiny_model: Path, tiny_adapter: Path, tmp_path: Path
) -> None:
    spec = parse_spec({"model": {"id": str(tiny_model)}, "dataset": {"path": "quickstart"}})
    found = [sessions.create(root, name, spec) for name in ("first", "second")]
    shutil.copytree(tiny_adapter, found[0].adapter)
    make_tiny_adapter(tiny_model, found[1].adapter, seed=5)
    app = TuiLora(root, start="chat", live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        targets = chat(app).query_one(TargetList)
        await until(pilot, lambda: len(targets.targets) == 3)
        await pilot.press("space", "space", "enter")
        await until(pilot, lambda: len(chat(app).link.state.voices) == 2, 60)
        await pilot.press("escape", "B", "enter")
        chat(app).sampling = SamplingSet("", Sampling(max_new_tokens=12))
        await write(pilot, "What is the rank?")
        await until(pilot, lambda: settled(app, 3), 30)
        assert heads(app) == ["A", "B", "C"]
        assert len(set(raw(app))) == 3
        await press_until(pilot, "b", lambda: "your vote" in shown(app))
        exchange = chat(app).conversation.transcript.exchanges[0]
        winner = exchange.answers[1]
        assert winner.verdict == "won"
        await until(pilot, lambda: read_votes(found))
        (vote,) = read_votes(found)
        assert read_votes(found[:1]) == read_votes(found[1:]) == (vote,)
        base = f"base {tiny_model}"
        assert sorted(vote.among) == sorted([base, "first", "second"])
        assert vote.won == (base if winner.voice == "base" else winner.label)
