"""Two training steps of the real code on fake weights, with every storage written down."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import bitsandbytes.autograd._functions as of_bitsandbytes
import torch
import trl.kernels.chunked_logprob as chunked
from peft.tuners.lora import dora
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import masking_utils
from transformers.integrations import sdpa_attention

from tui_lora.worker.memory.allocator import Event
from tui_lora.worker.memory.built import built
from tui_lora.worker.memory.loading import load
from tui_lora.worker.memory.losses import loss_of
from tui_lora.worker.memory.recipe import Recipe
from tui_lora.worker.memory.states import states_of
from tui_lora.worker.memory.storages import GoOn, Segment, Storages
from tui_lora.worker.memory.weightless import (
    give_fake_weights,
    replaced,
    unpacked,
)


@dataclass(frozen=True)
class Seen:
    """What two steps did: all allocations in order, where each segment begins, what each storage is
    for, and by layer the bytes that room is made for before the weights come."""

    events: list[Event]
    marks: list[tuple[int, Segment]]
    kinds: dict[int, str]
    room: dict[int | None, int]


def run_step(recipe: Recipe, rows: int, tokens: int, go_on: GoOn = lambda: True) -> Seen:
    """Two steps with micro-batches of `rows` x `tokens`, the second on top of what the optimizer
    keeps; where steps have several, on top of gradients too. Raises Dropped once `go_on` says no.
    """
    model = built(recipe)
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    give_fake_weights(model, fake)
    storages = Storages(
        outliers=recipe.threshold > 0, efficient=recipe.kernel == "efficient", go_on=go_on
    )
    collecting = gc.isenabled()
    gc.collect()
    # Storages go when nothing holds them, not when somebody looks.
    gc.disable()
    try:
        with fake, _as_on_a_card(recipe, storages):
            room = _two_steps(recipe, model, rows, tokens, storages)
        return Seen(list(storages.events), list(storages.marks), dict(storages.kinds), room)
    finally:
        if collecting:
            gc.enable()


def _two_steps(
    recipe: Recipe, model: Any, rows: int, tokens: int, storages: Storages
) -> dict[int | None, int]:
    layers = layers_of(model)
    adapters = adapter_tensors(recipe, model)
    parts: list[tuple[int | None, nn.Module]] = [*enumerate(layers)]
    in_layers = {id(module) for layer in layers for module in layer.modules()}
    outer = [(name, one) for name, one in model.named_modules() if id(one) not in in_layers]
    inner = [(number, list(layer.named_modules())) for number, layer in parts]
    room = load(recipe, [(None, outer), *inner], adapters, storages)
    trained: list[tuple[int | None, list[nn.Parameter]]] = [
        (number, [parameter for parameter in layer.parameters() if parameter.requires_grad])
        for number, layer in parts
    ]
    known = {id(parameter) for _, some in trained for parameter in some}
    outside = [p for p in model.parameters() if p.requires_grad and id(p) not in known]
    trained.append((None, outside))
    for _, some in trained:
        for parameter in some:
            parameter.register_post_accumulate_grad_hook(
                lambda parameter: storages.add(parameter.grad, "gradients")
            )
    states: list[torch.Tensor] = []
    for step in (1, 2):
        # transformers drops them behind the optimizer's step, not between micro-batches: the
        # second time stands for those that come on top of both.
        if step == 1 or not recipe.accumulates:
            _drop_gradients(trained, step, storages)
        passes = _Passes(layers, step, storages)
        hooks = list(passes.watch())
        storages.mark((step, "rows", None))
        with storages:
            ids = torch.randint(0, 100, (rows, tokens))
            storages.add(ids, "workspace")
            loss, answer = loss_of(recipe, model, ids, storages, passes.begin)
            passes.end()
            storages.kind = "loss"
            loss.backward()
            del loss, ids
            if not recipe.holds_output:
                del answer
        for hook in hooks:
            hook.remove()
        for number, some in trained:
            storages.mark((step, "step", number))
            if step == 1:
                states += _states(recipe.optimizer, some, storages)
    if recipe.evaluates:
        _evaluation(recipe, model, trained, layers, rows, tokens, storages)
    storages.mark((3, "end", None))
    return room


def _evaluation(
    recipe: Recipe,
    model: Any,
    trained: list[tuple[int | None, list[nn.Parameter]]],
    layers: list[nn.Module],
    rows: int,
    tokens: int,
    storages: Storages,
) -> None:
    """A micro-batch of held-out rows, of which there are as many as of the others."""
    _drop_gradients(trained, 3, storages)
    passes = _Passes(layers, 3, storages)
    hooks = list(passes.watch())
    storages.mark((3, "rows", None))
    model.eval()
    with storages, torch.no_grad():
        ids = torch.randint(0, 100, (rows, tokens))
        storages.add(ids, "workspace")
        # Held-out rows are not packed.
        apart = replace(recipe, packed=False)
        loss_of(apart, model, ids, storages, lambda name: passes.begin(f"evaluation {name}"))
    for hook in hooks:
        hook.remove()


def _drop_gradients(
    trained: list[tuple[int | None, list[nn.Parameter]]], step: int, storages: Storages
) -> None:
    for number, some in trained:
        storages.mark((step, "zero", number))
        for parameter in some:
            parameter.grad = None


def layers_of(model: Any) -> list[nn.Module]:
    """The model's numbered layers, in order."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    return list(
        max(lists, key=lambda found: sum(p.numel() for p in found.parameters()), default=())
    )


class _Passes:
    """Marks where the layers' passes begin; recomputing a layer belongs to the way back."""

    def __init__(self, layers: list[nn.Module], step: int, storages: Storages) -> None:
        self._layers, self._step, self._storages = layers, step, storages
        self._now = ""
        self._seen: set[int] = set()

    def begin(self, name: str) -> None:
        """A pass through the model comes: `forward`, or `ahead` and `behind` without gradients."""
        self._now = name
        self._seen = set()
        self._storages.mark((self._step, name, None))
        self._storages.kind = "activations" if name == "forward" else "workspace"

    def end(self) -> None:
        """The way back comes."""
        self._now = ""
        self._storages.mark((self._step, "backward", None))

    def watch(self) -> Iterator[Any]:
        for number, layer in enumerate(self._layers):
            yield layer.register_forward_pre_hook(self._before(number))
            yield layer.register_forward_hook(self._behind(number))

    def _before(self, number: int) -> Any:
        def mark(*_: Any) -> None:
            if self._now and number not in self._seen:
                self._storages.mark((self._step, self._now, number))

        return mark

    def _behind(self, number: int) -> Any:
        def mark(module: Any, given: Any, output: Any) -> None:
            if not self._now or number in self._seen:
                return
            self._seen.add(number)
            if number == len(self._layers) - 1:
                self._storages.mark((self._step, f"{self._now} top", None))
            hidden = output[0] if isinstance(output, tuple) else output
            if hidden.requires_grad:
                back = (self._step, "backward", number)
                hidden.register_hook(lambda grad: self._storages.mark(back))

        return mark


def adapter_tensors(recipe: Recipe, model: Any) -> set[int]:
    """The ids of what belongs to the adapter, trained or not."""
    if recipe.lora is None:
        return set()
    return {
        id(parameter)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad or "lora_" in name
    }


def _states(
    optimizer: str, trained: list[nn.Parameter], storages: Storages
) -> Iterator[torch.Tensor]:
    for parameter in trained:
        for size, dtype in states_of(optimizer, parameter):
            tensor = torch.empty(size, dtype=dtype)
            storages.add(tensor, "optimizer")
            yield tensor


def _sequences(recipe: Recipe) -> Callable[[torch.Tensor], torch.Tensor | None]:
    """For each token, which of the rows in its sequence it belongs to, where a mask is made of it:
    flash attention takes the places where rows begin."""
    masked = recipe.packed and recipe.kernel != "flash"
    return lambda positions: torch.zeros_like(positions) if masked else None


@contextlib.contextmanager
def _as_on_a_card(recipe: Recipe, storages: Storages) -> Iterator[None]:
    """What the CPU does otherwise, and what cannot be seen without weights."""
    backends = {
        "flash": SDPBackend.FLASH_ATTENTION,
        "efficient": SDPBackend.FLASH_ATTENTION,
        "math": SDPBackend.MATH,
    }
    with contextlib.ExitStack() as stack:
        if recipe.kernel == "efficient":
            # It takes no heads that share a key: they are spread out first.
            stack.enter_context(replaced(sdpa_attention, "use_gqa_in_sdpa", lambda *a: False))
        if recipe.kernel in backends:
            stack.enter_context(sdpa_kernel(backends[recipe.kernel]))
        # Whether rows are packed is read off numbers that are not there.
        read_off = replaced(masking_utils, "find_packed_sequence_indices", _sequences(recipe))
        stack.enter_context(read_off)
        stack.enter_context(replaced(dora, "dequantize_module_weight", unpacked))
        if recipe.scheme == "int8":
            # For CPUs bitsandbytes has another way.
            on_cards = of_bitsandbytes.MatMul8bitLt
            stack.enter_context(replaced(of_bitsandbytes, "MatMul8bitFp", on_cards))
        if recipe.fused_loss:
            # On a card a kernel folds each tile in place.
            for name in ("_forward_tile", "_backward_tile", "_addmm_fp32"):
                stack.enter_context(replaced(chunked, name, lambda *a, **k: None))
        yield
