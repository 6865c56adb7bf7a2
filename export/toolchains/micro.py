"""A .tflite file in TFLite Micro, the interpreter of microcontrollers, held against LiteRT."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from ..clients import allowed_difference, golden_inputs, steps_of_floats
from ..errors import ExportError
from ..parity import Sample
from ..report import Report, TensorInfo
from ..tflite_file import edge_order, quiet
from .micro_interpreter import UNKNOWN, asked, check_micro, in_a_line, micro_refusals

_SIGNATURE = "serving_default"
_SAMPLES = 8
_WEIGHTS = (
    "Its DEQUANTIZE takes one scale, and weights have one for each channel: export int8 or float32 instead."
)


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
    answer, found = asked([content], samples, names)
    if "arena" not in answer:
        raise ExportError(_refusal(report, content, answer["said"][0]))
    expected, other = _in_litert(content, samples), _in_litert(content, samples, plain=True)
    return _compared(report, content, answer, (found, expected, other))


def _refusal(report: Report, content: bytes, said: str) -> str:
    """Why TFLite Micro does not run a file, in a message."""
    _, reasons = micro_refusals(content) if UNKNOWN.search(said) else ("", {})
    if missing := [name for name, why in reasons.items() if "no such" in why]:
        return (
            f"TFLite Micro {version('tflite-micro')} lacks operations of {report.path}: "
            f"{', '.join(missing)}. Replace the layers that need them."
        )
    return f"TFLite Micro {version('tflite-micro')} does not run {report.path}: {in_a_line(said)}"


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
