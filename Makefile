# `make quickstart`, `make test`, `make test-fast` and `make coverage` need Python 3.11 or newer, and nothing else.
VENV ?= .venv
PYTHON ?= python3
QUICKSTART_ARGS ?=
# One worker for each processor; one that has nothing left to do takes tests from another.
PYTEST_ARGS ?= -n logical --maxprocesses 8 --dist worksteal
COVERAGE_ARGS ?= --cov=kerasft --cov=export --cov-report=term:skip-covered
# Python 3.12 counts lines for next to nothing; before, Keras's many calls make that cost half of the time again.
SYSMON = $(shell $(BIN)/python -c 'import sys; print("yes" if sys.version_info >= (3, 12) else "")')
BIN := $(VENV)/bin

.PHONY: quickstart test test-fast coverage lint types-kerasft types-export clean

quickstart: $(VENV)/.installed-demo
	$(BIN)/kerasft quickstart $(QUICKSTART_ARGS)

test: $(VENV)/.installed-test
	$(MAKE) -j2 lint types-kerasft types-export
	$(if $(SYSMON),COVERAGE_CORE=sysmon) $(BIN)/python -m pytest $(PYTEST_ARGS) $(if $(SYSMON),$(COVERAGE_ARGS))

# All tests, and the coverage of lines, whatever it takes.
coverage: $(VENV)/.installed-test
	$(BIN)/python -m pytest $(PYTEST_ARGS) $(COVERAGE_ARGS)

# The tests that start no process and speak to no other machine; of those that train, one of each file.
test-fast: $(VENV)/.installed-test
	$(MAKE) -j2 lint types-kerasft types-export
	$(BIN)/python -m pytest $(PYTEST_ARGS) -m "not (slow or process or browser or network or training)"

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types-kerasft: $(VENV)/.installed-test
	$(BIN)/mypy

types-export: $(VENV)/.installed-test
	$(BIN)/mypy export --cache-dir .mypy_cache/export

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "kerasft needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-%: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[$*]"
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info
