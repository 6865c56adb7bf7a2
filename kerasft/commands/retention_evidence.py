"""How much of the pre-trained stages is left after each epoch, stored for a job's report."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from kerasft.commands.evidence import Evidence
from kerasft.retention import Retention
from kerasft.stages import Stages
from kerasft.typing import Logs

_SAMPLES = 32


def retention_evidence(
    evidence: Evidence, stages: Stages, train: tf.data.Dataset
) -> list[keras.callbacks.Callback]:
    """The callback that measures retention on a few training samples, as they are without augmentation.

    It takes a pass over `train`, of which it reads the first batch. The head is new and not measured. None is
    there for a model of one stage, and for fewer than three samples.

    Args:
        evidence: Gets `retention`; a resumed job goes on with the epochs that it has.
        stages: The stages of a model with its pre-trained weights.
        train: Batches of (x, y).
    """
    batch = next(iter(train), None)
    if batch is None or len(stages) < 2 or len(keras.tree.flatten(batch[1])[0]) < 3:
        return []
    return [_RetentionEvidence(evidence, stages, batch[0])]


class _RetentionEvidence(Retention):
    """Retention whose rows are stored; its logs stay out of the job's history."""

    def __init__(self, evidence: Evidence, stages: Stages, x: Any) -> None:
        x = keras.tree.map_structure(lambda leaf: leaf.numpy(), x)
        super().__init__(stages, x, samples=_SAMPLES, shared=len(stages) - 1, stages=stages)
        self._evidence = evidence

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Store a row of `distance`, and of `cka` if there is any."""
        super().on_epoch_end(epoch)
        stored, now = self._evidence.sections.get("retention", {}), self._now()
        if len(stored.get("distance", [])) < epoch:
            return  # an earlier version has begun this job, and stored none
        rows = {name: [*stored.get(name, [])[:epoch], now[name]] for name in now if name != "stages"}
        self._evidence.add(retention={"stages": now["stages"], **rows})

    def on_train_end(self, logs: Logs = None) -> None:
        """Store CKA in the end: the last phase may have gone back to its best epoch."""
        stored = self._evidence.sections.get("retention")
        if stored is not None and self.reason is None:
            self.history += self._measured(len(self.history))
            self._evidence.add(retention={**stored, "cka_in_the_end": self._now()["cka"]})

    def _now(self) -> dict[str, list[Any]]:
        """The last row of each stage."""
        assert self._pairs is not None
        rows = self.history[-self._pairs.count :]
        found: dict[str, list[Any]] = {
            "stages": [row["stage"] for row in rows],
            "distance": [_number(row["distance"]) for row in rows],
        }
        return found if self.reason is not None else found | {"cka": [_number(row["cka"]) for row in rows]}


def _number(value: float) -> float | None:
    """A number for JSON, None for what is none."""
    return value if math.isfinite(value) else None
