"""The verb of the command line that takes adapters away; `cli.py` is the front door."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer, root: Callable[[], Path]) -> None:
    """Give `app` the verb; `root` tells the sessions folder once it is called."""

    @app.command()
    def export(
        what: Annotated[
            str,
            typer.Argument(metavar="SESSION|ADAPTER", help="A session, or an adapter's folder."),
        ],
        to: Annotated[
            str,
            typer.Option(metavar="merged", help="merged: a whole model that needs no peft."),
        ],
        checkpoint: Annotated[
            int | None,
            typer.Option(min=0, metavar="STEP", help="A checkpoint in place of the adapter."),
        ] = None,
        out: Annotated[
            str | None,
            typer.Option(metavar="FOLDER", help="Where; else the session's exports/merged-STEP."),
        ] = None,
        dtype: Annotated[
            str,
            typer.Option(
                metavar="auto|bfloat16|float16|float32", help="auto: as the base's files have it."
            ),
        ] = "auto",
        devices: Annotated[
            str | None,
            typer.Option(metavar="auto|cpu|N", help="Where the result is loaded to verify it."),
        ] = None,
        base: Annotated[
            str | None,
            typer.Option(metavar="MODEL", help="In place of the base that an adapter names."),
        ] = None,
        force: Annotated[
            bool, typer.Option("--force", help="Replace a merged model that is there.")
        ] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    ) -> None:
        """Merge an adapter into its base and verify the result. Ctrl-C leaves nothing behind."""
        from tui_lora.headless.export import Wanted
        from tui_lora.headless.export import export as make

        wanted = Wanted(to, checkpoint, out, dtype, devices, base, force)
        raise typer.Exit(make(root(), what, wanted, as_json=as_json))
