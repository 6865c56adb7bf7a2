"""Check a golden pack: does LiteRT on this machine compute what it computed where the pack was made?

A pack holds a copy of this file, which needs Python 3.9, numpy and ai-edge-litert, and nothing of kerasft:

    python verify.py              # the unpacked pack that this file lies in
    python verify.py pack.zip     # another one, packed or unpacked

The exit code is 0 if every output keeps its tolerance, else 1. kerasft/export/clients/pack.py describes
the layout.

A pack may come from anywhere: no file of it is read before its size is known, and LiteRT runs it in a process
of its own, so that a model that crashes the runtime, or never ends, is an error like any other.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import platform
import stat
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

FORMAT, FORMAT_VERSION = "kerasft golden pack", 1
MACHINE = f"{platform.machine()} {platform.system()}"
SECONDS = 600.0  # that a pack's model may take in all

_MOST_MODEL, _MOST_GOLDEN, _MOST_OTHER = 2**31, 2**28, 2**24  # bytes of a member; no .tflite file is larger
_DTYPES = ("bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)))
_DTYPES += ("float16", "float32", "float64")
_APART = "import runpy, sys; sys.path[:] = sys.argv[3:]; runpy.run_path(sys.argv[1])['answer'](sys.argv[2])"
RUNTIME = " ".join(["ai-edge-litert", *[d.version for d in distributions(name="ai-edge-litert")][:1]])


class PackError(ValueError):
    """A pack is damaged or was changed, or this machine can't run it."""


_KINDS = (PackError, ImportError, OSError)


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
    with _reading(path) as members:
        _manifest(members)
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
    with _reading(path) as members:
        return _verify(members, _manifest(members))


@contextlib.contextmanager
def _reading(path: str | os.PathLike[str]) -> Iterator[_Members]:
    """The files of a pack; what goes wrong with them is a `PackError`."""
    try:
        with contextlib.closing(_Members(Path(path))) as members:
            yield members
    except PackError:
        raise
    except RuntimeError as error:
        raise PackError(f"{RUNTIME} can't run the model: {error}") from error
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError, MemoryError) as error:
        raise PackError(f"manifest.json lacks something, or has it in another form: {error!r}") from error


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
        raise PackError(f"{RUNTIME} can't load the model: {error}") from error


def difference(name: str, got: np.ndarray, golden: np.ndarray) -> float:
    """Largest difference of an output from the golden one, as stored; infinity if either is not finite."""
    if (found := f"{got.dtype} {got.shape}") != (wanted := f"{golden.dtype} {golden.shape}"):
        raise PackError(f"The output {name!r} is {found}; the golden one is {wanted}.")
    if not (np.isfinite(got).all() and np.isfinite(golden).all()):
        return np.inf
    return float(np.max(np.abs(got.astype("float64") - golden), initial=0.0))


class _Members:
    """The files of a pack, read by name, packed or unpacked, each up to a size."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: list[str] = []  # all that an archive has
        self._archive: zipfile.ZipFile | None = None
        if path.is_dir():
            return
        if not stat.S_ISREG(path.stat().st_mode):
            raise PackError(f"{path} is neither a file nor a folder.")
        mark = _check_size(path)
        try:
            self._archive = zipfile.ZipFile(path)
            self.names = [i.filename for i in self._archive.infolist() if not i.is_dir()]
        except Exception as error:  # zipfile raises one of many
            found = "it is damaged or cut off: copy it again" if mark == b"PK" else "it is no zip file"
            raise PackError(f"{path} is no golden pack: {found}.") from error

    def close(self) -> None:
        """Close the archive."""
        if self._archive is not None:
            self._archive.close()

    def read(self, name: str, most: int = _MOST_OTHER) -> bytes:
        """The content of a member, which takes up to `most` bytes."""
        return b"".join(self.parts(name, most))

    def parts(self, name: str, most: int) -> Iterator[bytes]:
        """The content of a member in parts of a megabyte."""
        if (size := self.size(name)) > most:
            raise PackError(f"{name} in {self.path} takes {size} bytes; at most {most} are read.")
        try:
            with self._archive.open(name) if self._archive else (self.path / name).open("rb") as file:
                while part := file.read(2**20):
                    yield part
        except Exception as error:
            raise self._broken(name, error) from error

    def size(self, name: str) -> int:
        """How many bytes a member takes: an archive gives no more than it says."""
        if {"", ".", ".."} & {*name.split("/")} or {"\\", ":", "\0"} & {*name}:
            raise PackError(f"The name {name!r} leads out of the pack; nothing was run.")
        try:
            if self._archive is None:
                return self._size(name)
            info = self._archive.getinfo(name)
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise OSError("it is compressed in another way than a pack's files are")
            return info.file_size
        except Exception as error:
            raise self._broken(name, error) from error

    def _broken(self, name: str, error: Exception) -> PackError:
        return PackError(f"{name} is missing or damaged in {self.path}: {error}")

    def _size(self, name: str) -> int:
        """The size of a file in the folder."""
        file = (self.path / name).resolve(strict=True)
        if not file.is_relative_to(self.path.resolve()) or not file.is_file():
            raise OSError("it is no file of this folder")
        return file.stat().st_size

    def array(self, about: dict[str, Any]) -> np.ndarray:
        """A golden tensor."""
        file, shape = about["file"], about["shape"]
        if about["dtype"] not in _DTYPES or not all(type(n) is int and n >= 0 for n in shape):
            raise PackError(f"{file} is no array of {about['dtype']!r} and {shape}, but of one of {_DTYPES}.")
        dtype = np.dtype(about["dtype"])
        content = self.read(file, _MOST_GOLDEN)
        if len(content) != math.prod(shape) * dtype.itemsize:
            raise PackError(f"{file} has {len(content)} bytes, which is no {dtype} {shape}.")
        return np.frombuffer(content, dtype.newbyteorder("<")).reshape(shape).astype(dtype)


def _check_size(path: Path) -> bytes:
    """Raise PackError if a file, or the list of what it holds, is larger than a pack's; return its mark."""
    with path.open("rb") as file:
        mark, size = file.read(2), file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 2**16 - 22))
        end = file.read()
    at = end.rfind(b"PK\x05\x06")
    listed = int.from_bytes(end[at + 12 : at + 16], "little") if at >= 0 else 0
    if size > _MOST_MODEL + 2 * _MOST_GOLDEN or listed > _MOST_OTHER:
        raise PackError(f"{path} is no golden pack: it takes {size} bytes, and its list of files {listed}.")
    return mark


def _manifest(members: _Members) -> dict[str, Any]:
    """The manifest, after a check of the format and of every file's hash."""
    try:
        manifest = json.loads(members.read("manifest.json").decode())
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, or nested without end
        if isinstance(error, PackError):
            raise
        raise PackError(f"manifest.json in {members.path} is no JSON: {error}") from error
    if manifest["format"] != FORMAT or manifest["format_version"] > FORMAT_VERSION:
        raise PackError(
            f"The pack is a {manifest['format']!r} of version {manifest['format_version']}; this reads a "
            f"{FORMAT!r} up to version {FORMAT_VERSION}. Use the pack's own verify.py, or update kerasft."
        )
    files, cases, model = manifest["files"], manifest["cases"], manifest["model"]
    golden = [a["file"] for c in cases for side in ("inputs", "outputs") for a in c[side].values()]
    counts = Counter(members.names)
    for name in (model, *golden, *members.names):
        if (name not in files and name != "manifest.json") or counts[name] > 1:
            raise PackError(f"{name} has no hash in the manifest of {members.path}, or is there twice.")
    if (total := sum(map(members.size, golden))) > _MOST_GOLDEN:
        raise PackError(f"The golden values in {members.path} take {total} bytes, more than {_MOST_GOLDEN}.")
    most = {model: _MOST_MODEL, **dict.fromkeys(golden, _MOST_GOLDEN)}
    for name, about in files.items():
        found = hashlib.sha256()
        for part in members.parts(name, most.get(name, _MOST_OTHER)):
            found.update(part)
        if found.hexdigest() != about["sha256"]:
            raise PackError(f"{name} in {members.path} was changed: its sha256 is not the manifest's.")
    return dict(manifest)


def _verify(members: _Members, manifest: dict[str, Any]) -> Verification:
    names = [t["name"] for t in manifest["outputs"]]
    allowed = [t["tolerance"] for t in manifest["outputs"]]
    sound = all(type(a) in (int, float) and 0 <= a <= sys.float_info.max for a in allowed)
    if not (names and manifest["cases"] and sound):
        raise PackError("manifest.json has no outputs, no cases, or no tolerance.")
    run = load(members.read(manifest["model"], _MOST_MODEL), manifest["signature"])
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
        checks.append(
            OutputCheck(t["name"], worst, float(t["tolerance"]), found[t["name"]].index(worst), unit)
        )
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
