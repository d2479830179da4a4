"""Every key has a name and a sentence, and none is taken twice on one screen."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import pytest
from textual.binding import Binding
from textual.dom import DOMNode

import tui_lora.ui
from tui_lora.ui.app import TuiLora
from tui_lora.ui.keymap import PLACES
from tui_lora.ui.page import Page


def owners() -> Iterator[type[DOMNode]]:
    for module in pkgutil.walk_packages(tui_lora.ui.__path__, "tui_lora.ui."):
        for value in vars(importlib.import_module(module.name)).values():
            if (
                isinstance(value, type)
                and issubclass(value, DOMNode)
                and value.__module__.startswith("tui_lora.ui")
                and value.__dict__.get("BINDINGS")
            ):
                yield value


OWNERS = sorted(set(owners()), key=lambda owner: owner.__name__)


@pytest.mark.parametrize("owner", OWNERS, ids=lambda owner: owner.__name__)
def test_every_binding_has_an_id_and_a_tooltip(owner: type[DOMNode]) -> None:
    for binding in owner.__dict__["BINDINGS"]:
        assert isinstance(binding, Binding)
        area, _, verb = (binding.id or "").partition(".")
        assert area, binding
        assert verb.replace("_", "").isalpha(), binding
        assert binding.tooltip, binding


def test_ids_are_unique() -> None:
    ids = [binding.id for owner in OWNERS for binding in owner.__dict__["BINDINGS"]]
    assert len(ids) == len(set(ids))


def test_no_screen_takes_a_key_of_the_app() -> None:
    taken = {key for binding in TuiLora.BINDINGS for key in binding.key.split(",")}
    taken |= {"ctrl+p", *"1234567"}
    for owner in OWNERS:
        if issubclass(owner, Page):
            own = {key for binding in owner.__dict__["BINDINGS"] for key in binding.key.split(",")}
            assert not own & taken, owner


def test_every_screen_that_is_listed_loads() -> None:
    assert [place.key for place in PLACES] == sorted(place.key for place in PLACES)
    for place in PLACES:
        page = place.load()
        assert place.title == page.TITLE_WORD
        assert page.HELP
        assert place.about
