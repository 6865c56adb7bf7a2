"""A model as float32, which TFLite's converter takes, from one that trained in mixed or half precision."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterable, Iterator
from typing import Any

import keras

from ..errors import ExportError
from .signature import layers_of

_HALVES = ("float16", "bfloat16")
_HALF_POLICIES = {*_HALVES, "mixed_float16", "mixed_bfloat16"}


def in_float32(model: keras.Model) -> keras.Model:
    """The model itself if it computes in float32, else a copy that does, with the same weights.

    Under `mixed_float16`, `mixed_bfloat16`, `float16` and `bfloat16` policies the converter writes a file
    without complaint which LiteRT then can't load. The copy is built from the model's configuration with each
    dtype policy replaced; the model itself is not changed.

    Args:
        model: A built Functional or Sequential model.

    Raises:
        ValueError: Layers were quantized by Keras.
        ExportError: The model can't be built from its configuration.
    """
    layers = [model, *layers_of(model)]
    quantized = [
        layer.name
        for layer in layers
        if isinstance(layer.dtype_policy, keras.dtype_policies.QuantizedDTypePolicy)
    ]
    if quantized:
        raise ValueError(
            f"The layers {quantized} were quantized by Keras: int8 fails to convert, int4 gives a larger and "
            'wrong file. Export the model as it was before quantize(), with precision="weight_only" or '
            '"int8".'
        )
    if not any({layer.compute_dtype, layer.variable_dtype} & set(_HALVES) for layer in layers):
        return model
    try:
        with keras.saving.custom_object_scope(_own(layers)), _float32_by_default():
            copy = type(model).from_config(_rewritten(model.get_config()))
    except Exception as error:
        raise ExportError(
            f"{model.name!r} computes in half precision and can't be built again in float32 from its "
            f"configuration: {' '.join(str(error).split())[:400]}. Give its own layers a get_config() that "
            "returns what __init__ takes, or build the model under float32 and copy the weights with "
            "set_weights()."
        ) from error
    old, new = model.variables, copy.variables
    if [tuple(v.shape) for v in old] != [tuple(v.shape) for v in new]:
        raise ExportError(
            f"{model.name!r} was built again in float32 and came out with other weights. "
            "Build it under float32 yourself and copy the weights with set_weights()."
        )
    for mine, theirs in zip(new, old, strict=True):
        mine.assign(keras.ops.cast(theirs, mine.dtype))
    return copy


@contextlib.contextmanager
def _float32_by_default() -> Iterator[None]:
    """Make float32 the default, which layers follow in their own __init__, whatever their config has."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)


def _own(layers: Iterable[keras.Layer]) -> dict[str, Any]:
    """Classes and functions of layers that Keras does not know by their names, and functions of Lambdas."""
    found: dict[str, Any] = {}
    for layer in layers:
        kind = type(layer)
        named: dict[str, Any] = {keras.saving.get_registered_name(kind): kind}
        for key, value in vars(layer).items():  # activations and the like; Keras keeps methods there too
            if inspect.isfunction(value) and not hasattr(kind, key) and value.__name__ != "<lambda>":
                named[value.__name__] = value
        if isinstance(layer, keras.layers.Lambda):
            named[_lambda_of(layer.name)] = layer.function
        for name, value in named.items():
            if found.setdefault(name, value) is not value:
                raise ValueError(f"there are two classes or functions named {name!r}")
    return {k: v for k, v in found.items() if not v.__module__.startswith("keras.")}


def _lambda_of(layer: str) -> str:
    return f"the lambda of {layer}"


def _rewritten(config: Any) -> Any:
    """A configuration with all dtypes of half precision replaced by float32."""
    if isinstance(config, list | tuple):
        return type(config)(_rewritten(item) for item in config)
    if not isinstance(config, dict):
        return config
    kind: Any = config.get("class_name")
    inner: Any = config.get("config")
    if kind in ("DTypePolicy", "FloatDTypePolicy") and inner["name"] in _HALF_POLICIES:
        return {**config, "config": {**inner, "name": "float32"}}
    if kind == "Lambda" and isinstance(inner["function"], dict):
        if inner["function"].get("class_name") == "__lambda__":  # Keras would run its bytecode, or refuse to
            config = {**config, "config": {**inner, "function": _lambda_of(inner["name"])}}
    return {
        k: "float32" if k == "dtype" and isinstance(v, str) and v in _HALF_POLICIES else _rewritten(v)
        for k, v in config.items()
    }
