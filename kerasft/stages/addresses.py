"""Addresses of layers: the name of one, its path, or a pattern for several."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence

import keras

from kerasft import _keras

_WILDCARDS = frozenset("*?[")


def layer_paths(model: keras.Model) -> list[tuple[str, keras.Layer]]:
    """List every layer inside `model`, but inputs, with its path; parents before their children.

    A path is the names from the outermost layer to the layer itself: `backbone/block_1/conv`. A layer that
    stands in several places has several paths.

    Example:
        >>> net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="top")])
        >>> [path for path, _ in layer_paths(net)]
        ['top']
    """

    def visit(layer: keras.Layer, path: str, above: tuple[int, ...]) -> Iterator[tuple[str, keras.Layer]]:
        for child in _keras.children(layer):
            if id(child) in above or isinstance(child, keras.layers.InputLayer):
                continue
            inner = f"{path}/{child.name}" if path else child.name
            yield inner, child
            yield from visit(child, inner, (*above, id(child)))

    return list(visit(model, "", (id(model),)))


def is_pattern(address: str) -> bool:
    """Whether an address may mean several layers: it holds `*`, `?` or `[`."""
    return bool(_WILDCARDS & set(address))


def matches(address: str, path: str) -> bool:
    """Whether `address` is the layer's path, its end (its name alone, say), or a pattern for either.

    Example:
        >>> [matches(a, "student/body") for a in ("body", "student/body", "stud*/body", "student")]
        [True, True, True, False]
    """
    parts = path.split("/")
    ends = ["/".join(parts[i:]) for i in range(len(parts))]
    return any(address == end or fnmatch.fnmatchcase(end, address) for end in ends)


def layers_at(paths: Sequence[tuple[str, keras.Layer]], address: str, what: str) -> list[keras.Layer]:
    """The layers that `address` means: one for a name or a path, one or more for a pattern.

    Args:
        paths: The result of `layer_paths`.
        address: A layer's name, a path that ends at the layer, or a pattern with `*`, `?` or `[`.
        what: What the address was given for, as the beginning of an error message: "`at`".

    Raises:
        ValueError: No layer is meant, or a name or path without a wildcard means several; the message lists
            the paths that exist.
    """
    found: dict[int, list[str]] = {}
    by_id: Mapping[int, keras.Layer] = {id(layer): layer for _, layer in paths}
    for path, layer in paths:
        if matches(address, path):
            found.setdefault(id(layer), []).append(path)
    exact = {key: each for key, each in found.items() if address in each}
    if exact and not is_pattern(address):  # the whole path of one layer may be the end of another's
        found = exact
    if not found:
        raise ValueError(
            f"{what} names {address!r}, which is no layer. There are {[path for path, _ in paths]}."
        )
    if len(found) > 1 and not is_pattern(address):
        each = [paths_[0] for paths_ in found.values()]
        raise ValueError(
            f"{what} names {address!r}, which is the name of {len(found)} layers: {each}. Write the path of "
            "one of them, or a pattern for several."
        )
    return [by_id[key] for key in found]
