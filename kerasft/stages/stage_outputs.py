"""What each stage of a model hands to the later ones, for a batch of data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasft import _keras
from kerasft.stages.stage import Stages


class StageOutputs:
    """Similarities between samples, as each of the first stages of a model sees them.

    A stage's output is all that is computed with its weights and read by later stages, or returned by the
    model. The model runs as in inference.

    Args:
        stages: The stages of a model.
        count: How many of them, from the first.

    Attributes:
        reason: Why the outputs can't be found; None if they can.
        program: The model as a program, if they can.
        numbers: For each of the stages the numbers of its outputs, which are values of the program.
    """

    def __init__(self, stages: Stages, count: int) -> None:
        self._model = stages.model
        self.reason: str | None = None
        program = _keras.program(stages.model)
        if program is None:
            self.reason = (
                f"{stages.model.name!r} is a subclassed model, or calls its layers in its own way: Keras "
                "does not know what each stage hands on"
            )
            return
        self.program = program
        self._latest = _latest_stages(program, stages)
        self.numbers = _handed_on(program, self._latest, len(stages))[:count]
        self._asked: int | None = None  # the stage from which it was asked to compute last
        self._start = 0  # that from which it does

    def similarities(self, x: Any, start: int = 0) -> np.ndarray:
        """The centred Gram matrix of each stage's output: float32 of shape (stages, samples, samples).

        Args:
            x: A batch, as the model takes it; the same in each call.
            start: The first stage to be measured. Those before it have not changed since the first call with
                this number: what they hand on is computed then, and kept.
        """
        if start != self._asked:
            self._asked = self._start = start
            self._kept = self._computed_before(start, x)
            if any(_keras.mask_of(value) is not None for value in self._kept.values()):
                self._start, self._kept = 0, self._computed_before(0, x)  # a traced call drops masks
            self._rest = tf.function(self._from_kept, autograph=False)
        return np.asarray(self._rest(self._kept))[start - self._start :]

    def _from_kept(self, kept: Mapping[int, tf.Tensor]) -> tf.Tensor:
        values = dict(kept)
        self.program.run(self._operations[1], values, training=False)
        samples = tf.shape(next(iter(kept.values())))[0]
        return tf.stack([_gram([values[n] for n in ns], samples) for ns in self.numbers[self._start :]])

    def _computed_before(self, start: int, x: Any) -> dict[int, tf.Tensor]:
        """What is read from the stages before `start`, and from the model's inputs."""
        producer = {n: o for o in self.program.operations for n in o.writes}
        wanted: set[int] = set()
        stack = [n for numbers in self.numbers[start:] for n in numbers]
        while stack:
            operation = producer.get(stack.pop())
            if operation is not None and id(operation) not in wanted:
                wanted.add(id(operation))
                stack.extend(operation.reads)
        parts: tuple[list[_keras.Operation], list[_keras.Operation]] = [], []
        for operation in self.program.operations:
            if id(operation) in wanted:
                parts[self._latest[operation.writes[0]] >= start].append(operation)
        self._operations = parts
        values = self.program.enter(keras.tree.map_structure(tf.convert_to_tensor, x))
        self.program.run(parts[0], values, training=False)
        made = {n for o in parts[1] for n in o.writes}
        return {n: values[n] for o in parts[1] for n in o.reads if n not in made}


def _latest_stages(program: _keras.Program, stages: Stages) -> dict[int, int]:
    """For each value the last stage whose weights it depends on; -1 for none."""
    stage_of = {id(v): i for i, stage in enumerate(stages) for v in stage.weights}
    latest: dict[int, int] = {}
    for operation in program.operations:
        own = [stage_of[id(v)] for v in operation.weights if id(v) in stage_of]
        last = max([*own, *(latest.get(n, -1) for n in operation.reads)], default=-1)
        latest |= dict.fromkeys(operation.writes, last)
    return latest


def _handed_on(program: _keras.Program, latest: Mapping[int, int], count: int) -> list[list[int]]:
    """The numbers of the values of samples that each stage hands on: to later stages, or as results."""
    of_samples = {t.shape[0] for t in keras.tree.flatten(program.signature)}
    tensors = {n: t for o in program.operations for n, t in zip(o.writes, o.outputs, strict=True)}
    readers: dict[int, list[int]] = {n: [count] for n in program.outputs}
    for operation in program.operations:
        for number in operation.reads:
            readers.setdefault(number, []).append(latest[operation.writes[0]])
    return [
        [
            n
            for n, last in latest.items()
            if last == stage and max(readers.get(n, [-1])) > stage and tensors[n].shape[0] in of_samples
        ]
        for stage in range(count)
    ]


def _gram(values: Sequence[tf.Tensor], samples: tf.Tensor) -> tf.Tensor:
    """The Gram matrix of features that are centred over the samples, in float32."""
    total = tf.zeros((samples, samples))
    for value in values:
        features = tf.cast(tf.reshape(value, (tf.shape(value)[0], -1)), "float32")
        features -= tf.reduce_mean(features, 0, keepdims=True)
        total += tf.matmul(features, features, transpose_b=True)
    return total


def linear_cka(a: np.ndarray, b: np.ndarray) -> float:
    """Linear centred kernel alignment of two outputs, from their centred Gram matrices.

    It is `||Y'X||² / (||X'X|| ||Y'Y||)` for centred features X and Y, in Frobenius norms, which the matrices
    between samples give as well: `<XX', YY'> / (||XX'|| ||YY'||)`. From 0, nothing in common, to 1, the same
    up to rotation and scale.

    Args:
        a, b: Matrices of shape (samples, samples).

    Returns:
        The alignment; not a number if an output is the same for all samples.

    References:
        Kornblith et al. (2019), Similarity of neural network representations revisited, arXiv:1905.00414.
    """
    a, b = a.astype("float64"), b.astype("float64")
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.sum(a * b)) / scale if scale > 0 else float("nan")
