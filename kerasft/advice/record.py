"""What each stage of a model gives for data, averaged over pixels or steps, from one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasft import _keras
from kerasft.advice.sample import Drawn, Rows, picked
from kerasft.probe import batches_of, head_of
from kerasft.stages import StageOutputs, Stages

Array = np.ndarray
Pass = Callable[[Any], tuple[list[tf.Tensor | None], tf.Tensor, Any]]
MOST_FEATURES = 2048
_WAY_OUT = "Name layers that start a stage: find_stages(model, at=[...])."


@dataclass(frozen=True)
class Record:
    """Features of a sample of the data.

    Attributes:
        depths: The freeze depths: 1 is what the first stage gives.
        features: For each of them (samples, features), float32.
        scores: (samples, outputs), of the last layer.
        outputs: (samples, outputs), of the model.
        targets: As the data have them.
        weights: (samples,), what each counts.
        seen: How many samples the data have.
        size: Bytes of all features.
        notes: What was left out or projected, a sentence each.
    """

    depths: list[int]
    features: list[Array]
    scores: Array
    outputs: Array
    targets: Array
    weights: Array
    seen: int
    size: int
    notes: list[str]


def record(stages: Stages, data: Any, samples: int, memory: int, seed: int) -> Record:
    """Run the model once over the data, and keep what its stages give for a random sample of them.

    Args:
        stages: The stages of a model that ends in a Dense layer.
        data: As `advise` takes them.
        samples: The most samples that are kept.
        memory: The most bytes of features that are kept.
        seed: Of the sample.

    Raises:
        TypeError, ValueError: See `advise`.
    """
    head = head_of(stages.model)
    top = next(index for index, stage in enumerate(stages) if head in stage.layers)
    if top == 0:
        raise ValueError(
            f"{stages.model.name!r} has one stage alone, {stages[0].name!r}, which holds the last layer: "
            f"nothing can be frozen. {stages.reason or _WAY_OUT}"
        )
    run = tf.function(_pass_of(stages, head, top), autograph=False)
    kernel, bias = head.get_weights()
    kept: _Kept | None = None
    for x, y, weight in _batches(data):
        count = len(keras.tree.flatten(x)[0])
        if kept is None:
            _trace(run, x)
            given, last, outputs = run(keras.tree.map_structure(lambda leaf: leaf[:1], x))
            _check_one_output(stages.model, last, outputs, y)
            kept = _Kept([None if f is None else f.shape[1] for f in given], samples, memory, seed)
        _check_finite("x", keras.tree.flatten(x), kept.drawn.seen)  # a ReLU makes zeros of NaN
        places = kept.drawn.places(count)
        if not places:
            continue
        rows = list(places.values())
        given, last, outputs = run(picked(x, rows, count))
        for index, values in enumerate(given):
            _check_finite(f"What the stage {stages[index].name!r} gives", [values], kept.drawn.seen - count)
        output = np.asarray(keras.tree.flatten(outputs)[0], "float64").reshape(len(rows), -1)
        labels = np.asarray(keras.tree.flatten(y)[0])[rows]
        counts = np.ones(len(rows)) if weight is None else np.asarray(weight, "float64").reshape(count)[rows]
        kept.put(places, given, (last.numpy().astype("float64") @ kernel + bias, output, labels, counts))
    if kept is None:
        raise ValueError("The data are empty: there is nothing to give advice on.")
    return kept.record(stages)


class _Kept:
    """What is kept of the samples that were drawn, in the order of their places."""

    def __init__(self, widths: list[int | None], samples: int, memory: int, seed: int) -> None:
        self._widths = widths
        each = 4 * sum(min(width or 0, MOST_FEATURES) for width in widths)
        self._size = min(samples, memory // max(each, 1))
        self._short = self._size < samples
        if self._size < 2:
            raise ValueError(f"memory={memory:,} bytes hold no two samples of {each:,} bytes each.")
        self.drawn = Drawn(self._size, seed)
        self._rows = [Rows(self._size, width or 0, MOST_FEATURES, seed) for width in widths]
        self._others: dict[int, tuple[Array, ...]] = {}

    def put(self, places: dict[int, int], given: list[tf.Tensor | None], others: tuple[Array, ...]) -> None:
        for rows, values in zip(self._rows, given, strict=True):
            if values is not None:
                rows.put(places, values.numpy())
        self._others |= zip(places, zip(*others, strict=True), strict=True)

    def record(self, stages: Stages) -> Record:
        count = len(self._others)
        columns = [np.stack(column) for column in zip(*(self._others[i] for i in range(count)), strict=True)]
        scores, outputs, targets, weights = columns
        depths, features, notes = [], [], []
        if count < self.drawn.seen:
            which = ", as many as fit into `memory`," if self._short else ""
            notes.append(f"{count:,} of {self.drawn.seen:,} samples{which} were drawn at random.")
        for index, (rows, width) in enumerate(zip(self._rows, self._widths, strict=True)):
            if width is None:
                notes.append(f"The stage {stages[index].name!r} gives nothing for each sample.")
                continue
            if rows.projected:
                notes.append(
                    f"{width:,} features of the stage {stages[index].name!r} were projected at random to "
                    f"{MOST_FEATURES:,}."
                )
            depths.append(index + 1)
            features.append(rows.kept(count))
        size = sum(found.nbytes for found in features)
        return Record(depths, features, scores, outputs, targets, weights, self.drawn.seen, size, notes)


def _pass_of(stages: Stages, head: keras.Layer, top: int) -> Pass:
    """What each stage below the head's gives, what the last layer is given, and the model's outputs.

    Where the last layer is all of its stage, what it is given stands for what the stage below gives.
    """
    alone = all(layer is head for layer in stages[top].layers)
    outputs = StageOutputs(stages, top)
    if outputs.reason is not None:
        starts = [stage.layers[0] for stage in stages[1 : top + 1]]
        watched = starts if alone else [*starts, head]

        def watch(x: Any) -> tuple[list[tf.Tensor | None], tf.Tensor, Any]:
            given, found = _keras.layer_inputs(stages.model, watched, x)
            return [_pooled([value]) for value in given[:top]], given[-1], found

        return watch
    program = outputs.program
    calls = [operation for operation in program.operations if operation.layer is head]
    if len(calls) != 1 or len(calls[0].reads) != 1:
        raise ValueError(
            f"{stages.model.name!r} calls its last layer {head.name!r} {len(calls)} times, not once."
        )

    def run(x: Any) -> tuple[list[tf.Tensor | None], tf.Tensor, Any]:
        values = program.enter(x)
        program.run(program.operations, values, training=False)
        given = values[calls[0].reads[0]]
        pooled = [_pooled([values[n] for n in numbers]) for numbers in outputs.numbers]
        if alone and given.shape.rank == 2:
            pooled[-1] = tf.cast(given, "float32")
        return pooled, given, program.leave(values)

    return run


def _pooled(values: list[tf.Tensor]) -> tf.Tensor | None:
    """Values as rows of features, means over all axes between the first and the last; None if there are none.

    Steps that a mask leaves out do not count.
    """
    rows = []
    for value in values:
        if not (value.dtype.is_floating or value.dtype.is_integer or value.dtype.is_bool):
            continue
        mask = _keras.mask_of(value)
        value = tf.cast(value, "float32")
        if mask is not None and value.shape.rank == 3 and mask.shape.rank == 2:
            share = tf.cast(mask, "float32")[:, :, None]
            rows.append(tf.reduce_sum(value * share, 1) / tf.maximum(tf.reduce_sum(share, 1), 1.0))
        else:
            rows.append(_mean(value))
    return tf.concat(rows, 1) if rows else None


def _mean(value: tf.Tensor) -> tf.Tensor:
    if value.shape.rank < 2:
        return tf.reshape(value, (-1, 1))
    return tf.reduce_mean(value, list(range(1, value.shape.rank - 1)))


def _trace(run: Any, x: Any) -> None:
    """Trace for any number of samples, so that a last batch that is smaller needs no trace of its own."""
    run.get_concrete_function(
        keras.tree.map_structure(lambda leaf: tf.TensorSpec((None, *leaf.shape[1:]), leaf.dtype), x)
    )


def _batches(data: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Batches of x, y and weights, as tensors.

    Raises:
        TypeError: The data are of another kind.
        ValueError: They have no end.
    """
    if isinstance(data, tf.data.Dataset):
        if int(data.cardinality()) == tf.data.INFINITE_CARDINALITY:
            raise ValueError(
                "The data have no end (a dataset that repeats), and advice takes one pass over them: give "
                "the dataset as it is before repeat(), or dataset.take(batches)."
            )
        found: Iterable[Any] = data
    elif isinstance(data, tuple) and len(data) in (2, 3):
        found = batches_of(data)
    elif isinstance(data, list):
        found = data
    else:
        raise TypeError(
            "advise takes a tf.data.Dataset of batches (x, y), a list of such batches, or a pair of arrays "
            f"(x, y); received {type(data).__name__}. Nothing tells that an iterator ends: give list(data)."
        )
    for batch in found:
        x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
        yield keras.tree.map_structure(tf.convert_to_tensor, x), y, weight


def _check_one_output(model: keras.Model, last: tf.Tensor, outputs: Any, y: Any) -> None:
    leaves, targets = len(keras.tree.flatten(outputs)), 0 if y is None else len(keras.tree.flatten(y))
    if leaves != 1 or targets != 1:
        raise ValueError(
            f"Advice is for a model with one output and its targets: {model.name!r} has {leaves} outputs, "
            f"and the data have {targets} targets. Which of them decides can't be told: give a model of one, "
            "keras.Model(model.input, model.output[...])."
        )
    if last.shape.rank != 2:
        raise ValueError(
            f"The last layer of {model.name!r} is given {tuple(last.shape)}; a linear probe takes one row of "
            "features for a sample."
        )


def _check_finite(what: str, values: list[tf.Tensor | None], before: int) -> None:
    """Raise if some numbers of a batch, which comes after `before` samples, are not finite."""
    for value in values:
        if value is not None and value.dtype.is_floating:
            bad = ~np.isfinite(value.numpy().reshape(len(value), -1)).all(1)
            if bad.any():
                raise ValueError(
                    f"{what} is not finite for {bad.sum()} of {len(bad)} samples, in the batch after "
                    f"{before:,} samples. Look for NaN in the data, or in the model's weights."
                )
