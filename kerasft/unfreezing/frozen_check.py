"""Proof of what a phase did: which stages trained, at which rates, how far they moved, and what stayed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kerasft import _keras
from kerasft.freezing import kept_frozen
from kerasft.stages import Stages
from kerasft.unfreezing.phase_report import PhaseReport, StageReport


class FrozenCheck:
    """Compares a model with what it was at the beginning of a phase.

    Args:
        stages: The model's stages, their flags set for the phase.

    Attributes:
        variables: The weights that must not change.
    """

    def __init__(self, stages: Stages) -> None:
        self.stages = stages
        self._kept = kept_frozen(stages)
        self.variables = [
            v
            for stage in stages
            for layer in stage.layers
            for v in (_kept_still(layer) if stage.trainable else _keras.own_variables(layer))
        ]
        self._digests = [_digest(v) for v in self.variables]
        frozen = {id(v) for v in self.variables}
        self._before = {id(v): v.numpy() for stage in stages for v in stage.weights if id(v) not in frozen}

    def check(self, when: str) -> None:
        """Raise if a frozen weight is not what it was, to the bit.

        Args:
            when: Completes "Frozen weights changed ...".

        Raises:
            RuntimeError: Names the weights.
        """
        moved = [v.path for v, d in zip(self.variables, self._digests, strict=True) if _digest(v) != d]
        if moved:
            raise RuntimeError(
                f"Frozen weights changed {when}: {moved}. Something other than the optimizer writes to them: "
                "a custom train_step, another callback, or a layer that updates itself. Weights that are "
                "to change belong to a stage that trains."
            )

    def report(
        self,
        optimizer: Any,
        index: int,
        depth: int,
        epochs: tuple[int, int],
        best: int | None,
    ) -> PhaseReport:
        """The report of a phase that is over."""
        rows = []
        for place, stage in enumerate(self.stages):
            trained = [v for v in stage.weights if id(v) in self._before]
            changes = [np.abs(v.numpy().astype("float64") - self._before[id(v)]) for v in trained]
            flat = np.concatenate([c.ravel() for c in changes]) if changes else np.zeros(1)
            variables = [v for layer in stage.layers for v in _keras.own_trainable_variables(layer)]
            known = [v for v in variables if optimizer.knows(v)]
            stepped = [v for v in known if stage.trainable and v.trainable]
            rows.append(
                StageReport(
                    stage.name,
                    stage.trainable,
                    max((optimizer.rate_of(v) for v in stepped), default=0.0),
                    max((optimizer.decay_of(v) for v in stepped), default=0.0),
                    float(flat.max(initial=0.0)),
                    float(flat.mean()) if flat.size else 0.0,
                    max((optimizer.steps_of(v) for v in known), default=0),
                    self._kept.mark(place, stage.trainable),
                )
            )
        return PhaseReport(index, depth, epochs, best, len(self.variables), tuple(rows))


def _kept_still(layer: keras.Layer) -> Sequence[keras.Variable]:
    """The weights that stay as they are in a layer of a stage that trains."""
    trainable = _keras.own_trainable_variables(layer)
    if not layer.trainable and not any(v.trainable for v in trainable):
        return _keras.own_variables(layer)
    still = [v for v in trainable if not v.trainable]
    if isinstance(layer, keras.layers.BatchNormalization) and not layer.trainable:
        still += [v for v in _keras.own_variables(layer) if not any(v is t for t in trainable)]
    return still


def _digest(variable: keras.Variable) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(variable.numpy()).tobytes(), digest_size=16).digest()
