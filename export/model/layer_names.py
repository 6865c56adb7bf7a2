"""The layers behind names of a graph's operations, as messages of TensorFlow and TFLite have them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import keras


def layer_at(model: keras.Model, operation: str) -> tuple[str, keras.Layer | None]:
    """The path of the innermost layer that made an operation, and the layer; ("", None) if none did.

    Keras calls each layer in a name scope of its own, which TensorFlow numbers: `net_1/memory_1/while/add` is
    of the layer `memory` of `net`.

    Example:
        >>> net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="top")], name="net")
        >>> layer_at(net, "net_1/top_1/MatMul")[0]
        'top'
    """
    path: list[str] = []
    found: keras.Layer | None = None
    inside = {layer.name: layer for layer in _parts(model)}
    for scope in operation.split("/"):
        name = next((n for n in (re.sub(r"_\d+$", "", scope), scope) if n in inside), None)
        if name is None:
            continue
        found = inside[name]
        path.append(name)
        inside = {layer.name: layer for layer in _parts(found)}
    return "/".join(path), found


def layers_named_in(model: keras.Model, text: str) -> list[str]:
    """The layers whose operations a message names, each once, with their class: `'memory' (LSTM)`."""
    found: dict[str, None] = {}
    for name in re.findall(r"[\w.]+(?:/[\w.]+)+", text):
        path, layer = layer_at(model, name)
        if layer is not None:
            found[f"{path!r} ({type(layer).__name__})"] = None
    return list(found)


def _parts(layer: keras.Layer) -> Iterator[keras.Layer]:
    """The layers inside a layer: those of a model, the wrapped one, and what its attributes hold."""
    if isinstance(layer, keras.Model):
        yield from layer.layers
        return
    if isinstance(layer, keras.layers.RNN):  # its cell is its own affair
        return
    for value in vars(layer).values():
        for part in value if isinstance(value, list | tuple) else [value]:
            if isinstance(part, keras.Layer) and part is not layer:
                yield part
