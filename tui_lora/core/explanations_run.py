"""What the settings of rows, training and evaluation do to memory, speed and quality."""

from __future__ import annotations

from collections.abc import Mapping

from tui_lora.core.explanation import Explanation

OF_THE_RUN: Mapping[str, Explanation] = {
    "task": Explanation(
        memory="dpo holds two answers for each row, so about twice the activations of sft; none "
        "of the tasks loads a second model, since the base without the adapter is the reference.",
        speed="dpo and kto also ask the reference: one more pass forward for each answer.",
        quality="sft first; dpo and kto refine a model that can do the task already.",
        usual="sft.",
        paper="DPO, arXiv 2305.18290; KTO, arXiv 2402.01306",
    ),
    "dataset.format": Explanation(
        quality="Decides which part of a row is prompt and which is answer. The Data screen shows "
        "what came of it.",
        usual="auto.",
    ),
    "dataset.system": Explanation(
        quality="What is said before each conversation in training should be said in use as well.",
        usual="empty, or the one that will be used.",
    ),
    "dataset.mix": Explanation(
        quality="Some general rows among those of the task slow the forgetting of everything else.",
        usual="empty.",
    ),
    "dataset.eval_share": Explanation(
        speed="Each evaluation reads them all, without a way back: a third to half of the time of "
        "as many trained rows.",
        memory="Less than training.",
        quality="Rows that are never trained on are the only honest measure. Fewer than a few "
        "dozen measure little.",
        usual="0.05 to 0.1; at least 50 rows.",
    ),
    "dataset.max_rows": Explanation(
        speed="The run is shorter in proportion.",
        quality="A first try on few rows shows whether anything is wrong.",
        usual="empty, or some hundreds for a try.",
    ),
    "dataset.loss_on": Explanation(
        memory="Tokens that are not trained need no scores over the vocabulary: a little less.",
        speed="Hardly any.",
        quality="completion: only answers are learned, and the loss tells how well. all: prompts "
        "are learned too, which can help where answers are short and rows are few.",
        usual="auto.",
        paper="Loss on instructions too: arXiv 2405.14394",
    ),
    "dataset.overlap": Explanation(
        speed="Overlapping tokens are trained twice.",
        quality="Passages that share some text keep sentences whole somewhere.",
        usual="0 to a tenth of max length.",
    ),
    "preference.beta": Explanation(
        memory="None.",
        speed="None.",
        quality="Small: preferences are followed far from the base, and answers may fall apart. "
        "Large: they stay near it, and little is learned.",
        usual="0.1; up to 0.5 for noisy pairs.",
        paper="DPO, arXiv 2305.18290",
    ),
    "preference.loss": Explanation(
        memory="None.",
        speed="None.",
        quality="sigmoid keeps pushing pairs apart that are learned already; ipo stops at a "
        "margin, hinge at another.",
        usual="sigmoid.",
        paper="IPO, arXiv 2310.12036; SLiC-HF, arXiv 2305.10425",
    ),
    "preference.desirable_weight": Explanation(
        memory="None.",
        speed="None.",
        quality="Good and bad rows should weigh about the same together: with a third as many good "
        "rows, 3.",
        usual="1; weight x rows of the one between 1 and 4/3 of the other's.",
        paper="KTO, arXiv 2402.01306",
    ),
    "preference.undesirable_weight": Explanation(
        memory="None.",
        speed="None.",
        quality="Good and bad rows should weigh about the same together.",
        usual="1.",
        paper="KTO, arXiv 2402.01306",
    ),
    "training.epochs": Explanation(
        memory="None.",
        speed="The run is longer in proportion.",
        quality="The same rows again are learned better, and from some pass on by heart: then the "
        "held-out loss rises.",
        usual="1 to 3; 1 for tens of thousands of rows.",
    ),
    "training.max_steps": Explanation(
        memory="None.",
        speed="The run ends there, whatever the epochs.",
        quality="Before the rate has fallen, a run is not comparable with a full one: the "
        "scheduler is laid over these steps.",
        usual="empty, or 10 to 50 for a try.",
    ),
    "training.micro_batch": Explanation(
        memory="Activations grow in proportion: it is the first thing to lower when memory is "
        "short.",
        speed="More rows at once use a card better, until it is busy; short rows gain most. Rows "
        "of different length are padded to the longest.",
        quality="None by itself: micro-batch x accumulation is what counts.",
        usual="1 to 8; as large as fits.",
    ),
    "training.accumulation": Explanation(
        memory="None: one micro-batch is held at a time.",
        speed="Hardly any for each row; a step takes longer in proportion.",
        quality="micro-batch x accumulation rows make a step. More rows a step are steadier and "
        "fewer steps; fewer are noisier and more of them.",
        usual="So that 8 to 64 rows make a step.",
    ),
    "training.learning_rate": Explanation(
        memory="None.",
        speed="None.",
        quality="The setting that most decides how well a run goes. Too low: nothing moves. Too "
        "high: the loss jumps or rises, and answers fall apart. If in doubt, try thirds: 6e-5, "
        "2e-4, 6e-4.",
        usual="1e-4 to 3e-4 for sft; 5e-6 to 5e-5 for dpo and kto; lower for larger models.",
        paper="QLoRA used 2e-4 up to 13B and 1e-4 above, arXiv 2305.14314",
    ),
    "training.scheduler": Explanation(
        memory="None.",
        speed="None.",
        quality="A rate that falls at the end lets the weights settle; what curve it takes matters "
        "less than the rate itself.",
        usual="cosine or linear.",
        paper="Cosine, arXiv 1608.03983; warmup_stable_decay, arXiv 2404.06395",
    ),
    "training.warmup": Explanation(
        memory="None.",
        speed="None.",
        quality="Keeps the first rows from moving the weights too far while AdamW's means are "
        "still rough.",
        usual="0.03 to 0.1 of the steps.",
        paper="Warm-up, arXiv 1706.02677",
    ),
    "training.max_length": Explanation(
        memory="Activations grow with the longest row of a micro-batch; with eager attention its "
        "scores grow with the square.",
        speed="Tokens that are not there are not computed: it costs only where rows are long.",
        quality="What is cut off is not learned, and it is the end of the answer that is cut: the "
        "model then never learns to stop there.",
        usual="So that 95% of the rows fit; the Data screen measures them.",
    ),
    "training.packing": Explanation(
        memory="Every sequence is as long as max length.",
        speed="No padding is computed: 1.3 to 3 times as fast on short rows. Without flash "
        "attention a mask keeps rows apart, which takes away much of it.",
        quality="About the same; steps hold more rows, so there are fewer of them.",
        usual="auto; yes for many short rows with flash attention.",
        paper="Packing without mixing rows, arXiv 2107.02027",
    ),
    "training.optimizer": Explanation(
        memory="AdamW keeps two numbers for each trained weight. For an adapter that is tens to "
        "hundreds of MB, so few bits save little.",
        speed="No difference beside the model's own time; adamw_torch_fused is the fastest.",
        quality="8 bits do as well as 32 in its paper. lion_8bit wants a third of the learning "
        "rate or less, and adafactor settles more slowly.",
        usual="auto.",
        paper="AdamW, arXiv 1711.05101; 8 bits, arXiv 2110.02861; Lion, arXiv 2302.06675; "
        "Adafactor, arXiv 1804.04235; schedule-free, arXiv 2405.15682",
    ),
    "training.weight_decay": Explanation(
        memory="None.",
        speed="None.",
        quality="Pulls A and B towards 0, so the model towards the base: by learning rate x decay "
        "of their size at each step, which over a short run is little.",
        usual="0 to 0.1.",
        paper="AdamW, arXiv 1711.05101",
    ),
    "training.max_grad_norm": Explanation(
        memory="None.",
        speed="One pass over the adapter's gradients at each step.",
        quality="An odd row cannot throw the weights far off. Set far below the usual norm it is a "
        "lower learning rate. QLoRA used 0.3.",
        usual="0.3 to 1.",
        paper="Clipping, arXiv 1211.5063",
    ),
    "training.neftune": Explanation(
        memory="None.",
        speed="None.",
        quality="On small instruction datasets answers became longer and were judged better, and "
        "what the model knows stayed as it was. Not for tasks with one right answer.",
        usual="0, or 5 to 15.",
        paper="NEFTune, arXiv 2310.05914",
    ),
    "training.gradient_checkpointing": Explanation(
        memory="Without it the activations of every layer are kept; with it one tensor a layer, "
        "and one layer's activations at a time.",
        speed="Each layer runs once more: a sixth to a quarter slower.",
        quality="None: the same gradients.",
        usual="auto; no where there is room.",
        paper="Chen et al., arXiv 1604.06174; selective: arXiv 2205.05198",
    ),
    "training.checkpoint_layers": Explanation(
        memory="Layers between keep their activations.",
        speed="Only every n-th layer runs twice.",
        quality="None.",
        usual="1; 2 or 4 where there is room.",
    ),
    "training.seed": Explanation(
        memory="None.",
        speed="None.",
        quality="Runs that differ in it alone show how much of a difference is chance.",
        usual="any.",
    ),
    "evaluation.every_steps": Explanation(
        memory="Less than training.",
        speed="Each evaluation reads all held-out rows.",
        quality="Seen often enough, the turn of the held-out loss shows when to stop.",
        usual="5 to 20 evaluations a run.",
    ),
    "evaluation.save_every_steps": Explanation(
        memory="Disk: the adapter and the optimizer's state, for each that is kept.",
        speed="A second or so each.",
        quality="What is lost by a crash is at most this many steps.",
        usual="As often as evaluations.",
    ),
    "evaluation.log_every_steps": Explanation(
        memory="None.",
        speed="Next to none: a step is reported at most twice a second, whatever this says.",
        quality="None; the curve of the losses is finer or coarser.",
        usual="1.",
    ),
    "evaluation.keep": Explanation(
        memory="Disk alone.",
        speed="None.",
        quality="An earlier checkpoint may be better than the last, when the held-out loss turns.",
        usual="2 or 3.",
    ),
    "evaluation.stop_by": Explanation(
        memory="None.",
        speed="None.",
        quality="The loss turns up early, when the model becomes too sure of itself; macro_f1 goes "
        "by the labels that it names, and counts rare ones as much as common ones.",
        usual="loss.",
    ),
    "evaluation.early_stopping": Explanation(
        memory="None.",
        speed="Ends a run that no longer gets better.",
        quality="Keeps the model from learning by heart. The rate has not fallen to its end then.",
        usual="empty, or 2 to 5.",
    ),
    "peek.prompts": Explanation(
        memory="Far less than a step: no gradient is kept. Where there is no room for it all the "
        "same, that is said, nothing more is asked, and training goes on.",
        speed="Training waits for each answer: about 3 s for 64 tokens on a card.",
        quality="None: what is trained is the same to the bit. Seen beside the base, answers show "
        "what a loss does not: the form first, then the facts, and when it learns by heart.",
        usual="2 to 5 questions that the rows do not hold.",
    ),
    "peek.every_steps": Explanation(
        memory="None.",
        speed="So many prompts are answered each time.",
        quality="None.",
        usual="10 to 20 times a run.",
    ),
    "hardware.devices": Explanation(
        memory="On the CPU main memory holds what the card would.",
        quality="None, but for rounding.",
        speed="On the CPU a run of a small model takes hours instead of minutes.",
        usual="auto.",
    ),
}
