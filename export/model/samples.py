"""Data for an export: batches of any kind as named samples, and the model's outputs for them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from ..errors import ExportError
from ..parity import Sample
from .failures import told
from .signature import by_name, input_keys, input_names, layers_of, pack_inputs


def batches(data: Any) -> Iterator[tuple[Any, Any]]:
    """Data as (inputs, labels or None) batches: `tf.data.Dataset`, `PyDataset`, arrays, or inputs alone.

    A function is called for each pass, and gives batches one by one: of inputs in a list or dict, as TFLite's
    representative datasets do, or of (inputs, labels).

    Raises:
        TypeError: An iterator, which can be read once.
    """
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
    elif isinstance(data, Iterator):
        raise TypeError(
            f"Data are read more than once, and a {type(data).__name__} can be read once. Give the function "
            "that makes it, without calling it, or a tf.data.Dataset."
        )
    elif callable(data):
        for batch in data():
            yield _triple(batch)
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
        ValueError: An input is missing, is ragged, or has another shape than the model's.
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
        raise ValueError(
            f"The model has the inputs {names}; the data have {len(values)}. Inputs and labels "
            "come as a tuple, (inputs, labels); a list is one of inputs."
        )
    found = {}
    for name, tensor, value in zip(names, model.inputs, values, strict=True):
        if isinstance(value, tf.RaggedTensor):
            raise ValueError(
                f"The data of the input {name!r} are ragged, and a .tflite file takes rows of one length. "
                "Give them as the model gets them: padded, value.to_tensor(), or in batches of one length."
            )
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


def random_samples(
    model: keras.Model,
    ranges: Mapping[str, tuple[float, float] | None],
    count: int,
    before: Callable[[str, np.ndarray], np.ndarray] = lambda name, value: value,
) -> list[Sample]:
    """Inputs of a fixed seed with what real data have: random ones, then extremes, zeros and ones.

    They are within an input's range if it has one, else normal, or of integers below the size of the
    Embedding that takes them, or 0 and 1. A third of the random samples end in zeros, as padding does.

    Args:
        model: The model whose inputs they are.
        ranges: Lowest and highest value by input name.
        count: How many samples, above 4.
        before: What an input is from which the graph makes a normal value.
    """
    rng = np.random.default_rng(0)
    samples = []
    for number in range(count):
        sample, kept = {}, rng.uniform(0.2, 1.0)
        for name, tensor in zip(input_names(model), model.inputs, strict=True):
            shape, dtype = (1, *tuple(tensor.shape)[1:]), tf.as_dtype(tensor.dtype).as_numpy_dtype
            within = ranges.get(name) or _ids_of(model, tensor)
            value = random_values(rng, shape, dtype, within)
            free = within is None and value.dtype.kind == "f"
            low, high = _ends(value.dtype, within)
            if number >= count - 4:
                ends = (low, high, min(max(0, low), high), min(max(1, low), high))
                value = np.full(shape, ends[number - count]).astype(dtype)
            elif number % 3 == 2 and len(shape) > 1 and low <= 0 <= high:
                value[:, max(1, round(kept * shape[1])) :] = 0
            sample[name] = before(name, value).astype(dtype) if free and number < count - 2 else value
        samples.append(sample)
    return samples


def _ends(dtype: np.dtype, within: tuple[float, float] | None) -> tuple[float, float]:
    """The least and the greatest value that is made up."""
    if dtype.kind == "f":
        return within or (-3.0, 3.0)
    if within is None or dtype.kind == "b":
        return 0, 1
    limits = np.iinfo(dtype)
    return max(math.ceil(within[0]), limits.min), min(math.floor(within[1]), limits.max)


def _ids_of(model: keras.Model, tensor: Any) -> tuple[float, float] | None:
    """The range of token ids, of an input that an Embedding takes as it is."""
    if tf.as_dtype(tensor.dtype).is_floating:
        return None
    embeddings = (layer for layer in layers_of(model) if isinstance(layer, keras.layers.Embedding))
    sizes = [layer.input_dim for layer in embeddings if any(t is tensor for t in _inputs_of(layer))]
    return (0, min(sizes) - 1) if sizes else None


def _inputs_of(layer: keras.Layer) -> list[Any]:
    try:
        return list(tf.nest.flatten(layer.input))
    except (AttributeError, ValueError):  # it has none of its own, or several
        return []


def random_values(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    dtype: npt.DTypeLike,
    input_range: tuple[float, float] | None,
) -> np.ndarray:
    """Random numbers within a range; without one normal ones, or of integers 0 and 1."""
    kind = np.dtype(dtype)
    value: np.ndarray
    if kind.kind in "fc":
        value = rng.uniform(*input_range, shape) if input_range else rng.normal(size=shape)
    elif kind.kind == "b" or input_range is None:
        value = rng.integers(0, 2, shape)
    else:
        low, high = _ends(kind, input_range)
        value = rng.integers(int(low), int(high), shape, endpoint=True)
    return value.astype(kind)


def outputs_of(model: keras.Model, named: Sample) -> Sample:
    """The model's outputs for a batch in inference, by output name.

    Raises:
        ExportError: The model can't be run on it; the message names the layer.
    """
    with told(model, "can't be run on the data", "Correct the layer, or the data."):
        outputs = model(pack_inputs(model, named), training=False)
    return {k: keras.ops.convert_to_numpy(v) for k, v in by_name(model, outputs).items()}


def expected_of(model: keras.Model, samples: Sequence[Sample], alone: bool = False) -> list[Sample]:
    """The model's outputs for each sample, computed in one batch where it takes one.

    Args:
        model: The model.
        samples: Inputs of batch size one.
        alone: Whether to see that the batch changes nothing for the first sample.

    Raises:
        ExportError: The model can't be run on them, or computes across the samples of a batch.
    """
    shapes = {tuple((name, value.shape) for name, value in sample.items()) for sample in samples}
    if len(shapes) > 1 or any(t.shape[0] is not None for t in model.inputs):
        return [outputs_of(model, sample) for sample in samples]
    found = outputs_of(model, {k: np.concatenate([s[k] for s in samples]) for k in samples[0]})
    _check_apart(model, found, len(samples), samples[0] if alone else None)
    return list(rows(found))


def _check_apart(model: keras.Model, found: Sample, count: int, first: Sample | None) -> None:
    """Raise ExportError unless a batch's outputs have a row for each sample, the first the same as alone."""
    wrong = [f"{k!r} has the shape {v.shape}" for k, v in found.items() if v.shape[:1] != (count,)]
    if not wrong and first is not None and count > 1:
        for name, value in outputs_of(model, first).items():
            if value.dtype.kind not in "fc" or not value.size:  # the largest of two that are alike may change
                continue
            near = 1e-3 * float(np.max(np.abs(value[np.isfinite(value)]), initial=0.0)) + 1e-6
            same = np.isclose(found[name][:1], value, rtol=1e-3, atol=near, equal_nan=True)
            if np.mean(same) < 0.9:
                wrong.append(f"{name!r} is another one where the first sample is alone")
    if wrong:
        raise ExportError(
            f"{model.name!r} computes across the samples of a batch, or by chance: for {count} samples the "
            f"output {', and '.join(wrong)}. A file takes each sample by itself: keep axis 0, compute along "
            "the others, and draw no random numbers."
        )


def _triple(batch: Any) -> tuple[Any, Any, Any]:
    if not isinstance(batch, tuple) or len(batch) < 2:
        return batch, None, None
    return batch[0], of_one_output(batch[1]), of_one_output(batch[2]) if len(batch) > 2 else None


def of_one_output(targets: Any) -> Any:
    """The targets of one output, or its weights, also where they are in a dict or list of one.

    A list of numbers, of names or of rows becomes an array; one that holds arrays belongs to several outputs.

    Example:
        >>> of_one_output({"scores": [2, 0]})
        array([2, 0])
    """
    if isinstance(targets, dict) and len(targets) == 1:
        (targets,) = targets.values()
    if not isinstance(targets, list | tuple):
        return targets
    arrays = [t for t in targets if getattr(t, "shape", ())]
    if not arrays:
        return np.asarray(targets)
    return targets[0] if len(targets) == 1 else targets
