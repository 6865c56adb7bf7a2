"""TFLite Micro's interpreter in a process of its own: what it answers, and which operations it lacks."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ExportError
from ..parity import Sample
from ..scratch import scratch
from ..tflite_file import custom, model_of, packed, read_operations, unpacked

UNKNOWN = re.compile(r"Didn't find op for builtin opcode '(\w+)'")
_UNKNOWN_CUSTOM = "Failed to get registration from op code CUSTOM"
_SCRIPT = Path(__file__).with_name("micro_process.py")
_SECONDS = 600
_NO_OPERATION = "kerasft_ends_here"


def check_micro() -> None:
    """Raise ImportError unless tflite-micro is installed."""
    if importlib.util.find_spec("tflite_micro") is None:
        raise ImportError(
            "TFLite Micro's interpreter needs tflite-micro, which is not installed: "
            'pip install "kerasft[micro]" (it has wheels for Linux on x86_64).'
        )


def micro_refusals(content: bytes) -> tuple[str, dict[str, str]]:
    """The version of TFLite Micro, which runs a file on zeros, and why it refuses operations, by their kind.

    Args:
        content: The file's bytes.

    Returns:
        The version, and a reason for each kind of operation that is missing, or for the first one that can't
        run, or for all where TFLite Micro does not say which; empty where the file runs.

    Raises:
        ImportError: tflite-micro is missing.
        ExportError: Its process ended by itself.
    """
    check_micro()
    probes, custom_names = _probes(content), custom(read_operations(content))
    answer, _ = asked([content, *probes.values()], None, ([], []))
    missing = {
        name: "TFLite Micro has no such operation"
        for name, said in zip(probes, answer["said"][1:], strict=True)
        if UNKNOWN.search(said) or (name in custom_names and _UNKNOWN_CUSTOM in said)
    }
    if missing or not answer["said"][0]:
        return answer["version"], missing
    said = answer["said"][0]
    node = re.search(r"Node (\w+) \(number", said)
    return answer["version"], dict.fromkeys([node[1]] if node else probes, in_a_line(said))


def asked(
    contents: Sequence[bytes], samples: Sequence[Sample] | None, names: tuple[list[str], list[str]]
) -> tuple[dict[str, Any], list[Sample]]:
    """The answer of the process of TFLite Micro, and the outputs that it gave for samples.

    Args:
        contents: Files, of which the first one is run and the others are loaded.
        samples: Inputs of the first one, as it takes them; None runs it on zeros.
        names: Names of its inputs and of its outputs in its own order.

    Raises:
        ExportError: The process ended by itself.
    """
    with scratch() as folder:
        files = [f"{number}.tflite" for number in range(len(contents))]
        for name, content in zip(files, contents, strict=True):
            (folder / name).write_bytes(content)
        inputs = model_of(contents[0]).Subgraphs(0).InputsLength()
        request = {"load": files, "inputs": inputs, "outputs": len(names[1])}
        (folder / "request.json").write_text(json.dumps(request))
        if samples is not None:
            arrays = {f"{i}/{k}": s[name] for i, s in enumerate(samples) for k, name in enumerate(names[0])}
            np.savez(folder / "inputs.npz", **arrays)  # type: ignore[arg-type]
        command = [sys.executable, "-P", str(_SCRIPT), str(folder)]
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise ExportError(f"TFLite Micro did not run the file within {_SECONDS} seconds.") from error
        if ended.returncode != 0 or not (folder / "answer.json").exists():
            raise ExportError(
                f"TFLite Micro's process ended by itself on this file (exit status {ended.returncode}): "
                f"{in_a_line(ended.stderr) or 'it said nothing'}."
            )
        answer = json.loads((folder / "answer.json").read_text())
        outputs: list[Sample] = []
        if (folder / "outputs.npz").exists() and samples is not None:
            with np.load(folder / "outputs.npz") as made:
                outputs = [
                    {name: made[f"{i}/{k}"] for k, name in enumerate(names[1])} for i in range(len(samples))
                ]
    return answer, outputs


def _probes(content: bytes) -> dict[str, bytes]:
    """By kind of operation, a file that has one of it, then one that no interpreter has.

    TFLite Micro looks all operations up before it prepares any, so what it fails at first tells whether it
    has the kind, without running anything. It does not tell one custom operation from another, so the file of
    a custom one has nothing after it.
    """
    from ai_edge_litert import schema_py_generated as schema

    operations = read_operations(content)
    names, custom_names = [operation.name for operation in operations], custom(operations)
    found = {}
    for kind in dict.fromkeys(names):
        model, kept = unpacked(content), False
        last = schema.OperatorCodeT()
        last.builtinCode = last.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        last.customCode = _NO_OPERATION
        order = iter(names)
        for graph in model.subgraphs:
            chosen = [o for o in graph.operators or [] if next(order) == kind]
            end = schema.OperatorT()
            end.opcodeIndex, end.inputs, end.outputs = len(model.operatorCodes), [], []
            one = chosen[:1] if kind in custom_names else [*chosen[:1], end]
            graph.operators = one if chosen and not kept else []
            kept = kept or bool(chosen)
        model.operatorCodes = [*model.operatorCodes, last]
        for buffer in model.buffers:
            buffer.data = None
        found[kind] = packed(model, 1 << 12)
    return found


def in_a_line(said: str) -> str:
    """What TFLite Micro said, without the places in its source, and without what it says of any failure."""
    lines = [re.sub(r"^tensorflow/\S+ ", "", line.strip()).rstrip(".") for line in said.splitlines()]
    return "; ".join(line for line in lines if line and not line.startswith("TFLM failed"))[:400]
