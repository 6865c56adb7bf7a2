"""A .tflite file in TFLite Micro, the interpreter of microcontrollers, held against LiteRT."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ..clients import allowed_difference, golden_inputs, steps_of_floats
from ..errors import ExportError
from ..parity import Sample
from ..report import Report, TensorInfo
from ..scratch import scratch
from ..tflite_file import edge_order, model_of, packed, quiet, unpacked

_SCRIPT = Path(__file__).with_name("micro_process.py")
_SIGNATURE = "serving_default"
_SECONDS = 600
_SAMPLES = 8
_WEIGHTS = (
    "Its DEQUANTIZE takes one scale, and weights have one for each channel: export int8 or float32 instead."
)
_UNKNOWN = re.compile(r"Didn't find op for builtin opcode '(\w+)'")
_NO_OPERATION = "kerasft_ends_here"


@dataclass(frozen=True)
class MicroRun:
    """A file that ran in TFLite Micro, and how far its outputs are from LiteRT's.

    Attributes:
        version: Of tflite-micro.
        litert: Version of ai-edge-litert.
        arena_bytes: The smallest arena in which the file loads and runs on this machine, whose pointers have
            `pointer_bits`. On a 32-bit microcontroller the interpreter's own part of it is smaller; kernels
            that were written for a device, such as CMSIS-NN's, may ask for memory of their own.
        pointer_bits: 64, or 32.
        samples: How many inputs were compared.
        steps: By output, the largest difference from LiteRT with XNNPACK in quantization steps; of outputs
            in float that are dequantized integers as well. Other outputs are missing.
        steps_plain: The same from LiteRT with its own kernels alone.
        max_abs: By output, the largest difference from LiteRT in the model's units.
        equal: Share of all values that are the same as LiteRT's with XNNPACK.
        agreement: Share of the samples for which both have the same largest value, of the first output with
            several columns; None without one.
    """

    version: str
    litert: str
    arena_bytes: int
    pointer_bits: int
    samples: int
    steps: dict[str, float]
    steps_plain: dict[str, float]
    max_abs: dict[str, float]
    equal: float
    agreement: float | None

    def __str__(self) -> str:
        parts = []
        for name, most in self.max_abs.items():
            far = f"{most:.2g}"
            if name in self.steps:
                far = f"{_counted(self.steps[name])} ({_counted(self.steps_plain[name])} without XNNPACK)"
            parts.append(f"{name} differs from LiteRT {self.litert} by at most {far}")
        return (
            f"TFLite Micro {self.version} runs the file in an arena of {self.arena_bytes:,} bytes (with "
            f"pointers of {self.pointer_bits} bits); on {self.samples} inputs {'; '.join(parts)}, and "
            f"{100 * self.equal:.1f} % of the values are equal."
        )


def run_on_micro(report: Report, golden: Any = None) -> MicroRun:
    """Run an exported file in TFLite Micro, in the smallest arena that does, and hold it against LiteRT.

    The interpreter is that of microcontrollers, with its reference kernels, on this machine. It runs in a
    process of its own. Outputs may differ from LiteRT's by as much as a golden pack allows: two steps, or
    twice of what LiteRT's own two sets of kernels differ by.

    Args:
        report: What `to_tflite` returned. Microcontrollers take float32 and int8; most have memory for int8
            alone.
        golden: Inputs in the units of the graph, as for `to_pack`, 64 samples at most; random ones in the
            report's `input_range` by default.

    Returns:
        What was measured.

    Raises:
        TypeError, ValueError: `report` is no Report, or `golden` is not what the file takes.
        ImportError: tflite-micro is missing, which has wheels for Linux on x86_64 alone.
        ExportError: TFLite Micro lacks operations, which are named, or can't run the file, or its outputs are
            further from LiteRT's; or the file was changed since its export.

    Example:
        ```python
        report = kerasft.export.to_tflite(
            model, "model.tflite", precision="int8", io="int8", representative_data=train
        )
        print(kerasft.export.run_on_micro(report, test_images[:8]))
        ```

    References:
        David et al. (2021), TensorFlow Lite Micro: embedded machine learning on TinyML systems,
        arXiv:2010.08678.
    """
    if not isinstance(report, Report):
        raise TypeError(f"run_on_micro takes the Report of to_tflite; received {type(report).__name__}.")
    check_micro()
    content = report.read_file()
    samples = golden_inputs(_made_up(report) if golden is None else golden, report.inputs)
    names = edge_order(content)
    answer, found = _asked([content], samples, names)
    if "arena" not in answer:
        raise ExportError(_refusal(report, content, answer["said"][0]))
    expected, other = _in_litert(content, samples), _in_litert(content, samples, plain=True)
    return _compared(report, content, answer, (found, expected, other))


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
        run; empty where the file runs.

    Raises:
        ImportError: tflite-micro is missing.
        ExportError: Its process ended by itself.
    """
    check_micro()
    probes = _probes(content)
    answer, _ = _asked([content, *probes.values()], None, ([], []))
    missing = {
        name: "TFLite Micro has no such operation"
        for name, said in zip(probes, answer["said"][1:], strict=True)
        if _UNKNOWN.search(said)
    }
    if missing or not answer["said"][0]:
        return answer["version"], missing
    said = answer["said"][0]
    node = re.search(r"Node (\w+) \(number", said)
    return answer["version"], {node[1] if node else next(iter(probes)): _in_a_line(said)}


def _asked(
    contents: Sequence[bytes], samples: Sequence[Sample] | None, names: tuple[list[str], list[str]]
) -> tuple[dict[str, Any], list[Sample]]:
    """The answer of the process of TFLite Micro, and the outputs that it gave for samples."""
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
                f"{_in_a_line(ended.stderr) or 'it said nothing'}."
            )
        answer = json.loads((folder / "answer.json").read_text())
        outputs: list[Sample] = []
        if (folder / "outputs.npz").exists() and samples is not None:
            with np.load(folder / "outputs.npz") as made:
                outputs = [
                    {name: made[f"{i}/{k}"] for k, name in enumerate(names[1])} for i in range(len(samples))
                ]
    return answer, outputs


def _refusal(report: Report, content: bytes, said: str) -> str:
    """Why TFLite Micro does not run a file, in a message."""
    _, reasons = micro_refusals(content) if _UNKNOWN.search(said) else ("", {})
    if missing := [name for name, why in reasons.items() if "no such" in why]:
        return (
            f"TFLite Micro {version('tflite-micro')} lacks operations of {report.path}: "
            f"{', '.join(missing)}. Replace the layers that need them."
        )
    return f"TFLite Micro {version('tflite-micro')} does not run {report.path}: {_in_a_line(said)}"


def _compared(
    report: Report, content: bytes, answer: Mapping[str, Any], runs: tuple[list[Sample], ...]
) -> MicroRun:
    """What differs between TFLite Micro and LiteRT.

    Raises:
        ExportError: More than is allowed.
    """
    found, expected, other = runs
    floats = steps_of_floats(content, _SIGNATURE)
    steps: dict[str, float] = {}
    plain: dict[str, float] = {}
    most: dict[str, float] = {}
    same = count = 0
    agreement: float | None = None
    for tensor in report.outputs:
        name = tensor.name
        pairs = [(e[name], f[name].reshape(e[name].shape)) for e, f in zip(expected, found, strict=True)]
        allowed, spread = allowed_difference(
            tensor, report.precision, [(e[name], o[name]) for e, o in zip(expected, other, strict=True)],
            floats.get(name),
        )  # fmt: skip
        unit = floats.get(name, 1.0) if tensor.scale is None else 1.0  # of a step, as the output has it
        far = max(_difference(a, b) for a, b in pairs)
        if not far <= allowed:
            raise ExportError(
                f"TFLite Micro gives other values of {name!r} than LiteRT for {report.path}: they differ by "
                f"{far:.3g}, where LiteRT's own kernels differ by {spread:.3g} and {allowed:.3g} is allowed. "
                f"{_WEIGHTS if report.precision == 'weight_only' else 'Please report this, with the file.'}"
            )
        if tensor.scale is not None or name in floats:
            near = max(_difference(o[name], f) for o, (_, f) in zip(other, pairs, strict=True))
            steps[name], plain[name] = far / unit, near / unit
        most[name] = far * (tensor.scale or 1.0)
        same += sum(int(np.sum(a == b)) for a, b in pairs)
        count += sum(a.size for a, _ in pairs)
        if agreement is None and expected[0][name].ndim == 2 and expected[0][name].shape[1] > 1:
            agreement = float(np.mean([a.argmax() == b.argmax() for a, b in pairs]))
    return MicroRun(
        answer["version"], version("ai-edge-litert"), answer["arena"], 64 if sys.maxsize > 2**32 else 32,
        len(found), steps, plain, most, same / max(1, count), agreement,
    )  # fmt: skip


def _in_litert(content: bytes, samples: Sequence[Sample], *, plain: bool = False) -> list[Sample]:
    """What LiteRT gives, with XNNPACK or with its own kernels alone, as the file stores it."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if plain else OpResolverType.AUTO
    with quiet():
        interpreter = Interpreter(model_content=content, experimental_op_resolver_type=kernels)
        run = interpreter.get_signature_runner(_SIGNATURE)
        return [{k: np.array(v) for k, v in run(**sample).items()} for sample in samples]


def _probes(content: bytes) -> dict[str, bytes]:
    """By kind of operation, a file that has one of it, then one that no interpreter has.

    TFLite Micro looks all operations up before it prepares any, so what it fails at first tells whether it
    has the kind, without running anything.
    """
    from ai_edge_litert import schema_py_generated as schema

    from ..tflite_file import read_operations

    names = [operation.name for operation in read_operations(content)]
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
            graph.operators = [] if kept or not chosen else [chosen[0], end]
            kept = kept or bool(chosen)
        model.operatorCodes = [*model.operatorCodes, last]
        for buffer in model.buffers:
            buffer.data = None
        found[kind] = packed(model, 1 << 12)
    return found


def _made_up(report: Report) -> Sample:
    """Random inputs in the report's range, in the units of the graph."""
    rng = np.random.default_rng(0)
    return {tensor.name: _random(rng, tensor, report.input_range) for tensor in report.inputs}


def _random(
    rng: np.random.Generator, tensor: TensorInfo, input_range: tuple[float, float] | None
) -> np.ndarray:
    shape = (_SAMPLES, *(abs(n) for n in tensor.shape[1:]))
    if tensor.scale is None and np.dtype(tensor.dtype).kind in "iub":
        return rng.integers(0, 2, shape).astype(tensor.dtype)
    values = rng.normal(size=shape) if input_range is None else rng.uniform(*input_range, shape)
    return values.astype("float32")


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.max(np.abs(one.astype("float64") - other.astype("float64")), initial=0.0))


def _counted(steps: float) -> str:
    return f"{steps:.3g} step{'' if round(steps, 6) == 1 else 's'}"


def _in_a_line(said: str) -> str:
    """What TFLite Micro said, without the places in its source, and without what it says of any failure."""
    lines = [re.sub(r"^tensorflow/\S+ ", "", line.strip()).rstrip(".") for line in said.splitlines()]
    return "; ".join(line for line in lines if line and not line.startswith("TFLM failed"))[:400]
