"""The shipped table of kinds of model is that of the transformers that is installed."""

from __future__ import annotations

import json

import pytest

from scripts.architectures import TARGET, architectures

pytestmark = pytest.mark.model


def test_the_table_is_up_to_date() -> None:
    shipped = json.loads(TARGET.read_text(encoding="utf-8"))
    assert shipped == architectures(), "run: python scripts/architectures.py"
