"""Build a trial's model, whatever the user's function takes and returns."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import keras_tuner
import tensorflow as tf

from kerasft.freezing import declare_kept
from kerasft.search.guess_loss import loss_for
from kerasft.search.space import NAMES
from kerasft.stages import Stages, find_stages


def check_build_model(build_model: object) -> None:
    """Raise unless something is a function that may build models.

    Args:
        build_model: What the user gave.

    Raises:
        TypeError: It is no function, or a model.
    """
    if not callable(build_model) or isinstance(build_model, keras.Model):
        raise TypeError(f"build_model is a function that returns a Keras model, not {build_model!r}.")


def built_model(
    build_model: Callable[..., Any],
    hp: keras_tuner.HyperParameters,
    seed: int,
    loss: Any = None,
    metrics: Sequence[Any] | None = None,
    keep_frozen: Sequence[str] = (),
) -> tuple[keras.Model, Stages]:
    """Build a model and find its stages; one that is not compiled is compiled with AdamW.

    Args:
        build_model: The user's function.
        hp: The trial's hyperparameters, which the function may add to.
        seed: Of its weights.
        loss: For a model that is not compiled; None leaves it open.
        metrics: For a model that is not compiled; each model gets copies.
        keep_frozen: As in `kerasft.freeze`; noted, and no flag is changed.

    Raises:
        FatalTypeError: The function returned something else than a Keras model.
        FatalValueError: It declares a hyperparameter that belongs to the search.
    """
    keras.utils.set_random_seed(seed)
    fresh = not hp.space
    model = build_model(hp) if _takes_hyperparameters(build_model) else build_model()
    if not isinstance(model, keras.Model):
        raise keras_tuner.errors.FatalTypeError(
            f"build_model returned {model!r}, which is no Keras model but a {type(model).__name__}. Let it "
            "end with `return model`."
        )
    if taken := sorted({p.name for p in hp.space} & set(NAMES)) if fresh else []:
        raise keras_tuner.errors.FatalValueError(
            f"build_model declares {taken}, which FreezeDepthSearch declares itself. Leave them out, or name "
            "them otherwise."
        )
    stages = find_stages(model)
    declare_kept(stages, keep_frozen)
    if not model.compiled:
        model.compile(keras.optimizers.AdamW(1e-3), loss, metrics=_copies(metrics))
    return model, stages


def compile_for_targets(
    model: keras.Model, arguments: Mapping[str, Any], metrics: Sequence[Any] | None
) -> tuple[Any, Sequence[Any]]:
    """Compile a model without a loss again, with the usual loss for its output and its targets.

    Args:
        model: The model, compiled without a loss.
        arguments: Those of `fit`, by name.
        metrics: Metrics; None for the usual ones.

    Returns:
        The loss and the metrics, for later models.

    Raises:
        ValueError: The loss can't be guessed.
    """
    loss, usual = loss_for(model, targets_of(arguments))
    metrics = metrics or usual
    model.compile(model.optimizer, loss, metrics=_copies(metrics))
    return loss, metrics


def targets_of(arguments: Mapping[str, Any]) -> Any:
    """The targets among the arguments of `fit`, or a description of their shape and dtype."""
    if arguments.get("y") is not None:
        return arguments["y"]
    x = arguments.get("x")
    if isinstance(x, tf.data.Dataset):
        return keras.utils.unpack_x_y_sample_weight(x.element_spec)[1]
    if isinstance(x, keras.utils.PyDataset):
        return keras.utils.unpack_x_y_sample_weight(x[0])[1]
    return None


def _copies(metrics: Sequence[Any] | None) -> list[Any] | None:
    """Copy metrics for one more model; each counts for itself."""
    if metrics is None:
        return None
    return [type(m).from_config(m.get_config()) if isinstance(m, keras.Metric) else m for m in metrics]


def _takes_hyperparameters(build_model: Callable[..., Any]) -> bool:
    """Whether a function takes keras-tuner's `hp`."""
    try:
        parameters = inspect.signature(build_model).parameters.values()
    except ValueError:  # it has no signature that could be read
        return True
    return any(
        p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)
        and (p.default is p.empty or p.name == "hp")
        for p in parameters
    )
