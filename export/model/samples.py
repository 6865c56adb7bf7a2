"""Data for an export: batches of any kind as named samples, and the model's outputs for them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..parity import Sample
from .signature import by_name, input_keys, input_names, layers_of, pack_inputs


def batches(data: Any) -> Iterator[tuple[Any, Any]]:
    """Data as (inputs, labels or None) batches: `tf.data.Dataset`, `PyDataset`, arrays, or inputs alone."""
    return ((inputs, labels) for inputs, labels, _ in weighted(data))


def weighted(data: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Data as (inputs, labels or None, weights of samples or None) batches."""
    if isinstance(data, tf.data.Dataset):
        for batch in data:
            yield _triple(batch)
    elif isinstance(data, keras.utils.PyDataset):
        count = data.num_batches
        for i in itertools.count() if count is None else range(count):
            yield _triple(data[i])
    elif isinstance(data, tuple) and len(data) in (2, 3):
        yield _triple(data)
    else:
        yield data, None, None


def endless(data: Any) -> bool:
    """Whether data repeat forever, as far as their cardinality shows it."""
    if isinstance(data, tf.data.Dataset):
        return int(data.cardinality()) == tf.data.INFINITE_CARDINALITY
    return isinstance(data, keras.utils.PyDataset) and data.num_batches is None


def named_inputs(model: keras.Model, inputs: Any) -> Sample:
    """A batch of inputs under the model's input names, in its dtypes.

    Raises:
        ValueError: An input is missing, or has another shape than the model's.
    """
    names = input_names(model)
    if isinstance(inputs, dict):
        keys = input_keys(model)
        if not set(keys) <= set(inputs):
            raise ValueError(f"The model's inputs are named {keys}; the data have {sorted(inputs)}.")
        values: Any = [inputs[k] for k in keys]
    else:
        values = inputs if isinstance(inputs, list | tuple) else [inputs]
    if len(values) != len(names):
        raise ValueError(f"The model has the inputs {names}; the data have {len(values)}.")
    found = {}
    for name, tensor, value in zip(names, model.inputs, values, strict=True):
        array, shape = np.asarray(value), tuple(tensor.shape)
        fits = array.ndim == len(shape) and all(
            n in (None, m) for n, m in zip(shape[1:], array.shape[1:], strict=True)
        )
        if not fits:
            raise ValueError(
                f"The input {name!r} has the shape {shape}, batch first; the data have {array.shape}."
            )
        found[name] = array.astype(tf.as_dtype(tensor.dtype).as_numpy_dtype)
    return found


def rows(named: Sample) -> Iterator[Sample]:
    """The samples of a batch, each of batch size one."""
    for i in range(len(next(iter(named.values())))):
        yield {k: v[i : i + 1] for k, v in named.items()}


def row_of(named: Sample, i: int) -> Sample:
    """A copy of one sample of a batch, of batch size one, which does not keep the batch in memory."""
    return {k: v[i : i + 1].copy() for k, v in named.items()}


def random_samples(model: keras.Model, input_range: tuple[float, float] | None, count: int) -> list[Sample]:
    """Inputs of a fixed seed with what real data have: random ones, then padding, zeros, ones and extremes.

    Floats are within the range if there is one, else normal. Integers that an Embedding takes are below its
    size, others are 0 and 1, as masks are, or within the range. A third of the samples end in zeros.
    """
    rng = np.random.default_rng(0)
    limits = [_limits(model, tensor, input_range) for tensor in model.inputs]
    samples = []
    for number in range(count):
        sample, kept = {}, rng.uniform(0.2, 1.0)
        for name, tensor, (low, high) in zip(input_names(model), model.inputs, limits, strict=True):
            shape, dtype = (1, *tuple(tensor.shape)[1:]), tf.as_dtype(tensor.dtype)
            value: np.ndarray
            if not dtype.is_floating:
                value = rng.integers(int(low), int(high) + 1, shape)
            else:
                value = rng.uniform(low, high, shape) if input_range else rng.normal(size=shape)
            if number >= count - 4:
                value = np.full(
                    shape, (low, high, min(max(0.0, low), high), min(max(1.0, low), high))[number - count]
                )
            elif number % 3 == 2 and len(shape) > 1 and low <= 0 <= high:
                value[:, max(1, round(kept * shape[1])) :] = 0
            sample[name] = value.astype(dtype.as_numpy_dtype)
        samples.append(sample)
    return samples


def _limits(model: keras.Model, tensor: Any, given: tuple[float, float] | None) -> tuple[float, float]:
    """The least and the greatest value of an input that is made up."""
    if tf.as_dtype(tensor.dtype).is_floating:
        return given or (-3.0, 3.0)
    embeddings = (layer for layer in layers_of(model) if isinstance(layer, keras.layers.Embedding))
    sizes = [layer.input_dim for layer in embeddings if any(t is tensor for t in _inputs_of(layer))]
    if sizes:
        return 0.0, float(min(sizes) - 1)
    if given is not None and len(model.inputs) == 1:
        return float(np.ceil(given[0])), float(np.floor(given[1]))
    return 0.0, 1.0


def _inputs_of(layer: keras.Layer) -> list[Any]:
    try:
        return list(tf.nest.flatten(layer.input))
    except (AttributeError, ValueError):  # it has none of its own, or several
        return []


def outputs_of(model: keras.Model, named: Sample) -> Sample:
    """The model's outputs for a batch in inference, by output name."""
    outputs = model(pack_inputs(model, named), training=False)
    return {k: keras.ops.convert_to_numpy(v) for k, v in by_name(model, outputs).items()}


def expected_of(model: keras.Model, samples: Sequence[Sample]) -> list[Sample]:
    """The model's outputs for each sample, computed in one batch where it takes one."""
    shapes = {tuple((name, value.shape) for name, value in sample.items()) for sample in samples}
    if len(shapes) > 1 or any(t.shape[0] is not None for t in model.inputs):
        return [outputs_of(model, sample) for sample in samples]
    return list(rows(outputs_of(model, {k: np.concatenate([s[k] for s in samples]) for k in samples[0]})))


def class_labels(labels: Any) -> np.ndarray | None:
    """Labels as integers of shape (batch,), from whole numbers or one-hot rows.

    Other targets, such as those of a regression, give None.
    """
    if labels is None or isinstance(labels, dict | list | tuple):
        return None
    array = np.asarray(labels)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.dtype.kind not in "biuf":
        return None
    if array.ndim == 1 and np.all(np.isfinite(array)) and np.all(array == np.round(array)):
        return array.astype(int)
    if array.ndim == 2 and np.all((array == 0) | (array == 1)) and np.all(array.sum(1) == 1):
        return array.argmax(1)
    return None


def is_classifier(model: keras.Model) -> bool:
    """Whether the model has one output of scores, of two classes or more."""
    shape = tuple(model.outputs[0].shape)
    return len(model.outputs) == 1 and len(shape) == 2 and (shape[-1] or 0) >= 2


def _triple(batch: Any) -> tuple[Any, Any, Any]:
    if not isinstance(batch, tuple) or len(batch) < 2:
        return batch, None, None
    return batch[0], batch[1], batch[2] if len(batch) > 2 else None
