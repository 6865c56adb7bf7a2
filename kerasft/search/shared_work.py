"""What the trials of a search share: records of frozen work at every depth, and a trained head.

Before the first trial the head alone trains for a few epochs over the frozen backbone. Its first epoch makes
the records, at all depths in one pass, and later epochs train from them; trials begin with the trained head.
A head that is one Dense layer is solved (`kerasft.probe`), so that it has converged.
Later processes find both in the search's folder, and read their data once to check that they are the same.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np

from kerasft import _keras
from kerasft.cache import (
    CutPlan,
    NoCutError,
    PrefixCache,
    find_cut,
    why_never,
)
from kerasft.files import lock, replacing, write_text
from kerasft.freezing import DropoutPolicy, Flags, set_depth
from kerasft.search.shared_head import BestHead, read_head, solved_head
from kerasft.search.trial import TrialContext
from kerasft.stages import Stages

logger = logging.getLogger(__name__)

WORTH = 0.1  # the part of the forward pass that frozen layers must have for their output to be recorded
PROBE_EPOCHS = 30  # at most, for the head
PROBE_RATE = 1e-3


@dataclass(frozen=True)
class Prepared:
    """Shared work that was made, or found, for models with one backbone and one kind of head.

    Attributes:
        data: A name for the set of training samples; None if it is not known.
        validation_data: The same for validation samples.
        reason: Why nothing can be shared; None if it can.
    """

    data: str | None
    validation_data: str | None
    reason: str | None


class Sharing:
    """Shares work between the trials of a search.

    Args:
        warm_start: Whether trials begin with the trained head.
        max_bytes: The cap of all records, in bytes; None: a quarter of the disk that is free.
        seed: For the head's training.
        dropout: What draws random numbers in frozen stages, as in `kerasft.freeze`.
    """

    def __init__(
        self, warm_start: bool, max_bytes: int | None, seed: int, dropout: DropoutPolicy | None = None
    ) -> None:
        self.warm_start, self.max_bytes, self.seed, self.dropout = warm_start, max_bytes, seed, dropout
        self._prepared: dict[tuple[str, str], Prepared] = {}
        self._data: list[Any] = []
        self._warned: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_prepared": {}, "_data": []}  # another process looks itself

    def prepare(
        self,
        folder: Path,
        stages: Stages,
        depths: Sequence[int],
        arguments: Mapping[str, Any],
        objective: keras_tuner.Objective | None = None,
    ) -> Prepared:
        """Make records and a trained head, or find them, and give the model the head.

        Args:
            folder: Where they are.
            stages: Of a compiled model that has not been trained.
            depths: Freeze depths of later trials.
            arguments: Of `fit`, by name.
            objective: What chooses the head's best epoch if it is logged; None for the loss.

        Returns:
            What is there now.
        """
        reason, key = _key(stages, self.dropout)
        if reason is not None:
            return Prepared(None, None, reason)
        if self._are_other_data(arguments):
            self._prepared = {}
        place = folder / "heads" / f"{key}.npz"
        head = stages[-1].weights
        known = self._prepared.get((str(folder), key))
        if known is None:
            before = [v.numpy() for v in head]
            with lock(folder):
                watch = BestHead(stages[-1], objective)
                known = self._probe(place, folder / "records", stages, depths, arguments, watch)
            for variable, value in zip(head, before, strict=True):
                variable.assign(value)
            self._prepared[str(folder), key] = known
        stored = read_head(place, len(head)) if self.warm_start and known.reason is None else None
        for variable, value in zip(head, stored or (), strict=False):
            variable.assign(value)
        return known

    def for_trial(
        self, context: TrialContext, stages: Stages, depths: Sequence[int], arguments: Mapping[str, Any]
    ) -> PrefixCache | None:
        """Give a trial's model the trained head, and return a cache for the trial.

        Args:
            context: The trial.
            stages: Those of its compiled model, which has not been trained.
            depths: All freeze depths of the search.
            arguments: Of `fit`, by name.

        Returns:
            The cache; None if nothing can be shared, or the user brings a cache.

        Raises:
            FatalValueError: The search in the folder was begun with other data.
        """
        if context.folder is None or any(isinstance(c, PrefixCache) for c in context.callbacks):
            return None
        prepared = self.prepare(context.folder.shared, stages, depths, arguments, context.objective)
        if prepared.reason is not None:
            if prepared.reason not in self._warned:
                logger.warning("Trials share no frozen work: %s", prepared.reason)
                self._warned.add(prepared.reason)
            return None
        context.folder.check_identity({"content of the data set": prepared.data})
        return self.cache(context.folder.shared, self.seed, prepared)

    def cache(self, folder: Path, seed: int, prepared: Prepared) -> PrefixCache:
        """A cache for a trial of a model that was prepared."""
        known = prepared.data, prepared.validation_data
        plan = CutPlan(least_share=WORTH, known_data=known, quiet=True)
        return PrefixCache(folder / "records", self._cap(folder), keep=True, seed=seed, cut_plan=plan)

    def _probe(
        self,
        place: Path,
        records: Path,
        stages: Stages,
        depths: Sequence[int],
        arguments: Mapping[str, Any],
        watch: BestHead,
    ) -> Prepared:
        """Train the head alone, and record; or, if that was done, read the data once and compare."""
        model, summary = stages.model, place.with_suffix(".json")
        done = read_head(place, len(stages[-1].weights)) is not None and summary.exists()
        recorded = [] if done else sorted(depths, reverse=True)  # the lowest give way if there is no room
        plan = CutPlan(least_share=WORTH, stages=stages, depths=recorded, quiet=True)
        cache = PrefixCache(records, self._cap(records), keep=True, seed=0, cut_plan=plan)
        solved = solved_head(stages, arguments, self.seed) if self.warm_start and not done else None
        trains = self.warm_start and not done and solved is None
        epochs = 1 if done else PROBE_EPOCHS if trains else 3  # the third begins from the record
        left_out = ("callbacks", "epochs", "initial_epoch", "verbose")
        given = {name: value for name, value in arguments.items() if name not in left_out}
        flags, optimizer, random = Flags(model), model.optimizer, _keras.random_state(model)
        keras.utils.set_random_seed(self.seed)
        rate: Any = keras.optimizers.Adam(PROBE_RATE)
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            rate = keras.optimizers.LossScaleOptimizer(rate)
        try:
            model.optimizer = rate
            set_depth(stages, len(stages) - 1, None, self.dropout)
            model.fit(**given, epochs=epochs, verbose=0, callbacks=[cache, *([watch] if trains else [])])
            for variable, value in zip(stages[-1].weights, solved or (), strict=False):
                variable.assign(value)
        finally:
            model.optimizer = optimizer
            flags.restore()
            _keras.set_random_state(model, random)  # of dropout in the head, say
            model.train_function = model.test_function = None
        if cache.reason is not None:
            return Prepared(None, None, cache.reason)
        if not done:
            place.parent.mkdir(parents=True, exist_ok=True)
            with replacing(place, overwrite=True) as partial, open(partial, "wb") as file:
                np.savez(file, **{str(i): v.numpy() for i, v in enumerate(stages[-1].weights)})
            write_text(summary, json.dumps({"data": cache.report.digest, "samples": cache.report.samples}))
        return Prepared(cache.report.digest, cache.report.validation_digest or None, None)

    def _cap(self, folder: Path) -> int:
        if self.max_bytes is not None:
            return self.max_bytes
        folder.mkdir(parents=True, exist_ok=True)
        status = os.statvfs(folder)
        return max(1, status.f_bavail * status.f_frsize // 4)

    def _are_other_data(self, arguments: Mapping[str, Any]) -> bool:
        """Whether `fit` gets other data than before; they are held, so that no others take their place."""
        names = ("x", "y", "sample_weight", "validation_data")
        data = [leaf for name in names for leaf in keras.tree.flatten(arguments.get(name))]
        same = len(data) == len(self._data) and all(map(_is_same, data, self._data))
        self._data = data
        return not same


def _is_same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a is b or a.__array_interface__ == b.__array_interface__
    return a is b


def _key(stages: Stages, dropout: DropoutPolicy | None) -> tuple[str | None, str]:
    """Return why nothing can be shared, or a name for the backbone and kind of head of a trained head."""
    model = stages.model
    reason, program = why_never(model), _keras.program(model)
    if reason is not None or program is None:
        return reason, ""
    flags = Flags(model)
    try:
        set_depth(stages, len(stages) - 1, None, dropout)
        cut = find_cut(program)
    except NoCutError as error:
        return str(error), ""
    finally:
        flags.restore()
    head = [[list(v.shape), str(v.dtype)] for v in stages[-1].weights]
    parts = json.dumps([cut.digest, head, named_loss(model.loss)], sort_keys=True)
    return None, hashlib.blake2b(parts.encode(), digest_size=12).hexdigest()


def named_loss(loss: Any) -> str:
    """Describe a loss by words that are the same in each process."""
    if isinstance(loss, keras.losses.Loss):
        return json.dumps(keras.saving.serialize_keras_object(loss), sort_keys=True, default=str)
    leaves = keras.tree.flatten(loss)
    return str([leaf if isinstance(leaf, str) else getattr(leaf, "__name__", type(leaf)) for leaf in leaves])
