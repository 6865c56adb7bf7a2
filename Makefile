# Two commands: `make quickstart` and `make test`. Both need Python 3.11 or newer, and nothing else.
VENV ?= .venv
PYTHON ?= python3
QUICKSTART_ARGS ?=
PYTEST_ARGS ?= -n 2
BIN := $(VENV)/bin

.PHONY: quickstart test clean

quickstart: $(VENV)/.installed-demo
	$(BIN)/kerasft quickstart $(QUICKSTART_ARGS)

test: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy export
	$(BIN)/python -m pytest $(PYTEST_ARGS)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "kerasft needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-%: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[$*]"
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info
