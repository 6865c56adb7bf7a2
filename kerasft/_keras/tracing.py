"""Traced functions: their impure operations, their cost, and training steps that stay in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

_CONTAINERS = ("PartitionedCall", "StatefulPartitionedCall", "While", "If", "Case")
_READS = ("ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VariableShape", "VarHandleOp", "Assert")


def impure_operations(graph: tf.Graph) -> list[str]:
    """List types of operations in a traced graph that write something, draw numbers or leave TensorFlow."""
    from tensorflow.python.framework import op_def_registry

    definition = graph.as_graph_def()
    nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
    found = {n.op for n in nodes if n.op not in (*_CONTAINERS, *_READS)}
    known = {op: op_def_registry.get(op) for op in found}
    return sorted(op for op, entry in known.items() if entry is None or entry.is_stateful)


def is_stateless(operation: str) -> bool:
    """Whether TensorFlow computes a type of operation whenever it likes: when it works out a shape, say."""
    from tensorflow.python.framework import op_def_registry

    entry = op_def_registry.get(operation)
    return entry is not None and not entry.is_stateful


def floating_point_operations(function: Callable[..., Any], signature: Any) -> int:
    """Count the floating-point operations of one call for one sample, by TensorFlow's profiler."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
    from tensorflow.python.util import deprecation

    def with_one_sample(spec: tf.TensorSpec) -> tf.TensorSpec:
        return tf.TensorSpec((1, *spec.shape[1:]), spec.dtype)

    one = keras.tree.map_structure(with_one_sample, signature)
    concrete = tf.function(function, autograph=False).get_concrete_function(one)
    graph = convert_variables_to_constants_v2(concrete).graph
    with graph.as_default(), deprecation.silence():  # the profiler's own
        options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
        options["output"] = "none"
        return int(tf.compat.v1.profiler.profile(graph, options=options).total_float_ops)


@contextlib.contextmanager
def release_traced_steps() -> Iterator[None]:
    """Release the training steps that were traced in a block, once it ends.

    Each trace of a Keras training step calls TensorFlow's `all_reduce`, whose gradient TensorFlow enters into
    a table that it never clears: with it stay the step's graph and the weights of the model that it trained.
    The entries that the block made for those graphs are taken out again; steps that are still to run are
    not harmed, as nothing asks for the gradient of a training step.
    """
    from tensorflow.python.framework import ops

    table = ops.gradient_registry._registry
    before = set(table)
    try:
        yield
    finally:
        graphs: dict[str, set[int]] = {}
        steps: set[int] = set()
        for name in set(table) - before:
            inner = _closed_over(_closed_over(table[name]["type"]).get("tape_grad_fn"))
            results = [t for t in tf.nest.flatten(inner.get("result")) if tf.is_symbolic_tensor(t)]
            graphs[name] = {id(t.graph) for t in results}
            if getattr(inner.get("grad_fn"), "__qualname__", "").startswith("ReplicaContextBase.all_reduce"):
                steps |= graphs[name]
        for name in graphs:
            if graphs[name] & steps:
                del table[name]


def _closed_over(function: Any) -> dict[str, Any]:
    """Read the variables that a function has from the one that defined it, by name."""
    if getattr(function, "__closure__", None) is None:
        return {}
    pairs = zip(function.__code__.co_freevars, function.__closure__, strict=True)
    return {name: cell.cell_contents for name, cell in pairs}
