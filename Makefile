# Each target needs Python 3.11 or newer, and nothing else.
VENV ?= .venv
FLOOR_VENV ?= .venv-floor
PYTHON ?= python3
QUICKSTART_ARGS ?=
# One worker for each processor; one that has nothing left to do takes tests from another.
PYTEST_ARGS ?= -n logical --maxprocesses 8 --dist worksteal
COVERAGE_ARGS ?= --cov=kerasft --cov=export --cov-report=term:skip-covered
# Python 3.12 counts lines for next to nothing; before, Keras's many calls make that cost half of the time again.
SYSMON = $(shell $(BIN)/python -c 'import sys; print("yes" if sys.version_info >= (3, 12) else "")')
BIN := $(VENV)/bin

# Folders whose tests run with the lowest versions that setup.cfg allows.
FLOOR_TESTS ?= tests/_keras/test_call_graph.py tests/_keras/test_fit_loop.py tests/_keras/test_layers.py \
	tests/_keras/test_tracing.py tests/_keras/test_training_step.py tests/_keras/optimizer/test_references.py \
	tests/_keras/optimizer/test_named_state.py tests/stages tests/freezing tests/learning_rates/test_multipliers.py tests/probe \
	tests/unfreezing tests/cache tests/hub tests/search/test_hypermodel.py tests/commands/test_main.py \
	tests/export/model tests/export/tflite_file tests/test_backup.py \
	tests/data/test_pictures.py tests/data/test_rule.py tests/data/test_examine.py tests/data/test_folder.py
QUICK = -m "not (slow or process or browser or network or training)"

.PHONY: quickstart test test-fast test-floor coverage docs lint types-kerasft types-export clean

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
	$(BIN)/python -m pytest $(PYTEST_ARGS) $(QUICK)

# The quick tests of the core, with the lowest versions of all packages that setup.cfg names. Old versions warn.
test-floor: $(FLOOR_VENV)/.installed
	$(FLOOR_VENV)/bin/kerasft --help > /dev/null
	$(FLOOR_VENV)/bin/python -m pytest $(PYTEST_ARGS) -o filterwarnings= $(QUICK) $(FLOOR_TESTS)

# The pages of docs/ as a site in site/: a warning is an error. The banner speaks of other tools.
docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

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

$(FLOOR_VENV)/.installed: setup.cfg
	$(PYTHON) -m venv $(FLOOR_VENV)
	$(FLOOR_VENV)/bin/python -m pip install --quiet uv
	$(FLOOR_VENV)/bin/uv pip install --quiet --python $(FLOOR_VENV)/bin/python --resolution lowest-direct --editable .
	$(FLOOR_VENV)/bin/uv pip install --quiet --python $(FLOOR_VENV)/bin/python pytest pytest-xdist scikit-learn matplotlib
	@touch $@

clean:
	rm -rf $(VENV) $(FLOOR_VENV) build site *.egg-info
