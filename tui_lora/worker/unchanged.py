"""A run that goes on does so with what it was last at work with, or with what was accepted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tui_lora.core.changed import (
    OTHER_ROWS_BY_SETTING,
    ROWS,
    TEMPLATE,
    WHAT_ANOTHER_TEMPLATE_MEANS,
    WHAT_OTHER_ROWS_MEAN,
    ChangedSince,
    is_accepted,
)
from tui_lora.core.errors import UserError
from tui_lora.core.events import ChangesRefused
from tui_lora.core.fields import get
from tui_lora.core.spec import RunSpec
from tui_lora.store.changed_since import changed_since
from tui_lora.store.paths import SessionPaths
from tui_lora.worker.reporter import Teller
from tui_lora.worker.resolved import Earlier, template_hash


def tell_what_changed(
    paths: SessionPaths, changes: Mapping[str, Any], accepted: Collection[str], reporter: Teller
) -> None:
    """Say in the log what is otherwise than in the attempt before, and what of it was accepted.

    Looks before anything is loaded. Raises UserError for what no checkpoint survives, whoever
    started the worker.
    """
    found = changed_since(paths, changes, devices="auto")
    if any(one.how == "refuse" for one in found):
        raise ChangedSince(paths.name, found)
    for one in found:
        asked = one.how == "ask"
        said = ", accepted" if asked and is_accepted(one.what, accepted) else ""
        reporter.notice(f"changed since{said}: {one}", "warning" if asked else "info")


class Unchanged:
    """What is known only once it is loaded, compared with the attempt `before` of a session that
    goes on. Each raises UserError for what is another and was not `accepted`."""

    def __init__(
        self, name: str, before: Earlier, accepted: Collection[str], reporter: Teller
    ) -> None:
        self._name, self._before = name, before
        self._accepted, self._reporter = accepted, reporter

    def template(self, spec: RunSpec, tokenizer: Any) -> None:
        if self._before.template not in (None, template_hash(tokenizer.chat_template)):
            what = f"the chat template of {spec.model.id} is not the one that this run began with"
            self._judge(TEMPLATE, what, WHAT_ANOTHER_TEMPLATE_MEANS, "model.chat_template")

    def rows(self, spec: RunSpec, fingerprint: str) -> None:
        if self._before.rows in (None, fingerprint):
            return
        then, now = self._before.settings, spec.model_dump(mode="json")
        if any(get(then, path) != get(now, path) for path in OTHER_ROWS_BY_SETTING):
            return
        what = f"the rows of {spec.dataset.path} are not those that this run began with"
        self._judge(ROWS, what, WHAT_OTHER_ROWS_MEAN, "dataset.path")

    def _judge(self, key: str, what: str, meaning: str, where: str) -> None:
        if is_accepted(key, self._accepted):
            self._reporter.notice(f"{what}, which was accepted: {meaning}", "warning")
            return
        self._reporter.say(ChangesRefused(what=(key,)))
        raise UserError(
            f"{what}: {meaning}.",
            where=where,
            then="Put it back as it was, or go on all the same: "
            f"tui-lora resume {self._name} --accept-changes",
        )
