"""The verbs of the command line that steer a run; `cli.py` is the front door."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

Session = Annotated[str, typer.Argument(metavar="SESSION", help="Name of a session.")]
Accept = Annotated[
    bool,
    typer.Option(
        "--accept-changes",
        help="Go on though rows, libraries, settings or the device are not as they were.",
    ),
]
KillAfter = Annotated[
    float | None,
    typer.Option(
        "--kill-after",
        metavar="SECONDS",
        min=0,
        help="Not gone by then: SIGTERM, and as much later SIGKILL.",
    ),
]
Detach = Annotated[bool, typer.Option("--detach", help="Start the worker and return.")]


def add_to(app: typer.Typer, root: Callable[[], Path]) -> None:
    """Give `app` these verbs; `root` tells the sessions folder once a verb is called."""

    @app.command()
    def pause(session: Session, kill_after: KillAfter = None) -> None:
        """Save a checkpoint, end the worker and free its card; `resume` goes on from there.

        Ctrl-C leaves the order standing.
        """
        from tui_lora.headless import control

        raise typer.Exit(control.pause(root(), session, kill_after=kill_after))

    @app.command()
    def resume(
        session: Session,
        set_: Annotated[
            list[str] | None,
            typer.Option("--set", metavar="training.micro_batch=1", help="Change a setting."),
        ] = None,
        accept: Accept = False,
        anew: Annotated[
            bool,
            typer.Option(
                "--begin-anew", help="Where none of its checkpoints is whole: from its first step."
            ),
        ] = False,
        detach: Detach = False,
    ) -> None:
        """Go on from the last checkpoint, and follow; the same as `train SESSION`."""
        from tui_lora.headless import verbs

        raise typer.Exit(
            verbs.resume(
                root(), session, changes=set_ or [], detach=detach, accept=accept, anew=anew
            )
        )

    @app.command()
    def hold(session: Session) -> None:
        """Finish the step and wait with everything loaded; `go-on` trains on at once."""
        from tui_lora.headless import control

        raise typer.Exit(control.hold(root(), session))

    @app.command("go-on")
    def go_on(session: Session) -> None:
        """Train on after a hold."""
        from tui_lora.headless import control

        raise typer.Exit(control.go_on(root(), session))

    @app.command()
    def checkpoint(session: Session) -> None:
        """Save a checkpoint at the end of this step and go on."""
        from tui_lora.headless import control

        raise typer.Exit(control.checkpoint(root(), session))

    @app.command()
    def stop(
        session: Session,
        discard: Annotated[
            bool,
            typer.Option("--discard", help="End at once and save nothing; asks, or needs --yes."),
        ] = False,
        yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
        kill_after: KillAfter = None,
    ) -> None:
        """Finish the step, save, and end the run; `resume` goes on from there.

        Ctrl-C leaves the order standing.
        """
        from tui_lora.headless import control

        raise typer.Exit(
            control.stop(root(), session, discard=discard, yes=yes, kill_after=kill_after)
        )

    @app.command()
    def extend(
        session: Session,
        epochs: Annotated[
            float | None, typer.Option(metavar="5", help="Passes over the rows in all.")
        ] = None,
        max_steps: Annotated[
            int | None, typer.Option("--max-steps", metavar="900", help="Steps in all.")
        ] = None,
        detach: Detach = False,
    ) -> None:
        """Make a run longer, while it runs or after it has ended; shows what the rate does then."""
        from tui_lora.headless import control

        raise typer.Exit(
            control.extend(root(), session, epochs=epochs, max_steps=max_steps, detach=detach)
        )
