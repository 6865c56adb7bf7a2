"""What one call of a layer does while the model trains, found by tracing it: what it draws and multiplies.

A layer's class and its attributes don't tell: a user's layer may draw numbers whatever it is called, and one
with a `rate` may draw none; a table may be looked up in one call and multiplied in the next one.
"""

from __future__ import annotations

import weakref
from collections.abc import Collection, Hashable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from kerasft._keras.call_graph import Operation, Program
from kerasft._keras.layers import mask_of, sublayers, with_mask
from kerasft._keras.training_mode import training_mode

Shape: TypeAlias = tuple[int | None, ...] | None

_PASSED_ON = ("Identity", "Cast", "ReadVariableOp")
_LOOK_UPS = ("Gather", "GatherV2", "GatherNd", "ResourceGather", "ResourceGatherNd")
_ONLY_SHAPE = ("Shape", "VariableShape")
_FUNCTIONS = ("PartitionedCall", "StatefulPartitionedCall")
_PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class TracedCall:
    """What one call of a layer does while the model trains.

    Attributes:
        draws: Whether it draws random numbers, others at each step.
        drawn: Shapes of the random numbers; None for one that is not known.
        multiplied: Ids of the weights that it computes with; those of which it only looks up rows, or that
            it does not read, are none of them.
    """

    draws: bool
    drawn: tuple[Shape, ...]
    multiplied: frozenset[int]


def traced_call(program: Program, operation: Operation) -> TracedCall:
    """Trace one call of a program as in training, without those before it.

    It is traced once for each way in which its layer is set. A call that can't be traced by itself counts as
    one that draws nothing and computes with all its weights.

    Args:
        program: A model; nothing in it changes.
        operation: One of its calls of a layer.
    """
    known, given, setting = _traces(operation), _given(program, operation), _setting(operation)
    if (given, setting) not in known:
        try:
            known[given, setting] = _trace(program, operation)
        except Exception:  # of a layer's own code; whoever runs the call gets the error
            known[given, setting] = TracedCall(False, (), frozenset(id(v) for v in operation.weights))
    return known[given, setting]


def multiplied_weights(program: Program, operation: Operation) -> frozenset[int]:
    """`TracedCall.multiplied`, however the layer is set: it is traced once for all flags and modes."""
    given = _given(program, operation)
    traces = (trace for (other, _), trace in _traces(operation).items() if other == given)
    return (next(traces, None) or traced_call(program, operation)).multiplied


_known: weakref.WeakKeyDictionary[keras.Layer, dict[tuple[Hashable, Hashable], TracedCall]]
_known = weakref.WeakKeyDictionary()


def _traces(operation: Operation) -> dict[tuple[Hashable, Hashable], TracedCall]:
    assert isinstance(operation.layer, keras.Layer)
    return _known.setdefault(operation.layer, {})


def _given(program: Program, operation: Operation) -> Hashable:
    tensors = [program.tensors[number] for number in operation.reads]
    return tuple((*t.shape, str(t.dtype)) for t in tensors), tuple(id(v) for v in operation.weights)


def _setting(operation: Operation) -> Hashable:
    """The modes and plain attributes of a layer and of its parts, its flags among them."""
    layers = [x for x in (operation.layer, operation.part_of) if isinstance(x, keras.Layer)]
    return tuple(
        (id(part), training_mode(part), *((k, v) for k, v in vars(part).items() if isinstance(v, _PLAIN)))
        for layer in layers
        for part in sublayers(layer)
    )


def _trace(program: Program, operation: Operation) -> TracedCall:
    graph = tf.__internal__.FuncGraph("traced_call")
    with keras.StatelessScope() as scope, graph.as_default():
        values = {number: _placeholder(program.tensors[number]) for number in operation.reads}
        program.run([operation], values, training=True)
    weights = {id(v) for v in operation.weights}
    drawn, moved_by_itself = _random_numbers(graph)
    moves_generator = any(variable not in weights for variable in scope.state_mapping)
    return TracedCall(
        moved_by_itself or (bool(drawn) and moves_generator), drawn, _multiplied(graph, operation.weights)
    )


def _placeholder(tensor: Any) -> tf.Tensor:
    mask = mask_of(tensor)
    standing = None if mask is None else tf.compat.v1.placeholder("bool", mask.shape)
    return with_mask(tf.compat.v1.placeholder(tensor.dtype, tensor.shape), standing)


def _random_numbers(graph: tf.Graph) -> tuple[tuple[Shape, ...], bool]:
    """The shapes of a graph's random numbers, and whether any of them come from TensorFlow's own state."""
    drawing = [op for op in graph.get_operations() if _is_random(op.type)]
    inside = [n.op for f in graph.as_graph_def().library.function for n in f.node_def if _is_random(n.op)]
    shapes = [None if (t := op.outputs[0]).shape.rank is None else tuple(t.shape) for op in drawing]
    shapes += [None] * len(inside)
    return tuple(shapes), any(_definition(op).is_stateful for op in (*(o.type for o in drawing), *inside))


def _is_random(operation: str) -> bool:
    """Whether a type of operation draws numbers: by its definition it takes a seed or an algorithm."""
    definition = _definition(operation)
    if definition is None or operation.startswith("StatelessRandomGet"):  # which prepare a seed
        return False
    names = {a.name for a in definition.input_arg} | {a.name for a in definition.attr}
    return bool(names & {"seed", "alg", "algorithm"}) or operation == "NonDeterministicInts"


def _definition(operation: str) -> Any:
    from tensorflow.python.framework import op_def_registry

    return op_def_registry.get(operation)


def _multiplied(graph: tf.Graph, weights: Collection[keras.Variable]) -> frozenset[int]:
    handles = {id(outer): inner for outer, inner in graph.captures}
    inside = {id(v): handles.get(id(v.value.handle)) for v in weights}
    return frozenset(v for v, handle in inside.items() if handle is not None and _is_multiplied(handle))


def _is_multiplied(tensor: tf.Tensor) -> bool:
    """Whether an operation computes with a tensor, beyond looking up its rows."""
    return any(_computes(operation, tensor) for operation in tensor.consumers())


def _computes(operation: tf.Operation, tensor: tf.Tensor) -> bool:
    if operation.type in _LOOK_UPS:
        return operation.inputs[0] is not tensor
    if operation.type in _PASSED_ON:
        return any(map(_is_multiplied, operation.outputs))
    if operation.type in _FUNCTIONS:
        return any(map(_is_multiplied, _inside_function(operation, tensor)))
    return operation.type not in _ONLY_SHAPE


def _inside_function(operation: tf.Operation, tensor: tf.Tensor) -> Iterator[tf.Tensor]:
    """The tensors that stand for one inside the function that an operation calls."""
    function = operation.graph._get_function(operation.get_attr("f").name)
    for given, inner in zip(operation.inputs, function.graph.inputs, strict=True):
        if given is tensor:
            yield inner
