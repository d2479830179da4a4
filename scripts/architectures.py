"""Write tui_lora/_data/architectures.json: which kinds of model the installed transformers knows.

The screens say of a model whether it can be trained, without importing transformers. Run this
whenever transformers was updated; tests/worker/test_architectures.py says when it is due.

python scripts/architectures.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parent.parent / "tui_lora" / "_data" / "architectures.json"

# The first of these mappings that has a model type says what it is for.
KINDS = (
    ("image_text", ("IMAGE_TEXT_TO_TEXT", "MULTIMODAL_LM", "VISUAL_QUESTION_ANSWERING")),
    ("audio", ("SPEECH_SEQ_2_SEQ", "TEXT_TO_WAVEFORM", "TEXT_TO_SPECTROGRAM", "CTC", "RNNT", "TDT",
               "AUDIO_CLASSIFICATION", "AUDIO_XVECTOR")),
    ("seq2seq", ("SEQ_TO_SEQ_CAUSAL_LM",)),
    ("encoder", ("MASKED_LM", "TEXT_ENCODING", "SEQUENCE_CLASSIFICATION", "QUESTION_ANSWERING",
                 "RETRIEVAL")),
    ("image", ("IMAGE", "IMAGE_CLASSIFICATION", "OBJECT_DETECTION", "DEPTH_ESTIMATION",
               "SEMANTIC_SEGMENTATION", "UNIVERSAL_SEGMENTATION", "MASK_GENERATION", "BACKBONE",
               "IMAGE_TO_IMAGE", "ZERO_SHOT_IMAGE_CLASSIFICATION", "ZERO_SHOT_OBJECT_DETECTION",
               "KEYPOINT_DETECTION", "VIDEO_CLASSIFICATION", "MASKED_IMAGE_MODELING",
               "CAUSAL_IMAGE_MODELING")),
)  # fmt: skip
# A class that continues text may still be the rare use of a kind of model.
MOSTLY_OTHERWISE = ("MASKED_LM", "SEQ_TO_SEQ_CAUSAL_LM", "SPEECH_SEQ_2_SEQ", "TEXT_TO_WAVEFORM")


def architectures() -> dict[str, Any]:
    """What stands in the file: see tui_lora/store/architectures.py for what each part means."""
    import transformers
    from transformers.integrations.ggml import GGUF_CONFIG_MAPPING
    from transformers.models.auto import configuration_auto, modeling_auto

    names = {
        mapping: getattr(modeling_auto, f"MODEL_FOR_{mapping}_MAPPING_NAMES")
        for mapping in ("CAUSAL_LM", *(name for _, group in KINDS for name in group))
    }
    causal = dict(names["CAUSAL_LM"])
    others: dict[str, str] = {}
    for known in configuration_auto.CONFIG_MAPPING_NAMES:
        kinds = [kind for kind, group in KINDS if any(known in names[name] for name in group)]
        if known not in causal:
            others[known] = kinds[0] if kinds else "part"
        elif any(known in names[mapping] for mapping in MOSTLY_OTHERWISE):
            others[known] = next(kind for kind in kinds if kind != "image_text")
    senses = {known: _senses(known, causal, names) for known in causal}
    return {
        "transformers": transformers.__version__,
        "causal": dict(sorted(causal.items())),
        "text_alone": sorted(known for known, found in senses.items() if found == "text alone"),
        "all_senses": sorted(known for known, found in senses.items() if found == "all"),
        "others": dict(sorted(others.items())),
        "gguf": sorted({*GGUF_CONFIG_MAPPING} - {"general", "tokenizer", "t5", "umt5"}),
    }


def _senses(model_type: str, causal: dict[str, str], names: dict[str, Any]) -> str:
    """What AutoModelForCausalLM makes of a model that also sees or hears; "" for all others."""
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if model_type not in {**names["IMAGE_TEXT_TO_TEXT"], **names["MULTIMODAL_LM"]}:
        return ""
    config = CONFIG_MAPPING[model_type]
    text = (getattr(config, "sub_configs", None) or {}).get("text_config")
    loaded = AutoModelForCausalLM._model_mapping[config]
    return "text alone" if loaded.config_class is text else "all"


def main() -> None:
    found = architectures()
    TARGET.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    sizes = ", ".join(f"{len(found[part])} {part}" for part in ("causal", "others", "gguf"))
    print(f"{TARGET.name}: transformers {found['transformers']}, {sizes}")


if __name__ == "__main__":
    main()
