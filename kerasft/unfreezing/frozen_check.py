"""Proof of what a phase did: which stages trained, at which rates, how far they moved, and what did not."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kerasft import _keras
from kerasft.stages import Stages


@dataclass(frozen=True)
class StageReport:
    """What happened to one stage in one phase.

    Attributes:
        name: The stage.
        trained: Whether it trained.
        learning_rate: Its learning rate at the end of the phase, factors and warm-up included (the largest
            of its weights').
        weight_decay: The share of a weight that decoupled weight decay takes away at each step, at the end
            of the phase (the largest of its weights').
        largest_change: Largest absolute difference of a weight from the phase's beginning.
        mean_change: Mean absolute difference of its weights from the phase's beginning.
        steps: Optimizer steps since it was thawed for the first time.
    """

    name: str
    trained: bool
    learning_rate: float
    weight_decay: float
    largest_change: float
    mean_change: float
    steps: int


@dataclass(frozen=True)
class PhaseReport:
    """What happened in one phase; `print` shows a table.

    Attributes:
        index: The phase, from 0.
        depth: Its freeze depth.
        epochs: First and last of its epochs, from 0. A resumed run counts from where it was resumed.
        best_epoch: The epoch whose weights it went back to, or None.
        frozen_weights: How many frozen weights were compared after each epoch, all equal to the bit.
        stages: One report for each stage, from the input on.
    """

    index: int
    depth: int
    epochs: tuple[int, int]
    best_epoch: int | None
    frozen_weights: int
    stages: tuple[StageReport, ...]

    def __str__(self) -> str:
        first, last = self.epochs
        back = "" if self.best_epoch is None else f", back to epoch {self.best_epoch}"
        title = f"Phase {self.index}, freeze depth {self.depth}, epochs {first} to {last}{back}"
        rows = [("stage", "trained", "rate", "decay", "largest change", "mean change", "steps")]
        for stage in self.stages:
            numbers = (
                f"{stage.learning_rate:.2e}" if stage.trained else "",
                f"{stage.weight_decay:.2e}" if stage.trained else "",
                f"{stage.largest_change:.2e}" if stage.largest_change else "0",
                f"{stage.mean_change:.2e}" if stage.mean_change else "0",
                str(stage.steps),
            )
            rows.append((stage.name, "yes" if stage.trained else "no", *numbers))
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)
        return "\n".join([title, *lines])


class Audit:
    """Watches a model from the beginning of a phase on.

    Args:
        stages: The model's stages, their flags set for the phase.
    """

    def __init__(self, stages: Stages) -> None:
        self.stages = stages
        self.frozen = [
            v
            for stage in stages
            for layer in stage.layers
            for v in (_still(layer) if stage.trainable else _keras.own_variables(layer))
        ]
        self._digests = [_digest(v) for v in self.frozen]
        frozen = {id(v) for v in self.frozen}
        self._before = {id(v): v.numpy() for stage in stages for v in stage.weights if id(v) not in frozen}

    def check(self, when: str) -> None:
        """Raise if a frozen weight is not what it was, to the bit.

        Args:
            when: Completes "Frozen weights changed ...".

        Raises:
            RuntimeError: Names the weights.
        """
        moved = [v.path for v, d in zip(self.frozen, self._digests, strict=True) if _digest(v) != d]
        if moved:
            raise RuntimeError(
                f"Frozen weights changed {when}: {moved}. Something beside the optimizer writes to them: "
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
        for stage in self.stages:
            moving = [v for v in stage.weights if id(v) in self._before]
            changes = [np.abs(v.numpy().astype("float64") - self._before[id(v)]) for v in moving]
            flat = np.concatenate([c.ravel() for c in changes]) if changes else np.zeros(1)
            variables = [v for layer in stage.layers for v in _keras.own_trainable_variables(layer)]
            known = [v for v in variables if optimizer.knows(v)]
            trained = [v for v in known if stage.trainable and v.trainable]
            rows.append(
                StageReport(
                    stage.name,
                    stage.trainable,
                    max((optimizer.rate_of(v) for v in trained), default=0.0),
                    max((optimizer.decay_of(v) for v in trained), default=0.0),
                    float(flat.max(initial=0.0)),
                    float(flat.mean()) if flat.size else 0.0,
                    max((optimizer.steps_of(v) for v in known), default=0),
                )
            )
        return PhaseReport(index, depth, epochs, best, len(self.frozen), tuple(rows))


def relative_gradient_norms(stages: Stages, norms: dict[int, float]) -> list[float]:
    """Auto-RGN: the relative gradient norm of each stage, divided by the largest of them.

    Args:
        stages: The stages of a model.
        norms: Norm of the gradient by `id` of the variable; frozen ones have none, or 0.

    Returns:
        A factor from 0 to 1 for each stage: `(‖g‖ / ‖w‖) / max(‖g‖ / ‖w‖)`.

    References:
        Lee et al. (2023), Surgical Fine-Tuning, arXiv:2210.11466, section 4.
    """
    ratios = []
    for stage in stages:
        variables = [v for layer in stage.layers for v in _keras.own_trainable_variables(layer)]
        gradient = np.sqrt(sum(norms.get(id(v), 0.0) ** 2 for v in variables))
        weight = np.sqrt(sum(float(np.sum(v.numpy().astype("float64") ** 2)) for v in variables))
        ratios.append(float(gradient / weight) if weight else 0.0)
    largest = max(ratios, default=0.0)
    return [ratio / largest if largest > 0 else 1.0 for ratio in ratios]


def _still(layer: keras.Layer) -> Sequence[keras.Variable]:
    """What does not move in a layer that belongs to a stage that trains."""
    trainable = _keras.own_trainable_variables(layer)
    still = [v for v in trainable if not v.trainable]
    if isinstance(layer, keras.layers.BatchNormalization) and not layer.trainable:
        still += [v for v in _keras.own_variables(layer) if not any(v is t for t in trainable)]
    return still


def _digest(variable: keras.Variable) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(variable.numpy()).tobytes(), digest_size=16).digest()
