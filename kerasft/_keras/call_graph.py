"""A Functional or Sequential model as its calls, in order, and as a program that can be run in parts."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from kerasft._keras.inner_calls import InnerCalls, NotDivisibleError
from kerasft._keras.layers import has_own_call, mask_of, own_variables
from kerasft._keras.opened_layers import inner_calls, why_not_divided

if TYPE_CHECKING:
    from keras.src.models.functional import Functional
    from keras.src.ops.node import Node


@dataclass(frozen=True, eq=False)
class Call:
    """One call of an operation in a Functional model: tensors are Keras's symbolic ones.

    `inner` finds the calls inside it, if it is a layer that has blocks in series; `why_whole` says why a
    layer that is made of others has none, as the end of a sentence.
    """

    operation: keras.Operation
    inputs: tuple[keras.KerasTensor, ...]
    outputs: tuple[keras.KerasTensor, ...]
    inner: Callable[[], InnerCalls | None] = lambda: None
    why_whole: Callable[[], str | None] = lambda: None


def calls(model: keras.Model) -> list[Call] | None:
    """List the calls of a Functional or built Sequential model, inputs first; None for any other model."""
    graph = getattr(model, "_functional", None) or model
    by_depth = getattr(graph, "_nodes_by_depth", None)
    if by_depth is None:
        return None
    return [
        Call(
            node.operation,
            tuple(node.input_tensors),
            tuple(node.outputs),
            functools.partial(_inner_calls, node),
            functools.partial(why_not_divided, node) if _may_be_opened(node) else lambda: None,
        )
        for depth in sorted(by_depth, reverse=True)
        for node in by_depth[depth]
    ]


@dataclass(frozen=True, eq=False)
class Operation:
    """One call of a layer in a `Program`.

    Attributes:
        layer: The operation that is called; None where the inputs of a nested model are converted for it.
            For a part of a layer that has blocks in series: the layer inside that is called, or the layer
            itself for what it does after the last one.
        reads: Numbers of the values that it takes.
        writes: Numbers of the values that it gives.
        outputs: Keras's symbolic tensors of the latter.
        run: Takes the values read and whether the model trains; returns the values written.
        holders: The layers that it is a part of, from the outer one on, if that has blocks in series.
    """

    layer: keras.Operation | None
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    outputs: tuple[keras.KerasTensor, ...]
    run: Callable[[Sequence[tf.Tensor], bool], list[tf.Tensor]]
    holders: tuple[keras.Layer, ...] = ()

    @property
    def part_of(self) -> keras.Layer | None:
        """The outermost layer that it is a part of."""
        return self.holders[0] if self.holders else None

    @property
    def weights(self) -> list[keras.Variable]:
        """All weights that it may read."""
        held = [variable for holder in self.holders for variable in own_variables(holder)]
        if self.part_of is not self.layer:
            held = [*held, *getattr(self.layer, "weights", ())]
        return held

    @property
    def name(self) -> str:
        """The name of its layer, after those of the layers that it is a part of."""
        if self.layer is None:
            return "the input"
        above = self.holders if self.part_of is not self.layer else ()
        return "/".join(str(layer.name) for layer in (*above, self.layer))


@dataclass(frozen=True, eq=False)
class Program:
    """A Functional or Sequential model as a list of calls, those inside of nested models included.

    Attributes:
        model: The model.
        operations: Its calls, each after those whose values it takes.
        inputs, outputs: Numbers of the model's inputs and outputs.
        without_rows: Numbers of the values that are known not to have a row for each sample, whatever their
            symbolic tensors say: positions, for instance. Who runs a part of the program adds to them.
    """

    model: keras.Model
    operations: tuple[Operation, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    without_rows: set[int] = field(default_factory=set)

    @property
    def signature(self) -> Any:
        """`tf.TensorSpec`s of the inputs, in the structure that the model declares."""
        return keras.tree.map_structure(
            lambda t: tf.TensorSpec(t.shape, t.dtype), _graph(self.model)._inputs_struct
        )

    @functools.cached_property
    def tensors(self) -> dict[int, Any]:
        """Symbolic tensors of all values, by their numbers; `tf.TensorSpec`s of the inputs."""
        found = dict(zip(self.inputs, keras.tree.flatten(self.signature), strict=True))
        for operation in self.operations:
            found |= zip(operation.writes, operation.outputs, strict=True)
        return found

    def enter(self, x: Any) -> dict[int, tf.Tensor]:
        """Return the values of the inputs for data `x`, in whatever structure the model takes."""
        return dict(zip(self.inputs, _standardized(self.model, x), strict=True))

    def run(self, operations: Iterable[Operation], values: dict[int, tf.Tensor], training: bool) -> None:
        """Compute the values that `operations` write, into `values`."""
        with _one_call_of(self.model):
            for operation in operations:
                results = operation.run([values[i] for i in operation.reads], training)
                values.update(zip(operation.writes, results, strict=True))

    def leave(self, values: Mapping[int, tf.Tensor]) -> Any:
        """Return the model's outputs in the structure that it returns."""
        graph = _graph(self.model)
        packed = keras.tree.pack_sequence_as(graph._outputs_struct, [values[i] for i in self.outputs])
        return packed[0] if isinstance(packed, list | tuple) and len(packed) == 1 else packed


def program(model: keras.Model) -> Program | None:
    """Read `model` as a program; None if it isn't Functional or a built Sequential, or calls differently."""
    top = _graph(model)
    if top is None:
        return None
    slots: dict[tuple[int, int], int] = {}
    operations: list[Operation] = []
    numbers, scopes = itertools.count(), itertools.count()

    def visit(graph: Functional, given: Sequence[int]) -> list[int]:
        scope = next(scopes)
        slots.update({(scope, id(t)): n for t, n in zip(graph.inputs, given, strict=True)})
        for depth in sorted(graph._nodes_by_depth, reverse=True):
            for node in graph._nodes_by_depth[depth]:
                if node.is_input or any((scope, id(t)) not in slots for t in node.input_tensors):
                    continue
                reads = tuple(slots[scope, id(t)] for t in node.input_tensors)
                inner = None if has_own_call(node.operation) else _graph(node.operation)
                if inner is not None and _takes_inputs_alone(node, inner):
                    entered = tuple(next(numbers) for _ in inner.inputs)
                    run = functools.partial(_enter, node)
                    operations.append(Operation(None, reads, entered, tuple(inner.inputs), run))
                    results = visit(inner, entered)
                elif (opened := _inner_calls(node)) is not None:
                    results = parts(opened, node, reads)
                else:
                    results = [next(numbers) for _ in node.outputs]
                    run = functools.partial(_call, node)
                    outputs = tuple(node.outputs)
                    operations.append(Operation(node.operation, reads, tuple(results), outputs, run))
                slots.update({(scope, id(t)): n for t, n in zip(node.outputs, results, strict=True)})
        return [slots[scope, id(t)] for t in graph.outputs]

    def parts(opened: InnerCalls, node: Node, given: tuple[int, ...]) -> list[int]:
        written: list[list[int]] = []
        everything = frozenset(range(-len(given), 0))
        calls = [(call.layer, call.holders, call.needs, call.outputs) for call in opened.calls]
        if None in opened.passed_on:
            calls.append((node.operation, opened.opened, opened.needs, tuple(node.outputs)))
        for i, (layer, holders, needs, outputs) in enumerate(calls):
            needs = needs or everything
            places = [k for k in range(len(given)) if -1 - k in needs]
            before = sorted(need for need in needs if need >= 0)
            reads = (*(given[k] for k in places), *(n for need in before for n in written[need]))
            run = functools.partial(_run_part, opened, i, len(given), places, before)
            written.append([next(numbers) for _ in outputs])
            operations.append(
                Operation(layer, reads, tuple(written[-1]), outputs, run, (node.operation, *holders))
            )
        return [written[-1][k] if i is None else written[i][0] for k, i in enumerate(opened.passed_on)]

    inputs = tuple(next(numbers) for _ in top.inputs)
    outputs = tuple(visit(top, inputs))
    return Program(model, tuple(operations), inputs, outputs)


def _graph(layer: object) -> Any:
    """Find the graph of a model that is called as Keras calls it; None for anything else."""
    from keras.src.models.functional import Functional

    call = getattr(type(layer), "call", None)
    if "call" in getattr(layer, "__dict__", {}):
        return None
    if call is Functional.call:
        return layer
    return getattr(layer, "_functional", None) if call is keras.Sequential.call else None


def _takes_inputs_alone(node: Node, inner: Functional) -> bool:
    """Whether a nested model is called on its inputs, and on no other tensor (a mask, say)."""
    arguments = node.arguments
    return (
        len(arguments.args) == 1
        and len(keras.tree.flatten(arguments.args[0])) == len(arguments.keras_tensors) == len(inner.inputs)
    )  # fmt: skip


def _filled_in(node: Node, values: Sequence[tf.Tensor]) -> tuple[Any, dict[str, Any]]:
    by_tensor = {id(t): v for t, v in zip(node.input_tensors, values, strict=True)}
    args, kwargs = node.arguments.fill_in(by_tensor)
    return args, dict(kwargs)


def _enter(node: Node, values: Sequence[tf.Tensor], training: bool) -> list[tf.Tensor]:
    if any(mask_of(value) is not None for value in values):
        raise NotDivisibleError(f"a mask goes into the nested model {node.operation.name!r}")
    args, _ = _filled_in(node, values)
    return _standardized(node.operation, args[0])


def _call(node: Node, values: Sequence[tf.Tensor], training: bool) -> list[tf.Tensor]:
    args, kwargs = _filled_in(node, values)
    if "training" in getattr(node.operation, "_call_context_args", {}):
        kwargs["training"] = training
    return list(keras.tree.flatten(node.operation(*args, **kwargs)))


def _inner_calls(node: Node) -> InnerCalls | None:
    return inner_calls(node) if _may_be_opened(node) else None


def _may_be_opened(node: Node) -> bool:
    """Whether a call is one of a layer, or of a subclassed model, whose own calls Keras does not know."""
    from keras.src.models.functional import Functional

    is_layer = isinstance(node.operation, keras.Layer) and not node.is_input
    return is_layer and not isinstance(node.operation, keras.Sequential | Functional)


def _run_part(
    opened: InnerCalls,
    index: int,
    count: int,
    places: Sequence[int],
    before: Sequence[int],
    values: Sequence[tf.Tensor],
    training: bool,
) -> list[tf.Tensor]:
    given: list[Any] = [None] * count
    for place, value in zip(places, values, strict=False):
        given[place] = value
    left = iter(values[len(places) :])
    results = {need: [next(left) for _ in opened.calls[need].outputs] for need in before}
    return opened.run(index, given, results, training)


def _standardized(model: keras.Model, x: Any) -> list[tf.Tensor]:
    """Convert the inputs of a model as the model itself would."""
    if model._convert_input_args:
        convert = functools.partial(
            model.dtype_policy.convert_input, autocast=model.autocast, dtype=model.input_dtype
        )
        x = keras.tree.map_structure(convert, x)
    return list(_graph(model)._standardize_inputs(x))


@contextlib.contextmanager
def _one_call_of(model: keras.Model) -> Iterator[None]:
    """Make the calls within the block part of one call of `model`, whose losses are collected afresh."""
    model._get_call_context()
    try:
        yield
    finally:
        model._maybe_reset_call_context()
