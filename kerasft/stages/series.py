"""Divide a network into pieces in series: what any piece is computed from lies in it or in those before it.

Where every path passes through one node, the network is cut there. A part in which no such node lies, but
which is too large to be one block, is opened: branches that stand side by side come one after the other, and
long skips are cut through where the fewest results cross.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

import networkx

from kerasft.stages.dominators import cut_points, segments

Node = TypeVar("Node", bound=Hashable)

LARGER_THAN_A_UNIT = 4  # nodes with weights; a small network may be half one residual unit


class Series(Generic[Node]):
    """A part of a network, to be divided into pieces in series.

    Args:
        graph: The part, its nodes in an order in which what a node needs comes before it; an edge leads from
            a node to one that takes its result.
        sinks: Its nodes that give results to what lies outside.
        fed: Its nodes that take a result from outside the part, other than a model's input.
        is_weighted: Whether a node holds weights.
        is_cut: Whether a node may be the last one of a piece: whether it gives one tensor.
        rank: Where a node stands among others side by side.
        holds_blocks: Whether some nodes are known to be more than one block: by their names, or as layers
            that are made of others; None where that is not known.
    """

    def __init__(
        self,
        graph: networkx.DiGraph,
        sinks: Iterable[Node],
        fed: Iterable[Node],
        is_weighted: Callable[[Node], bool],
        is_cut: Callable[[Node], bool] = lambda node: True,
        holds_blocks: Callable[[Collection[Node]], bool | None] = lambda nodes: None,
        rank: Callable[[Node], int] | None = None,
    ) -> None:
        self._graph, self._sinks, self._fed = graph, set(sinks), set(fed)
        self._is_weighted, self._is_cut, self._holds_blocks = is_weighted, is_cut, holds_blocks
        self._place = {node: i for i, node in enumerate(graph)}
        self._rank = rank or self._place.__getitem__

    def pieces(self) -> Iterator[list[Node]]:
        """Yield the pieces in order, the nodes of each in the order of the graph."""
        yield from self._divided(list(self._graph))

    def exits(self, nodes: Iterable[Node]) -> list[Node]:
        """The nodes of a piece that give results to what lies outside it."""
        inside = set(nodes)
        return [
            n
            for n in sorted(inside, key=self._place.__getitem__)
            if n in self._sinks or any(m not in inside for m in self._graph.successors(n))
        ]

    def _divided(self, nodes: Sequence[Node]) -> Iterator[list[Node]]:
        """Cut a part at each node that all paths to what lies outside it pass through."""
        outside = object()
        part = self._with_outside(nodes, outside)
        ends = self.exits(nodes)
        cuts = [n for n in cut_points(part, ends) if n is not outside and self._is_cut(n)]
        where = segments(part, cuts)
        groups: list[list[Node]] = [[] for _ in range(len(cuts) + 1)]
        for node in nodes:
            groups[where[node]].append(node)
        for group in filter(None, groups):
            if self._is_too_large(group, nodes):
                yield from self._opened(group)
            else:
                yield group

    def _is_too_large(self, nodes: Sequence[Node], whole: Sequence[Node]) -> bool:
        """Whether a part is more than one block of the part that it was cut from."""
        known = self._holds_blocks(nodes)
        if known is not None:
            return known
        count = sum(map(self._is_weighted, nodes))
        return count >= LARGER_THAN_A_UNIT and count > sum(map(self._is_weighted, whole)) / 2

    def _opened(self, nodes: Sequence[Node]) -> Iterator[list[Node]]:
        """Divide a part in which no node lies on every path."""
        exits = self.exits(nodes)
        inner = self._graph.subgraph(nodes).copy()
        inner.remove_nodes_from(n for n in exits if not self._is_weighted(n) or len(exits) == 1)
        branches = [
            sorted(c, key=self._place.__getitem__) for c in networkx.weakly_connected_components(inner)
        ]
        branches = [b for b in branches if any(map(self._is_weighted, b))]
        branches.sort(key=lambda b: min(self._rank(n) for n in b if self._is_weighted(n)))
        if len(branches) > 1:
            held = {node for branch in branches for node in branch}
            rest = [node for node in nodes if node not in held]
            for branch in branches:
                yield from self._divided(branch)
            if rest:
                yield rest
            return
        groups = self._levels(nodes)
        for group in groups:
            if len(groups) > 1 and self._is_too_large(group, nodes):
                yield from self._opened(group)
            else:
                yield group

    def _levels(self, nodes: Sequence[Node]) -> list[list[Node]]:
        """Divide a part where the fewest results cross, the heaviest branches first."""
        order = self._heaviest_first(nodes)
        exits = set(self.exits(nodes))
        outside = object()
        part = self._with_outside(nodes, outside)
        waiting = {n: part.out_degree(n) + (n in exits) for n in part}
        crossing = int(outside in part)
        counts = []
        for node in order:
            for before in part.predecessors(node):
                waiting[before] -= 1
                crossing -= not waiting[before]
            crossing += bool(waiting[node])
            counts.append(crossing)
        weighted = [i for i, node in enumerate(order) if self._is_weighted(node)]
        spans = itertools.pairwise(weighted)
        best = [min(range(a, b), key=lambda i: (counts[i], -i)) for a, b in spans]  # between two with weights
        least = min((counts[i] for i in best), default=0)
        bounds = [0, *(i + 1 for i in best if counts[i] == least), len(order)]
        groups = [order[a:b] for a, b in itertools.pairwise(bounds)]
        return [sorted(group, key=self._place.__getitem__) for group in groups]

    def _heaviest_first(self, nodes: Sequence[Node]) -> list[Node]:
        """Order a part so that what a node needs comes just before it, from the largest branch on."""
        part = self._graph.subgraph(nodes)
        needed: dict[Node, int] = {}  # the nodes with weights that a node needs, as bits
        for i, node in enumerate(nodes):
            needed[node] = self._is_weighted(node) << i
            for before in part.predecessors(node):
                needed[node] |= needed[before]
        weight = {node: bits.bit_count() for node, bits in needed.items()}
        placed: dict[Node, None] = {}
        last = [n for n in nodes if not part.out_degree(n)]
        stack = [(n, False) for n in self._lightest_first(last, weight)]
        while stack:
            node, is_ready = stack.pop()
            if node in placed:
                continue
            if is_ready:
                placed[node] = None
                continue
            stack.append((node, True))
            stack += [(n, False) for n in self._lightest_first(part.predecessors(node), weight)]
        return list(placed)

    def _lightest_first(self, nodes: Iterable[Node], weight: dict[Node, int]) -> list[Node]:
        return sorted(nodes, key=lambda n: (weight[n], -self._rank(n)))

    def _with_outside(self, nodes: Sequence[Node], outside: object) -> networkx.DiGraph:
        """The part's graph, with a node for all that it takes from outside."""
        inside = set(nodes)
        part = self._graph.subgraph(nodes).copy()
        fed = {b for a, b in self._graph.in_edges(nodes) if a not in inside} | (self._fed & inside)
        part.add_edges_from((outside, n) for n in fed)
        return part
