"""Keys for variables: their paths, with a number where Keras gives several of a model one path."""

from __future__ import annotations

import collections
import re
from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf


def path_of(variable: keras.Variable | tf.Variable) -> str:
    """The path of a variable; the name of TensorFlow's own, without the number of an output."""
    path = getattr(variable, "path", None)
    return str(variable.name).removesuffix(":0") if path is None else str(path)


def key_of_path(entries: Mapping[str, object], path: str, separator: str = "/") -> str | None:
    """The key of a variable; a loaded Sequential model leaves out its own name in front of the path."""
    if path in entries:
        return path
    near = [k for k in entries if k.endswith(separator + path) or path.endswith(separator + k)]
    return near[0] if len(near) == 1 else None


def numbered_paths(variables: Sequence[keras.Variable | tf.Variable]) -> list[str]:
    """The paths of variables, with `#2`, `#3`, … after the second and later ones of one path.

    Example:
        >>> numbered_paths([keras.Variable(0.0, name=name) for name in ("a", "b", "a")])
        ['a', 'b', 'a#2']
    """
    counts: collections.Counter[str] = collections.Counter()
    keys = []
    for path in map(path_of, variables):
        counts[path] += 1
        keys.append(path if counts[path] == 1 else f"{path}#{counts[path]}")
    return keys


def without_number(key: str) -> str:
    """The path in a key of `numbered_paths`."""
    return re.sub(r"#\d+$", "", key)


def keys_of(
    variables: Sequence[keras.Variable | tf.Variable],
    entries: Mapping[str, object],
    known: Mapping[int, str],
    resolved: object = None,
) -> list[str | None]:
    """The key that each variable has in `entries`; None for those that are not in it.

    Args:
        variables: Variables of an optimizer, which may hold a part of those of the model, in another order.
        entries: Anything by the model's `numbered_paths`.
        known: Keys by the `id` of the variable, where that is known.
        resolved: What may know more of them, by its method `key_of`.

    Raises:
        ValueError: Some of several variables of one path are given, and nothing tells which.
    """
    key_of = getattr(resolved, "key_of", lambda variable: None)
    known = {**known, **{id(v): key for v in variables if (key := key_of(v)) is not None}}
    found = [key if (key := known.get(id(v))) in entries else None for v in variables]
    for path in {without_number(key) for key in entries if key != without_number(key)}:
        left = [key for key in entries if without_number(key) == path and key not in found]
        places = [i for i, v in enumerate(variables) if found[i] is None and path_of(v) == path]
        if places and left and len(places) != len(left):
            raise ValueError(
                f"The optimizer holds {len(places)} weights of the path {path!r}, and there are the factors "
                f"of {left}: nothing tells which is whose. Resolve the factors against the model that "
                "trains, or give its layers names of their own."
            )
        for place, key in zip(places, left, strict=False):
            found[place] = key
    taken = set(found)
    for place, variable in enumerate(variables):
        if found[place] is None and (key := key_of_path(entries, path_of(variable))) not in taken:
            found[place] = key
    return found
