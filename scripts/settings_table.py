"""Write the README's table of settings from the spec itself.

python scripts/settings_table.py          print it
python scripts/settings_table.py --write  put it between the marks in README.md
"""

import sys
from pathlib import Path

from tui_lora.core.fields import SECTION_TITLES, settings, show

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- settings: begin -->", "<!-- settings: end -->"


def table() -> str:
    lines = ["| setting | default | range | what it does |", "| --- | --- | --- | --- |"]
    section = ""
    for setting in settings():
        if setting.section != section:
            section = setting.section
            lines.append(f"| **{SECTION_TITLES[section]}** | | | |")
        default = "needed" if setting.default is ... else show(setting.default) or "empty"
        unit = f" {setting.unit}" if setting.unit and default not in ("needed", "empty") else ""
        lines.append(
            f"| `{setting.path}` | {default}{unit} | {setting.range_text} | {setting.help} |"
        )
    return "\n".join(lines)


def with_table(text: str) -> str:
    """`text` with the table between the marks replaced. Raises ValueError without marks."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    if "--write" in sys.argv:
        README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(table())
