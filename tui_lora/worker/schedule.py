"""What a schedule or an optimizer wants to know of the run that only its number of steps tells."""

from __future__ import annotations

from typing import Any

from transformers import TrainingArguments

from tui_lora.core.schedule_shape import decay_steps


def settle_schedule(args: TrainingArguments, optimizer: Any, steps: int) -> None:
    """Complete `args` and `optimizer` for a run of `steps` steps; to be called before the first."""
    warmup = args.get_warmup_steps(steps)
    if args.lr_scheduler_type == "warmup_stable_decay":
        args.lr_scheduler_kwargs = {"num_decay_steps": decay_steps(steps, warmup)}
    for group in optimizer.param_groups:
        if "warmup_steps" in group:
            # transformers hands it on as it was given: with a share of 0.03 the first step would
            # be taken at 33 times the rate.
            group["warmup_steps"] = warmup


def follow_course(scheduler: Any) -> None:
    """Take the rate of the schedule as it is now. A checkpoint brings the one of the schedule with
    which it was saved, and the first step of a run made longer would be taken at that: at 0 where
    it had ended. As torch's LambdaLR reckons it, so that nothing changes where the length did not.
    """
    rates = [
        base * share(scheduler.last_epoch)
        for base, share in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
    ]
    for group, rate in zip(scheduler.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    scheduler._last_lr = rates


def put_at_rest(optimizer: Any) -> None:
    """Give the weights the values that are kept: schedule-free ones train on others."""
    if callable(getattr(optimizer, "eval", None)):
        optimizer.eval()
