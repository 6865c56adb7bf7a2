"""StageLayer: a Keras layer that is a stage by itself, and its policies for what training changes in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import keras

from kerasft import _keras

BatchNormPolicy = Literal["train", "inference", "statistics", "frozen"]
DropoutPolicy = Literal["inference", "train"]


def check_policy(policy: object) -> None:
    """Raise ValueError if `policy` is no policy for BatchNormalization."""
    if policy not in get_args(BatchNormPolicy):
        raise ValueError(f'batch_norm is "train", "inference", "statistics" or "frozen", not {policy!r}.')


def check_dropout_policy(policy: object) -> None:
    """Raise ValueError if `policy` is no policy for the random numbers of frozen layers; None is one."""
    if policy is not None and policy not in get_args(DropoutPolicy):
        raise ValueError(f'dropout is "inference", "train" or None, not {policy!r}.')


class StageLayer(keras.Layer):
    """A layer that is a stage by itself: `find_stages` neither divides it nor merges it with its neighbours.

    `kerasft.freeze` sets its `trainable` and its `batch_norm`; from these the layer sets its weights' flags.
    A subclass holds its weights itself, not in layers inside it, and ends `__init__` (or `build`, where it
    makes the weights there) with `set_weight_flags()`. While it is frozen it computes the same whether the
    model trains or not (unless `dropout` is "train"), and changes nothing.

    Args:
        batch_norm: What batch normalization does while the stage is thawed and the model trains, as in
            `kerasft.freeze`.
        loaded_batch_norm: What the stage goes back to when `batch_norm` is set to None; None takes
            `batch_norm`.
        dropout: What dropout does while the stage is frozen and the model trains, as in `kerasft.freeze`:
            "train" draws; "inference" and None do not.
        loaded_dropout: What the stage goes back to when `dropout` is set to None; None takes `dropout`.
        **kwargs: As in `keras.Layer`.
    """

    def __init__(
        self,
        batch_norm: BatchNormPolicy = "inference",
        loaded_batch_norm: BatchNormPolicy | None = None,
        dropout: DropoutPolicy | None = None,
        loaded_dropout: DropoutPolicy | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_policy(batch_norm)
        self._batch_norm: BatchNormPolicy = batch_norm
        self.loaded_batch_norm = batch_norm if loaded_batch_norm is None else loaded_batch_norm
        check_dropout_policy(dropout)
        check_dropout_policy(loaded_dropout)
        self._dropout: DropoutPolicy | None = dropout
        self.loaded_dropout: DropoutPolicy | None = dropout if loaded_dropout is None else loaded_dropout

    @property
    def trainable(self) -> bool:
        """Whether the stage is thawed; setting it sets the weights' flags, as `batch_norm` has them."""
        return super().trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        keras.Layer.trainable.fset(self, value)
        self._set_scales()

    @property
    def batch_norm(self) -> BatchNormPolicy:
        """The policy for batch normalization; setting it counts from the next trace of the step."""
        return self._batch_norm

    @batch_norm.setter
    def batch_norm(self, policy: BatchNormPolicy | None) -> None:
        policy = self.loaded_batch_norm if policy is None else policy
        self.check_batch_norm(policy)
        self._batch_norm = policy
        self._set_scales()

    @property
    def dropout(self) -> DropoutPolicy | None:
        """The policy for dropout while the stage is frozen; setting it counts from the next trace."""
        return self._dropout

    @dropout.setter
    def dropout(self, policy: DropoutPolicy | None) -> None:
        policy = self.loaded_dropout if policy is None else policy
        self.check_dropout(policy)
        self._dropout = policy

    @property
    def trainable_when_thawed(self) -> Sequence[keras.Variable]:
        """The weights that can train: no moving statistics, seeds or counters."""
        return _keras.own_trainable_variables(self)

    @property
    def scales_and_offsets(self) -> Sequence[keras.Variable]:
        """The scales and offsets of batch normalization, which stay under "statistics" and "frozen"."""
        return ()

    @property
    def normalizes_by_batch(self) -> bool:
        """Whether batch normalization of a stage that trains goes by the batch, under the present policy."""
        return self.batch_norm in ("train", "statistics")

    @property
    def holds_scales(self) -> bool:
        """Whether scales and offsets stay in a stage that trains, under the present policy."""
        return self.batch_norm in ("statistics", "frozen")

    @property
    def has_updates(self) -> bool:
        """Whether the stage has weights that it updates by itself while it trains, such as statistics."""
        return len(self.weights) > len(self.trainable_when_thawed)

    @property
    def updates_itself(self) -> bool:
        """Whether training changes the stage by more than gradients, under its present flag and policy."""
        return self.trainable and self.has_updates and self.normalizes_by_batch

    def check_batch_norm(self, policy: BatchNormPolicy) -> None:
        """Raise ValueError if the stage can't follow `policy`; subclasses add their reasons.

        Args:
            policy: A value for `batch_norm`.
        """
        check_policy(policy)

    def check_dropout(self, policy: DropoutPolicy | None) -> None:
        """Raise ValueError if the stage can't follow `policy` while it is frozen.

        Args:
            policy: A value for `dropout`.
        """
        check_dropout_policy(policy)

    def set_weight_flags(self) -> None:
        """Set the weights' flags as `trainable` and `batch_norm` have them, once the weights are there."""
        for weight in self.trainable_when_thawed:  # Keras notes a configuration's flag, but tells no weight
            weight.trainable = self.trainable
        self._set_scales()

    def get_config(self) -> dict[str, Any]:
        policies = {"batch_norm": self.batch_norm, "loaded_batch_norm": self.loaded_batch_norm}
        dropout = {"dropout": self.dropout, "loaded_dropout": self.loaded_dropout}
        given = {name: policy for name, policy in dropout.items() if policy is not None}
        return {**super().get_config(), **policies, **given}

    def _set_scales(self) -> None:
        for weight in self.scales_and_offsets:
            weight.trainable = self.trainable and not self.holds_scales
