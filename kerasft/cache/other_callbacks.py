"""What the other callbacks of a fit tell the cache: coming depths, and whether they look between steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import keras

from kerasft.freezing import BatchNormPolicy
from kerasft.stages import Stages


class DepthSchedule(Protocol):
    """A callback that changes the freeze depth while `fit` runs, as `GradualUnfreezing` does."""

    @property
    def coming_depths(self) -> Sequence[int]:
        """The freeze depths in force from now on, in order."""

    @property
    def stages(self) -> Stages | None:
        """The stages that the depths count; None before `fit` has begun."""

    @property
    def batch_norm(self) -> BatchNormPolicy | None:
        """The policy that comes with each depth."""

    @property
    def acts_at_window_boundaries(self) -> bool:
        """Whether its hooks for batches do something only if the optimizer accumulates gradients."""

    def begin_run(self, epoch: int) -> None:
        """Set the depth with which `fit` begins, at `epoch`, if that is not done yet."""


def depth_schedule(callbacks: Sequence[keras.callbacks.Callback]) -> DepthSchedule | None:
    """Find the callback that knows coming depths; None if there is none."""
    found = next((callback for callback in callbacks if hasattr(callback, "coming_depths")), None)
    return cast("DepthSchedule | None", found)


def looks_between_steps(callback: keras.callbacks.Callback, accumulates: bool) -> bool:
    """Whether a callback has something to do between two steps, beyond showing progress.

    Args:
        callback: Any callback of a fit.
        accumulates: Whether the optimizer accumulates gradients.
    """
    shown = (keras.callbacks.ProgbarLogger, keras.callbacks.History, keras.callbacks.TerminateOnNaN)
    if isinstance(callback, shown) or getattr(callback, "display_only", False):
        return False
    if getattr(callback, "acts_at_window_boundaries", False):
        return accumulates
    if type(callback) in (keras.callbacks.ModelCheckpoint, keras.callbacks.BackupAndRestore):
        return bool(callback.save_freq != "epoch")
    if type(callback) is keras.callbacks.TensorBoard:
        return bool(callback.update_freq != "epoch")
    plain = keras.callbacks.Callback
    hooks = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
    return any(getattr(getattr(callback, h), "__func__", None) is not getattr(plain, h) for h in hooks)
