"""From targets that were looked at and an output that was measured to the one loss that fits both."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from kerasft.files import write_text
from kerasft.search.loss.checked import Rule, checked
from kerasft.search.loss.output import Output, measure
from kerasft.search.loss.targets import Targets, look_at
from kerasft.search.results import read_json

_FILE = "compiled.json"
_WAY_OUT = "Give FreezeDepthSearch(loss=..., metrics=[...]), or compile the model in build_model."


@dataclass(frozen=True)
class Guess:
    """The loss and the metrics of models that are not compiled.

    Attributes:
        loss: The loss.
        metrics: The usual metrics.
        evidence: What they were found by, in words.
        rule: What all targets must be for the loss to fit; None if any numbers do.
    """

    loss: keras.losses.Loss
    metrics: Sequence[Any]
    evidence: str
    rule: Rule | None = None

    def checked(self) -> keras.losses.Loss:
        """The loss, which fails on targets that it does not fit: not all of them were looked at."""
        return self.loss if self.rule is None else checked(self.loss, self.rule, self.contradiction)

    @property
    def contradiction(self) -> str:
        """What an error says of targets that the loss does not fit."""
        return (
            f"The loss {self.loss.name} was guessed by {self.evidence}. Later targets are something else "
            f"than {self.rule}. Give FreezeDepthSearch(loss=...), or mend the data."
        )


def guess_for(model: keras.Model, arguments: Mapping[str, Any]) -> Guess:
    """Find the loss that fits a model's output and its training data's targets.

    Args:
        model: A model that has been built; it is called on a few samples, and afterwards as it was.
        arguments: Those of `fit`, by name.

    Raises:
        ValueError: No loss fits, or more than one; the message names them.

    Example:
        >>> net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
        >>> data = {"x": keras.ops.ones((2, 4)), "y": [0, 2]}
        >>> guess_for(net, data).loss.name
        'sparse_categorical_crossentropy'
    """
    try:
        x, targets = look_at(arguments)
        return decide(measure(model, x), targets)
    except ValueError as error:
        raise ValueError(
            f"{model.name!r} is not compiled, and its loss can't be guessed. {error} {_WAY_OUT}"
        ) from None


def decide(output: Output, targets: Targets) -> Guess:
    """Choose the loss for an output and targets; see `guess_for`.

    Raises:
        ValueError: None fits, or several do.
    """
    found = f"{targets}, for {output}"
    if output.kind == "fixed":
        raise ValueError(
            f"There is {output}, whatever the weights of the head are: a softmax over one unit, say, where "
            "sigmoid is meant."
        )
    units = output.shape[-1] if output.shape else 1
    shapes = [output.shape] if units > 1 else [output.shape, output.shape[:-1]]
    if targets.shape in shapes:
        return _each_unit(output, targets, units, found)
    if units > 1 and targets.shape in (output.shape[:-1], (*output.shape[:-1], 1)):
        return _class_ids(output, targets, units, found)
    raise ValueError(
        f"There are {found}: the output of a sample has the shape {output.shape}, and its targets "
        f"{targets.shape}."
    )


def _class_ids(output: Output, targets: Targets, units: int, found: str) -> Guess:
    """One number for the units of a sample."""
    if not targets.whole or targets.low < 0 or targets.high > units - 1:
        raise ValueError(
            f"There are {found}. Class ids are whole numbers from 0 to {units - 1} there; numbers to predict "
            f"need an output of one unit, and classes up to {targets.high:g} one of {int(targets.high) + 1}."
        )
    if output.kind == "unit":
        raise ValueError(
            f"There are {found}. Either one class of {units} is right: end the model with softmax. Or "
            f"several can be: then give targets of {units} columns of 0 and 1."
        )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=output.kind == "open")
    return Guess(loss, ["accuracy"], found, Rule(0, units - 1, whole=True))


def _each_unit(output: Output, targets: Targets, units: int, found: str) -> Guess:
    """One number for each unit of a sample."""
    if output.kind == "distribution":
        return _distribution(targets, found)
    if output.kind == "unit":
        return _between_0_and_1(targets, found)
    loss: keras.losses.Loss
    if targets.is_bool and not (units > 1 and targets.one_hot) and (output.low > -0.5 or output.high < 0.5):
        raise ValueError(
            f"There are {found}, which is no logit: that is negative for False, and positive for True. End "
            "the model with sigmoid, or without an activation."
        )
    if not targets.is_bool and not output.reaches(targets.low, targets.high):
        raise ValueError(
            f"There are {found}, which never reaches them. Numbers need an output without an activation, or "
            "with one whose range holds them."
        )
    if units > 1 and targets.one_hot:
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        return Guess(loss, ["accuracy"], found, Rule(0, 1, whole=True, sums_to_1=True))
    if targets.is_bool:
        accuracy = keras.metrics.BinaryAccuracy("accuracy", threshold=0.0)
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        return Guess(loss, [accuracy], found, Rule(0, 1, whole=True))
    if targets.binary:
        raise ValueError(
            f"There are {found}. They may be classes, whose logits the model gives: "
            "loss=keras.losses.BinaryCrossentropy(from_logits=True), "
            'metrics=[keras.metrics.BinaryAccuracy("accuracy", threshold=0.0)]. Or numbers: loss="mse".'
        )
    if targets.signs:
        raise ValueError(
            f'There are {found}. They may be classes: loss="hinge", or 0 and 1 as targets. Or numbers: '
            'loss="mse".'
        )
    if units > 1 and targets.shares:
        raise ValueError(
            f"There are {found}. They may be probabilities of classes, whose logits the model gives: "
            "loss=keras.losses.CategoricalCrossentropy(from_logits=True). Or numbers: "
            'loss="mse".'
        )
    return Guess(keras.losses.MeanSquaredError(), [], found)


def _distribution(targets: Targets, found: str) -> Guess:
    if not targets.shares:
        raise ValueError(
            f"There are {found}, and such an output needs rows of targets that sum to 1. If several classes "
            "can be right at once, end the model with sigmoid; if they are numbers, with no activation."
        )
    metrics = ["accuracy"] if targets.one_hot else [keras.metrics.CategoricalAccuracy("accuracy")]
    rule = Rule(0, 1, whole=targets.one_hot, sums_to_1=True)
    return Guess(keras.losses.CategoricalCrossentropy(), metrics, found, rule)


def _between_0_and_1(targets: Targets, found: str) -> Guess:
    if targets.binary:
        accuracy = keras.metrics.BinaryAccuracy("accuracy")
        return Guess(keras.losses.BinaryCrossentropy(), [accuracy], found, Rule(0, 1, whole=True))
    if targets.low < 0 or targets.high > 1:
        raise ValueError(
            f"There are {found}, which never reaches them. Classes are 0 and 1 there; numbers need an output "
            "without an activation."
        )
    raise ValueError(
        f'There are {found}. They may be probabilities: loss="binary_crossentropy". Or numbers: loss="mse".'
    )


def write_guess(folder: Path, guess: Guess) -> None:
    """Store a guess for later processes.

    Args:
        folder: What the search's processes share.
        guess: The guess.
    """
    content = {
        "loss": keras.saving.serialize_keras_object(guess.loss),
        "metrics": [keras.saving.serialize_keras_object(metric) for metric in guess.metrics],
        "evidence": guess.evidence,
        "rule": None if guess.rule is None else vars(guess.rule),
    }
    write_text(folder / _FILE, json.dumps(content, indent=1))


def read_guess(folder: Path) -> Guess | None:
    """Read the guess that an earlier process has stored; None if there is none.

    Args:
        folder: What the search's processes share.

    Raises:
        ValueError: The file is damaged.
    """
    path = folder / _FILE
    content = read_json(path)
    if content is None:
        return None
    restored = keras.saving.deserialize_keras_object
    try:
        rule = content["rule"]
        return Guess(
            restored(content["loss"]),
            [restored(metric) for metric in content["metrics"]],
            content["evidence"],
            None if rule is None else Rule(**rule),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{path} is damaged: {error}. Delete it, and the loss is guessed again by the next trial."
        ) from None
