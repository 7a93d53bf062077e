# Every target makes .venv and installs what it needs; a second run installs nothing.
#   PYTHON=python3.11    the interpreter to build .venv with (3.11 or 3.12)
#   PORT=7861            the page's port for `make demo`
#   TORCH_INDEX=…        another place to look for torch as well (such as PyTorch's CPU wheels: a smaller download)

PYTHON ?= python3
PORT ?= 7860
STREAMS ?= 4
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
# What is installed is named by what was asked for: another pyproject.toml or constraints.txt installs anew.
ASKED := $(shell cat pyproject.toml constraints.txt | sha256sum | cut -c1-16)
RUN_STAMP := $(VENV)/.installed-run-$(ASKED)
DEV_STAMP := $(VENV)/.installed-dev-$(ASKED)
RTX_STAMP := $(VENV)/.installed-rtx-$(ASKED)
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --no-input \
	-c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.DEFAULT_GOAL := help
.PHONY: help demo test lint types floors deps rtx bench format schema install install-dev
.NOTPARALLEL:

help: ## what can be made
	@grep -hE '^[a-z-]+:.*## ' Makefile | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: $(RUN_STAMP) ## a street in the browser: prints the page's address when ready
	@$(BIN)/sightline demo --port $(PORT)

test: lint types floors rtx deps ## every check and every test
	@$(BIN)/python -m pytest

lint: $(DEV_STAMP) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV_STAMP) ## mypy, strict
	$(BIN)/mypy

floors: $(DEV_STAMP) ## import-linter: who may import whom
	$(BIN)/lint-imports

rtx: $(RTX_STAMP) ## the compiler of TensorRT for RTX: the tests build every served graph with it, no GPU needed

deps: $(DEV_STAMP) ## the installed packages fit together
	$(BIN)/python -m pip check

bench: $(RUN_STAMP) ## throughput and latency on this machine, as JSON
	@$(BIN)/sightline bench pipeline --streams $(STREAMS) --json

format: $(DEV_STAMP) ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schema: $(RUN_STAMP) ## write docs/schemas again from the code
	$(BIN)/sightline schema --write docs/schemas

install: $(RUN_STAMP) ## only .venv with what serving needs

install-dev: $(DEV_STAMP) ## .venv with the tools of the tests too

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' \
		|| { echo "Sightline needs Python 3.11 or 3.12, and $(PYTHON) is none — make … PYTHON=python3.11" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); echo "no virtual environment can be made — apt-get install python3-venv" >&2; exit 2; }

# The tools' environment holds all that serving needs as well.
$(RUN_STAMP): | $(BIN)/python
	@if [ -e $(DEV_STAMP) ]; then touch $@; else \
		echo "Installing Sightline into $(VENV) (once; some minutes, mostly the download of torch) …" && \
		$(PIP_INSTALL) -e . && rm -f $(VENV)/.installed-run-* && touch $@; fi

$(DEV_STAMP): | $(BIN)/python
	@echo "Installing Sightline and the tools of its tests into $(VENV) (once; some minutes) …"
	@$(PIP_INSTALL) -e '.[dev]'
	@rm -f $(VENV)/.installed-* && touch $@ $(RUN_STAMP)

$(RTX_STAMP): $(DEV_STAMP)
	@echo "Installing the compiler of TensorRT for RTX into $(VENV) (once; 100 MB) …"
	@$(PIP_INSTALL) -e '.[rtx]'
	@touch $@
