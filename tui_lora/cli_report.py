"""The verbs of the command line that tell of a session: `report` and `adapter`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from tui_lora.cli_control import Session


def add_to(app: typer.Typer, root: Callable[[], Path]) -> None:
    """Give `app` the verbs; `root` tells the sessions folder once one is called."""

    @app.command()
    def report(
        session: Session,
        out: Annotated[
            str | None,
            typer.Option(metavar="FILE.md", help="Where to; else into the session's exports/."),
        ] = None,
    ) -> None:
        """Write a session down on one page of Markdown, with its curve beside it."""
        from tui_lora.headless import report as verb

        raise typer.Exit(verb.report(root(), session, out=out))

    @app.command()
    def adapter(
        what: Annotated[
            str, typer.Argument(metavar="SESSION[@STEP]|FOLDER", help="Whose adapter.")
        ],
        base: Annotated[
            bool, typer.Option("--base", help="Read the base too: ‖ΔW‖ as a share of ‖W‖.")
        ] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    ) -> None:
        """What an adapter changes: norm and rank of ΔW by layer, and whether r is right."""
        from tui_lora.headless import adapter as verb

        raise typer.Exit(verb.adapter(root(), what, base=base, as_json=as_json))
