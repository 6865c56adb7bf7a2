"""Hand variables in as values: in a graph's nodes, and in the functions that these call."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kerasft.hub.graph_def import (
    ASSIGNS,
    CALLS,
    CONTROL_FLOW,
    FunctionDef,
    NodeDef,
    called_functions,
    constant_node,
)


def values_for_handles(
    nodes: dict[str, NodeDef],
    owner: dict[str, int],
    variables: Sequence[tf.Variable],
    library: dict[str, FunctionDef],
) -> tuple[dict[str, int], list[tuple[int, str, str]]]:
    """Replace every use of a variable's handle by one of its value.

    Args:
        nodes: The nodes of a flat graph by name; changed in place.
        owner: Tensors that are handles to the indices of their variables.
        variables: The variables.
        library: The graph's functions by name; copies that take values are added.

    Returns:
        The placeholders of values with their variables' indices, and the assignments: (variable's index,
        method of tf.Variable, tensor).
    """
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
        elif node.op in ASSIGNS:
            updates.append((held[0], ASSIGNS[node.op], node.input[1]))
            del nodes[name]
        elif node.op == "ResourceGather":
            axis = constant_node(f"{name}/axis", np.array(node.attr["batch_dims"].i, "int32"))
            nodes[axis.name] = axis
            ends = [read(f"{name}/value", held[0]), node.input[1], f"{axis.name}:0"]
            gather = NodeDef(name=name, op="GatherV2", input=ends)
            gather.attr["Tparams"].type = node.attr["dtype"].type
            gather.attr["Tindices"].type = node.attr["Tindices"].type
            gather.attr["Taxis"].type = tf.int32.as_datatype_enum
            gather.attr["batch_dims"].i = node.attr["batch_dims"].i
            nodes[name] = gather
        elif node.op in CONTROL_FLOW:
            types = {i: variables[index].dtype.as_datatype_enum for i, index in held.items()}
            _pass_values(node, types, library)
            for i, index in held.items():
                node.input[i] = read(f"{name}/value_{i}", index)
        else:  # VarIsInitializedOp and the like: no result of the network depends on it, or it fails later
            del nodes[name]
    return reads, updates


def _pass_values(node: NodeDef, types: dict[int, int], library: dict[str, FunctionDef]) -> None:
    """Let a call or control-flow node, and the functions that it calls, take values for handles."""
    first = 0 if "While" in node.op or node.op in CALLS else 1  # If and Case have the condition first
    for key in ("T", "Tin"):
        if key in node.attr:
            for i, dtype in types.items():
                node.attr[key].list.type[i - first] = dtype
    if "While" in node.op:
        node.attr["output_shapes"].list.ClearField("shape")
    inner = {i - first: dtype for i, dtype in types.items()}
    for value in node.attr.values():
        for called in called_functions(value):
            if called.name in library:
                called.name = _function_of_values(called.name, inner, library)


def _function_of_values(name: str, types: dict[int, int], library: dict[str, FunctionDef]) -> str:
    """Copy a library function so that its handle arguments are values; return the copy's name."""
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
        elif node.op in CONTROL_FLOW or node.op in CALLS:
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
