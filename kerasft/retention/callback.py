"""Retention: a callback that measures how much of the pre-trained model is left after each epoch."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from kerasft import _keras
from kerasft.arguments import check_integer
from kerasft.retention.accuracy import Scores, check_labelled
from kerasft.retention.pairing import Original, Pairs, pair
from kerasft.stages import StageOutputs, Stages, find_stages, linear_cka
from kerasft.tables import html_table, plain_table
from kerasft.typing import Logs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)
_HEADER = ("epoch", "stage", "cka", "distance")


class Retention(keras.callbacks.Callback):
    """Measures after each epoch how much of the pre-trained model is left.

    For each stage that the model has from the original: linear CKA, the similarity of its output to the
    original's on a few samples (1: the same up to rotation and scale), and the distance of its weights,
    `||w - w0|| / ||w0||` over those that can train. Where neither a stage nor one before it has changed,
    these are 1 and 0, and nothing is computed. The logs get `retention_cka_min` and
    `retention_distance_max`, over the stages, and, with source data, `retention_source_accuracy`.

    Accuracy on source data is that of the original model with the fine-tuned stages in place of its own: the
    head that it was trained with, on what the backbone computes now. Where model and original share their
    backbone's variables, that is the original as it is; where they do not, its variables get the values for
    the measurement, and their own back. If the reference is the model itself, or its weights, it is the
    accuracy of the model.

    Args:
        reference: The pre-trained model, the model itself before training, or what its `get_weights()` gave.
            Values are copied now.
        data: Inputs, as the model takes them: an array (or a structure of them), or a `tf.data.Dataset` of
            batches, of which the first is used.
        head: The original's head, if the reference is only a backbone: a layer or model that makes scores of
            its output.
        source: Data that the original was trained for: (x, y), or a `tf.data.Dataset` of batches. All of it
            is measured after each epoch, so give a few hundred samples.
        samples: The most samples of `data` that are used, at least 3.
        shared: How many stages both have, or the name of the first that is new; None finds it out.
        stages: The stages to be measured, for models that `find_stages` can't divide; None finds them.

    Attributes:
        history: A row for each epoch and stage: {"epoch": from 1, "stage", "cka", "distance"}. `print` shows
            it as a table. CKA is not a number where an output is the same for all samples.
        source_accuracy: Accuracy on source data before the first epoch, and after each.
        reason: Why there is no CKA, if there is none; else None. Distances are measured all the same.

    Raises:
        TypeError, ValueError: The reference is of another architecture, data of another shape than the
            model's input, or of too few samples; `source` comes without a head. Some of it is found when
            `fit` begins, before training.

    Example:
        >>> net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="body"),
        ...                         keras.layers.Dense(1, name="top")])
        >>> x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
        >>> retention = Retention(net, x)
        >>> net.compile(keras.optimizers.SGD(0.0), "mse")
        >>> logs = net.fit(x, x[:, :1], verbose=0, callbacks=[retention]).history
        >>> logs["retention_cka_min"], logs["retention_distance_max"]
        ([1.0], [0.0])

    References:
        Kornblith et al. (2019), Similarity of neural network representations revisited, arXiv:1905.00414;
        Li, Grandvalet & Davoine (2018), arXiv:1802.01483, for distances from the pre-trained weights.
    """

    def __init__(
        self,
        reference: Original,
        data: Any,
        *,
        head: keras.Layer | None = None,
        source: Any = None,
        samples: int = 64,
        shared: int | str | None = None,
        stages: Stages | None = None,
    ) -> None:
        super().__init__()
        check_integer("samples", samples, at_least=3)
        self._probe = _first(data, samples)
        if source is not None:
            check_labelled("`source`", source)
        self._reference, self._source, self._shared, self._given_stages = reference, source, shared, stages
        self._original = reference.model if isinstance(reference, Stages) else reference
        self._scores = _scores(self._original, head, source)
        weights = self._original.weights if isinstance(self._original, keras.Model) else []
        self._copied = {id(v): v.numpy() for v in weights}
        self._pairs: Pairs | None = None
        self.history: list[dict[str, Any]] = []
        self.source_accuracy: list[float] = []
        self.reason: str | None = None

    def on_train_begin(self, logs: Logs = None) -> None:
        self.history, self.source_accuracy = [], []
        if self._pairs is None or self._pairs.stages.model is not self.model:
            self._begin(self.model)
        if self._source is not None:
            self.source_accuracy.append(self._accuracy_on_source())

    def _begin(self, model: keras.Model) -> None:
        """Find what model and original share, and what the original's stages give for the probe."""
        stages = self._given_stages or find_stages(model)
        reference = stages if self._original is stages.model else self._reference
        pairs = pair("Retention", stages, reference, self._shared)
        if pairs.stages.model is not model:
            raise ValueError(
                f"Retention was given the stages of {pairs.stages.model.name!r}, but {model.name!r} trains."
            )
        if self._copied:
            pairs.values[:] = [self._copied[id(v)] for v in pairs.theirs]
        if self._source is not None and self._scores is None:
            _check_has_head(self._original, pairs)
            self._scores = Scores(model if not pairs.theirs else self._original)
        _check_fits(model, self._probe)
        self._pairs, self._outputs = pairs, StageOutputs(pairs.stages, pairs.count)
        self.reason = self._outputs.reason
        if self.reason is not None:
            logger.warning("There is no CKA: %s.", self.reason)
            return
        now = [v.numpy() for v in pairs.variables]
        try:
            _assign(pairs.variables, pairs.values)
            self._before = self._outputs.similarities(self._probe)
        finally:
            _assign(pairs.variables, now)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        rows = self._measured(epoch + 1)
        self.history += rows
        if logs is None:
            return
        if self.reason is None:
            logs["retention_cka_min"] = float(np.nanmin([1.0, *(row["cka"] for row in rows)]))
        logs["retention_distance_max"] = max(row["distance"] for row in rows)
        if self._source is not None:
            self.source_accuracy.append(self._accuracy_on_source())
            logs["retention_source_accuracy"] = self.source_accuracy[-1]

    def _measured(self, epoch: int) -> list[dict[str, Any]]:
        assert self._pairs is not None
        changed, distances = [], []
        for index in range(self._pairs.count):
            weights = [(v, v.numpy(), w) for v, w in self._pairs.of_stage(index)]
            changed.append(any(not np.array_equal(now, before) for _, now, before in weights))
            layers = self._pairs.stages[index].layers if changed[-1] else ()
            train = {id(v) for layer in layers for v in _keras.own_trainable_variables(layer)}
            distances.append(_distance([(now, before) for v, now, before in weights if id(v) in train]))
        first = changed.index(True) if True in changed else len(changed)
        similarities = [1.0] * first
        if self.reason is not None:
            similarities = [float("nan")] * len(changed)
        elif first < len(changed):
            now = self._outputs.similarities(self._probe, first)
            similarities += [linear_cka(a, b) for a, b in zip(now, self._before[first:], strict=True)]
        names = self._pairs.stages.names
        return [
            {"epoch": epoch, "stage": name, "cka": cka, "distance": distance}
            for name, cka, distance in zip(names, similarities, distances, strict=False)
        ]

    def _accuracy_on_source(self) -> float:
        """The accuracy of the original's head on what the fine-tuned stages compute."""
        assert self._pairs is not None and self._scores is not None
        if self._pairs.shares or not self._pairs.theirs:
            return self._scores.accuracy(self._source)
        kept = [v.numpy() for v in self._pairs.theirs]
        try:
            _assign(self._pairs.theirs, self._pairs.variables)
            return self._scores.accuracy(self._source)
        finally:
            _assign(self._pairs.theirs, kept)

    def __str__(self) -> str:
        return plain_table(_HEADER, self._rows())

    def _repr_html_(self) -> str:
        return html_table(_HEADER, self._rows())

    def _rows(self) -> list[list[str]]:
        return [
            [str(r["epoch"]), r["stage"], f"{r['cka']:.4f}", f"{r['distance']:.4f}"] for r in self.history
        ]

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw similarity and distance of each stage, a line for each epoch.

        Args:
            path: Where to save the figure; its suffix says in what format. None saves nothing.

        Raises:
            ImportError: matplotlib is not installed.
            ValueError: Nothing has been measured yet.
        """
        from kerasft.retention.figure import retention_by_stage

        return retention_by_stage(self.history, path)


def _assign(variables: Any, values: Any) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _distance(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """`||w - w0|| / ||w0||` over several arrays; infinite if all of `w0` is 0 and `w` is not."""
    moved = sum(float(np.sum((now.astype("float64") - before) ** 2)) for now, before in pairs)
    whole = sum(float(np.sum(before.astype("float64") ** 2)) for _, before in pairs)
    if moved == 0:
        return 0.0
    return float(np.sqrt(moved / whole)) if whole else float("inf")


def _first(data: Any, samples: int) -> Any:
    """The first samples of data, as arrays."""
    if isinstance(data, tf.data.Dataset):
        batch = next(iter(data.take(1)), None)
        data = batch[0] if isinstance(batch, tuple) else batch
    leaves = keras.tree.flatten(data)
    counts = {len(leaf) for leaf in leaves if getattr(leaf, "ndim", 0)}
    if (
        not leaves
        or any(not getattr(leaf, "ndim", 0) for leaf in leaves)
        or len(counts) != 1
        or min(counts) < 3
    ):
        shown = [getattr(leaf, "shape", leaf) for leaf in leaves]
        raise ValueError(
            "Retention compares stages on at least 3 samples, given as arrays with one row for each, or as a "
            f"tf.data.Dataset of batches; received {type(data).__name__} with {str(shown)[:120]}."
        )
    return keras.tree.map_structure(lambda leaf: np.asarray(leaf[:samples]), data)


def _check_fits(model: keras.Model, x: Any) -> None:
    """Raise if samples do not have the shape that a model takes."""
    try:
        model(keras.tree.map_structure(lambda leaf: leaf[:1], x), training=False)
    except Exception as error:
        raise ValueError(
            f"The samples for Retention have the shape {[leaf.shape for leaf in keras.tree.flatten(x)]}; "
            f"{model.name!r} takes {getattr(model, 'input_shape', 'others')}. Give inputs as the model "
            "gets them in fit."
        ) from error


def _scores(reference: Any, head: keras.Layer | None, source: Any) -> Scores | None:
    """The original with the head that was given; None if none was."""
    if head is None:
        return None
    if source is None or not isinstance(reference, keras.Model):
        raise ValueError("`head` is the head of a reference model, for accuracy on `source`: give both.")
    return Scores(keras.Model(reference.input, head(reference.output)))


def _check_has_head(original: Any, pairs: Pairs) -> None:
    """Raise if the original has no weights beyond those that a model with a head of its own shares."""
    ends_there = bool(pairs.theirs) and len(original.weights) == len({id(v) for v in pairs.theirs})
    if ends_there and pairs.count < len(pairs.stages):
        raise ValueError(
            f"{original.name!r} has no stage beyond those of {pairs.stages.model.name!r}, so it has no head "
            "for `source`. Give head=, the layer or model that it was trained with."
        )
