"""Every kind of model trains, saves, reloads on an untouched base, and answers the same there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.answers import reloads_the_same
from tests.in_process import trained
from tests.kinds import KINDS, Kind, make_model
from tests.workers import tiny_spec, view_of

pytestmark = pytest.mark.model

OFTEN = {("gpt2", "nf4"), ("mixtral", "none"), ("mamba", "none")}
"""The odd ones; the others are proved in the long tests."""

CELLS = [
    pytest.param(
        kind,
        scheme,
        id=f"{kind.name}-{scheme}",
        marks=() if (kind.name, scheme) in OFTEN else pytest.mark.long,
    )
    for kind in KINDS
    for scheme in kind.schemes
]


@pytest.mark.parametrize(("kind", "scheme"), CELLS)
def test_it_trains_and_reloads(kind: Kind, scheme: str, tmp_path: Path, rows: Path) -> None:
    folder = make_model(kind, tmp_path / "model")
    spec = tiny_spec(
        folder, rows, quantization__scheme=scheme, training__max_steps=2, training__max_length=48,
        dataset__max_rows=10, evaluation__every_steps=2,
    )  # fmt: skip
    model, paths = trained(tmp_path / "sessions", "run", spec)

    plan = view_of(paths).plan
    assert plan is not None
    assert plan.trainable_parameters == model.get_nb_trainable_parameters()[0]
    untrained = [
        name
        for name, parameter in model.named_parameters()
        if "lora_B" in name and not parameter.any()
    ]
    assert untrained == []

    reloads_the_same(model, spec, paths)


def test_the_page_about_them_is_up_to_date() -> None:
    from scripts.kinds_table import TARGET, page

    assert TARGET.read_text(encoding="utf-8") == page(), (
        "run: python scripts/kinds_table.py --write"
    )
