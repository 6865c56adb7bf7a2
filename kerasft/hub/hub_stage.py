"""HubStage: one stage of a SavedModel as an ordinary Keras layer that owns its weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from kerasft import _keras
from kerasft.hub.flatten import gradients_are_recorded
from kerasft.hub.graph_check import check_memory, damaged
from kerasft.hub.graph_def import ASSIGNS
from kerasft.hub.graph_function import ConcreteFunction, GraphFunction
from kerasft.hub.stage_inputs import as_given, check_inputs
from kerasft.hub.stage_policies import why_no_batch_norm, why_no_dropout
from kerasft.stages import BatchNormPolicy, DropoutPolicy, StageLayer

Regularizer: TypeAlias = tuple[GraphFunction, tuple[int, ...]]
Mode: TypeAlias = Literal["inference", "training"]


def _variables(specs: Sequence[dict[str, Any]], values: Sequence[tf.Variable] | None) -> list[keras.Variable]:
    """A weight for each spec, with the storage of `values`, or zeros."""
    return [
        keras.Variable(
            initializer=tf.zeros(spec["shape"], spec["dtype"]) if values is None else values[i],
            trainable=spec["trainable"],
            dtype=spec["dtype"],
            name=spec["name"],
        )
        for i, spec in enumerate(specs)
    ]


def _moved(
    updates: Sequence[tuple[int, str]], values: Sequence[np.ndarray], new: Sequence[tf.Tensor]
) -> dict[int, np.ndarray]:
    """What assignments make of these values, by the weight's position."""
    signs = {"assign_add": 1, "assign_sub": -1}
    return {
        position: values[position] + signs[method] * value.numpy() if method in signs else value.numpy()
        for (position, method), value in zip(updates, new, strict=True)
    }


@keras.saving.register_keras_serializable("kerasft")
class HubStage(StageLayer):
    """A stage of a TF Hub backbone; made by `kerasft.hub.load_backbone`.

    The layer holds its part of the graph, so a saved model loads without the backbone it came from. It
    computes in the dtypes of the graph, whatever the global policy says.

    Args:
        inference: The stage as a function of its inputs, then its weights.
        weights: Name, shape, dtype and whether it can train, for each weight.
        input_dtypes: Dtype of each input.
        training: The same for training mode, its results followed by the values of `updates`.
        updates: Assignments in training mode: (position of the weight, method of tf.Variable).
        regularizers: Regularization losses, each a function of the weights at the given positions.
        batch_norm: Which graph runs while the stage is thawed and called with `training=True`. "train" runs
            the training graph, with updates; "inference" the inference graph; "statistics" the training
            graph, with updates, while the weights at `scales` stay; "frozen" the inference graph, while they
            stay. The attribute of that name can be set,
            and None sets it back to what the stage was loaded with.
        loaded_batch_norm: What the stage was loaded with; None takes `batch_norm`.
        scales: Positions of the scales and offsets of batch normalization.
        unclear: Positions of moving statistics whose scale and offset are not known.
        dropout: Which graph runs while the stage is frozen and called with `training=True`: the training
            graph with "train", otherwise the inference graph.
        loaded_dropout: What the stage was loaded with; None takes `dropout`.
        batch_sizes: For each input the batch size that it must have; None for any.
        map_batch: Whether the functions are of one sample, and run for each of a batch.
        values: `tf.Variable`s to be used as weights, with their storage; None begins with zeros.

    Call arguments:
        inputs: A tensor, or a list of tensors in the order of the function's inputs.
        training: Whether the model trains.
    """

    def __init__(
        self,
        inference: GraphFunction,
        weights: Sequence[dict[str, Any]],
        input_dtypes: Sequence[str],
        training: GraphFunction | None = None,
        updates: Sequence[tuple[int, str]] = (),
        regularizers: Sequence[Regularizer] = (),
        batch_norm: BatchNormPolicy = "inference",
        loaded_batch_norm: BatchNormPolicy | None = None,
        scales: Sequence[int] = (),
        unclear: Sequence[int] = (),
        dropout: DropoutPolicy | None = None,
        loaded_dropout: DropoutPolicy | None = None,
        batch_sizes: Sequence[int | None] = (),
        map_batch: bool = False,
        values: Sequence[tf.Variable] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs = {**kwargs, "dtype": "float32", "autocast": False}
        super().__init__(batch_norm, loaded_batch_norm, dropout, loaded_dropout, **kwargs)
        self.input_dtypes = [tf.as_dtype(dtype).name for dtype in input_dtypes]
        self.weight_specs = [dict(spec) for spec in weights]
        self.updates = [(int(position), str(method)) for position, method in updates]
        if foreign := sorted({method for _, method in self.updates} - {*ASSIGNS.values()}):
            raise ValueError(f"An update assigns by one of {[*ASSIGNS.values()]}; received {foreign}.")
        self.scales = [int(position) for position in scales]
        self.unclear = [int(position) for position in unclear]
        self.batch_sizes = list(batch_sizes) if any(batch_sizes) else [None] * len(self.input_dtypes)
        self.map_batch = bool(map_batch)
        self._graphs: dict[Mode, GraphFunction] = {"inference": inference}
        if training is not None:
            self._graphs["training"] = training
        if "string" in self.input_dtypes or any(graph.has_text for graph in self._graphs.values()):
            self.supports_jit = False
        self._regularizers = list(regularizers)
        used = [p for p, _ in self.updates] + [p for _, positions in regularizers for p in positions]
        if stray := [p for p in (*used, *self.scales, *self.unclear) if not 0 <= p < len(self.weight_specs)]:
            raise ValueError(f"There are {len(self.weight_specs)} weights; received the positions {stray}.")
        self._concrete: dict[tuple[Mode, tuple[Any, ...], bool], ConcreteFunction] = {}
        if values is None:
            check_memory(self.weight_specs)
        with keras.name_scope(self.name):
            self.stage_weights = _variables(self.weight_specs, values)
        self._weight_tensors = [tf.TensorSpec(w["shape"], w["dtype"]) for w in self.weight_specs]
        self._loss_functions = [
            (g.concrete([self._weight_tensors[p] for p in positions]), positions)
            for g, positions in self._regularizers
        ]
        self.built = True
        self.check_batch_norm(batch_norm)
        self.check_dropout(dropout)
        self.set_weight_flags()

    @property
    def scales_and_offsets(self) -> list[keras.Variable]:
        """The scales and offsets of batch normalization, which stay under "statistics" and "frozen"."""
        return [self.stage_weights[position] for position in self.scales]

    @property
    def has_updates(self) -> bool:
        """Whether the graph for training assigns anything."""
        return bool(self.updates)

    def check_batch_norm(self, policy: BatchNormPolicy) -> None:
        """Raise ValueError if the stage can't follow `policy`.

        Args:
            policy: A value for `batch_norm`.

        Raises:
            ValueError: `policy` needs a training graph, which a stage with statistics lacks; or it is
                "statistics" or "frozen", and scale and offset of a normalization are not known.
        """
        super().check_batch_norm(policy)
        if policy == "inference":
            return
        unclear = [self.weight_specs[p]["name"] for p in self.unclear]
        has_training = "training" in self._graphs
        if reason := why_no_batch_norm(policy, self.name, has_training, self._statistics, unclear):
            raise ValueError(reason)

    def check_dropout(self, policy: DropoutPolicy | None) -> None:
        """Raise ValueError if the stage can't follow `policy` while it is frozen.

        Args:
            policy: A value for `dropout`.

        Raises:
            ValueError: `policy` is "train", and the training graph is missing, or does more than draw.
        """
        super().check_dropout(policy)
        moved = self._statistics or [self.weight_specs[p]["name"] for p, _ in self.updates]
        reason = why_no_dropout(self.name, "training" in self._graphs, moved)
        if reason and policy == "train":
            raise ValueError(reason)

    @property
    def _statistics(self) -> list[str]:
        """The names of the weights that are no integers and never train."""
        fixed = [spec for spec in self.weight_specs if not spec["trainable"]]
        return [spec["name"] for spec in fixed if tf.as_dtype(spec["dtype"]).is_floating]

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        tensors = as_given(self.name, inputs, self.input_dtypes, self.batch_sizes)
        values = [tf.convert_to_tensor(v.value) for v in self.stage_weights]
        mode = self._mode(training)
        function = self._function(mode, tensors)
        if self.map_batch:
            specs = [tf.TensorSpec(t.shape, t.dtype) for t in function.structured_outputs]
            results = tf.map_fn(lambda one: function(*one, *values), tensors, fn_output_signature=specs)
        else:
            results = function(*tensors, *values)
        if mode == "training" and self.updates:
            results, new = results[: -len(self.updates)], results[-len(self.updates) :]
            for (position, method), value in zip(self.updates, new, strict=True):
                getattr(self.stage_weights[position], method)(value)
        if self._loss_functions and self.trainable:
            losses = [f(*(values[p] for p in positions))[0] for f, positions in self._loss_functions]
            self.add_loss(tf.add_n(losses))
        return results[0] if len(results) == 1 else results

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> Any:
        """The results of `call` as symbolic tensors, without a trace of it."""
        tensors = inputs if isinstance(inputs, list | tuple) else [inputs]
        check_inputs(self.name, tensors, self.input_dtypes, self.batch_sizes)
        mode = self._mode(training)
        function = self._function(mode, tensors, [t.shape[0] if t.shape else None for t in tensors])
        results = function.structured_outputs  # `outputs` grows when gradients are asked for
        if mode == "training":
            results = results[: len(results) - len(self.updates)]
        batch = [None] if self.map_batch else []
        specs = [keras.KerasTensor([*batch, *t.shape], t.dtype) for t in results]
        return specs[0] if len(specs) == 1 else specs

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shapes of the results, with the batch, for one shape or a list of shapes of the inputs."""
        several = any(isinstance(axis, list | tuple) for axis in input_shape)
        shapes = input_shape if several else [input_shape]
        given = [keras.KerasTensor(s, d) for s, d in zip(shapes, self.input_dtypes, strict=True)]
        specs = self.compute_output_spec(given)
        return [s.shape for s in specs] if isinstance(specs, list) else specs.shape

    def updated(self, tensors: Sequence[tf.Tensor], values: Sequence[np.ndarray]) -> dict[int, np.ndarray]:
        """What training would make of weights that it updates by itself; changes nothing.

        Args:
            tensors: Inputs of the stage.
            values: A value for each weight.

        Returns:
            The new values by the weight's position; none if the stage has no graph for training.
        """
        if "training" not in self._graphs or not self.updates:
            return {}
        tensors = [tf.cast(t, d) for t, d in zip(tensors, self.input_dtypes, strict=True)]
        given = [tf.constant(v, spec["dtype"]) for v, spec in zip(values, self.weight_specs, strict=True)]
        new = self._function("training", tensors)(*tensors, *given)[-len(self.updates) :]
        return _moved(self.updates, values, new)

    def _mode(self, training: bool | None) -> Mode:
        wanted = self.normalizes_by_batch if self.trainable else self.dropout == "train"
        return "training" if training and wanted and "training" in self._graphs else "inference"

    def _function(
        self, mode: Mode, tensors: Sequence[Any], sizes: Sequence[int | None] | None = None
    ) -> ConcreteFunction:
        """The concrete function of a mode for the tensors' shapes, made once for each; None: any batch."""
        batch = [[] if self.map_batch else [size] for size in sizes or self.batch_sizes]
        shapes = tuple((*b, *t.shape[1:]) if t.shape else () for b, t in zip(batch, tensors, strict=True))
        key = mode, shapes, gradients_are_recorded()
        if key not in self._concrete:
            specs = [tf.TensorSpec(s, d) for s, d in zip(shapes, self.input_dtypes, strict=True)]
            try:
                with tf.init_scope():
                    self._concrete[key] = self._graphs[mode].concrete(
                        [*specs, *self._weight_tensors], key[-1]
                    )
            except ValueError as error:
                if error.__cause__ is not None:  # the graph itself is damaged
                    raise
                given = ", ".join(f"{s.dtype.name} {tuple(s.shape)}" for s in specs)
                raise ValueError(f"The stage {self.name!r} can't take {given}: {error}") from error
        return self._concrete[key]

    def get_config(self) -> dict[str, Any]:
        graphs: dict[str, Any] = {mode: graph.to_config() for mode, graph in self._graphs.items()}
        return {
            **{k: v for k, v in super().get_config().items() if k not in ("dtype", "autocast")},
            **graphs,
            "weights": self.weight_specs,
            "input_dtypes": self.input_dtypes,
            "updates": self.updates,
            "regularizers": [[g.to_config(), list(p)] for g, p in self._regularizers],
            "scales": self.scales,
            "unclear": self.unclear,
            **({"batch_sizes": self.batch_sizes} if any(self.batch_sizes) else {}),
            **({"map_batch": True} if self.map_batch else {}),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> HubStage:
        """Rebuild the layer; in Keras's safe mode its graphs may hold allow-listed operations only.

        Raises:
            ValueError: A graph holds other operations, or the configuration is none of a Hub stage.
        """
        try:
            return cls(**{**config, **functions_of(config, _keras.in_safe_mode())})
        except (LookupError, TypeError, AttributeError, OverflowError, tf.errors.OpError) as error:
            raise damaged(f"a stage can't be made of its configuration ({error!r})") from error


def functions_of(config: dict[str, Any], safe: bool) -> dict[str, Any]:
    """The functions of a stage's configuration; see `GraphFunction.from_config`."""
    graphs: dict[str, Any] = {
        key: GraphFunction.from_config(config[key], safe)
        for key in ("inference", "training")
        if key in config
    }
    losses = [
        (GraphFunction.from_config(graph, safe), tuple(positions))
        for graph, positions in config.get("regularizers", ())
    ]
    return {**graphs, "regularizers": losses}
