"""Blueprint: the stages of a SavedModel as data, from which any number of models is made."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from kerasft.hub.arguments import Arguments, Bound, Function, choose
from kerasft.hub.batch import check_batch
from kerasft.hub.divide import Part, divide
from kerasft.hub.flat_graph import FlatGraph, with_output_shapes
from kerasft.hub.flatten import flatten
from kerasft.hub.graph_check import damaged
from kerasft.hub.graph_function import GraphFunction
from kerasft.hub.memory import folder_fingerprint
from kerasft.hub.saved_model_check import check_saved_model
from kerasft.hub.signature import InputShape, Output, inputs_of, outputs_of
from kerasft.hub.stage_names import layer_paths
from kerasft.hub.text_part import text_part
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
        structure: How callers pass the inputs: a structure of their positions in `inputs`.
        returned: What the model returns: a structure of positions among the outputs that the parts make.
        regularizers: Regularization losses: functions of the weights of these indices.
        notes: Messages for the log of each load: level, and text after the handle.
    """

    parts: Sequence[Part]
    weights: Mapping[int, Weight]
    inputs: Sequence[tf.TensorSpec]
    structure: Any
    returned: Any
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
    output: Output,
    stages: int | None,
    batch_norm: BatchNormPolicy,
    trust: bool,
    arguments: Arguments = None,
    signature: str | None = None,
    map_batch: bool = False,
) -> Blueprint:
    """Open the SavedModel in a folder and divide it.

    Args:
        path: The folder.
        input_shape: As in `kerasft.hub.load_backbone`.
        output: As in `load_backbone`.
        stages: As in `load_backbone`.
        batch_norm: As in `load_backbone`. Policies other than "inference" need the graph for training.
        trust: As in `load_backbone`.
        arguments: As in `load_backbone`.
        signature: As in `load_backbone`.
        map_batch: As in `load_backbone`.

    Raises:
        TypeError, ValueError: As in `load_backbone`.
    """
    loaded = _load(path, trust)
    notes = []
    what, call = entry(loaded, path, signature)
    functions = [bound for bound in choose(call, arguments, what) if bound is not None]
    if what != "__call__":
        text = f"is loaded from its signature {what!r}, for inference: "
        text += "thawed stages train, but with no dropout, and statistics stay as they are."
        notes.append((logging.INFO, text if len(functions) == 1 else f"is loaded from {what!r}."))
    variables = _variables(loaded, call)
    inputs, structure = inputs_of(functions[0], input_shape, map_batch)
    if map_batch:
        functions = functions[:1]
    returned, selected = outputs_of(functions[0].function, output)

    def divided(*functions: Bound) -> tuple[FlatGraph, list[Part], str | None]:
        graphs = []
        for bound in functions:
            outputs = [bound.function.outputs[i] for i in selected]
            graph = flatten(bound.function, bound.placeholders, outputs, variables, bound.constants)
            graph.set_input_shapes(spec.shape for _, spec in inputs)
            if not trust:
                graph.check_ops()
            graphs.append(with_output_shapes(graph, (tensor.shape for tensor in outputs)))
        text = None if map_batch else text_part(graphs, variables)
        rest = graphs if text is None else text.rest
        parts, reason = divide(rest[0], rest[1] if len(rest) > 1 else None, variables, stages, map_batch)
        return graphs[0], parts if text is None else text.before(parts), reason

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
    if map_batch:
        specs = [tf.TensorSpec([None, *spec.shape], spec.dtype, name=spec.name) for spec in specs]
    else:
        check_batch(inference, specs, variables)
    return Blueprint(parts, weights, specs, structure, returned, regularizers, notes)


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
    return loaded


def entry(loaded: Any, path: str, signature: str | None) -> tuple[str, Any]:
    """The function of a loaded SavedModel that makes the backbone, and its name.

    Raises:
        ValueError: There is none of that name, or several, of which none is meant more than others.
    """
    call = loaded.__call__ if callable(loaded) else None
    signatures = dict(getattr(loaded, "signatures", {}))
    names = sorted(signatures.keys() - {"serving_default"}) or sorted(signatures)
    if signature is None and call is not None and (_restored(call) or not names):
        return "__call__", call
    if signature is None and len(names) != 1:
        raise ValueError(
            f"The SavedModel in {path} has no `__call__` that was traced, and the signatures "
            f"{names}: say which one is the backbone by signature=."
            if names
            else f"The SavedModel in {path} has neither a `__call__` nor a signature: it holds no network. "
            "Save the module with a `__call__` (kerasft.export.to_saved_model(model, path, reusable=True))."
        )
    name = names[0] if signature is None else signature
    if name == "__call__" and call is not None:
        return name, call
    if name not in signatures:
        exist = [*(["__call__"] if call is not None else []), *sorted(signatures)]
        raise ValueError(f"The SavedModel in {path} has no signature {name!r}. It has {exist}.")
    own = getattr(loaded, name, None)  # the function itself, with inputs and outputs as its author has them
    return name, own if getattr(own, "concrete_functions", None) else signatures[name]


def _variables(loaded: Any, call: Any) -> list[tf.Variable]:
    """All variables of a loaded object, each once."""
    listed = [*getattr(loaded, "variables", [])]
    for function in _restored(call):
        listed += function.variables
    return list({id(v.handle): v for v in listed}.values())


def _restored(call: Any) -> list[Function]:
    """The concrete functions of a restored function."""
    return list(getattr(call, "concrete_functions", [call]))


def _regularizers(loaded: Any, variables: Sequence[tf.Variable]) -> list[tuple[GraphFunction, list[int]]]:
    """The regularization losses: functions of the variables of these indices."""
    found = []
    for loss in getattr(loaded, "regularization_losses", []) or []:
        function = _restored(loss)[0] if callable(loss) else None
        if function is None:
            continue
        graph = flatten(function, [], function.outputs, variables)
        order = sorted(graph.variables(graph.outputs))
        found.append((graph.extract([], graph.outputs, order), order))
    return found
