"""A model's last layer, solved: the linear probe as Keras weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasft import _keras
from kerasft.probe.batches import batches_of
from kerasft.probe.linear import Array, LinearProbe, Link, fit_probe, predictions, sample_losses

_LINKS: tuple[Link, ...] = ("softmax", "sigmoid", "identity")

TO_FINE_TUNE = 2.0
"""The `standard_errors` of a head that fine-tuning begins with."""


def solve_head(
    model: keras.Model,
    data: tf.data.Dataset | Iterable[Any],
    *,
    link: Link | None = None,
    class_weight: dict[int, float] | None = None,
    standard_errors: float = 0.0,
    groups: Array | None = None,
    seed: int = 0,
) -> LinearProbe:
    """Set the model's last layer to the best linear layer on what it is given, found by cross-validation.

    One pass over the data computes the features; everything before the last layer stays as it is, and runs as
    in inference. Afterwards the model is a converged linear probe. To fine-tune from there (LP-FT), give
    `standard_errors=TO_FINE_TUNE`: where the best layer makes hardly a mistake on its samples, their
    gradients tell the layers below little more than chance.

    Args:
        model: A built model whose last layer with weights is a Dense layer of one row a sample.
        data: Batches of (x, y) or (x, y, sample_weight): a finite `tf.data.Dataset` or a list; or a tuple of
            such arrays. Class ids, one-hot rows, several yes-or-no columns, or numbers.
        link: What the scores are turned into where the model leaves that to its loss: "softmax", "sigmoid" or
            "identity". None measures it: by the model's output, and by its loss if it is compiled.
        class_weight: What the samples of each class count, as in `fit`.
        standard_errors, groups: See `fit_probe`.
        seed: Of the folds.

    Returns:
        The probe; `loss` and `held_out` are of samples that a fold's probe had not seen.

    Raises:
        ValueError: The last layer is no Dense layer of one row a sample, has no bias, or is not called once;
            the link can't be told; the data are empty or their targets don't fit the layer. The model is as
            it was.

    Example:
        >>> x, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1])
        >>> net = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, activation="softmax")])
        >>> probe = solve_head(net, [(x, y)])
        >>> net(x).numpy().argmax(1).tolist()
        [0, 0, 1, 1]

    References:
        Kumar et al. (2022), Fine-tuning can distort pretrained features, arXiv:2202.10054.
    """
    head = FrozenHead(model)
    return head.solve(
        head.read(data),
        link=link,
        class_weight=class_weight,
        standard_errors=standard_errors,
        groups=groups,
        seed=seed,
    )


def read_targets(
    model: keras.Model, scores: Array, outputs: Array, targets: Array, link: Link | None = None
) -> tuple[Link, Array]:
    """What the scores of a model's last layer are turned into, and targets as (samples, outputs).

    Args:
        model: The model.
        scores: (samples, outputs), of its last layer.
        outputs: (samples, outputs), of the model for the same samples.
        targets: As they come with the samples.
        link: As in `solve_head`.

    Raises:
        ValueError: The link can't be told, or the targets don't fit the layer.
    """
    found = _link(model, scores, outputs, targets, link)
    return found, _columns(targets, scores.shape[1], found)


def head_of(model: keras.Model) -> keras.Layer:
    """The last layer of a model, if it is a linear layer with a kernel and a bias.

    Raises:
        ValueError: It is something else.
    """
    layers = [layer for layer in _keras.sublayers(model) if _keras.own_variables(layer)]
    layer = layers[-1] if layers else None
    shapes = [tuple(v.shape) for v in _keras.own_variables(layer)] if layer is not None else []
    if layer is None or len(shapes) != 2 or len(shapes[0]) != 2 or shapes[1] != shapes[0][1:]:
        what = "there is none" if layer is None else f"{layer.name!r} has weights of the shapes {shapes}"
        raise ValueError(
            f"To be solved, the last layer of {model.name!r} has to be a Dense layer with a kernel of shape "
            f"(features, outputs) and a bias of shape (outputs,): {what}."
        )
    return layer


def features_of(model: keras.Model, data: Iterable[Any]) -> tuple[Array, Any]:
    """What the model's last layer is given for some data, (samples, features), and their targets."""
    given = FrozenHead(model).read(data)
    return given.features, given.targets


@dataclass(frozen=True)
class Given:
    """What a model's last layer is given in one pass over data.

    Attributes:
        features: (samples, features).
        targets: (samples, …), as they come with the data.
        weights: (samples,), what each sample counts.
        outputs: (samples, outputs), of the model.
        views: What it is given for views of the same samples, (samples, features) each, by name.
        batches: How many batches there were.
    """

    features: Array
    targets: Array
    weights: Array
    outputs: Array
    views: dict[str, Array]
    batches: int


class FrozenHead:
    """A model's last layer over all others, which do not change: what it is given, and its best weights.

    The pass is traced once for each shape of a batch, however often data are read.

    Args:
        model: As `solve_head` takes it.

    Attributes:
        layer: The last layer.

    Raises:
        ValueError: The last layer is no Dense layer with a bias.
    """

    def __init__(self, model: keras.Model) -> None:
        self.model, self.layer = model, head_of(model)
        self._run: Callable[[Any], Any] = _keras.layer_input(model, self.layer)

    def read(self, data: Iterable[Any], views: Mapping[str, Callable[[Any], Any]] | None = None) -> Given:
        """One pass over batches of (x, y) or (x, y, sample_weight).

        Args:
            data: The batches, or a tuple of arrays.
            views: Functions of a batch's inputs, such as augmentations, by name.

        Raises:
            ValueError: There are none, or they have no end; the model has not one output, or not one row a
                sample.
        """
        rows: list[tuple[Array, ...]] = []
        seen: dict[str, list[Array]] = {name: [] for name in views or {}}
        if isinstance(data, tuple) and not all(isinstance(batch, tuple | list) for batch in data):
            data = batches_of(data)
        elif isinstance(data, tf.data.Dataset) and int(data.cardinality()) == tf.data.INFINITE_CARDINALITY:
            raise ValueError(
                "The data have no end (a dataset that repeats), and a head is solved in one pass over them: "
                "give the dataset as it is before repeat(), or dataset.take(batches)."
            )
        for batch in data:
            x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
            x = keras.tree.map_structure(tf.convert_to_tensor, x)
            given, outputs = self._run(x)
            leaves = keras.tree.flatten(outputs)
            if y is None or len(keras.tree.flatten(y)) != 1 or len(leaves) != 1 or given.shape.rank != 2:
                raise ValueError(
                    "A head is solved for one output and its targets, on features (samples, features): "
                    f"{self.model.name!r} has {len(leaves)} outputs, its last layer is given {given.shape}, "
                    f"and there are {0 if y is None else len(keras.tree.flatten(y))} targets."
                )
            count = len(given)
            rows.append(
                (
                    given.numpy().astype("float64"),
                    np.asarray(keras.tree.flatten(y)[0]),
                    np.ones(count) if weight is None else np.asarray(weight, "float64").reshape(count),
                    leaves[0].numpy().astype("float64"),
                )
            )
            for name, view in (views or {}).items():
                seen[name].append(self._run(view(x))[0].numpy().astype("float64"))
        if not rows:
            raise ValueError("The data are empty: there is nothing to solve the head on.")
        features, targets, weights, scores = (np.concatenate(column) for column in zip(*rows, strict=True))
        of_views = {name: np.concatenate(found) for name, found in seen.items()}
        return Given(features, targets, weights, scores, of_views, len(rows))

    def solve(
        self,
        given: Given,
        *,
        link: Link | None = None,
        class_weight: dict[int, float] | None = None,
        standard_errors: float = 0.0,
        groups: Array | None = None,
        seed: int = 0,
    ) -> LinearProbe:
        """Set the layer to the best one for what it was given; see `solve_head`."""
        kernel, bias = self.layer.get_weights()
        scores = given.features @ kernel + bias
        found, wanted = read_targets(self.model, scores, given.outputs, given.targets, link)
        weights = given.weights
        if class_weight is not None:
            weights = weights * _class_weights(class_weight, wanted, found)
        probe = fit_probe(
            given.features,
            wanted,
            found,
            standard_errors=standard_errors,
            sample_weight=weights,
            groups=groups,
            seed=seed,
        )
        self.layer.set_weights([probe.weights, probe.bias])
        return probe


def _link(model: keras.Model, scores: Array, outputs: Array, targets: Array, given: Link | None) -> Link:
    """What turns scores into predictions, by the model's output, and by its loss where that does nothing.

    A link that is given has to be what the model does with the scores, unless it does nothing with them.
    """
    if scores.shape == outputs.shape:
        links = [k for k in _LINKS if k != "softmax" or scores.shape[1] > 1]  # of one score it is always 1
        fits = [k for k in links if np.allclose(predictions(scores, k), outputs, rtol=1e-3, atol=1e-4)]
        if len(fits) == 1 and fits != ["identity"] and given in (None, fits[0]):
            return fits[0]
        if fits == ["identity"]:
            return _link_by_loss(model, scores, targets) if given is None else given
    raise ValueError(
        f"What {model.name!r} does to the scores of its last layer is none of softmax, sigmoid and nothing, "
        "or can't be told apart." + ("" if given is None else f" It is not {given!r} alone, as link= says.")
    )


def _link_by_loss(model: keras.Model, scores: Array, targets: Array) -> Link:
    loss = None if getattr(model, "loss", None) is None else keras.losses.get(model.loss)
    if loss is None:
        raise ValueError(
            f"{model.name!r} ends with scores and is not compiled, so the probe can be of classes, of "
            'yes-or-no outputs or of numbers. Give link="softmax", "sigmoid" or "identity", or compile the '
            "model."
        )
    value = float(np.mean(loss(tf.constant(targets), tf.constant(scores, "float32"))))
    fits: list[Link] = []
    for link in _LINKS:
        try:
            wanted = _columns(targets, scores.shape[1], link)
        except ValueError:
            continue
        mean = float(sample_losses(scores, wanted, link).mean()) * (2 if link == "identity" else 1)
        fits += [link] if np.isclose(mean, value, rtol=1e-3) else []
    if len(fits) == 1:
        return fits[0]
    raise ValueError(
        f"{model.name!r} ends with scores, and its loss {getattr(loss, 'name', loss)!r} is neither a mean "
        "cross-entropy from logits nor a mean squared error. Give link= to solve the head for one of them."
    )


def _columns(targets: Array, outputs: int, link: Link) -> Array:
    """Targets as (samples, outputs)."""
    y = targets.reshape(len(targets), -1) if targets.ndim < 3 else targets
    if y.shape == (len(y), outputs) and not (link == "softmax" and outputs == 1):
        return y.astype("float64")
    whole = y.shape == (len(y), 1) and np.equal(np.mod(y, 1), 0).all()
    if link == "softmax" and whole and y.min() >= 0 and y.max() < outputs:
        return np.eye(outputs)[y[:, 0].astype(int)]
    raise ValueError(
        f"The last layer has {outputs} outputs, and the targets have the shape {targets.shape} with values "
        f"from {targets.min()} to {targets.max()}: they fit neither as rows of {outputs} nor as class ids "
        f"from 0 to {outputs - 1}."
    )


def _class_weights(class_weight: dict[int, float], targets: Array, link: Link) -> Array:
    if link != "softmax":
        raise ValueError("class_weight is for one class of several; give sample weights with the data.")
    labels = targets.argmax(1)
    if missing := sorted(set(labels.tolist()) - set(class_weight)):
        raise ValueError(f"class_weight has no weight for {missing}; it has {sorted(class_weight)}.")
    return np.array([class_weight[int(label)] for label in labels], "float64")
