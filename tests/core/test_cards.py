"""Cards by name and by size: what is one, and what is refused instead of being taken for one."""

from __future__ import annotations

import pytest

from tui_lora.core.cards import capability_of, card_called


@pytest.mark.parametrize(
    ("text", "total_gib"),
    [
        ("16GiB", 16.0),
        ("24", 24.0),
        ("11.5 gb", 11.5),
        ("480GB", 480.0),
        ("T4", 15.0),
        ("NVIDIA GeForce RTX 4090", 24.0),
        ("4060 ti 16gb", 16.0),
    ],
)
def test_a_card_is_a_name_or_a_size(text: str, total_gib: float) -> None:
    assert card_called(text).total_gib == total_gib


@pytest.mark.parametrize("text", ["1080", "1050", "1660", "512", "9999"])
def test_a_bare_number_may_be_a_cards_name_that_is_not_known(text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}' names no card; give a size such as 16GiB"):
        card_called(text)


@pytest.mark.parametrize("text", ["NVIDIA GeForce RTX 4090 Laptop GPU", "rtx 4070 laptop"])
def test_a_laptops_card_is_not_its_namesake(text: str) -> None:
    with pytest.raises(ValueError, match="less memory than the card of the same name"):
        card_called(text)
    assert capability_of(text) == (8, 9)


def test_a_size_tells_no_capability() -> None:
    assert capability_of("16GiB") is None
    assert capability_of("Quadro M2000") is None
