"""How far an output may be from the golden one on another machine.

Golden outputs come from the exporting machine. Another CPU runs other kernels, which sum in another order and
round halves another way. An output may differ by the larger of two numbers.

One is what its arithmetic warrants. Sums of float32 in another order differ by 1e-6 of the output's largest
value or so; 1e-4 is allowed, to float16 and weight_only files too, which compute in float32. An integer may
be two steps off, one by its own rounding and one by what reaches it from below, and so may a float output
that is such an integer, dequantized. Other floats of files that round activations to 8 bits get 5e-2 of the
largest value. Integers without a scale, such as class numbers, are equal.

The other number is twice the spread: what two sets of kernels, XNNPACK's and the runtime's own, differ by on
the exporting machine. A step grows on its way through a deep network, and how much depends on the network: on
EfficientNet-Lite0 in int8 the spread is 5 steps of the logits, and 6 of their softmax (1.4e-6 of the largest
value in float32).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import ExportError
from ..report import TensorInfo
from ..tflite_file import builtin_of, model_of
from .verify import difference

_IN_FLOAT = ("float32", "float16", "weight_only")
_SUMS, _ROUNDED_ON_THE_WAY, _STEPS, _MARGIN = 1e-4, 5e-2, 2, 2
_MOST = 0.25  # of the largest value; a broken device is off by more


def allowed_difference(
    tensor: TensorInfo,
    precision: str,
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    step: float | None = None,
) -> tuple[float, float]:
    """The largest allowed difference of an output from the golden one, and what kernels differ by here.

    Args:
        tensor: The output.
        precision: What the file computes in, as in `Report`.
        pairs: The golden output of each case, and what other kernels give.
        step: For a float output that is a dequantized integer the scale of that, see `steps_of_floats`.

    Returns:
        Tolerance and spread, as stored: in steps for integers with a scale.

    Raises:
        ExportError: A value is not finite, or the kernels differ so much that a sound device could not be
            told from a broken one.

    Example:
        >>> scores = TensorInfo("scores", (1, 2), "int8", scale=0.1, zero_point=0)
        >>> allowed_difference(scores, "int8", [(np.array([100, 7]), np.array([97, 8]))])
        (6.0, 3.0)
    """
    name, largest, spread = tensor.name, 0.0, 0.0
    for case, (golden, other) in enumerate(pairs):
        if not np.isfinite(golden).all():
            raise ExportError(f"The output {name!r} is not finite for the golden sample {case}.")
        value = np.abs(golden.astype("float64") - (tensor.zero_point or 0))
        largest = max(largest, float(np.max(value, initial=0.0)))
        spread = max(spread, difference(name, other, golden))
    warranted = (_SUMS if precision in _IN_FLOAT else _ROUNDED_ON_THE_WAY) * (largest or 1.0)
    if tensor.scale is not None:
        warranted = float(_STEPS)
    elif np.dtype(tensor.dtype).kind != "f":
        warranted = largest = 0.0
    elif step is not None:
        warranted = _STEPS * step
    allowed = max(warranted, _MARGIN * spread)
    if allowed > max(warranted, _MOST * largest):
        raise ExportError(
            f"The output {name!r} depends on the kernels that compute it: XNNPACK's and the runtime's own "
            f"differ by {spread:.3g} on this machine, so a golden pack could not tell a sound device from a "
            "broken one. Leave out golden samples on the edge of a decision, or take another precision."
        )
    return allowed, spread


def steps_of_floats(content: bytes, signature: str) -> dict[str, float]:
    """The scales of the integers that a .tflite file dequantizes into its float outputs, by output name."""
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    model, found = model_of(content), {}
    definitions = [model.SignatureDefs(i) for i in range(model.SignatureDefsLength())]
    definition = next(d for d in definitions if d.SignatureKey().decode() == signature)
    graph = model.Subgraphs(definition.SubgraphIndex())
    outputs = [definition.Outputs(i) for i in range(definition.OutputsLength())]
    names = {output.TensorIndex(): output.Name().decode() for output in outputs}
    for operator in map(graph.Operators, range(graph.OperatorsLength())):
        kind = builtin_of(model.OperatorCodes(operator.OpcodeIndex()))
        if kind == BuiltinOperator.DEQUANTIZE and operator.Outputs(0) in names:
            quantization = graph.Tensors(operator.Inputs(0)).Quantization()
            if quantization is not None and quantization.ScaleLength() == 1:
                found[names[operator.Outputs(0)]] = float(quantization.Scale(0))
    return found
