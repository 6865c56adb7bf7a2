"""What is checked before a search trains anything: its arguments, and that it is the search of its folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import keras
import keras_tuner
import numpy as np
import tensorflow as tf
from keras_tuner import HyperParameters

from kerasft import _keras
from kerasft.freezing import kept_frozen
from kerasft.search.exported_accuracy import ExportedAccuracy, holdout_of
from kerasft.search.results import SearchFolder
from kerasft.search.shared_work import named_loss
from kerasft.search.space import SearchSpace
from kerasft.search.trial import TrialContext, weight_fingerprints
from kerasft.stages import Stages
from kerasft.unfreezing import GradualUnfreezing

_DATA = ("x", "y", "sample_weight", "validation_data", "validation_split", "batch_size", "steps_per_epoch")


def check_trial(context: TrialContext, arguments: Mapping[str, Any]) -> None:
    """Refuse, before anything trains, a trial that could not end well.

    Args:
        context: The trial.
        arguments: Those of `fit`, by name.

    Raises:
        FatalValueError: The objective needs validation data that are not there, or a callback is the
            search's own.
    """
    goal = context.goal
    validates = arguments.get("validation_data") is not None or arguments.get("validation_split")
    if "val_" in f"{goal.name} {getattr(goal, 'name_to_direction', '')}" and not validates:
        raise keras_tuner.errors.FatalValueError(
            f"The objective {goal.name!r} needs validation data: search(..., validation_data=...)."
        )
    if isinstance(goal, ExportedAccuracy) and holdout_of(arguments.get("validation_data")) is None:
        raise keras_tuner.errors.FatalValueError(
            "ExportedAccuracy is measured on validation data, arrays (x, y) or a tf.data.Dataset: "
            "search(..., validation_data=...)."
        )
    if any(isinstance(callback, GradualUnfreezing) for callback in context.callbacks):
        raise keras_tuner.errors.FatalValueError(
            "FreezeDepthSearch brings a GradualUnfreezing of its own for each trial; leave yours out."
        )


class Preflight:
    """Checks each trial, and once for each folder that it holds this search.

    Args:
        build: Builds a model and finds its stages.
        space: The hyperparameters that the search adds.
        seed: Of the search.
    """

    def __init__(
        self, build: Callable[[HyperParameters], tuple[keras.Model, Stages]], space: SearchSpace, seed: int
    ) -> None:
        self.build, self.space, self.seed = build, space, seed
        self._checked: set[str] = set()  # folders whose model and space were compared
        self._checked_fits: set[str] = set()  # and those whose arguments of `fit` were

    def check(self, context: TrialContext, arguments: Mapping[str, Any]) -> None:
        """Refuse a trial that could not end well.

        Args:
            context: The trial.
            arguments: Those of `fit`, by name, `epochs` among them.

        Raises:
            FatalValueError: An argument or a callback does not fit, or the folder holds another search.
        """
        check_trial(context, arguments)
        if context.folder is None:
            return
        fit: dict[str, Any] = {"data set": describe_data(arguments), "objective": str(context.goal)}
        if not context.is_hyperband:
            fit["number of epochs"] = arguments["epochs"]
        self.check_folder(context.folder, fit)

    def check_folder(self, folder: SearchFolder, fit: Mapping[str, Any] | None = None) -> None:
        """Refuse a folder that holds another search.

        Args:
            folder: The folder; what has been checked is not looked at again, `fit` not in one search.
            fit: What all trials have in common in their call of `fit`, for JSON; None if it is not known.

        Raises:
            FatalValueError: The folder holds another search; the message says what differs.
        """
        project = str(folder.project)
        known = project in self._checked
        if known and (fit is None or project in self._checked_fits):
            return
        folder.check_identity({**({} if known else self._identity()), **(fit or {})})
        self._checked.add(project)
        if fit is not None:
            self._checked_fits.add(project)

    def begin_search(self) -> None:
        """Look at the arguments of `fit` again, for they may be others in another call of `search`."""
        self._checked_fits = set()

    def _identity(self) -> dict[str, Any]:
        """The ranges of all hyperparameters and the model, for JSON: no trial may change them.

        Names of layers and stages tell nothing: Keras counts automatic ones up in a process.
        """
        keras.backend.clear_session()  # so that the names of layers are those of a first build
        hp = HyperParameters()
        model, stages = self.build(hp)
        self.space.choose(hp, model, stages)
        layers = json.dumps([[kind, digest] for kind, _, digest in _keras.structure(model)])
        shapes = json.dumps([[list(v.shape), str(v.dtype)] for v in model.weights])
        settings = {f"{name} of FreezeDepthSearch": value for name, value in self.space.to_dict().items()}
        return {
            "search space": {p.name: [type(p).__name__, p.get_config()] for p in hp.space} | settings,
            "model": {
                "parameters": model.count_params(),
                "shapes": _digest(shapes),
                "initial weights": _digest("".join(weight_fingerprints(model))),
            },
            "kept_frozen": kept_frozen(stages).places(),
            "division into stages": [stage.parameters for stage in stages],
            f"structure of the model (as Keras {keras.__version__} tells it)": _digest(layers),
            "loss": named_loss(model.loss),
            "seed": self.seed,
        }


def describe_data(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the data of `fit` for JSON, without reading them.

    Args:
        arguments: Those of `fit`, by name.
    """
    given = {name: arguments.get(name) for name in _DATA}
    return {name: _described(value) for name, value in given.items() if value is not None}


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _described(value: Any) -> Any:
    if isinstance(value, tf.data.Dataset):
        return [str(value.element_spec), int(value.cardinality())]
    if isinstance(value, keras.utils.PyDataset):
        return [type(value).__name__, value.num_batches]
    if isinstance(value, dict):
        return {str(k): _described(v) for k, v in value.items()}
    if isinstance(value, list | tuple) and not all(isinstance(v, int | float | str) for v in value):
        return [_described(v) for v in value]
    if isinstance(value, np.generic):
        return value.item()
    if hasattr(value, "shape"):
        return [list(map(str, value.shape)), str(getattr(value, "dtype", ""))]
    if isinstance(value, int | float | str):
        return value
    return (
        type(value).__name__
        if not isinstance(value, list | tuple)
        else [len(value), str(np.asarray(value).dtype)]
    )
