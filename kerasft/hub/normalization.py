"""scales_and_offsets: the weights of batch normalization, found in a graph by their use."""

from __future__ import annotations

from collections.abc import Sequence

import networkx
import tensorflow as tf

from kerasft.hub.flat_graph import FlatGraph
from kerasft.hub.graph_def import node_of


def scales_and_offsets(
    inference: FlatGraph, variables: Sequence[tf.Variable], statistics: set[int]
) -> tuple[set[int], set[int]]:
    """Find the scales and offsets of batch normalization by how they meet the moving statistics.

    In inference mode they do so before any data comes in: `x * s + (offset - mean * s)`, where
    `s = scale / sqrt(variance + epsilon)`, as TensorFlow and Keras compute it; or as arguments of one
    FusedBatchNorm. The names of variables are not looked at.

    Args:
        inference: The graph for inference.
        variables: The SavedModel's variables.
        statistics: Indices of the variables that training mode updates.

    Returns:
        Indices of the scales and offsets, and of the statistics for which these can't be told: those that
        meet data alone, as in `(x - mean) / deviation * scale + offset`, or weights of another size.
    """
    graph = inference.graph
    data = {node_of(t) for t in inference.inputs}
    data |= {n for root in data for n in networkx.descendants(graph, root)}
    roots = [name for name, index in inference.reads.items() if index in statistics]
    after = {n for root in roots for n in networkx.descendants(graph, root)} & inference.needed
    scales: set[int] = set()
    alone = statistics & inference.variables(inference.outputs)
    mixed: set[int] = set()
    for name in after:
        node = inference.nodes[name]
        fused = node.op.startswith("FusedBatchNorm")
        if name in data and not fused:
            continue
        met = inference.variables(node.input[1:5] if fused else node.input)
        if len({variables[i].shape.num_elements() for i in met}) > 1:
            mixed |= met & statistics
        elif len(met) > 1:
            alone -= met
            scales |= met - statistics
    return scales, alone | mixed
