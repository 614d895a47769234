# Two commands from a fresh checkout: `make demo` and `make test`. `make help` lists the rest.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CACHE := $(VENV)/pytest-cache
PYTEST := $(BIN)/python -m pytest -o cache_dir=$(CACHE)

# Hundreds of processes start in the tests: none should compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

# Tests have bounds in seconds that hold for a machine of their own. What failed beside others is tried once more, alone; a
# test that fails twice, or more than a handful, is a failure.
AGAIN = { $(BIN)/python tests/few_failed.py $(CACHE) && $(PYTEST) -q --last-failed --last-failed-no-failures none tests; }

.PHONY: help demo test check static soak bench docs format system clean

DOCTESTS := broker fnrunner/api fnrunner/auth fnrunner/catalogue fnrunner/cli fnrunner/concurrency fnrunner/delivery fnrunner/invoke fnrunner/model fnrunner/runtimes fnrunner/sandbox fnrunner/settings.py fnrunner/telemetry fnrunner/worker sources

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/.run: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "fnrunner needs Python 3.11 or newer; this is $$($(PYTHON) --version). Try: make PYTHON=python3.13 $(MAKECMDGOALS)" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo 'installing fnrunner into $(VENV)'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . 2> >(grep -v '^WARNING' >&2 || true)
	@touch $@

$(BIN)/.develop: $(BIN)/.run
	@echo 'installing what the tests need into $(VENV)'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[postgres,test,check]' 2> >(grep -v '^WARNING' >&2 || true)
	@touch $@

demo: $(BIN)/.run ## drop files into a bucket, see a failure retried, dead-lettered, explained and redriven
	@$(BIN)/python examples/demo.py

system: ## install what the tests need from the system (with apt-get and root), or say what to type
	@bash tests/system_packages.sh

# Most tests wait for servers and processes rather than for a core, so several run at once, the long files first (see
# tests/distribution.py). Those of faults run whole installations and look at how fast these recover: fewer at once.
PARALLEL := -n 5 --dist loadfile
FAULTS := -n 3 --dist loadfile

static: $(BIN)/.develop ## format, lint, strict types, architecture
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-cache | tail -n 5

check: static ## the part under a minute: static checks, unit tests, conformance of the embedded broker
	@$(PYTEST) -q --doctest-modules $(DOCTESTS)
	@$(PYTEST) -q $(PARALLEL) -m 'not slow' tests/unit tests/conformance -k 'not rabbitmq'

test: $(BIN)/.develop system static ## everything
	@$(PYTEST) -q --doctest-modules $(DOCTESTS)
	@rm -rf $(CACHE)
	@$(PYTEST) -q $(PARALLEL) --durations=15 --ignore=tests/faults tests || $(AGAIN)
	@$(PYTEST) -q $(FAULTS) --durations=15 tests/faults || $(AGAIN)

soak: $(BIN)/.develop system ## strike an installation with seeded faults for an hour (SEED, MINUTES) and account for every event
	@$(BIN)/python -m tests.faults.soak --seed $${SEED:-1} --minutes $${MINUTES:-60}

bench: $(BIN)/.develop system ## print numbers beside Celery, Dramatiq, Taskiq and FastStream
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]' 2> >(grep -v '^WARNING' >&2 || true)
	@$(BIN)/python -m tests.bench

# A page that could not be made leaves the one that is there.
docs: $(BIN)/.run ## write docs/operations.md anew, the list of all operations
	@$(BIN)/python -m fnrunner.api.operations > $(VENV)/operations.md && mv $(VENV)/operations.md docs/operations.md

format: $(BIN)/.develop ## format and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean: ## remove what these commands made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
