"""The verb of the command line that asks a run while it trains; `cli.py` is the front door."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from tui_lora.cli_control import Session


def add_to(app: typer.Typer, root: Callable[[], Path]) -> None:
    """Give `app` the verb; `root` tells the sessions folder once it is called."""

    @app.command()
    def peek(
        session: Session,
        prompt: Annotated[
            str | None,
            typer.Option(
                metavar="TEXT", help="Ask this now; answered at the end of the step it is in."
            ),
        ] = None,
        system: Annotated[str, typer.Option(metavar="TEXT", help="System prompt.")] = "",
        as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    ) -> None:
        """What the model says while it trains, step by step, beside the base; or ask it now."""
        from tui_lora.headless import peek as verb

        raise typer.Exit(verb.peek(root(), session, prompt=prompt, system=system, as_json=as_json))
