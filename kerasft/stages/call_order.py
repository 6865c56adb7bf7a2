"""What comes before what among the operations that a Functional or Sequential model calls."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import keras
import networkx

from kerasft import _keras
from kerasft.stages.blocks import block_depth, holds_two_blocks
from kerasft.stages.dominators import all_before
from kerasft.stages.series import Series


@dataclass(frozen=True, eq=False)
class Segment:
    """The operations between two cuts.

    Attributes:
        nodes: Its nodes, in order.
        inner: For each of its operations the calls inside, if that has blocks in series; else None.
        why_whole: For each why it has none, as `Call.why_whole` says.
        operations: The operations in it that hold weights, each once, in order.
        last: The operation that gives what leaves it.
        shape: The shape of the tensor that leaves it; None if several do.
    """

    nodes: tuple[int, ...]
    inner: tuple[_keras.InnerCalls | None, ...]
    why_whole: tuple[str | None, ...]
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
        return all_before(self.graph, nodes)

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

    def divide(
        self,
        nodes: Collection[int],
        sinks: Iterable[int],
        stays_whole: Callable[[Collection[int]], bool] = lambda nodes: False,
    ) -> Iterator[Segment]:
        """Divide a part of the graph into pieces in series; see `Series`.

        Paths begin at the model's inputs and where the part takes a result from outside.

        Args:
            nodes: The part.
            sinks: Nodes that give the model's results.
            stays_whole: Whether nodes without a node on every path are one piece, however many they are.
        """
        part = self.graph.subgraph(nodes)
        ordered = networkx.DiGraph()
        ordered.add_nodes_from(node for node in self.graph if node in part)
        ordered.add_edges_from(part.edges)
        ends = [node for node in sinks if node in part]
        fed = {b for a, b in self.graph.in_edges(nodes) if a not in part}
        ordered = _without_taps(ordered, ends, self._holds_weights)
        series = Series(
            ordered,
            ends,
            fed & {*ordered},
            self._holds_weights,
            self._gives_one_tensor,
            lambda some: False if stays_whole(some) else self._holds_blocks(some),
            lambda node: self._listed.get(id(self._calls[node].operation), -1),
        )
        for group in series.pieces():
            exits = series.exits(group) or group[-1:]
            call = self._calls[exits[0]]
            shape = tuple(call.outputs[0].shape) if len(exits) == len(call.outputs) == 1 else None
            operations = tuple(self.operations(group))
            calls = [next(c for c in self._calls if c.operation is op) for op in operations]
            inner, why = tuple(c.inner() for c in calls), tuple(c.why_whole() for c in calls)
            yield Segment(tuple(group), inner, why, operations, call.operation, shape)

    def _holds_weights(self, node: int) -> bool:
        return bool(self.operations([node]))

    def _holds_blocks(self, nodes: Collection[int]) -> bool | None:
        """Whether some nodes hold more than one layer that is made of others, or the layers of two blocks."""
        kernels = [op.name for op in self.operations(nodes) if any(len(v.shape) > 1 for v in op.weights)]
        return holds_two_blocks(kernels, self._block_depth) or self._holds_made_layers(nodes)

    def _holds_made_layers(self, nodes: Collection[int]) -> bool | None:
        made = [op for op in self.operations(nodes) if _keras.is_made_of_layers(op)]
        return True if len(made) > 1 else None

    @functools.cached_property
    def _block_depth(self) -> int | None:
        """How deep numbers nest in the names of blocks, by the pieces without names; see `block_depth`."""
        series = Series(
            self.graph,
            self.sinks,
            (),
            self._holds_weights,
            self._gives_one_tensor,
            self._holds_made_layers,
        )
        units = [[op.name for op in self.operations(group)] for group in series.pieces()]
        return block_depth([names for names in units if len(names) > 1])

    def shape_of(self, node: int) -> tuple[int | None, ...] | None:
        """The shape of a node's result; None if it gives several."""
        return tuple(self._calls[node].outputs[0].shape) if self._gives_one_tensor(node) else None

    def _gives_one_tensor(self, node: int) -> bool:
        return len(self._members[node]) == 1 and len(self._calls[node].outputs) == 1


def call_order(model: keras.Model) -> CallOrder | None:
    """The order of a model's operations; None for a model whose calls Keras does not know."""
    calls = _keras.calls(model)
    return None if calls is None else CallOrder(model, calls)


def _without_taps(
    graph: networkx.DiGraph, ends: Sequence[int], is_weighted: Callable[[int], bool]
) -> networkx.DiGraph:
    """Leave out what no result of a part needs, as far as it holds no weights."""
    last = {*ends, *filter(is_weighted, graph)}
    needed = last | all_before(graph, last)
    graph.remove_nodes_from(set(graph) - needed)
    return graph
