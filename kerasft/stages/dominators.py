"""Order in a graph: the nodes that every path passes through, and the segments between them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

import networkx

Node = TypeVar("Node", bound=Hashable)


def cut_points(graph: networkx.DiGraph, sinks: Iterable[Node]) -> list[Node]:
    """The nodes through which every path from a root of `graph` to any of `sinks` passes, in order.

    They are the immediate dominators of a virtual sink, walked up to a virtual source that joins the roots.

    References:
        Lengauer & Tarjan (1979), A fast algorithm for finding dominators in a flowgraph.
    """
    graph = graph.copy()
    source, sink = object(), object()
    graph.add_edges_from((source, n) for n in list(graph) if graph.in_degree(n) == 0)
    graph.add_edges_from((n, sink) for n in sinks)
    if sink not in graph or source not in graph:
        return []
    above = networkx.immediate_dominators(graph, source)
    chain = []
    node = above.get(sink, source)
    while node is not source and node is not None:
        chain.append(node)
        node = above[node]
    return chain[::-1]


def segments(graph: networkx.DiGraph, cuts: Sequence[Node]) -> dict[Node, int]:
    """For each node of `graph` the index of the first cut at or after it; `len(cuts)` after the last."""
    index: dict[Node, int] = {}
    for position, cut in enumerate(cuts):
        stack = [cut]
        while stack:
            node = stack.pop()
            if node not in index:
                index[node] = position
                stack.extend(graph.predecessors(node))
    return {node: index.get(node, len(cuts)) for node in graph}


def all_before(graph: networkx.DiGraph, nodes: Iterable[Node]) -> set[Node]:
    """All nodes from which a path of at least one edge leads to any of `nodes`."""
    found: set[Node] = set()
    stack = list(nodes)
    while stack:
        for node in graph.predecessors(stack.pop()):
            if node not in found:
                found.add(node)
                stack.append(node)
    return found
