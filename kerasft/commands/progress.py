"""The progress bar of a run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from kerasft.stages import Stages
from kerasft.typing import Logs


class EpochBar(keras.callbacks.Callback):
    """One bar over all epochs."""

    display_only = True

    def __init__(self, display: Progress, stages: Stages) -> None:
        super().__init__()
        self.display = display
        self.stages = stages
        self.task: TaskID | None = None

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        first = next(stage.name for stage in self.stages if stage.trainable)
        steps = self.params["steps"]
        text = f"epoch {epoch + 1}/{self.params['epochs']}, training from {first}"
        if self.task is None:
            total = steps and steps * self.params["epochs"]
            self.task = self.display.add_task(text, total=total, completed=(steps or 0) * epoch)
        self.display.update(self.task, description=text)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if self.task is not None:
            self.display.advance(self.task)


@contextlib.contextmanager
def progress_display(progress: Progress | None) -> Iterator[Progress]:
    """`progress` itself, or a display of its own that ends with the block."""
    if progress is not None:
        yield progress
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as display:
        yield display
