"""Where a model can be divided: a frozen, deterministic prefix, what crosses, and the rest that trains.

What crosses is one tensor or several. Before it nothing trains and nothing is drawn at random, so its values
are the same whenever a sample comes again. After it comes all else that the outputs need, computed from the
model's inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import keras

from kerasft import _keras
from kerasft.cache.cuts.cut import Cut, NoCutError, cost_of, sample_bytes
from kerasft.cache.cuts.determinism import why_nondeterministic
from kerasft.stages import cheapest_frontier

MORE_FOR_INPUTS = 1.25  # bytes that inputs may take in place of what is computed from them without weights
COST_OF_ROOM = 0.01  # of the model's cost that may be computed again so that less is recorded


def find_cut(program: _keras.Program, nondeterministic: Collection[int] = ()) -> Cut:
    """The cut that saves most; before it all is frozen and deterministic, by the flags as they are.

    Of the values that may cross there, those with the fewest bytes for a sample are recorded. What the rest
    can compute again next to nothing, and would take much room, is not recorded.

    Args:
        program: The model.
        nondeterministic: Indices of calls that are known not to be deterministic.

    Raises:
        NoCutError: There is none.
    """
    operations = program.operations
    trained = {id(v) for v in program.model.trainable_variables}
    producer = {n: i for i, operation in enumerate(operations) for n in operation.writes}
    reasons: dict[int, str] = {}
    moving: set[int] = set()  # calls that may give something else when a sample comes again
    for i, operation in enumerate(operations):
        if i in nondeterministic:
            reasons[i] = f"the layer {operation.name!r} draws random numbers, writes variables or adds a loss"
        elif any(producer.get(n) in moving for n in operation.reads):
            moving.add(i)  # whatever else is to be said of it
            continue
        elif reason := why_nondeterministic(program, operation, trained):
            reasons[i] = f"the layer {operation.name!r} {reason}"
        if i in reasons:
            moving.add(i)
    if not reasons:
        raise NoCutError("Nothing trains: every layer is frozen.")
    first = reasons[min(reasons)]
    if not any(o.weights for i, o in enumerate(operations) if i not in moving):
        raise NoCutError(f"Nothing frozen comes first: {first}.")
    needed, _ = _needed(program, (), producer)
    spared = {i for i in needed - moving if cost_of(program, operations[i])}
    calls = [(o.reads, o.writes) if i in needed else ((), ()) for i, o in enumerate(operations)]
    entered = {n for o in operations if o.layer is None for n in o.writes}

    def size(number: int) -> float:
        if number in program.without_rows:  # it is not recorded
            return 0.0
        return sample_bytes(program.tensors[number]) + 0.5 * (number in entered)  # rather what is read for it

    values = cheapest_frontier(calls, spared, needed & moving, program.outputs, size) if spared else []
    recorded = [number for number in values if number in producer]
    if not recorded:
        raise NoCutError(f"What is frozen first saves no work: {first}.")
    return _without_cheap_values(_cut_at(program, recorded, producer), producer, size)


def _without_cheap_values(cut: Cut, producer: Mapping[int, int], size: Callable[[int], float]) -> Cut:
    """The same cut without values that the rest computes again: cheap ones, and those of no sample."""
    fixed = {t.shape[0] for t in keras.tree.flatten(cut.program.signature)}
    left = cut.share - COST_OF_ROOM
    for number, tensor in sorted(zip(cut.values, cut.tensors, strict=True), key=lambda pair: -size(pair[0])):
        others = [value for value in cut.values if value != number]
        if number in cut.program.without_rows or tensor.shape[0] not in fixed:
            cut = _without_value_of_no_sample(cut, number, producer)
            continue
        if not others:
            break
        other = _cut_at(cut.program, others, producer)
        bytes_now, bytes_then = (sum(map(size, (*c.values, *c.extra_inputs))) for c in (cut, other))
        # masks and the like: the inputs that they are computed from are recorded instead
        is_free = other.share == cut.share and bytes_then <= MORE_FOR_INPUTS * bytes_now
        if is_free or (bytes_then < bytes_now and other.share >= left):
            cut = other
    return cut


def _without_value_of_no_sample(cut: Cut, number: int, producer: Mapping[int, int]) -> Cut:
    """The same cut without a value that has no row for each sample: the rest computes it again.

    It does so from what is recorded and from the model's inputs. If that spares more, what the value was
    computed from is recorded as well.
    """
    program = cut.program
    others = [value for value in cut.values if value != number]
    read = [n for n in program.operations[producer[number]].reads if n in producer and n not in others]
    rows = [n for n in read if n not in program.without_rows]
    choices = [sorted(v, key=lambda n: producer.get(n, -1)) for v in (others, [*others, *rows]) if v]
    if not choices:
        raise NoCutError("What is frozen hands on values that have no row for each sample.")
    cuts = [_cut_at(program, values, producer) for values in choices]
    return cuts[-1] if cuts[-1].share > cuts[0].share + COST_OF_ROOM else cuts[0]


def _cut_at(program: _keras.Program, values: Sequence[int], producer: Mapping[int, int]) -> Cut:
    operations = program.operations
    needed, extra_inputs = _needed(program, values, producer)
    wanted: set[int] = set()
    stack = [producer[number] for number in values]
    while stack:
        if (i := stack.pop()) not in wanted:
            wanted.add(i)
            stack += [producer[n] for n in operations[i].reads if n in producer]
    before = tuple(operations[i] for i in sorted(wanted))
    return Cut(program, tuple(values), before, tuple(operations[i] for i in sorted(needed)), extra_inputs)


def _needed(
    program: _keras.Program, values: Collection[int], producer: Mapping[int, int]
) -> tuple[set[int], tuple[int, ...]]:
    """Find the calls after a cut at these values, and the extra inputs of the model that they read."""
    needed: set[int] = set()
    extra_inputs: set[int] = set()
    stack = [*program.outputs]
    while stack:
        number = stack.pop()
        if number in values:
            continue
        if number not in producer:
            extra_inputs.add(number)
        elif producer[number] not in needed:
            needed.add(producer[number])
            stack.extend(program.operations[producer[number]].reads)
    return needed, tuple(sorted(extra_inputs))
