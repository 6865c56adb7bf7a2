"""Sizes: nodes that read how large a tensor is, and not what it holds.

`Shape`, `Size`, `Rank` and fills of a tensor's shape depend on sizes alone. The attention mask of an encoder
reads `Shape` of the embeddings, but no weight changes what it gets. Such a node carries no data: a part of
the graph that lacks the tensor takes the size from one that it has, where the two are known to be equal.

That is measured by TensorFlow's shape inference. Each open axis of the inputs gets a number of its own; an
axis of a tensor that turns out to have that number, for small and for large ones, is as long as the input's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import tensorflow as tf

from kerasft.hub.graph_def import NodeDef, node_of, nodes_under

Axes: TypeAlias = frozenset[tuple[str, int]]
"""The axes of inputs, each a tensor and a position, that have the same size."""
Known: TypeAlias = int | Axes
Shape: TypeAlias = tuple[int | None, ...]
Shapes: TypeAlias = Callable[[Mapping[str, Shape]], Callable[[str], Shape | None]]
"""Of a graph, given the shapes of its inputs: the shapes of its tensors, None for an open rank.

It raises ValueError for inputs that do not fit."""

_READERS = ("Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike")
_PICKERS = ("StridedSlice", "GatherV2")
_SMALL = (3, 7, 11, 19, 37, 67)
_LARGE = (1009, 701, 509, 383, 251, 127, 61, 31, 23, 14)  # some take no more than a table of positions has


class Sizes:
    """Which axes of a graph's tensors have the same size.

    Args:
        shapes: The shapes of the tensors, for shapes of the inputs.
        inputs: The tensors of the inputs, and their static shapes.
    """

    def __init__(self, shapes: Shapes, inputs: Mapping[str, Shape | None]) -> None:
        self._static = shapes({})
        self._probes: list[tuple[dict[int | None, Axes], Callable[[str], Shape | None]]] = []
        ranked = {tensor: shape for tensor, shape in inputs.items() if shape is not None}
        axes = [(t, i) for t, shape in ranked.items() for i, size in enumerate(shape) if size is None]
        for groups in _groupings(axes) if axes else ():

            def probe(first: int, groups: Sequence[Axes] = groups) -> bool:
                numbers = {axis: first + k for k, group in enumerate(groups) for axis in group}
                given = {t: tuple(numbers.get((t, i), n) for i, n in enumerate(s)) for t, s in ranked.items()}
                try:
                    found = shapes(given)
                except ValueError:  # these axes do not vary each by itself, or not as far
                    return False
                self._probes.append(({first + k: group for k, group in enumerate(groups)}, found))
                return True

            self._probes = []
            if any(map(probe, _SMALL)) and any(map(probe, _LARGE)):
                return
        self._probes = []

    @property
    def are_measured(self) -> bool:
        """Whether the open axes of the inputs could be varied."""
        return bool(self._probes)

    def count(self, tensor: str) -> int:
        """How many elements a tensor has, for open axes as long as they can be, or for one of each."""
        shape = self._probes[-1][1](tensor) if self._probes else None
        return math.prod(size or 1 for size in shape or self._static(tensor) or ())

    def of(self, tensor: str) -> tuple[Known | None, ...] | None:
        """For each axis of a tensor its size, or the axes of inputs that are as long; None where unknown."""
        static = self._static(tensor)
        shapes = [shape for shape in (probe(tensor) for _, probe in self._probes) if shape is not None]
        if static is None and shapes:
            static = (None,) * len(shapes[0])
        if static is None:
            return None
        found: list[Known | None] = list(static)
        if len(shapes) == len(self._probes) and all(len(shape) == len(static) for shape in shapes):
            for i in (i for i, size in enumerate(static) if size is None and shapes):
                pairs = zip(self._probes, shapes, strict=True)
                same = {groups.get(shape[i]) for (groups, _), shape in pairs}
                found[i] = same.pop() if len(same) == 1 else None
        return tuple(found)


def _groupings(axes: Sequence[tuple[str, int]]) -> list[list[Axes]]:
    """Ways in which open axes may be the same: none are, the batch is, all at the same place are."""

    def grouped(key: Callable[[tuple[str, int]], object]) -> list[Axes]:
        keys = dict.fromkeys(map(key, axes))
        return [frozenset(axis for axis in axes if key(axis) == k) for k in keys]

    return [
        grouped(lambda axis: axis),
        grouped(lambda axis: axis if axis[1] else 0),
        grouped(lambda axis: axis[1]),
    ]


@dataclass(frozen=True)
class SizeRead:
    """What a node that reads sizes gives.

    Attributes:
        node: The node.
        dtypes: The dtype of each of its tensors.
        results: For each of its tensors the sizes in order.
    """

    node: NodeDef
    dtypes: tuple[tf.DType, ...]
    results: tuple[tuple[Known, ...], ...]

    @property
    def axes(self) -> set[Axes]:
        """The sizes that are not fixed."""
        return {size for result in self.results for size in result if not isinstance(size, int)}

    def replaced(self, sources: Mapping[Axes, tuple[str, int, tf.DType]]) -> list[NodeDef]:
        """Nodes that give the same, without the tensor whose size it is.

        Args:
            sources: For each of `axes` a tensor that is there, the position of its axis, and its dtype.
        """
        op, name = self.node.op, self.node.name
        with tf.Graph().as_default() as graph:
            given = {t: tf.compat.v1.placeholder(d) for t, _, d in sorted(set(sources.values()))}

            def size_of(size: Known, dtype: tf.DType) -> tf.Tensor:
                if isinstance(size, int):
                    return tf.constant(size, dtype)
                tensor, axis, _ = sources[size]
                return tf.shape(given[tensor], dtype)[axis]

            ends = []
            for result, dtype in zip(self.results, self.dtypes, strict=True):
                number = tf.int32 if op in ("ZerosLike", "OnesLike") else dtype
                parts = [size_of(size, number) for size in result]
                vector = tf.stack(parts) if parts else tf.zeros([0], number)
                if op in ("ZerosLike", "OnesLike"):
                    ends.append(tf.fill(vector, tf.cast(op == "OnesLike", dtype)))
                elif op == "Size":
                    ends.append(tf.reduce_prod(vector))
                else:
                    ends.append(parts[0] if _is_scalar(self.node) else vector)
            last = (
                tf.raw_ops.IdentityN(input=ends, name="end") if len(ends) > 1 else tf.identity(ends[0], "end")
            )
        del last
        return nodes_under(name, graph, {t.op.name: tensor for tensor, t in given.items()})


def reads_sizes(node: NodeDef, nodes: Mapping[str, NodeDef]) -> bool:
    """Whether what a node gives depends on the size of its first input alone, or on a choice from it."""
    return node.op in _READERS or (node.op in _PICKERS and nodes[node_of(node.input[0])].op in _READERS[:2])


def size_read(
    node: NodeDef, nodes: Mapping[str, NodeDef], sizes: Sizes, dtype: Callable[[str], tf.DType]
) -> SizeRead | None:
    """What a node gives that depends on sizes alone; None where one of them is not known.

    Args:
        node: One for which `reads_sizes` holds.
        nodes: The nodes of its graph by name.
        sizes: The sizes of the graph's tensors.
        dtype: The dtype of a tensor.
    """
    results: list[tuple[Known | None, ...] | None]
    if node.op == "Rank":
        of = sizes.of(node.input[0])
        results = [None if of is None else (len(of),)]
    elif node.op in _PICKERS:
        read = nodes[node_of(node.input[0])]
        of = sizes.of(read.input[int(node.input[0].rsplit(":", 1)[1])])
        chosen = None if of is None else _chosen(node, nodes, len(of))
        results = [None if of is None or chosen is None else tuple(of[i] for i in chosen)]
    else:
        results = [sizes.of(t) for t in node.input]
    whole = [result for result in results if result is not None and None not in result]
    if len(whole) < len(results):
        return None
    tensors = [f"{node.name}:{i}" for i in range(len(results))]
    return SizeRead(
        node, tuple(map(dtype, tensors)), tuple(tuple(s for s in r if s is not None) for r in whole)
    )


def _is_scalar(node: NodeDef) -> bool:
    """Whether a node gives a single size."""
    return node.op == "Rank" or (node.op == "StridedSlice" and bool(node.attr["shrink_axis_mask"].i))


def _chosen(node: NodeDef, nodes: Mapping[str, NodeDef], rank: int) -> list[int] | None:
    """The positions that a node with constant indices takes from a vector of that length."""
    given = [nodes[node_of(t)] for t in node.input[1:]]
    if any(n.op != "Const" for n in given):
        return None
    indices = [tf.make_ndarray(n.attr["value"].tensor) for n in given]
    if any(i.size != 1 for i in indices[0 if node.op == "StridedSlice" else 1 :]):
        return None
    positions = np.arange(rank)
    try:
        if node.op == "GatherV2":
            return positions[indices[0]].tolist() if indices[0].ndim == 1 else None
        if node.attr["ellipsis_mask"].i or node.attr["new_axis_mask"].i:
            return None
        begin, end, stride = (int(i.item()) for i in indices)
        if node.attr["shrink_axis_mask"].i:
            return [int(positions[begin])]
        first = None if node.attr["begin_mask"].i else begin
        last = None if node.attr["end_mask"].i else end
        return positions[first:last:stride].tolist()
    except (IndexError, ValueError):
        return None
