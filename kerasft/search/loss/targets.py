"""The targets of a search's training data, looked at: shape, range, and what the values can stand for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

MOST_BATCHES = 100  # of a data set; of arrays all values are looked at
SAMPLES = 8  # inputs that are kept, to measure the output


@dataclass(frozen=True)
class Targets:
    """What was seen of some targets.

    Attributes:
        shape: Of one sample's targets.
        low, high: The least and the largest value.
        is_bool: Whether they are stored as truth values.
        whole: Whether all are whole numbers, whatever their dtype.
        binary: Whether all are 0 or 1.
        signs: Whether all are -1 or 1.
        one_hot: Whether each row along the last axis holds one 1, and 0 else.
        shares: Whether each row along the last axis is non-negative and sums to 1.
        samples: How many samples were looked at.
        batches: How many batches of a data set were looked at, if there are more; None if all were.
    """

    shape: tuple[int, ...]
    low: float
    high: float
    is_bool: bool
    whole: bool
    binary: bool
    signs: bool
    one_hot: bool
    shares: bool
    samples: int
    batches: int | None = None

    @classmethod
    def of(cls, values: Any) -> Targets:
        """Look at some targets.

        Args:
            values: Of shape (samples, ...).

        Raises:
            ValueError: They are no numbers, not finite, or there are none.

        Example:
            >>> seen = Targets.of([0.0, 1.0, 1.0])
            >>> seen.binary, seen.whole, seen.one_hot
            (True, True, False)
        """
        array = np.asarray(values)
        if array.dtype.kind not in "biuf" and not np.can_cast(array.dtype, np.float64):
            try:
                array = array.astype(np.float64)  # bfloat16, or numbers in an array of objects
            except (TypeError, ValueError):
                raise ValueError(
                    f"The targets have the dtype {array.dtype}, and a loss needs numbers. Turn labels into "
                    "class ids, say with keras.layers.StringLookup(num_oov_indices=0)."
                ) from None
        if not array.size:
            raise ValueError("The data hold no targets.")
        array = array.reshape(-1) if array.ndim == 0 else array
        low, high = float(array.min()), float(array.max())
        if not np.isfinite([low, high]).all():
            raise ValueError("The targets hold values that are not finite (NaN or infinity).")
        whole = array.dtype.kind in "biu" or bool((array == np.round(array)).all())
        binary = whole and low >= 0 and high <= 1
        sums = array.sum(-1, dtype=np.float64) if array.ndim > 1 else np.full(1, np.nan)
        shares = low >= 0 and bool((np.abs(sums - 1) < 1e-3).all())
        return cls(
            shape=array.shape[1:],
            low=low,
            high=high,
            is_bool=array.dtype.kind == "b",
            whole=whole,
            binary=binary,
            signs=bool((np.abs(array) == 1).all()) and low < 0,
            one_hot=binary and shares,
            shares=shares,
            samples=len(array),
        )

    def and_more(self, other: Targets) -> Targets:
        """What was seen of these and of others: a property stays if both have it.

        Raises:
            ValueError: Samples of the two have different numbers of axes.
        """
        if len(self.shape) != len(other.shape):
            raise ValueError(f"Targets of one sample have the shapes {self.shape} and {other.shape}.")
        low, high = min(self.low, other.low), max(self.high, other.high)
        return replace(
            self,
            low=low,
            high=high,
            samples=self.samples + other.samples,
            # of -1 and 1 alone neither part needs to hold both
            signs=low < 0 and self._is_one_in_size() and other._is_one_in_size(),
            **{
                name: getattr(self, name) and getattr(other, name)
                for name in ("is_bool", "whole", "binary", "one_hot", "shares")
            },
        )

    def _is_one_in_size(self) -> bool:
        return self.signs or (self.low == self.high == 1)

    def __str__(self) -> str:
        kind = "whole numbers" if self.whole else "numbers"
        kind = "0 and 1 alone" if self.binary else "-1 and 1 alone" if self.signs else kind
        span = "" if self.binary or self.signs else f" from {self.low:g} to {self.high:g}"
        rows = ", one 1 in each row" if self.one_hot else ", rows that sum to 1" if self.shares else ""
        where = "all" if self.batches is None else f"the first {self.batches} batches with"
        each = f" of shape {self.shape}" if self.shape else ""
        return f"targets{each} that are {kind}{span}{rows} (in {where} {self.samples} samples)"


def look_at(arguments: Mapping[str, Any]) -> tuple[Any, Targets]:
    """Look at the targets among the arguments of `fit`.

    Args:
        arguments: Those of `fit`, by name.

    Returns:
        A few inputs, and what the targets are: of arrays all values, those of validation data included; of a
        data set at most `MOST_BATCHES` batches.

    Raises:
        ValueError: There are no targets, several, or a generator's, which would be used up.
    """
    x, y = arguments.get("x"), arguments.get("y")
    if y is not None:
        seen = Targets.of(_only(y))
        for more in _validation_arrays(arguments.get("validation_data")):
            seen = seen.and_more(Targets.of(_only(more)))
        return keras.tree.map_structure(lambda a: a[:SAMPLES], x), seen
    if not isinstance(x, tf.data.Dataset | keras.utils.PyDataset):
        given = "no targets" if x is None or hasattr(x, "shape") else f"a {type(x).__name__}"
        raise ValueError(
            f"`fit` gets {given}. Targets can be looked at in arrays, a tf.data.Dataset or a PyDataset; "
            "looking at a generator would use it up."
        )
    inputs: Any = None
    found: Targets | None = None
    most = min(MOST_BATCHES, arguments.get("steps_per_epoch") or MOST_BATCHES)
    for number, batch in enumerate(_batches(x)):
        if number == most and found is not None:
            return inputs, replace(found, batches=number)
        samples, targets, _ = keras.utils.unpack_x_y_sample_weight(batch)
        seen = Targets.of(_only(targets))
        if found is None:
            inputs = keras.tree.map_structure(lambda a: a[:SAMPLES], samples)
        found = seen if found is None else found.and_more(seen)
    if found is None:
        raise ValueError("The data hold no targets.")
    return inputs, found


def _batches(data: tf.data.Dataset | keras.utils.PyDataset) -> Iterator[Any]:
    if isinstance(data, tf.data.Dataset):
        yield from data
        return
    count = data.num_batches
    for number in range(MOST_BATCHES + 1 if count is None else count):
        yield data[number]


def _only(targets: Any) -> Any:
    """The targets, if they are one array or tensor."""
    if isinstance(targets, list) and targets and not hasattr(targets[0], "shape"):
        return targets  # a plain list of numbers
    leaves = keras.tree.flatten(targets)
    if len(leaves) != 1 or leaves[0] is None:
        count = 0 if targets is None else len(leaves)
        raise ValueError(f"The data have {count} targets, and a loss can be found for one.")
    return leaves[0]


def _validation_arrays(data: Any) -> list[Any]:
    return [data[1]] if isinstance(data, list | tuple) and len(data) >= 2 else []
