"""PrefixCache: a Keras callback that runs the frozen part of a model once for each sample."""

from __future__ import annotations

import dataclasses
import logging
import os
import random
from typing import Any, Literal

import keras

from kerasft import _keras
from kerasft.cache.cached_fit import CachedFit
from kerasft.cache.cut_plan import CutPlan
from kerasft.cache.cuts import NoCutError
from kerasft.cache.options import check_options, free_disk, writable_folder
from kerasft.cache.records import Storage, free_memory
from kerasft.cache.report import CacheReport
from kerasft.cache.resumed import Resumed
from kerasft.cache.step_plan import StepSettings
from kerasft.typing import Logs

logger = logging.getLogger(__name__)


class PrefixCache(keras.callbacks.Callback):
    """Run frozen layers once for each sample, inside any `model.fit`.

    While the first layers of a model are frozen and deterministic, what they give for a sample cannot change.
    The first epoch trains as always and records it; later epochs train only the rest of the model, from
    the record. When the depth changes (by `GradualUnfreezing` or `kerasft.freeze`), training continues from
    the record of the new cut, which is made in the same first epoch if a schedule knows the depth by then.
    Callbacks, metrics, History and validation see the whole model, whose weights are those that train.

    Stale data are never used. Each sample has a fingerprint of all its data; unless the data are arrays, a
    second epoch reads the source again and uses the record for the samples that it knows. When nothing was
    new in a whole epoch, further epochs are drawn from the record: in the source's order if it has one,
    otherwise in a fresh permutation that the samples, the seed and the epoch's number decide. The first batch
    of each is compared with the source (less and less often, if the source takes long to give one), which
    finds augmentation in the input pipeline. The cache also finds,
    before or while it trains, whatever else makes recording wrong: layers in the prefix that draw random
    numbers or update themselves, a model's own `train_step`, a distribution strategy, a model without a cut.
    Then the cache is off, `reason` says why, and training continues as if it were not there. It is off as
    well where a record would save less than 5 % of the model's work. Dropout and stochastic depth in frozen
    layers stop it, too, unless they are frozen with `dropout="inference"`; then `reason` names them, and so
    it does where the cache records only what comes before them.

    A run that `kerasft.BackupAndRestore` resumes reads the data of past epochs again, without training, and
    ends at the weights of the run that was not interrupted, to the bit. Keras's own `BackupAndRestore` brings
    the same order of data, if these begin anew in each epoch; but it does not store the random generators
    of Dropout. `GradualUnfreezing` does.

    Steps from the record are taken several at a time if no callback needs to look in between: one with hooks
    for batches makes them single, unless it has an attribute `display_only = True`.

    Args:
        storage: "auto" keeps the record in memory, and what exceeds `max_bytes` in temporary files; "memory"
            keeps it in memory or turns the cache off; a folder keeps it in files there.
        max_bytes: The cap, in bytes: of memory for "auto" and "memory", of the files in a folder. None: half
            of the memory that is free, or of the disk.
        dtype: "float32" records what the prefix computes, without loss; "float16" halves it.
        validation: Whether validation data are recorded as well.
        verify: Whether data are compared with the source, as above. Without that, a source that augments
            is not noticed.
        keep: Whether the record stays in the folder `storage` for later runs with the same frozen weights,
            which then run the prefix for none of its samples, and for runs with more layers frozen, which run
            those alone. A run takes values of its own samples from such a record, and nothing else.
        augmented_views: Record this many epochs of an augmenting source, to be used in turn, in place of
            comparing them.
        seed: For permutations; None draws one from Python's random numbers (`keras.utils.set_random_seed`).
        cut_plan: For `FreezeDepthSearch`, which records at the depths of all trials; None fits any other use.

    Attributes:
        report: What has been cached: a `CacheReport`.

    Raises:
        TypeError, ValueError: An argument is wrong, or the folder can't be written.

    Example:
        >>> cache = PrefixCache(dtype="float16")
        >>> cache.reason
        'fit has not begun.'

    References:
        Liu, Agarwal & Venkataraman (2021), AutoFreeze, arXiv:2102.01386, section 4.3.
    """

    def __init__(
        self,
        storage: Literal["auto", "memory"] | str | os.PathLike[str] = "auto",
        max_bytes: int | None = None,
        dtype: Literal["float32", "float16"] = "float32",
        validation: bool = True,
        verify: bool = True,
        *,
        keep: bool = False,
        augmented_views: int = 1,
        seed: int | None = None,
        cut_plan: CutPlan | None = None,
    ) -> None:
        super().__init__()
        self.folder = None if storage in ("auto", "memory") else writable_folder(storage)
        check_options(max_bytes, dtype, augmented_views, keep, self.folder)
        self.storage, self.max_bytes, self.dtype = storage, max_bytes, dtype
        self.validation, self.verify, self.keep = validation, verify, keep
        self.augmented_views = augmented_views
        self.seed = random.randint(0, 2**31) if seed is None else int(seed)
        self.report = CacheReport()
        self._plan = CutPlan() if cut_plan is None else cut_plan
        self._cached: CachedFit | None = None
        self._fit: _keras.RunningFit | None = None
        self._resumed: Resumed | None = None  # that a backup has brought
        self._reason: str | None = "fit has not begun."

    @property
    def reason(self) -> str | None:
        """Why nothing is cached now, or why not all that is frozen; None if all of it is."""
        return self._reason if self._cached is None else self._cached.reason or self._cached.shortfall

    # --- Keras's hooks

    def on_train_begin(self, logs: Logs = None) -> None:
        """Find out whether the model can be divided at all."""
        self.close()
        self.report = CacheReport()
        try:
            self._cached = self._begin()
            self._reason = None
        except NoCutError as error:
            self._reason = str(error)
            logger.warning("PrefixCache is off: %s", error)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Get ready for an epoch."""
        resumed, self._resumed = self._resumed, None
        if self._cached is not None:
            self._cached.begin_epoch(epoch, resumed)
        elif self._fit is not None:
            for past in _keras.pending_replay(self._fit):
                _keras.pass_epoch(self._fit, past)

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Stand in for the model's training function in the next call."""
        if self._cached is not None:
            self._cached.begin_batch()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Find out whether the record is complete, and report."""
        if self._cached is not None:
            self._cached.end_epoch()

    def on_test_begin(self, logs: Logs = None) -> None:
        """Validate from the record, if that can be done."""
        if self._cached is not None:
            self._cached.begin_test()

    def on_test_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Stand in for the model's test function in the next call."""
        if self._cached is not None:
            self._cached.begin_test_batch()

    def on_test_end(self, logs: Logs = None) -> None:
        """Learn from a validation."""
        if self._cached is not None:
            self._cached.end_test()

    def on_train_end(self, logs: Logs = None) -> None:
        """Delete what is not kept."""
        self.close()

    def close(self) -> None:
        """End what a `fit` began. After one that was interrupted, this frees the record."""
        if self._cached is not None:
            self._cached.close()
            self._reason, self._cached = self.reason, None
        self._fit = None

    # --- backups

    reads_replay: bool = True

    def backup_state(self) -> dict[str, Any] | None:
        """What `kerasft.BackupAndRestore` stores: what decides the order of the data."""
        return None if self._cached is None else self._cached.state().to_dict()

    def restore_backup(self, state: dict[str, Any] | None) -> None:
        """Take what `backup_state` returned in the run that is resumed."""
        self._resumed = None if state is None else Resumed.from_dict(state)

    # --- copies

    def __getstate__(self) -> dict[str, Any]:
        """A copy has the settings and the report; the model and the fit belong to the original."""
        return {**vars(self), "_model": None, "_cached": None, "_fit": None, "_reason": self.reason}

    # --- the beginning of a fit

    def _begin(self) -> CachedFit:
        self._fit = fit = _keras.running_fit(self.model)
        if fit is None:
            raise NoCutError("Keras's fit was not found on the stack; another program calls the callbacks.")
        if sum(isinstance(other, PrefixCache) for other in fit.callbacks) > 1:
            raise ValueError("One fit has two PrefixCache callbacks. Leave one.")
        _keras.build_for(self.model, fit.epoch_iterator)
        cap = self.max_bytes or (free_memory() if self.folder is None else free_disk(self.folder)) // 2
        return CachedFit(
            self.model,
            dataclasses.replace(fit, callbacks=[other for other in fit.callbacks if other is not self]),
            self._plan,
            Storage(self.folder, cap, spill=self.storage == "auto"),
            self._settings(training=True),
            self._settings(training=False) if self.validation else None,
            self.report,
        )

    def _settings(self, training: bool) -> StepSettings:
        return StepSettings(
            training,
            self.dtype,
            self.verify,
            self.augmented_views if training else 1,
            self.seed,
            self.folder if self.keep else None,
            self._plan.known_data[0 if training else 1],
        )
