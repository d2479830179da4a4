"""How attention is computed: chosen from what the card, the model and the packages can do, before
any weights are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers.utils import is_flash_attn_2_available, is_flash_attn_3_available

from tui_lora.core.errors import UserError
from tui_lora.core.events import Choice
from tui_lora.store.packages import ATTENTION, install_line
from tui_lora.worker import hub_kernels

KERNEL = "kernels-community/flash-attn2"
"""Flash attention 2 as the `kernels` package fetches it from the Hub, built for many torches."""

_FLASH = {"flash_attention_2", "flash_attention_3", KERNEL}
_16_BIT = (torch.float16, torch.bfloat16)
_WIDEST_HEAD = 256
_NAMES = {
    "flash_attention_2": "flash attention 2",
    "flash_attention_3": "flash attention 3",
    "kernels": "flash attention",
}


@dataclass(frozen=True)
class Facts:
    """What the choice goes by. `capability` is the card's (9, 0 for sm90), None without a card;
    `installed` are the settings of `model.attention` whose package can be imported.

    `flash` and `sdpa`: the model's class has it. `head_dim`: numbers in the widest head.
    """

    dtype: torch.dtype
    capability: tuple[int, int] | None
    installed: frozenset[str]
    flash: bool
    sdpa: bool
    head_dim: int = 0


@dataclass(frozen=True)
class Attention:
    """`implementation` is what transformers calls it, `reason` why it was chosen."""

    implementation: str
    reason: str

    @property
    def is_flash(self) -> bool:
        """Whether rows in one sequence stay apart without a mask."""
        return self.implementation in _FLASH

    @property
    def choice(self) -> Choice:
        return Choice(setting="model.attention", value=self.implementation, reason=self.reason)


def facts_of(bare: Any, device: str, dtype: torch.dtype) -> Facts:
    """The facts for the model whose skeleton is `bare`, on `device` (`cpu` or `cuda:0`)."""
    found = {
        "flash_attention_2": is_flash_attn_2_available,
        "flash_attention_3": is_flash_attn_3_available,
        "kernels": hub_kernels.is_there,
    }
    return Facts(
        dtype=dtype,
        capability=None if device == "cpu" else torch.cuda.get_device_capability(0),
        installed=frozenset(name for name, is_there in found.items() if is_there()),
        # Where a class lists what it goes with, transformers would fetch that instead.
        flash=bare._supports_flash_attn and bare._compatible_flash_implementations is None,
        sdpa=bare._supports_sdpa,
        head_dim=_head_dim(bare.config.get_text_config()),
    )


def choose_attention(wanted: str, facts: Facts) -> Attention:
    """What `model.attention` becomes. Raises UserError for a wish that cannot be met.

    auto never fetches anything: `kernels` is taken only when it is asked for.
    """
    if wanted in ATTENTION:
        why = _why_not(wanted, facts)
        if why:
            raise UserError(
                f"{_NAMES[wanted]} cannot be used: {why}.",
                where="model.attention",
                then=_instead(wanted, facts),
            )
        return Attention(KERNEL if wanted == "kernels" else wanted, "as you said")
    if wanted == "sdpa" and not facts.sdpa:
        raise UserError(
            "transformers has no sdpa for this kind of model.",
            where="model.attention",
            then="Set it to auto.",
        )
    if wanted != "auto":
        return Attention(wanted, "as you said")
    for name in ("flash_attention_3", "flash_attention_2"):
        if not _why_not(name, facts):
            return Attention(name, "the fastest that is installed and that this card takes")
    why = _why_not("flash_attention_2", facts)
    if facts.sdpa:
        return Attention("sdpa", f"PyTorch's fused kernels; no flash attention, since {why}")
    return Attention("eager", f"transformers has no sdpa for this kind of model, and {why}")


def _why_not(wanted: str, facts: Facts) -> str:
    """Why a flash attention cannot be used here, the reason least easily mended first; empty when
    it can."""
    if facts.capability is None:
        return "there is no CUDA card"
    if not facts.flash:
        return "transformers has no flash attention for this kind of model"
    major, minor = facts.capability
    if wanted == "flash_attention_3" and major != 9:
        return f"it is made for Hopper cards (sm90), and this one is sm{major}{minor}"
    if major < 8:
        return f"it needs a card from sm80 (Ampere) on, and this one is sm{major}{minor}"
    if facts.head_dim > _WIDEST_HEAD:
        return f"it takes heads of {_WIDEST_HEAD} numbers at most, and these have {facts.head_dim}"
    if facts.dtype not in _16_BIT:
        return f"it computes in 16 bits, and the model is {str(facts.dtype).removeprefix('torch.')}"
    if wanted not in facts.installed:
        return f"{ATTENTION[wanted][0]} is not installed"
    return ""


def _instead(wanted: str, facts: Facts) -> str:
    """What to do about a refusal."""
    if _why_not(wanted, facts).endswith("is not installed"):
        return f"{install_line(ATTENTION[wanted][0])}, or set it to auto."
    return "Set it to auto."


def _head_dim(config: Any) -> int:
    given = [getattr(config, name, None) for name in ("head_dim", "global_head_dim", "qk_head_dim")]
    heads, width = (getattr(config, n, None) for n in ("num_attention_heads", "hidden_size"))
    if not any(given) and heads and width:
        given.append(width // heads)
    return max((value for value in given if isinstance(value, int)), default=0)
