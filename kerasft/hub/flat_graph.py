"""FlatGraph: a graph without nested functions, and the functions that are made of its parts."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import networkx
import tensorflow as tf

from kerasft.hub.graph_def import (
    FunctionDef,
    GraphDef,
    NodeDef,
    called_functions,
    name_by_content,
    node_of,
)
from kerasft.hub.graph_function import GraphFunction


@dataclass(eq=False)
class FlatGraph:
    """A concrete function on one level: nodes by name, tensors as `node:index`.

    Attributes:
        nodes: The nodes; those that stand for a variable's value are placeholders.
        inputs: The tensors of the model's inputs.
        outputs: The tensors of the function's results.
        reads: Placeholder of a variable's value to the variable's index.
        updates: Assignments of the function: (variable's index, method of tf.Variable, tensor).
        library: Functions of control flow, by name.
        versions: The GraphDef's versions.
    """

    nodes: dict[str, NodeDef]
    inputs: list[str]
    outputs: list[str]
    reads: dict[str, int]
    updates: list[tuple[int, str, str]]
    library: dict[str, FunctionDef]
    versions: Any

    @functools.cached_property
    def graph(self) -> networkx.DiGraph:
        """Which node feeds which."""
        graph = networkx.DiGraph()
        graph.add_nodes_from(self.nodes)
        for name, node in self.nodes.items():
            graph.add_edges_from((node_of(tensor), name) for tensor in node.input)
        return graph

    @functools.cached_property
    def _imported(self) -> tf.Graph:
        with tf.Graph().as_default() as graph:
            tf.graph_util.import_graph_def(self._definition(self.nodes.values()), name="")
        return graph

    def tensor(self, name: str) -> tf.Tensor:
        """The symbolic tensor of that name: its dtype and static shape."""
        return self._imported.get_tensor_by_name(name)

    @functools.cached_property
    def needed(self) -> set[str]:
        """The nodes that the outputs depend on."""
        return self.ancestors(self.outputs)

    def ancestors(self, tensors: Iterable[str], stop: Iterable[str] = ()) -> set[str]:
        """The nodes that `tensors` need, their own included, without those before the `stop` tensors."""
        stop = set(stop)
        found: set[str] = set()
        stack = [t for t in tensors if t not in stop]
        while stack:
            name = node_of(stack.pop())
            if name not in found:
                found.add(name)
                stack += [t for t in self.nodes[name].input if t not in stop]
        return found

    def variables(self, tensors: Iterable[str], stop: Iterable[str] = ()) -> set[int]:
        """The indices of the variables that `tensors` depend on."""
        return {self.reads[name] for name in self.ancestors(tensors, stop) if name in self.reads}

    def weighted(self) -> networkx.DiGraph:
        """The nodes that carry the network: those that depend on an input and on a variable."""
        from_inputs, from_reads = (
            {n for layer in networkx.bfs_layers(self.graph, roots) for n in layer}
            for roots in ({node_of(t) for t in self.inputs}, set(self.reads))
        )
        return self.graph.subgraph(self.needed & from_inputs & from_reads)

    def used_outputs(self, name: str) -> set[str]:
        """Which of a node's tensors the outputs depend on, through any path."""
        used = {t for n in self.graph.successors(name) if n in self.needed for t in self.nodes[n].input}
        return {t for t in used | set(self.outputs) if node_of(t) == name}

    def extract(
        self, inputs: Sequence[str], outputs: Sequence[str], variables: Sequence[int]
    ) -> GraphFunction:
        """Return the part between `inputs` and `outputs` as a function of the inputs, then the variables."""
        names = self.ancestors(outputs, stop=inputs)
        feeds = {tensor: f"x{i}:0" for i, tensor in enumerate(inputs)}
        feeds |= {f"{n}:0": f"v{variables.index(self.reads[n])}:0" for n in names if n in self.reads}
        nodes = []
        for name in sorted(names - set(self.reads)):
            node = NodeDef()
            node.CopyFrom(self.nodes[name])
            node.input[:] = [feeds.get(t, t) for t in node.input]
            nodes.append(node)
        results = []
        for i, tensor in enumerate(outputs):  # an output that is an input has no node of its own
            node = NodeDef(name=f"y{i}", op="Identity", input=[feeds.get(tensor, tensor)])
            node.attr["T"].type = self.tensor(tensor).dtype.as_datatype_enum
            nodes.append(node)
            results.append(f"y{i}:0")
        ends = [f"x{i}:0" for i in range(len(inputs))] + [f"v{i}:0" for i in range(len(variables))]
        definition = self._definition(nodes)
        name_by_content(definition)
        return GraphFunction(definition.SerializeToString(deterministic=True), tuple(ends), tuple(results))

    def _definition(self, nodes: Iterable[NodeDef]) -> GraphDef:
        definition = GraphDef(versions=self.versions)
        definition.node.extend(nodes)
        definition.library.function.extend(_needed_functions(definition.node, self.library))
        return definition


def _needed_functions(nodes: Iterable[NodeDef], library: dict[str, FunctionDef]) -> Iterator[FunctionDef]:
    """The functions that control-flow nodes call, and those that they call in turn."""
    seen: set[str] = set()
    stack = list(nodes)
    while stack:
        attributes = stack.pop().attr
        for key in sorted(attributes):  # a map in a protocol buffer has no order of its own
            for name in (f.name for f in called_functions(attributes[key])):
                if name in library and name not in seen:
                    seen.add(name)
                    stack.extend(library[name].node_def)
                    yield library[name]


def with_safe_names(flat: FlatGraph) -> FlatGraph:
    """The same graph with node names that an import accepts: no dots, a letter first, unique."""
    safe: dict[str, str] = {}
    taken: set[str] = set()
    for name in flat.nodes:
        base = new = "n_" + re.sub(r"[^A-Za-z0-9_/]", "_", name)
        count = 1
        while new in taken:
            count, new = count + 1, f"{base}_{count}"
        taken.add(new)
        safe[name] = new

    def rename(tensor: str) -> str:
        name, index = tensor.rsplit(":", 1)
        return f"{safe[name]}:{index}"

    nodes = {}
    for name, node in flat.nodes.items():
        node.name = safe[name]
        node.input[:] = [rename(t) for t in node.input]
        nodes[node.name] = node
    return FlatGraph(
        nodes,
        [rename(t) for t in flat.inputs],
        [rename(t) for t in flat.outputs],
        {safe[name]: index for name, index in flat.reads.items()},
        [(index, method, rename(t)) for index, method, t in flat.updates],
        flat.library,
        flat.versions,
    )
