"""Inputs and outputs of a SavedModel's function, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import tensorflow as tf

from kerasft.hub.arguments import Bound, Function

InputShape: TypeAlias = Sequence[int | None] | Mapping[str, Sequence[int | None]] | None
Output: TypeAlias = str | Sequence[str] | None


def named(structure: Any, path: str = "") -> list[tuple[str, Any]]:
    """The leaves of nested dicts, lists and tuples, in TensorFlow's order, by their paths: `outputs/3`."""
    if isinstance(structure, Mapping):
        entries = [(str(key), structure[key]) for key in sorted(structure)]
    elif isinstance(structure, list | tuple):
        fields = getattr(structure, "_fields", range(len(structure)))
        entries = [(str(key), value) for key, value in zip(fields, structure, strict=True)]
    else:
        return [(path, structure)]
    return [leaf for key, value in entries for leaf in named(value, f"{path}/{key}" if path else key)]


def inputs_of(
    bound: Bound, input_shape: InputShape, map_batch: bool = False
) -> tuple[list[tuple[tf.Tensor, tf.TensorSpec]], Any]:
    """The placeholders and specs of the inputs, and the structure in which callers pass them.

    Args:
        bound: The function of a SavedModel.
        input_shape: As in `kerasft.hub.load_backbone`.
        map_batch: As in `load_backbone`.

    Returns:
        A (placeholder, spec with the batch) pair for each input, and a structure of their positions.

    Raises:
        ValueError: `input_shape` does not fit, the SavedModel leaves a shape open, or an input is ragged
            or sparse.
    """
    structures = bound.inputs
    title, whole = next(iter(structures.items()))
    if len(structures) > 1:
        whole = list(structures.values())
    leaves = named(whole)
    for path, spec in leaves:
        _check_kind(path or title, spec)
    keys: list[Any] = [path or 0 for path, _ in leaves]
    if isinstance(whole, list | tuple):
        keys = list(range(len(leaves)))
    titles = [str(spec.name or key) for key, (_, spec) in zip(keys, leaves, strict=True)]
    paths = [path for path, _ in leaves]
    shapes = input_shape if isinstance(input_shape, Mapping) else None
    if shapes is not None and not shapes.keys() <= {*keys, *titles, *paths}:
        raise ValueError(
            f"input_shape names {list(shapes)}, but the inputs are "
            f"{keys if isinstance(whole, Mapping) else titles}."
        )
    specs = []
    for key, path, name, tensor, (_, spec) in zip(
        keys, paths, titles, bound.placeholders, leaves, strict=True
    ):
        wanted: Any = input_shape
        if shapes is not None:
            wanted = next((shapes[k] for k in (key, name, path) if k in shapes), None)
        shape = spec.shape
        if wanted is not None:
            batch = [] if map_batch else [shape[0] if shape.rank else None]
            if not shape.is_compatible_with([*batch, *wanted]):
                same = shape.is_compatible_with([*wanted]) and not map_batch
                hint = " If it has no batch axis, pass map_batch=True." if same else ""
                raise ValueError(
                    f"input_shape={tuple(wanted)} does not fit the SavedModel, whose input "
                    f"{spec.name or key!r} has the shape {tuple(shape)[len(batch) :]} without the "
                    f"batch.{hint}"
                )
            shape = tf.TensorShape([*batch, *wanted])
        if shape.rank is None:
            raise ValueError(f"The SavedModel leaves the shape of its input {key!r} open: pass input_shape.")
        specs.append(
            (tensor, tf.TensorSpec(shape, spec.dtype, name=path if isinstance(whole, Mapping) else name))
        )
    return specs, _numbered(whole, iter(range(len(leaves))))


def outputs_of(function: Function, output: Output) -> tuple[Any, list[int]]:
    """What a model returns, and which of the function's results that needs.

    Args:
        function: The function of a SavedModel.
        output: As in `kerasft.hub.load_backbone`.

    Returns:
        A structure of positions in the second, which are positions in the function's results.

    Raises:
        ValueError: There is no output of that name.
    """
    structured = function.structured_outputs
    leaves = [(path, leaf) for path, leaf in named(structured) if leaf is not None]
    for path, leaf in leaves:
        _check_kind(path, leaf, "output")
    places = {path: i for i, (path, _) in enumerate(leaves)}
    if not isinstance(structured, Mapping | list | tuple) or not leaves:
        if output is not None:
            raise ValueError(f"output={output!r}, but the SavedModel's outputs have no names: it has one.")
        return 0, [0]
    flat = _flat_names(structured)
    if output is None:
        return (0 if len(flat) == 1 else {n: i for i, n in enumerate(flat)}), list(flat.values())
    asked = [output] if isinstance(output, str) else [*output]
    unknown = [n for n in asked if n not in flat and n not in places and _entry(structured, n) is None]
    if unknown or not asked:
        wrong = unknown[0] if len(unknown) == 1 else unknown
        raise ValueError(f"The SavedModel has no output {wrong!r}. It has {list(places)}.")
    selected: list[int] = []

    def taken(place: int) -> int:
        if place not in selected:
            selected.append(place)
        return selected.index(place)

    def chosen(name: str) -> Any:
        place = places.get(name, flat.get(name))
        if place is not None:
            return taken(place)
        start = next(i for path, i in places.items() if path.startswith(f"{name}/"))
        entry = _entry(structured, name)
        inner = iter(range(start, start + len([v for _, v in named(entry) if v is not None])))
        return tf.nest.map_structure(taken, _numbered(entry, inner))

    returned = {name: chosen(name) for name in asked}
    return (returned[output] if isinstance(output, str) else returned), selected


def _flat_names(structured: Any) -> dict[str, int]:
    """All outputs by the keys of a flat dict: `logits`, and `encoder_outputs_3` for what a list holds."""
    numbers = iter(range(len(named(structured))))
    if not isinstance(structured, Mapping):
        return {f"output_{i}": i for i, (_, leaf) in enumerate(named(structured)) if leaf is not None}
    found: dict[str, int] = {}
    for key in sorted(structured):
        entries = [next(numbers) for _, leaf in named(structured[key]) if leaf is not None]
        found |= {key if len(entries) == 1 else f"{key}_{i}": place for i, place in enumerate(entries)}
    return found


def _entry(structure: Any, path: str) -> Any:
    """The part of a structure at a path; None if there is none."""
    for key in path.split("/"):
        if isinstance(structure, list | tuple) and key.isdecimal() and int(key) < len(structure):
            structure = structure[int(key)]
        elif isinstance(structure, Mapping):
            structure = structure.get(key)
        else:
            return None
    return structure


def _numbered(structure: Any, numbers: Any) -> Any:
    """The same structure in plain dicts and lists, with the next number for each leaf that is not None."""
    if isinstance(structure, Mapping):
        return {key: _numbered(structure[key], numbers) for key in sorted(structure)}
    if isinstance(structure, list | tuple):
        return [_numbered(value, numbers) for value in structure]
    return None if structure is None else next(numbers)


def _check_kind(name: str, spec: Any, side: str = "input") -> None:
    """Raise ValueError unless the spec is that of a dense tensor."""
    if not isinstance(spec, tf.TensorSpec):
        kind = type(spec).__name__.removesuffix("Spec")
        raise ValueError(
            f"The SavedModel's {side} {name!r} is no dense tensor but a {kind}, which can't be the {side} of "
            "a Keras model made of its graph. Load a function with dense tensors (signature=, output=), or "
            "save the module with a function around it that takes and gives dense tensors."
        )
