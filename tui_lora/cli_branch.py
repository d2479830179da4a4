"""The verb of the command line that branches a session; `cli.py` is the front door."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from tui_lora.cli_control import Detach, Session


def add_to(app: typer.Typer, root: Callable[[], Path]) -> None:
    """Give `app` the verb; `root` tells the sessions folder once it is called."""

    @app.command()
    def branch(
        session: Session,
        name: Annotated[str, typer.Option(metavar="NEW", help="Name of the new session.")],
        at: Annotated[
            int | None,
            typer.Option(metavar="STEP", help="Which checkpoint; else the newest whole one."),
        ] = None,
        set_: Annotated[
            list[str] | None,
            typer.Option("--set", metavar="lora.dropout=0", help="Change a setting."),
        ] = None,
        detach: Detach = False,
    ) -> None:
        """Begin a new session from a checkpoint of another, with other settings, and follow it."""
        from tui_lora.headless import branch as verb

        raise typer.Exit(
            verb.branch(root(), session, name=name, at=at, changes=set_ or [], detach=detach)
        )
