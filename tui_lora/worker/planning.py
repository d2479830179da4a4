"""What a run's adapter will be, known before any weights are loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tui_lora.core.spec import RunSpec
from tui_lora.worker.model import load_config
from tui_lora.worker.quantization import experts_notice, own_scheme, problems_of
from tui_lora.worker.skeleton import skeleton
from tui_lora.worker.started import start_folder
from tui_lora.worker.targets import Plan, planned, raise_all


def plan_of(spec: RunSpec, resumed: Path | None = None) -> Plan:
    """The adapter of `spec` on its model; `resumed` is the checkpoint of a run that goes on.

    Raises UserError with what is wrong with the model, the adapter, or the two together.
    """
    config = load_config(spec.model)
    bare = skeleton(config, spec.task)
    raise_all(problems_of(spec, config, bare))
    crowded = experts_notice(own_scheme(config, spec.model) or spec.quantization.scheme, bare)
    start = None
    if spec.lora.start_from is not None:
        # A run that goes on has it in its checkpoint by now.
        start = resumed or start_folder(spec.lora.start_from)
    plan = planned(spec.lora, bare, task=spec.task, start=start)
    return replace(plan, notices=(crowded, *plan.notices)) if crowded else plan
