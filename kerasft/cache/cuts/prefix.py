"""The frozen part of a model, traced, and proved to be deterministic."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from kerasft import _keras
from kerasft.cache.cuts.batches import leaves, packed
from kerasft.cache.cuts.cut import Cut, NoCutError
from kerasft.cache.cuts.determinism import _depends_on_training


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
    def extra_inputs(self) -> tuple[int, ...]:
        """Numbers of the inputs that any of the suffixes reads."""
        return tuple(sorted({side for cut in self.cuts for side in cut.extra_inputs}))

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
        """Compute for data `x` the values at each cut, their masks or None, and the inputs `extra_inputs`."""
        given = leaves(x)
        fixed = any(spec.shape[0] is not None for spec in self.function.structured_input_signature[0])
        return (self.function if fixed or len(given[0]) < 8 else self.halves)(*given)


def trace_prefix(
    plan: Callable[[Collection[int]], Sequence[Cut]],
    signature: Any,
    training: bool,
    nondeterministic: set[int],
    traced: list[Prefix] | None = None,
) -> Prefix:
    """Trace what comes before cuts, and prove that nothing in it writes, draws or leaves TensorFlow.

    Args:
        plan: Finds the cuts when some calls are known not to be deterministic, by their indices.
        signature: `tf.TensorSpec`s of the model's inputs, in the structure of its data.
        training: Whether the model trains.
        nondeterministic: Indices known so far; those that the trace finds are added.
        traced: Prefixes that were traced before; one that serves as well or computes the same is used again,
            which saves the time that tracing takes, or that TensorFlow takes to prepare a function.

    Raises:
        NoCutError: There is no cut.
    """
    while True:
        cuts = tuple(plan(nondeterministic))
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
            message = textwrap.shorten(f"{type(error).__name__}: {error}", 300)
            raise NoCutError(f"The frozen layers can't be traced by themselves. {message}") from error
        if fixed := _of_fixed_length(cuts, signature, concrete):
            program.without_rows.update(fixed)
        elif adding := [i for i in indices if _keras.has_losses(program.operations[i].layer)]:
            nondeterministic.update(adding)
        elif _keras.impure_operations(concrete.graph):
            nondeterministic.add(indices[_first_impure(compute, signature, len(indices))])
        else:
            found = Prefix(cuts, concrete)
            for other in traced or []:
                if other.computes_the_same(found):
                    return other
            if traced is not None:
                traced.append(found)
            return found


def _of_fixed_length(cuts: Sequence[Cut], signature: Any, function: Any) -> set[int]:
    """Numbers of values at the cuts whose length stays the same while that of the batch is open."""
    if any(spec.shape[0] is not None for spec in leaves(signature)):
        return set()
    found, _, _ = function.structured_outputs
    pairs = zip([n for cut in cuts for n in cut.values], [t for each in found for t in each], strict=True)
    return {n for n, t in pairs if t.shape.rank is not None and t.shape[:1].as_list() != [None]}


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
    """Compute what a `Prefix` returns; or only run the first `count` calls, and return nothing."""
    program = cuts[0].program
    values = program.enter(packed(signature, given))
    program.run([program.operations[i] for i in indices[:count]], values, training)
    if count is not None:
        return []
    found = [[values[number] for number in cut.values] for cut in cuts]
    masks = [[_keras.mask_of(value) for value in each] for each in found]
    extra_inputs = sorted({side for cut in cuts for side in cut.extra_inputs})
    return found, masks, [values[n] for n in extra_inputs]


def _first_impure(compute: Callable[..., Any], signature: Any, count: int) -> int:
    """Which call of a prefix is the first that is not deterministic, found by tracing parts of it."""
    low, high = 0, count - 1
    while low < high:
        middle = (low + high) // 2
        part = _traced(functools.partial(compute, count=middle + 1), signature)
        pure = not _keras.impure_operations(part.graph)
        low, high = (middle + 1, high) if pure else (low, middle)
    return low
