"""flatten: inline the functions of a SavedModel's graph, and turn reads of variables into inputs.

A concrete function is flattened to one level of nodes. A node that reads a variable's handle afterwards
reads its value, and one that looks up in a table searches constants, so that any part of the graph is a pure
function of tensors. This file and `kerasft/_keras/` are the only ones that use private names of TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.eager.record import could_possibly_record
from tensorflow.python.framework.function_def_to_graph import function_def_to_graph_def

from kerasft.hub.flat_graph import FlatGraph, with_safe_names
from kerasft.hub.graph_check import damaged
from kerasft.hub.graph_def import (
    CALLS,
    IF,
    RESOURCE,
    FunctionDef,
    NodeDef,
    constant_node,
    node_of,
    tensor_name,
)
from kerasft.hub.lookup_tables import constants_for_tables
from kerasft.hub.variable_values import values_for_handles


def gradients_are_recorded() -> bool:
    """Whether a `tf.GradientTape` is recording, as it does in a training step."""
    return bool(could_possibly_record())


def parse_saved_model(content: bytes) -> Any:
    """The protocol buffer of a saved_model.pb, of which nothing runs.

    Raises:
        ValueError: It is damaged.
    """
    try:
        return saved_model_pb2.SavedModel.FromString(content)
    except DecodeError as error:
        raise damaged(f"saved_model.pb can't be read ({error})") from None


def flatten(
    function: tf.types.experimental.ConcreteFunction,
    inputs: Sequence[tf.Tensor],
    outputs: Sequence[tf.Tensor],
    variables: Sequence[tf.Variable],
    constants: Mapping[str, np.ndarray] | None = None,
) -> FlatGraph:
    """Flatten a concrete function of a loaded SavedModel.

    Args:
        function: The `ConcreteFunction`.
        inputs: The placeholders in its graph that become inputs.
        outputs: The tensors in its graph that become outputs.
        variables: The variables of the SavedModel; indices in the result refer to this list.
        constants: Values, by name, for placeholders that are not among `inputs`.

    Raises:
        ValueError: The graph holds a resource that is neither a variable nor a table that is only read.
    """
    definition = function.graph.as_graph_def()
    library = {f.signature.name: f for f in definition.library.function}
    nodes: dict[str, NodeDef] = {}
    alias: dict[str, str] = {}
    _inline(definition.node, "", {}, library, nodes, alias)

    handles = {id(v.handle): i for i, v in enumerate(variables)}
    owner: dict[str, int] = {}
    tables: dict[str, tf.Tensor] = {}
    constants = constants or {}
    given = {t.op.name for t in inputs}
    captures = {p.op.name: value for value, p in function.graph.captures}
    for placeholder, value in zip(function.graph.internal_captures, function.captured_inputs, strict=True):
        captures[placeholder.op.name] = value
    for placeholder in function.inputs:
        name = placeholder.op.name
        if name in given:
            continue
        if placeholder.dtype == tf.resource:
            if id(captures[name]) in handles:
                owner[f"{name}:0"] = handles[id(captures[name])]
            else:
                tables[f"{name}:0"] = captures[name]
        elif name in captures:
            nodes[name] = constant_node(name, captures[name].numpy())
        elif name in constants:
            nodes[name] = constant_node(name, constants[name])

    def resolve(tensor: str) -> str:
        while tensor in alias:
            tensor = alias[tensor]
        node = nodes.get(node_of(tensor))
        if node is not None and node.op == "Identity" and node.attr["T"].type == RESOURCE:
            return resolve(tensor_name(node.input[0]))
        return tensor

    def flag(tensor: str) -> str | None:
        """The constant that a tensor is, passed on by Identity."""
        name = node_of(resolve(tensor_name(tensor)))
        passed_on = name in nodes and nodes[name].op == "Identity"
        return name if name in constants else flag(nodes[name].input[0]) if passed_on else None

    # The flag is known, so the branch that it chooses takes the place of the condition.
    while branches := [n for n in nodes.values() if n.op in IF and flag(n.input[0]) is not None]:
        for node in branches:
            chosen = bool(constants[flag(node.input[0]) or ""])
            called = node.attr["then_branch" if chosen else "else_branch"].func.name
            call = NodeDef(name=node.name, op="PartitionedCall", input=node.input[1:])
            call.attr["f"].func.name = called
            del nodes[node.name]
            _inline([call], "", {}, library, nodes, alias)

    for node in nodes.values():
        node.input[:] = [resolve(tensor_name(t)) for t in node.input if not t.startswith("^")]
    constants_for_tables(nodes, tables)
    reads, updates = values_for_handles(nodes, owner, variables, library)
    ends = [resolve(t.name) for t in outputs]
    nodes = {name: node for name, node in nodes.items() if f"{name}:0" not in {*owner, *tables}}
    return with_safe_names(
        FlatGraph(nodes, [t.name for t in inputs], ends, reads, updates, library, definition.versions)
    )


def _inline(
    source: Iterable[NodeDef],
    prefix: str,
    arguments: dict[str, str],
    library: dict[str, FunctionDef],
    nodes: dict[str, NodeDef],
    alias: dict[str, str],
) -> None:
    """Add `source` to `nodes` under `prefix`, calls replaced by their functions' bodies, recursively."""
    for node in source:
        name = prefix + node.name
        if node.name in arguments:
            alias[f"{name}:0"] = arguments[node.name]
            continue
        inputs = [t if t.startswith("^") else prefix + tensor_name(t) for t in node.input]
        called = node.attr["f"].func.name if node.op in CALLS else node.op
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
            inner = tensor_name(names[library[called].ret[result.name]])
            alias[f"{name}:{index}"] = f"{name}/{inner}"
        _inline(body.node, name + "/", given, library, nodes, alias)
