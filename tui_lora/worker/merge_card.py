"""README.md and merge.json in a merged model's folder: what it was made of, what was verified."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tui_lora.core.export import RECORD, StorageLoss, Verified
from tui_lora.core.export_text import loss_lines, verified_lines
from tui_lora.core.text import clean
from tui_lora.store.catalog import is_of_hub
from tui_lora.worker.merge_work import Work
from tui_lora.worker.merge_write import write_json

_ASK = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "merged"
model = AutoModelForCausalLM.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
turns = [{"role": "user", "content": "Hello"}]
prompt = tokenizer.apply_chat_template(
    turns, add_generation_prompt=True, return_dict=True, return_tensors="pt"
)
answer = model.generate(**prompt, max_new_tokens=100)
print(tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))
"""
_SORT = """\
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder = "merged"
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
chances = model(**tokenizer("What to sort", return_tensors="pt")).logits.softmax(-1)[0]
print({model.config.id2label[number]: float(chance) for number, chance in enumerate(chances)})
"""


def write_papers(
    folder: Path,
    work: Work,
    verified: Verified,
    loss: StorageLoss | None,
    versions: Mapping[str, str],
    t: float,
) -> None:
    """Both, the record last. `t`: unix seconds. Raises OSError."""
    (folder / "README.md").write_text(_card(work, verified, loss), "utf-8", errors="replace")
    asked = work.asked
    record = {
        "version": 1,
        "t": t,
        "base": asked.model,
        "revision": asked.revision,
        "adapter": asked.adapter,
        "session": asked.session,
        "step": asked.step,
        "dataset": asked.dataset,
        "task": asked.task,
        "dtype": _name(work),
        "trained_on": asked.quantization.scheme,
        "verified": verified.model_dump(mode="json"),
        "loss": loss.model_dump(mode="json") if loss is not None else None,
        "notices": work.notices(),
        "versions": dict(versions),
    }
    write_json(folder / RECORD, record)


def _card(work: Work, verified: Verified, loss: StorageLoss | None) -> str:
    asked = work.asked
    head: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "text-classification" if work.labels else "text-generation",
        "tags": ["lora", "merged", "tui-lora"],
    }
    # A folder of some machine is no name on the Hub, which would refuse the card.
    if asked.model.count("/") == 1 and not asked.model.startswith(("/", ".", "~")):
        head["base_model"] = asked.model
    config = work.hollow.model.peft_config["default"]
    of = f" at revision `{clean(asked.revision)}`" if asked.revision else ""
    lines = [
        f"---\n{yaml.safe_dump(head)}---\n",
        "# Merged model\n",
        f"`{clean(asked.model)}`{of} in {_name(work)}, with a LoRA adapter (r {config.r}, alpha "
        f"{config.lora_alpha:g}) merged into its weights by tui-lora. It needs no peft.\n",
        *_origin(work),
        *(f"- {notice}" for notice in work.notices()),
        "",
        "## Verified\n",
        *(f"- {line}" for line in verified_lines(verified, _name(work))),
        *(f"- {line}" for line in loss_lines(loss)),
        "",
        f"```python\n{_SORT if work.labels else _ASK}```\n",
    ]
    return "\n".join(lines)


def _origin(work: Work) -> list[str]:
    asked = work.asked
    found = []
    if asked.session:
        at = f", step {asked.step:,}" if asked.step is not None else ""
        found.append(f"- adapter: trained in the session {clean(asked.session)}{at}")
    else:
        found.append(f"- adapter: {clean(Path(asked.adapter).name)}")
    if asked.dataset:
        # A folder of this machine is nobody else's business.
        name = asked.dataset if is_of_hub(asked.dataset) else Path(asked.dataset).name
        found.append(f"- trained on: {clean(name)} ({clean(asked.task)})")
    if asked.quantization.scheme != "none":
        found.append(f"- the base was stored in {asked.quantization.scheme} while it was trained")
    return found


def _name(work: Work) -> str:
    return str(work.dtype).removeprefix("torch.")
