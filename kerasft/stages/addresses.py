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
        raise _shared(address, [each[0] for each in found.values()], what)
    return [by_id[key] for key in found]


def check_stage_name(
    paths: Sequence[tuple[str, keras.Layer]], name: str, inside: Mapping[int, bool], what: str
) -> None:
    """Refuse the name of a stage that a layer in it and another layer elsewhere have, too.

    A stage's name comes before a layer's, so that a name which no layer of the stage has means the stage.

    Args:
        paths: The result of `layer_paths`.
        name: The stage's name.
        inside: For each layer that counts, by `id`, whether it means the same as the stage.
        what: As in `layers_at`.

    Raises:
        ValueError: The name means several layers, which are listed.
    """
    found = {id(layer): path for path, layer in paths if id(layer) in inside and matches(name, path)}
    whole = [key for path, layer in paths if path == name and (key := id(layer)) in found]
    own = [key for key in found if inside[key]]
    if own and len(own) < len(found) and not any(inside[key] for key in whole):
        raise _shared(name, list(found.values()), what)


def _shared(address: str, paths: Sequence[str], what: str) -> ValueError:
    """The error for an address that is the name of several layers, with a path of each."""
    if address in paths or len(set(paths)) < len(paths):  # no path tells them apart
        way_out = "No path means only one of them: give them names of their own."
    else:
        way_out = "Write the path of one of them, or a pattern for several."
    return ValueError(
        f"{what} names {address!r}, which is the name of {len(paths)} layers: {list(paths)}. {way_out}"
    )
