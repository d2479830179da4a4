"""docs/faults.md has all fifty cases, and every test that it names is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
PAGE = (HERE / "docs" / "faults.md").read_text(encoding="utf-8")
CASES = 50
NOT_HERE = "Not shown here:"

ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if re.match(r"\| *\d+ ", line)
]


@cache
def functions_of(path: Path) -> frozenset[str]:
    """Names of the test functions of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (
        node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


def named(text: str) -> list[tuple[str, str]]:
    """`store/test_lock.py::test_x`, below tests/."""
    return re.findall(r"`([\w/]+\.py)::(test_\w+)`", text)


def test_every_case_stands_there_once_and_in_order() -> None:
    assert [int(row[0]) for row in ROWS] == list(range(1, CASES + 1))
    assert {len(row) for row in ROWS} == {4}


def test_every_test_that_is_named_exists() -> None:
    missing = [
        f"{file}::{test}"
        for file, test in named(PAGE)
        if not (HERE / "tests" / file).is_file() or test not in functions_of(HERE / "tests" / file)
    ]
    assert missing == []


def test_every_case_is_shown_or_says_why_it_cannot_be() -> None:
    for number, _, _, shown in ROWS:
        assert named(shown) or NOT_HERE in shown, f"case {number}"
