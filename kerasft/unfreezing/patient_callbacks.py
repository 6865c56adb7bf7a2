"""EarlyStopping and ReduceLROnPlateau in a fit that unfreezes: to them, each phase is a fit of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasft import _keras
from kerasft.stages import Stages
from kerasft.typing import Logs
from kerasft.unfreezing import checks
from kerasft.unfreezing.best_epoch import BestEpoch

logger = logging.getLogger(__name__)

Hook = Callable[[int], None]
_KINDS = (keras.callbacks.EarlyStopping, keras.callbacks.ReduceLROnPlateau)
_COUNTS = ("wait", "best", "best_epoch", "stopped_epoch", "cooldown_counter")  # what Keras counts in them


class PatientCallbacks:
    """The callbacks of a fit that wait for a better value, its EarlyStopping and ReduceLROnPlateau.

    They are told that training begins whenever a phase does, so that a dip at a thaw counts for nothing. An
    EarlyStopping that stops ends the phase, not the fit, until the last phase. One that restores the best
    weights lets the phase end at its best epoch: weights, optimizer slots, step counts and averages.

    To see which callback sets `stop_training`, a callback is put before and after each of them into the list
    of the fit. What saves epochs moves after them, so that it saves what they have counted.

    Args:
        model: The model that trains.
        stages: Its stages.
        fit: The fit; None has no such callbacks.
        end_phase: Called when an EarlyStopping stops; returns whether that ends the phase, not the fit.
    """

    def __init__(
        self,
        model: keras.Model,
        stages: Stages,
        fit: _keras.RunningFit | None,
        end_phase: Callable[[], bool],
    ) -> None:
        found = [] if fit is None else list(fit.callbacks)
        self._watched = [
            _Watched(callback, checks.placed(found, place), BestEpoch(model, stages), end_phase, found)
            for place, callback in enumerate(found)
            if isinstance(callback, _KINDS)
        ]
        self._found = found
        if fit is not None and self._watched:
            _keras.replace_callbacks(fit, self._surrounded(model, fit))

    def _surrounded(self, model: keras.Model, fit: _keras.RunningFit) -> list[keras.callbacks.Callback]:
        around = {id(w.callback): (_Around(w.before), _Around(w.after)) for w in self._watched}
        for pair in around.values():
            for added in pair:
                added.set_model(model)
        listed: list[keras.callbacks.Callback] = []
        last = max(i for i, callback in enumerate(self._found) if id(callback) in around)
        early = [callback for callback in self._found[:last] if checks.saves_epochs(callback)]
        for place, callback in enumerate(self._found):
            before, after = around.get(id(callback), (None, None))
            if not any(callback is saver for saver in early):
                listed += [c for c in (before, callback, after) if c is not None]
            listed += early if place == last else []
        return listed

    def begin_phase(self) -> None:
        """Let them count anew."""
        for watched in self._watched:
            watched.callback.best = None  # Keras 3.12 keeps it from fit to fit
            watched.callback.on_train_begin()

    def restore_best(self) -> int | None:
        """Go back to the best epoch of the EarlyStopping that has ended the phase, or else of the first.

        Returns:
            The epoch; None if none of them restores the best weights.
        """
        kept = [w for w in self._watched if w.kept.arrays]
        chosen = next((w for w in kept if w.stopped), kept[0] if kept else None)
        epoch = None if chosen is None else chosen.kept_epoch
        if chosen is not None:
            chosen.kept.restore()
        self.forget()
        return epoch

    def forget(self) -> None:
        """Forget best epochs: those of a phase that is over."""
        for watched in self._watched:
            watched.kept.arrays, watched.stopped = {}, False

    def finish(self) -> None:
        """Let the fit end with the weights that the model has, whoever restores weights after this."""
        for watched in self._watched:
            if getattr(watched.callback, "best_weights", None) is not None:
                watched.callback.best_weights = watched.callback.model.get_weights()

    def to_dict(self) -> list[dict[str, Any]]:
        """What each of them has counted, for JSON."""
        return [w.counts() for w in self._watched]

    def arrays(self) -> dict[str, np.ndarray]:
        """The best epochs, by name."""
        return {
            f"{index}.{name}": value
            for index, watched in enumerate(self._watched)
            for name, value in watched.kept.arrays.items()
        }

    def resume(self, counts: Sequence[Mapping[str, Any]], arrays: Mapping[str, np.ndarray]) -> None:
        """Count on from what `to_dict` and `arrays` returned; other callbacks than then begin anew."""
        names = [w.counts()["name"] for w in self._watched]
        if [entry["name"] for entry in counts] != names:
            if names:
                logger.warning(
                    "%s begin to count with this epoch: the run that was saved had %s.",
                    " and ".join(w.place for w in self._watched),
                    [entry["name"] for entry in counts] or "none",
                )
            return
        for index, (watched, entry) in enumerate(zip(self._watched, counts, strict=True)):
            own = {n.partition(".")[2]: v for n, v in arrays.items() if n.partition(".")[0] == str(index)}
            watched.resume(entry, own)


class _Watched:
    """One of them, and what it has done in the phase.

    Attributes:
        callback: The callback.
        place: Its class and place, for messages.
        kept: Its best epoch, if it restores the best weights.
        kept_epoch: That epoch.
        stopped: Whether it has ended the phase.
    """

    def __init__(
        self,
        callback: Any,
        place: str,
        kept: BestEpoch,
        end_phase: Callable[[], bool],
        callbacks: Sequence[keras.callbacks.Callback],
    ) -> None:
        self.callback, self.place, self.kept = callback, place, kept
        self.kept_epoch: int | None = None
        self.stopped = False
        self._end_phase, self._callbacks = end_phase, callbacks
        self._best: Any = None
        self._stopping = False

    def before(self, epoch: int) -> None:
        """Note how things stand before the callback sees an epoch."""
        self._best = getattr(self.callback, "best_weights", None)
        self._stopping = bool(self.callback.model.stop_training)

    def after(self, epoch: int) -> None:
        """See what the callback has made of an epoch."""
        best, model = getattr(self.callback, "best_weights", None), self.callback.model
        if best is not None and best is not self._best:
            with _keras.trained_weights(model, self._callbacks):
                self.kept.keep()
            self.kept_epoch = epoch
        self._best = None
        stops = model.stop_training and not self._stopping
        if stops and isinstance(self.callback, keras.callbacks.EarlyStopping):
            self.stopped = True
            if self._end_phase():
                model.stop_training = False
                logger.info("%s ends the phase after epoch %d.", self.place, epoch)

    def counts(self) -> dict[str, Any]:
        """What the callback has counted."""
        values = {name: getattr(self.callback, name, None) for name in _COUNTS}
        return {
            "name": f"{type(self.callback).__name__}({self.callback.monitor})",
            "kept_epoch": self.kept_epoch,
            "stopped": self.stopped,
            **{name: None if value is None else float(value) for name, value in values.items()},
        }

    def resume(self, counts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Count on from what `counts` returned, with the best epoch in `arrays`."""
        for name in _COUNTS:
            if counts[name] is not None and hasattr(self.callback, name):
                whole = name != "best"
                setattr(self.callback, name, int(counts[name]) if whole else counts[name])
        self.kept_epoch, self.stopped, self.kept.arrays = counts["kept_epoch"], counts["stopped"], arrays
        if arrays:
            self.callback.best_weights = self.kept.whole_model()


class _Around(keras.callbacks.Callback):
    """Calls a function at the end of each epoch."""

    display_only = True

    def __init__(self, hook: Hook) -> None:
        super().__init__()
        self._hook = hook

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._hook(epoch)
