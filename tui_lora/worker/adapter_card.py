"""README.md in an adapter's folder: what it is and how it is loaded without us."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import yaml

from tui_lora.core.formats import Task

_WHAT: dict[Task, str] = {
    "sft": "to answer as its dataset does",
    "classification": "to sort texts into labels",
    "dpo": "to prefer one kind of answer to another (DPO)",
    "kto": "to prefer answers that were marked good (KTO)",
}
_CHAT = """\
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "adapter"
model = AutoModelForCausalLM.from_pretrained({base})
model = PeftModel.from_pretrained(model, folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
turns = [{{"role": "user", "content": "Hello"}}]
prompt = tokenizer.apply_chat_template(
    turns, add_generation_prompt=True, return_dict=True, return_tensors="pt"
)
answer = model.generate(**prompt, max_new_tokens=100)
print(tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))
"""
_CLASSIFIER = """\
import json
from pathlib import Path

from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder = Path("adapter")
labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(
    {base},
    num_labels=len(labels),
    id2label=dict(enumerate(labels)),
    label2id={{label: number for number, label in enumerate(labels)}},
    pad_token_id=tokenizer.pad_token_id,
)
model = PeftModel.from_pretrained(model, folder).eval()
text = tokenizer("What to sort", return_tensors="pt")
chances = model(**text).logits.softmax(-1)[0]
print({{label: float(chance) for label, chance in zip(labels, chances)}})
"""


def write_card(folder: Path, task: Task, labels: Sequence[str] = ()) -> None:
    """Write it in place of peft's, whose form nobody has filled in. Raises OSError."""
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    base = str(config.get("base_model_name_or_path") or "")
    head = {
        "library_name": "peft",
        "pipeline_tag": "text-classification" if task == "classification" else "text-generation",
        "tags": ["lora", "tui-lora"],
    }
    # A folder of some machine is no name on the Hub, which would refuse the card.
    if base.count("/") == 1 and not base.startswith(("/", ".", "~")):
        head["base_model"] = base
    script = (_CLASSIFIER if task == "classification" else _CHAT).format(base=json.dumps(base))
    named = f" ({len(labels)} of them, in `labels.json`)" if labels else ""
    text = (
        f"---\n{yaml.safe_dump(head)}---\n\n# LoRA adapter\n\n"
        f"A LoRA adapter (r {config.get('r')}, alpha {config.get('lora_alpha'):g}) on `{base}`, "
        f"trained with tui-lora {_WHAT[task]}{named}.\n\n```python\n{script}```\n"
    )
    (folder / "README.md").write_text(text, encoding="utf-8", errors="replace")
