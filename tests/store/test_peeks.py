"""The file of answers: appended, read back, and whatever else stands in it passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import peeked
from tests.recorded import make_session
from tui_lora.store import peeks
from tui_lora.store.paths import SessionPaths


@pytest.fixture
def paths(tmp_path: Path) -> SessionPaths:
    return make_session(tmp_path)


def test_what_is_kept_is_read_and_what_is_bad_is_passed_over(paths: SessionPaths) -> None:
    assert peeks.read(paths) == ()
    first = peeked.answer(peeked.WHO, 50, "\x1b[31mred\u202e", order="o")
    base = peeked.answer(peeked.WHO, 50, "the base", base=True)
    peeked.keep(paths, [base, first])
    with peeks.path_of(paths).open("ab") as file:
        file.write(b'{"t":"x"}\n[1]\n\xff\xfe\n{"torn')
    last = peeked.answer(peeked.WHO, 100, "on a line of its own")
    peeked.keep(paths, [last])
    assert peeks.read(paths) == (base, first, last)
    assert peeks.read(paths)[1].text == "[31mred"
    assert peeks.answer_to(paths, "o") == (first, base)
    assert peeks.answer_to(paths, "another") == (None, None)


def test_a_link_in_its_place_is_not_written_through(paths: SessionPaths, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_text("mine\n")
    peeks.path_of(paths).symlink_to(target)
    with pytest.raises(OSError, match="symbolic"):
        peeked.keep(paths, [peeked.answer(peeked.WHO, 50, "x")])
    assert target.read_text() == "mine\n"
