"""Check a golden pack: does LiteRT on this machine compute what it computed where the pack was made?

A pack holds a copy of this file, which needs Python 3.9, numpy and ai-edge-litert, and nothing of kerasft:

    python verify.py              # the unpacked pack that this file lies in
    python verify.py pack.zip     # another one, packed or unpacked

The exit code is 0 if every output keeps its tolerance, else 1. kerasft/export/clients/pack.py describes
the layout.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import sys
import time
import zipfile
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np

FORMAT, FORMAT_VERSION = "kerasft golden pack", 1
MACHINE = f"{platform.machine()} {platform.system()}"
RUNTIME = " ".join(["ai-edge-litert", *[d.version for d in distributions(name="ai-edge-litert")][:1]])


class PackError(ValueError):
    """A pack is damaged or was changed, or this machine can't run it."""


@dataclass(frozen=True)
class OutputCheck:
    """One output of the file against the golden ones.

    Attributes:
        name: Its name in the signature.
        max_difference: Largest |computed - golden| of its values in any case, as stored: for integers with a
            scale in steps of it; infinity where a value is not finite.
        tolerance: What is allowed, in the same unit.
        case: The case with the largest difference, counted from 0.
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
        latency_ms: Median time of a case in milliseconds, on one thread.
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


def verify_pack(path: str | os.PathLike[str]) -> Verification:
    """Check a pack's files against their hashes, and what its model computes against the golden outputs.

    Args:
        path: A pack: the .zip file, or the folder into which it was unpacked.

    Returns:
        The differences; `ok` says whether all are allowed.

    Raises:
        PackError: The pack is damaged, was changed, is of a newer format, or can't be run here.
        ImportError, OSError: ai-edge-litert is missing, or the pack can't be read.

    Example:
        >>> verify_pack("model.zip").ok  # doctest: +SKIP
        True
    """
    try:
        members = _Members(Path(path))
        return _verify(members, _manifest(members))
    except PackError:
        raise
    except RuntimeError as error:
        raise PackError(f"{RUNTIME} can't run the model: {error}") from error
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise PackError(f"manifest.json lacks something, or has it in another form: {error!r}") from error


def load(content: bytes, signature: str, *, kernels: str = "AUTO") -> Any:
    """A .tflite file's signature as a function of named arrays; `kernels` is an `OpResolverType`."""
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError as error:
        raise ImportError(f"LiteRT can't be used: {error}. pip install ai-edge-litert numpy") from error
    try:
        kind = OpResolverType[kernels]
        model = Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=kind)
        model.allocate_tensors()
        return model.get_signature_runner(signature)
    except (RuntimeError, ValueError) as error:
        raise PackError(f"{RUNTIME} can't load the model: {error}") from error


def difference(name: str, got: np.ndarray, golden: np.ndarray) -> float:
    """Largest difference of an output from the golden one, as stored; infinity if either is not finite."""
    if (found := f"{got.dtype} {got.shape}") != (wanted := f"{golden.dtype} {golden.shape}"):
        raise PackError(f"The output {name!r} is {found}; the golden one is {wanted}.")
    if not (np.isfinite(got).all() and np.isfinite(golden).all()):
        return np.inf
    return float(np.max(np.abs(got.astype("float64") - golden), initial=0.0))


class _Members:
    """The files of a pack, read by name, packed or unpacked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: list[str] = []  # all that an archive has
        self._archive: zipfile.ZipFile | None = None
        if path.is_dir():
            return
        content = path.read_bytes()
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(content))
            self.names = [i.filename for i in self._archive.infolist() if not i.is_dir()]
        except Exception as error:  # zipfile raises one of many
            found = "it is damaged or cut off: copy it again" if content[:2] == b"PK" else "it is no zip file"
            raise PackError(f"{path} is no golden pack: {found}.") from error

    def read(self, name: str) -> bytes:
        """The content of a member."""
        if {"", ".", ".."} & {*name.split("/")} or {"\\", ":", "\0"} & {*name}:
            raise PackError(f"The name {name!r} leads out of the pack; nothing was run.")
        try:
            return self._archive.read(name) if self._archive else (self.path / name).read_bytes()
        except Exception as error:
            raise PackError(f"{name} is missing or damaged in {self.path}: {error}") from error

    def array(self, about: dict[str, Any]) -> np.ndarray:
        """A golden tensor."""
        file, shape, dtype = about["file"], about["shape"], np.dtype(about["dtype"])
        content = self.read(file)
        if len(content) != np.prod(shape) * dtype.itemsize:
            raise PackError(f"{file} has {len(content)} bytes, which is no {dtype} {shape}.")
        return np.frombuffer(content, dtype.newbyteorder("<")).reshape(shape).astype(dtype)


def _manifest(members: _Members) -> dict[str, Any]:
    """The manifest, after a check of the format and of every file's hash."""
    try:
        manifest = json.loads(members.read("manifest.json").decode())
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, or nested without end
        raise PackError(f"manifest.json in {members.path} is no JSON: {error}") from error
    if manifest["format"] != FORMAT or manifest["format_version"] > FORMAT_VERSION:
        raise PackError(
            f"The pack is a {manifest['format']!r} of version {manifest['format_version']}; this reads a "
            f"{FORMAT!r} up to version {FORMAT_VERSION}. Use the pack's own verify.py, or update kerasft."
        )
    files, cases = manifest["files"], manifest["cases"]
    golden = [a["file"] for c in cases for side in ("inputs", "outputs") for a in c[side].values()]
    for name in (manifest["model"], *golden, *members.names):
        if (name not in files and name != "manifest.json") or members.names.count(name) > 1:
            raise PackError(f"{name} has no hash in the manifest of {members.path}, or is there twice.")
    for name, about in files.items():
        if hashlib.sha256(members.read(name)).hexdigest() != about["sha256"]:
            raise PackError(f"{name} in {members.path} was changed: its sha256 is not the manifest's.")
    return dict(manifest)


def _verify(members: _Members, manifest: dict[str, Any]) -> Verification:
    names = [t["name"] for t in manifest["outputs"]]
    if not (names and manifest["cases"] and all(0 <= t["tolerance"] < np.inf for t in manifest["outputs"])):
        raise PackError("manifest.json has no outputs, no cases, or no tolerance.")
    run = load(members.read(manifest["model"]), manifest["signature"])
    found: dict[str, list[float]] = {name: [] for name in names}
    times: list[float] = []
    for case in manifest["cases"]:
        inputs = {name: members.array(about) for name, about in case["inputs"].items()}
        golden = {name: members.array(case["outputs"][name]) for name in names}
        if not times:
            run(**inputs)  # the first call is slower than the others
        begin = time.perf_counter()
        got = run(**inputs)
        times.append(1000 * (time.perf_counter() - begin))
        for name in names:
            found[name].append(difference(name, got[name], golden[name]))
    checks = []
    for t in manifest["outputs"]:
        worst, unit = max(found[t["name"]]), "" if t["scale"] is None else " steps"
        checks.append(OutputCheck(t["name"], worst, t["tolerance"], found[t["name"]].index(worst), unit))
    origin, latency = f"{manifest['runtime']}, {manifest['machine']}", float(np.median(times))
    seen = (str(members.path), manifest["precision"], len(times), tuple(checks), latency)
    return Verification(*seen, runtime=RUNTIME, machine=MACHINE, origin=origin)


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
