"""Check a golden pack: does LiteRT on this machine compute what it computed where the pack was made?

A pack holds a copy of this file and of `pack_files.py`, which reads packs. Both need Python 3.9, numpy and
ai-edge-litert, and nothing of kerasft:

    python verify.py              # the unpacked pack that this file lies in
    python verify.py pack.zip     # another one, packed or unpacked

The exit code is 0 if every output keeps its tolerance, else 1. kerasft/export/clients/pack.py describes
the layout.

A pack may come from anywhere: no file of it is read before its size is known, and LiteRT runs it in a process
of its own, so that a model that crashes the runtime, or never ends, is an error like any other.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

if __package__:
    from .pack_files import MOST_MODEL, Members, PackError, check_state, read_manifest, reading
else:  # in a pack, where these files are no package
    sys.path.append(str(Path(__file__).resolve().parent))
    from pack_files import (  # type: ignore[import-not-found,no-redef]
        MOST_MODEL,
        Members,
        PackError,
        check_state,
        read_manifest,
        reading,
    )

MACHINE = f"{platform.machine()} {platform.system()}"
SECONDS = 600.0  # that a pack's model may take in all

_MOST_STEPS = 1000  # of a case
_APART = "import runpy, sys; sys.path[:] = sys.argv[3:]; runpy.run_path(sys.argv[1])['answer'](sys.argv[2])"
RUNTIME = " ".join(["ai-edge-litert", *[d.version for d in distributions(name="ai-edge-litert")][:1]])
_KINDS = (PackError, ImportError, OSError)


@dataclass(frozen=True)
class OutputCheck:
    """One output of the file against the golden ones.

    Attributes:
        name: Its name in the signature, after that of the signature where a file has several: "train/loss".
        max_difference: Largest |computed - golden| of its values in any case, as stored: for integers with a
            scale in steps of it; infinity where a value is not finite.
        tolerance: What is allowed, in the same unit.
        case: The case with the largest difference, counted from 0 over all signatures.
        unit: " steps" for integers with a scale, else "".
    """

    name: str
    max_difference: float
    tolerance: float
    case: int
    unit: str

    @property
    def ok(self) -> bool:
        """Whether the difference is within the tolerance."""
        return self.max_difference <= self.tolerance

    def __str__(self) -> str:
        bad, verdict = np.isinf(self.max_difference), "ok" if self.ok else "FAILED"
        found = "is not finite" if bad else f"differs by up to {self.max_difference:.3g}{self.unit}"
        return f"{self.name} {found} (case {self.case}), allowed {self.tolerance:.3g}: {verdict}"


@dataclass(frozen=True)
class Verification:
    """The results of a pack's file on this machine; `str()` gives a readable summary.

    Attributes:
        path: The pack.
        precision: What the manifest says of the file.
        cases: Number of golden cases.
        outputs: One check for each output.
        latency_ms: Median time of a case, all its steps, in milliseconds, on one thread.
        runtime: LiteRT's version here.
        machine: Processor and system here.
        origin: Both, where the golden outputs come from.
    """

    path: str
    precision: str
    cases: int
    outputs: tuple[OutputCheck, ...]
    latency_ms: float
    runtime: str
    machine: str
    origin: str

    @property
    def ok(self) -> bool:
        """Whether every output is within its tolerance."""
        return all(output.ok for output in self.outputs)

    def __str__(self) -> str:
        lines = [f"{self.path}: {self.precision}, golden cases: {self.cases}, {self.latency_ms:.3g} ms each"]
        lines += [f"  {output}" for output in self.outputs]
        lines += [f"  golden: {self.origin}; here: {self.runtime}, {self.machine}"]
        return "\n".join([*lines, "verified" if self.ok else "FAILED"])


def verify_pack(path: str | os.PathLike[str], *, seconds: float = SECONDS) -> Verification:
    """Check a pack's files against their hashes, and what its model computes against the golden outputs.

    The model runs in a process of its own, which ends with the call.

    Args:
        path: A pack: the .zip file, or the folder into which it was unpacked.
        seconds: How long the model may take, all cases together.

    Returns:
        The differences; `ok` says whether all are allowed.

    Raises:
        PackError: The pack is damaged, was changed, is of a newer format, or can't be run here: the model
            crashes the runtime, or takes longer than `seconds`.
        ImportError, OSError: ai-edge-litert is missing, or the pack can't be read.

    Example:
        >>> verify_pack("model.zip").ok  # doctest: +SKIP
        True
    """
    if not 0 < seconds < math.inf:
        raise ValueError(f"seconds is a number above 0; received {seconds}.")
    with reading(path) as members:
        read_manifest(members)
    require_litert()
    command = [sys.executable, "-I", "-c", _APART, str(Path(__file__).resolve()), os.fspath(path), *sys.path]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise PackError(
            f"The model of {path} did not end within {seconds:g} seconds in {RUNTIME}. If it is only large, "
            "allow it more by verify_pack(path, seconds=…)."
        ) from None
    if done.returncode:
        raise PackError(
            f"The model of {path} crashes {RUNTIME} (exit code {done.returncode}): it is damaged, or made "
            "for another runtime."
        )
    found = json.loads(done.stdout.splitlines()[-1])
    if "error" in found:
        raise next(kind for kind in _KINDS if kind.__name__ == found["error"])(found["message"])
    checks = tuple(OutputCheck(**check) for check in found["outputs"])
    return Verification(**{**found, "path": str(path), "outputs": checks})


def answer(path: str) -> None:
    """Print what `verify_here` finds, or its error, as a line of JSON: the other side of `verify_pack`."""
    try:
        found = asdict(verify_here(path))
    except _KINDS as error:
        kind = next(kind for kind in _KINDS if isinstance(error, kind))
        found = {"error": kind.__name__, "message": str(error)}
    print("\n" + json.dumps(found), flush=True)


def verify_here(path: str | os.PathLike[str]) -> Verification:
    """Do as `verify_pack` in this process, for a pack that is known: a model that crashes ends it."""
    with reading(path) as members, _running():
        return _verify(members, read_manifest(members))


@contextlib.contextmanager
def _running() -> Iterator[None]:
    """What goes wrong with a model is a `PackError`."""
    try:
        yield
    except RuntimeError as error:
        raise PackError(f"{RUNTIME} can't run the model: {error}") from error


def require_litert() -> None:
    """Raise ImportError, which says what to install, unless LiteRT is there."""
    try:
        if find_spec("ai_edge_litert") is not None:
            return
        error = ImportError("it is not installed")
    except ImportError as missing:
        error = missing
    raise ImportError(f"LiteRT can't be used: {error}. pip install ai-edge-litert numpy")


def load(content: bytes, signature: str, *, kernels: str = "AUTO") -> Any:
    """A .tflite file's signature as a function of named arrays; `kernels` is an `OpResolverType`."""
    require_litert()
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    try:
        kind = OpResolverType[kernels]
        model = Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=kind)
        model.allocate_tensors()
        return model.get_signature_runner(signature)
    except (RuntimeError, ValueError) as error:
        raise PackError(f"{RUNTIME} can't load the model, signature {signature!r}: {error}") from error


def difference(name: str, got: np.ndarray, golden: np.ndarray) -> float:
    """Largest difference of an output from the golden one, as stored; infinity if either is not finite."""
    if (found := f"{got.dtype} {got.shape}") != (wanted := f"{golden.dtype} {golden.shape}"):
        raise PackError(f"The output {name!r} is {found}; the golden one is {wanted}.")
    if not (np.isfinite(got).all() and np.isfinite(golden).all()):
        return np.inf
    return float(np.max(np.abs(got.astype("float64") - golden), initial=0.0))


def after(run: Callable[..., Any], inputs: Mapping[str, np.ndarray], steps: int) -> dict[str, np.ndarray]:
    """What a signature gives after steps: of each, the outputs are the next one's inputs of their names."""
    given, got = dict(inputs), dict[str, np.ndarray]()
    for _ in range(steps):
        got = run(**given)
        given = {name: got.get(name, value) for name, value in given.items()}
    return got


def _verify(members: Members, manifest: dict[str, Any]) -> Verification:
    signatures = manifest["signatures"]
    allowed = [t["tolerance"] for s in signatures.values() for t in s["outputs"]]
    sound = all(type(a) in (int, float) and 0 <= a <= sys.float_info.max for a in allowed)
    if not (sound and manifest["cases"] and all(s["outputs"] for s in signatures.values())):
        raise PackError("manifest.json has no outputs, no cases, or no tolerance.")
    if manifest["state"]:
        check_state(members, manifest["state"])
    content = members.read(manifest["model"], MOST_MODEL)
    runs = {signature: load(content, signature) for signature in signatures}
    found: dict[tuple[str, str], dict[int, float]] = {}
    times: list[float] = []
    for number, case in enumerate(manifest["cases"]):
        signature, steps = case["signature"], case["steps"]
        if type(steps) is not int or not 1 <= steps <= _MOST_STEPS:
            raise PackError(f"Case {number} has {steps!r} steps, and not 1 to {_MOST_STEPS}.")
        run, inputs = runs[signature], {n: members.array(a) for n, a in case["inputs"].items()}
        names = [t["name"] for t in signatures[signature]["outputs"]]
        golden = {name: members.array(case["outputs"][name]) for name in names}
        if not any(seen == signature for seen, _ in found):
            run(**inputs)  # the first call is slower than the others
        begin = time.perf_counter()
        got = after(run, inputs, steps)
        times.append(1000 * (time.perf_counter() - begin))
        for name in names:
            found.setdefault((signature, name), {})[number] = difference(name, got[name], golden[name])
    checks = tuple(
        _check(t, found.get((signature, t["name"])), f"{signature}/" if len(signatures) > 1 else "")
        for signature, tensors in signatures.items()
        for t in tensors["outputs"]
    )
    origin, latency = f"{manifest['runtime']}, {manifest['machine']}", float(np.median(times))
    seen = (str(members.path), manifest["precision"], len(times), checks, latency)
    return Verification(*seen, runtime=RUNTIME, machine=MACHINE, origin=origin)


def _check(tensor: dict[str, Any], found: dict[int, float] | None, prefix: str) -> OutputCheck:
    """The largest difference of an output in any case."""
    name, unit = prefix + tensor["name"], "" if tensor["scale"] is None else " steps"
    if not found:
        raise PackError(f"manifest.json has no cases of {name!r}.")
    case = max(found, key=lambda number: found[number])
    return OutputCheck(name, found[case], float(tensor["tolerance"]), case, unit)


def main() -> int:
    """Verify the pack named on the command line, or the one that this file lies in; return the exit code."""
    try:
        verification = verify_pack(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parent)
    except (ValueError, ImportError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(verification)
    return 0 if verification.ok else 1


if __name__ == "__main__":
    sys.exit(main())
