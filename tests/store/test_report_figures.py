"""The figures of evaluations on the page of a session: of which rows and which adapter they are."""

from __future__ import annotations

from pathlib import Path

from tests.core.test_evaluated_rows import evaluation
from tests.recorded import done_session
from tests.store.test_adapter_spectrum import adapter, factors
from tui_lora.core.evaluation import Evaluation, Figure, Loss
from tui_lora.store import evaluations, session_report
from tui_lora.store.measured_adapter import mark_of
from tui_lora.store.overlaid import RunReader
from tui_lora.store.paths import SessionPaths
from tui_lora.store.spec_now import spec_now


def keep(paths: SessionPaths, t: float, perplexity: float, **more: object) -> None:
    scheme = spec_now(paths).quantization.scheme
    told = {"quantization": scheme, "adapter": mark_of(paths.adapter), **more}
    found = evaluation(4, 4, t=t, **told)
    figure = Loss(perplexity=Figure(value=perplexity))
    parts = tuple(part.model_copy(update={"base": figure}) for part in found.parts)
    partial = evaluations.open_partial(paths, f"{t}", {}, t)
    evaluations.keep(
        paths, partial, Evaluation.model_validate({**found.model_dump(), "parts": parts}), []
    )
    partial.close()


def test_rows_of_a_file_stand_beside_the_held_out_ones(tmp_path: Path) -> None:
    paths = done_session(tmp_path, "run")
    adapter(paths.adapter, *factors())
    keep(paths, 1e9, 11.0)
    keep(paths, 1.1e9, 12.0)
    keep(paths, 1.2e9, 13.0, test_file=str(tmp_path / "test.jsonl"))
    keep(paths, 1.3e9, 14.0, quantization="int8")
    text = session_report.write(paths).path.read_text(encoding="utf-8")
    told = [line for line in text.splitlines() if line.startswith("| ")]

    def of(figure: str) -> str:
        return "".join(line for line in told if figure in line)

    # Each by itself: of a file, of another storage, and of those alike the last.
    assert of("| 12.0 |").startswith("| held-out rows, 0")
    assert "base" not in of("| 12.0 |")
    assert of("| 11.0 |") == ""
    assert of("| 13.0 |").startswith("| given rows of test.jsonl, 1")
    assert of("| 14.0 |").startswith("| held-out rows, base in int8, 1")
    metrics = [line.split(" |")[0] for line in told if line.startswith("| em")]
    assert metrics == ["| em, base in int8", "| em, given rows of test.jsonl", "| em"]
    assert str(tmp_path) not in text


def test_figures_of_an_earlier_adapter_are_none_of_this_one(tmp_path: Path) -> None:
    paths = done_session(tmp_path, "run")
    adapter(paths.adapter, *factors())
    keep(paths, 1e9, 11.0)
    assert "11.0" in session_report.write(paths).path.read_text(encoding="utf-8")
    assert RunReader(paths).look().evaluation is not None
    weights = paths.adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\x00\x00\x80\x3f")
    text = session_report.write(paths).path.read_text(encoding="utf-8")
    assert "11.0" not in text
    assert "forgetting: — (`tui-lora eval run`)" in text
    assert RunReader(paths).look().evaluation is None
