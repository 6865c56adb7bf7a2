"""Unfreezing schedules: plain frozen data that says how deep to train, and when; JSON in and out."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from kerasft.stages import Stages


@dataclass(frozen=True)
class Phase:
    """A stretch of epochs at one freeze depth.

    Attributes:
        depth: Number of frozen stages, or a stage's name: freeze up to and without it.
        epochs: How many epochs the phase lasts; None, for the last phase only: until the end of `fit`.
        learning_rate: Base learning rate from this phase on; None keeps the optimizer's.
        multipliers: Learning-rate factors from this phase on, by name or glob of layers and stages
            (see `kerasft.with_lr_multipliers`); None keeps those in force.

    Raises:
        TypeError, ValueError: A field has the wrong type or range.

    Example:
        >>> Phase(depth="block_12", epochs=3)
        Phase(depth='block_12', epochs=3, learning_rate=None, multipliers=None)
    """

    depth: int | str
    epochs: int | None = None
    learning_rate: float | None = None
    multipliers: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.depth, bool) or not isinstance(self.depth, int | str):
            raise TypeError(f"Phase.depth is an integer or a stage's name, not {self.depth!r}.")
        if isinstance(self.depth, int) and self.depth < 0:
            raise ValueError(f"Phase.depth counts frozen stages and can't be negative: {self.depth}.")
        if self.epochs is not None:
            if isinstance(self.epochs, bool) or not isinstance(self.epochs, int):
                raise TypeError(f"Phase.epochs is an integer or None, not {self.epochs!r}.")
            if self.epochs < 1:
                raise ValueError(
                    f"A phase of {self.epochs} epochs is empty. Give it at least one epoch, or leave it out."
                )
        if self.learning_rate is not None:
            _check_number("Phase.learning_rate", self.learning_rate)
        for name, factor in (self.multipliers or {}).items():
            _check_number(f"Phase.multipliers[{name!r}]", factor)


@dataclass(frozen=True)
class UnfreezingSchedule:
    """Phases in the order in which they run, the first one from epoch 0 on.

    The last phase goes on until the end of `fit`, whatever its `epochs` say.

    Raises:
        TypeError: A phase is not a `Phase`.
        ValueError: There is no phase, or one without `epochs` overlaps those after it.

    Example:
        >>> schedule = UnfreezingSchedule([Phase("head", epochs=2), Phase(0)])
        >>> schedule.phase_at(epoch=2).depth
        0

    References:
        Howard & Ruder (2018), arXiv:1801.06146, section 3.3 (gradual unfreezing).
    """

    phases: tuple[Phase, ...]

    def __init__(self, phases: Iterable[Phase]) -> None:
        phases = tuple(phases)
        if not phases:
            raise ValueError("A schedule needs at least one phase.")
        for phase in phases:
            if not isinstance(phase, Phase):
                raise TypeError(f"A schedule is made of kerasft.Phase, not {type(phase).__name__}.")
        for index, phase in enumerate(phases[:-1]):
            if phase.epochs is None:
                raise ValueError(
                    f"Phase {index} ({phase.depth!r}) has no `epochs`, so it lasts to the end and overlaps "
                    f"phase {index + 1}. Only the last phase may leave `epochs` out."
                )
        object.__setattr__(self, "phases", phases)

    def __len__(self) -> int:
        return len(self.phases)

    def __iter__(self) -> Iterator[Phase]:
        return iter(self.phases)

    @property
    def starts(self) -> list[int]:
        """The epoch, from 0, in which each phase begins."""
        starts = [0]
        for phase in self.phases[:-1]:
            starts.append(starts[-1] + (phase.epochs or 0))
        return starts

    def index_at(self, epoch: int) -> int:
        """Index of the phase that `epoch` (from 0) belongs to."""
        return max(i for i, start in enumerate(self.starts) if start <= epoch)

    def phase_at(self, epoch: int) -> Phase:
        """The phase that `epoch` (from 0) belongs to."""
        return self.phases[self.index_at(epoch)]

    def check(self, stages: Stages, epochs: int | None = None) -> list[int]:
        """Hold the schedule against a model and a number of epochs.

        Args:
            stages: The model's stages.
            epochs: How many epochs `fit` runs; None leaves that unchecked.

        Returns:
            The freeze depth of each phase as a number.

        Raises:
            ValueError: Lists every fault at once: a depth that the model lacks or that leaves nothing
                to train, a phase that no epoch reaches.
        """
        depths, faults = [], []
        for index, (phase, start) in enumerate(zip(self.phases, self.starts, strict=True)):
            try:
                depth = stages.depth(phase.depth)
            except ValueError as error:
                faults.append(f"phase {index}: {error}")
                continue
            if depth == len(stages):
                faults.append(
                    f"phase {index}: depth {depth} freezes all {len(stages)} stages and leaves nothing to "
                    f"train; the deepest that trains is {depth - 1} ({stages[-1].name!r})."
                )
            if epochs is not None and start >= epochs:
                faults.append(
                    f"phase {index} ({phase.depth!r}) begins at epoch {start}, but fit runs {epochs} "
                    f"epochs (0 to {epochs - 1}): no epoch reaches it. Raise `epochs` to at least "
                    f"{start + 1} or shorten the phases before it."
                )
            depths.append(depth)
        if faults:
            raise ValueError("The schedule does not fit:\n- " + "\n- ".join(faults))
        return depths

    @classmethod
    def head_then_all(cls, stages: Stages, head_epochs: int = 1) -> UnfreezingSchedule:
        """Train the last stage alone for `head_epochs` epochs, then everything."""
        return cls([Phase(len(stages) - 1, head_epochs), Phase(0)] if len(stages) > 1 else [Phase(0)])

    @classmethod
    def one_stage_at_a_time(cls, stages: Stages, every: int = 1) -> UnfreezingSchedule:
        """Begin with the last stage and thaw the next one below it every `every` epochs.

        References:
            Howard & Ruder (2018), arXiv:1801.06146, section 3.3.
        """
        depths = range(len(stages) - 1, 0, -1)
        return cls([*(Phase(depth, every) for depth in depths), Phase(0)])

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """The schedule as JSON text, also written to `path` if one is given."""
        phases = [{k: v for k, v in asdict(phase).items() if v is not None} for phase in self.phases]
        text = json.dumps({"phases": phases}, indent=2) + "\n"
        if path is not None:
            target = Path(path)
            partial = target.with_name(target.name + ".partial")
            partial.write_text(text)
            partial.replace(target)
        return text

    @classmethod
    def from_json(cls, path_or_text: str | os.PathLike[str]) -> UnfreezingSchedule:
        """Read a schedule from a file, or from JSON text (which begins with a brace).

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is not JSON, or holds unknown or missing fields.
        """
        text = os.fspath(path_or_text)
        if not text.lstrip().startswith("{"):
            text = Path(text).read_text()
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"The schedule is not valid JSON: {error}") from None
        entries = content.get("phases") if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise ValueError('A schedule in JSON is {"phases": [...]}, with an object for each phase.')
        known = [field.name for field in fields(Phase)]
        for index, entry in enumerate(entries):
            if not isinstance(entry, dict) or "depth" not in entry or set(entry) - set(known):
                raise ValueError(f"Phase {index} reads {entry!r}. It needs `depth` and may have {known[1:]}.")
        return cls(Phase(**entry) for entry in entries)


def as_schedule(schedule: UnfreezingSchedule | Sequence[Phase]) -> UnfreezingSchedule:
    """`schedule` itself, or the one made of a sequence of phases."""
    if isinstance(schedule, UnfreezingSchedule):
        return schedule
    return UnfreezingSchedule(schedule)


def _check_number(what: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{what} is a number, not {value!r}.")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{what} is finite and not negative; received {value!r}.")
