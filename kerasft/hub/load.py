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

from kerasft.hub.arguments import Arguments
from kerasft.hub.blueprint import Blueprint, read
from kerasft.hub.divide import Part
from kerasft.hub.handles import resolve
from kerasft.hub.hub_stage import HubStage
from kerasft.hub.memory import Memory, folder_fingerprint
from kerasft.hub.signature import InputShape, Output
from kerasft.stages import BatchNormPolicy, DropoutPolicy, check_dropout_policy, check_policy

logger = logging.getLogger(__name__)

blueprints: Memory[Blueprint] = Memory(entries=4, nbytes=2**29)
"""The SavedModels read last: a search asks for the same backbone again in each trial."""


def load_backbone(
    handle: str | os.PathLike[str],
    trainable: bool = True,
    batch_norm: BatchNormPolicy = "inference",
    input_shape: InputShape = None,
    output: Output = None,
    stages: int | None = None,
    trust: bool = False,
    dropout: DropoutPolicy | None = None,
    arguments: Arguments = None,
    signature: str | None = None,
    map_batch: bool = False,
) -> keras.Model:
    """Load a TF2 SavedModel as a Functional Keras 3 model whose layers are its stages.

    The dataflow graph is cut at the tensors that every path from input to output passes through, and, in a
    part without such tensors, where the fewest bytes cross; each `HubStage` between two cuts owns its
    weights. Outputs equal those of the uncut SavedModel.

    Where the SavedModel takes strings, its lookup tables become constants of the graph. A layer `text`
    without weights comes before the stages if what it makes of strings has a row for each text, such as
    padded token ids; otherwise the first stage takes the strings.

    The last four SavedModels (up to 512 MB) are kept in the process, so that the next call with the same
    arguments takes a fraction of the time. Each call returns a model with weights of its own.

    Args:
        handle: A URL or a Kaggle model handle (`owner/model/framework/variation/version`), which
            tensorflow-hub resolves, or a folder.
        trainable: Whether the stages start thawed.
        batch_norm: "inference" keeps all stages in inference mode (moving statistics stay, and dropout
            inside the backbone is off). "train" lets a thawed stage train as its authors made it and
            update its moving statistics. "statistics" does so too, but the scale and offset of batch
            normalization stay. "frozen" moves neither statistics nor scale and offset. A frozen stage never
            moves. `kerasft.freeze` can override this later.
        input_shape: Shape of one sample, without the batch, such as `(96, 96, 3)`; a mapping by name for
            several inputs. None takes the shapes of the SavedModel.
        output: Which output to return, if the SavedModel has several: a name, or a list of names, which
            returns them in a dict. Of dicts and lists inside of each other the name is a path, such as
            "encoder_outputs/3"; a path to several returns them all. None returns all, in a dict by name
            (`encoder_outputs_3`).
        stages: Merge neighbours into that many stages, balanced by parameters. None makes one for each
            block of the network.
        trust: Allow operations that could read files or run code. Off, they are refused: those that
            TensorFlow runs while it opens the SavedModel before it is opened, those of the network before
            it is used.
        dropout: What dropout inside a frozen stage does while the model trains. None and "inference":
            nothing, a frozen stage computes the same each time. "train": it runs its training graph and so
            draws; a stage whose training graph normalizes by the batch is refused. `kerasft.freeze` can
            override this later.
        arguments: Values for arguments of the SavedModel's function, by name, such as
            `{"batch_norm_momentum": 0.99}`. What is not named has its default; `training` follows from
            `batch_norm`.
        signature: Which function is the backbone, if the SavedModel has no `__call__` or another one is
            meant, such as "serve" of what Keras 3's `model.export()` writes.
        map_batch: Whether the SavedModel takes one sample without a batch axis, such as a waveform. The
            model takes a batch and runs the graph for each sample, in inference mode; `input_shape` then
            lists all axes of the SavedModel's input.

    Returns:
        A Functional model; a backbone that can't be cut is a single stage, and the log says why.

    Raises:
        FileNotFoundError: The folder does not exist.
        ConnectionError: The handle can't be downloaded.
        TypeError, ValueError: An argument is wrong; the model is in TF1 Hub format, has no function to call
            or several, no weights, operations that are refused, or lookup tables that change or are used
            inside a loop; an input shape does not fit; or results for a text depend on the other texts.

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
    if map_batch and batch_norm != "inference":
        raise ValueError(
            f"map_batch=True runs a graph for one sample, which has no statistics of a batch: batch_norm is "
            f'"inference", not {batch_norm!r}.'
        )
    path = resolve(handle)
    asked = output, stages, batch_norm, trust, arguments, signature, map_batch
    blueprint = blueprints.recall(
        _key(path, input_shape, *asked),
        lambda: read(path, input_shape, *asked),
    )
    for level, note in blueprint.notes:
        logger.log(level, "%s %s", handle, note)
    layers = [_stage(part, blueprint, batch_norm, dropout, map_batch) for part in blueprint.parts]
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
    part: Part,
    blueprint: Blueprint,
    batch_norm: BatchNormPolicy,
    dropout: DropoutPolicy | None,
    map_batch: bool,
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
        part.dtypes,
        part.training,
        part.updates,
        regularizers,
        batch_norm,
        scales=[p for p in part.scales if weights[p].trainable],
        unclear=part.unclear,
        dropout=dropout,
        batch_sizes=[None if isinstance(s, str) else blueprint.inputs[s].shape[0] for s in part.sources],
        map_batch=map_batch,
        values=[tf.Variable(w.value, trainable=w.trainable, name=w.variable) for w in weights],
        name=part.name,
    )


def _connect(layers: Sequence[HubStage], blueprint: Blueprint, title: str) -> keras.Model:
    tensors = []
    for spec in blueprint.inputs:
        name = re.sub(r"\W+", "_", spec.name).strip("_") or None
        tensors.append(keras.Input(batch_shape=spec.shape.as_list(), dtype=spec.dtype.name, name=name))
    made: dict[str | int, Any] = dict(enumerate(tensors))
    ends: dict[int, Any] = {}
    for layer, part in zip(layers, blueprint.parts, strict=True):
        given = [made[source] for source in part.sources]
        results = layer(given[0] if len(given) == 1 else given)
        results = list(results) if isinstance(results, list | tuple) else [results]
        made.update(zip(part.gives, results, strict=False))
        ends.update(zip(part.emits, results[len(part.gives) :], strict=True))
    used = {source for part in blueprint.parts for source in part.sources}
    for i, tensor in enumerate(tensors):
        if i not in used:  # by the chosen outputs; Keras 3.12 refuses an input that no layer takes
            keras.layers.Identity()(tensor)
    given_as = tf.nest.map_structure(lambda i: tensors[i], blueprint.structure)
    outputs = tf.nest.map_structure(lambda i: ends[i], blueprint.returned)
    title = re.sub(r"\W+", "_", title).strip("_") or "backbone"
    return keras.Model(given_as, outputs, name=title if not title[0].isdigit() else f"backbone_{title}")
