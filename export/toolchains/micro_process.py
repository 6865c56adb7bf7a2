"""The process in which TFLite Micro runs: `python micro_process.py FOLDER`.

It imports numpy and tflite-micro alone, and a crash of the interpreter takes nothing else with it. The
folder holds `request.json`: the files to `load`, and how many `inputs` and `outputs` the first one has. If
there is an `inputs.npz`, with arrays named `SAMPLE/INPUT` by their numbers, the first file runs on these, in
the smallest arena that does, and `outputs.npz` is written, with arrays named `SAMPLE/OUTPUT`; else it runs on
zeros, and the others are loaded. `answer.json` says how it went.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

_SMALLEST, _LARGEST = 1 << 12, 1 << 30  # bytes of the arenas that are tried
_PROBE = 1 << 24  # bytes for a file that is only to fail
_STEP = 16  # bytes to which TFLite Micro aligns
_CRASHED = "its process was ended by the signal"
_TOO_SMALL = re.compile(
    rf"Failed to (allocate|resize)|memory planning|[Mm]issing: \d+|temp buffers|{_CRASHED}"
)


def main(folder: Path) -> None:
    """Do what the request says, and write the answer."""
    import tflite_micro

    request = json.loads((folder / "request.json").read_text())
    contents = [(folder / name).read_bytes() for name in request["load"]]
    if (folder / "inputs.npz").exists():
        answer = _run(contents[0], folder, int(request["outputs"]))
    else:
        said = [_refused(content, _PROBE) for content in contents[1:]]
        answer = {"said": [_on_zeros(contents[0], int(request["inputs"])), *said]}
    answer["version"] = tflite_micro.__version__
    (folder / "answer.json").write_text(json.dumps(answer))


def _run(content: bytes, folder: Path, outputs: int) -> dict[str, Any]:
    """Find the smallest arena in which a file loads, and run it there."""
    import numpy as np

    arena, said = _fitting(content)
    if said:
        return {"said": [said]}
    low, high = 0 if arena == _SMALLEST else arena // 2 // _STEP, arena // _STEP  # too small, large enough
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _refused(content, middle * _STEP) else (low, middle)
    interpreter, _ = _loaded(content, high * _STEP)
    made: dict[str, Any] = {}
    with np.load(folder / "inputs.npz") as inputs:
        rows: dict[str, dict[int, Any]] = {}
        for name in inputs.files:
            sample, number = name.split("/")
            rows.setdefault(sample, {})[int(number)] = inputs[name]
    for sample, values in rows.items():
        for number, value in values.items():
            interpreter.set_input(value, number)
        if said := _said_by(interpreter.invoke):
            return {"said": [said]}
        made |= {f"{sample}/{number}": interpreter.get_output(number) for number in range(outputs)}
    np.savez(folder / "outputs.npz", **made)
    return {"arena": high * _STEP}


def _fitting(content: bytes) -> tuple[int, str]:
    """An arena in which a file loads, found by doubling, and ""; or what TFLite Micro says of any."""
    arena = _SMALLEST
    while said := _refused(content, arena):
        if arena >= _LARGEST or not _TOO_SMALL.search(said):
            return 0, said
        arena *= 2
    return arena, ""


def _refused(content: bytes, arena: int) -> str:
    """What TFLite Micro says while it fails to load a file in an arena; "" if it does.

    It may end the process where an arena is too small, so it tries in a copy of this one.
    """
    with tempfile.TemporaryFile() as notes:
        child = os.fork()
        if child == 0:
            notes.write(_loaded(content, arena)[1].encode())
            notes.flush()
            sys.exit(0)
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status):
            return f"{_CRASHED} {os.WTERMSIG(status)}"
        notes.seek(0)
        return notes.read().decode()


def _on_zeros(content: bytes, inputs: int) -> str:
    """What TFLite Micro says while it fails to run a file on zeros; "" if it does."""
    import numpy as np

    arena, said = _fitting(content)
    if said:
        return said
    interpreter, _ = _loaded(content, arena)
    for number in range(inputs):
        details = interpreter.get_input_details(number)
        interpreter.set_input(np.zeros(details["shape"], details["dtype"]), number)
    return _said_by(interpreter.invoke)


def _loaded(content: bytes, arena: int) -> tuple[Any, str]:
    """An interpreter with an arena of so many bytes; or None, and what it said."""
    from tflite_micro import runtime

    made: list[Any] = []
    said = _said_by(lambda: made.append(runtime.Interpreter.from_bytes(content, arena_size=arena)))
    return (made[0] if made else None), said


def _said_by(action: Callable[[], object]) -> str:
    """What TFLite Micro writes and raises while it refuses to do something; "" if it does it."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            action()
        except (RuntimeError, ValueError, MemoryError) as error:
            os.dup2(kept, 2)
            notes.seek(0)
            with contextlib.suppress(OSError):
                return f"{notes.read().decode(errors='replace').strip()}\n{error}".strip()
        finally:
            os.dup2(kept, 2)
            os.close(kept)
    return ""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
