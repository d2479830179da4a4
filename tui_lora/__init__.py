"""tui_lora: a terminal workbench for LoRA and QLoRA fine-tuning."""

__version__ = "0.1.0"
