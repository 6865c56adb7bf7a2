"""Where a model is divided while a fit runs: now, at coming depths, and at lower ones."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import keras

from kerasft.cache.coverage import LEAST_SHARE, explained_cut, shortfall, too_little
from kerasft.cache.cuts import Cut, NoCutError, Prefix, find_cut
from kerasft.cache.inspection import divisible_program
from kerasft.cache.other_callbacks import depth_schedule
from kerasft.freezing import (
    BatchNormPolicy,
    DropoutPolicy,
    Flags,
    dropout_policy,
    freeze_depth,
    set_depth,
)
from kerasft.stages import Stages, find_stages

Policies: TypeAlias = tuple[BatchNormPolicy | None, DropoutPolicy | None]


@dataclass(frozen=True)
class CutPlan:
    """Which cuts are worth recording, and how a search uses what was recorded.

    Attributes:
        least_share: The least part of the model's work that a cut must save to be recorded.
        stages: The stages that `depths` count.
        depths: Freeze depths that are recorded in the same pass as the cut in force, in place of those that
            a schedule reaches; the last ones are left out first if there is no room. None asks the schedule.
        known_data: The names of the sets of training and of validation samples, as in `CacheReport`, if they
            are known: a saved record of such a set is used at once, and the data are not read.
        quiet: Whether the user is told elsewhere that the cache is off, so that no warning is needed.
    """

    least_share: float = LEAST_SHARE
    stages: Stages | None = None
    depths: Sequence[int] | None = None
    known_data: tuple[str | None, str | None] = (None, None)
    quiet: bool = False


class FitCuts:
    """Finds the cuts of a model while a fit runs, by the flags as they are.

    Args:
        plan: Which cuts are worth recording.
        model: A built model.
        callbacks: The callbacks of the fit; one of them may know coming depths.

    Attributes:
        nondeterministic: Indices of the calls that tracing has found not to be deterministic.
        traced: The prefixes that were traced.

    Raises:
        NoCutError: The model can't be divided, whatever is frozen.
    """

    def __init__(
        self, plan: CutPlan, model: keras.Model, callbacks: Sequence[keras.callbacks.Callback]
    ) -> None:
        self._plan, self._model, self._callbacks = plan, model, callbacks
        self._program = divisible_program(model)
        self.nondeterministic: set[int] = set()
        self.traced: list[Prefix] = []

    def find(self, nondeterministic: Collection[int]) -> list[Cut]:
        """Find the cut in force, then the cuts of coming depths that can be recorded now.

        Args:
            nondeterministic: Indices of calls that are known not to be deterministic.

        Raises:
            NoCutError: There is no cut, or too little work lies before it.
        """
        least = self._plan.least_share
        cut = explained_cut(self._program, nondeterministic)
        if cut.share < least:
            raise NoCutError(too_little(self._program, cut, least, nondeterministic))
        cuts = {cut.position: cut}
        for stages, policies, depth in self._coming_depths():
            coming = self._cut_at(stages, depth, policies, nondeterministic)
            if coming is not None and coming.share >= least:
                cuts.setdefault(coming.position, coming)
        return list(cuts.values())

    def shortfall(self) -> str | None:
        """Why the cut in force does not cover all that is frozen; None if it does, or there is none."""
        try:
            cut = find_cut(self._program, self.nondeterministic)
        except NoCutError:
            return None
        return shortfall(self._program, cut, self.nondeterministic)

    def earlier(self) -> Iterator[Cut]:
        """Find the cuts at lower depths than the one in force, the last one first."""
        schedule = depth_schedule(self._callbacks)
        try:
            stages = schedule.stages if schedule and schedule.stages else find_stages(self._model)
        except ValueError:  # it has no stages, though it has a cut
            return
        seen = {self.find(self.nondeterministic)[0].position}
        policies = None, dropout_policy(stages)
        for depth in range(freeze_depth(stages) - 1, 0, -1):
            cut = self._cut_at(stages, depth, policies, self.nondeterministic)
            if cut is not None and cut.position not in seen:
                seen.add(cut.position)
                yield cut

    def _coming_depths(self) -> list[tuple[Stages, Policies, int]]:
        """List the depths that later epochs reach while all layers below them have stayed frozen."""
        if self._plan.stages is not None and self._plan.depths is not None:
            given = None, dropout_policy(self._plan.stages)
            return [(self._plan.stages, given, depth) for depth in self._plan.depths]
        schedule = depth_schedule(self._callbacks)
        if schedule is None or schedule.stages is None:
            return []
        depths, stages = schedule.coming_depths, schedule.stages
        policies = schedule.batch_norm, getattr(schedule, "dropout", None)
        return [(stages, policies, d) for i, d in enumerate(depths) if i and d < min(depths[:i])]

    def _cut_at(
        self,
        stages: Stages,
        depth: int,
        policies: Policies,
        nondeterministic: Collection[int],
    ) -> Cut | None:
        """Find the cut at another depth, if there is one."""
        flags = Flags(self._model)
        set_depth(stages, depth, *policies)
        try:
            return find_cut(self._program, nondeterministic)
        except NoCutError:
            return None
        finally:
            flags.restore()
