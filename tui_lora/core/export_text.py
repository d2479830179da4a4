"""A merge in words: what will be written, and what was verified."""

from __future__ import annotations

from tui_lora.core.export import Merged, MergePlanned, MergeProgressed, StorageLoss, Verified
from tui_lora.core.text import clean, duration, number, size


def planned_lines(planned: MergePlanned) -> list[str]:
    """Before anything is written."""
    return [
        f"{size(planned.size_bytes)} in {planned.dtype} ({planned.dtype_reason}); "
        f"{size(planned.free_bytes)} free; {planned.layers:,} layers are changed",
        *(f"! {notice}" for notice in planned.notices),
    ]


def storage_words(scheme: str, *, took_back: bool) -> str:
    """What merging does about the storage of the base that the adapter learned on; empty for one in
    16 bits. `took_back`: it began with what was rounded away."""
    if scheme == "none":
        return ""
    if took_back:
        return (
            f"the adapter began with what {scheme} rounded away (loftq), and is merged into the "
            f"weights of its layers as {scheme} rounded them: that is what it learned on"
        )
    return (
        f"the adapter learned on weights rounded to {scheme}, and is merged into the weights as "
        "they were before: the result answers a little otherwise"
    )


def far_words(progressed: MergeProgressed) -> str:
    """How far it is: `6.0 GB of 15 GB`, `2 of 5 prompts`; empty where it is not counted."""
    done, total = progressed.done, progressed.total
    if done is None or not total:
        return ""
    if progressed.unit == "bytes":
        return f"{size(done)} of {size(total)}"
    return f"{done:,} of {total:,} {clean(progressed.unit)}"


def merged_lines(merged: Merged) -> list[str]:
    """At the end."""
    files = "a file" if merged.shards == 1 else f"{merged.shards} files"
    return [
        f"merged: {size(merged.size_bytes)} in {files} of weights, {merged.dtype}, "
        f"in {duration(merged.seconds)}",
        *(f"  ✓ {line}" for line in verified_lines(merged.verified, merged.dtype)),
        *(f"  {line}" for line in loss_lines(merged.loss)),
        f"  memory: {size(merged.writing_rss_bytes)} at most while it was written, "
        f"{size(merged.peak_rss_bytes)} while it was verified",
        merged.path,
    ]


def verified_lines(verified: Verified, dtype: str) -> list[str]:
    """What was compared, and how near it came."""
    found = [
        f"{verified.weights:,} weights read back one by one, each the nearest {dtype} number; of "
        "the others in changed layers sums over each layer",
        f"logits against base and adapter in {dtype}: {number(verified.logits_rms)} apart (root "
        f"mean square, {verified.prompts} prompts, on {clean(verified.device)}); rounding accounts "
        f"for {number(verified.logits_allowed)}",
    ]
    if verified.answers:
        found.append(
            f"{verified.same_answers} of {verified.answers} greedy answers are the same, word for "
            "word"
            + (
                ""
                if verified.same_answers == verified.answers
                else "; the others part where two tokens are as likely"
            )
        )
    if verified.kept_share is not None and dtype != "float32":
        found.append(f"{verified.kept_share:.1%} of what the adapter adds is left once rounded")
    return found


def loss_lines(loss: StorageLoss | None) -> list[str]:
    """What 16 bits change for an adapter that learned on a quantized base."""
    if loss is None:
        return []
    if loss.merged is None:
        return [
            f"against the adapter on {loss.scheme} weights, as it was trained: not measured "
            f"({clean(loss.why_not)})"
        ]
    return [
        f"perplexity over {loss.tokens:,} tokens of reference answers ({clean(loss.source)}): "
        f"{number(loss.merged)} merged, {number(loss.quantized)} on {loss.scheme} weights as it "
        "was trained"
    ]
