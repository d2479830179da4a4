"""Errors that help: what happened, where, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass

from tui_lora.core.text import clean


@dataclass(frozen=True)
class Problem:
    """One thing wrong with what was given.

    `field` is a dotted path (`lora.r`) or empty; `line` counts from 1 where a file is concerned.
    """

    message: str
    field: str = ""
    line: int | None = None
    mend: str = ""

    def __post_init__(self) -> None:
        # Keys, values and file names of others stand in all three.
        for name in ("message", "field", "mend"):
            object.__setattr__(self, name, clean(getattr(self, name)))

    def __str__(self) -> str:
        where = f"{self.field}: " if self.field else ""
        return f"{where}{self.message}" + (f" {self.mend}" if self.mend else "")


class UserError(Exception):
    """Something that the user can mend; the command line prints it and exits with `exit_code`.

    Exit codes: 1 the run failed, 2 bad input, 3 out of memory.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", then: str = "", exit_code: int = 2) -> None:
        self.what = clean(what)
        self.where = clean(where)
        self.then = clean(then)
        self.exit_code = exit_code
        super().__init__(self.what)

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        return f"{where}{self.what}" + (f"\n  {self.then}" if self.then else "")


class ContextOverrun(UserError):
    """A conversation is longer than what a model takes."""


class SpecError(UserError):
    """A run spec that cannot be used; carries every problem found, not only the first."""

    def __init__(self, problems: tuple[Problem, ...], *, where: str = "") -> None:
        self.problems = problems
        lines = []
        for problem in problems:
            at = f"{where}:{problem.line}: " if where and problem.line else ""
            lines.append(f"{at}{problem}")
        many = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(
            f"the run spec has {many}:\n  " + "\n  ".join(lines),
            where="" if any(p.line for p in problems) else where,
            then="The README lists every setting with its range.",
        )
