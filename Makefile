# Everything runs in .venv, which is made on first use; a set of extras is installed again only when its versions change.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MARKS := not slow and not realdata and not gpu

export KERAS_BACKEND := jax

.DEFAULT_GOAL := help
.PHONY: help run test test-all check docs

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

run: $(VENV)/installed-study ## train the first study, in a minute or two, and show what came of it
	$(BIN)/fanin run quick

test: $(VENV)/installed-test ## run the tests: no network, no GPU, nothing of minutes
	$(BIN)/python -m pytest -m "$(MARKS)"

test-all: $(VENV)/installed-test ## run all tests, also slow ones, and those of real data where FANIN_DATA_DIR is set
	$(BIN)/python -m pytest -m "$(if $(FANIN_DATA_DIR),not gpu,not gpu and not realdata)"

check: $(VENV)/installed-test ## what must pass before a change is committed: format, lint, types, tests
	$(BIN)/ruff format --check src tests docs examples benchmarks
	$(BIN)/ruff check src tests docs examples benchmarks
	$(BIN)/mypy
	$(BIN)/python -m pytest -m "$(MARKS)"

docs: $(VENV)/installed-docs ## build the documentation site into site/; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

$(VENV)/installed-study: $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[study]"
	@touch $@

$(VENV)/installed-test: $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[study,peers,dev]"
	@touch $@ $(VENV)/installed-study

$(VENV)/installed-docs: $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[docs]"
	@touch $@

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "fanin needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.11 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
