"""The verb of the command line that tells whether a run fits a card: `fit`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer, root: Callable[[], Path]) -> None:
    """Give `app` the verb; `root` tells the sessions folder once it is called."""

    @app.command()
    def fit(
        what: Annotated[
            str | None,
            typer.Argument(metavar="[SPEC.yaml|SESSION]", help="A run spec or a session."),
        ] = None,
        preset: Annotated[str | None, typer.Option(metavar="P", help="Ask about a preset.")] = None,
        set_: Annotated[
            list[str] | None,
            typer.Option("--set", metavar="lora.r=16", help="Change a setting; may be repeated."),
        ] = None,
        card: Annotated[
            str | None,
            typer.Option(
                metavar="16GiB|T4", help="A card by size or name; else the one that is here."
            ),
        ] = None,
        check: Annotated[
            bool,
            typer.Option(
                "--check", help="Measure it here: two steps and an evaluation on your longest rows."
            ),
        ] = False,
        history: Annotated[
            bool,
            typer.Option(
                "--history", help="What runs on this machine took, beside the predictions."
            ),
        ] = False,
        more: Annotated[
            bool,
            typer.Option(
                "--more", help="Also what else fits: longer rows, other ranks, other ways to train."
            ),
        ] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    ) -> None:
        """Will it fit: the memory that a run takes at its peak, part by part."""
        if history:
            from tui_lora.headless.fit_history import history as show

            raise typer.Exit(show(json_wanted=as_json))
        if check:
            from tui_lora.headless.fit_check import fit_check

            raise typer.Exit(
                fit_check(
                    root(),
                    what=what,
                    preset=preset,
                    changes=set_ or [],
                    card=card,
                    json_wanted=as_json,
                )
            )
        from tui_lora.headless.fit import fit as ask

        raise typer.Exit(
            ask(
                root(),
                what=what,
                preset=preset,
                changes=set_ or [],
                card=card,
                more=more,
                json_wanted=as_json,
            )
        )
