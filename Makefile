# make setup | train | test | lint | docs        ARGS="model=vae dataset=mnist" passes overrides to train
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
UV := $(shell command -v uv 2>/dev/null)
INSTALL = $(if $(UV),uv pip install --quiet --python $(BIN)/python,$(BIN)/python -m pip install --quiet) --editable

.PHONY: setup train test lint docs clean

train: setup
	$(BIN)/python train.py $(ARGS)

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The site, into site/. On the PATH, mkdocs finds ruff, which formats signatures.
docs: $(VENV)/.docs
	PATH="$(abspath $(BIN)):$$PATH" NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

setup: $(VENV)/.installed

# uv installs in seconds what takes pip a minute or two; either will do.
$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Python 3.10 or newer is needed; set PYTHON=python3.x" >&2; exit 1; }
	$(if $(UV),uv venv --quiet --allow-existing --python $(PYTHON) $(VENV),$(PYTHON) -m venv $(VENV))
	$(INSTALL) '.[dev]'
	@touch $@

$(VENV)/.docs: $(VENV)/.installed
	$(INSTALL) '.[docs]'
	@touch $@

clean:
	rm -rf $(VENV)
