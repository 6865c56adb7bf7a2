"""Words for TensorFlow's protocol buffers: graphs, nodes, and kinds of operations."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

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
