"""Names for TensorFlow's protocol buffers: graphs, nodes, and the kinds of operations that matter here."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

GraphDef: TypeAlias = tf.compat.v1.GraphDef
NodeDef: TypeAlias = tf.compat.v1.NodeDef
FunctionDef: TypeAlias = Any  # TensorFlow has no public name for the functions of a graph's library

CALLS = ("PartitionedCall", "StatefulPartitionedCall")
IF = ("If", "StatelessIf")
CONTROL_FLOW = ("While", "StatelessWhile", *IF, "Case", "StatelessCase")
RESOURCE = tf.resource.as_datatype_enum
ASSIGNS = {  # operation -> method of tf.Variable
    "AssignVariableOp": "assign",
    "AssignAddVariableOp": "assign_add",
    "AssignSubVariableOp": "assign_sub",
}


def called_functions(value: tf.compat.v1.AttrValue) -> list[Any]:
    """The functions that an attribute's value names; setting `name` of one calls another."""
    direct = [value.func] if value.HasField("func") else list(value.list.func)
    return direct + [
        f for called in direct for key in sorted(called.attr) for f in called_functions(called.attr[key])
    ]


def tensor_name(tensor: str) -> str:
    """The name of a tensor with its index, which a graph leaves out for a node's first."""
    return tensor if ":" in tensor else f"{tensor}:0"


def node_of(tensor: str) -> str:
    """The node that makes a tensor."""
    return tensor.rsplit(":", 1)[0]


def constant_node(name: str, value: np.ndarray) -> NodeDef:
    """A node of that name that holds `value`."""
    node = NodeDef(name=name, op="Const")
    if isinstance(value, np.ndarray) and value.dtype == object:  # many strings, for which the next is slow
        tensor = node.attr["value"].tensor
        tensor.dtype = tf.string.as_datatype_enum
        tensor.tensor_shape.CopyFrom(tf.TensorShape(value.shape).as_proto())
        tensor.string_val.extend(value.ravel())
    else:
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    node.attr["dtype"].type = node.attr["value"].tensor.dtype
    return node


def nodes_under(name: str, graph: tf.Graph, given: Mapping[str, str]) -> list[NodeDef]:
    """The nodes of a graph, its node `end` as one of that name and the others under it.

    Args:
        name: The name.
        graph: The graph.
        given: For each of its placeholders, by name, the tensor that takes its place.
    """
    nodes = []
    for node in graph.as_graph_def().node:
        if node.name not in given:
            node.name = name if node.name == "end" else f"{name}/{node.name}"
            inputs = (tensor_name(t) for t in node.input)
            node.input[:] = [given.get(node_of(t), f"{name}/{t}") for t in inputs]
            nodes.append(node)
    return nodes


def name_by_content(definition: GraphDef) -> None:
    """Rename the library's functions by their bodies: TensorFlow knows one body for each name."""
    _rename_functions(definition, [f"f{i}" for i in range(len(definition.library.function))])
    digest = hashlib.sha256(definition.library.SerializeToString(deterministic=True)).hexdigest()[:16]
    _rename_functions(definition, [f"f{i}_{digest}" for i in range(len(definition.library.function))])


def _rename_functions(definition: GraphDef, new: Sequence[str]) -> None:
    """Give the library's functions new names, in order, wherever they are called."""
    names = {f.signature.name: n for f, n in zip(definition.library.function, new, strict=True)}
    for function in definition.library.function:
        function.signature.name = names[function.signature.name]
    nodes = [n for f in definition.library.function for n in f.node_def]
    for node in itertools.chain(nodes, definition.node):
        for value in node.attr.values():
            for called in called_functions(value):
                called.name = names.get(called.name, called.name)
