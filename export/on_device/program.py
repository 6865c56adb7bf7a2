"""The signatures `train` and `scores` of a part, as a SavedModel for the converter."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..scratch import scratch
from ..tflite_file import quiet
from .losses import Loss
from .optimizers import Rule
from .part import Part, values_of, weight_names
from .steps import Step, Values, penalty, steps_of

# The signature that `classify` takes its scores from: `scores` of one sample.
ONE = "scores_of_one"


def steps_in(part: Part) -> list[Step]:
    """All steps of a part."""
    found: list[Step] = []
    for link, names in zip(part.links, weight_names(part.links), strict=True):
        found += steps_of(link.layer, names)
    return found


@dataclass(frozen=True)
class Program:
    """What trains and scores, as functions of tensors.

    Attributes:
        part: The part of the model.
        loss: The loss.
        rule: What a step does.
        weights: The first values of the weights that train.
        slots: The first values of the slots.
        frozen: The values of the part's other weights.
    """

    part: Part
    loss: Loss
    rule: Rule
    weights: dict[str, np.ndarray] = field(init=False)
    slots: dict[str, np.ndarray] = field(init=False)
    frozen: dict[str, np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", values_of(self.part.weights))
        object.__setattr__(self, "slots", self.rule.slots(self.weights))
        object.__setattr__(self, "frozen", values_of(self.part.frozen))

    @property
    def state(self) -> dict[str, np.ndarray]:
        """The first values of weights and slots."""
        return {**self.weights, **self.slots}

    def scores(self, features: Any, weights: Values) -> Any:
        """What the part gives."""
        return self._run(features, weights, steps_in(self.part))[0]

    def gradients(self, features: Any, target: Any, weights: Values) -> tuple[Any, dict[str, Any]]:
        """The mean loss, with the penalties of the weights, and its derivatives by the weights."""
        steps = steps_in(self.part)
        outputs, back = self._run(features, weights, steps[:-1] if self.loss.on_logits else steps)
        # a target of one column would be broadcast, and train something else
        loss, slope = self.loss(outputs, tf.reshape(target, tf.shape(outputs)))
        found = back(slope)
        for name, variable in self.part.weights.items():
            l1, l2 = penalty(variable)
            w = weights[name]
            if l1:
                loss, found[name] = loss + l1 * tf.reduce_sum(tf.abs(w)), found[name] + l1 * tf.sign(w)
            if l2:
                loss, found[name] = loss + l2 * tf.reduce_sum(w * w), found[name] + 2 * l2 * w
        return loss, {name: found[name] for name in self.part.weights}

    def train(self, features: Any, target: Any, learning_rate: Any, state: Values) -> dict[str, Any]:
        """Weights and slots after a step, and the loss before it."""
        weights = {name: state[name] for name in self.weights}
        loss, gradients = self.gradients(features, target, weights)
        slots = {name: state[name] for name in self.slots}
        return {
            **self.rule.step(weights, gradients, slots, learning_rate),
            "loss": tf.reshape(loss, (1,)),
        }

    def _run(self, x: Any, weights: Values, steps: list[Step]) -> tuple[Any, Callable[[Any], dict[str, Any]]]:
        frozen = {name: tf.constant(value) for name, value in self.frozen.items()}
        backs = []
        for step in steps:
            x, back = step.run(x, {**frozen, **weights})
            backs.append(back)

        def all_back(dy: Any) -> dict[str, Any]:
            found: dict[str, Any] = {}
            for back in reversed(backs):
                dy, more = back(dy)
                found |= more
            return found

        return x, all_back

    def specs(self, names: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Specs of weights or slots."""
        return {name: tf.TensorSpec(value.shape, tf.float32, name=name) for name, value in names.items()}

    def signatures(self, batch: int | None, outputs: tuple[int | None, ...]) -> dict[str, Any]:
        """The traced functions by signature.

        Args:
            batch: Samples in a step; None for any.
            outputs: The shape of the model's output.
        """

        def named(function: Callable[..., Any]) -> Any:
            return tf.function(
                lambda **given: {k: tf.identity(v, name=k) for k, v in function(**given).items()},
                autograph=False,
            )

        def train(features: Any, target: Any, learning_rate: Any, **state: Any) -> dict[str, Any]:
            return self.train(features, target, learning_rate, state)

        def scores(features: Any, **weights: Any) -> dict[str, Any]:
            return {"scores": self.scores(features, weights)}

        def features(size: int | None) -> Any:
            shape = (size, *self.part.features.output.shape[1:])
            return tf.TensorSpec(shape, tf.float32, name="features")

        weights = self.specs(self.weights)
        with quiet():
            return {
                "train": named(train).get_concrete_function(
                    features=features(batch),
                    target=tf.TensorSpec((batch, *outputs[1:]), tf.float32, name="target"),
                    learning_rate=tf.TensorSpec((1,), tf.float32, name="learning_rate"),
                    **self.specs(self.state),
                ),
                "scores": named(scores).get_concrete_function(features=features(None), **weights),
                ONE: named(scores).get_concrete_function(features=features(1), **weights),
            }


@contextlib.contextmanager
def saved_program(signatures: Mapping[str, Any]) -> Iterator[Path]:
    """A temporary SavedModel of traced functions that hold no variables."""
    with scratch() as parent:
        folder = parent / "program"
        with quiet():
            tf.saved_model.save(tf.Module(), str(folder), signatures=dict(signatures))
        yield folder


def output_of(model: keras.Model) -> tuple[int | None, ...]:
    """The shape of a model's one output."""
    return tuple(model.outputs[0].shape)
