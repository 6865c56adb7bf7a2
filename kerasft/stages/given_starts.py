"""Stages that start at layers which the user names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import keras

from kerasft import _keras
from kerasft.stages.addresses import layer_paths, layers_at, matches
from kerasft.stages.call_order import call_order
from kerasft.stages.stage import Stage


def stages_at(model: keras.Model, at: Sequence[str]) -> list[Stage]:
    """Divide a model at the layers of these names or paths; see `find_stages`.

    Of layers side by side, those that `at` names first come first.
    """
    if isinstance(at, str) or not at or len(set(at)) < len(at):
        raise ValueError(f"`at` lists the layers that start a stage, each once; received {at!r}.")
    paths = layer_paths(model)
    if missing := [name for name in at if not any(matches(name, path) for path, _ in paths)]:
        known = list(dict.fromkeys(path for path, _ in paths))
        raise ValueError(f"`at` names layers that {model.name!r} lacks: {missing}. It has {known}.")
    starts: dict[str, keras.Layer] = {}
    for name in at:
        starts[name], *others = layers_at(paths, name, "`at`")
        if others:
            means = [starts[name].name, *(layer.name for layer in others)]
            raise ValueError(f"`at` names {name!r}, which means {len(means)} layers: {means}. Name one.")
    if len({id(layer) for layer in starts.values()}) < len(at):
        raise ValueError(f"`at` lists the layers that start a stage, each once; received {at!r}.")
    order = list(_in_order(_by_starts(model, list(starts.values()))))
    position = {id(layer): i for i, layer in enumerate(order)}
    begins = [position[id(layer)] for layer in starts.values()]
    if begins != sorted(begins):
        in_order = sorted(at, key=lambda name: position[id(starts[name])])
        raise ValueError(f"`at` is not in the order of the model, which is {in_order}.")
    bounds = [0, *begins[1:], len(order)]
    stages = []
    for name, begin, end in zip(at, bounds[:-1], bounds[1:], strict=True):
        owners = tuple(layer for layer in order[begin:end] if _keras.own_variables(layer))
        if not owners:
            raise ValueError(f"The stage that `at` starts at {name!r} holds no weights; leave it out.")
        stages.append(Stage(name, owners))
    return stages


def _in_order(layers: Sequence[keras.Layer]) -> Iterator[keras.Layer]:
    """Yield layers and all inside them once each; parents before children."""
    seen: set[int] = set()
    for layer in layers:
        inner = (
            _in_order(layer.layers) if isinstance(layer, keras.Model) else list(_keras.sublayers(layer))[1:]
        )
        for part in (layer, *inner):
            if id(part) not in seen:
                seen.add(id(part))
                yield part


def _by_starts(model: keras.Model, starts: Sequence[keras.Layer]) -> list[keras.Layer]:
    """List the layers that a model calls in order, of those side by side the ones with a start first.

    Keras's own order holds where `starts` follows it, and in a model whose calls Keras does not know.
    """
    children: list[keras.Layer] = list(model.layers)
    holder = {
        id(part): i for i, child in enumerate(children) for part in reversed([*_keras.sublayers(child)])
    }
    wanted = [holder[id(start)] for start in starts]
    order = call_order(model)
    if wanted == sorted(wanted) or order is None:
        return children
    position = {id(child): i for i, child in enumerate(children)}
    above = {}
    for node in order.graph:
        for operation in order.operations([node]):
            above[position[id(operation)]] = order.operations(order.before([node]))
    placed: dict[int, None] = {}
    for index in wanted:
        placed |= dict.fromkeys(sorted(position[id(op)] for op in above.get(index, [])))
        placed |= dict.fromkeys([index])
    return [children[i] for i in [*placed, *(i for i in position.values() if i not in placed)]]
