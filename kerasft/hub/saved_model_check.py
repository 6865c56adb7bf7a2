"""Look at a SavedModel before TensorFlow opens it, for opening runs parts of it.

`tf.saved_model.load` calls the functions that make and fill the model's tables, those that restore saved
objects, and whatever hangs on an object under a name that it calls itself. While it builds a function it
computes shapes, and with them what they are made of: a `ReadFile` there reads its file. So the protocol
buffer is read here as data, and none of that may leave the model.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from kerasft import _keras
from kerasft.hub.allowed_ops import ALLOWED_OPS
from kerasft.hub.flatten import parse_saved_model
from kerasft.hub.graph_check import check_structure, damaged, reachable
from kerasft.hub.graph_def import FunctionDef

_MOST_BYTES = 2**31  # a protocol buffer can't be larger

# Beside arithmetic: variables and tables of the model, which are filled while it is opened.
_OPENING_OPS = ALLOWED_OPS | frozenset(
    """
    AssignAddVariableOp AssignSubVariableOp AssignVariableOp DestroyResourceOp ReadVariableOp
    VarIsInitializedOp VariableShape
    AnonymousHashTable AnonymousMutableDenseHashTable AnonymousMutableHashTable HashTableV2
    AnonymousMutableHashTableOfTensors InitializeTableV2 LookupTableExportV2 LookupTableFindV2
    LookupTableImportV2 LookupTableInsertV2 LookupTableRemoveV2 LookupTableSizeV2 MutableDenseHashTableV2
    MutableHashTableOfTensorsV2 MutableHashTableV2
    """.split()
)
_FROM_FILE = "InitializeTableFromTextFileV2"  # allowed for a file among the model's own assets

# Operations without state, which TensorFlow may run to work out a shape in any function, that reach outside.
_OUTSIDE = re.compile(
    "Abort|^Copy(Host)?$|Dataset|Debug|File(?!name|spec)|ImmutableConst|Proto|PyFunc|Reader|VocabRemapping"
)

# Names of functions that TensorFlow only keeps; it calls those that begin with an underscore as it opens.
_KEPT = re.compile(r"__call__|_default_save_signature|(?!_).*")


def check_saved_model(path: str) -> None:
    """Raise ValueError if TensorFlow would leave the model, or end, while it opens a SavedModel.

    Args:
        path: A folder that holds a SavedModel.

    Raises:
        ValueError: What runs while the model is opened holds operations that are not known to be safe; its
            graph is damaged; it has the format of TensorFlow 1; or its variables say that they take more
            than their files hold.
    """
    content = _read(path)
    model = parse_saved_model(content)
    if len(model.meta_graphs) != 1 or not model.meta_graphs[0].HasField("object_graph_def"):
        signatures = sorted({name for graph in model.meta_graphs for name in graph.signature_def})
        raise ValueError(
            f"The SavedModel in {path} has the format of TensorFlow 1, with no `__call__`, only the "
            f"signatures {signatures}: it can't be fine-tuned. Look for the TF2 version of the model."
        )
    graph, objects = model.meta_graphs[0].graph_def, model.meta_graphs[0].object_graph_def
    check_structure(graph, len(content))
    library = {f.signature.name: f for f in graph.library.function}
    _check_references(objects, library)
    assets = [asset.filename for asset in model.meta_graphs[0].asset_file_def]
    if out := [name for name in assets if {"", ".", ".."} & {*name.split("/")} or {"\\", ":"} & {*name}]:
        raise damaged(f"its assets {out[:3]} lie outside of its folder")
    used = {node.op for function in library.values() for node in function.node_def}
    foreign = {op for op in used if _OUTSIDE.search(op) and _keras.is_stateless(op)}
    opening = {name for node in _called_by_tensorflow(objects) for name in _functions(objects, node)}
    for function in reachable(opening, library).values():
        for node in function.node_def:
            known = node.op in _OPENING_OPS or node.op in library
            if not known and not (node.op == _FROM_FILE and _reads_an_asset(function, node, objects)):
                foreign.add(node.op)
    if foreign:
        raise ValueError(
            f"The SavedModel in {path} holds operations that reach outside the model or are not known to be "
            f"safe: {sorted(foreign)}. TensorFlow may run them while it opens the model, so it was not "
            "opened. If you trust where it comes from, load it with load_backbone(..., trust=True)."
        )
    _check_variables(path)


def _read(path: str) -> bytes:
    file = os.path.join(path, "saved_model.pb")
    other = [
        name
        for name in ("saved_model.cpb", "saved_model.pbtxt")
        if tf.io.gfile.exists(os.path.join(path, name))
    ]
    if other or not tf.io.gfile.exists(file):
        raise ValueError(
            f"{path} holds {other}, which can't be checked before TensorFlow opens it; saved_model.pb can. "
            "If you trust where the model comes from, load it with load_backbone(..., trust=True)."
        )
    if os.path.lexists(file) and not os.path.isfile(file):
        raise ValueError(f"{file} is no file. Give the folder of a SavedModel.")
    if (size := tf.io.gfile.stat(file).length) > _MOST_BYTES:
        raise damaged(f"{file} takes {size} bytes, which no protocol buffer can")
    with tf.io.gfile.GFile(file, "rb") as opened:
        return bytes(opened.read())


def _check_references(objects: Any, library: dict[str, FunctionDef]) -> None:
    """Raise ValueError if an object refers to one, or to a function, that is not there."""
    count = len(objects.nodes)
    used = [node for f in objects.concrete_functions.values() for node in f.bound_inputs]
    for node in objects.nodes:
        used += [r.node_id for r in (*node.children, *node.dependencies)]
        for saver in node.saveable_objects.values():
            used += [saver.save_function, saver.restore_function]
        for slot in node.slot_variables:
            used += [slot.original_variable_node_id, slot.slot_variable_node_id]
    names = [name for node in range(count) for name in _names(objects.nodes[node])]
    if not count or any(not 0 <= node < count for node in used):
        raise damaged(f"it refers to an object that is not among its {count}")
    if missing := sorted({*names, *objects.concrete_functions} - library.keys()):
        raise damaged(f"it refers to the functions {missing[:5]}, which are not in it")


def _called_by_tensorflow(objects: Any) -> Iterator[int]:
    """The objects that TensorFlow may call while it opens the model."""
    for node in objects.nodes:
        kind = node.WhichOneof("kind")
        for reference in (*node.children, *node.dependencies):
            name = reference.local_name
            kept = _KEPT.fullmatch(name) if kind == "user_object" else re.fullmatch(r"trace_\d+", name)
            if not kept:
                yield reference.node_id
        for saver in node.saveable_objects.values():
            yield from (saver.save_function, saver.restore_function)


def _functions(objects: Any, node: int) -> Iterator[str]:
    """The functions that run when an object is called."""
    stack, seen = [node], set[int]()
    while stack:
        if (number := stack.pop()) in seen:
            continue
        seen.add(number)
        yield from _names(objects.nodes[number])
        stack += [r.node_id for r in objects.nodes[number].children if r.local_name == "__call__"]


def _names(node: Any) -> list[str]:
    """The functions that an object of the graph is."""
    if node.WhichOneof("kind") == "bare_concrete_function":
        return [node.bare_concrete_function.concrete_function_name]
    return list(node.function.concrete_functions) if node.WhichOneof("kind") == "function" else []


def _reads_an_asset(function: FunctionDef, node: Any, objects: Any) -> bool:
    """Whether the file from which a node fills a table is one of the model's own assets."""
    saved = objects.concrete_functions
    arguments = [argument.name for argument in function.signature.input_arg]
    if function.signature.name not in saved or len(node.input) < 2 or node.input[1] not in arguments:
        return False
    bound = saved[function.signature.name].bound_inputs
    place = arguments.index(node.input[1]) - len(arguments) + len(bound)
    return 0 <= place < len(bound) and objects.nodes[bound[place]].WhichOneof("kind") == "asset"


def _check_variables(path: str) -> None:
    """Raise ValueError if the variables say that they take more than their files hold."""
    prefix = os.path.join(path, "variables", "variables")
    if not tf.io.gfile.exists(f"{prefix}.index"):
        return  # TensorFlow says what it misses
    try:
        reader = tf.train.load_checkpoint(prefix)
        shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        raise damaged(f"{prefix}.index can't be read ({error})") from None
    stated = sum(math.prod(shapes[name]) * dtypes[name].size for name in shapes)
    held = sum(tf.io.gfile.stat(f).length for f in tf.io.gfile.glob(f"{prefix}.data-*"))
    if stated > held:
        raise damaged(f"its variables take {stated} bytes, and their files hold {held}")
