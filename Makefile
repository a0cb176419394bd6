# make setup | train | test | lint | docs        ARGS="model=vae dataset=mnist" passes overrides to train
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
UV := $(shell command -v uv 2>/dev/null)
# The address of a package index that has PyTorch for CPUs, which is much smaller than the CUDA build that Linux gets.
TORCH_INDEX ?=
INSTALL = $(if $(UV),uv pip install --python $(BIN)/python,$(BIN)/python -m pip install) \
	$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) --editable

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
	@echo "Setting up $(VENV), once: this takes a few minutes, most of them to download PyTorch."
	@if [ "$$(uname -s)-$(TORCH_INDEX)" = Linux- ] && ! command -v nvidia-smi >/dev/null; then \
		echo "PyPI has PyTorch for Linux with CUDA only: 2.6 GB to download, about 6 GB on disk. This machine has no NVIDIA"; \
		echo "GPU, so a build for CPUs does as well: README.md says how to get it ('make setup TORCH_INDEX=URL')."; fi
	$(if $(UV),uv venv --quiet --allow-existing --python $(PYTHON) $(VENV),$(PYTHON) -m venv $(VENV))
	$(INSTALL) '.[dev]'
	@echo "$(VENV) is set up."
	@touch $@

$(VENV)/.docs: $(VENV)/.installed
	$(INSTALL) '.[docs]'
	@touch $@

clean:
	rm -rf $(VENV)
