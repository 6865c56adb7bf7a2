"""Where a model can be divided: a frozen, deterministic prefix, one tensor, and the rest that trains.

A cut is a tensor. Before it nothing trains and nothing is drawn at random, so its value is the same whenever
a sample comes again. Behind it is all that the outputs need beside it, computed from the model's inputs.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import networkx
import numpy as np
import tensorflow as tf

from kerasft import _keras
from kerasft.cache.samples import leaves, packed
from kerasft.hub import HubStage
from kerasft.stages import cut_points


@dataclass(frozen=True, eq=False)
class Cut:
    """A model divided at one tensor.

    Attributes:
        program: The whole model, call by call.
        position: Index of the last call of the prefix.
        before: The calls of the prefix.
        after: The calls of the suffix.
        sides: Numbers of the model's inputs that the suffix reads beside the cut (token masks, say).
    """

    program: _keras.Program
    position: int
    before: tuple[_keras.Operation, ...]
    after: tuple[_keras.Operation, ...]
    sides: tuple[int, ...]

    @property
    def name(self) -> str:
        """The layer whose output is recorded."""
        return str(getattr(self.program.operations[self.position].layer, "name", "the input"))

    @property
    def value(self) -> int:
        """Number of the value that is recorded."""
        return self.program.operations[self.position].writes[0]

    @property
    def tensor(self) -> Any:
        """Keras's symbolic tensor at the cut."""
        return self.program.operations[self.position].outputs[0]

    @property
    def layers(self) -> list[keras.Layer]:
        """The layers of the prefix, each once."""
        layers = (operation.layer for operation in self.before)
        return list({id(x): x for x in layers if isinstance(x, keras.Layer)}.values())

    @property
    def weights(self) -> list[keras.Variable]:
        """All weights of the prefix."""
        return list({id(v): v for layer in self.layers for v in layer.weights}.values())

    @property
    def digest(self) -> str:
        """A name for what the prefix computes: its layers' settings, their connections and their weights."""
        calls = [[_settings(o.layer), o.reads, o.writes] for o in self.before]
        return hashlib.blake2b(
            json.dumps([calls, self.weights_digest], sort_keys=True, default=repr).encode(), digest_size=16
        ).hexdigest()

    @functools.cached_property
    def cost(self) -> float:
        """What the prefix costs, in multiplications of a sample, roughly."""
        return sum(_cost(operation) for operation in self.before)

    @property
    def share(self) -> float:
        """The part of the whole model's cost that the prefix has, roughly."""
        whole = self.cost + sum(_cost(operation) for operation in self.after)
        return self.cost / whole if whole else 0.0

    @property
    def weights_digest(self) -> str:
        """A name for the values of the prefix's weights."""
        found = hashlib.blake2b(digest_size=16)
        for weight in self.weights:
            found.update(np.ascontiguousarray(weight.numpy()).view(np.uint8).data)
        return found.hexdigest()

    def prefix(self, x: Any, training: bool) -> Any:
        """The value at the cut for data `x`, computed layer by layer."""
        values = self.program.enter(x)
        self.program.run(self.before, values, training)
        return values[self.value]

    def suffix(self, value: Any, sides: Mapping[int, Any], training: bool) -> Any:
        """The model's outputs from the value at the cut and the inputs that it reads, by their numbers."""
        values = {self.value: value, **sides}
        self.program.run(self.after, values, training)
        return self.program.leave(values)


class NoCutError(Exception):
    """There is no cut; the message says why, as a sentence."""


def find_cut(program: _keras.Program, moving: Collection[int] = ()) -> Cut:
    """The cut that saves most; before it all is frozen and deterministic, by the flags as they are.

    Args:
        program: The model.
        moving: Indices of calls that are known not to be deterministic.

    Raises:
        NoCutError: There is none.
    """
    operations = program.operations
    trained = {id(v) for v in program.model.trainable_variables}
    producer = {n: i for i, operation in enumerate(operations) for n in operation.writes}
    ancestors: list[set[int]] = []
    reasons: dict[int, str] = {}
    still = networkx.DiGraph()  # calls that give the same for a sample each time
    frontier: set[int] = {producer[n] for n in program.outputs if n in producer}
    for i, operation in enumerate(operations):
        parents = {producer[n] for n in operation.reads if n in producer}
        ancestors.append({i}.union(*(ancestors[p] for p in parents)))
        if i in moving:
            reasons[i] = (
                f"the layer {_name(operation)!r} draws random numbers, writes variables or adds a loss"
            )
        elif reason := _why_moving(operation.layer, trained):
            reasons[i] = f"the layer {_name(operation)!r} {reason}"
        if ancestors[i] & reasons.keys():
            frontier |= parents
        else:
            still.add_node(i)
            still.add_edges_from((p, i) for p in parents)
    if not reasons:
        raise NoCutError("Nothing trains: every layer is frozen.")
    first = reasons[min(reasons)]
    if not any(getattr(operations[i].layer, "weights", None) for i in still):
        raise NoCutError(f"Nothing frozen comes first: {first}.")
    frontier &= set(still)
    candidates = {*frontier, *(p for f in frontier for p in cut_points(still, [f]))}
    costs = [_cost(operation) for operation in operations]
    best: tuple[float, int, int] | None = None
    for i in sorted(candidates):
        if len(operations[i].writes) == 1 and operations[i].layer is not None:
            needed, sides = _needed(program, i, producer)
            saved = sum(costs[k] for k in ancestors[i] - needed)
            if saved and (best is None or (saved, -len(sides), i) > best):
                best = saved, -len(sides), i
    if best is None:
        raise NoCutError(
            "No single tensor lies between the frozen layers and those that are not, or none saves work: "
            f"{first}."
        )
    position = best[2]
    needed, sides = _needed(program, position, producer)
    before = tuple(operations[i] for i in sorted(ancestors[position]))
    return Cut(program, position, before, tuple(operations[i] for i in sorted(needed)), sides)


def _cost(operation: _keras.Operation) -> float:
    """What a call costs, in multiplications of a sample, roughly; 0 for a layer without weights."""
    sizes = [math.prod(v.shape) for v in getattr(operation.layer, "weights", ())]
    return sum(sizes) * math.prod(axis or 1 for axis in operation.outputs[0].shape[1:-1]) if sizes else 0


def _needed(
    program: _keras.Program, position: int, producer: dict[int, int]
) -> tuple[set[int], tuple[int, ...]]:
    """The calls behind a cut, and the model's inputs that they read beside it."""
    needed: set[int] = set()
    sides: set[int] = set()
    stack = [*program.outputs]
    cut = program.operations[position].writes[0]
    while stack:
        number = stack.pop()
        if number == cut:
            continue
        if number not in producer:
            sides.add(number)
        elif producer[number] not in needed:
            needed.add(producer[number])
            stack.extend(program.operations[producer[number]].reads)
    return needed, tuple(sorted(sides))


def _settings(layer: Any) -> Any:
    """A layer's configuration, without what does not matter for what it computes when it is frozen."""
    if not isinstance(layer, keras.Layer):  # one of keras.ops, or the conversion of a nested model's inputs
        said = vars(layer) if layer is not None else {}
        plain = {k: repr(v) for k, v in said.items() if k != "name" and not k.startswith("_")}
        return [type(layer).__name__, plain]
    try:
        return [type(layer).__name__, _without_names(layer.get_config())]
    except NotImplementedError:  # Keras's answer for a layer that does not say its settings
        return [type(layer).__name__]


def _without_names(config: Any) -> Any:
    if isinstance(config, dict):
        return {k: _without_names(v) for k, v in config.items() if k not in ("name", "trainable", "seed")}
    return [_without_names(v) for v in config] if isinstance(config, list | tuple) else config


def _name(operation: _keras.Operation) -> str:
    return str(getattr(operation.layer, "name", None) or type(operation.layer).__name__)


def _why_moving(layer: Any, trained: Collection[int]) -> str | None:
    """Why what a layer gives may differ when a sample comes again; None if nothing is known against it."""
    if not isinstance(layer, keras.Layer):
        return None
    if any(id(v) in trained for v in layer.weights):
        return "trains"
    for part in _keras.sublayers(layer):
        if isinstance(part, keras.layers.BatchNormalization) and part.trainable and part.weights:
            return "normalizes by the batch and updates its statistics"
        if isinstance(part, HubStage) and part.trainable and part.updates and part.batch_norm != "inference":
            return "normalizes by the batch and updates its statistics"
        if getattr(part, "activity_regularizer", None) is not None:
            return "has an activity regularizer"
    if _keras.random_variables(layer) and _draws(layer):
        return "draws random numbers while the model trains"
    return None


def _depends_on_training(layer: keras.Layer) -> bool:
    """Whether a layer of a prefix may give something else while the model trains."""
    return any(
        _keras.takes_training(part)
        and not (isinstance(part, keras.layers.BatchNormalization | HubStage) and not part.trainable)
        for part in _keras.sublayers(layer)
    )


def _draws(layer: keras.Layer) -> bool:
    """Whether a layer with a random generator uses it; recurrent layers have one in any case."""
    owners = [part for part in _keras.sublayers(layer) if _keras.random_variables(part)]
    rates = ("rate", "dropout", "recurrent_dropout")
    said = [[getattr(part, r) for r in rates if hasattr(part, r)] for part in owners]
    return any(not found or any(found) for found in said)


@dataclass(frozen=True, eq=False)
class Prefix:
    """Several cuts of one model, computed in one go.

    Attributes:
        cuts: The cuts; the first one is the one in force.
        function: A concrete function of the leaves of the data.
    """

    cuts: tuple[Cut, ...]
    function: Any

    @property
    def sides(self) -> tuple[int, ...]:
        """Numbers of the inputs that any of the suffixes reads."""
        return tuple(sorted({side for cut in self.cuts for side in cut.sides}))

    def serves(self, cuts: Sequence[Cut], signature: Any) -> bool:
        """Whether it is the same for other steps, those that test in place of those that train, say."""
        return (
            [cut.position for cut in self.cuts] == [cut.position for cut in cuts]
            and _kinds(self.function.structured_input_signature[0]) == _kinds(leaves(signature))
            and not any(_depends_on_training(layer) for cut in cuts for layer in cut.layers)
        )

    def computes_the_same(self, other: Prefix) -> bool:
        """Whether two prefixes have the same cuts and graphs, to the name of each operation."""
        a, b = self.function, other.function
        return (
            [cut.position for cut in self.cuts] == [cut.position for cut in other.cuts]
            and [id(t) for t in a.captured_inputs] == [id(t) for t in b.captured_inputs]
            and a.graph.as_graph_def() == b.graph.as_graph_def()
        )

    @functools.cached_property
    def halves(self) -> Any:
        """`function` on the halves of a batch, side by side: one alone leaves cores idle."""

        def both(*given: Any) -> Any:
            middle = (tf.shape(given[0])[0] + 1) // 2
            parts = [self.function(*(t[:middle] for t in given)), self.function(*(t[middle:] for t in given))]
            first, second = (leaves(part) for part in parts)
            return packed(parts[0], [tf.concat(pair, 0) for pair in zip(first, second, strict=True)])

        signature = self.function.structured_input_signature[0]
        return tf.function(both, input_signature=signature, autograph=False).get_concrete_function()

    def __call__(self, x: Any) -> Any:
        """For data `x`: the value at each cut, its mask (or None), and the inputs in `sides`."""
        given = leaves(x)
        fixed = any(spec.shape[0] is not None for spec in self.function.structured_input_signature[0])
        return (self.function if fixed or len(given[0]) < 8 else self.halves)(*given)


def trace_prefix(
    plan: Callable[[Collection[int]], Sequence[Cut]],
    signature: Any,
    training: bool,
    moving: set[int],
    traced: list[Prefix] | None = None,
) -> Prefix:
    """Trace what comes before cuts, and prove that nothing in it writes, draws or leaves TensorFlow.

    Args:
        plan: Finds the cuts when some calls are known not to be deterministic, by their indices.
        signature: `tf.TensorSpec`s of the model's inputs, in the structure of its data.
        training: Whether the model trains.
        moving: Indices known so far; those that the trace finds are added.
        traced: Those that were traced before; one that serves as well or computes the same is used again,
            which saves the time that tracing takes, or that TensorFlow takes to prepare a function.

    Raises:
        NoCutError: There is no cut.
    """
    while True:
        cuts = tuple(plan(moving))
        program = cuts[0].program
        if all(spec.shape[0] is None for spec in leaves(program.signature)):
            signature = keras.tree.map_structure(_of_any_size, signature)
        for other in traced or []:
            if other.serves(cuts, signature):
                return other
        wanted = {id(operation) for cut in cuts for operation in cut.before}
        indices = [i for i, operation in enumerate(program.operations) if id(operation) in wanted]

        compute = functools.partial(_compute, cuts, indices, signature, training)
        try:
            concrete = _traced(compute, signature)
        except _keras.NotDivisibleError as error:
            raise NoCutError(f"The model can't be run in parts: {error}.") from None
        except Exception as error:  # of a user's layer, say: the whole model may train all the same
            said = textwrap.shorten(f"{type(error).__name__}: {error}", 300)
            raise NoCutError(f"The frozen layers can't be traced by themselves. {said}") from error
        if adding := [i for i in indices if _keras.has_losses(program.operations[i].layer)]:
            moving.update(adding)
        elif _keras.impure_operations(concrete.graph):
            moving.add(indices[_first_impure(compute, signature, len(indices))])
        else:
            found = Prefix(cuts, concrete)
            for other in traced or []:
                if other.computes_the_same(found):
                    return other
            if traced is not None:
                traced.append(found)
            return found


def _kinds(specs: Sequence[Any]) -> list[Any]:
    """Shapes and dtypes, without the names that tracing gives."""
    return [(spec.shape.as_list(), spec.dtype) for spec in specs]


def _traced(compute: Callable[..., Any], signature: Any) -> Any:
    """A concrete function of the leaves of the data."""

    def function(*given: Any) -> Any:  # without the options of `compute`, which would be arguments
        return compute(*given)

    return tf.function(function, autograph=False).get_concrete_function(*leaves(signature))


def _of_any_size(spec: Any) -> Any:
    """The specification of a batch of any number of samples."""
    return None if spec is None else tf.TensorSpec((None, *spec.shape[1:]), spec.dtype)


def _compute(
    cuts: Sequence[Cut],
    indices: Sequence[int],
    signature: Any,
    training: bool,
    *given: Any,
    count: int | None = None,
) -> Any:
    """What a `Prefix` returns; nothing, after the first `count` calls alone, if there is a count."""
    program = cuts[0].program
    values = program.enter(packed(signature, given))
    program.run([program.operations[i] for i in indices[:count]], values, training)
    if count is not None:
        return []
    found = [values[cut.value] for cut in cuts]
    sides = sorted({side for cut in cuts for side in cut.sides})
    return found, [_keras.mask_of(v) for v in found], [values[n] for n in sides]


def _first_impure(compute: Callable[..., Any], signature: Any, count: int) -> int:
    """Which call of a prefix is the first that is not deterministic, found by tracing parts of it."""
    low, high = 0, count - 1
    while low < high:
        middle = (low + high) // 2
        part = _traced(functools.partial(compute, count=middle + 1), signature)
        pure = not _keras.impure_operations(part.graph)
        low, high = (middle + 1, high) if pure else (low, middle)
    return low
