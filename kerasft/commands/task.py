"""What a job of fine-tuning needs to know of its data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import keras
import tensorflow as tf

from kerasft.data import ImageData, Split, TextData
from kerasft.export import Report
from kerasft.stages import Stages
from kerasft.unfreezing import UnfreezingSchedule


class Task(Protocol):
    """What a job fine-tunes on: images, or the texts of `kerasft.commands.text_task`."""

    train: tf.data.Dataset
    validation: tf.data.Dataset
    test: tf.data.Dataset
    class_names: tuple[str, ...]
    class_counts: tuple[int, ...]
    split: Split
    limits: tuple[float, float] | None
    phase_rate: float
    phase_decay: float

    @property
    def data(self) -> ImageData | TextData:
        """The images or texts themselves."""

    @property
    def notes(self) -> Sequence[str]:
        """What was made of them, a sentence each."""

    def identity(self) -> dict[str, Any]:
        """What a resumed job has to have in common with the one before."""

    def builder(self, state: Path, say: Callable[..., object]) -> Callable[[], keras.Model]:
        """What builds the classifier that is trained, each time with the backbone's own weights."""

    def schedule(self, stages: Stages) -> UnfreezingSchedule:
        """The phases of several numbers of epochs."""

    def export(
        self, model: keras.Model, folder: Path, advance: Callable[[], None]
    ) -> tuple[dict[str, Report], dict[str, str]]:
        """Export each precision to a file; the reports, and why a precision was not written."""

    def save(self, folder: Path) -> None:
        """Write the rule by which a sample becomes the model's inputs."""

    def usage(self, out: Path, report: Report) -> str:
        """How to use what was made."""
