"""load_backbone: a SavedModel as a Functional Keras model whose layers are its stages."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from kerasft.hub.blueprint import Blueprint, read
from kerasft.hub.divide import Part
from kerasft.hub.handles import resolve
from kerasft.hub.hub_stage import HubStage
from kerasft.hub.memory import Memory, folder_fingerprint
from kerasft.hub.signature import InputShape
from kerasft.stages import BatchNormPolicy, DropoutPolicy, check_dropout_policy, check_policy

logger = logging.getLogger(__name__)

blueprints: Memory[Blueprint] = Memory(entries=4, nbytes=2**29)
"""The SavedModels read last: a search asks for the same backbone again in each trial."""


def load_backbone(
    handle: str | os.PathLike[str],
    trainable: bool = True,
    batch_norm: BatchNormPolicy = "inference",
    input_shape: InputShape = None,
    output: str | None = None,
    stages: int | None = None,
    trust: bool = False,
    dropout: DropoutPolicy | None = None,
) -> keras.Model:
    """Load a TF2 SavedModel as a Functional Keras 3 model whose layers are its stages.

    The dataflow graph is cut at the tensors that every path from input to output passes through; each
    `HubStage` between two cuts owns its weights. Outputs equal those of the uncut SavedModel.

    The last four SavedModels (up to 512 MB) are kept in the process, so that the next call with the same
    arguments takes a fraction of the time. Each call returns a model with weights of its own.

    Args:
        handle: A URL or a Kaggle model handle (`owner/model/framework/variation/version`), which
            tensorflow-hub resolves, or a folder.
        trainable: Whether the stages start thawed.
        batch_norm: "inference" keeps all stages in inference mode (moving statistics stay, and dropout
            inside the backbone is off). "train" lets a thawed stage train as its authors made it and
            update its moving statistics. "statistics" does so too, but the scale and offset of batch
            normalization stay. A frozen stage never moves. `kerasft.freeze` can override this later.
        input_shape: Shape of one sample, without the batch, such as `(96, 96, 3)`; a mapping by name for
            several inputs. None takes the shapes of the SavedModel.
        output: Which output to return, if the SavedModel has several by name; None returns all in a dict.
        stages: Merge neighbours into that many stages, balanced by parameters. None makes one for each
            block of the network.
        trust: Allow operations that could read files or run code. Off, they are refused: those that
            TensorFlow runs while it opens the SavedModel before it is opened, those of the network before
            it is used.
        dropout: What dropout inside a frozen stage does while the model trains. None and "inference":
            nothing, a frozen stage computes the same each time. "train": it runs its training graph and so
            draws; a stage whose training graph normalizes by the batch is refused. `kerasft.freeze` can
            override this later.

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
    check_dropout_policy(dropout)
    if isinstance(input_shape, int):
        raise TypeError(
            f"input_shape lists all axes but the batch, as in (96, 96, 3); received {input_shape}."
        )
    path = resolve(handle)
    blueprint = blueprints.recall(
        _key(path, input_shape, output, stages, batch_norm, trust),
        lambda: read(path, input_shape, output, stages, batch_norm, trust),
    )
    for level, note in blueprint.notes:
        logger.log(level, "%s %s", handle, note)
    layers = [_stage(part, blueprint, batch_norm, dropout) for part in blueprint.parts]
    model = _connect(layers, blueprint, Path(os.fspath(handle)).name)
    model.trainable = trainable
    return model


def _key(path: str, input_shape: InputShape, *arguments: Any) -> tuple[Any, str] | None:
    """All that a blueprint depends on; None if that is unknown: a remote folder, arguments of odd types."""
    files = folder_fingerprint(path)
    shape = {"": [*input_shape.items()]} if isinstance(input_shape, Mapping) else input_shape
    try:  # JSON tells apart what Python finds equal, such as 1 and True
        text = json.dumps([shape, *arguments])
    except (TypeError, ValueError):
        return None
    return None if files is None else (files, text)


def _stage(
    part: Part, blueprint: Blueprint, batch_norm: BatchNormPolicy, dropout: DropoutPolicy | None
) -> HubStage:
    weights = [blueprint.weights[i] for i in part.variables]
    specs = [
        {
            "name": weight.name,
            "shape": weight.value.shape.as_list(),
            "dtype": weight.value.dtype.name,
            "trainable": weight.trainable,
        }
        for weight in weights
    ]
    regularizers = [
        (graph, tuple(part.variables.index(i) for i in order))
        for graph, order in blueprint.regularizers
        if order and set(order) <= set(part.variables)
    ]
    return HubStage(
        part.inference,
        specs,
        ["float32" if s < 0 else blueprint.inputs[s].dtype.name for s in part.sources],
        part.training,
        part.updates,
        regularizers,
        batch_norm,
        scales=[p for p in part.scales if weights[p].trainable],
        unclear=part.unclear,
        dropout=dropout,
        values=[tf.Variable(w.value, trainable=w.trainable, name=w.variable) for w in weights],
        name=part.name,
    )


def _connect(layers: Sequence[HubStage], blueprint: Blueprint, title: str) -> keras.Model:
    tensors = []
    for spec in blueprint.inputs:
        name = re.sub(r"\W+", "_", spec.name).strip("_") or None
        tensors.append(keras.Input(batch_shape=spec.shape.as_list(), dtype=spec.dtype.name, name=name))
    before: Any = None
    ends: dict[int, Any] = {}
    for layer, part in zip(layers, blueprint.parts, strict=True):
        given = [before if source < 0 else tensors[source] for source in part.sources]
        results = layer(given[0] if len(given) == 1 else given)
        results = list(results) if isinstance(results, list | tuple) else [results]
        if part is not blueprint.parts[-1]:
            before = results.pop(0)
        ends.update(zip(part.emits, results, strict=True))
    given_as = tensors[0] if blueprint.structure == 1 else tensors
    if isinstance(blueprint.structure, list):
        given_as = dict(zip(blueprint.structure, tensors, strict=True))
    names = blueprint.names
    outputs = ends[0] if names is None else {n: ends[i] for i, n in enumerate(names)}
    title = re.sub(r"\W+", "_", title).strip("_") or "backbone"
    return keras.Model(given_as, outputs, name=title if not title[0].isdigit() else f"backbone_{title}")
