"""Which tensors have the batch as their first axis: told by the graph's shapes, and by running it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from kerasft.hub.flat_graph import FlatGraph
from kerasft.hub.sizes import Known

_SAMPLES = 3
_MORE_SAMPLES = 5
_WORDS = 30  # of each vocabulary
_LENGTHS = (7, 32, 224)  # for open axes: as long as it takes for the graph to run


def check_batch(graph: FlatGraph, inputs: Sequence[tf.TensorSpec], variables: Sequence[tf.Variable]) -> None:
    """Raise ValueError if an input has no batch axis.

    The first axis of an input is the batch if an output has the same one in front. Where shapes don't say so,
    and where the first axis is the only one, the graph runs: the result for several samples must be that for
    each by itself.

    Args:
        graph: The graph for inference, which holds no operation that may not run.
        inputs: The specs of its inputs.
        variables: The SavedModel's variables.

    Raises:
        ValueError: An input has none; the message names it.
    """
    outputs = [graph.sizes.of(tensor) for tensor in graph.outputs]
    firsts = [sizes[0] for sizes in outputs if sizes]

    def in_front(tensor: str, size: int | None) -> bool:
        return any(_is(first, tensor, size) for first in firsts)

    for tensor, spec in zip(graph.inputs, inputs, strict=True):
        rank = spec.shape.rank
        size = spec.shape[0] if rank else None
        shown = rank > 1 or size is not None  # else all the same numbers: as many samples, or one sample's
        if rank and in_front(tensor, size) and shown and spec.dtype != tf.string:
            continue
        alike = _is_sample_by_sample(graph, inputs, variables) if rank and size is None else False
        if alike or (alike is None and rank > 1 and not graph.sizes.are_measured):
            continue
        if spec.dtype == tf.string and rank:
            raise ValueError(
                f"The SavedModel's input {spec.name!r} takes texts, and its results are not one for each "
                "text, or depend on the other texts of a batch, as where they are padded to the longest. "
                "Save the module with texts cut and padded to a fixed length, or with a mask for padding."
            )
        raise ValueError(
            f"The SavedModel's input {spec.name!r}, of the shape {tuple(spec.shape)}, has no batch axis: no "
            "output has the same axis in front, or samples in a batch give other results than by themselves. "
            "Pass map_batch=True, with which the model takes a batch and runs its graph for each sample"
            + ("." if rank else ", or give the value of that argument in arguments=.")
        )


def _is(first: Known | None, tensor: str, size: int | None) -> bool:
    return first == size if isinstance(first, int) else first is not None and (tensor, 0) in first


def _is_sample_by_sample(
    graph: FlatGraph, inputs: Sequence[tf.TensorSpec], variables: Sequence[tf.Variable]
) -> bool | None:
    """Whether the graph gives for several samples what it gives for each; None if it does not run."""
    if any(not spec.shape.rank or spec.shape[0] is not None for spec in inputs):
        return None
    run = runner(graph, graph.outputs, variables)
    for samples in drawn(graph, _SAMPLES):
        try:
            together = run(samples)
            single = [run([s[i : i + 1] for s in samples]) for i in range(_SAMPLES)]
        except tf.errors.OpError:
            continue
        for i, whole in enumerate(together):
            rows = [one[i] for one in single]
            alike = whole.shape[:1] == (_SAMPLES,) and all(row.shape[:1] == (1,) for row in rows)
            if alike and all(row.shape[1:] == whole.shape[1:] for row in rows):
                return bool(np.allclose(np.concatenate(rows), whole, rtol=1e-3, atol=1e-4))
        return False
    return None


class BatchFirst:
    """Which tensors of a graph have the batch as their first axis, so that each row belongs to a sample.

    A tensor of the shape (batch * length, width) does not, nor does one with a row for each word of a batch.
    TensorFlow's shape inference tells; where it does not, the graph runs for batches of two sizes.

    Args:
        graph: The graph, which holds no operation that may not run.
        variables: The SavedModel's variables.
    """

    def __init__(self, graph: FlatGraph, variables: Sequence[tf.Variable]) -> None:
        self._graph, self._variables = graph, variables
        shapes = {tensor: graph.tensor(tensor).shape for tensor in graph.inputs}
        self._sizes = {tensor: shape[0] for tensor, shape in shapes.items() if shape.rank}

    def __contains__(self, tensor: object) -> bool:
        tensor = str(tensor)
        sizes = self._graph.sizes.of(tensor)
        if sizes is None or (sizes and sizes[0] is None):
            return tensor in self._measured
        return bool(sizes) and any(_is(sizes[0], t, size) for t, size in self._sizes.items())

    @property
    def _measured(self) -> set[str]:
        """Of the tensors whose first axis is not known, those that had a row for each sample."""
        if "measured" not in self._graph.memory:
            self._graph.memory["measured"] = self._measure()
        return self._graph.memory["measured"]

    def _measure(self) -> set[str]:
        unknown = [t for t in self._made() if (of := self._graph.sizes.of(t)) is None or of[:1] == (None,)]
        specs = _specs(self._graph)
        if any(not spec.shape.rank for spec in specs):
            return set()
        run = runner(self._graph, unknown, self._variables)
        found = set(unknown)
        for count in (_SAMPLES, _MORE_SAMPLES):
            for samples in drawn(self._graph, count):
                try:
                    values = run(samples)
                except tf.errors.OpError:
                    continue
                rows = samples[0].shape[:1]
                found &= {t for t, v in zip(unknown, values, strict=True) if v.shape[:1] == rows}
                break
            else:
                return set()
        return found

    def _made(self) -> Iterator[str]:
        """The tensors of numbers that are made of the inputs."""
        for node in sorted(self._graph.fed):
            for tensor in sorted(self._graph.used_outputs(node)):
                if self._graph.tensor(tensor).dtype not in (tf.variant, tf.resource, tf.string):
                    yield tensor


def runner(
    graph: FlatGraph, ends: Sequence[str], variables: Sequence[tf.Variable]
) -> Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]:
    """A function of the inputs' values that gives the tensors `ends`; it runs a few times, unoptimized."""
    order = sorted(graph.variables(ends))
    values = [variables[i].numpy() for i in order]
    specs = [*_specs(graph), *(tf.TensorSpec(v.shape, v.dtype) for v in values)]
    function = graph.extract(graph.inputs, ends, order).concrete(specs)
    options = tf.compat.v1.ConfigProto(allow_soft_placement=True)
    options.graph_options.rewrite_options.disable_meta_optimizer = True  # it copies large constants
    names = [tensor.name for tensor in function.inputs]
    session = tf.compat.v1.Session(graph=function.graph, config=options)

    def run(samples: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        return session.run(function.outputs, dict(zip(names, [*samples, *values], strict=True)))

    return run


def _specs(graph: FlatGraph) -> list[tf.TensorSpec]:
    """The specs of a graph's inputs."""
    return [tf.TensorSpec(t.shape, t.dtype) for t in map(graph.tensor, graph.inputs)]


def drawn(graph: FlatGraph, count: int) -> Iterator[list[np.ndarray]]:
    """Samples for inputs with a batch axis, with open axes of several lengths, and texts of 1, 2, … words."""
    rng = np.random.default_rng(0)
    words = _words(graph) or [b"a", b"b", b"c", b"d"]
    for length in _LENGTHS:
        samples = []
        for spec in _specs(graph):
            first, *rest = spec.shape
            shape = [first or count, *(length if size is None else size for size in rest)]
            if spec.dtype == tf.string:
                number = itertools.count()
                lengths = (i % 7 + 1 for i in range(math.prod(shape)))
                texts = [b" ".join(words[next(number) % len(words)] for _ in range(n)) for n in lengths]
                samples.append(np.array(texts, object).reshape(shape))
            else:
                is_whole = spec.dtype.is_integer or spec.dtype.is_bool
                values = rng.integers(0, 2, shape) if is_whole else rng.normal(size=shape)
                samples.append(values.astype(spec.dtype.as_numpy_dtype))
        yield samples


def _words(graph: FlatGraph) -> list[bytes]:
    """Some of the words that a graph knows."""
    constants = [n.attr["value"].tensor for n in graph.nodes.values() if n.op == "Const"]
    known = [c.string_val for c in constants if c.dtype == tf.string.as_datatype_enum]
    return [word for words in known if len(words) > 1 for word in words[:_WORDS]]
