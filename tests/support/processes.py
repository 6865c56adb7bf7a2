"""Tests that start processes or train: found by what their code names, and watched while they run.

A test is marked `process` if it, a fixture of it or a function that these call names one of STARTERS,
`browser` if it asks for a browser, and `training` if they name one of TRAINERS; the first such test of each
file is not, so that a run without training still trains once with each. A name is no proof: a run that leaves
out what starts processes fails any other test that starts a program or speaks to another machine.
"""

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

STARTERS = {
    "subprocess", "forked", "ray", "search_on_ray",
    "Draft", "Variants", "converter_process", "ladder", "to_tflite", "variants_of",  # TFLite's converter
    "to_trainable_tflite",
    "ExportedAccuracy", "verify_pack", "compile_for_ethos_u", "run_on_micro",
    "TFLiteConverter",  # the same in the test's own process, which takes as long
}  # fmt: skip
TRAINERS = {"fit", "search", "train_on_batch", "evaluate", "apply"}
BROWSERS = {"chromium", "npm"}
LOOKUPS = ("fc-list", "gcc", "ldconfig", "uname")  # what libraries ask the system for
LOOPBACK = ("127.", "::1", "localhost")

_watched: list[pytest.Item] = []


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def names_of(function: Callable[..., Any], seen: set[Any] | None = None) -> set[str]:
    """The names that a function uses, with those that functions of tests use which it calls."""
    seen = set() if seen is None else seen
    function = inspect.unwrap(function)
    if function in seen or not hasattr(function, "__code__"):
        return set()
    seen.add(function)
    found = set(_names(function.__code__))
    named = [function.__globals__[name] for name in found if name in function.__globals__]
    named += [getattr(m, name) for m in named if inspect.ismodule(m) for name in found if name in vars(m)]
    for called in named:
        if inspect.isfunction(called) and "/tests/" in called.__code__.co_filename:
            found |= names_of(called, seen)
    return found


def mark(items: Iterable[pytest.Item]) -> None:
    """Mark tests by what their code names."""
    trained: set[Path] = set()
    for item in items:
        if isinstance(item, pytest.Function):
            _mark(item, trained)


def _mark(item: pytest.Function, trained: set[Path]) -> None:
    fixtures = item._fixtureinfo.name2fixturedefs
    names = names_of(item.function)
    for definitions in fixtures.values():
        names |= names_of(definitions[-1].func)
    if BROWSERS & set(fixtures):
        item.add_marker("browser")
    if STARTERS & names:
        item.add_marker("process")
    elif TRAINERS & names and item.get_closest_marker("slow") is None:
        if item.path in trained:
            item.add_marker("training")
        trained.add(item.path)


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watched:
        return
    if event in ("subprocess.Popen", "os.fork", "kerasft.tests.fork"):
        program = str(arguments[0] if arguments else "a fork")
        if not program.endswith(LOOKUPS):
            pytest.fail(f"{_watched[0].name} starts {program}: mark it `process`")
    if event == "socket.connect":
        address = arguments[1]
        if isinstance(address, tuple) and not str(address[0]).startswith(LOOPBACK):
            pytest.fail(f"{_watched[0].name} speaks to {address[0]}: mark it `network`")


sys.addaudithook(_watch)


def watch(item: pytest.Item) -> None:
    """From here on the test fails if it starts a process."""
    _watched[:] = [item]


def release() -> None:
    """No test is watched."""
    _watched.clear()
