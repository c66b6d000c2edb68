# Two commands are enough: `make demo` and `make test`. Both make a virtual environment in .venv.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
PINNED := -c requirements/constraints.txt

SOURCES := $(shell find csrc cmake flops_tracker -type f \
	\( -name '*.c' -o -name '*.h' -o -name '*.txt' -o -name '*.cmake' -o -name '*.py' -o -name '*.pyi' \
	-o -name '*.js' -o -name '*.css' \)) \
	CMakeLists.txt pyproject.toml README.md LICENSE
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help demo test lint bench sanitize docs clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(STAMPS)/package ## Train a small CNN on the digits images and see its FLOPs
	$(BIN)/python examples/train_digits_cnn.py

test: $(STAMPS)/package $(STAMPS)/dev lint ## Everything CI runs: lint, types, C tests, Python tests
	tools/ctest.sh core-only no-int128
	$(BIN)/python -X dev -m pytest

lint: $(STAMPS)/package $(STAMPS)/dev ## Formatting, style, spelling, types, generated documents
	tools/lint.sh

bench: $(STAMPS)/package $(STAMPS)/dev ## Print what counting costs, as ratios where it can be
	$(BIN)/python bench/tracker.py
	$(BIN)/python bench/overhead.py
	$(BIN)/python bench/overhead.py --memory
	$(BIN)/python bench/overhead.py --llama
	$(BIN)/python bench/forward.py
	$(BIN)/python bench/closed_forms.py

sanitize: $(STAMPS)/package $(STAMPS)/dev ## C and Python tests under the address and undefined-behaviour sanitizers
	tools/sanitize.sh

docs: $(STAMPS)/package ## Write docs/formulas.md and docs/operations.md anew from the rules
	$(BIN)/python tools/formula_docs.py --write

clean: ## Remove the virtual environment and all builds
	rm -rf $(VENV) build dist

$(STAMPS)/venv:
	$(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS)
	@touch $@

# What the demo needs to run, and to build the package without fetching anything more.
$(STAMPS)/run: $(STAMPS)/venv requirements/constraints.txt requirements/run.txt
	$(PIP) install $(PINNED) -r requirements/run.txt
	@touch $@

$(STAMPS)/dev: $(STAMPS)/run requirements/dev.txt
	$(PIP) install $(PINNED) -r requirements/dev.txt
	@touch $@

$(STAMPS)/package: $(STAMPS)/run $(SOURCES)
	$(PIP) install --no-build-isolation --no-deps --force-reinstall .
	@touch $@
