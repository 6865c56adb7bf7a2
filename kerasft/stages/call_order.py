"""What comes before what among the operations that a Functional or Sequential model calls."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import keras
import networkx

from kerasft import _keras
from kerasft.stages.dominators import cut_points, segments


@dataclass(frozen=True, eq=False)
class Segment:
    """The operations between two cuts.

    Attributes:
        nodes: Its nodes, in order.
        operations: The operations in it that hold weights, each once, in order.
        last: The operation that gives what leaves it.
        shape: The shape of the tensor that leaves it; None if several do.
    """

    nodes: tuple[int, ...]
    operations: tuple[keras.Layer, ...]
    last: keras.Operation
    shape: tuple[int | None, ...] | None


class CallOrder:
    """The operations of a model as a directed graph without circles, from the first weight on.

    A node is a call, by its number. Calls of one layer that stand side by side, as those of a backbone over
    two images, are one node. A call that comes after an earlier one of the same layer is a node of its own
    and holds no weights: they belong to the earlier one. Masks and casts of the inputs, which come before
    all weights, are no nodes.

    Attributes:
        graph: The nodes, in the order of the calls; an edge leads from a node to one that takes its result.
        sinks: The nodes that give the model's results. A result that is computed from a part of what
            another one is computed from is a tap, and is not among them.
    """

    def __init__(self, model: keras.Model, calls: Sequence[_keras.Call]) -> None:
        self._calls = calls
        self._listed = {id(layer): i for i, layer in enumerate(model.layers)}
        producer = {id(t): i for i, call in enumerate(calls) for t in call.outputs}
        above: dict[int, frozenset[int]] = {}  # for each call the layers with weights that it depends on
        first: dict[int, int] = {}  # for each layer with weights the first of its calls side by side
        lead: dict[int, int] = {}
        edges = []
        for i, call in enumerate(calls):
            before = [producer[id(t)] for t in call.inputs if producer.get(id(t)) in above]
            weighted = bool(getattr(call.operation, "weights", None))
            if not before and not weighted:
                continue
            known = frozenset[int]().union(*(above[b] for b in before))
            owner = id(call.operation)
            lead[i] = first.setdefault(owner, i) if weighted and owner not in known else i
            above[i] = known | {owner} if weighted else known
            edges += [(lead[b], lead[i]) for b in before if lead[b] != lead[i]]
        graph = networkx.DiGraph()
        graph.add_nodes_from(lead.values())
        graph.add_edges_from(edges)
        self._members = {min(c): sorted(c) for c in networkx.strongly_connected_components(graph)}
        circle = {i: node for node, members in self._members.items() for i in members}
        joined = networkx.DiGraph()
        joined.add_nodes_from(self._members)
        joined.add_edges_from((circle[a], circle[b]) for a, b in graph.edges if circle[a] != circle[b])
        self._owners = {i for i, node in lead.items() if i == node and first.get(id(calls[i].operation)) == i}
        order = list(networkx.lexicographical_topological_sort(joined))
        self._position = {node: i for i, node in enumerate(order)}
        self.graph = networkx.DiGraph()
        self.graph.add_nodes_from(order)
        self.graph.add_edges_from(joined.edges)
        ends = {i: above[i] for t in model.outputs if (i := producer.get(id(t), -1)) in above}
        largest = [i for i, needs in ends.items() if not any(needs < others for others in ends.values())]
        self.sinks = list(dict.fromkeys(circle[lead[i]] for i in largest))

    def operations(self, nodes: Iterable[int]) -> list[keras.Layer]:
        """List the operations with weights of some nodes, each once, in order."""
        ordered = sorted(nodes, key=self._position.__getitem__)
        members = (i for node in ordered for i in self._members[node])
        return [self._calls[i].operation for i in members if i in self._owners]

    def as_listed(self, operations: Iterable[keras.Layer]) -> list[keras.Layer]:
        """Put layers side by side into the order in which the model lists them."""
        return sorted(operations, key=lambda op: self._listed[id(op)])

    def before(self, nodes: Iterable[int]) -> set[int]:
        """All nodes that come before any of `nodes`."""
        return set().union(*(networkx.ancestors(self.graph, node) for node in nodes))

    def in_series(self, nodes: Collection[int]) -> list[list[int]]:
        """Divide nodes into groups, so that all of a group come before all of the next one."""
        ordered = [node for node in self.graph if node in nodes]
        above = {node: networkx.ancestors(self.graph, node) for node in ordered}
        groups: list[list[int]] = []
        for k, node in enumerate(ordered):
            if k == 0 or all(above[later].issuperset(ordered[:k]) for later in ordered[k:]):
                groups.append([])
            groups[-1].append(node)
        return groups

    def divide(self, nodes: Collection[int], sinks: Iterable[int]) -> Iterator[Segment]:
        """Cut a part of the graph at each tensor that all paths to its `sinks` pass through.

        Paths begin at the model's inputs and where the part takes a result from outside.
        """
        part = self.graph.subgraph(nodes).copy()
        outside = -1
        part.add_edges_from((outside, b) for a, b in self.graph.in_edges(nodes) if a not in nodes)
        ends = [node for node in sinks if node in part]
        cuts = [node for node in cut_points(part, ends) if node != outside and self._gives_one_tensor(node)]
        where = segments(part, cuts)
        members: list[list[int]] = [[] for _ in range(len(cuts) + 1)]
        for node in self.graph:
            if node in where:
                members[where[node]].append(node)
        for index, group in enumerate(members):
            exits = cuts[index : index + 1] or [node for node in ends if node in group]
            if exits:  # else taps alone, which hold no weights
                call = self._calls[exits[0]]
                shape = tuple(call.outputs[0].shape) if len(exits) == len(call.outputs) == 1 else None
                yield Segment(tuple(group), tuple(self.operations(group)), call.operation, shape)

    def shape_of(self, node: int) -> tuple[int | None, ...] | None:
        """The shape of a node's result; None if it gives several."""
        return tuple(self._calls[node].outputs[0].shape) if self._gives_one_tensor(node) else None

    def _gives_one_tensor(self, node: int) -> bool:
        return len(self._members[node]) == 1 and len(self._calls[node].outputs) == 1


def call_order(model: keras.Model) -> CallOrder | None:
    """The order of a model's operations; None for a model whose calls Keras does not know."""
    calls = _keras.calls(model)
    return None if calls is None else CallOrder(model, calls)
