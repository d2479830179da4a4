"""What no forecast of memory counts, simulated or by the formula, in words."""

from __future__ import annotations

from tui_lora.core.spec import RunSpec


def uncounted(spec: RunSpec) -> list[str]:
    """Each with when it is there: none of it at the peak of a usual adapter's run."""
    found = []
    if spec.training.optimizer == "adamw_torch":
        found.append(
            "not counted: the copy of all that is trained that adamw_torch takes within its step, "
            "when activations are gone (adamw_torch_fused takes none)"
        )
    if spec.training.neftune > 0:
        found.append(
            "not counted: NEFTune's noise on the embeddings, which is gone before the peak"
        )
    return found
