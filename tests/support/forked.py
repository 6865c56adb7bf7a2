"""Scripts in processes of their own, forked from one that has imported TensorFlow and computed nothing.

A new Python takes five seconds until TensorFlow is imported; a fork begins as it does after that, shares
nothing that is written later, and is killed as any other process.
"""

import contextlib
import importlib
import multiprocessing
import os
import runpy
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

SUPPORT = Path(__file__).parent

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["pytest", "keras", "kerasft.unfreezing", "kerasft.backup", "kerasft.hub"])


def start(script: str, *arguments: object, folder: Path, **environment: str) -> BaseProcess:
    """Start a script of tests/support that prints to `output.txt` and `errors.txt` in a folder."""
    sys.audit("kerasft.tests.fork", script)
    given = script, [str(a) for a in arguments], folder, environment
    process = _context.Process(target=_run, args=given, daemon=True)
    process.start()
    return process


def finish(process: BaseProcess, seconds: float = 600) -> int | None:
    """Wait for a process to end; its exit code, or None if it still runs."""
    process.join(seconds)
    return process.exitcode


def run(script: str, *arguments: object, folder: Path, **environment: str) -> list[str]:
    """The lines that a script prints."""
    code = finish(start(script, *arguments, folder=folder, **environment))
    assert code == 0, (folder / "errors.txt").read_text()[-4000:]
    return (folder / "output.txt").read_text().splitlines()


def _run(script: str, arguments: list[str], folder: Path, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    sys.argv = [script, *arguments]
    with (folder / "output.txt").open("w") as output, (folder / "errors.txt").open("w") as errors:
        os.dup2(errors.fileno(), 2)
        with contextlib.redirect_stdout(output):
            importlib.import_module("untuned_data")
            runpy.run_path(str(SUPPORT / script), run_name="__main__")
