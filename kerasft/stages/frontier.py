"""The cheapest set of values that crosses from what must come first to what must come after it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from typing import TypeVar

import networkx

Value = TypeVar("Value", bound=Hashable)


def cheapest_frontier(
    operations: Sequence[tuple[Sequence[Value], Sequence[Value]]],
    first: Collection[int],
    later: Collection[int],
    outputs: Iterable[Value],
    size: Callable[[Value], float],
) -> list[Value]:
    """Find the values that are handed from a part of a network to the rest, at the least size in sum.

    What is in the first part is closed under "comes before". Operations that need not be in either part are
    where they make the frontier smallest; of frontiers of equal size the latest is found.

    Args:
        operations: For each operation the values that it reads and that it writes, in an order in which what
            is read was written before, or is an input.
        first: Indices of operations that are in the first part, whatever they read included.
        later: Indices of operations that are in the rest.
        outputs: Values that the rest gives.
        size: How much it costs to hand over a value; infinite if that is not possible.

    Returns:
        The values in the order in which they are written, inputs first.

    Raises:
        ValueError: There is no frontier of finite size.

    Example:
        >>> steps = [(["x"], ["a"]), (["a"], ["b"]), (["a", "b"], ["y"])]  # y is computed from a and b
        >>> cheapest_frontier(steps, first=[0, 1], later=[2], outputs=["y"], size=lambda value: 1)
        ['a', 'b']

    References:
        Ford & Fulkerson (1956), Maximal flow through a network: a cut of least capacity.
    """
    source, sink = object(), object()
    graph = networkx.DiGraph()
    producer = {value: i for i, (_, writes) in enumerate(operations) for value in writes}
    values: dict[Value, None] = {}
    for i, (reads, writes) in enumerate(operations):
        for value in reads:
            graph.add_edge((value, "after"), i)
            if value in producer:
                graph.add_edge(i, producer[value])  # the first part is closed
        for value in writes:
            graph.add_edge(i, (value, "before"))
        values |= dict.fromkeys([*reads, *writes])
    for value in outputs:
        graph.add_edge((value, "after"), sink)
        values.setdefault(value)
    for value in values:
        if value not in producer:
            graph.add_edge(source, (value, "before"))
        if math.isfinite(cost := size(value)):
            graph.add_edge((value, "before"), (value, "after"), capacity=cost)
        else:
            graph.add_edge((value, "before"), (value, "after"))
    graph.add_edges_from((source, i) for i in first)
    graph.add_edges_from((i, sink) for i in later)
    if source not in graph or sink not in graph:
        return []
    try:  # what networkx gives after the cut is as small as it can be
        _, (before, after) = networkx.minimum_cut(graph, source, sink)
    except networkx.NetworkXUnbounded:
        raise ValueError("No values of finite size lie between the two parts.") from None
    crossing = [v for v in values if (v, "before") in before and (v, "after") in after]
    place = {value: i for i, value in enumerate(producer)}
    return sorted(crossing, key=lambda value: place.get(value, -1))
