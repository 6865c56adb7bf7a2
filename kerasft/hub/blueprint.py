"""Blueprint: the stages of a SavedModel as data, from which any number of models is made."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from kerasft.hub.divide import Part, divide
from kerasft.hub.flat_graph import FlatGraph
from kerasft.hub.flatten import flatten
from kerasft.hub.graph_check import damaged
from kerasft.hub.graph_function import GraphFunction
from kerasft.hub.memory import folder_fingerprint
from kerasft.hub.saved_model_check import check_saved_model
from kerasft.hub.signature import (
    Function,
    InputShape,
    Keys,
    inputs_of,
    is_flag,
    outputs_of,
)
from kerasft.hub.stage_names import layer_paths
from kerasft.stages import BatchNormPolicy


@dataclass(frozen=True)
class Weight:
    """A weight as the SavedModel has it.

    Attributes:
        name: Its layer's path and its own name, with dots.
        variable: Name of the variable.
        value: Its value, in the host's memory.
        trainable: Whether it can train.
    """

    name: str
    variable: str
    value: tf.Tensor
    trainable: bool


@dataclass(frozen=True)
class Blueprint:
    """A SavedModel without its variables, functions and graphs.

    Attributes:
        parts: The stages in order.
        weights: The parts' weights, by the index that the parts have for them.
        inputs: Name, shape with the batch, and dtype of each input.
        structure: How callers pass the inputs: by these keys in a dict, or as so many arguments.
        names: Names of the outputs; None for a single one without a name.
        regularizers: Regularization losses: functions of the weights of these indices.
        notes: Messages for the log of each load: level, and text after the handle.
    """

    parts: Sequence[Part]
    weights: Mapping[int, Weight]
    inputs: Sequence[tf.TensorSpec]
    structure: Keys
    names: Sequence[str] | None
    regularizers: Sequence[tuple[GraphFunction, Sequence[int]]]
    notes: Sequence[tuple[int, str]]

    @property
    def nbytes(self) -> int:
        """How much memory weights and graphs take, in bytes."""
        graphs = [g for part in self.parts for g in (part.inference, part.training) if g is not None]
        values = [weight.value for weight in self.weights.values()]
        return sum(len(g.graph) for g in graphs) + sum(v.shape.num_elements() * v.dtype.size for v in values)


def read(
    path: str,
    input_shape: InputShape,
    output: str | None,
    stages: int | None,
    batch_norm: BatchNormPolicy,
    trust: bool,
) -> Blueprint:
    """Open the SavedModel in a folder and divide it.

    Args:
        path: The folder.
        input_shape: As in `kerasft.hub.load_backbone`.
        output: As in `load_backbone`.
        stages: As in `load_backbone`.
        batch_norm: As in `load_backbone`. Policies other than "inference" need the graph for training.
        trust: As in `load_backbone`.

    Raises:
        TypeError, ValueError: As in `load_backbone`.
    """
    loaded = _load(path, trust)
    variables = _variables(loaded)
    functions = _concrete_functions(loaded.__call__)
    inputs, structure = inputs_of(functions[0], input_shape)
    names, selected = outputs_of(functions[0], output)
    notes = []

    def divided(*functions: Function) -> tuple[FlatGraph, list[Part], str | None]:
        graphs = []
        for function, training in zip(functions, (False, True), strict=False):
            tensors = [t for t, _ in inputs_of(function, input_shape)[0]]
            outputs = [function.outputs[i] for i in selected]
            graphs.append(flatten(function, tensors, outputs, variables, training))
        parts, reason = divide(graphs[0], graphs[1] if len(graphs) > 1 else None, variables, stages)
        for graph in (g for part in parts for g in (part.inference, part.training)):
            if graph is not None and not trust:
                graph.check_ops()
        return graphs[0], parts, reason

    try:
        inference, parts, reason = divided(*functions)
    except ValueError as error:
        if batch_norm != "inference" or len(functions) == 1:
            raise
        notes.append((logging.INFO, f"is loaded without its graph for training: {error}"))
        inference, parts, reason = divided(functions[0])
    if reason:
        notes.append((logging.WARNING, f"is a single stage. {reason}"))
    regularizers = _regularizers(loaded, variables)
    if not trust:
        for graph, _ in regularizers:
            graph.check_ops()
    if any(sum(not set(order).isdisjoint(p.variables) for p in parts) > 1 for _, order in regularizers):
        text = (
            "has a regularization loss of weights in several stages, which is left out. "
            "Load it with stages=1 to keep it."
        )
        notes.append((logging.WARNING, text))
    weights = _weights(loaded, variables, inference, [i for part in parts for i in part.variables])
    specs = [spec for _, spec in inputs]
    return Blueprint(parts, weights, specs, structure, names, regularizers, notes)


def _weights(
    loaded: Any, variables: Sequence[tf.Variable], graph: FlatGraph, indices: Sequence[int]
) -> dict[int, Weight]:
    """The variables of these indices as weights, copied to the host's memory."""
    paths = layer_paths(graph, variables)
    can_train = {id(v.handle) for v in getattr(loaded, "trainable_variables", [])} or {
        id(v.handle) for v in variables if v.trainable
    }
    weights = {}
    for index in indices:
        variable, path = variables[index], paths.get(index, "")
        full_name = variable.name.split(":")[0]
        last = full_name.split("/")[-1]
        name = (path if path.endswith(last) else f"{path}/{last}").strip("/").replace("/", ".")
        with tf.device("CPU:0"):
            value = tf.identity(variable)
        weights[index] = Weight(name, full_name, value, id(variable.handle) in can_train)
    return weights


def _load(path: str, trust: bool) -> Any:
    """Load a reusable TF2 SavedModel; raise ValueError, which says why, for any other folder."""
    if tf.io.gfile.exists(os.path.join(path, "tfhub_module.pb")):
        raise ValueError(
            f"{path} is in the TF1 Hub format, whose graph can't be trained by TensorFlow 2. "
            "Look for the TF2 version of the model."
        )
    if not tf.saved_model.contains_saved_model(path):
        raise ValueError(
            f"{path} holds no saved_model.pb. It has {sorted(tf.io.gfile.listdir(path))[:10]}. "
            "Give the folder of a TF2 SavedModel."
        )
    before = folder_fingerprint(path)
    if not trust:
        check_saved_model(path)
    try:
        loaded = tf.saved_model.load(path)
    except (LookupError, AttributeError, TypeError, AssertionError, tf.errors.OpError) as error:
        raise damaged(f"TensorFlow can't open {path} ({error!r})") from error
    if folder_fingerprint(path) != before:
        raise ValueError(f"{path} was written anew while it was read. Load it again once it is whole.")
    if not callable(loaded):
        signatures = sorted(getattr(loaded, "signatures", {}))
        raise ValueError(
            f"The SavedModel in {path} has no `__call__`, only the signatures {signatures}: it was exported "
            "for serving and can't be fine-tuned. Export it as a reusable SavedModel "
            "(kerasft.export.to_saved_model(model, path, reusable=True))."
        )
    return loaded


def _variables(loaded: Any) -> list[tf.Variable]:
    """All variables of a loaded object, each once."""
    listed = [*getattr(loaded, "variables", [])]
    for function in _restored(loaded.__call__):
        listed += function.variables
    return list({id(v.handle): v for v in listed}.values())


def _restored(call: Any) -> list[Function]:
    """The concrete functions of a restored function."""
    return list(getattr(call, "concrete_functions", [call]))


def _concrete_functions(call: Any) -> list[Function]:
    """The function for inference and, if there is one, that for training."""
    found: dict[bool, Function] = {}
    for function in _restored(call):
        leaves = tf.nest.flatten(function.structured_input_signature)
        flags = [leaf for leaf in leaves if isinstance(leaf, bool)]
        found.setdefault(any(flags), function)
        if not flags and any(is_flag(leaf) for leaf in leaves):
            found.setdefault(True, function)
    if not found:
        raise ValueError(
            "The SavedModel's `__call__` was never traced, so it holds no graph. Call it once, or give it "
            "an input_signature, before saving."
        )
    return [found.get(False, found.get(True)), *([found[True]] if True in found else [])]


def _regularizers(loaded: Any, variables: Sequence[tf.Variable]) -> list[tuple[GraphFunction, list[int]]]:
    """The regularization losses: functions of the variables of these indices."""
    found = []
    for loss in getattr(loaded, "regularization_losses", []) or []:
        function = _restored(loss)[0] if callable(loss) else None
        if function is None:
            continue
        graph = flatten(function, [], function.outputs, variables, training=True)
        order = sorted(graph.variables(graph.outputs))
        found.append((graph.extract([], graph.outputs, order), order))
    return found
