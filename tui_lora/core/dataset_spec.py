"""The part of the run spec that says what is learned from."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator

from tui_lora.core.columns import PARTS, check_columns, parse_columns
from tui_lora.core.section import Section, setting


class DatasetSpec(Section):
    path: str = setting(
        ...,
        "dataset",
        "What to learn from: a file (JSON, JSONL, CSV, TSV, Parquet, TXT, Markdown, also .gz), a "
        "folder or a pattern of such (docs/**/*.md), the id of a Hub dataset, or quickstart for "
        "the one that comes with tui-lora.",
        min_length=1,
    )
    subset: str | None = setting(
        None,
        "subset",
        "Of a Hub dataset that has several: which one (datasets calls it the config name).",
        argument="load_dataset(name)",
    )
    split: str | None = setting(
        None,
        "split",
        "Which split is trained on, of a Hub dataset or of a folder with files such as train.jsonl "
        "and test.jsonl. Empty: train where there is one, else everything.",
        argument="load_dataset(split)",
    )
    revision: str | None = setting(
        None,
        "data revision",
        "Branch, tag or commit of a Hub dataset; a commit pins the run to exactly these rows.",
        argument="load_dataset(revision)",
    )
    streaming: bool = setting(
        False,
        "streaming",
        "Read a Hub dataset row by row instead of fetching all of it first; use it with max rows.",
        argument="load_dataset(streaming)",
    )
    format: Literal[
        "auto",
        "messages",
        "sharegpt",
        "alpaca",
        "prompt_completion",
        "pairs",
        "gsm8k",
        "guanaco",
        "text",
        "preference",
        "kto",
        "classification",
    ] = setting("auto", "format", "What a row looks like. auto: found by looking at the rows.")
    columns: dict[str, str] = setting(
        {},
        "columns",
        "Which column plays which part, such as prompt=question, completion=answer. A part may be "
        "a template of your own over columns: prompt={question}\\n{context}. Parts: "
        f"{', '.join(PARTS)}.",
    )
    system: str | None = setting(
        None, "system prompt", "Put before the turns of every row that has no system turn."
    )
    mix: tuple[str, ...] = setting(
        (),
        "mixed in",
        "More datasets to learn from beside it, each a path with a weight if you like: "
        "extra.jsonl*0.5 takes a random half of its rows, *2 takes each twice.",
    )
    eval_path: str | None = setting(
        None,
        "held-out file",
        "A file of rows that are never trained on; the eval loss is measured on them. Empty: a "
        "share of the dataset is held out.",
    )
    eval_split: str | None = setting(
        None,
        "held-out split",
        "The split of the dataset itself that is held out, such as test. Empty: a share of the "
        "rows.",
    )
    eval_share: float = setting(
        0.1,
        "held-out share",
        "Share of the rows that is held out for evaluation where there is no held-out file. 0 "
        "trains on everything and measures nothing.",
        ge=0,
        le=0.5,
    )
    eval_rows: int | None = setting(
        None,
        "held-out rows",
        "Measure on at most so many held-out rows: the first of a file or split, or so many of the "
        "drawn share, whose other rows are not trained on either. Empty: all.",
        unit="rows",
        ge=1,
    )
    max_rows: int | None = setting(
        None, "max rows", "Use only the first so many rows. Empty: all.", unit="rows", ge=1
    )
    loss_on: Literal["auto", "completion", "assistant", "all"] = setting(
        "auto",
        "loss on",
        "Which tokens are learned: completion (the last answer only), assistant (every answer of "
        "a conversation) or all (the prompt too). auto: completion; of plain text, all.",
        argument="SFTConfig.completion_only_loss, SFTConfig.assistant_only_loss",
    )
    overlap: int = setting(
        64,
        "overlap",
        "Plain text longer than max length is cut into passages, by paragraph where possible; so "
        "many tokens at the end of one begin the next.",
        unit="tokens",
        ge=0,
        le=8192,
    )

    @field_validator("columns", mode="before")
    @classmethod
    def _columns_from_text(cls, value: Any) -> Any:
        return {} if value is None else parse_columns(value) if isinstance(value, str) else value

    @field_validator("columns")
    @classmethod
    def _known_parts(cls, value: dict[str, str]) -> dict[str, str]:
        check_columns(value)
        return value

    @field_validator("mix", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return () if value is None else value
