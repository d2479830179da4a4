# make demo      the first run: install, fetch a small model, train it, compare   (no GPU needed)
# make check     format, lint, types, import laws, fast tests: under a minute, no torch
# make test      check's tests and those that train real (tiny) models: under 12 minutes on two cores
# make test-long everything else, the demo model too: under 30 minutes
# make bench     benchmarks/
PYTHON ?= python3
BIN := .venv/bin
# Tests run with the library versions of constraints.txt and touch nobody's cache but the demo's.
# Two processes for two cores. Those that load models take whole files, as their fixtures take long.
PYTEST := $(BIN)/python -m pytest -q -n 2
FAST := $(PYTEST) -m "not model and not long"
# Before every commit, so without the screens that take longest.
FASTEST := $(PYTEST) -m "not model and not long and not screens"
MODELS := $(PYTEST) --dist loadfile -m
# What is compiled once is kept: to compile the tests takes seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo run setup setup-dev check test test-long bench format clean

setup:
	@$(PYTHON) scripts/install.py

setup-dev:
	@$(PYTHON) scripts/install.py dev

demo: setup
	@$(BIN)/tui-lora demo

run: setup
	@$(BIN)/tui-lora

check: setup-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(FASTEST)

test: setup-dev
	$(FAST)
	$(MODELS) "model and not long"

test-long: setup-dev
	$(MODELS) long

bench: setup
	$(BIN)/python benchmarks/terminal.py
	$(BIN)/python benchmarks/data.py

format: setup-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
