"""Who trains on a card now, as far as the sessions here tell."""

from __future__ import annotations

from pathlib import Path

from tui_lora.core.errors import UserError
from tui_lora.store.sessions import running
from tui_lora.store.spec_now import spec_now


def training_on_cards(root: Path) -> tuple[str, ...]:
    """The names of the sessions in `root` whose workers live, but for those on the CPU."""
    found = []
    for paths in running(root):
        try:
            on_card = spec_now(paths).hardware.devices != "cpu"
        except UserError:
            on_card = True
        if on_card:
            found.append(paths.name)
    return tuple(found)
