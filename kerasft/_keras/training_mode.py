"""Layers that compute as in inference, or as the outermost call, whatever their own call says.

Keras hands `training` down from call to call, and a Functional model hands it to each of its layers, whatever
the call of a nested model said when it was built. So one wrapper around `Layer.__call__` replaces it, for the
layers that are noted here and for no other. It is put there when the first layer is noted. Nothing is written
into a layer: its class, its configuration and its copies are what they were.
"""

from __future__ import annotations

import functools
import inspect
import threading
import weakref
from typing import Any, Literal, TypeAlias

import keras

TrainingMode: TypeAlias = Literal["inference", "train"]

_modes: weakref.WeakKeyDictionary[keras.Layer, TrainingMode] = weakref.WeakKeyDictionary()
_outermost = threading.local()


def training_mode(layer: keras.Layer) -> TrainingMode | None:
    """How a layer computes: as in inference, as the outermost call, or as Keras has it (None)."""
    return _modes.get(layer)


def set_training_mode(layer: keras.Layer, mode: TrainingMode | None) -> None:
    """Set how a layer computes; it counts from the next trace of a step on.

    Args:
        layer: A layer; those inside it are called as it calls them, unless they have modes of their own.
        mode: "inference": as with `training=False`. "train": with the `training` of the outermost call, which
            is true while `fit` trains. None: as Keras does.
    """
    if mode is None:
        _modes.pop(layer, None)
        return
    if not hasattr(keras.Layer.__call__, "asks_for_modes"):
        keras.Layer.__call__ = _asking_for_modes(keras.Layer.__call__)  # type: ignore[method-assign]
    _modes[layer] = mode


def _asking_for_modes(call: Any) -> Any:
    """`Layer.__call__`, which asks first whether a layer has a mode."""
    from keras.src.backend.common.global_state import get_global_attribute

    @functools.wraps(call)
    def asks(self: keras.Layer, *args: Any, **kwargs: Any) -> Any:
        context = get_global_attribute("current_call_ctx")
        if context is not None and self not in _modes:
            return call(self, *args, **kwargs)
        outside = getattr(context, "training", None)
        if context is None:
            _outermost.training = kwargs.get("training")
        try:
            args, kwargs = _in_mode(self, args, kwargs)
            return call(self, *args, **kwargs)
        finally:
            if context is None:
                _outermost.training = None
            else:  # Keras leaves there what a layer was told, for those that are called next
                context.training = outside

    asks.asks_for_modes = True  # type: ignore[attr-defined]
    return asks


def _in_mode(layer: keras.Layer, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """The arguments of a call, `training` as the mode of the layer has it."""
    mode = _modes.get(layer)
    training = getattr(_outermost, "training", None) if mode == "train" else False
    if mode is None or training is None:
        return args, kwargs
    if any(keras.utils.is_keras_tensor(value) for value in keras.tree.flatten((args, kwargs))):
        return args, kwargs  # a model is built, whose configuration would keep the arguments
    names = [*inspect.signature(layer.call).parameters][: len(args)]
    place = names.index("training") if "training" in names else len(args)  # a None may stand there
    return args[:place], {
        **kwargs,
        **dict(zip(names[place:], args[place:], strict=True)),
        "training": training,
    }
