"""What a job stores for its report while it runs: settings, data, stages, and rates and movement by epoch."""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasft import _keras
from kerasft.commands.workspace import Workspace
from kerasft.data import ImageData, TextData
from kerasft.files import replacing
from kerasft.identity import as_stored
from kerasft.report import EVIDENCE, write_evidence
from kerasft.stages import Stage, Stages
from kerasft.typing import Logs
from kerasft.unfreezing import Phase, UnfreezingSchedule

_MOST = 100  # names of files in a list
_PACKAGES = ("kerasft", "keras", "tensorflow", "numpy", "ai-edge-litert")


class Evidence:
    """Sections by name, in a file of the job's state that is whole whenever it is there.

    Args:
        work: The job's folders. A job that is resumed goes on with what it has stored.

    Attributes:
        sections: What is stored.
    """

    def __init__(self, work: Workspace) -> None:
        self._path = work.state / EVIDENCE
        self.sections: dict[str, Any] = json.loads(self._path.read_text()) if self._path.exists() else {}
        self.sections.pop("version", None)

    def add(self, **sections: Any) -> None:
        """Store sections in place of those of the same names."""
        self.sections |= as_stored(sections)
        write_evidence(self._path, self.sections)

    def finish(self, folder: Path) -> None:
        """Write all into the folder of results."""
        write_evidence(folder / EVIDENCE, self.sections)


def described(data: ImageData | TextData, notes: Sequence[str] = ()) -> dict[str, Any]:
    """What a page tells about data, and what was left out of them.

    Args:
        data: Images or texts.
        notes: Sentences on what was made of them.
    """
    return {
        "kind": "images" if isinstance(data, ImageData) else "texts",
        "name": data.name,
        "train": data.train_size,
        "validation": data.validation_size,
        "test": data.test_size,
        "classes": list(data.class_names),
        "class_counts": list(data.class_counts),
        "skipped": _files(data.skipped),
        "left_out": _files(data.left_out),
        "notes": [*data.notes, *notes],
    }


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that make a run, and the machine's kind."""
    found = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    return found | {name: importlib.metadata.version(name) for name in _PACKAGES}


def planned(schedule: UnfreezingSchedule, stages: Stages) -> dict[str, Any]:
    """The stages, and the phases of a schedule by the stage that each trains from."""
    names = [*stages.names, "nothing"]
    return {
        "stages": [{"name": stage.name, "parameters": stage.parameters} for stage in stages],
        "phases": [
            {
                "from": names[stages.depth(phase.depth)],
                "epochs": phase.epochs,
                "patience": phase.patience,
                "monitor": phase.monitor,
                "learning_rate": _rate(phase),
                "warmup_steps": phase.warmup_steps,
            }
            for phase in schedule
        ],
    }


class EpochEvidence(keras.callbacks.Callback):
    """Stores the learning rate of each stage in each epoch, and how far its weights have moved.

    Put it after `GradualUnfreezing`. The movement of a stage is `||w - w0|| / ||w0||` over its weights that
    can train; `w0` are those before the first epoch, which a resumed job reads from its state.

    Args:
        evidence: Gets `optimizer`, `loss`, a row of `epochs` for each epoch, and `moved` at the end.
        stages: The stages of the model that trains.
        work: The job's folders.
    """

    def __init__(self, evidence: Evidence, stages: Stages, work: Workspace) -> None:
        super().__init__()
        self._evidence, self._stages = evidence, stages
        self._path, self._resumed = work.state / "initial_weights.npz", work.resumed
        self._weights = [_trainable(stage) for stage in stages]
        self._initial: list[np.ndarray] | None = None
        self._rates: list[float] = []

    def on_train_begin(self, logs: Logs = None) -> None:
        """Keep the weights as they are before training, and describe how they are trained."""
        if self._path.exists():
            with np.load(self._path) as found:
                self._initial = [found[name] for name in found.files]
        elif not self._resumed:
            self._initial = [_array(v) for weights in self._weights for v in weights]
            with replacing(self._path, overwrite=True) as partial:
                np.savez(partial, *self._initial)
        loss = self.model.loss
        self._evidence.add(
            optimizer=_keras.description(self.model.optimizer),
            loss=loss if isinstance(loss, str) else type(loss).__name__,
        )

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._rates = self._now()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Store the larger of the rates at both ends of the epoch: one warms up, one falls to zero."""
        rates = [max(pair) for pair in zip(self._rates, self._now(), strict=True)]
        row = {"rates": rates, "distance": self._moved()}
        self._evidence.add(epochs=[*self._evidence.sections.get("epochs", [])[:epoch], row])

    def on_train_end(self, logs: Logs = None) -> None:
        """Store the movement in the end: the last phase may have gone back to its best epoch."""
        self._evidence.add(moved=self._moved())

    def _now(self) -> list[float]:
        """The learning rate of each stage at the next step, the largest of its weights'; frozen: 0."""
        optimizer: Any = _keras.inner_optimizer(self.model.optimizer)
        trains = [[v for v in weights if v.trainable and optimizer.knows(v)] for weights in self._weights]
        rates = iter(optimizer.rates_of(itertools.chain(*trains)))
        return [max(itertools.islice(rates, len(weights)), default=0.0) for weights in trains]

    def _moved(self) -> list[float | None] | None:
        """The movement of each stage, None where it began at 0; None for all where that is not known."""
        if self._initial is None:
            return None
        begun, found = iter(self._initial), []
        for weights in self._weights:
            far = size = 0.0
            for variable in weights:
                before, now = next(begun), _array(variable)
                size += _squared(before)
                if not np.array_equal(now, before):
                    far += _squared(now - before)
            found.append(float(np.sqrt(far / size)) if size else 0.0 if not far else None)
        return found


def _trainable(stage: Stage) -> list[keras.Variable]:
    """The weights of a stage that can train, whether they do or not."""
    held = {id(v): v for layer in stage.layers for v in _keras.own_trainable_variables(layer)}
    return list(held.values())


def _array(variable: keras.Variable) -> np.ndarray:
    return np.array(variable.numpy(), "float32")


def _squared(values: np.ndarray) -> float:
    return float(np.sum(np.square(values, dtype="float64")))


def _rate(phase: Phase) -> Any:
    """The rate of a phase: a number, or the name of what it follows."""
    rate = phase.learning_rate
    return rate if rate is None or isinstance(rate, float | int) else type(rate).__name__


def _files(paths: Sequence[Path]) -> dict[str, Any]:
    return {"count": len(paths), "names": [str(path) for path in paths[:_MOST]]}
