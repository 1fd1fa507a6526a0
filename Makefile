# Everything runs in .venv, which is made on first use; a set of extras is installed again only when its versions change.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := src tests docs examples benchmarks
MARKS := not slow and not realdata and not gpu
# As many test processes as there are cores. A process that is done takes tests from the slowest.
PYTEST := $(BIN)/python -m pytest -n auto --dist worksteal --durations=25
# What works without any extra: names of test files, without test_ and .py.
CORE := activations apply* atomic audit* auto combinations dropout fans framework_defaults gains* initializers* \
  layer_parameters model* public_api record* registry seeds specs structure traps* user_code user_code_initializers user_code_models

export KERAS_BACKEND := jax
# Without compiled files every process that a test starts would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run test test-all test-core test-wheel test-zoo lint check coverage docs

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

run: $(VENV)/installed-study ## train the first study, in a minute or two, and show what came of it
	$(BIN)/fanin run quick

test: $(VENV)/installed-test ## run the tests: no network, no GPU, nothing of minutes
	$(PYTEST) -m "$(MARKS)"

test-all: $(VENV)/installed-test ## run all tests, also slow ones, and those of real data where FANIN_DATA_DIR is set
	$(PYTEST) -m "$(if $(FANIN_DATA_DIR),not gpu,not gpu and not realdata)"

test-core: ## install fanin without extras into .venv-core and run the tests of what works without
	$(MAKE) VENV=.venv-core .venv-core/installed-core
	.venv-core/bin/python -m pytest -n auto --dist worksteal -m "$(MARKS)" $(sort $(wildcard $(CORE:%=tests/test_%.py)))

test-wheel: ## build the distributions, install the wheel into .venv-wheel and try it from another folder
	rm -rf dist .venv-wheel
	$(MAKE) VENV=.venv-wheel .venv-wheel/installed-wheel
	tests/try_wheel.sh "$(CURDIR)/.venv-wheel/bin"

test-zoo: ## install timm, peft, trackers and others into .venv-zoo and test with them
	$(MAKE) VENV=.venv-zoo .venv-zoo/installed-zoo
	.venv-zoo/bin/python -m pytest -m "slow or not slow" tests/test_zoo.py tests/test_packages.py tests/test_added_peft.py tests/test_trackers.py tests/test_recipe_packages.py

lint: $(VENV)/installed-test ## check format, style and types
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy

check: lint test ## what must pass before a change is committed: format, style, types, tests

coverage: $(VENV)/installed-test ## run the tests and measure which lines of the package they execute
	$(PYTEST) -m "$(MARKS)" --cov --cov-report=term:skip-covered --cov-report=xml

docs: $(VENV)/installed-docs ## build the documentation site into site/; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

$(VENV)/installed-study: $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[study]"
	@touch $@

$(VENV)/installed-test: $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[study,peers,dev]"
	@touch $@ $(VENV)/installed-study

# Without dependencies: timm asks for a torchvision, and that for a torch of its own release. It does not load beside
# a torch for CPUs, and then neither do lightning and the Trainer of transformers: test-all has what needs those.
$(VENV)/installed-zoo: $(VENV)/installed-test
	$(BIN)/python -m pip install --quiet --no-deps -c constraints.txt timm torchvision peft torch_geometric \
	  accelerate psutil aiohttp aiosignal aiohappyeyeballs attrs frozenlist multidict propcache pyparsing xxhash yarl
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[tensorboard,mlflow]"
	@touch $@

$(VENV)/installed-core: $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[test]"
	@touch $@

$(VENV)/installed-wheel: $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet build
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m pip install --quiet -c constraints.txt "$$(echo dist/*.whl)[study]"
	@touch $@

$(VENV)/installed-docs: $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[docs]"
	@touch $@

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "fanin needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.11 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
