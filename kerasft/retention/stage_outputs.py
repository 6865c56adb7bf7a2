"""What each stage of a model hands to the later ones, for a batch of data."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasft import _keras
from kerasft.stages import Stages


class StageOutputs:
    """Similarities between samples, as each of the first stages of a model sees them.

    A stage's output is all that is computed with its weights and read by later stages, or returned by the
    model. The model runs as in inference.

    Args:
        stages: The stages of a model.
        count: How many of them, from the first.

    Attributes:
        reason: Why the outputs can't be found; None if they can.
    """

    def __init__(self, stages: Stages, count: int) -> None:
        self._model = stages.model
        self._numbers: list[list[int]] = []
        self.reason: str | None = None
        program = _keras.program(stages.model)
        if program is None:
            self.reason = (
                f"{stages.model.name!r} is a subclassed model, or calls its layers in its own way: Keras "
                "does not know what each stage hands on"
            )
            return
        self._program = program
        self._numbers = _handed_on(program, stages, count)

    def similarities(self, x: Any) -> np.ndarray:
        """The centred Gram matrix of each stage's output: float32 of shape (stages, samples, samples).

        Args:
            x: A batch, as the model takes it.
        """
        return self._run(keras.tree.map_structure(tf.convert_to_tensor, x)).numpy()

    @functools.cached_property
    def _run(self) -> Any:
        def run(x: Any) -> tf.Tensor:
            values = self._program.enter(x)
            self._program.run(self._operations, values, training=False)
            count = tf.shape(keras.tree.flatten(x)[0])[0]
            return tf.stack([_gram([values[n] for n in numbers], count) for numbers in self._numbers])

        return tf.function(run, autograph=False)

    @functools.cached_property
    def _operations(self) -> list[_keras.Operation]:
        """What has to run for the outputs."""
        producer = {n: o for o in self._program.operations for n in o.writes}
        wanted, stack = set(), [n for numbers in self._numbers for n in numbers]
        while stack:
            operation = producer.get(stack.pop())
            if operation is not None and id(operation) not in wanted:
                wanted.add(id(operation))
                stack.extend(operation.reads)
        return [o for o in self._program.operations if id(o) in wanted]


def _handed_on(program: _keras.Program, stages: Stages, count: int) -> list[list[int]]:
    """The numbers of the values that each stage hands on."""
    of_samples = {t.shape[0] for t in keras.tree.flatten(program.signature)}
    tensors = {n: t for o in program.operations for n, t in zip(o.writes, o.outputs, strict=True)}
    stage_of = {id(v): i for i, stage in enumerate(stages) for v in stage.weights}
    latest: dict[int, int] = {}  # for each value the last stage whose weights it depends on
    readers: dict[int, list[int]] = {n: [len(stages)] for n in program.outputs}
    for operation in program.operations:
        own = [stage_of[id(v)] for v in operation.weights if id(v) in stage_of]
        last = max([*own, *(latest.get(n, -1) for n in operation.reads)], default=-1)
        for number in operation.reads:
            readers.setdefault(number, []).append(last)
        latest |= dict.fromkeys(operation.writes, last)
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
