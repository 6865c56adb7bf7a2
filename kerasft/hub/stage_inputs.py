"""What a stage of a SavedModel is given: as many tensors as its graph takes, in its dtypes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def check_inputs(
    name: str, tensors: Sequence[Any], dtypes: Sequence[str], sizes: Sequence[int | None]
) -> None:
    """Raise ValueError for tensors that a stage can't take, symbolic ones included.

    Args:
        name: The stage's name.
        tensors: The tensors.
        dtypes: The dtypes of its graph.
        sizes: For each the batch size that the graph was written for; None for any.

    Raises:
        ValueError: There are more or fewer, numbers are given for strings or strings for numbers, fractions
            would be lost, or the batch has another size.
    """
    if len(tensors) != len(dtypes):
        raise ValueError(f"The stage {name!r} takes {len(dtypes)} tensors; received {len(tensors)}.")
    for tensor, dtype, size in zip(tensors, dtypes, sizes, strict=True):
        given = tf.as_dtype(tensor.dtype)
        if (given == tf.string) != (dtype == "string"):
            raise ValueError(
                f"The stage {name!r} takes {_kind(dtype)}; received {_kind(given.name)}. Give it a tensor of "
                f'the dtype {dtype} (`keras.Input(…, dtype="{dtype}")`, `tf.constant(…, "{dtype}")`).'
            )
        if given.is_floating and not (tf.as_dtype(dtype).is_floating or tf.as_dtype(dtype).is_complex):
            raise ValueError(
                f"The stage {name!r} takes a tensor of the dtype {dtype}; received {given.name}, whose "
                f'fractions would be lost. Make it {dtype} (`keras.Input(…, dtype="{dtype}")`, or '
                "`keras.ops.cast`)."
            )
        if size is not None and tensor.shape and tensor.shape[0] not in (None, size):
            raise ValueError(
                f"The SavedModel was written for batches of {size}; received one of {tensor.shape[0]}. Give "
                f"it batches of {size} (`dataset.batch({size}, drop_remainder=True)`), or save it with an "
                "open batch."
            )


def as_given(name: str, inputs: Any, dtypes: Sequence[str], sizes: Sequence[int | None]) -> list[tf.Tensor]:
    """The inputs of a stage in the dtypes of its graph.

    Raises:
        ValueError: As `check_inputs`.
    """
    tensors = [tf.convert_to_tensor(t) for t in (inputs if isinstance(inputs, list | tuple) else [inputs])]
    check_inputs(name, tensors, dtypes, sizes)
    sized = [
        t if size is None else tf.ensure_shape(t, [size, *t.shape[1:]])
        for t, size in zip(tensors, sizes, strict=True)
    ]
    return [tf.cast(tensor, dtype) for tensor, dtype in zip(sized, dtypes, strict=True)]


def _kind(dtype: str) -> str:
    return "strings" if dtype == "string" else f"numbers of the dtype {dtype}"
