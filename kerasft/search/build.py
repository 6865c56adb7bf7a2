"""Build a trial's model, whatever the user's function takes and returns."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras
import keras_tuner

from kerasft.freezing import declare_kept
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
    compile_model: Callable[[keras.Model], None],
    keep_frozen: Sequence[str] = (),
) -> tuple[keras.Model, Stages]:
    """Build a model and find its stages; one that is not compiled is compiled with AdamW.

    Args:
        build_model: The user's function.
        hp: The trial's hyperparameters, which the function may add to.
        seed: Of its weights.
        compile_model: Compiles a model that is not compiled, whose optimizer is set.
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
        model.optimizer = keras.optimizers.AdamW(1e-3)
        compile_model(model)
    return model, stages


def compile_with(model: keras.Model, loss: Any, metrics: Sequence[Any] | None) -> None:
    """Compile a model with its optimizer.

    Args:
        model: The model; its optimizer stays as it is.
        loss: The loss; None for none.
        metrics: The metrics, of which it gets copies; None for none.
    """
    model.compile(model.optimizer, loss, metrics=_copies(metrics))


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
