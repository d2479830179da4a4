"""Where everything of ours lives on disk, each name in one place."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from tui_lora.core.errors import UserError
from tui_lora.core.text import clean

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True)
class SessionPaths:
    """The files of one session. Each but orders and notes has one writer."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def spec(self) -> Path:
        return self.folder / "run.yaml"

    @property
    def resolved(self) -> Path:
        return self.folder / "resolved.yaml"

    @property
    def events(self) -> Path:
        return self.folder / "events.jsonl"

    @property
    def orders(self) -> Path:
        return self.folder / "orders.jsonl"

    @property
    def notes(self) -> Path:
        """What people add: pins; one JSON object a line, appended by any viewer."""
        return self.folder / "notes.jsonl"

    @property
    def parent(self) -> Path:
        """Of a branch: the checkpoint that it was made from."""
        return self.folder / "parent.json"

    @property
    def result(self) -> Path:
        return self.folder / "result.json"

    @property
    def lock(self) -> Path:
        return self.folder / "worker.lock"

    @property
    def worker(self) -> Path:
        return self.folder / "worker.json"

    @property
    def log(self) -> Path:
        return self.folder / "worker.log"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def adapter(self) -> Path:
        return self.folder / "adapter"

    @property
    def reference(self) -> Path:
        """The adapter that a preference run started from, which it is measured against."""
        return self.folder / "reference"

    @property
    def start(self) -> Path:
        """Of a branch that begins anew: the adapter of its parent that it starts from."""
        return self.folder / "start"

    @property
    def left_out(self) -> Path:
        """Rows that were not trained on, each with what is wrong with it: JSON, one a line."""
        return self.folder / "left-out.jsonl"

    @property
    def evaluations(self) -> Path:
        return self.folder / "evaluations"

    @property
    def chats(self) -> Path:
        return self.folder / "chats"

    @property
    def corrections(self) -> Path:
        """What should have been answered: rows to be trained on, appended by any viewer."""
        return self.folder / "corrections.jsonl"


def is_name(name: str) -> bool:
    """Whether a session may be called so."""
    return _NAME.fullmatch(name) is not None and name[0] not in ".-"


def stays_in(root: Path, path: Path) -> bool:
    """Whether `path`, which stands in `root`, is there itself, or a link to something in it."""
    return not path.is_symlink() or path.resolve().is_relative_to(root.resolve())


def check_name(name: str) -> str:
    """`name` if a session may be called so; raises UserError. Keeps a session inside its root."""
    if not is_name(name):
        raise UserError(
            f"{clean(name, max_chars=80)!r} cannot name a session.",
            then="Use 1 to 64 of the letters A-Z a-z, digits, dot, dash and underscore; "
            "not a dot or dash first.",
        )
    return name


def sessions_root(given: str | None = None) -> Path:
    """The folder of all sessions: given, $TUI_LORA_SESSIONS, ./sessions in a checkout, user's."""
    chosen = given or os.environ.get("TUI_LORA_SESSIONS")
    if chosen:
        return Path(chosen).expanduser().absolute()
    here = Path.cwd()
    if (here / "sessions" / "README.md").is_file() and (here / "tui_lora").is_dir():
        return here / "sessions"
    import platformdirs

    return Path(platformdirs.user_data_dir("tui_lora")) / "sessions"


def cache_folder() -> Path:
    """Where converted models are kept; it can be deleted at any time."""
    import platformdirs

    return expanded(os.environ.get("TUI_LORA_CACHE") or platformdirs.user_cache_dir("tui_lora"))


def config_folder() -> Path:
    """Where the user's own themes and preferences live."""
    import platformdirs

    return expanded(os.environ.get("TUI_LORA_CONFIG") or platformdirs.user_config_dir("tui_lora"))


def memory_table() -> Path:
    """What runs on this machine's cards took, one line each; it belongs to the user, not to any
    sessions."""
    return user_folder() / "memory.jsonl"


def user_folder() -> Path:
    """What belongs to the user and to no session: conversations with models alone, corrections."""
    import platformdirs

    return expanded(os.environ.get("TUI_LORA_DATA") or platformdirs.user_data_dir("tui_lora"))


def user_chats() -> Path:
    """Conversations in which no session took part."""
    return user_folder() / "chats"


def data_folder() -> Path:
    """What we ship: presets, themes, the quickstart dataset, the recorded session."""
    return Path(__file__).parent.parent / "_data"


def themes_folder() -> Path:
    """The shipped themes (a link to themes/ in a checkout)."""
    return data_folder() / "themes"


def example_session() -> Path:
    """The recorded session that we ship (a link to sessions/example in a checkout)."""
    return data_folder() / "sessions" / "example"


DEMO_MODEL = "smollm2-135m-instruct"
"""The name by which specs mean the small model that `make demo` fetches once."""


def model_place(model_id: str) -> str:
    """What `from_pretrained` is given for a spec's model id: a folder or file, or a Hub id."""
    if model_id == DEMO_MODEL:
        return str((cache_folder() / "models" / DEMO_MODEL).absolute())
    path = expanded(model_id)
    return str(path.absolute()) if is_there(path) else model_id


def hub_cache_folder() -> Path:
    """Where huggingface_hub keeps what it fetched. Read anew each time: tests and users move it."""
    given = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if given:
        return expanded(given)
    home = os.environ.get("HF_HOME") or str(
        Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    )
    return expanded(home) / "hub"


def expanded(text: str) -> Path:
    """A path as typed, `~` included; never raises (`~nobody` stays as it is)."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def is_there(path: Path) -> bool:
    """Whether something stands at `path`; a name that no disk takes (4000 letters) is not there."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
