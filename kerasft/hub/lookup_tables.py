"""Lookup tables as pure functions of tensors: what a table holds becomes constants of the graph.

A table is a resource of the process, filled from a file or from constants while a SavedModel is opened. A
layer can hold none, so a look-up becomes a search among the table's keys: by their sorted hashes, and then by
the key itself. It gives the same, needs no file, and is stored with the graph.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from kerasft.hub.graph_def import NodeDef, constant_node, nodes_under

_MOST_CODES = 2**63 - 1


def constants_for_tables(nodes: dict[str, NodeDef], tables: Mapping[str, tf.Tensor]) -> None:
    """Replace every use of a table by a search among what it holds now.

    Args:
        nodes: The nodes of a flat graph by name; changed in place.
        tables: Tensors that are handles of resources, none of them a variable, and these resources.

    Raises:
        ValueError: A resource is no table, a table is changed, or it is used inside a loop or a branch.
    """
    for name, node in list(nodes.items()):
        held = [tables[tensor] for tensor in node.input if tensor in tables]
        if not held:
            continue
        if node.op == "LookupTableFindV2":
            nodes |= {new.name: new for new in _search(node, held[0])}
        elif node.op == "LookupTableSizeV2":
            nodes[name] = constant_node(name, tf.raw_ops.LookupTableSizeV2(table_handle=held[0]).numpy())
        else:
            raise ValueError(
                f"The SavedModel uses a resource that is no variable by {node.op!r}, which can't become part "
                "of a Keras layer: a lookup table can, where it is only read, and not inside a loop or a "
                "branch. Do that preprocessing in the input pipeline (`Dataset.map`), and load the network "
                "without it."
            )


def _search(node: NodeDef, table: tf.Tensor) -> list[NodeDef]:
    """The nodes that give what a look-up gives, of which the last has its name."""
    key, value = (tf.as_dtype(node.attr[name].type) for name in ("Tin", "Tout"))
    content = tf.raw_ops.LookupTableExportV2(table_handle=table, Tkeys=key, Tvalues=value)
    codes = _codes(content.keys).numpy()
    order = np.argsort(codes, kind="stable")
    codes, keys, values = codes[order], content.keys.numpy()[order], content.values.numpy()[order]
    same = np.flatnonzero(codes[1:] == codes[:-1])
    if same.size or values.ndim != 1:
        what = (
            f"the keys {keys[same[0]]!r} and {keys[same[0] + 1]!r}, of one hash" if same.size else "vectors"
        )
        raise ValueError(f"A table of the SavedModel holds {what}, which can't become part of a Keras layer.")
    name = node.name
    constants = {f"{name}/keys": keys, f"{name}/codes": codes, f"{name}/values": values}
    with tf.Graph().as_default() as graph:
        asked, default = tf.compat.v1.placeholder(key), tf.compat.v1.placeholder(value, ())
        shape = (codes.size,)
        known, sorted_codes, results = (tf.compat.v1.placeholder(t, shape) for t in (key, tf.int64, value))
        result = tf.fill(tf.shape(asked), default)
        if codes.size:
            flat = tf.reshape(asked, [-1])
            place = tf.minimum(tf.searchsorted(sorted_codes, _codes(flat)), codes.size - 1)
            is_there = tf.equal(tf.gather(known, place), flat)
            result = tf.reshape(tf.where(is_there, tf.gather(results, place), default), tf.shape(asked))
        tf.identity(result, "end")
    places = (asked, default, known, sorted_codes, results)
    taken = (node.input[1], node.input[2], *(f"{n}:0" for n in constants))
    nodes = nodes_under(name, graph, {t.op.name: tensor for t, tensor in zip(places, taken, strict=True)})
    return [*(constant_node(n, content) for n, content in constants.items()), *nodes]


def _codes(keys: tf.Tensor) -> tf.Tensor:
    """A whole number for each key; TensorFlow's tables have keys of strings or whole numbers."""
    return (
        tf.strings.to_hash_bucket_fast(keys, _MOST_CODES)
        if keys.dtype == tf.string
        else tf.cast(keys, tf.int64)
    )
