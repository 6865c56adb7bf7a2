"""Open a SavedModel's dataflow graph: inline its functions and turn reads of variables into inputs.

A concrete function is flattened to one level of nodes. What reads a variable's handle afterwards reads
its value, so that any part of the graph is a pure function of tensors. This file and `trainer.py` are
the only ones that use private names.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import networkx
import numpy as np
import tensorflow as tf
from tensorflow.python.eager.record import could_possibly_record
from tensorflow.python.framework.function_def_to_graph import function_def_to_graph_def

from kerasft.hub.graph_function import GraphFunction

GraphDef, NodeDef = tf.compat.v1.GraphDef, tf.compat.v1.NodeDef

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_IF = ("If", "StatelessIf")
_CONTROL_FLOW = ("While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase")
_ASSIGNS = {
    "AssignVariableOp": "assign",
    "AssignAddVariableOp": "assign_add",
    "AssignSubVariableOp": "assign_sub",
}
_RESOURCE = tf.resource.as_datatype_enum


def gradients_are_recorded() -> bool:
    """Whether a `tf.GradientTape` is recording, as it does in a training step."""
    return bool(could_possibly_record())


@dataclass(eq=False)
class FlatGraph:
    """A concrete function on one level: nodes by name, tensors as `node:index`.

    Attributes:
        nodes: The nodes; those that stand for a variable's value are placeholders.
        inputs: The tensors of the model's inputs.
        outputs: The tensors of the function's results.
        reads: Placeholder of a variable's value to the variable's index.
        updates: What the function assigns: (variable's index, method of tf.Variable, tensor).
        library: Functions of control flow, by name.
        versions: The GraphDef's versions.
    """

    nodes: dict[str, Any]
    inputs: list[str]
    outputs: list[str]
    reads: dict[str, int]
    updates: list[tuple[int, str, str]]
    library: dict[str, Any]
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
        """The nodes that `tensors` need, their own included, not looking behind the `stop` tensors."""
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
        """The part between `inputs` and `outputs`, as a function of the inputs and then the variables."""
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
        _name_by_content(definition)
        return GraphFunction(definition.SerializeToString(deterministic=True), tuple(ends), tuple(results))

    def _definition(self, nodes: Iterable[Any]) -> Any:
        definition = GraphDef(versions=self.versions)
        definition.node.extend(nodes)
        definition.library.function.extend(_needed_functions(definition.node, self.library))
        return definition


def node_of(tensor: str) -> str:
    """The node that makes a tensor."""
    return tensor.rsplit(":", 1)[0]


def flatten(
    function: Any,
    inputs: Sequence[tf.Tensor],
    outputs: Sequence[tf.Tensor],
    variables: Sequence[tf.Variable],
    training: bool,
) -> FlatGraph:
    """Flatten a concrete function of a loaded SavedModel.

    Args:
        function: The `ConcreteFunction`.
        inputs: The placeholders in its graph that become inputs.
        outputs: The tensors in its graph that become outputs.
        variables: The variables of the SavedModel; indices in the result refer to this list.
        training: Value for a boolean input that is not among `inputs`.

    Raises:
        ValueError: The graph holds a resource that is no variable (a lookup table).
    """
    definition = function.graph.as_graph_def()
    library = {f.signature.name: f for f in definition.library.function}
    nodes: dict[str, Any] = {}
    alias: dict[str, str] = {}
    _inline(definition.node, "", {}, library, nodes, alias)

    handles = {id(v.handle): i for i, v in enumerate(variables)}
    owner: dict[str, int] = {}
    flags: set[str] = set()
    given = {t.op.name for t in inputs}
    captures = {p.op.name: value for value, p in function.graph.captures}
    for placeholder, value in zip(function.graph.internal_captures, function.captured_inputs, strict=True):
        captures[placeholder.op.name] = value
    for placeholder in function.inputs:
        name = placeholder.op.name
        if name in given:
            continue
        if placeholder.dtype == tf.resource:
            if id(captures[name]) not in handles:
                raise ValueError(
                    "The SavedModel holds a resource that is no variable (a lookup table?), which can't "
                    "become part of a Keras layer. Do that preprocessing in the input pipeline, and load "
                    "the network without it."
                )
            owner[f"{name}:0"] = handles[id(captures[name])]
        elif name in captures:
            nodes[name] = _constant(name, captures[name].numpy())
        elif placeholder.dtype == tf.bool and placeholder.shape.rank == 0:
            nodes[name] = _constant(name, np.array(training))
            flags.add(name)

    def resolve(tensor: str) -> str:
        while tensor in alias:
            tensor = alias[tensor]
        node = nodes.get(node_of(tensor))
        if node is not None and node.op == "Identity" and node.attr["T"].type == _RESOURCE:
            return resolve(_plain(node.input[0]))
        return tensor

    def depends_on_flag(tensor: str) -> bool:
        name = node_of(resolve(_plain(tensor)))
        passed_on = name in nodes and nodes[name].op == "Identity"
        return name in flags or (passed_on and depends_on_flag(nodes[name].input[0]))

    # What the flag decides is known: the branch takes the place of the condition.
    while branches := [n for n in nodes.values() if n.op in _IF and depends_on_flag(n.input[0])]:
        for node in branches:
            called = node.attr["then_branch" if training else "else_branch"].func.name
            call = NodeDef(name=node.name, op="PartitionedCall", input=node.input[1:])
            call.attr["f"].func.name = called
            del nodes[node.name]
            _inline([call], "", {}, library, nodes, alias)

    for node in nodes.values():
        node.input[:] = [resolve(_plain(t)) for t in node.input if not t.startswith("^")]
    reads, updates = _values_for_handles(nodes, owner, variables, library)
    ends = [resolve(t.name) for t in outputs]
    nodes = {name: node for name, node in nodes.items() if f"{name}:0" not in owner}
    return _with_safe_names(
        FlatGraph(nodes, [t.name for t in inputs], ends, reads, updates, library, definition.versions)
    )


def _inline(
    source: Iterable[Any],
    prefix: str,
    arguments: dict[str, str],
    library: dict[str, Any],
    nodes: dict[str, Any],
    alias: dict[str, str],
) -> None:
    """Add `source` to `nodes` under `prefix`, calls replaced by what they call, recursively."""
    for node in source:
        name = prefix + node.name
        if node.name in arguments:
            alias[f"{name}:0"] = arguments[node.name]
            continue
        inputs = [t if t.startswith("^") else prefix + _plain(t) for t in node.input]
        called = node.attr["f"].func.name if node.op in _CALLS else node.op
        if called not in library:
            nodes[name] = NodeDef(name=name, op=node.op, input=inputs)
            for key, value in node.attr.items():
                if not key.startswith("_"):  # colocation, static shapes, swish's own gradient
                    nodes[name].attr[key].CopyFrom(value)
            continue
        body, names = function_def_to_graph_def(library[called])
        signature = library[called].signature
        tensors = [t for t in inputs if not t.startswith("^")]
        given = {a.name: t for a, t in zip(signature.input_arg, tensors, strict=True)}
        for index, result in enumerate(signature.output_arg):
            inner = _plain(names[library[called].ret[result.name]])
            alias[f"{name}:{index}"] = f"{name}/{inner}"
        _inline(body.node, name + "/", given, library, nodes, alias)


def _values_for_handles(
    nodes: dict[str, Any], owner: dict[str, int], variables: Sequence[tf.Variable], library: Any
) -> tuple[dict[str, int], list[tuple[int, str, str]]]:
    """Replace every use of a variable's handle by one of its value; return the reads and the updates."""
    reads: dict[str, int] = {}
    updates: list[tuple[int, str, str]] = []

    def read(name: str, index: int) -> str:
        nodes[name] = NodeDef(name=name, op="Placeholder")
        nodes[name].attr["dtype"].type = variables[index].dtype.as_datatype_enum
        nodes[name].attr["shape"].shape.CopyFrom(variables[index].shape.as_proto())
        reads[name] = index
        return f"{name}:0"

    for name, node in list(nodes.items()):
        held = {i: owner[t] for i, t in enumerate(node.input) if t in owner}
        if not held:
            continue
        if node.op == "ReadVariableOp":
            read(name, held[0])
        elif node.op in _ASSIGNS:
            updates.append((held[0], _ASSIGNS[node.op], node.input[1]))
            del nodes[name]
        elif node.op == "ResourceGather":
            axis = _constant(f"{name}/axis", np.array(node.attr["batch_dims"].i, "int32"))
            nodes[axis.name] = axis
            ends = [read(f"{name}/value", held[0]), node.input[1], f"{axis.name}:0"]
            gather = NodeDef(name=name, op="GatherV2", input=ends)
            gather.attr["Tparams"].type = node.attr["dtype"].type
            gather.attr["Tindices"].type = node.attr["Tindices"].type
            gather.attr["Taxis"].type = tf.int32.as_datatype_enum
            gather.attr["batch_dims"].i = node.attr["batch_dims"].i
            nodes[name] = gather
        elif node.op in _CONTROL_FLOW:
            types = {i: variables[index].dtype.as_datatype_enum for i, index in held.items()}
            _pass_values(node, types, library)
            for i, index in held.items():
                node.input[i] = read(f"{name}/value_{i}", index)
        else:  # VarIsInitializedOp and the like: no result of the network depends on it, or it fails later
            del nodes[name]
    return reads, updates


def _pass_values(node: Any, types: dict[int, int], library: dict[str, Any]) -> None:
    """Let a call or control-flow node, and the functions that it calls, take values for handles."""
    first = 0 if "While" in node.op or node.op in _CALLS else 1  # If and Case have the condition first
    for key in ("T", "Tin"):
        if key in node.attr:
            for i, dtype in types.items():
                node.attr[key].list.type[i - first] = dtype
    if "While" in node.op:
        node.attr["output_shapes"].list.ClearField("shape")
    inner = {i - first: dtype for i, dtype in types.items()}
    for value in node.attr.values():
        for called in _called(value):
            if called.name in library:
                called.name = _function_of_values(called.name, inner, library)


def _function_of_values(name: str, types: dict[int, int], library: dict[str, Any]) -> str:
    """A copy of a library function whose handle arguments are values; returns the copy's name."""
    new_name = f"{name}_of_values_{'_'.join(map(str, sorted(types)))}"
    if new_name in library:
        return new_name
    copy = type(library[name])()
    copy.CopyFrom(library[name])
    copy.signature.name = new_name
    copy.arg_attr.clear()
    library[new_name] = copy
    dtype_of: dict[str, int] = {}
    for i, dtype in types.items():
        copy.signature.input_arg[i].type = dtype
        copy.signature.input_arg[i].ClearField("handle_data")
        dtype_of[copy.signature.input_arg[i].name] = dtype
    renamed: dict[str, str] = {}
    for node in copy.node_def:
        node.input[:] = [renamed.get(t, t) for t in node.input]
        held = {i: dtype_of[t] for i, t in enumerate(node.input) if t in dtype_of}
        for key in [k for k in node.attr if k.startswith("_")]:
            del node.attr[key]
        if not held:
            continue
        if node.op in ("ReadVariableOp", "Identity"):
            if node.op == "Identity":
                dtype_of[f"{node.name}:output:0"] = held[0]
            renamed[f"{node.name}:value:0"] = f"{node.name}:output:0"
            node.op = "Identity"
            node.attr.clear()
            node.attr["T"].type = held[0]
        elif node.op in _CONTROL_FLOW or node.op in _CALLS:
            _pass_values(node, held, library)
        else:
            raise ValueError(
                f"The SavedModel uses a weight inside a loop or a branch by {node.op!r}, which can't be "
                "turned into a function of the weight's value."
            )
    for result in copy.signature.output_arg:
        end = renamed.get(copy.ret[result.name], copy.ret[result.name])
        copy.ret[result.name] = end
        if end in dtype_of:
            result.type = dtype_of[end]
            result.ClearField("handle_data")
    return new_name


def _called(value: Any) -> list[Any]:
    """The functions that an attribute's value names."""
    return [value.func] if value.HasField("func") else list(value.list.func)


def _plain(tensor: str) -> str:
    return tensor if ":" in tensor else f"{tensor}:0"


def _constant(name: str, value: np.ndarray) -> Any:
    node = NodeDef(name=name, op="Const")
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    node.attr["dtype"].type = node.attr["value"].tensor.dtype
    return node


def _needed_functions(nodes: Iterable[Any], library: dict[str, Any]) -> Iterator[Any]:
    """The functions that control-flow nodes call, and those that they call in turn."""
    seen: set[str] = set()
    stack = list(nodes)
    while stack:
        attributes = stack.pop().attr
        for key in sorted(attributes):  # a map in a protocol buffer has no order of its own
            for name in (f.name for f in _called(attributes[key])):
                if name in library and name not in seen:
                    seen.add(name)
                    stack.extend(library[name].node_def)
                    yield library[name]


def _name_by_content(definition: Any) -> None:
    """Rename the library's functions after what they do: TensorFlow knows one body for each name."""
    _rename_functions(definition, [f"f{i}" for i in range(len(definition.library.function))])
    digest = hashlib.sha256(definition.library.SerializeToString(deterministic=True)).hexdigest()[:16]
    _rename_functions(definition, [f"f{i}_{digest}" for i in range(len(definition.library.function))])


def _rename_functions(definition: Any, new: Sequence[str]) -> None:
    """Give the library's functions new names, in order, wherever they are called."""
    names = {f.signature.name: n for f, n in zip(definition.library.function, new, strict=True)}
    for function in definition.library.function:
        function.signature.name = names[function.signature.name]
    nodes = [n for f in definition.library.function for n in f.node_def]
    for node in itertools.chain(nodes, definition.node):
        for value in node.attr.values():
            for called in _called(value):
                called.name = names.get(called.name, called.name)


def _with_safe_names(flat: FlatGraph) -> FlatGraph:
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
