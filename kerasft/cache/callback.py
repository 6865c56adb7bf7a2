"""PrefixCache: a Keras callback that runs the frozen part of a model once for each sample."""

from __future__ import annotations

import functools
import logging
import os
import random
import time
from collections.abc import Collection, Iterator, Sequence
from typing import Literal

import keras

from kerasft import _keras
from kerasft.cache.cuts import (
    Cut,
    NoCutError,
    Prefix,
    find_cut,
)
from kerasft.cache.inspection import why_never
from kerasft.cache.options import _free_disk, _writable
from kerasft.cache.other_callbacks import _looks_between
from kerasft.cache.records import Storage, free_memory
from kerasft.cache.report import CacheReport
from kerasft.cache.step_function import CachedStepFunction
from kerasft.cache.step_plan import StepPlan, StepSettings
from kerasft.freezing import (
    BatchNormPolicy,
    Flags,
    freeze_depth,
    set_depth,
)
from kerasft.stages import Stages, find_stages
from kerasft.typing import Logs
from kerasft.unfreezing import GradualUnfreezing

logger = logging.getLogger(__name__)


class PrefixCache(keras.callbacks.Callback):
    """Run frozen layers once for each sample, inside any `model.fit`.

    While the first layers of a model are frozen and deterministic, what they give for a sample cannot change.
    The first epoch trains as always and records it; later epochs train only the rest of the model, from
    the record. When the depth changes (by `GradualUnfreezing` or `kerasft.freeze`), training goes on from the
    record of the new cut, which is made in the same first epoch where the schedule tells it. Callbacks,
    metrics, History and validation see the whole model, whose weights are those that train.

    Data are not served stale. Each sample has a fingerprint of all its data; unless the data are arrays, a
    second epoch reads the source again and uses the record for the samples that it knows. When nothing was
    new in a whole epoch, further epochs are drawn from the record: in the source's order if it has one, in a
    fresh permutation otherwise; of each, the first batch is compared with the source (of fewer
    and fewer, if the source takes long to give one). Augmentation in the input
    pipeline is found that way. So is, before or while it trains, whatever else makes recording wrong: layers
    in the prefix that draw random numbers or update themselves, a model's own `train_step`, a
    distribution strategy, a model without a cut. Then the cache is off, `reason` says why, and training goes
    on as if it were not there.

    Steps from the record are taken several at a time if no callback needs to look in between: one with hooks
    for batches makes them single, unless it has an attribute `display_only = True`.

    Args:
        storage: "auto" keeps the record in memory, and what exceeds `max_bytes` in temporary files; "memory"
            keeps it there or does without; a folder keeps it in files there.
        max_bytes: The cap, in bytes: of memory for "auto" and "memory", of the files in a folder. None: half
            of the memory that is free, or of the disk.
        dtype: "float32" records what the prefix computes, without loss; "float16" halves it.
        validation: Whether validation data are recorded as well.
        verify: Whether data are compared with the source, as above. Without it a source that augments is
            not found out.
        keep: Whether the record stays in the folder `storage` for later runs with the same data and frozen
            weights, which then run the prefix for no sample, for runs with more layers frozen, which run
            those alone, and for a run that is resumed.
        augmented_views: Record so many epochs of a source that augments, to be used in turn, instead of
            finding out that it does.
        seed: For permutations; None draws one from Python's random numbers (`keras.utils.set_random_seed`).

    Attributes:
        reason: Why nothing is cached now; None if it is.
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
    ) -> None:
        super().__init__()
        self.folder = None if storage in ("auto", "memory") else _writable(storage)
        if max_bytes is not None and (isinstance(max_bytes, bool) or not isinstance(max_bytes, int)):
            raise TypeError(f"max_bytes is a number of bytes, not {max_bytes!r}.")
        if max_bytes is not None and max_bytes <= 0:
            raise ValueError(f"max_bytes is above 0; received {max_bytes}.")
        if dtype not in ("float32", "float16"):
            raise ValueError(
                f'dtype is "float32" or "float16", not {dtype!r}: it is that of the recorded values, which '
                "are floats; labels and weights of samples are kept as they are."
            )
        if keep and self.folder is None:
            raise ValueError('keep=True needs a folder: PrefixCache("records", keep=True).')
        if isinstance(augmented_views, bool) or not isinstance(augmented_views, int) or augmented_views < 1:
            raise ValueError(
                f"augmented_views is a number of epochs of at least 1; received {augmented_views!r}."
            )
        self.storage, self.max_bytes, self.dtype = storage, max_bytes, dtype
        self.validation, self.verify, self.keep = validation, verify, keep
        self.augmented_views = augmented_views
        self.seed = random.randint(0, 2**31) if seed is None else int(seed)
        self.reason: str | None = "fit has not begun."
        self.report = CacheReport()
        self._trusted = False  # the data are known to be those of kept records
        self._quiet = False  # somebody else tells the user that it is off
        self._train: CachedStepFunction | None = None
        self._test: CachedStepFunction | None = None

    # --- Keras's hooks

    def on_train_begin(self, logs: Logs = None) -> None:
        """See whether the model can be divided at all."""
        self.close()
        self.report = CacheReport()
        self._iterator = getattr(_keras.running_fit(self.model), "epoch_iterator", None)
        self._moving: set[int] = set()
        self._traced: list[Prefix] = []
        self._epoch = 0
        self._flags: Flags | None = None
        self._stock = self._stock_test = None
        self._broken = self.reason = self._why_never()
        if self._broken:
            logger.warning("PrefixCache is off: %s", self._broken)
            return
        self._program = _keras.program(self.model)
        cap = self.max_bytes or (free_memory() if self.folder is None else _free_disk(self.folder)) // 2
        self._store = Storage(self.folder, cap, spill=self.storage == "auto")
        self._train = self._source(training=True)
        self._test = self._source(training=False) if self.validation else None

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Get ready for an epoch."""
        self._epoch = epoch
        self._begin = time.perf_counter()
        if self._train is None or self._broken:
            return
        changed = None if self._flags is None else self._flags.changed()
        if changed and self._is_known_function():
            logger.warning(
                "`trainable` was changed while fit runs, which Keras does not see: %s. It counts from epoch "
                "%d on.",
                changed,
                epoch,
            )
            _keras.apply_trainable_flags(self.model)
        if changed != [] or not self._is_known_function():
            self._arrange()
        self._train.begin_epoch(epoch)

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """See whether someone has had the training step traced anew."""
        if self._train is not None and not self._broken and not self._is_known_function():
            self._arrange()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """See whether the record is complete."""
        if self._train is None:
            return
        seconds = time.perf_counter() - self._begin
        self.report.seconds.append(seconds)
        self.report.replayed.append(self._train.replays)
        if not self._broken:
            self._train.end_epoch(whole=not self.model.stop_training)
            self.report.samples, self.report.digest = self._train.samples, self._train.digest
            self.report.kept = self.report.kept or self._train.began_with_kept
            sources = [self._train, *([] if self._test is None else [self._test])]
            self.report.seconds_saved = sum(source.seconds_spared for source in sources)
            self.report.bytes = max(self.report.bytes, self._store.nbytes)
            self.report.peak_bytes = self._store.peak_bytes
            self.report.cut = self._train.cut_name or self.report.cut
            self.report.on_disk = self.report.on_disk or self._store.nbytes > self._store.bytes_in_memory

    def on_test_begin(self, logs: Logs = None) -> None:
        """Validate from the record, if that can be done."""
        if self._train is None or self._broken or self._test is None or self._flags is None:
            return
        if self.reason is None and _keras.validation_iterator(self.model) is not None:
            self._stock_test = self.model.test_function
            self._test.stock = self._stock_test
            self._test.begin_epoch(self._epoch)
            self.model.test_function = self._test

    def on_test_end(self, logs: Logs = None) -> None:
        """Give the model its own function back."""
        if self._stock_test is not None:
            self.model.test_function, self._stock_test = self._stock_test, None
            if self._test is not None and not self._broken:
                self._test.end_epoch(whole=not self.model.stop_evaluating)

    def on_train_end(self, logs: Logs = None) -> None:
        """Give the model its own function back, and delete what is not kept."""
        self.close()

    def close(self) -> None:
        """End what a `fit` began; needed only after one that was interrupted."""
        if self._train is not None:
            if self.model.train_function is self._train:
                self.model.train_function = self._stock
            if self._test is not None and self.model.test_function is self._test:
                self.model.test_function = self._stock_test
            self._store.close()
        self._train = None

    # --- what the sources ask

    def _source(self, training: bool) -> CachedStepFunction:
        folder = self.folder if self.keep else None
        views = self.augmented_views if training else 1
        settings = StepSettings(training, self.dtype, self.verify, views, self.seed, folder, self._trusted)
        plan = functools.partial(self._plan, training)
        return CachedStepFunction(self.model, settings, self._store, plan, self._stop, self._is_running)

    def _is_known_function(self) -> bool:
        """Whether nobody has had the training step traced anew since it was looked at."""
        function = self.model.train_function
        return function is self._train or function is self._stock

    def _is_running(self) -> bool:
        """Whether the `fit` that the cache belongs to is the one that calls."""
        fit = _keras.running_fit(self.model)
        return fit is not None and self._train is not None and fit.epoch_iterator is self._iterator

    def _plan(self, training: bool) -> StepPlan:
        """Where the model is to be divided now, and later on."""
        fit = _keras.running_fit(self.model)
        source = self._iterator if training else _keras.validation_iterator(self.model)
        return StepPlan(
            cuts=self._cuts,
            below=self._cuts_below,
            nondeterministic=self._moving,
            traced=self._traced,
            repeats=_keras.reads_arrays(source),
            ordered=_keras.keeps_order(source),
            ahead=self._may_go_ahead([] if fit is None else fit.callbacks),
            first_epoch=0 if fit is None else fit.first_epoch,
            steps=_keras.steps_per_call(self.model),
        )

    def _stop(self, reason: str, for_good: bool = True) -> None:
        """Go on without a record."""
        # a schedule has come to a depth without a cut, or somebody else tells the user
        expected = self._quiet or (self.report.samples and not for_good)
        if reason != self.reason:
            logger.log(logging.INFO if expected else logging.WARNING, "PrefixCache is off: %s", reason)
        self.reason = reason
        if for_good:
            self._broken = reason
        if self._train is not None and self.model.train_function is self._train:
            self.model.train_function = self._stock
        if self._stock_test is not None:
            self.model.test_function = self._stock_test
        if for_good and self._train is not None:
            self._train.forget()
            if self._test is not None:
                self._test.forget()
            self._store.close()

    # --- where to divide

    def _why_never(self) -> str | None:
        """Why this model is not divided in this `fit`, whatever is frozen."""
        if self._iterator is not None:
            _keras.build_for(self.model, self._iterator)
        else:
            return "Keras's fit was not found on the stack; another program calls the callbacks."
        callbacks = getattr(_keras.running_fit(self.model), "callbacks", [])
        if sum(isinstance(other, PrefixCache) for other in callbacks) > 1:
            raise ValueError("One fit has two PrefixCache callbacks. Leave one.")
        return why_never(self.model)

    def _arrange(self) -> None:
        """Divide the model by its flags as they are, and put the sources in place."""
        assert self._train is not None
        if self._broken:
            return
        if self.model.train_function is not self._train:
            self._stock = self.model.train_function
            self._train.stock = self._stock
            self._train.retrace()
            if self._test is not None:
                self._test.retrace()
        self._flags = Flags(self.model)
        try:
            self._cuts(self._moving)
        except NoCutError as error:
            self._stop(str(error), for_good=False)
            return
        self.reason = None
        self.model.train_function = self._train

    def _cuts(self, moving: Collection[int]) -> list[Cut]:
        """The cut for the flags as they are, then those of coming phases that can be recorded now."""
        assert self._program is not None
        cuts = {(cut := find_cut(self._program, moving)).position: cut}
        for stages, batch_norm, depth in self._coming_depths():
            coming = self._cut_at(stages, depth, batch_norm, moving)
            if coming is not None:
                cuts.setdefault(coming.position, coming)
        return list(cuts.values())

    def _cut_at(
        self, stages: Stages, depth: int, batch_norm: BatchNormPolicy | None, moving: Collection[int]
    ) -> Cut | None:
        """The cut at another depth, if there is one."""
        assert self._program is not None
        flags = Flags(self.model)
        set_depth(stages, depth, batch_norm)
        try:
            return find_cut(self._program, moving)
        except NoCutError:
            return None
        finally:
            flags.restore()

    def _coming_depths(self) -> list[tuple[Stages, BatchNormPolicy | None, int]]:
        """The depths that a schedule will come to while all below them has stayed frozen."""
        unfreezing = self._unfreezing()
        if unfreezing is None or unfreezing.stages is None:
            return []
        depths, stages, batch_norm = unfreezing.coming_depths, unfreezing.stages, unfreezing.batch_norm
        return [(stages, batch_norm, d) for i, d in enumerate(depths) if i and d < min(depths[:i])]

    def _cuts_below(self) -> Iterator[Cut]:
        """The cuts at lower depths than the one in force, the last one first."""
        unfreezing = self._unfreezing()
        try:
            stages = unfreezing.stages if unfreezing and unfreezing.stages else find_stages(self.model)
        except ValueError:  # it has no stages, though it has a cut
            return
        seen = {self._cuts(self._moving)[0].position}
        for depth in range(freeze_depth(stages) - 1, 0, -1):
            cut = self._cut_at(stages, depth, None, self._moving)
            if cut is not None and cut.position not in seen:
                seen.add(cut.position)
                yield cut

    def _unfreezing(self) -> GradualUnfreezing | None:
        fit = _keras.running_fit(self.model)
        callbacks = [] if fit is None else fit.callbacks
        return next((c for c in callbacks if isinstance(c, GradualUnfreezing)), None)

    def _may_go_ahead(self, callbacks: Sequence[keras.callbacks.Callback]) -> bool:
        """Whether no callback looks at the model between steps."""
        accumulates = _keras.inner_optimizer(self.model.optimizer).gradient_accumulation_steps
        for callback in callbacks:
            if isinstance(callback, GradualUnfreezing):
                if accumulates:
                    return False
            elif callback is not self and _looks_between(callback):
                return False
        return True
