"""Make the pictures of docs/ from the real app, on the recorded session.

python scripts/pictures.py
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
WIDTH, HEIGHT = 120, 36


async def train_screen() -> str:
    """The Train screen of the example session, as SVG."""
    from tui_lora.ui.app import TuiLora

    app = TuiLora(HERE / "sessions", session=_example(), start="train")
    async with app.run_test(size=(WIDTH, HEIGHT)) as pilot:
        for _ in range(40):
            await pilot.pause(0.1)
            if app.run_now is not None and app.run_now.whole:
                break
        await pilot.pause(1.0)
        return app.export_screenshot(title="tui-lora")


def _example():  # type: ignore[no-untyped-def]
    from tui_lora.store.sessions import find

    return find(HERE / "sessions", "example")


def main() -> None:
    with tempfile.TemporaryDirectory() as config:
        os.environ["TUI_LORA_CONFIG"] = config
        from tui_lora.ui.terminal import prepare_environment

        prepare_environment()
        picture = asyncio.run(train_screen())
    target = HERE / "docs" / "train.svg"
    target.parent.mkdir(exist_ok=True)
    target.write_text(picture, encoding="utf-8")
    print(f"{target.relative_to(HERE)}  {len(picture):,} bytes")


if __name__ == "__main__":
    main()
