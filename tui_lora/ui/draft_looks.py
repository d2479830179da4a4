"""What is found out about the draft as it changes: of its model, and of the memory it takes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tui_lora.store.preferences import read_preferences
from tui_lora.ui.inspector import Answered, Inspector, InspectorChanged
from tui_lora.ui.memory_looks import Looking, MemoryLooks
from tui_lora.ui.model_looks import ModelLooks
from tui_lora.ui.model_sizes import SizesRead

if TYPE_CHECKING:
    from tui_lora.ui.app import TuiLora
    from tui_lora.ui.state import Draft


class DraftLooks:
    """Keeps the app's `model_seen` and `memory_seen` up to date, by the one inspect worker."""

    def __init__(self, app: TuiLora, inspector: Inspector) -> None:
        inspector.answer_to(app.post_message, "model", "memory")
        self._model = ModelLooks(
            inspector, app.root, partial(setattr, app, "model_seen"), app.set_timer
        )
        looking = Looking(
            "memory",
            inspector,
            app.root,
            partial(setattr, app, "memory_seen"),
            app.set_timer,
            partial(app.run_worker, thread=True, exit_on_error=False, group="sizes"),
            app.post_message,
        )
        self.memory = MemoryLooks(looking, remembered=read_preferences().card)

    def begin(self, draft: Draft) -> None:
        """A screen shows them from now on."""
        self._model.begin(draft)
        self.memory.begin(draft)

    def follow(self, draft: Draft) -> None:
        self._model.follow(draft)
        self.memory.follow(draft)

    def hear(self, fact: Answered | InspectorChanged | SizesRead) -> None:
        if not isinstance(fact, SizesRead):
            self._model.hear(fact)
        self.memory.hear(fact)
