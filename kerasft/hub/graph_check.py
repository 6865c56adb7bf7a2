"""What a graph from a file must keep before TensorFlow gets to see it.

TensorFlow trusts its graphs: a function that calls itself overflows the stack and takes the process with it,
a function that the graph lacks is looked for among those that the process happens to know, and a constant of
a few bytes may say that it fills the memory. The graph is therefore read here as plain data first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import psutil
import tensorflow as tf

from kerasft.hub.graph_def import FunctionDef, GraphDef, NodeDef, called_functions

_MOST_NESTED = 100  # calls inside of calls; the largest models come to a dozen
_MOST_NODES = 10**6  # once every call is replaced by the function's nodes
_MOST_CONSTANTS = 2**28  # bytes beyond those that stand in the graph
_OPAQUE = (tf.resource, tf.variant)


def check_structure(graph: GraphDef, size: int) -> None:
    """Raise ValueError unless a graph can be given to TensorFlow, whatever its operations are.

    Args:
        graph: The graph.
        size: How many bytes it takes as it is stored.

    Raises:
        ValueError: Functions call each other in a circle, too deeply or too often, are missing, there twice,
            or named as an operation; or a constant is larger than what a graph of that size can say.
    """
    library: dict[str, FunctionDef] = {}
    for function in graph.library.function:
        name = function.signature.name
        if name in library:
            raise damaged(f"it has the function {name!r} twice")
        if hasattr(tf.raw_ops, name):
            raise damaged(f"it has a function with the name of the operation {name!r}")
        library[name] = function
    calls = {name: list(_calls(f.node_def, library)) for name, f in library.items()}
    called = list(_calls(graph.node, library))
    if foreign := sorted({n for c in (*calls.values(), called) for n in c} - library.keys()):
        raise damaged(f"it calls the functions {foreign[:5]}, which are not in it")
    _check_nesting(calls, {name: len(f.node_def) for name, f in library.items()})
    nodes = [*graph.node, *(n for f in library.values() for n in f.node_def)]
    attributes = [v for n in nodes for v in n.attr.values()]
    attributes += [v for f in library.values() for v in _function_attributes(f)]
    stated = sum(_stated_bytes(value) for value in attributes)
    if stated > size + _MOST_CONSTANTS:
        raise damaged(f"its {size} bytes say that its constants take {stated} bytes")


def reachable(names: Iterable[str], library: Mapping[str, FunctionDef]) -> dict[str, FunctionDef]:
    """The functions of these names, and all that they call."""
    found: dict[str, FunctionDef] = {}
    stack = list(names)
    while stack:
        name = stack.pop()
        if name in library and name not in found:
            found[name] = library[name]
            stack += _calls(library[name].node_def, library)
    return found


def check_memory(weights: Iterable[Mapping[str, Any]]) -> None:
    """Raise ValueError if weights of these shapes and dtypes take more memory than the machine has."""
    stated = sum(math.prod(map(int, w["shape"])) * tf.as_dtype(w["dtype"]).size for w in weights)
    if stated > psutil.virtual_memory().total:
        raise damaged(f"its weights take {stated} bytes, more than the memory of this machine")


def damaged(what: str) -> ValueError:
    """The error for a graph that no program writes."""
    return ValueError(
        f"The model's graph is damaged or was tampered with: {what}. Nothing of it was run. Get the model "
        "again from where it came from."
    )


def _calls(nodes: Iterable[NodeDef], library: Mapping[str, Any]) -> Iterator[str]:
    """The functions that nodes call: by an attribute, or by their operation, as old graphs do."""
    for node in nodes:
        if node.op in library:
            yield node.op
        for value in node.attr.values():
            yield from (function.name for function in called_functions(value))


def _check_nesting(calls: Mapping[str, list[str]], own: Mapping[str, int]) -> None:
    """Walk the call graph from its leaves, without recursion."""
    depth: dict[str, int] = {}
    nodes: dict[str, int] = {}
    for root in calls:
        stack, open_ = [root], set[str]()
        while stack:
            name = stack[-1]
            if name in depth:
                stack.pop()
                continue
            waiting = [inner for inner in calls[name] if inner not in depth]
            if name in open_ and waiting:
                raise damaged(f"its function {name!r} calls itself")
            open_.add(name)
            if circle := open_.intersection(waiting):
                raise damaged(f"its function {sorted(circle)[0]!r} calls itself")
            stack += waiting
            if not waiting:
                stack.pop()
                open_.discard(name)
                depth[name] = 1 + max((depth[inner] for inner in calls[name]), default=0)
                nodes[name] = own[name] + sum(nodes[inner] for inner in calls[name])
                if depth[name] > _MOST_NESTED:
                    raise damaged(f"its functions call each other more than {_MOST_NESTED} deep")
                if nodes[name] > _MOST_NODES:
                    raise damaged(f"its function {name!r} comes to {nodes[name]} nodes")


def _function_attributes(function: FunctionDef) -> Iterator[Any]:
    yield from function.attr.values()
    for arguments in function.arg_attr.values():
        yield from arguments.attr.values()
    for argument in (*function.signature.input_arg, *function.signature.output_arg):
        for handle in argument.handle_data:
            _check_shape(handle.shape)


def _stated_bytes(value: Any) -> int:
    """How many bytes the tensors of an attribute say that they take; a look at its shapes on the way."""
    for shape in (value.shape, *value.list.shape) if _has_shapes(value) else ():
        _check_shape(shape)
    tensors = [value.tensor] if value.HasField("tensor") else list(value.list.tensor)
    inner = [v for function in called_functions(value) for v in function.attr.values()]
    return sum(map(_tensor_bytes, tensors)) + sum(map(_stated_bytes, inner))


def _has_shapes(value: Any) -> bool:
    return value.HasField("shape") or bool(value.list.shape)


def _tensor_bytes(tensor: Any) -> int:
    count = _check_shape(tensor.tensor_shape, known=True)
    try:
        dtype = tf.as_dtype(tensor.dtype)
    except TypeError:
        raise damaged(f"a constant has the dtype {tensor.dtype}, which does not exist") from None
    if dtype in _OPAQUE:
        raise damaged(f"a constant is of the dtype {dtype.name}, whose values no file can hold")
    return count * (24 if dtype == tf.string else max(dtype.size, 1))


def _check_shape(shape: Any, known: bool = False) -> int:
    """The number of elements of a shape, with 1 for each open axis; raise if TensorFlow could not hold it."""
    sizes = [dim.size for dim in shape.dim]
    if any(size < (0 if known else -1) for size in sizes) or (known and shape.unknown_rank):
        raise damaged(f"a tensor has the shape {sizes[:10]}")
    count = math.prod(size for size in sizes if size >= 0)
    if count >= 2**62 or math.prod(size for size in sizes if size > 0) >= 2**62 or len(sizes) > 254:
        raise damaged(f"a tensor has the shape {sizes[:10]}")
    return count
