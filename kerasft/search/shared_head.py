"""The head that trials begin with: solved where it is one Dense layer, else the best that training finds."""

from __future__ import annotations

import logging
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import tensorflow as tf

from kerasft.probe import TO_FINE_TUNE, head_of, solve_head
from kerasft.search.results import is_better
from kerasft.stages import Stage, Stages
from kerasft.typing import Logs

logger = logging.getLogger(__name__)

PATIENCE = 5


class BestHead(keras.callbacks.Callback):
    """Ends the head's training when it no longer improves, and restores its best epoch.

    Trials are scored by the objective at their best epoch, and so is the head.
    """

    def __init__(self, head: Stage, objective: keras_tuner.Objective | None) -> None:
        super().__init__()
        self.head, self.objective = head, objective
        self.best, self.waited = math.nan, 0
        self.weights: list[np.ndarray] = []

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        logs = logs or {}
        if self.objective is not None and self.objective.has_value(logs):
            value, direction = float(self.objective.get_value(logs)), self.objective.direction
        else:
            value, direction = float(logs["val_loss"] if "val_loss" in logs else logs["loss"]), "min"
        self.waited += 1
        if is_better(value, self.best, direction):
            self.best, self.waited = value, 0
            self.weights = [v.numpy() for v in self.head.weights]
        self.model.stop_training = self.waited >= PATIENCE

    def on_train_end(self, logs: Logs = None) -> None:
        for variable, value in zip(self.head.weights, self.weights, strict=False):
            variable.assign(value)


def solved_head(stages: Stages, arguments: Mapping[str, Any], seed: int) -> list[np.ndarray] | None:
    """The weights of the head if it is one Dense layer that can be solved on the data of `fit`, else None.

    The model keeps its weights.
    """
    head, data = stages[-1].weights, _batches(arguments)
    before = [v.numpy() for v in head]
    try:
        if data is None or {id(v) for v in head_of(stages.model).weights} != {id(v) for v in head}:
            return None
        solve_head(
            stages.model,
            data,
            class_weight=arguments.get("class_weight"),
            standard_errors=TO_FINE_TUNE,
            seed=seed,
        )
        return [v.numpy() for v in head]
    except ValueError as error:  # its targets or its output are of another kind
        logger.info("The head is trained, not solved: %s", error)
        return None
    finally:
        for variable, value in zip(head, before, strict=True):
            variable.assign(value)


def _batches(arguments: Mapping[str, Any]) -> tf.data.Dataset | None:
    """The training data of `fit` as finite batches; None if they are of a kind that is read only once."""
    x, y, weight = (arguments.get(name) for name in ("x", "y", "sample_weight"))
    if isinstance(x, tf.data.Dataset):
        steps = arguments.get("steps_per_epoch")
        if steps is None and x.cardinality() == tf.data.INFINITE_CARDINALITY:
            return None
        return x if steps is None else x.take(steps)
    leaves = keras.tree.flatten((x, y, () if weight is None else weight))
    if y is None or not all(isinstance(leaf, np.ndarray) or tf.is_tensor(leaf) for leaf in leaves):
        return None
    rows = (x, y) if weight is None else (x, y, weight)
    return tf.data.Dataset.from_tensor_slices(rows).batch(arguments.get("batch_size") or 32)


def read_head(place: Path, count: int) -> list[np.ndarray] | None:
    """The weights of a trained head; None if there is none, or its file is damaged: it is trained again."""
    try:
        with open(place, "rb") as file, np.load(file) as stored:
            return [stored[str(i)] for i in range(count)]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
