"""Where an int8 file loses what the float file knows: the signal-to-noise ratio along its operations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..parity import Sample
from .litert import dequantized, quantized, quiet, tensor_info
from .operations import read_operations


@dataclass(frozen=True)
class Loss:
    """The loss of one operation in int8.

    Attributes:
        tensor: Its output.
        operation: Its kind, such as "CONV_2D".
        before_db: Signal-to-noise ratio of what it reads, in decibels, of the worst input.
        after_db: The ratio of its output.
    """

    tensor: str
    operation: str
    before_db: float
    after_db: float

    @property
    def lost_db(self) -> float:
        """How much of the ratio is lost here."""
        return self.before_db - self.after_db

    def __str__(self) -> str:
        return f"{self.tensor} ({self.operation}, {self.before_db:.0f} to {self.after_db:.0f} dB)"


def losses(float_file: bytes, int8_file: bytes, samples: Sequence[Sample], most: int = 5) -> list[Loss]:
    """The operations that lose most in an int8 file, the worst first.

    Both files run on the same inputs, and tensors of one name are compared: the ratio is the sum of the
    squares of the float file's values by that of the differences. An operation loses the difference of the
    ratios of its output and of its worst input, which tells it apart from one that merely passes on noise.

    Args:
        float_file: The float file's bytes.
        int8_file: Those of the file made from it.
        samples: Inputs of batch size one.
        most: How many to return.
    """
    signal: dict[str, float] = {}
    noise: dict[str, float] = {}
    for sample in samples:
        exact, rough = _tensors(float_file, sample), _tensors(int8_file, sample)
        for name in exact.keys() & rough.keys():
            if exact[name].shape == rough[name].shape and exact[name].size:
                signal[name] = signal.get(name, 0.0) + float(np.sum(exact[name] ** 2))
                noise[name] = noise.get(name, 0.0) + float(np.sum((exact[name] - rough[name]) ** 2))
    ratio = {n: 10 * np.log10(max(signal[n], 1e-30) / max(noise[n], 1e-30)) for n in signal}
    found = []
    for operation in read_operations(float_file):
        read = [ratio[t.name] for t in operation.inputs if not t.constant and t.name in ratio]
        for made in operation.outputs:
            if made.name in ratio and read:
                found.append(Loss(made.name, operation.name, float(min(read)), float(ratio[made.name])))
    return sorted(found, key=lambda loss: -loss.lost_db)[:most]


def _tensors(content: bytes, sample: Sample) -> Sample:
    """All computed tensors of a file for an input, in the model's units, by name."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    with quiet():
        interpreter = Interpreter(
            model_content=content,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
    runner = interpreter.get_signature_runner("serving_default")
    details = runner.get_input_details()
    runner(**{name: quantized(value, tensor_info(name, details[name])) for name, value in sample.items()})
    constant = {t.name for o in read_operations(content) for t in o.inputs if t.constant}
    found: Sample = {}
    for tensor in interpreter.get_tensor_details():
        name = tensor["name"]
        if name and name not in constant and np.dtype(tensor["dtype"]).kind in "fiu":
            try:
                value = interpreter.get_tensor(tensor["index"])
            except ValueError:  # temporary memory of a kernel
                continue
            found[name] = dequantized(value, tensor_info(name, tensor)).astype("float64")
    return found
