"""Layers and activations as steps: what each computes, and its derivative, in operations built into TFLite.

`tf.GradientTape` brings in operations for which TFLite has no kernel of its own, such as ReluGrad, so each
derivative is written out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .slopes import SLOPES, Slope, ones_where

Values = Mapping[str, Any]
# Of the derivative by a step's output: the derivative by its input, and by each of its weights.
Back = Callable[[Any], tuple[Any, dict[str, Any]]]


@dataclass(frozen=True)
class Step:
    """A part of a layer.

    Attributes:
        run: Computes an output and the way back from an input and the values of weights by name.
        activation: The name of the activation, if it is one.
    """

    run: Callable[[Any, Values], tuple[Any, Back]]
    activation: str = ""


def steps_of(layer: keras.Layer, names: Mapping[str, str]) -> list[Step]:
    """A layer's steps.

    Args:
        layer: A layer without a `problem`.
        names: By the name of each weight in the layer, such as "kernel", its name among the values.
    """
    return _LAYERS[type(layer)].steps(layer, names)


def problem(layer: Any) -> str:
    """Why a layer can't train on the device, for the end of a sentence; "" if it can."""
    if type(layer) not in _LAYERS:
        return "whose derivative is not known here"
    for kind in ("kernel", "bias", "gamma", "beta", "activity"):
        if getattr(layer, f"{kind}_constraint", None) is not None:
            return f"with a {kind}_constraint, which would not be held on the device"
        regularizer = getattr(layer, f"{kind}_regularizer", None)
        if regularizer is not None and (kind == "activity" or type(regularizer) not in _REGULARIZERS):
            name = type(regularizer).__name__
            return f"with a {kind}_regularizer of {name}; L1, L2 and L1L2 of weights can be"
    return _LAYERS[type(layer)].problem(layer)


def penalty(variable: Any) -> tuple[float, float]:
    """The factors of a variable's L1 and L2 regularization."""
    regularizer = getattr(variable, "regularizer", None)
    return float(getattr(regularizer, "l1", 0.0)), float(getattr(regularizer, "l2", 0.0))


def trainable_layers() -> list[str]:
    """Names of the classes of layers that can train on the device."""
    return sorted(kind.__name__ for kind in _LAYERS)


def is_noise(layer: keras.Layer) -> bool:
    """Whether a layer makes noise in training, and does nothing on the device."""
    return type(layer) in _NOISE


# L1, L2: subclasses of a user's own may compute something else.
_REGULARIZERS = tuple(dict.fromkeys(getattr(keras.regularizers, n) for n in ("L1", "L2", "L1L2")))
_NOISE = (
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.AlphaDropout,
)


def _pointwise(function: Callable[[Any], Any], slope: Slope, activation: str = "") -> Step:
    def run(x: Any, values: Values) -> tuple[Any, Back]:
        y = function(x)
        return y, lambda dy: (dy * slope(x, y), {})

    return Step(run, activation)


def _softmax(x: Any, values: Values) -> tuple[Any, Back]:
    y = tf.nn.softmax(x)
    return y, lambda dy: (y * (dy - tf.reduce_sum(dy * y, -1, keepdims=True)), {})


def _same(x: Any, values: Values) -> tuple[Any, Back]:
    return x, lambda dy: (dy, {})


def _activation_name(function: Any) -> str:
    """The name of one of Keras's activations; "" for another function."""
    known = ("linear", "softmax", *SLOPES)
    return next((name for name in known if getattr(keras.activations, name) is function), "")


def _activation_steps(function: Any) -> list[Step]:
    name = _activation_name(function)
    if name == "linear":
        return []
    return [Step(_softmax, name)] if name == "softmax" else [_pointwise(function, SLOPES[name], name)]


def _activation_problem(layer: Any) -> str:
    if _activation_name(layer.activation):
        return ""
    name = getattr(layer.activation, "__name__", repr(layer.activation))
    return (
        f"whose activation {name!r} has no derivative here; those that have: {['linear', 'softmax', *SLOPES]}"
    )


def _relu_steps(layer: Any, names: Mapping[str, str]) -> list[Step]:
    most, low = layer.max_value, float(layer.negative_slope)

    def slope(x: Any, y: Any) -> Any:
        above = tf.ones_like(x) if most is None else ones_where(x < float(most))
        return tf.where(x > 0, above, low * tf.ones_like(x)) if low else ones_where(x > 0) * above

    return [_pointwise(layer.call, slope, "relu")]


def _leaky_steps(layer: Any, names: Mapping[str, str]) -> list[Step]:
    low = float(layer.negative_slope)
    return [
        _pointwise(
            layer.call, lambda x, y: tf.where(x > 0, tf.ones_like(x), low * tf.ones_like(x)), "leaky_relu"
        )
    ]


def _elu_steps(layer: Any, names: Mapping[str, str]) -> list[Step]:
    alpha = float(layer.alpha)
    return [_pointwise(layer.call, lambda x, y: tf.where(x > 0, tf.ones_like(x), y + alpha), "elu")]


def _dense_steps(layer: Any, names: Mapping[str, str]) -> list[Step]:
    def run(x: Any, values: Values) -> tuple[Any, Back]:
        kernel = values[names["kernel"]]
        width, units = kernel.shape
        rows = tf.reshape(x, (-1, width)) if len(x.shape) > 2 else x
        y = tf.matmul(rows, kernel)
        if "bias" in names:
            y = y + values[names["bias"]]

        def back(dy: Any) -> tuple[Any, dict[str, Any]]:
            dy = tf.reshape(dy, (-1, units)) if len(x.shape) > 2 else dy
            found = {names["kernel"]: tf.matmul(tf.transpose(rows), dy)}
            if "bias" in names:
                found[names["bias"]] = tf.reduce_sum(dy, 0)
            dx = tf.matmul(dy, tf.transpose(kernel))
            return _shaped(dx, x.shape), found

        return _shaped(y, (*x.shape[:-1], units)), back

    return [Step(run), *_activation_steps(layer.activation)]


def _shaped(x: Any, shape: Any) -> Any:
    """A tensor in a shape whose first axis is open."""
    return x if len(shape) == len(x.shape) else tf.reshape(x, (-1, *shape[1:]))


def _dense_problem(layer: Any) -> str:
    if getattr(layer, "quantization_mode", None) is not None:
        return "which Keras has quantized"
    return "which has LoRA weights; merge them" if layer.lora_enabled else _activation_problem(layer)


def _on_last_axis(layer: Any) -> str:
    axes = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
    rank = len(layer.input.shape)
    return (
        "" if [a % rank for a in axes] == [rank - 1] else "which normalizes along another axis than the last"
    )


def _scaled(x: Any, values: Values, names: Mapping[str, str]) -> Any:
    y = x * values[names["gamma"]] if "gamma" in names else x
    return y + values[names["beta"]] if "beta" in names else y


def _scaled_back(dy: Any, x: Any, values: Values, names: Mapping[str, str]) -> tuple[Any, dict[str, Any]]:
    outer, found = list(range(len(x.shape) - 1)), {}
    if "gamma" in names:
        found[names["gamma"]] = tf.reduce_sum(dy * x, outer)
    if "beta" in names:
        found[names["beta"]] = tf.reduce_sum(dy, outer)
    return (dy * values[names["gamma"]] if "gamma" in names else dy), found


def _layer_norm_steps(layer: Any, names: Mapping[str, str]) -> list[Step]:
    def run(x: Any, values: Values) -> tuple[Any, Back]:
        middle = x - tf.reduce_mean(x, -1, keepdims=True)
        factor = tf.math.rsqrt(tf.reduce_mean(middle * middle, -1, keepdims=True) + layer.epsilon)
        normal = middle * factor

        def back(dy: Any) -> tuple[Any, dict[str, Any]]:
            dy, found = _scaled_back(dy, normal, values, names)
            mean = tf.reduce_mean(dy, -1, keepdims=True)
            along = normal * tf.reduce_mean(dy * normal, -1, keepdims=True)
            return factor * (dy - mean - along), found

        return _scaled(normal, values, names), back

    return [Step(run)]


def _batch_norm_steps(layer: Any, names: Mapping[str, str]) -> list[Step]:
    """In inference: the statistics stay as they are."""

    def run(x: Any, values: Values) -> tuple[Any, Back]:
        factor = tf.math.rsqrt(values[names["moving_variance"]] + layer.epsilon)
        normal = (x - values[names["moving_mean"]]) * factor

        def back(dy: Any) -> tuple[Any, dict[str, Any]]:
            dy, found = _scaled_back(dy, normal, values, names)
            return dy * factor, found

        return _scaled(normal, values, names), back

    return [Step(run)]


def _pooling_steps(layer: Any, names: Mapping[str, str]) -> list[Step]:
    def run(x: Any, values: Values) -> tuple[Any, Back]:
        axes = list(range(1, len(x.shape) - 1))
        size = int(np.prod([x.shape[a] for a in axes]))

        def back(dy: Any) -> tuple[Any, dict[str, Any]]:
            one = tf.reshape(dy, (-1, *[1] * len(axes), x.shape[-1])) / float(size)
            return tf.broadcast_to(one, tf.shape(x)), {}

        return tf.reduce_mean(x, axes, keepdims=layer.keepdims), back

    return [Step(run)]


def _flatten_steps(layer: Any, names: Mapping[str, str]) -> list[Step]:
    def run(x: Any, values: Values) -> tuple[Any, Back]:
        y = tf.reshape(x, (-1, int(np.prod(x.shape[1:]))))
        return y, lambda dy: (tf.reshape(dy, (-1, *x.shape[1:])), {})

    return [Step(run)]


def _rescaling_steps(layer: Any, names: Mapping[str, str]) -> list[Step]:
    scale, offset = (np.asarray(value, "float32") for value in (layer.scale, layer.offset))

    def run(x: Any, values: Values) -> tuple[Any, Back]:
        return x * scale + offset, lambda dy: (dy * scale, {})

    return [Step(run)]


def _channels_last(layer: Any) -> str:
    return "" if layer.data_format == "channels_last" else "with channels first"


@dataclass(frozen=True)
class _Kind:
    """How layers of a class become steps, and what a layer of it can be refused for."""

    steps: Callable[[Any, Mapping[str, str]], list[Step]]
    problem: Callable[[Any], str] = lambda layer: ""


_LAYERS: dict[type, _Kind] = {
    keras.layers.Dense: _Kind(_dense_steps, _dense_problem),
    keras.layers.Activation: _Kind(
        lambda layer, names: _activation_steps(layer.activation), _activation_problem
    ),
    keras.layers.ReLU: _Kind(_relu_steps, lambda r: "with a threshold" if r.threshold else ""),
    keras.layers.LeakyReLU: _Kind(_leaky_steps),
    keras.layers.ELU: _Kind(_elu_steps),
    keras.layers.Softmax: _Kind(
        lambda layer, names: [Step(_softmax, "softmax")],
        lambda s: "" if s.axis in (-1, len(s.input.shape) - 1) else "along another axis than the last",
    ),
    keras.layers.LayerNormalization: _Kind(
        _layer_norm_steps,
        lambda n: "with rms_scaling" if getattr(n, "rms_scaling", False) else _on_last_axis(n),
    ),
    keras.layers.BatchNormalization: _Kind(_batch_norm_steps, _on_last_axis),
    keras.layers.GlobalAveragePooling1D: _Kind(_pooling_steps, _channels_last),
    keras.layers.GlobalAveragePooling2D: _Kind(_pooling_steps, _channels_last),
    keras.layers.Flatten: _Kind(_flatten_steps, _channels_last),
    keras.layers.Rescaling: _Kind(_rescaling_steps),
    keras.layers.Identity: _Kind(lambda layer, names: [Step(_same)]),
    **dict.fromkeys(_NOISE, _Kind(lambda layer, names: [Step(_same)])),
}
