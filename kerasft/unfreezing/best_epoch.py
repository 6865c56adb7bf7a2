"""The best epoch of a phase, or of all: its weights and optimizer slots, kept and brought back together."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np

from kerasft import _keras
from kerasft.stages import Stages


class BestEpoch:
    """Weights and optimizer slots of the best epoch, of the phase that runs or of all phases.

    Args:
        model: The model that trains.
        stages: Its stages; weights are kept of those that train.
        of_all: Whether frozen stages are kept as well, for another phase may train them later.

    Attributes:
        arrays: What is kept, by name; empty while there is no best epoch.
    """

    def __init__(self, model: keras.Model, stages: Stages, of_all: bool = False) -> None:
        self.model = model
        self.of_all = of_all
        self.stages = stages
        self.arrays: Mapping[str, np.ndarray] = {}

    def keep(self) -> None:
        """Keep the model as it is now, in place of an earlier epoch."""
        weights = {f"weight.{i}": v.numpy() for i, v in enumerate(self._trained())}
        slots = _keras.inner_optimizer(self.model.optimizer).snapshot(self._with_slots())
        self.arrays = weights | {f"slot.{name}": value for name, value in slots.items()}

    def restore(self) -> bool:
        """Put back what is kept, once, and return whether there was anything.

        The same stages must train as when it was kept, unless all are kept.
        """
        arrays, self.arrays = self.arrays, {}
        if not arrays:
            return False
        for i, variable in enumerate(self._trained()):
            variable.assign(arrays[f"weight.{i}"])
        slots = {n.removeprefix("slot."): value for n, value in arrays.items() if n.startswith("slot.")}
        _keras.inner_optimizer(self.model.optimizer).restore(slots, self._with_slots())
        return True

    def whole_model(self) -> list[np.ndarray]:
        """All weights of the model at the epoch that is kept, as `get_weights` returned them then."""
        kept = {id(v): self.arrays[f"weight.{i}"] for i, v in enumerate(self._trained())}
        return [kept[id(v)] if id(v) in kept else v.numpy() for v in self.model.weights]

    def _trained(self) -> list[keras.Variable]:
        return [v for stage in self.stages if self.of_all or stage.trainable for v in stage.weights]

    def _with_slots(self) -> list[keras.Variable]:
        if not self.of_all:
            return list(self.model.trainable_variables)
        optimizer = _keras.inner_optimizer(self.model.optimizer)
        return [v for v in self.model.variables if optimizer.knows(v)]
