"""The progress bar of a run."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from kerasft.stages import Stages
from kerasft.typing import Logs

_TRAINING, _VALIDATION = ("loss", "accuracy"), ("val_loss", "val_accuracy")
_SECONDS = 0.2  # between two changes of the numbers: reading them waits for the step


class EpochBar(keras.callbacks.Callback):
    """One bar over all epochs with loss and accuracy; a line for each epoch where there is no terminal."""

    display_only = True

    def __init__(self, display: Progress, stages: Stages) -> None:
        super().__init__()
        self.display = display
        self.stages = stages
        self.task: TaskID | None = None
        self._begun = self._shown = 0.0
        self._validated = ""

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._begun, self._epoch = time.perf_counter(), epoch
        if self.task is None:
            steps = self.params["steps"]
            total = steps and steps * self.params["epochs"]
            self.task = self.display.add_task("", total=total, completed=(steps or 0) * epoch)
        self.display.update(self.task, description=f"{self._where()}{self._validated}")

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if self.task is None:
            return
        self.display.advance(self.task)
        now = time.perf_counter()
        if now - self._shown > _SECONDS:
            self._shown = now
            text = f"{self._where()}: {_values(logs, _TRAINING)}{self._validated}"
            self.display.update(self.task, description=text)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        validated = _values(logs, _VALIDATION)
        self._validated = f"; {validated}" if validated else ""
        if not self.display.console.is_terminal:
            line = f"{self._where()}: {_values(logs, _TRAINING)}{self._validated}"
            seconds = time.perf_counter() - self._begun
            self.display.console.print(f"{line}; {seconds:.1f} s", highlight=False, soft_wrap=True)

    def _where(self) -> str:
        first = next((stage.name for stage in self.stages if stage.trainable), "nothing")
        return f"epoch {self._epoch + 1}/{self.params['epochs']} from {first}"


def _values(logs: Logs, names: Sequence[str]) -> str:
    return ", ".join(f"{name} {float(logs[name]):.4f}" for name in names if logs and name in logs)


@contextlib.contextmanager
def progress_display(progress: Progress | None) -> Iterator[Progress]:
    """`progress` itself, or a display of its own that ends with the block."""
    if progress is not None:
        yield progress
        return
    columns = (TextColumn("{task.description}"), BarColumn(10), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console()
    with Progress(*columns, console=console, disable=not console.is_terminal) as display:
        yield display
