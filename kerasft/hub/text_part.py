"""The part of a SavedModel that turns strings into numbers, as a stage of its own without weights.

It ends where the numbers that it makes have a row for each text: padded token ids, a mask, counts of words.
Where it makes none such, as in modules that look up the words of all texts in one go and add their vectors,
the strings stay in the first stage with weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import networkx
import tensorflow as tf

from kerasft.hub.batch import BatchFirst, drawn, runner
from kerasft.hub.divide import Part
from kerasft.hub.flat_graph import FlatGraph
from kerasft.hub.graph_def import NodeDef, node_of
from kerasft.stages import cheapest_frontier

_NAME = "text"


@dataclass(frozen=True)
class TextPart:
    """The part, and what is left.

    Attributes:
        part: The part as a stage.
        rest: The graph of each mode without it: first come the model's inputs, then what the part gives.
        inputs: How many inputs the model has.
    """

    part: Part
    rest: Sequence[FlatGraph]
    inputs: int

    def before(self, parts: Sequence[Part]) -> list[Part]:
        """This part, and after it the parts of the rest, which take what it gives by name."""
        names = {self.inputs + i: name for i, name in enumerate(self.part.gives)}
        taken = [tuple(names.get(s, s) if isinstance(s, int) else s for s in p.sources) for p in parts]
        after = [replace(p, sources=sources) for p, sources in zip(parts, taken, strict=True)]
        name = _NAME
        while name in {p.name for p in parts}:
            name += "_input"
        return [replace(self.part, name=name), *after]


def text_part(graphs: Sequence[FlatGraph], variables: Sequence[tf.Variable]) -> TextPart | None:
    """Find the part of a network that turns strings into numbers; None if it can't be a stage of its own.

    Args:
        graphs: The graph for inference and, if there is one, that for training. They hold no operation that
            may not run.
        variables: The SavedModel's variables.
    """
    if all(graphs[0].tensor(t).dtype != tf.string for t in graphs[0].inputs):
        return None
    frontiers = [_frontier(graph, BatchFirst(graph, variables)) for graph in graphs]
    if not all(frontiers):
        return None
    if len(graphs) > 1:
        contents = [_contents(g, f, variables) for g, f in zip(graphs, frontiers, strict=True)]
        if any(len(c) < len(frontiers[0]) or c.keys() != contents[0].keys() for c in contents):
            return None
        frontiers = [[c[key] for key in contents[0]] for c in contents]
    inference, used = graphs[0], graphs[0].used(frontiers[0], graphs[0].inputs)
    given = [t for t in inference.inputs if t in used]
    function = inference.extract(given, frontiers[0], [])
    gives = tuple(f"{_NAME}_{i}:0" for i in range(len(frontiers[0])))
    sources = tuple(inference.inputs.index(t) for t in given)
    dtypes = tuple(inference.tensor(t).dtype.name for t in given)
    part = Part(_NAME, (), sources, dtypes, gives, (), function, None, (), (), ())
    rest = [_without(g, dict(zip(f, gives, strict=True))) for g, f in zip(graphs, frontiers, strict=True)]
    return TextPart(part, rest, len(inference.inputs))


def _frontier(graph: FlatGraph, batched: BatchFirst) -> list[str]:
    """The tensors of numbers at which the operations on strings end; none if one has no batch axis."""
    order = [n for n in networkx.topological_sort(graph.graph) if n in graph.fed]
    inputs, roots = set(graph.inputs), {node_of(t) for t in graph.inputs}
    order = [n for n in order if n not in roots]
    inside = {*order, *roots}
    reads = [[t for t in graph.data_inputs(n) if node_of(t) in inside] for n in order]
    made = [sorted(graph.used_outputs(n)) for n in order]

    def is_text(tensor: str) -> bool:
        return graph.tensor(tensor).dtype == tf.string

    def size(tensor: str) -> float:
        symbolic = graph.tensor(tensor)
        if tensor in inputs:
            return 0.0
        if symbolic.dtype in (tf.variant, tf.resource, tf.string) or tensor not in batched:
            return math.inf
        return float(graph.sizes.count(tensor) * symbolic.dtype.size) if symbolic.shape.rank else math.inf

    def asks_for_size(name: str) -> bool:  # of an input, which each stage can do by itself
        return graph.nodes[name].op in ("Shape", "Size", "Rank") and inputs.issuperset(
            graph.data_inputs(name)
        )

    first = [i for i, r in enumerate(reads) if any(map(is_text, r)) and not asks_for_size(order[i])]
    weighted = graph.weighted
    try:
        found = cheapest_frontier(
            list(zip(reads, made, strict=True)),
            first,
            [i for i, n in enumerate(order) if n in weighted],
            graph.outputs,
            size,
        )
    except ValueError:
        return []
    return [t for t in found if t not in inputs]


def _contents(
    graph: FlatGraph, frontier: Sequence[str], variables: Sequence[tf.Variable]
) -> dict[tuple[str, tuple[int, ...], bytes], str]:
    """The tensors by what they are for some texts, which is the same in inference and in training."""
    run = runner(graph, frontier, variables)
    for samples in drawn(graph, 5):
        try:
            values = run(samples)
        except tf.errors.OpError:
            continue
        return {(v.dtype.name, v.shape, v.tobytes()): t for v, t in zip(values, frontier, strict=True)}
    return {}


def _without(graph: FlatGraph, given: Mapping[str, str]) -> FlatGraph:
    """A graph in which some tensors are further inputs, by new names."""
    nodes: dict[str, NodeDef] = {}
    for tensor, name in given.items():
        symbolic = graph.tensor(tensor)
        node = nodes[node_of(name)] = NodeDef(name=node_of(name), op="Placeholder")
        node.attr["dtype"].type = symbolic.dtype.as_datatype_enum
        node.attr["shape"].shape.CopyFrom(symbolic.shape.as_proto())
    outputs = [given.get(t, t) for t in graph.outputs]
    updates = [(index, method, given.get(t, t)) for index, method, t in graph.updates]
    stack = [node_of(t) for t in (*outputs, *(t for _, _, t in updates), *graph.inputs)]
    while stack:
        if (name := stack.pop()) not in nodes:
            nodes[name] = node = NodeDef()
            node.CopyFrom(graph.nodes[name])
            node.input[:] = [given.get(t, t) for t in node.input]
            stack += map(node_of, node.input)
    reads = {name: index for name, index in graph.reads.items() if name in nodes}
    inputs = [*graph.inputs, *given.values()]
    return FlatGraph(nodes, inputs, outputs, reads, updates, graph.library, graph.versions)
