"""Examples in docstrings run, in every module that has one."""

import doctest
import importlib
import re
from pathlib import Path

import keras
import pytest

import kerasft

ROOT = Path(__file__).parent.parent
FOLDERS = {"kerasft": "kerasft", "export": "kerasft.export", "examples": "kerasft.examples"}


def modules_with_examples():
    """Names of the modules whose text has an example that is not skipped."""
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            if re.search(r"^\s*>>> (?!.*\+SKIP)", path.read_text(), re.MULTILINE):
                inner = path.relative_to(ROOT / folder).with_suffix("").parts
                yield ".".join([package, *(inner[:-1] if inner[-1] == "__init__" else inner)])


MODULES = list(modules_with_examples())
PUBLIC = {"keras": keras, **{name: getattr(kerasft, name) for name in kerasft.__all__}}


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs={**PUBLIC, **vars(module)})
    assert result.attempted > 0 and result.failed == 0


def test_the_modules_are_found():
    assert len(MODULES) >= 20
    assert {"kerasft", "kerasft.export", "kerasft.hub"} <= {name.rsplit(".", 1)[0] for name in MODULES}
