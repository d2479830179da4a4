"""A tiny random model with a tokenizer of its own, for tests that need a real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL_TOKENS = ("<pad>", "<|im_start|>", "<|im_end|>")
VOCABULARY_AT_MOST = 500
CONTEXT = 4096

_SENTENCES = (
    "LoRA freezes the base and trains two small matrices beside each weight.",
    "The rank r is their inner width; alpha divided by r scales what they add.",
    "Quantization stores the frozen weights in four bits and computes in sixteen.",
    "A question, an answer, a system turn: user and assistant take their turns.",
    "What is the learning rate? It is the size of a step, 0.0002 or 2e-4 for instance.",
    "Grüße aus Köln, naïve café, 日本語, and code: def f(x): return x[1:] + 'ok'",
)


def make_tiny_model(folder: Path, kind: str = "llama", seed: int = 0, hidden: int = 64) -> Path:
    """Save a random two-layer model (`llama` or `qwen2`), the same for the same seed."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    config_class, model_class = {
        "llama": (LlamaConfig, LlamaForCausalLM),
        "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    }[kind]
    tokenizer = make_tokenizer()
    config = config_class(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    before = torch.get_rng_state()
    torch.manual_seed(seed)
    model = model_class(config)
    torch.set_rng_state(before)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_tokenizer() -> Any:
    """A byte-level BPE tokenizer of some 480 tokens with ChatML's template; pad is not eos."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_AT_MOST,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(_SENTENCES, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
        model_max_length=CONTEXT,
    )
    tokenizer.chat_template = CHATML
    return tokenizer


def make_tiny_adapter(base: Path, folder: Path, seed: int = 1, scale: float = 0.5) -> Path:
    """Save a LoRA adapter for the model in `base` that changes its answers, tokenizer included."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    before = torch.get_rng_state()
    torch.manual_seed(seed)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    torch.set_rng_state(before)
    random = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=random) * scale
    model.save_pretrained(folder, save_embedding_layers=False)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


def make_tiny_classifier(base: Path, folder: Path, labels: tuple[str, ...], seed: int = 1) -> Path:
    """Save a classifier's adapter for the model in `base`: random, with head and labels."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoTokenizer

    from tui_lora.core.spec import ModelSpec, QuantizationSpec
    from tui_lora.worker.lora import save_adapter
    from tui_lora.worker.model import load_model

    loaded = load_model(
        ModelSpec(id=str(base)), QuantizationSpec(), devices="cpu", labels=labels, seed=seed
    )
    before = torch.get_rng_state()
    torch.manual_seed(seed)
    model = get_peft_model(
        loaded.model,
        LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="SEQ_CLS"),
    )
    torch.set_rng_state(before)
    random = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_B" in name or "modules_to_save" in name:
            parameter.data = torch.randn(parameter.shape, generator=random)
    tokenizer = AutoTokenizer.from_pretrained(base)
    save_adapter(model, tokenizer, folder, task="classification", labels=labels)
    return folder
