"""The verb of the command line that talks to adapters; `cli.py` is the front door."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer, root: Callable[[], Path]) -> None:
    """Give `app` the verb; `root` tells the sessions folder once it is called."""

    @app.command()
    def chat(
        targets: Annotated[
            list[str],
            typer.Argument(
                metavar="TARGET...",
                help="Who answers: a session, SESSION@STEP for a checkpoint of it, a folder with "
                "an adapter or a model, an adapter or a model of the Hub. Several on one base "
                "answer side by side; base is the base alone.",
            ),
        ],
        prompt: Annotated[
            str | None, typer.Option(metavar="TEXT", help="Ask this once and leave.")
        ] = None,
        prompt_file: Annotated[
            str | None,
            typer.Option(
                metavar="FILE",
                help="Ask every line of it and leave; of a .jsonl file each prompt or messages.",
            ),
        ] = None,
        system: Annotated[str | None, typer.Option(metavar="TEXT", help="System prompt.")] = None,
        plain: Annotated[
            bool, typer.Option("--plain", help="No template: go on from the text itself.")
        ] = False,
        strength: Annotated[
            float,
            typer.Option(
                min=0.0, max=1.5, help="How much of what the adapter adds: 0 is the base."
            ),
        ] = 1.0,
        max_tokens: Annotated[int, typer.Option(min=1, max=32768, help="Longest answer.")] = 256,
        temperature: Annotated[float, typer.Option(min=0.0, max=5.0, help="0 is greedy.")] = 0.0,
        top_p: Annotated[
            float,
            typer.Option(min=0.001, max=1.0, help="Draw from the likeliest with this chance."),
        ] = 1.0,
        top_k: Annotated[
            int, typer.Option(min=0, max=100_000, help="Draw from so many; 0 is all.")
        ] = 0,
        min_p: Annotated[
            float,
            typer.Option(min=0.0, max=1.0, help="Leave out what is less likely, against the best."),
        ] = 0.0,
        repetition_penalty: Annotated[
            float, typer.Option(min=0.01, max=5.0, help="Above 1: fewer words again.")
        ] = 1.0,
        stop: Annotated[
            list[str] | None,
            typer.Option(
                metavar="TEXT", help="End an answer here; \\n is a new line. May be repeated."
            ),
        ] = None,
        seed: Annotated[
            int, typer.Option(min=0, max=2**31 - 1, help="The same seed draws the same.")
        ] = 7,
        devices: Annotated[
            str | None, typer.Option(metavar="auto|cpu|N", help="Where it is loaded.")
        ] = None,
        quantization: Annotated[
            str | None,
            typer.Option(
                metavar="none|int8|nf4|fp4", help="How the base is stored, unlike the run."
            ),
        ] = None,
        dtype: Annotated[
            str | None,
            typer.Option(
                metavar="auto|float32|bfloat16|float16",
                help="The base's precision, unlike the run.",
            ),
        ] = None,
        base: Annotated[
            str | None,
            typer.Option(metavar="MODEL", help="In place of the base that an adapter names."),
        ] = None,
        force: Annotated[
            bool, typer.Option("--force", help="Also where it would not fit, or nobody knows.")
        ] = False,
        as_json: Annotated[
            bool, typer.Option("--json", help="Print JSON for programs, a line an answer.")
        ] = False,
    ) -> None:
        """Talk to an adapter, or to several side by side. Ctrl-C stops an answer, twice leaves."""
        from tui_lora.core.sampling import Sampling
        from tui_lora.headless import talk
        from tui_lora.headless.chat_targets import Storage

        sampling = Sampling(
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
            max_new_tokens=max_tokens,
            seed=seed,
            stop=tuple(text.replace("\\n", "\n").replace("\\t", "\t") for text in stop or []),
        )
        raise typer.Exit(
            talk.chat(
                root(),
                targets,
                prompt=prompt,
                prompt_file=prompt_file,
                system=system,
                manner=talk.Manner(sampling, strength, plain, as_json),
                storage=Storage(devices, quantization, dtype, base),
                force=force,
            )
        )
