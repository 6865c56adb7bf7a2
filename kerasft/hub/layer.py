"""HubStage: one stage of a SavedModel as an ordinary Keras layer that owns its weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import keras
import tensorflow as tf

from kerasft import trainer
from kerasft.hub.function import GraphFunction

Regularizer = tuple[GraphFunction, tuple[int, ...]]


@keras.saving.register_keras_serializable("kerasft")
class HubStage(keras.Layer):
    """A stage of a TF Hub backbone; made by `kerasft.hub.load_backbone`.

    The layer holds its part of the graph, so a saved model loads without the backbone it came from. It
    computes in the dtypes of the graph, whatever the global policy says.

    Args:
        inference: The stage as a function of its inputs, then its weights.
        weights: Name, shape, dtype and whether it can train, for each weight.
        input_dtypes: Dtype of each input.
        training: The same for training mode, its results followed by the values of `updates`.
        updates: What training mode assigns: (position of the weight, method of tf.Variable).
        regularizers: Regularization losses, each a function of the weights at the given positions.
        batch_norm: "inference" always runs the inference graph; "train" the training graph, with updates,
            while the stage is thawed and called with `training=True`.
        values: `tf.Variable`s to be used as weights, shared with the SavedModel; None begins with zeros.

    Call arguments:
        inputs: A tensor, or a list of tensors in the order of the function's inputs.
        training: Whether the model trains.
    """

    is_stage = True

    def __init__(
        self,
        inference: GraphFunction,
        weights: Sequence[dict[str, Any]],
        input_dtypes: Sequence[str],
        training: GraphFunction | None = None,
        updates: Sequence[tuple[int, str]] = (),
        regularizers: Sequence[Regularizer] = (),
        batch_norm: Literal["inference", "train"] = "inference",
        values: Sequence[tf.Variable] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs = {**kwargs, "dtype": "float32", "autocast": False}
        super().__init__(**kwargs)
        self.batch_norm = batch_norm
        self.input_dtypes = list(input_dtypes)
        self.weight_specs = [dict(spec) for spec in weights]
        self.updates = [(int(position), str(method)) for position, method in updates]
        self._graphs = {"inference": inference, "training": training}
        self._regularizers = list(regularizers)
        self._concrete: dict[Any, Any] = {}
        with keras.name_scope(self.name):
            self.stage_weights = [
                keras.Variable(
                    initializer=tf.zeros(spec["shape"], spec["dtype"]) if values is None else values[i],
                    trainable=spec["trainable"],
                    dtype=spec["dtype"],
                    name=spec["name"],
                )
                for i, spec in enumerate(self.weight_specs)
            ]
        self._weight_tensors = [tf.TensorSpec(w["shape"], w["dtype"]) for w in self.weight_specs]
        self._loss_functions = [
            (g.concrete([self._weight_tensors[p] for p in positions]), positions)
            for g, positions in self._regularizers
        ]
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        tensors = inputs if isinstance(inputs, list | tuple) else [inputs]
        tensors = [tf.cast(t, d) for t, d in zip(tensors, self.input_dtypes, strict=True)]
        values = [tf.convert_to_tensor(v.value) for v in self.stage_weights]
        train = bool(training) and self.trainable and self.batch_norm == "train"
        mode = "training" if train and self._graphs["training"] is not None else "inference"
        results = self._function(mode, tensors)(*tensors, *values)
        if mode == "training" and self.updates:
            results, new = results[: -len(self.updates)], results[-len(self.updates) :]
            for (position, method), value in zip(self.updates, new, strict=True):
                getattr(self.stage_weights[position], method)(value)
        if self._loss_functions and self.trainable:
            losses = [f(*(values[p] for p in positions))[0] for f, positions in self._loss_functions]
            self.add_loss(tf.add_n(losses))
        return results[0] if len(results) == 1 else results

    def _function(self, mode: str, tensors: Sequence[tf.Tensor]) -> Any:
        """The concrete function of a mode for the tensors' shapes, any batch size; made once for each."""
        shapes = tuple((None, *t.shape[1:]) if t.shape.rank else tuple(t.shape) for t in tensors)
        if (mode, shapes) not in self._concrete:
            graph = self._graphs[mode]
            assert graph is not None
            specs = [tf.TensorSpec(s, d) for s, d in zip(shapes, self.input_dtypes, strict=True)]
            with tf.init_scope():
                self._concrete[mode, shapes] = graph.concrete([*specs, *self._weight_tensors])
        return self._concrete[mode, shapes]

    def get_config(self) -> dict[str, Any]:
        graphs = {k: g.to_config() for k, g in self._graphs.items() if g is not None}
        return {
            **{k: v for k, v in super().get_config().items() if k not in ("dtype", "autocast")},
            **graphs,
            "weights": self.weight_specs,
            "input_dtypes": self.input_dtypes,
            "updates": self.updates,
            "regularizers": [[g.to_config(), list(p)] for g, p in self._regularizers],
            "batch_norm": self.batch_norm,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> HubStage:
        """Rebuild the layer; in Keras's safe mode its graphs may hold allow-listed operations only."""
        config = dict(config)
        for key in ("inference", "training"):
            if key in config:
                config[key] = GraphFunction.from_config(config[key])
        config["regularizers"] = [
            (GraphFunction.from_config(g), tuple(p)) for g, p in config.get("regularizers", ())
        ]
        if trainer.in_safe_mode():
            graphs = [config["inference"], config.get("training")]
            for graph in [*graphs, *(g for g, _ in config["regularizers"])]:
                if graph is not None:
                    graph.check_ops()
        return cls(**config)
