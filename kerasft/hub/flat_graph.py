"""FlatGraph: a graph without nested functions, and the functions that are made of its parts."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
from kerasft.hub.sizes import Axes, SizeRead, Sizes, reads_sizes, size_read


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
        for name in self.nodes:
            graph.add_edges_from((node_of(tensor), name) for tensor in self.data_inputs(name))
        return graph

    def data_inputs(self, name: str) -> Sequence[str]:
        """The tensors whose values a node takes, not merely their sizes."""
        return () if name in self.size_reads else self.nodes[name].input

    @functools.cached_property
    def size_reads(self) -> dict[str, SizeRead]:
        """The nodes that read the size of what depends on variables, where others are known to have it."""
        after = self._after(self.reads)
        readers = [n for n in self.nodes.values() if n.name in after and reads_sizes(n, self.nodes)]
        if not readers:
            return {}
        found = (size_read(n, self.nodes, self.sizes, lambda t: self.tensor(t).dtype) for n in readers)
        return {read.node.name: read for read in found if read is not None}

    @functools.cached_property
    def _users(self) -> dict[str, list[tuple[str, str]]]:
        """For each node the tensors of it that others take, and these."""
        users: dict[str, list[tuple[str, str]]] = {}
        for name, node in self.nodes.items():
            for tensor in node.input:
                users.setdefault(node_of(tensor), []).append((tensor, name))
        return users

    def _after(self, roots: Iterable[str], stop: Collection[str] = ()) -> set[str]:
        """The nodes that these feed in any way, themselves included, not through the `stop` tensors."""
        found: set[str] = set()
        stack = list(roots)
        while stack:
            if (name := stack.pop()) not in found:
                found.add(name)
                stack += [user for tensor, user in self._users.get(name, ()) if tensor not in stop]
        return found

    def set_input_shapes(self, shapes: Iterable[tf.TensorShape]) -> None:
        """Let the inputs have these shapes, which fit those that they have."""
        for tensor, shape in zip(self.inputs, shapes, strict=True):
            self.nodes[node_of(tensor)].attr["shape"].shape.CopyFrom(shape.as_proto())

    @functools.cached_property
    def sizes(self) -> Sizes:
        """Which axes of the tensors are as long as which axes of the inputs."""

        def shape(tensor: tf.Tensor) -> tuple[int | None, ...] | None:
            return None if tensor.shape.rank is None else tuple(tensor.shape)

        def shapes(inputs: Mapping[str, tuple[int | None, ...]]) -> Callable[[str], Any]:
            graph = self._import(inputs) if inputs else self._imported
            return lambda name: shape(graph.get_tensor_by_name(name))

        return Sizes(shapes, {t: shape(self.tensor(t)) for t in self.inputs})

    @functools.cached_property
    def _imported(self) -> tf.Graph:
        return self._import({})

    def _import(self, shapes: Mapping[str, tuple[int | None, ...]]) -> tf.Graph:
        """The nodes as a graph of TensorFlow, in which the inputs have the given shapes."""
        definition = self._definition(self.nodes.values())
        given = {node_of(tensor): shape for tensor, shape in shapes.items()}
        for node in definition.node:
            if node.name in given:
                node.attr["shape"].shape.CopyFrom(tf.TensorShape(given[node.name]).as_proto())
        with tf.Graph().as_default() as graph:
            tf.graph_util.import_graph_def(definition, name="")
        return graph

    def tensor(self, name: str) -> tf.Tensor:
        """The symbolic tensor of that name: its dtype and static shape."""
        return self._imported.get_tensor_by_name(name)

    @functools.cached_property
    def memory(self) -> dict[Any, Any]:
        """What has been found out about the graph."""
        return {}

    @functools.cached_property
    def needed(self) -> set[str]:
        """The nodes that the outputs depend on."""
        return self.ancestors(self.outputs)

    def ancestors(self, tensors: Iterable[str], stop: Iterable[str] = ()) -> set[str]:
        """The nodes whose data `tensors` need, their own included, without those before `stop` tensors."""
        stop = set(stop)
        found: set[str] = set()
        stack = [t for t in tensors if t not in stop]
        while stack:
            name = node_of(stack.pop())
            if name not in found:
                found.add(name)
                stack += [t for t in self.data_inputs(name) if t not in stop]
        return found

    def used(self, tensors: Iterable[str], given: Collection[str]) -> set[str]:
        """Those of the `given` tensors from which `tensors` are made, if all of these are there."""
        ends = {*tensors}
        names = self.ancestors(ends, stop=given)
        return {
            t
            for t in given
            if t in ends or any(n in names and s == t for s, n in self._users.get(node_of(t), ()))
        }

    def variables(self, tensors: Iterable[str], stop: Iterable[str] = ()) -> set[int]:
        """The indices of the variables that `tensors` depend on."""
        return {self.reads[name] for name in self.ancestors(tensors, stop) if name in self.reads}

    def constants(self) -> list[str]:
        """The nodes that hold real numbers and that the outputs depend on."""
        return [
            n
            for n in sorted(self.needed)
            if self.nodes[n].op == "Const" and self.tensor(f"{n}:0").dtype.is_floating
        ]

    @functools.cached_property
    def fed(self) -> set[str]:
        """The nodes that depend on an input and that the outputs depend on."""
        return self._reached(node_of(t) for t in self.inputs)

    @functools.cached_property
    def weighted(self) -> networkx.DiGraph:
        """The nodes that carry the network: those that depend on an input and on a variable."""
        return self.graph.subgraph(self.fed & self._reached(self.reads))

    def _reached(self, roots: Iterable[str]) -> set[str]:
        return self.needed & {n for layer in networkx.bfs_layers(self.graph, [*roots]) for n in layer}

    def used_outputs(self, name: str) -> set[str]:
        """Which of a node's tensors the outputs depend on, through any path."""
        used = {t for n in self.graph.successors(name) if n in self.needed for t in self.nodes[n].input}
        return {t for t in used | set(self.outputs) if node_of(t) == name}

    def lacking(
        self, inputs: Sequence[str], outputs: Sequence[str], variables: Iterable[int]
    ) -> tuple[set[str], dict[str, SizeRead]]:
        """What a part of the graph consists of, and which sizes it reads of tensors that it lacks.

        Args:
            inputs: The tensors that the part is given.
            outputs: The tensors that it makes.
            variables: The indices of its variables.

        Returns:
            The part's nodes, and those among them that read sizes of tensors from elsewhere.
        """
        given, own = set(inputs), set(variables)
        names = self.ancestors(outputs, stop=given)
        if not self.size_reads:
            return names, {}
        roots = [n for n, index in self.reads.items() if index not in own]
        elsewhere = self._after([*roots, *(node_of(t) for t in self.inputs if t not in given)], given)
        found: dict[str, SizeRead] = {}
        stack = sorted(names)
        while stack:
            read = self.size_reads.get(stack.pop())
            tensors = [] if read is None else [t for t in read.node.input if t not in given]
            if read is not None and any(node_of(t) in elsewhere for t in tensors):
                found[read.node.name] = read
            else:
                new = self.ancestors(tensors, stop=given) - names
                names |= new
                stack += sorted(new)
        return names, found

    def size_sources(
        self, inputs: Sequence[str], reads: Iterable[SizeRead]
    ) -> dict[Axes, tuple[str, int, tf.DType]]:
        """For each size that these read, where it comes from: one of `inputs`, else an input of the model."""
        sources: dict[Axes, tuple[str, int, tf.DType]] = {}
        for axes in {axes for read in reads for axes in read.axes}:
            found = [(t, i) for t in inputs for i, size in enumerate(self.sizes.of(t) or ()) if size == axes]
            tensor, axis = (found or sorted(axes))[0]
            sources[axes] = tensor, axis, self.tensor(tensor).dtype
        return sources

    def extract(
        self, inputs: Sequence[str], outputs: Sequence[str], variables: Sequence[int]
    ) -> GraphFunction:
        """Return the part between `inputs` and `outputs` as a function of the inputs, then the variables."""
        names, lacking = self.lacking(inputs, outputs, variables)
        sources = self.size_sources(inputs, lacking.values())
        made = {n.name: n for read in lacking.values() for n in read.replaced(sources)}
        parts = {**{n: self.nodes[n] for n in names}, **made}
        feeds = {tensor: f"x{i}:0" for i, tensor in enumerate(inputs)}
        feeds |= {f"{n}:0": f"v{variables.index(self.reads[n])}:0" for n in names if n in self.reads}
        nodes = []
        for name in sorted(parts.keys() - set(self.reads)):
            node = NodeDef()
            node.CopyFrom(parts[name])
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

    def check_ops(self) -> None:
        """Raise ValueError if the results or the updates need an operation that is not allowed."""
        ends = [*self.outputs, *(tensor for _, _, tensor in self.updates)]
        self.extract(self.inputs, ends, sorted(self.variables(ends))).check_ops()

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


def with_output_shapes(flat: FlatGraph, shapes: Iterable[tf.TensorShape]) -> FlatGraph:
    """The same graph with outputs of these shapes, where its operations alone do not tell them."""
    nodes, outputs = dict(flat.nodes), [*flat.outputs]
    for i, (tensor, shape) in enumerate(zip(flat.outputs, shapes, strict=True)):
        symbolic = flat.tensor(tensor)
        if shape.rank is None or str(symbolic.shape.merge_with(shape)) == str(symbolic.shape):
            continue
        node = NodeDef(name=f"shape_of_output_{i}", op="EnsureShape", input=[tensor])
        node.attr["T"].type = symbolic.dtype.as_datatype_enum
        node.attr["shape"].shape.CopyFrom(shape.as_proto())
        nodes[node.name], outputs[i] = node, f"{node.name}:0"
    return flat if outputs == flat.outputs else replace(flat, nodes=nodes, outputs=outputs)


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
