"""The verb of the command line that measures an adapter; `cli.py` is the front door."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from tui_lora.cli_control import Session


def add_to(app: typer.Typer, root: Callable[[], Path]) -> None:
    """Give `app` the verb; `root` tells the sessions folder once it is called."""

    @app.command("eval")
    def evaluate(
        session: Session,
        checkpoint: Annotated[
            int | None,
            typer.Option(metavar="STEP", help="Its checkpoint at this step; else its adapter."),
        ] = None,
        metric: Annotated[
            list[str] | None,
            typer.Option(
                metavar="M",
                help="gsm8k, exact_match, f1, rouge_l, json[:KEY,KEY], regex:PATTERN, "
                "FILE.py:FUNCTION or none; may be repeated. Else what suits the rows.",
            ),
        ] = None,
        part: Annotated[
            list[str] | None,
            typer.Option(
                metavar="P", help="eval, train, general or none; may be repeated. Else all."
            ),
        ] = None,
        rows: Annotated[
            int | None,
            typer.Option(min=1, metavar="N", help="At most so many rows of each part, drawn."),
        ] = None,
        data: Annotated[
            str | None,
            typer.Option(metavar="FILE", help="Measure these rows in place of the held-out ones."),
        ] = None,
        max_tokens: Annotated[int, typer.Option(min=1, max=32768, help="Longest answer.")] = 256,
        batch: Annotated[
            int | None, typer.Option(min=1, metavar="N", help="Rows at once; else what is safe.")
        ] = None,
        seed: Annotated[int, typer.Option(help="Draws rows and intervals.")] = 0,
        devices: Annotated[
            str | None, typer.Option(metavar="auto|cpu|N", help="Where it is loaded.")
        ] = None,
        quantization: Annotated[
            str | None,
            typer.Option(
                metavar="none|int8|nf4|fp4", help="How the base is stored, unlike the run."
            ),
        ] = None,
        anew: Annotated[
            bool, typer.Option("--anew", help="Do not go on with what was cancelled.")
        ] = False,
        force: Annotated[
            bool, typer.Option("--force", help="Also where it would not fit, or nobody knows.")
        ] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    ) -> None:
        """Measure an adapter against its base: perplexity, task metrics, what it forgot.

        Ctrl-C keeps what was measured; the same command goes on from there.
        """
        from tui_lora.headless import evaluate as verb
        from tui_lora.store.evaluation_order import Wanted, parts_named

        wanted = Wanted(
            checkpoint=checkpoint,
            parts=parts_named(part),
            metrics=tuple(metric) if metric else None,
            rows=rows,
            data=data,
            max_tokens=max_tokens,
            batch=batch,
            seed=seed,
            devices=devices,
            quantization=quantization,
            anew=anew,
        )
        raise typer.Exit(verb.evaluate(root(), session, wanted, as_json=as_json, force=force))
