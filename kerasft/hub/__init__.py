"""TF Hub backbones as ordinary Keras 3 models, divided into stages that freeze and thaw one by one."""

from __future__ import annotations

import logging
import os
import re
import urllib.error
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from kerasft.hub.cut import Part, divide, layer_paths
from kerasft.hub.graph import FlatGraph, flatten
from kerasft.hub.layer import BatchNormPolicy, HubStage, check_policy

__all__ = ["HubStage", "load_backbone", "resolve"]

logger = logging.getLogger(__name__)

_KAGGLE = re.compile(r"\w[\w.-]*(/\w[\w.-]*){3,4}")


def load_backbone(
    handle: str | os.PathLike[str],
    trainable: bool = True,
    batch_norm: BatchNormPolicy = "inference",
    input_shape: Sequence[int | None] | Mapping[str, Sequence[int | None]] | None = None,
    output: str | None = None,
    stages: int | None = None,
    trust: bool = False,
) -> keras.Model:
    """Load a TF2 SavedModel as a Functional Keras 3 model whose layers are its stages.

    The dataflow graph is cut at the tensors that every path from input to output passes through; each
    `HubStage` between two cuts owns its weights. Outputs equal those of the uncut SavedModel.

    Args:
        handle: What tensorflow-hub resolves: a URL, a Kaggle model handle
            (`owner/model/framework/variation/version`), or a folder.
        trainable: Whether the stages begin thawed.
        batch_norm: "inference" keeps all stages in inference mode (moving statistics stay, and dropout
            inside the backbone is off). "train" lets a thawed stage train as its authors made it and
            update its moving statistics. "statistics" does so too, but the scale and offset of batch
            normalization stay. A frozen stage never moves. `kerasft.freeze` can override this later.
        input_shape: Shape of one sample, without the batch, such as `(96, 96, 3)`; a mapping by name for
            several inputs. None takes what the SavedModel says.
        output: Which output to return, if the SavedModel has several by name; None returns all in a dict.
        stages: Merge neighbours into that many stages, balanced by parameters. None makes one for each
            block of the network.
        trust: Allow operations that could read files or run code. Off, they are refused.

    Returns:
        A Functional model; a backbone that can't be cut is a single stage, and the log says why.

    Raises:
        FileNotFoundError: The folder does not exist.
        ConnectionError: The handle can't be downloaded.
        TypeError, ValueError: An argument is wrong; the model is in TF1 Hub format, has no `__call__`,
            no weights, holds operations that are refused, or an input shape that does not fit.

    Example:
        ```python
        backbone = kerasft.hub.load_backbone("path/to/feature_vector", input_shape=(96, 96, 3))
        inputs = keras.Input((96, 96, 3))
        model = keras.Model(inputs, keras.layers.Dense(10)(backbone(inputs)))
        ```

    References:
        Reusable SavedModels, the interface that TF Hub's models have:
        https://www.tensorflow.org/hub/reusable_saved_models
    """
    check_policy(batch_norm)
    if isinstance(input_shape, int):
        raise TypeError(
            f"input_shape lists all axes but the batch, as in (96, 96, 3); received {input_shape}."
        )
    loaded = _load(resolve(handle))
    variables = _variables(loaded)
    functions = _concrete_functions(loaded.__call__)
    inputs, structure = _inputs(functions[False], input_shape)
    names, selected = _outputs(functions[False], output)

    def divided(*modes: bool) -> tuple[FlatGraph, list[Part], str | None]:
        graphs = []
        for training in modes:
            function = functions[training]
            tensors = [t for t, _ in _inputs(function, input_shape)[0]]
            outputs = [function.outputs[i] for i in selected]
            graphs.append(flatten(function, tensors, outputs, variables, training))
        parts, reason = divide(graphs[0], graphs[1] if len(graphs) > 1 else None, variables, stages)
        for graph in (g for part in parts for g in (part.inference, part.training)):
            if graph is not None and not trust:
                graph.check_ops()
        return graphs[0], parts, reason

    try:
        inference, parts, reason = divided(False, *([True] if functions[True] is not None else []))
    except ValueError as error:
        if batch_norm != "inference" or functions[True] is None:
            raise
        logger.info("%s is loaded without its graph for training: %s", handle, error)
        inference, parts, reason = divided(False)
    if reason:
        logger.warning("%s is a single stage. %s", handle, reason)
    paths = layer_paths(inference, variables)
    dtypes = [spec.dtype.name for _, spec in inputs]
    regularizers = _regularizers(loaded, variables)
    can_train = {id(v.handle) for v in getattr(loaded, "trainable_variables", [])} or {
        id(v.handle) for v in variables if v.trainable
    }
    if not trust:
        for graph, _ in regularizers:
            graph.check_ops()
    if any(sum(not set(order).isdisjoint(p.variables) for p in parts) > 1 for _, order in regularizers):
        logger.warning(
            "%s has a regularization loss of weights in several stages, which is left out. "
            "Load it with stages=1 to keep it.",
            handle,
        )
    layers = [_stage(part, variables, can_train, paths, dtypes, regularizers, batch_norm) for part in parts]
    model = _connect(layers, parts, inputs, structure, names, Path(os.fspath(handle)).name)
    model.trainable = trainable
    return model


def resolve(handle: str | os.PathLike[str]) -> str:
    """The local folder of a handle, downloaded by tensorflow-hub if need be (cached in TFHUB_CACHE_DIR).

    Args:
        handle: As in `load_backbone`.

    Returns:
        The path of the SavedModel's folder.

    Raises:
        FileNotFoundError, ConnectionError, TypeError, ValueError: As in `load_backbone`.
    """
    if not isinstance(handle, str | os.PathLike):
        raise TypeError(f"A handle is a URL, a Kaggle handle or a folder, not {handle!r}.")
    handle = os.fspath(handle)
    if tf.io.gfile.isdir(handle):
        return handle
    if "://" not in handle:
        if os.path.exists(handle):
            raise ValueError(f"{handle} is a file. Give the folder that holds saved_model.pb.")
        if not _KAGGLE.fullmatch(handle):
            raise FileNotFoundError(
                f"There is no folder {handle!r}. Give the path of a SavedModel's folder, a URL, or a Kaggle "
                "handle of the form owner/model/framework/variation/version."
            )
        handle = f"https://www.kaggle.com/models/{handle}"
    import tensorflow_hub

    try:
        return tensorflow_hub.resolve(handle)
    except (OSError, urllib.error.URLError, tf.errors.OpError, EOFError) as error:
        raise ConnectionError(
            f"{handle} could not be downloaded: {error}. Check the address and the connection, or download "
            "the model by hand, unpack it, and give its folder."
        ) from error
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"tensorflow-hub can't resolve {handle!r}: {error}") from error


def _load(path: str) -> Any:
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
    loaded = tf.saved_model.load(path)
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


def _restored(call: Any) -> list[Any]:
    return list(getattr(call, "concrete_functions", [call]))


def _concrete_functions(call: Any) -> dict[bool, Any]:
    """The graph for inference and the one for training (None if there is none)."""
    found: dict[bool, Any] = {}
    for function in _restored(call):
        leaves = tf.nest.flatten(function.structured_input_signature)
        flags = [leaf for leaf in leaves if isinstance(leaf, bool)]
        found.setdefault(any(flags), function)
        if not flags and any(_is_flag(leaf) for leaf in leaves):
            found.setdefault(True, function)
    if not found:
        raise ValueError(
            "The SavedModel's `__call__` was never traced, so it holds no graph. Call it once, or give it "
            "an input_signature, before saving."
        )
    return {False: found.get(False, found.get(True)), True: found.get(True)}


def _is_flag(leaf: Any) -> bool:
    return isinstance(leaf, tf.TensorSpec) and leaf.dtype == tf.bool and leaf.shape.rank == 0


def _inputs(function: Any, input_shape: Any) -> tuple[list[tuple[tf.Tensor, tf.TensorSpec]], Any]:
    """The placeholders and specs of the inputs, and the structure in which callers pass them."""
    args, kwargs = function.structured_input_signature
    leaves = [v for v in tf.nest.flatten((args, kwargs)) if isinstance(v, tf.TensorSpec)]
    pairs = [
        (tensor, spec)
        for tensor, spec in zip(function.inputs[: len(leaves)], leaves, strict=True)
        if not _is_flag(spec)
    ]
    first = args[0] if args else next(iter(kwargs.values()), None)
    keys: list[Any] = sorted(first) if isinstance(first, dict) else list(range(len(pairs)))
    if len(keys) != len(pairs):
        keys = list(range(len(pairs)))
    if isinstance(input_shape, Mapping) and not input_shape.keys() <= set(keys):
        raise ValueError(f"input_shape names {list(input_shape)}, but the inputs are {keys}.")
    specs = []
    for key, (tensor, spec) in zip(keys, pairs, strict=True):
        wanted = input_shape.get(key) if isinstance(input_shape, Mapping) else input_shape
        shape = spec.shape
        if wanted is not None:
            if not shape.is_compatible_with([shape[0] if shape.rank else None, *wanted]):
                raise ValueError(
                    f"input_shape={tuple(wanted)} does not fit the SavedModel, whose input "
                    f"{spec.name or key!r} has the shape {tuple(shape)[1:]} without the batch."
                )
            shape = tf.TensorShape([shape[0] if shape.rank else None, *wanted])
        if shape.rank is None:
            raise ValueError(f"The SavedModel leaves the shape of its input {key!r} open: pass input_shape.")
        specs.append((tensor, tf.TensorSpec(shape, spec.dtype, name=str(spec.name or key))))
    structure = keys if isinstance(first, dict) else len(pairs)
    return specs, structure


def _outputs(function: Any, output: str | None) -> tuple[list[str] | None, list[int]]:
    """Names of the outputs (None for a single one) and which of the function's tensors they are."""
    structured = function.structured_outputs
    flat = list(range(len(function.outputs)))
    if not isinstance(structured, dict):
        if output is not None:
            raise ValueError(f"output={output!r}, but the SavedModel's outputs have no names.")
        return (None if len(flat) == 1 else [f"output_{i}" for i in flat]), flat
    numbered = tf.nest.pack_sequence_as(structured, flat)
    names: dict[str, int] = {}
    for key in sorted(numbered):
        entries = tf.nest.flatten(numbered[key])
        for i, entry in enumerate(entries):
            names[key if len(entries) == 1 else f"{key}_{i}"] = entry
    if output is None:
        return (list(names), list(names.values())) if len(names) > 1 else (None, flat)
    if output not in names:
        raise ValueError(f"The SavedModel has no output {output!r}. It has {list(names)}.")
    return None, [names[output]]


def _regularizers(loaded: Any, variables: Sequence[tf.Variable]) -> list[tuple[Any, list[int]]]:
    """The regularization losses as functions of variables, by index."""
    found = []
    for loss in getattr(loaded, "regularization_losses", []) or []:
        function = _restored(loss)[0] if callable(loss) else None
        if function is None:
            continue
        graph = flatten(function, [], function.outputs, variables, training=True)
        order = sorted(graph.variables(graph.outputs))
        found.append((graph.extract([], graph.outputs, order), order))
    return found


def _stage(
    part: Part,
    variables: Sequence[tf.Variable],
    can_train: set[int],
    paths: Mapping[int, str],
    dtypes: Sequence[str],
    regularizers: Sequence[tuple[Any, list[int]]],
    batch_norm: BatchNormPolicy,
) -> HubStage:
    specs = []
    for index in part.variables:
        variable = variables[index]
        last = variable.name.split(":")[0].split("/")[-1]
        path = paths.get(index, "")
        specs.append(
            {
                "name": (path if path.endswith(last) else f"{path}/{last}").strip("/").replace("/", "."),
                "shape": variable.shape.as_list(),
                "dtype": variable.dtype.name,
                "trainable": id(variable.handle) in can_train,
            }
        )
    mine = [
        (graph, tuple(part.variables.index(i) for i in order))
        for graph, order in regularizers
        if order and set(order) <= set(part.variables)
    ]
    return HubStage(
        part.inference,
        specs,
        ["float32" if s < 0 else dtypes[s] for s in part.sources],
        part.training,
        part.updates,
        mine,
        batch_norm,
        scales=[p for p in part.scales if specs[p]["trainable"]],
        unclear=part.unclear,
        values=[variables[i] for i in part.variables],
        name=part.name,
    )


def _connect(
    layers: Sequence[HubStage],
    parts: Sequence[Part],
    inputs: Sequence[tuple[tf.Tensor, tf.TensorSpec]],
    structure: Any,
    names: list[str] | None,
    title: str,
) -> keras.Model:
    tensors = []
    for _, spec in inputs:
        shape = spec.shape.as_list()
        name = re.sub(r"\W+", "_", spec.name).strip("_") or None
        tensors.append(keras.Input(batch_shape=shape, dtype=spec.dtype.name, name=name))
    before: Any = None
    ends: dict[int, Any] = {}
    for layer, part in zip(layers, parts, strict=True):
        given = [before if source < 0 else tensors[source] for source in part.sources]
        results = layer(given[0] if len(given) == 1 else given)
        results = list(results) if isinstance(results, list | tuple) else [results]
        if part is not parts[-1]:
            before = results.pop(0)
        ends.update(zip(part.emits, results, strict=True))
    given_as = tensors[0] if structure == 1 else tensors
    if isinstance(structure, list):
        given_as = dict(zip(structure, tensors, strict=True))
    outputs = ends[0] if names is None else {n: ends[i] for i, n in enumerate(names)}
    title = re.sub(r"\W+", "_", title).strip("_") or "backbone"
    return keras.Model(given_as, outputs, name=title if not title[0].isdigit() else f"backbone_{title}")
