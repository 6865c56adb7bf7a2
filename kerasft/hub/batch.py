"""Whether the first axis of each input is the batch: told by the graph's shapes, and by running it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kerasft.hub.flat_graph import FlatGraph
from kerasft.hub.sizes import Known

_SAMPLES = 3
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
        if rank and in_front(tensor, size) and (rank > 1 or size is not None):
            continue
        alike = _is_sample_by_sample(graph, inputs, variables) if rank and size is None else False
        if alike or (alike is None and rank > 1 and not graph.sizes.are_measured):
            continue
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
    order = sorted(graph.variables(graph.outputs))
    function = graph.extract(graph.inputs, graph.outputs, order)
    values = [tf.convert_to_tensor(variables[i]) for i in order]
    weights = [tf.TensorSpec(v.shape, v.dtype) for v in values]
    run = function.concrete([*(tf.TensorSpec(s.shape, s.dtype) for s in inputs), *weights])
    rng = np.random.default_rng(0)
    for length in _LENGTHS:
        samples = []
        for spec in inputs:
            shape = [_SAMPLES, *(length if size is None else size for size in spec.shape[1:])]
            drawn = rng.integers(0, 2, shape) if spec.dtype.is_integer else rng.normal(size=shape)
            samples.append(tf.cast(drawn, spec.dtype))
        try:
            together = run(*samples, *values)
            single = [run(*(s[i : i + 1] for s in samples), *values) for i in range(_SAMPLES)]
        except tf.errors.OpError:
            continue
        for i, whole in enumerate(together):
            rows = [one[i] for one in single]
            alike = whole.shape.rank and whole.shape[0] == _SAMPLES and all(r.shape[:1] == [1] for r in rows)
            if alike and all(r.shape[1:] == whole.shape[1:] for r in rows):
                return bool(np.allclose(tf.concat(rows, 0), whole, rtol=1e-3, atol=1e-4))
        return False
    return None
