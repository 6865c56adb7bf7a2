"""The part of a model after a cut, trained or tested by Keras's own steps."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasft import _keras
from kerasft.cache.cuts.batches import leaves, packed
from kerasft.cache.cuts.cut import Cut


def value_places(masked: Sequence[bool]) -> list[int]:
    """Where each value stands among columns, if each is followed by its mask where it has one."""
    return [i + sum(masked[:i]) for i in range(len(masked))]


def with_masks(columns: Sequence[Any], masked: Sequence[bool]) -> list[Any]:
    """The values among columns, each with its mask attached."""
    places = zip(value_places(masked), masked, strict=True)
    return [_keras.with_mask(columns[i], columns[i + 1] if has_mask else None) for i, has_mask in places]


class Suffix:
    """Takes steps from the values at a cut on.

    A step gets columns: each value, followed by its mask if it has one, extra inputs of the model, the leaves
    of the targets and of the samples' weights.

    Args:
        model: The whole compiled model.
        cut: Where it is divided.
        spec: `tf.TensorSpec`s of the data, None for those that are left out.
        masked: Which of the values have a mask.
        extra_inputs: Numbers of the inputs among the columns.
        columns: Arrays or tensors like those that the steps will get; any batch size that `spec` allows.
        training: Whether steps train.
    """

    def __init__(
        self,
        model: keras.Model,
        cut: Cut,
        spec: Any,
        masked: Sequence[bool],
        extra_inputs: Sequence[int],
        columns: Sequence[Any],
        training: bool,
    ) -> None:
        _, y, weight = keras.utils.unpack_x_y_sample_weight(spec)
        size = next(iter(leaves(spec))).shape[0]
        places = value_places(masked)
        dtypes = [tf.as_dtype(c.dtype) for c in columns]
        for place, tensor in zip(places, cut.tensors, strict=True):
            dtypes[place] = tf.as_dtype(tensor.dtype)
        self._signature = [
            tf.TensorSpec((size, *c.shape[1:]), d) for c, d in zip(columns, dtypes, strict=True)
        ]

        def forward(x: Any, training: bool) -> Any:
            inputs = dict(zip(extra_inputs, x["inputs"], strict=True))
            return cut.suffix(with_masks(x["cut"], masked), inputs, training)

        keras_step = _keras.step_with(model, forward, training)

        def step(*given: Any) -> Any:
            recorded = len(places) + sum(masked)
            others = given[recorded:]
            x = {"cut": list(given[:recorded]), "inputs": list(others[: len(extra_inputs)])}
            return keras_step((x, *packed((y, weight), others[len(extra_inputs) :])))

        one = tf.function(
            step, input_signature=self._signature, jit_compile=model.jit_compile, autograph=False
        )
        with _keras.release_traced_steps():
            self._one = one.get_concrete_function()

    @functools.cached_property
    def _many(self) -> Any:
        """A concrete function of the columns and the bounds of the pieces; traced when it is needed."""
        rows = [tf.TensorSpec((None, *spec.shape[1:]), spec.dtype) for spec in self._signature]
        many = tf.function(lambda *given: self._loop(given[:-1], given[-1]), autograph=False)
        with _keras.release_traced_steps():
            return many.get_concrete_function(*rows, tf.TensorSpec((None,), tf.int32))

    def step(self, columns: Sequence[Any]) -> Any:
        """One step; returns its logs."""
        return self._one(*self._tensors(columns))

    def steps(self, columns: Sequence[Any], sizes: Sequence[int]) -> list[Any]:
        """One step after the other on pieces of `columns` of the given sizes; returns the logs of each."""
        if len(sizes) == 1:
            return [self.step(columns)]
        bounds = tf.constant(np.cumsum([0, *sizes]), tf.int32)
        logs = [stack.numpy() for stack in self._many(*self._tensors(columns), bounds)]
        structure = self._one.structured_outputs
        return [keras.tree.pack_sequence_as(structure, [s[i] for s in logs]) for i in range(len(sizes))]

    def _tensors(self, columns: Sequence[Any]) -> list[Any]:
        """The columns as the step takes them: halved floats are what they were."""
        tensors = [tf.convert_to_tensor(column) for column in columns]
        return [
            t if t.dtype == s.dtype else tf.cast(t, s.dtype)
            for t, s in zip(tensors, self._signature, strict=True)
        ]

    def _loop(self, columns: Sequence[Any], bounds: Any) -> list[Any]:
        """Steps on pieces of `columns`; their logs, stacked."""
        outputs = leaves(self._one.structured_outputs)
        count = tf.shape(bounds)[0] - 1
        logs = [tf.TensorArray(o.dtype, count, element_shape=o.shape) for o in outputs]

        def body(i: Any, logs: list[Any]) -> Any:
            pieces = [
                tf.ensure_shape(c[bounds[i] : bounds[i + 1]], s.shape)
                for c, s in zip(columns, self._signature, strict=True)
            ]
            found = leaves(self._one(*pieces))
            return i + 1, [log.write(i, value) for log, value in zip(logs, found, strict=True)]

        _, logs = tf.while_loop(lambda i, logs: i < count, body, (0, logs), parallel_iterations=1)
        return [log.stack() for log in logs]
