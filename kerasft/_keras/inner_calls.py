"""The calls that a layer makes to the layers inside it, in order, and the layer run in parts between them.

Keras knows the calls of a Functional model, but not those inside a layer. Here the layer is traced, once as
in inference and once as in training, with each call to a layer inside it noted and its result marked, so
that the graphs show which results a later call needs. To run a part, the layer's own `call` is run: calls
before the part give the values that are known, and the part ends where its own call has its result. What
the layer does between its calls stays its own code.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import keras
import tensorflow as tf

from kerasft._keras.layers import children, mask_of, with_mask

if TYPE_CHECKING:
    from keras.src.ops.node import Node


class NotDivisibleError(Exception):
    """A model can't be run in parts; the message says why, as the end of a sentence."""


@dataclass(frozen=True, eq=False)
class InnerCall:
    """One call of a layer inside another one.

    Attributes:
        layer: The layer that is called.
        holders: The opened layers inside the outer one that it lies in, outermost first.
        needs: Indices of the earlier calls from whose results its arguments are computed, and -1, -2, … for
            the first, second, … tensor that the outer layer is given, as far as they are computed from it.
        first_needs: The same of its first argument alone.
        outputs: Symbolic tensors of its results.
        structure: How the results are nested: True for a tensor, False for None.
    """

    layer: keras.Layer
    holders: tuple[keras.Layer, ...]
    needs: frozenset[int]
    first_needs: frozenset[int]
    outputs: tuple[keras.KerasTensor, ...]
    structure: Any

    @property
    def path(self) -> str:
        """The names of the layers that it lies in, the outer one left out, and its own."""
        return "/".join(layer.name for layer in (*self.holders, self.layer))


_Traced: TypeAlias = tuple[tuple[InnerCall, ...], frozenset[int], tuple[int | None, ...]]


class InnerCalls:
    """The calls inside a layer, in order.

    Args:
        node: Keras's node of the layer's call.
        opened: Layers inside it whose own calls are told apart, in place of theirs.

    Attributes:
        layer: The layer.
        opened: As given.
        calls: Its calls to the layers directly inside it, or inside one of `opened`.
        needs: Indices of the calls from whose results its own are computed, and of what it is given, as in
            `InnerCall`.
        passed_on: For each of its results the index of the call whose single result it is; else None.
    """

    def __init__(self, node: Node, opened: Sequence[keras.Layer] = ()) -> None:
        self._node_ref = weakref.ref(node)  # the layer has it, and this is kept as long as the node is
        self.opened = tuple(opened)
        self._holders = dict(self._parts(node.operation, ()))
        self._inputs = [(t.shape, t.dtype, mask_of(t)) for t in node.input_tensors]
        with keras.StatelessScope():  # the traces change nothing, and losses stay out of the model's
            calls, needs, passed_on = self._trace(training=False)
            trained, trained_needs, trained_passed_on = self._trace(training=True)
        if [c.layer for c in calls] == [c.layer for c in trained]:  # else `run` refuses to train it in parts
            calls = tuple(
                replace(a, needs=a.needs | b.needs, first_needs=a.first_needs | b.first_needs)
                for a, b in zip(calls, trained, strict=True)
            )
            needs |= trained_needs
            ends = zip(passed_on, trained_passed_on, strict=True)
            passed_on = tuple(end if end == other else None for end, other in ends)
        self.calls, self.needs, self.passed_on = calls, needs, passed_on

    @property
    def node(self) -> Node:
        """Keras's node of the layer's call."""
        node = self._node_ref()
        assert node is not None
        return node

    @property
    def layer(self) -> keras.Layer:
        """The layer."""
        return self.node.operation

    @functools.cached_property
    def blocks(self) -> tuple[int, ...]:
        """Indices of the calls of layers that are made of others, if one comes after the other.

        The first argument of each but the first is computed from the result of the one before, and not past
        it from what the first block's is computed from. So attention and feed-forward in a residual unit are
        no blocks; a mask that all read may be there.
        """
        return self._blocks(range(len(self.calls)))

    def blocks_in(self, holder: keras.Layer) -> tuple[int, ...]:
        """The same of the calls inside one of the opened layers."""
        return self._blocks(i for i, c in enumerate(self.calls) if any(x is holder for x in c.holders))

    def _blocks(self, indices: Iterable[int]) -> tuple[int, ...]:
        made = [i for i in indices if is_made_of_layers(self.calls[i].layer)]

        def sources(index: int) -> set[int]:
            found: set[int] = set()
            for need in self.calls[index].first_needs:
                found |= {need} if need < 0 or need in made else sources(need)
            return found

        if len(made) < 2:
            return ()
        main = sources(made[0])
        in_series = all(
            a in sources(b) and not (sources(b) - {a}) & (main | {*made}) for a, b in itertools.pairwise(made)
        )
        return tuple(made) if in_series else ()

    def _parts(
        self, layer: keras.Layer, above: tuple[keras.Layer, ...]
    ) -> Iterator[tuple[keras.Layer, tuple[keras.Layer, ...]]]:
        """The layers whose calls are told apart, each with the opened ones that it lies in."""
        for child in children(layer):
            if any(child is layer for layer in self.opened):
                yield from self._parts(child, (*above, child))
            else:
                yield child, above

    def run(
        self,
        index: int,
        given: Sequence[tf.Tensor],
        results: Mapping[int, Sequence[tf.Tensor]],
        training: bool,
    ) -> list[tf.Tensor]:
        """Run the layer from the results that are known up to the end of one call.

        Args:
            index: The call's index; their number for the layer's own results.
            given: What the layer is given; None for what the part does not need.
            results: The results of earlier calls that the part needs, by their indices.
            training: Whether the model trains.

        Raises:
            NotDivisibleError: The layer calls others than it did when it was traced.
        """
        rows = self._rows(given, results)
        tensors = []
        for tensor, (shape, dtype, mask) in zip(given, self._inputs, strict=True):
            if tensor is None:
                stand_in = None if mask is None else _stand_in(mask.shape, "bool", rows)
                tensors.append(with_mask(_stand_in(shape, dtype, rows), stand_in))
            elif (mask_of(tensor) is None) != (mask is None):
                raise NotDivisibleError(
                    f"{self.layer.name!r} is called with a mask, or without, as it was not"
                )
            else:
                tensors.append(tensor)
        count = 0

        def called(layer: keras.Layer, call: Callable[[], Any]) -> Any:
            nonlocal count
            position, count = count, count + 1
            if position >= len(self.calls) or self.calls[position].layer is not layer:
                raise NotDivisibleError(f"{self.layer.name!r} does not always make the same calls")
            if position < index:
                inner = self.calls[position]
                values = results.get(position) or [_stand_in(t.shape, t.dtype, rows) for t in inner.outputs]
                left = iter(values)
                return keras.tree.map_structure(lambda has: next(left) if has else None, inner.structure)
            raise _ReachedError(_tensors(call()))

        try:
            outputs = self._call(tensors, training, called)
        except _ReachedError as reached:
            return reached.results
        if index < len(self.calls):
            raise NotDivisibleError(f"{self.layer.name!r} does not always make the same calls")
        return list(keras.tree.flatten(outputs))

    def _rows(self, given: Sequence[tf.Tensor], results: Mapping[int, Sequence[tf.Tensor]]) -> tf.Tensor:
        """The size of the batch, by the first value that has one row for each sample."""
        shapes = zip(given, (shape for shape, *_ in self._inputs), strict=True)
        known = [(t, shape) for t, shape in shapes if t is not None]
        for index, tensors in results.items():
            known += [(t, o.shape) for t, o in zip(tensors, self.calls[index].outputs, strict=True)]
        batched = [t for t, shape in known if shape and shape[0] is None]
        fixed = any(shape and shape[0] is not None for shape, *_ in self._inputs)
        if not batched and not fixed:
            raise NotDivisibleError(
                f"a part of {self.layer.name!r} needs nothing that has a row for each sample"
            )
        return tf.shape(batched[0] if batched else known[0][0])[0]

    def _call(self, tensors: Sequence[tf.Tensor], training: bool, called: Any) -> Any:
        by_tensor = {id(t): v for t, v in zip(self.node.input_tensors, tensors, strict=True)}
        args, kwargs = self.node.arguments.fill_in(by_tensor)
        kwargs = dict(kwargs)
        if "training" in getattr(self.layer, "_call_context_args", {}):
            kwargs["training"] = training
        with watched_calls(self._holders, called):
            return self.layer(*args, **kwargs)

    def _trace(self, training: bool) -> _Traced:
        noted: list[InnerCall] = []
        marks: dict[str, int] = {}  # the indices of the calls by the names of their results
        arguments: list[tuple[list[Any], list[Any]]] = []

        def trace(*tensors: tf.Tensor) -> Any:
            def called(layer: keras.Layer, call: Callable[[], Any]) -> Any:
                given = call.args, call.keywords  # type: ignore[attr-defined]
                arguments.append(tuple(list(map(_with_masks, map(_tensors, (given, given[0][:1]))))))  # type: ignore[arg-type]
                results = keras.tree.map_structure(_marked, call())
                flat = _tensors(results)
                marks.update({t.op.name: len(noted) for t in flat})
                outputs = tuple(keras.KerasTensor(t.shape, t.dtype.name) for t in flat)
                structure = keras.tree.map_structure(tf.is_tensor, results)
                noted.append(
                    InnerCall(layer, self._holders[layer], frozenset(), frozenset(), outputs, structure)
                )
                return results

            return _tensors(self._call(tensors, training, called))

        graph = tf.__internal__.FuncGraph("inner_calls")
        with graph.as_default():
            given = []
            for i, (shape, dtype, mask) in enumerate(self._inputs):
                tensor = tf.compat.v1.placeholder(dtype, shape)
                marks[tensor.op.name] = -1 - i
                if mask is not None:
                    standing = tf.compat.v1.placeholder("bool", mask.shape)
                    marks[standing.op.name] = -1 - i
                    with_mask(tensor, standing)
                given.append(tensor)
            results = trace(*given)
        calls = tuple(
            replace(call, needs=_needs(every, marks), first_needs=_needs(first, marks))
            for call, (every, first) in zip(noted, arguments, strict=True)
        )
        single = {i for i, call in enumerate(noted) if len(call.outputs) == 1}
        masked = any(mask is not None for *_, mask in self._inputs)  # which the layer may hand on
        ends = [None if masked else marks.get(t.op.name) for t in results]
        passed_on = tuple(end if end in single else None for end in ends)
        return calls, _needs(_with_masks(results), marks), passed_on


def is_made_of_layers(layer: keras.Layer) -> bool:
    """Whether a layer holds other layers with weights."""
    return any(child.weights for child in children(layer))


class _ReachedError(BaseException):  # Keras wraps what is an Exception
    """The call that a part ends with has its results."""

    def __init__(self, results: list[tf.Tensor]) -> None:
        super().__init__()
        self.results = results


class _Call:
    """A call that is still to be made."""

    def __init__(self, call: Any, layer: keras.Layer, args: Any, keywords: Any) -> None:
        self._call, self._layer, self.args, self.keywords = call, layer, args, keywords

    def __call__(self) -> Any:
        return self._call(self._layer, *self.args, **self.keywords)


@contextlib.contextmanager
def watched_calls(
    layers: Collection[keras.Layer], called: Callable[[keras.Layer, Any], Any]
) -> Iterator[None]:
    """Hand calls of these layers to `called`, with the call that is to be made and its `args`."""
    watched, thread, original = {id(layer) for layer in layers}, threading.get_ident(), keras.Layer.__call__

    def watch(self: keras.Layer, *args: Any, **kwargs: Any) -> Any:
        if id(self) not in watched or threading.get_ident() != thread:
            return original(self, *args, **kwargs)
        return called(self, _Call(original, self, args, kwargs))

    keras.Layer.__call__ = watch  # type: ignore[method-assign]
    try:
        yield
    finally:
        keras.Layer.__call__ = original  # type: ignore[method-assign]


def _tensors(structure: Any) -> list[tf.Tensor]:
    return [t for t in keras.tree.flatten(structure) if tf.is_tensor(t)]


def _with_masks(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    return [*tensors, *(m for t in tensors if (m := mask_of(t)) is not None)]


def _marked(tensor: Any) -> Any:
    """The same tensor from an operation of its own, by which it is known; None stays None."""
    if tensor is None:
        return None
    if not tf.is_tensor(tensor):
        raise NotDivisibleError("a layer inside gives something other than tensors")
    return with_mask(tf.identity(tensor), mask_of(tensor))


_OF_SHAPE = frozenset({"Shape", "ShapeN", "Rank", "Size"})


def _needs(tensors: Sequence[tf.Tensor], marks: Mapping[str, int]) -> frozenset[int]:
    """The marked operations from whose values some tensors are computed."""
    found: set[int] = set()
    seen: set[str] = set()
    stack = [t.op for t in tensors]
    while stack:
        operation = stack.pop()
        if operation.name in marks:
            found.add(marks[operation.name])
        elif operation.name not in seen:
            seen.add(operation.name)
            carries_data = operation.type not in _OF_SHAPE or any(
                t.shape.rank is None or None in t.shape[1:] for t in operation.inputs
            )
            stack += [t.op for t in operation.inputs] if carries_data else []
    return frozenset(found)


def _stand_in(shape: Sequence[int | None], dtype: str, rows: tf.Tensor) -> tf.Tensor:
    """A tensor of the right shape for a value that is not needed, but that the layer's code passes on."""
    others = [1 if axis is None else axis for axis in shape[1:]]
    first = rows if shape[0] is None else shape[0]
    return tf.ensure_shape(tf.zeros(tf.stack([first, *others]), dtype), (shape[0], *others))
