"""Where a flat graph can be cut: between which weights, and which tensors cross from one part to the rest.

A cut is known by its key, the weights that lie before it, which is the same in the graphs for inference and
for training. Where one tensor carries all that a network computes, it is that tensor. A part that holds
several blocks without such a tensor is cut where the fewest bytes cross. What crosses has a row for each
sample: a tensor of other rows can't be recorded, nor given in another batch.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Container, Iterator, Sequence
from typing import TypeAlias

import networkx
import tensorflow as tf

from kerasft.hub.flat_graph import FlatGraph
from kerasft.hub.graph_def import node_of
from kerasft.stages import Series, cheapest_frontier, cut_points

Key: TypeAlias = frozenset[int]
Frontier: TypeAlias = tuple[str, ...]


class Cuts:
    """The cuts of one graph.

    Args:
        graph: The graph.
        main: Which of its outputs depends on most of the network.
        common: The variables that count: those that each mode's outputs depend on.
        batched: The tensors that a cut may be at: those with the batch as their first axis. None: all.
    """

    def __init__(
        self, graph: FlatGraph, main: int, common: Collection[int], batched: Container[str] | None
    ) -> None:
        self.graph, self._common, self._batched = graph, frozenset(common), batched
        self._output = graph.outputs[main]
        self._weighted = graph.weighted
        self._order = [n for n in networkx.topological_sort(graph.graph) if n in self._weighted]

    @functools.cached_property
    def single(self) -> dict[Key, Frontier]:
        """The cuts at single tensors; of those with the same key, the last."""
        if node_of(self._output) not in self._weighted:
            return {}
        before = self._weighted.subgraph(self.graph.ancestors([self._output]))
        total = self.graph.variables([self._output]) & self._common
        found: dict[Key, Frontier] = {}
        for node in cut_points(before, [node_of(self._output)]):
            used = self.graph.used_outputs(node)
            if len(used) != 1 or used == {self._output}:
                continue
            (tensor,) = used
            key = frozenset(self.graph.variables([tensor]) & self._common)
            floating = self.graph.tensor(tensor).dtype.is_floating
            if key and key != total and floating and self._is_batched(tensor):
                found[key] = (tensor,)
        return found

    @functools.cached_property
    def _before(self) -> dict[str, Key]:
        """The variables that each node depends on."""
        reads = self.graph.reads.items()
        return self._collected({name: frozenset({i}) & self._common for name, i in reads})

    def _collected(self, own: dict[str, frozenset[int]]) -> dict[str, frozenset[int]]:
        """For each node what it and the nodes that it depends on have."""
        found: dict[str, frozenset[int]] = {}
        graph = self.graph.graph
        for name in networkx.topological_sort(graph):
            found[name] = own.get(name, frozenset()).union(*(found[n] for n in graph.predecessors(name)))
        return found

    @functools.cached_property
    def _met(self) -> dict[str, Key]:
        """The variables that meet data in a node."""
        found = {}
        for name in self._order:
            weights = [n for n in self.graph.graph.predecessors(name) if n not in self._weighted]
            found[name] = frozenset().union(*(self._before[n] for n in weights))
        return found

    def parts(self, nodes: Collection[str], ends: Collection[str]) -> Iterator[list[str]]:
        """Divide nodes that no single tensor divides into parts in series.

        Args:
            nodes: The nodes.
            ends: The tensors that they make for what comes later.
        """
        part = networkx.DiGraph()
        part.add_nodes_from(n for n in self._order if n in nodes)
        part.add_edges_from(e for e in self._weighted.edges if e[0] in part and e[1] in part)
        kernels: set[str] = set()
        seen: set[int] = set()
        for name in part:  # a layer counts once, however many nodes its weights meet
            new = {i for i in self._met[name] - seen if self._is_kernel(i)}
            kernels |= {name} if new else set()
            seen |= new
        fed = [b for a, b in self._weighted.in_edges(part) if a not in part]
        sinks = [node_of(t) for t in ends if node_of(t) in part]
        return Series(
            part,
            sinks,
            fed,
            kernels.__contains__,
            lambda node: len(self.graph.used_outputs(node)) == 1,
        ).pieces()

    def _is_kernel(self, index: int) -> bool:
        return any(len(self.graph.tensor(f"{n}:0").shape) > 1 for n in self._reads[index])

    @functools.cached_property
    def _reads(self) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {}
        for name, index in self.graph.reads.items():
            found.setdefault(index, []).append(name)
        return found

    def keys_in(self, nodes: Collection[str], ends: Collection[str], layers: dict[int, str]) -> list[Key]:
        """The keys of the cuts between the parts of some nodes, without the last.

        Args:
            nodes: The nodes.
            ends: The tensors that they make for what comes later.
            layers: The layer of each variable, whose variables stay together.
        """
        keys: list[Key] = []
        done: frozenset[int] = frozenset()
        for piece in self.parts(nodes, ends):
            done = done.union(*(self._met[n] for n in piece))
            mine = {layers.get(i, "") for i in done}
            key = done | {i for i in self._common if i in layers and layers[i] in mine}
            keys.append(self._closed(nodes, key))
        total = frozenset().union(*(self._met[n] for n in nodes))
        return [k for k in dict.fromkeys(keys) if k & total and not total <= k]

    def _closed(self, nodes: Collection[str], key: Key) -> Key:
        """The key with all that its variables come after, wherever they are used."""
        while True:
            users = [n for n in nodes if self._met[n] & key]
            new = key.union(*(self._before[n] for n in users))
            if new == key:
                return key
            key = new

    def frontier(
        self, nodes: Collection[str], given: Collection[str], ends: Collection[str], key: Key
    ) -> Frontier | None:
        """The cheapest tensors that cross a cut inside of some nodes; None if none can.

        Args:
            nodes: The nodes.
            given: The tensors that they take from those before.
            ends: The tensors that they make for what comes later.
            key: The variables before the cut.
        """
        order = [n for n in self._order if n in nodes]
        inside, held = set(order), set(given)
        reads = [[t for t in self.graph.data_inputs(n) if t in held or node_of(t) in inside] for n in order]
        made: dict[str, set[str]] = {n: set() for n in order}
        for tensor in (t for r in reads for t in r if t not in held):
            made[node_of(tensor)].add(tensor)
        later = [t for t in ends if not self._before[node_of(t)] <= key and node_of(t) in inside]
        for tensor in later:
            made[node_of(tensor)].add(tensor)
        try:
            found = cheapest_frontier(
                [(r, sorted(made[n])) for n, r in zip(order, reads, strict=True)],
                [i for i, n in enumerate(order) if self._met[n] and self._met[n] <= key],
                [i for i, n in enumerate(order) if not self._met[n] <= key],
                later,
                self._bytes,
            )
        except ValueError:
            return None
        return tuple(sorted(found, key=self._place)) or None

    def _place(self, tensor: str) -> tuple[list[int], list[int], str]:
        """Where a tensor stands among those that cross, in any mode's graph."""
        node = node_of(tensor)
        return sorted(self._before[node]), sorted(self._inputs[node]), str(self.graph.tensor(tensor).shape)

    @functools.cached_property
    def _inputs(self) -> dict[str, frozenset[int]]:
        """The inputs of the model that each node depends on."""
        numbers = {node_of(tensor): i for i, tensor in enumerate(self.graph.inputs)}
        return self._collected({name: frozenset({i}) for name, i in numbers.items()})

    def _bytes(self, tensor: str) -> float:
        symbolic = self.graph.tensor(tensor)
        if symbolic.dtype in (tf.variant, tf.resource, tf.string) or symbolic.shape.rank is None:
            return math.inf
        if not self._is_batched(tensor):
            return math.inf
        return float(self.graph.sizes.count(tensor) * symbolic.dtype.size)

    def _is_batched(self, tensor: str) -> bool:
        return self._batched is None or tensor in self._batched

    def are_distinct(self, frontier: Frontier) -> bool:
        """Whether the tensors differ in what lies before them or in shape, and so are told apart."""
        return len({repr(self._place(tensor)) for tensor in frontier}) == len(frontier)


def alike(cuts: Sequence[Cuts], frontiers: Sequence[Frontier | None]) -> bool:
    """Whether the same tensors cross in the graphs of all modes."""
    known = [f for f in frontiers if f is not None]
    if len(known) < len(cuts) or len({len(f) for f in known}) > 1:
        return False
    if len(cuts) > 1 and not all(c.are_distinct(f) for c, f in zip(cuts, known, strict=True)):
        return False
    for tensors in zip(*known, strict=True):
        symbolic = [c.graph.tensor(t) for c, t in zip(cuts, tensors, strict=True)]
        first = symbolic[0]
        if any(t.dtype != first.dtype or not t.shape.is_compatible_with(first.shape) for t in symbolic):
            return False
    return True
