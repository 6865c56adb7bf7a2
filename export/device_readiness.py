"""Operations that targets refuse in a .tflite file: by their documents, or run and compiled for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from .errors import ExportError
from .tflite_file import Evidence, Operation, Readiness, Refusal, documented, read_operations
from .toolchains import ACCELERATORS, built_from, check_ethos_u, micro_refusals, xnnpack_leaves

_RUN, _COMPILED = "run", "compiled"
MEASURED = ("xnnpack", "micro", *ACCELERATORS)
"""Targets for which a file is run or compiled."""

Found = tuple[Evidence, Mapping[int, str]]  # and why operations are refused, by their places


def readiness(path_or_bytes: str | Path | bytes, *, targets: Sequence[str] = ()) -> Readiness:
    """Find what small devices and accelerators would refuse in a .tflite file, and why.

    An Edge TPU, the GPU delegate and XNNPACK are held against their documents; `export.tflite_file.delegates`
    says where these rules come from and what they leave out. For each of `targets` the file is run or
    compiled, in a process of its own. Each row says which it was, and the version.

    Args:
        path_or_bytes: The file's path, or its bytes.
        targets: "xnnpack" (the file runs in LiteRT on this machine), "micro" (in TFLite Micro, with
            `kerasft[micro]`), and names of ACCELERATORS (Vela compiles it, with `kerasft[ethos-u]`).

    Raises:
        ValueError: It is no .tflite file, or there is no such target.
        ImportError: A target's toolchain is missing.

    Example:
        ```python
        print(kerasft.export.readiness("model.tflite", targets=["micro", "ethos-u55-128"]))
        ```
    """
    if isinstance(targets, str) or not set(targets) <= set(MEASURED):
        raise ValueError(f"targets are names out of {', '.join(MEASURED)}; received {targets!r}.")
    if not isinstance(path_or_bytes, bytes) and (path := Path(path_or_bytes)).exists() and not path.is_file():
        raise ValueError(f"{path} is no .tflite file, nor any other.")
    content = path_or_bytes if isinstance(path_or_bytes, bytes) else Path(path_or_bytes).read_bytes()
    found = documented(content)
    operations = read_operations(content)
    refusals, evidence = dict(found.refusals), dict(found.evidence)
    for name in dict.fromkeys(targets):
        said, reasons = _measured(name)(content, operations, found)
        evidence[name] = said
        refusals[name] = tuple(
            Refusal(name, o.name, o.outputs[0].name if o.outputs else "", reasons[place], place)
            for place, o in enumerate(operations)
            if place in reasons
        )
    return Readiness(found.operations, refusals, evidence)


def _measured(target: str) -> Callable[[bytes, Sequence[Operation], Readiness], Found]:
    if target == "xnnpack":
        return _in_litert
    if target == "micro":
        return _in_micro
    return lambda content, operations, _: _by_vela(content, operations, target)


def _in_litert(content: bytes, operations: Sequence[Operation], found: Readiness) -> Found:
    """What XNNPACK leaves to LiteRT's own kernels where LiteRT runs the file."""
    ran = Evidence(_RUN, f"LiteRT {version('ai-edge-litert')}")
    try:
        left, count = xnnpack_leaves(content)
    except ExportError as error:
        return ran, dict.fromkeys(range(len(operations)), str(error))
    known = {r.position: r.reason for r in found.refusals["xnnpack"]}
    inner = {place: why for place, why in known.items() if place >= count}  # bodies of loops
    return ran, {**{place: known.get(place, "left to LiteRT's kernel") for place in left}, **inner}


def _in_micro(content: bytes, operations: Sequence[Operation], _: Readiness) -> Found:
    """What TFLite Micro lacks of a file, or can't run."""
    try:
        ran, reasons = micro_refusals(content)
    except ExportError as error:
        ran, reasons = version("tflite-micro"), {o.name: str(error) for o in operations}
    places = {i: reasons[o.name] for i, o in enumerate(operations) if o.name in reasons}
    return Evidence(_RUN, f"TFLite Micro {ran}"), places


def _by_vela(content: bytes, operations: Sequence[Operation], accelerator: str) -> Found:
    """What Vela leaves to the CPU of a file."""
    check_ethos_u()
    compiled = Evidence(_COMPILED, f"Vela {version('ethos-u-vela')}")
    try:
        built, made = built_from(content, accelerator)
    except ExportError as error:
        return compiled, dict.fromkeys(range(len(operations)), str(error))
    left = {t.name for o in read_operations(made) if o.name in built.on_cpu for t in o.outputs}
    places = {
        place: built.reasons.get(o.outputs[0].name, "left to the CPU")
        for place, o in enumerate(operations)
        if o.outputs and o.outputs[0].name in left
    }
    if len(places) == sum(built.on_cpu.values()):
        return compiled, places
    # Vela has given tensors other names, so that one of a kind can't be told from the others
    return compiled, {
        place: f"{built.on_cpu[o.name]} of these are left to the CPU"
        for place, o in enumerate(operations)
        if o.name in built.on_cpu
    }
