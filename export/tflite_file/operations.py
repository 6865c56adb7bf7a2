"""The operations of a .tflite file, read from its bytes, with their operands and what computes in float."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .schema import builtin_of, dtype_of, enum_names, model_of, reading, shape_of

FLOATS = frozenset({"float16", "float32", "float64", "bfloat16"})
_EDGES = ("QUANTIZE", "DEQUANTIZE")


@dataclass(frozen=True)
class Operand:
    """A tensor that an operation reads or writes.

    Attributes:
        name: Its name in the file.
        shape: Its shape; -1 where an axis is open.
        dtype: Its dtype, as numpy writes it.
        constant: Whether its values stand in the file, as those of weights do.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    constant: bool


@dataclass(frozen=True)
class Operation:
    """One operation of a .tflite file.

    Attributes:
        name: The built-in's name, such as "CONV_2D", or a custom operation's own, such as "FlexIgamma".
        builtin: Whether it is one of TFLite's own.
        inputs: What it reads, in order; an operand that was left out is missing.
        outputs: What it writes.
    """

    name: str
    builtin: bool
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]


def read_operations(content: bytes) -> tuple[Operation, ...]:
    """The operations of a .tflite file, of all its subgraphs, in the order in which they run.

    Args:
        content: The file's bytes.

    Raises:
        ValueError: They are no .tflite file.

    Example:
        ```python
        [op.name for op in read_operations(Path("model.tflite").read_bytes())]
        ```

    References:
        tensorflow/compiler/mlir/lite/schema/schema.fbs in TensorFlow's repository.
    """
    model, budget = model_of(content), _Budget(2 * len(content))
    with reading():
        codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
        return tuple(
            operation
            for i in range(model.SubgraphsLength())
            for operation in _operations_of(model, model.Subgraphs(i), codes, budget)
        )


def census(operations: tuple[Operation, ...]) -> dict[str, int]:
    """How many operations there are of each name, the most frequent first."""
    return dict(Counter(o.name for o in operations).most_common())


def custom(operations: tuple[Operation, ...]) -> list[str]:
    """Names of the operations that are not TFLite's own, Flex operations among them."""
    return sorted({o.name for o in operations if not o.builtin})


def in_float(operations: tuple[Operation, ...]) -> list[str]:
    """Operations that would compute in float in a file that should be integer: "NAME (output tensor)".

    The conversions at the file's edges (QUANTIZE at its inputs, DEQUANTIZE at its outputs) don't count.
    """
    made = {t.name for o in operations for t in o.outputs}
    read = {t.name for o in operations for t in o.inputs}
    found = []
    for operation in operations:
        tensors = operation.inputs + operation.outputs
        if not any(t.dtype in FLOATS for t in tensors):
            continue
        if operation.name in _EDGES and not (operation.inputs and operation.outputs):
            raise ValueError(f"This .tflite file is damaged: {operation.name} lacks its input or output.")
        at_input = operation.name == "QUANTIZE" and operation.inputs[0].name not in made
        at_output = operation.name == "DEQUANTIZE" and operation.outputs[0].name not in read
        if operation.name in _EDGES and (at_input or at_output) and not operation.inputs[0].constant:
            continue
        made_here = operation.outputs or operation.inputs  # a write to a variable has no output
        found.append(f"{operation.name} ({made_here[0].name})")
    return found


class _Budget:
    """How much may be read of a file: its parts may be the same bytes again and again."""

    def __init__(self, left: int) -> None:
        self.left = left

    def spend(self, size: int) -> None:
        """Take so many bytes; raise ValueError if the file can't have had that many."""
        self.left -= size
        if self.left < 0:
            raise ValueError("its parts overlap")


def _operations_of(model: Any, graph: Any, codes: list[Any], budget: _Budget) -> Iterator[Operation]:
    known: dict[int, Operand] = {}

    def operand(index: int) -> Operand:
        budget.spend(4)
        if index not in known:
            known[index] = _operand(model, graph.Tensors(index), budget)
        return known[index]

    def operands(indices: Any) -> tuple[Operand, ...]:
        return tuple(operand(int(i)) for i in indices if i >= 0)

    for i in range(graph.OperatorsLength()):
        budget.spend(4)
        operator = graph.Operators(i)
        code = codes[operator.OpcodeIndex()]
        number, own = builtin_of(code), code.CustomCode()
        name = own.decode() if own else enum_names("BuiltinOperator").get(number, f"operation {number}")
        yield Operation(
            name,
            not own,
            operands(operator.InputsAsNumpy() if operator.InputsLength() else ()),
            operands(operator.OutputsAsNumpy() if operator.OutputsLength() else ()),
        )


def _operand(model: Any, tensor: Any, budget: _Budget) -> Operand:
    name = tensor.Name() or b""
    budget.spend(len(name) + 4 * (tensor.ShapeLength() + tensor.ShapeSignatureLength()))
    buffer = model.Buffers(tensor.Buffer())
    constant = tensor.Buffer() != 0 and (buffer.DataLength() > 0 or buffer.Size() > 0)
    return Operand(name.decode(), shape_of(tensor), dtype_of(tensor), constant)
