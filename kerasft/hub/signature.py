"""Inputs and outputs of a SavedModel's function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import tensorflow as tf

InputShape: TypeAlias = Sequence[int | None] | Mapping[str, Sequence[int | None]] | None


Function: TypeAlias = tf.types.experimental.ConcreteFunction
Keys: TypeAlias = list[str] | int
"""How callers pass the inputs: by these keys in a dict, or as so many arguments."""


def is_flag(leaf: object) -> bool:
    """Whether an argument of a function is the flag for training."""
    return isinstance(leaf, tf.TensorSpec) and leaf.dtype == tf.bool and leaf.shape.rank == 0


def inputs_of(
    function: Function, input_shape: InputShape
) -> tuple[list[tuple[tf.Tensor, tf.TensorSpec]], Keys]:
    """The placeholders and specs of the inputs, and the structure in which callers pass them.

    Args:
        function: The function of a SavedModel.
        input_shape: As in `kerasft.hub.load_backbone`.

    Raises:
        ValueError: `input_shape` does not fit, or the SavedModel leaves a shape open.
    """
    args, kwargs = function.structured_input_signature
    leaves = [v for v in tf.nest.flatten((args, kwargs)) if isinstance(v, tf.TensorSpec)]
    pairs = [
        (tensor, spec)
        for tensor, spec in zip(function.inputs[: len(leaves)], leaves, strict=True)
        if not is_flag(spec)
    ]
    first = args[0] if args else next(iter(kwargs.values()), None)
    keys: list[Any] = sorted(first) if isinstance(first, dict) else list(range(len(pairs)))
    if len(keys) != len(pairs):
        keys = list(range(len(pairs)))
    names = [spec.name for _, spec in pairs]
    shapes = input_shape if isinstance(input_shape, Mapping) else None
    if shapes is not None and not shapes.keys() <= {*keys, *names}:
        exist = keys if isinstance(first, dict) else names
        raise ValueError(f"input_shape names {list(shapes)}, but the inputs are {exist}.")
    specs = []
    for key, (tensor, spec) in zip(keys, pairs, strict=True):
        wanted = input_shape if shapes is None else shapes.get(key, shapes.get(spec.name))
        shape = spec.shape
        if wanted is not None:
            if not shape.is_compatible_with([shape[0] if shape.rank else None, *wanted]):
                raise ValueError(
                    f"input_shape={tuple(wanted)} does not fit the SavedModel, whose input "
                    f"{spec.name or key!r} has the shape {tuple(shape)[1:]} without the batch."
                )
            shape = tf.TensorShape([shape[0] if shape.rank else None, *wanted])
        if shape.rank is None:
            raise ValueError(f"The SavedModel leaves the shape of its input {key!r} open: pass input_shape.")
        specs.append((tensor, tf.TensorSpec(shape, spec.dtype, name=str(spec.name or key))))
    structure = keys if isinstance(first, dict) else len(pairs)
    return specs, structure


def outputs_of(function: Function, output: str | None) -> tuple[list[str] | None, list[int]]:
    """The names of the outputs (None for a single one) and their positions in the function's results."""
    structured = function.structured_outputs
    flat = list(range(len(function.outputs)))
    if not isinstance(structured, dict):
        if output is not None:
            raise ValueError(f"output={output!r}, but the SavedModel's outputs have no names.")
        return (None if len(flat) == 1 else [f"output_{i}" for i in flat]), flat
    numbered = tf.nest.pack_sequence_as(structured, flat)
    names: dict[str, int] = {}
    for key in sorted(numbered):
        entries = tf.nest.flatten(numbered[key])
        for i, entry in enumerate(entries):
            names[key if len(entries) == 1 else f"{key}_{i}"] = entry
    if output is None:
        return (list(names), list(names.values())) if len(names) > 1 else (None, flat)
    if output not in names:
        raise ValueError(f"The SavedModel has no output {output!r}. It has {list(names)}.")
    return None, [names[output]]
