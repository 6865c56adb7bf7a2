"""A copy of the original's head, and the tensor of the fine-tuned model that it reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import networkx
import numpy as np

from kerasft import _keras
from kerasft.retention.pairing import Pairs
from kerasft.stages import Stages

_SAMPLES = 3


def old_scores(pairs: Pairs, original: keras.Model | Stages) -> list[keras.KerasTensor]:
    """What a copy of the original's head gives for the model's backbone.

    The copy reads the first tensor that all later layers are computed from. That it has the same values in
    both models is measured on random samples, with the pre-trained weights in both.

    Args:
        pairs: The model, and what it shares with the original.
        original: The original.

    Raises:
        ValueError: There is no such tensor, the original has no head, or the values differ.
    """
    root = original.model if isinstance(original, Stages) else original
    mine = _end_of_body(pairs.stages.model, pairs.variables)
    theirs = _end_of_body(root, pairs.theirs)
    own = {id(v) for v in pairs.theirs}
    if all(id(v) in own for v in root.weights):
        raise ValueError(
            f"with_original_head: {root.name!r} has no weights beyond those of {pairs.stages.model.name!r}, "
            "so no head of its own. Give the model with the head that it was trained with."
        )
    _check_same(pairs, root, mine, theirs)
    head = keras.Model(theirs, root.outputs)
    copy = keras.models.clone_model(head, clone_function=_renamed)
    copy.set_weights(head.get_weights())
    return list(keras.tree.flatten(copy.call(mine)))  # not copy(mine): a model in the model is a backbone


def inputs_of(model: keras.Model) -> Any:
    """The symbolic inputs of a model, in the structure in which it takes them."""
    return model.inputs[0] if isinstance(model, keras.Sequential) else model.input


def _renamed(layer: keras.Layer) -> keras.Layer:
    config = layer.get_config()
    return type(layer).from_config({**config, "name": f"original_{config['name']}"})


def _end_of_body(model: keras.Model, body: Sequence[keras.Variable]) -> keras.KerasTensor:
    """The first tensor that comes after all weights of the body, and that all the rest is computed from."""
    calls = _keras.calls(model)
    if calls is None:
        raise ValueError(
            f"with_original_head: {model.name!r} is a subclassed model: Keras does not know where its head "
            "begins. Build it as a Functional model, keras.Model(inputs, outputs)."
        )
    own = {id(v) for v in body}
    producer = {id(t): i for i, call in enumerate(calls) for t in call.outputs}
    graph = networkx.DiGraph()
    graph.add_nodes_from(range(len(calls)))
    graph.add_edges_from((producer[id(t)], i) for i, call in enumerate(calls) for t in call.inputs)
    weights = [[id(v) for v in getattr(call.operation, "weights", ())] for call in calls]
    holds_body = {i for i, ids in enumerate(weights) if any(v in own for v in ids)}
    holds_rest = {i for i, ids in enumerate(weights) if any(v not in own for v in ids)}
    sinks = {producer[id(t)] for t in model.outputs}
    for node in networkx.lexicographical_topological_sort(graph):
        before = {node, *networkx.ancestors(graph, node)}
        if not holds_body <= before or holds_rest & before or len(calls[node].outputs) != 1:
            continue
        without = graph.subgraph(set(graph) - {node})
        reached = set().union(*(networkx.descendants(without, i) | {i} for i in holds_body - {node}))
        if not (holds_rest | sinks) & reached:
            return calls[node].outputs[0]
    raise ValueError(
        f"with_original_head: the backbone of {model.name!r} does not end in one tensor that the head is "
        "computed from."
    )


def _check_same(
    pairs: Pairs, original: keras.Model, mine: keras.KerasTensor, theirs: keras.KerasTensor
) -> None:
    model = pairs.stages.model
    rng = np.random.default_rng(0)
    x = keras.tree.map_structure(lambda tensor: _random(tensor, rng), inputs_of(model))
    now = [v.numpy() for v in pairs.variables]
    try:
        for variable, value in zip(pairs.variables, pairs.values, strict=True):
            variable.assign(value)
        a = _values(model, mine, x)
        b = _values(original, theirs, x) if mine.shape == theirs.shape else None
    finally:
        for variable, value in zip(pairs.variables, now, strict=True):
            variable.assign(value)
    if b is None or not np.allclose(a, b, rtol=1e-4, atol=1e-4 * max(1.0, float(np.abs(a).max()))):
        raise ValueError(
            f"with_original_head: with the same weights, the backbones of {model.name!r} and "
            f"{original.name!r} compute something else: {tuple(mine.shape)} and {tuple(theirs.shape)}"
            f"{'' if b is None else f', which differ by up to {float(np.abs(a - b).max()):.3g}'}. Give both "
            "models the same layers (and preprocessing) before the head."
        )


def _random(tensor: keras.KerasTensor, rng: np.random.Generator) -> np.ndarray:
    shape = (_SAMPLES, *(8 if size is None else size for size in tensor.shape[1:]))
    if "float" not in tensor.dtype:
        return rng.integers(0, 2, shape).astype(tensor.dtype)
    return rng.uniform(0, 1, shape).astype(tensor.dtype)


def _values(model: keras.Model, tensor: keras.KerasTensor, x: Any) -> np.ndarray:
    return np.asarray(keras.Model(inputs_of(model), tensor)(x, training=False))
