"""What a graph does to its inputs before its first weights, measured on the graph itself.

Operations between an input and the first operation that reads a variable are run on inputs of one value.
Where every element comes out as `a * x + b`, the graph rescales, whichever layers or operations do it, and
`a` and `b` are known. It may do so within a usual range alone, and clip what is outside. What comes after the
first weights plays no part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

_OPEN = 64  # the size at which an open axis is tried
# All of these, or those of a usual range alone, where values outside of it are clipped.
_TRIED = (0.0, 255.0, -1.0, 1.0, 2.0, 0.5, 0.25)
_SPANS = ((0.0, 255.0, -1.0, 1.0, 2.0), (0.0, 255.0, 1.0, 2.0), (0.0, 1.0, 0.5, 0.25), (-1.0, 1.0, 0.0, 0.5))
_LOOK_AT_SHAPES = ("Shape", "ShapeN", "Size", "Rank")


@dataclass(frozen=True)
class Rescaled:
    """A tensor that is `a * x + b` of an input, just before the first weights or another kind of operation.

    Attributes:
        a: The factors, of the shape of the tensor with a batch of one.
        b: The offsets, likewise.
        operations: Names of the operations that made it.
    """

    a: np.ndarray
    b: np.ndarray
    operations: tuple[str, ...]

    @property
    def changes(self) -> bool:
        """Whether it is another value than the input's."""
        moved = self.a != 0  # what is 0 was padded
        return not (np.allclose(self.a[moved], 1, atol=1e-3) and np.allclose(self.b[moved], 0, atol=1e-3))

    def pairs(self) -> np.ndarray:
        """The different (a, b), of shape (n, 2)."""
        moved = self.a != 0
        return np.unique(np.stack([self.a[moved], self.b[moved]], -1).round(9), axis=0)


def rescaled(signature: Any) -> list[list[Rescaled]]:
    """What reaches the first weights of a traced function, for each of its inputs in their order.

    Args:
        signature: A concrete function.

    Returns:
        For each input the tensors that are an affine map of it. None for one that reaches the first weights
        in another form.
    """
    count = len(signature.inputs) - len(signature.captured_inputs)
    inputs, captured = signature.inputs[:count], signature.inputs[count:]
    fed = {
        t.name: value.numpy()
        for t, value in zip(captured, signature.captured_inputs, strict=True)
        if t.dtype not in (tf.resource, tf.variant)
    }
    weighted = {t.name for t in captured if t.name not in fed}
    paths = _paths(signature.graph.get_operations(), [t.name for t in inputs], weighted)
    return [_measured(signature, i, paths[i], fed) for i in range(count)]


@dataclass
class _Path:
    """The tensors between an input and the first weights, and how they hang together."""

    made_of: dict[str, list[str]]  # name of a tensor: those of the tensors which it was made of
    makers: dict[str, Any]  # name of a tensor: its operation, None for the input
    ends: set[str]  # tensors that an operation with weights, or of two inputs, reads


def _paths(operations: Sequence[Any], inputs: Sequence[str], weighted: set[str]) -> list[_Path]:
    """Follow each input to the first operation that reads a variable, has effects, or mixes two inputs."""
    paths = [_Path({name: []}, {name: None}, set()) for name in inputs]
    for operation in operations:
        names = [t.name for t in operation.inputs]
        read = [(path, found) for path in paths if (found := [n for n in names if n in path.makers])]
        variable = operation.type in ("VarHandleOp", "VariableV2") or any(n in weighted for n in names)
        if (not read and not variable) or operation.type in _LOOK_AT_SHAPES:
            continue
        if variable or len(read) > 1 or operation.op_def.is_stateful or not operation.outputs:
            for path, found in read:
                path.ends.update(found)
            weighted.update(t.name for t in operation.outputs)
            continue
        ((path, found),) = read
        for t in operation.outputs:
            path.made_of[t.name], path.makers[t.name] = found, operation
    for path in paths:
        path.ends |= set(path.makers) - {name for found in path.made_of.values() for name in found}
    return paths


def _measured(signature: Any, position: int, path: _Path, fed: dict[str, np.ndarray]) -> list[Rescaled]:
    given = signature.inputs[position]
    dtype = tf.as_dtype(given.dtype)
    tensors = [n for n in path.makers if signature.graph.get_tensor_by_name(n).dtype.is_floating]
    if not (dtype.is_floating or dtype.is_integer) or not tensors:
        return []
    shape = [n or (1 if i == 0 else _OPEN) for i, n in enumerate(given.shape)]
    tried = [v for v in _TRIED if dtype.is_floating or (dtype.min <= v <= dtype.max and v == int(v))]
    found: list[list[np.ndarray]] = []
    with tf.compat.v1.Session(graph=signature.graph) as session:
        for value in tried:
            feed = {**fed, given.name: np.full(shape, value, dtype.as_numpy_dtype)}
            try:
                found.append([np.asarray(v, "float64") for v in session.run(tensors, feed)])
            except (tf.errors.OpError, ValueError):  # such as an open axis that is too small here
                return []
    affine = {
        name: fit
        for name, *values in zip(tensors, *found, strict=True)
        if (fit := _affine(tried, values)) is not None
    }
    # the last of each path that still is one: what is made of it is none, or it is an end
    followed = {n for name in affine for n in path.made_of[name]}
    ends = [name for name in affine if name not in followed or name in path.ends]
    return [Rescaled(*affine[name], _operations(path, name)) for name in ends]


def _affine(tried: Sequence[float], values: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray] | None:
    """(a, b) if values of a tensor are a * x + b for each x that was tried, or for those of a usual range."""
    of = dict(zip(tried, values, strict=True))
    for span in _SPANS:
        known = {x: of[x] for x in span if x in of}
        if len(known) > 2 and (fit := _line(known)) is not None:
            return fit
    return None


def _line(values: dict[float, np.ndarray]) -> tuple[np.ndarray, np.ndarray] | None:
    (x, low), (other, high), *_ = values.items()
    if any(not np.all(np.isfinite(v)) or v.shape != low.shape for v in values.values()):
        return None
    a = (high - low) / (other - x)
    b = low - a * x
    allowed = 1e-4 * np.maximum(np.abs(high), np.abs(low)) + 1e-6
    if not a.size or not np.any(a):
        return None
    if any(np.any(np.abs(a * x + b - v) > allowed) for x, v in values.items()):
        return None
    return a, b


def _operations(path: _Path, name: str) -> tuple[str, ...]:
    """Names of the operations that made a tensor, those of the input first."""
    names: dict[str, None] = {}
    waiting = [name]
    while waiting:
        maker = path.makers[tensor := waiting.pop()]
        if maker is not None and maker.name not in names:
            names[maker.name] = None
            waiting += path.made_of[tensor]
    return tuple(reversed(names))
