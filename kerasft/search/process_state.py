"""What a search knows in one process alone; other processes begin without it."""

from __future__ import annotations

import time
import weakref
from collections.abc import Mapping
from typing import Any

import keras

from kerasft import _keras
from kerasft.freezing import Flags
from kerasft.search.trial import TrialContext, weight_fingerprints


class ProcessState:
    """When this process began to search, the models that it built, and how often it executed each trial."""

    def __init__(self) -> None:
        self._begun: float | None = None
        self._built: weakref.WeakKeyDictionary[keras.Model, list[str]] = weakref.WeakKeyDictionary()
        self._values: weakref.WeakKeyDictionary[keras.Model, dict[str, Any]] = weakref.WeakKeyDictionary()
        self._not_compiled: weakref.WeakSet[keras.Model] = weakref.WeakSet()
        self._executions: dict[tuple[str, str], int] = {}
        self.fits = 0  # how often a trial has begun to train

    def __reduce__(self) -> tuple[Any, ...]:
        return ProcessState, ()

    def elapsed(self) -> float:
        """Seconds since the first call, which is made as the first trial begins."""
        self._begun = self._begun or time.perf_counter()
        return time.perf_counter() - self._begun

    def note_not_compiled(self, model: keras.Model) -> None:
        """Remember that a model came from its author without being compiled."""
        self._not_compiled.add(model)

    def was_compiled(self, model: keras.Model) -> bool:
        """Whether a model's author has compiled it, with a loss or to train without one."""
        return model not in self._not_compiled

    def note_built(self, model: keras.Model, values: Mapping[str, Any]) -> None:
        """Remember the weights and flags of a model as it was built, and by which hyperparameters."""
        self._built[model] = weight_fingerprints(model)
        self._values[model] = dict(values)
        model._as_built = Flags(model)  # on the model, for flags hold it

    def built_with(self, values: Mapping[str, Any]) -> keras.Model | None:
        """A model that was built with these hyperparameters and is still there."""
        return next((model for model, own in self._values.items() if own == values), None)

    def weights_as_built(self, model: keras.Model) -> list[str]:
        """Fingerprints of a model's weights as it was built, or as it is if somebody else built it."""
        return self._built.pop(model, None) or weight_fingerprints(model)

    def begin_execution(self, context: TrialContext, model: keras.Model) -> int:
        """Count an execution of a trial, and give a further one random states of its own.

        Args:
            context: The trial.
            model: Its model, which was built with the seed of all executions.

        Returns:
            How many executions the trial has had before.
        """
        execution = self._executions.get(context.key, 0)
        self._executions[context.key] = execution + 1
        if execution:
            states = _keras.random_state(model)
            _keras.set_random_state(model, [[state[0] + execution, *state[1:]] for state in states])
        return execution

    def is_repeated(self, context: TrialContext) -> bool:
        """Whether this process has executed a trial more than once."""
        return self._executions.get(context.key, 0) > 1


def flags_as_built(model: keras.Model) -> None:
    """Thaw a model of `FreezeDepthSearch.build` to the flags that its author gave it."""
    flags = getattr(model, "_as_built", None)
    if flags is not None:
        flags.restore()
        _keras.apply_trainable_flags(model)
        model._as_built = None
