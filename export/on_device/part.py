"""The part of a model that trains on the device: its last layers, one after the other, from a depth on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from ..model import layers_of
from .row import Link, Row, named, row_of
from .steps import trainable_layers

HEAD = "head"
# Names that signatures use for something else.
_RESERVED = ("features", "target", "learning_rate", "loss", "scores", "step", "digest")


@dataclass(frozen=True)
class Part:
    """What trains on the device.

    Attributes:
        links: The layers, in the order of the call.
        features: The model before them, with their input as its output.
        weights: The weights that train, by their names in signatures.
        frozen: The other weights of the part, likewise.
    """

    links: tuple[Link, ...]
    features: keras.Model
    weights: dict[str, Any]
    frozen: dict[str, Any]

    @property
    def depth(self) -> str:
        """The path of its first layer."""
        return self.links[0].path


def part_of(model: keras.Model, depth: str = HEAD) -> Part:
    """The part of a model that trains on the device.

    Args:
        model: A built model with one output.
        depth: The name or the path of the first layer that trains, or "head" for the last one with a kernel.

    Raises:
        TypeError, ValueError: The part can't train on the device; the message says which could.
    """
    if not isinstance(depth, str):
        raise TypeError(f"depth is the name of a layer, or {HEAD!r}; received {depth!r}.")
    row = row_of(model)
    return _part(model, row, _place_of(model, row, depth))


def last_layers(model: keras.Model, count: int) -> Part:
    """The part of the last layers that can train on the device, so many of them."""
    row = row_of(model)
    return _part(model, row, len(row.links) - count)


def _part(model: keras.Model, row: Row, first: int) -> Part:
    links = row.links[first:]
    inputs, tensor = links[0].before()
    depth = links[0].path
    if any(tensor is t for t in keras.tree.flatten(inputs)):
        raise ValueError(
            f"depth={depth!r} is the first layer of {model.name!r}: nothing of it would be frozen, and there "
            f"would be no features. {_cuts(row.links[1:])}"
        )
    if None in tuple(tensor.shape)[1:]:
        raise ValueError(
            f"The features before {depth!r} have the shape {tuple(tensor.shape)}, with open axes beside the "
            "batch. Fix the size: inputs = keras.Input((224, 224, 3)); keras.Model(inputs, model(inputs)), "
            "with your own size."
        )
    weights = named_weights(links)
    part = Part(
        links,
        keras.Model(inputs, tensor, name=f"{model.name}_features"),
        {name: v for name, v in weights.items() if v.trainable},
        {name: v for name, v in weights.items() if not v.trainable},
    )
    if not part.weights:
        raise ValueError(
            f"From depth={depth!r} on, {model.name!r} has none that train of the weights {sorted(weights)}. "
            f"Set layer.trainable = True, or choose an earlier depth. {_cuts(row.links)}"
        )
    return part


def _place_of(model: keras.Model, row: Row, depth: str) -> int:
    """The place of a depth in a row."""
    named = [i for i, link in enumerate(row.links) if depth in (link.path, link.layer.name)]
    dense = [i for i, link in enumerate(row.links) if hasattr(link.layer, "kernel")]
    if depth == HEAD:
        if not dense:
            raise ValueError(
                f"{model.name!r} has no layer with a kernel that can train on the device: {row.end}. "
                f"What can train is {', '.join(trainable_layers())}, one after the other, at the end."
            )
        if named and named != dense[-1:]:
            raise ValueError(
                f"depth={HEAD!r} means the last layer with a kernel, {row.links[dense[-1]].path!r}, and "
                f"{row.links[named[0]].path!r} has that name. Give the path of the one that is meant, or "
                "another name to the other."
            )
        return dense[-1]
    if len(named) == 1:
        return named[0]
    if named:
        raise ValueError(
            f"Several layers are named {depth!r}: {[row.links[i].path for i in named]}. Give one path."
        )
    known = [layer.name for layer in layers_of(model)]
    if depth.rsplit("/", 1)[-1] not in known:
        raise ValueError(f"{model.name!r} has no layer {depth!r}. {_cuts(row.links)}")
    raise ValueError(
        f"From depth={depth!r} on, {model.name!r} can't train on the device: {row.end}. What can train is "
        f"{', '.join(trainable_layers())}, one after the other, at the end. {_cuts(row.links)}"
    )


def _cuts(links: Sequence[Link]) -> str:
    trained = [link for i, link in enumerate(links) if any(part.layer.weights for part in links[i:])]
    return f"Depths that work: {[link.path for link in trained]}." if trained else "No depth works."


def named_weights(links: Sequence[Link]) -> dict[str, Any]:
    """The weights of layers by their names in signatures, such as `scores_kernel`.

    A name that Keras has made, such as `dense_7`, is counted anew: it is another one in the next process.
    """
    found: dict[str, Any] = {}
    for link, names in zip(links, weight_names(links), strict=True):
        found |= {names[v.name]: v for v in link.layer.weights}
    return found


def weight_names(links: Sequence[Link]) -> list[dict[str, str]]:
    """For each layer, by the name of a weight in it, such as "kernel", its name in signatures."""
    used, count = set(_RESERVED), dict[str, int]()
    found = []
    for link in links:
        kind = re.sub(
            r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(link.layer).__name__
        ).lower()
        name = link.layer.name
        if re.fullmatch(rf"{kind}(_\d+)?", name) and link.layer.weights:
            number = count[kind] = count.get(kind, -1) + 1
            name = f"{kind}_{number}" if number else kind
        names = {}
        for v in link.layer.weights:
            wanted = re.sub(r"\W+", "_", f"{name}_{v.name}")
            unique = next(
                n for i in range(len(used) + 1) if (n := f"{wanted}_{i}" if i else wanted) not in used
            )
            used.add(unique)
            names[v.name] = unique
        found.append(names)
    return found


def rebuilt(
    links: Sequence[Link], tensor: Any, change: Callable[[keras.Layer, dict[str, Any]], keras.Layer | None]
) -> tuple[Any, list[keras.Layer]]:
    """Call copies of layers on a tensor.

    Args:
        links: The layers.
        tensor: What the first copy takes.
        change: Makes a layer of one and its configuration; None to leave it out.

    Returns:
        The last output, and the copies with the weights of the layers where their shapes are the same.
    """
    copies = []
    for link in links:
        copy = change(link.layer, link.layer.get_config())
        if copy is None:
            continue
        tensor = copy(tensor)
        for mine, theirs in zip(copy.weights, link.layer.weights, strict=True):
            mine.trainable = theirs.trainable
            if tuple(mine.shape) == tuple(theirs.shape):
                mine.assign(theirs)
        copies.append(copy)
    return tensor, copies


def with_new_classes(part: Part, count: int, seed: int) -> keras.Model:
    """The model with its last Dense begun anew for other classes; layers of the part are copies.

    Raises:
        ValueError: The part does not end in a Dense and layers without weights.
    """
    links = part.links
    dense = [i for i, link in enumerate(links) if isinstance(link.layer, keras.layers.Dense)]
    if not dense or any(link.layer.weights for link in links[dense[-1] + 1 :]):
        raise ValueError(
            "new_classes begins the last Dense of the part anew, after which no layer has weights; from "
            f"depth={part.depth!r} on there are {[named(link.path, link.layer) for link in links]}."
        )
    last = links[dense[-1]].layer

    def change(layer: keras.Layer, config: dict[str, Any]) -> keras.Layer:
        return type(layer).from_config(
            {**config, "units": count, "trainable": True} if layer is last else config
        )

    outputs, copies = rebuilt(links, part.features.output, change)
    model = keras.Model(part.features.input, outputs)
    fresh = copies[dense[-1]]
    for kind in ("kernel", "bias"):
        variable = getattr(fresh, kind)
        if variable is not None:
            variable.trainable = True
            variable.assign(_seeded(getattr(fresh, f"{kind}_initializer"), seed)(variable.shape))
    return model


def _seeded(initializer: Any, seed: int) -> Any:
    config = initializer.get_config()
    return type(initializer).from_config({**config, "seed": seed}) if "seed" in config else initializer


def rest_of(model: keras.Model, links: Sequence[Link], names: Iterable[str]) -> list[Any]:
    """All weights of a model but those of its last layers that have these names."""
    named = named_weights(links)
    taken = {id(named[name]) for name in names}
    return [v for v in model.weights if id(v) not in taken]


def values_of(weights: dict[str, Any]) -> dict[str, np.ndarray]:
    """The values of weights in float32."""
    return {name: np.asarray(keras.ops.convert_to_numpy(v), "float32") for name, v in weights.items()}
