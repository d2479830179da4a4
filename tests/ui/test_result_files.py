"""What Results saves: of evaluations the one that is shown, and it says which that is."""

from __future__ import annotations

from pathlib import Path

from tests.core.test_evaluated_rows import answer, evaluation, loss
from tests.evaluated import keep
from tests.recorded import done_session
from tests.ui.conftest import run_of
from tui_lora.core.figures import TableData
from tui_lora.store import evaluations
from tui_lora.ui.result_files import savable


def test_what_is_shown_is_saved_and_not_the_newest(tmp_path: Path) -> None:
    paths = done_session(tmp_path, "run")
    first = keep(
        paths,
        evaluation(rows=7, t=1e9, test_file="mine.jsonl", quantization="nf4", adapter_step=300),
        [loss(0, 4.0, 2.0)],
    )
    second = keep(paths, evaluation(rows=0, answers=3, t=1.1e9, step=200), [answer(0, 0.0, 1.0)])

    def tables(shown: evaluations.Kept | None) -> dict[str, TableData]:
        made = {name: make() for name, make in savable(run_of(paths), shown).items()}
        return {
            name.removeprefix("evaluation, "): table
            for name, table in made.items()
            if name.startswith("evaluation") and isinstance(table, TableData)
        }

    one = tables(first)
    assert set(one) == {"losses", "rows"}
    assert one["losses"].rows[0][:2] == ("given rows", 7)
    assert one["rows"].rows[0][5:7] == (2.0, 1.0)
    for table in one.values():
        assert "adapter, step 300, on mine.jsonl, nf4 on cpu" in table.title
    other = tables(second)
    assert set(other) == {"metrics", "rows"}
    assert other["rows"].rows[0][-1] == "x"
    assert "checkpoint at step 200, float32 on cpu" in other["metrics"].title
    assert tables(None) == {}
