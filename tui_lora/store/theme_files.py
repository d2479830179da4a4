"""Themes on disk: those that we ship and the user's own, which win under the same name."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from tui_lora.core.text import one_line
from tui_lora.core.themes import DARK, ThemeSpec, parse_theme
from tui_lora.store.paths import config_folder, themes_folder

_MAX_BYTES = 1 << 16
FALLBACK = ThemeSpec("forge", "warm light on dark iron", True, DARK)


@dataclass(frozen=True)
class Themes:
    """Every theme that could be read, and a sentence for each file that could not."""

    specs: dict[str, ThemeSpec]
    problems: tuple[str, ...]

    def named(self, name: str) -> ThemeSpec:
        """The theme called `name`, else our own."""
        return self.specs.get(name) or self.specs[FALLBACK.name]


def read_themes() -> Themes:
    """Reads all theme files; never raises, and there is always our own."""
    specs = {FALLBACK.name: FALLBACK}
    problems: list[str] = []
    for folder in (themes_folder(), config_folder() / "themes"):
        for path in _theme_files(folder):
            spec, wrong = read_theme(path)
            if spec is not None:
                specs[spec.name] = spec
            problems.extend(f"{one_line(str(path))}: {sentence}" for sentence in wrong)
    return Themes(specs, tuple(problems))


def read_theme(path: Path) -> tuple[ThemeSpec | None, tuple[str, ...]]:
    """The theme in one file, or None and what is wrong with it."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            return None, ("this is too large for a theme (over 64 kB).",)
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        return None, (f"cannot be read: {error.strerror}.",)
    except UnicodeDecodeError:
        return None, ("this file is not UTF-8 text.",)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return None, (f"this is no TOML: {one_line(str(error))}.",)
    spec, problems = parse_theme(data)
    return spec, tuple(one_line(problem) for problem in problems)


def _theme_files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".toml")
    except OSError:
        return []
