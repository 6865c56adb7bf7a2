"""What a model is, apart from its names: the calls of its layers, their settings and their connections.

Names are a hint, for Keras counts automatic ones up in a process: a model that is built again has others.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import marshal
import types
import warnings
from collections.abc import Collection, Mapping
from typing import Any

import keras
import numpy as np

from kerasft._keras.call_graph import program
from kerasft._keras.layers import sublayers

# What does not matter for what a layer computes when it is frozen, or comes with its weights.
_LEFT_OUT = ("name", "trainable", "seed")
_REFERENCES = ("keras_history", "input_layers", "output_layers")  # where a configuration names layers


def structure(model: keras.Model) -> list[list[str]]:
    """Describe a built model: class, name and a digest of settings and connections for each call, in order.

    A model that is no graph is described by its layers. Two models with equal classes and digests compute
    the same from the same weights, as far as configurations tell.
    """
    graph = program(model)
    parts: list[tuple[Any, Any]]
    if graph is None:
        parts = [(layer, None) for layer in sublayers(model)]
    else:
        parts = [(o.layer, [o.reads, o.writes]) for o in graph.operations]
    described = []
    for part, connections in parts:
        policy = getattr(getattr(part, "dtype_policy", None), "name", None)
        text = json.dumps([settings(part), policy, connections], sort_keys=True)
        digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        described.append([type(part).__name__, str(getattr(part, "name", "")), digest])
    return described


def settings(layer: object) -> list[Any]:
    """A layer's class and configuration, without names, flags and seeds, as plain data for JSON.

    Args:
        layer: A layer, an operation of `keras.ops`, or None (where a nested model's inputs are converted).
    """
    name = type(layer).__name__
    if not isinstance(layer, keras.Layer):
        attributes = vars(layer) if layer is not None else {}
        return [name, {k: _text(v) for k, v in attributes.items() if k != "name" and not k.startswith("_")}]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras's, of functions that a file could not be loaded with
            config = layer.get_config()
    except (
        Exception
    ):  # of a user's layer: Keras itself raises NotImplementedError if there is no configuration
        return [name]
    return [name, plain_data(config, _LEFT_OUT)]


def plain_data(value: Any, left_out: Collection[str] = ()) -> Any:
    """A configuration as plain data that are the same in each process.

    Args:
        value: The configuration.
        left_out: Keys to be left out, at any depth.
    """
    return _plain(value, left_out, {})


def _plain(value: Any, left_out: Collection[str], names: Mapping[str, int]) -> Any:
    if isinstance(value, Mapping):
        if value.get("class_name") == "__lambda__":
            return _function(value["config"], left_out)
        layers = value.get("layers")
        if isinstance(layers, list) and "input_layers" in value:  # of a Functional model
            names = {str(entry.get("name")): number for number, entry in enumerate(layers)}
        return {
            str(key): _numbered(part, names) if key in _REFERENCES else _plain(part, left_out, names)
            for key, part in value.items()
            if key not in left_out
        }
    if isinstance(value, list | tuple):
        return [_plain(part, left_out, names) for part in value]
    if isinstance(value, np.ndarray):
        content = np.ascontiguousarray(value).tobytes()
        return [value.dtype.name, list(value.shape), hashlib.blake2b(content, digest_size=8).hexdigest()]
    return value if value is None or isinstance(value, str | int | float) else _text(value)


def _numbered(value: Any, names: Mapping[str, int]) -> Any:
    """References to layers, by their numbers."""
    if isinstance(value, list | tuple):
        return [_numbered(part, names) for part in value]
    return names.get(value, value) if isinstance(value, str) else _plain(value, (), names)


def _text(value: Any) -> str:
    """What is written of an object; its class, if that would be a place in memory."""
    text = repr(value)
    return type(value).__name__ if " at 0x" in text else text


def _function(config: Mapping[str, Any], left_out: Collection[str]) -> list[Any]:
    """A Python function in a configuration, without its file and its lines, which change in a notebook."""
    parts = config["value"] if "value" in config else [config[k] for k in ("code", "defaults", "closure")]
    code, *others = parts
    return [_code(marshal.loads(codecs.decode(code.encode("ascii"), "base64"))), _plain(others, left_out, {})]


def _code(code: types.CodeType) -> list[Any]:
    constants = [_code(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    return [code.co_code.hex(), constants, list(code.co_names)]
