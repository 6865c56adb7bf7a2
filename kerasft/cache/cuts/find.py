"""Where a model can be divided: a frozen, deterministic prefix, one tensor, and the rest that trains.

A cut is a tensor. Before it nothing trains and nothing is drawn at random, so its value is the same whenever
a sample comes again. After it comes all else that the outputs need, computed from the model's inputs.
"""

from __future__ import annotations

from collections.abc import Collection

import networkx

from kerasft import _keras
from kerasft.cache.cuts.cut import Cut, NoCutError, _cost
from kerasft.cache.cuts.determinism import _why_nondeterministic
from kerasft.stages import cut_points


def find_cut(program: _keras.Program, nondeterministic: Collection[int] = ()) -> Cut:
    """The cut that saves most; before it all is frozen and deterministic, by the flags as they are.

    Args:
        program: The model.
        nondeterministic: Indices of calls that are known not to be deterministic.

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
        if i in nondeterministic:
            reasons[i] = (
                f"the layer {_name(operation)!r} draws random numbers, writes variables or adds a loss"
            )
        elif reason := _why_nondeterministic(operation.layer, trained):
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
            needed, extra_inputs = _needed(program, i, producer)
            saved = sum(costs[k] for k in ancestors[i] - needed)
            if saved and (best is None or (saved, -len(extra_inputs), i) > best):
                best = saved, -len(extra_inputs), i
    if best is None:
        raise NoCutError(
            "No single tensor lies between the frozen layers and those that are not, or none saves work: "
            f"{first}."
        )
    position = best[2]
    needed, extra_inputs = _needed(program, position, producer)
    before = tuple(operations[i] for i in sorted(ancestors[position]))
    return Cut(program, position, before, tuple(operations[i] for i in sorted(needed)), extra_inputs)


def _needed(
    program: _keras.Program, position: int, producer: dict[int, int]
) -> tuple[set[int], tuple[int, ...]]:
    """Find the calls after a cut, and the extra inputs of the model that they read."""
    needed: set[int] = set()
    extra_inputs: set[int] = set()
    stack = [*program.outputs]
    cut = program.operations[position].writes[0]
    while stack:
        number = stack.pop()
        if number == cut:
            continue
        if number not in producer:
            extra_inputs.add(number)
        elif producer[number] not in needed:
            needed.add(producer[number])
            stack.extend(program.operations[producer[number]].reads)
    return needed, tuple(sorted(extra_inputs))


def _name(operation: _keras.Operation) -> str:
    return str(getattr(operation.layer, "name", None) or type(operation.layer).__name__)
