"""Batches in whatever structure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


def leaves(data: Any) -> list[Any]:
    """The tensors in a structure, those that are None left out."""
    return [leaf for leaf in keras.tree.flatten(data) if leaf is not None]


def packed(structure: Any, tensors: Sequence[Any]) -> Any:
    """`tensors` in place of the leaves of `structure` that are not None."""
    given = iter(tensors)
    filled = [None if leaf is None else next(given) for leaf in keras.tree.flatten(structure)]
    return keras.tree.pack_sequence_as(structure, filled)


def without_optionals(data: Any) -> Any:
    """`data`, or its specification, with None where a sample weight is left out."""
    optional = (tf.experimental.Optional, tf.OptionalSpec)
    return keras.tree.map_structure(lambda leaf: None if isinstance(leaf, optional) else leaf, data)
