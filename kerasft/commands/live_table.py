"""The trials of a search, shown while it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import keras_tuner
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from kerasft.commands.settings import SearchSettings
from kerasft.search import FreezeDepthSearch, TrialRecord, table
from kerasft.typing import Logs


class LiveTable:
    """The trials so far, the best first, and what the running one does."""

    def __init__(
        self,
        search: FreezeDepthSearch,
        tuner: keras_tuner.Tuner,
        settings: SearchSettings,
        console: Console,
    ) -> None:
        self.search, self.tuner, self.settings, self.console = search, tuner, settings, console
        self.records: list[TrialRecord] = []
        self.progress = _Progress(self._show_progress)
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> LiveTable:
        self.records = self.search.results(self.tuner)
        self.search.on_trial_end = self._show_trial
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def _show_trial(self, record: TrialRecord) -> None:
        self.records = [*(r for r in self.records if r.trial != record.trial), record]
        if not self.console.is_terminal:
            score = "no score" if record.score is None else f"{record.score:.4f}"
            self.console.print(
                f"trial {record.trial}: {score}, {record.recipe.replace('_', ' ')}, trains from "
                f"{record.trains_from}, {record.epochs} epochs, {record.seconds:.1f} s {record.status}",
                highlight=False,
            )
        self._update("")

    def _show_progress(self, epoch: int, epochs: int) -> None:
        most = "" if self.settings.tuner == "hyperband" else f" of {self.settings.trials}"
        self._update(f"trial {len(self.records) + 1}{most}, epoch {epoch + 1} of {epochs}")

    def _update(self, text: str) -> None:
        if self.console.is_terminal:
            self._live.update(Group(table(self.records, "max", most=10), Text(text)), refresh=True)


class _Progress(keras.callbacks.Callback):
    """Shows which epoch begins; all of keras-tuner's copies are the same."""

    display_only = True

    def __init__(self, show: Callable[[int, int], None]) -> None:
        super().__init__()
        self.show = show

    def __deepcopy__(self, memo: dict[int, Any]) -> _Progress:
        return _Progress(self.show)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.show(epoch, self.params["epochs"])
