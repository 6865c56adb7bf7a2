"""Unfreezing schedules: plain frozen data that says how deep to train, and when; JSON and YAML in and out."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from kerasft.files import parse_json, replacing
from kerasft.stages import Stages, find_stages
from kerasft.tables import html_table, plain_table
from kerasft.unfreezing import recipes
from kerasft.unfreezing.phase import Phase
from kerasft.unfreezing.phase_order import check_order, checked_depths
from kerasft.unfreezing.recipes import Recipe
from kerasft.unfreezing.schedule_json import changed_fields, phases_from
from kerasft.unfreezing.schedule_yaml import is_yaml, looks_like_text, parse_yaml, yaml_text

_HEADER = ("phase", "from", "ends after", "learning rate", "warm-up")


@dataclass(frozen=True)
class UnfreezingSchedule:
    """Phases in the order in which they run, the first one from epoch 0 on.

    Depths may grow again: what was thawed is then frozen again. The last phase goes on until the end of
    `fit`, whatever its `epochs` say; if it has patience, its end is the end of training.

    Raises:
        TypeError: A phase is not a `Phase`.
        ValueError: There is no phase, one without an end comes before others, or one without a learning rate
            comes after one with a schedule of the rate.

    Example:
        >>> schedule = UnfreezingSchedule([Phase("head", epochs=2), Phase(0)])
        >>> schedule.phase_at(epoch=2).depth
        0

    References:
        Howard & Ruder (2018), arXiv:1801.06146, section 3.3 (gradual unfreezing).
    """

    phases: tuple[Phase, ...]

    def __init__(self, phases: Iterable[Phase]) -> None:
        if not isinstance(phases, Iterable):
            raise TypeError(
                f"A schedule is a list of phases, not {phases!r} ({type(phases).__name__}): write "
                'UnfreezingSchedule([Phase("head", epochs=1), Phase(0)]).'
            )
        phases = tuple(phases)
        if not phases:
            raise ValueError("A schedule needs at least one phase.")
        for phase in phases:
            if not isinstance(phase, Phase):
                raise TypeError(f"A schedule is made of kerasft.Phase, not {type(phase).__name__}.")
        check_order(phases)
        object.__setattr__(self, "phases", phases)

    def __len__(self) -> int:
        return len(self.phases)

    def __iter__(self) -> Iterator[Phase]:
        return iter(self.phases)

    def __str__(self) -> str:
        return plain_table(_HEADER, self._rows())

    def _repr_html_(self) -> str:
        return html_table(_HEADER, self._rows())

    def _rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = []
        for index, phase in enumerate(self.phases):
            rate = phase.rate_text
            rate += "" if phase.multipliers is None else f" × {dict(phase.multipliers)}"
            last = index == len(self.phases) - 1 and phase.patience is None
            warmup = f"{phase.warmup_steps} steps" if phase.warmup_steps else ""
            rows.append((str(index), str(phase.depth), "to the end" if last else phase.text(), rate, warmup))
        return rows

    @property
    def starts(self) -> list[int | None]:
        """The epoch, from 0, in which each phase begins; None where the patience of one before it decides."""
        starts: list[int | None] = [0]
        for phase in self.phases[:-1]:
            before, epochs, patience = starts[-1], phase.epochs, phase.patience
            # patience that can't run out before the epochs do decides nothing
            fixed = patience is None or (phase.ends == "first" and epochs is not None and epochs <= patience)
            starts.append(before + epochs if fixed and before is not None and epochs is not None else None)
        return starts

    @property
    def shortest(self) -> list[int]:
        """The least number of epochs of each phase; 1 for the last one, which `fit` may cut short."""
        return [*(phase.shortest or 1 for phase in self.phases[:-1]), 1]

    @property
    def earliest_starts(self) -> list[int]:
        """The first epoch, from 0, in which each phase can begin."""
        return [0, *itertools.accumulate(self.shortest[:-1])]

    def index_at(self, epoch: int) -> int:
        """Index of the phase that `epoch` (from 0) belongs to.

        Raises:
            ValueError: The epoch is negative, or a phase before it ends by patience: it can't be told.
        """
        if epoch < 0:
            raise ValueError(f"Epochs count from 0; received {epoch}.")
        index = 0
        for position, (start, earliest) in enumerate(zip(self.starts, self.earliest_starts, strict=True)):
            if start is None and earliest <= epoch:
                raise ValueError(
                    f"Which phase epoch {epoch} belongs to can't be told: phase {position - 1} or one before "
                    "it ends by patience. Begin at epoch 0, or resume from a backup, which knows."
                )
            if start is not None and start <= epoch:
                index = position
        return index

    def phase_at(self, epoch: int) -> Phase:
        """The phase that `epoch` (from 0) belongs to; raises like `index_at`."""
        return self.phases[self.index_at(epoch)]

    def check(self, stages: keras.Model | Stages, epochs: int | None = None) -> list[int]:
        """Hold the schedule against a model and a number of epochs.

        Args:
            stages: A built model, or its `Stages`.
            epochs: How many epochs `fit` runs; None leaves that unchecked.

        Returns:
            The freeze depth of each phase as a number.

        Raises:
            ValueError: Lists every fault at once: a depth that the model lacks or that leaves nothing
                to train, a phase that no epoch reaches.
        """
        return checked_depths(self.phases, self.starts, self.earliest_starts, find_stages(stages), epochs)

    @classmethod
    def from_depths(cls, depths: Iterable[int | str], every: int = 1) -> UnfreezingSchedule:
        """One phase of `every` epochs for each depth or stage's name; the last goes on to the end of `fit`.

        Args:
            depths: Freeze depths or names of stages, in the order in which they run.
            every: Epochs of each phase but the last.

        Raises:
            TypeError: `depths` is a single string or number, or `every` is no integer.
            ValueError: `depths` is empty or has a negative one, or `every` is below 1.

        Example:
            >>> UnfreezingSchedule.from_depths(["head", "block_2", 0], every=2).starts
            [0, 2, 4]
        """
        if isinstance(depths, str) or not isinstance(depths, Iterable):
            raise TypeError(
                f"`depths` is a list of depths or names; received {depths!r}. Write [{depths!r}]."
            )
        return cls(recipes.in_turn(depths, every))

    @classmethod
    def head_then_all(cls, stages: keras.Model | Stages, head_epochs: int = 1) -> UnfreezingSchedule:
        """Train the last of a model's stages alone for `head_epochs` epochs, then everything."""
        return cls(recipes.head_then_all(find_stages(stages), head_epochs))

    @classmethod
    def one_stage_at_a_time(cls, stages: keras.Model | Stages, every: int = 1) -> UnfreezingSchedule:
        """Begin with the last of a model's stages and thaw the next one below it every `every` epochs.

        References:
            Howard & Ruder (2018), arXiv:1801.06146, section 3.3.
        """
        return cls(recipes.one_stage_at_a_time(find_stages(stages), every))

    @classmethod
    def linear_probe_then_finetune(
        cls,
        stages: keras.Model | Stages,
        probe_epochs: int | None = 5,
        learning_rate: float | None = None,
        warmup_steps: int = 0,
        patience: int | None = 2,
        monitor: str | None = "val_loss",
    ) -> UnfreezingSchedule:
        """Train the head alone, until it has converged, then everything at a lower rate.

        A head that has converged sends small gradients into the backbone, which keeps its features; one
        that begins at random distorts them.

        Args:
            stages: A model or its stages. With a single one there is no head to probe, and everything trains.
            probe_epochs: Epochs for the head, at most if there is patience. None: patience alone ends it.
            learning_rate: Base learning rate of the second phase, usually a tenth or less of the first's.
            warmup_steps: Optimizer steps of warm-up in the second phase.
            patience: Epochs without improvement of `monitor` after which the head is done. None: it takes
                `probe_epochs`.
            monitor: What tells whether the head improves; the probe goes back to its best epoch. None (then
                patience is None, too): nothing is watched, and no validation data are needed.

        Raises:
            TypeError, ValueError: As for `Phase`; patience needs a monitor.

        References:
            Kumar et al. (2022), arXiv:2202.10054, section 4.
        """
        return cls(
            recipes.linear_probe_then_finetune(
                find_stages(stages),
                learning_rate=learning_rate,
                warmup_steps=warmup_steps,
                probe_epochs=probe_epochs,
                patience=patience,
                monitor=monitor,
            )
        )

    def to_dict(self) -> dict[str, list[dict[str, Any]]]:
        """Plain lists, dicts and numbers; fields at their default are left out."""
        return {"phases": [changed_fields(phase) for phase in self.phases]}

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """The schedule as JSON text, also written to `path` if one is given."""
        return _written(json.dumps(self.to_dict(), indent=2) + "\n", path)

    def to_yaml(self, path: str | os.PathLike[str] | None = None) -> str:
        """The schedule as YAML text, also written to `path` if one is given."""
        return _written(yaml_text(self.to_dict()), path)

    @classmethod
    def from_json(cls, path_or_text: str | os.PathLike[str]) -> UnfreezingSchedule:
        """Read a schedule from a file, or from JSON text (which begins with a brace).

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is not JSON, or a phase lacks a depth, has a field that does not exist, or one
                of the wrong type or range. The message gives each phase's number, from 0, and the field.

        Example:
            >>> text = '{"phases": [{"depth": "head", "epochs": 2}, {"depth": 0}]}'
            >>> UnfreezingSchedule.from_json(text).starts
            [0, 2]
        """
        text = os.fspath(path_or_text)
        return cls(phases_from(text if text.lstrip().startswith("{") else _read(text)))

    @classmethod
    def from_yaml(cls, path_or_text: str | os.PathLike[str]) -> UnfreezingSchedule:
        """Read a schedule from a file, or from YAML text (of several lines, or beginning with `phases:`).

        Raises:
            FileNotFoundError, ValueError: As from `from_json`.

        Example:
            >>> UnfreezingSchedule.from_yaml("phases: [{depth: head, epochs: 2}, {depth: 0}]").starts
            [0, 2]
        """
        text = os.fspath(path_or_text)
        is_text = isinstance(path_or_text, str) and looks_like_text(text)
        return cls(phases_from(text if is_text else _read(text), parse_yaml))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> UnfreezingSchedule:
        """Read a schedule from a file: YAML if its name ends in .yaml or .yml, JSON otherwise.

        Raises:
            FileNotFoundError, ValueError: As from `from_json`.
        """
        text = os.fspath(path)
        return cls(phases_from(_read(text), parse_yaml if is_yaml(text) else parse_json))


def _read(path: str) -> str:
    return Path(path).read_text(encoding="utf-8-sig")  # some editors begin a file with a mark


def _written(text: str, path: str | os.PathLike[str] | None) -> str:
    if path is not None:
        with replacing(path, overwrite=True) as partial:
            partial.write_text(text, encoding="utf-8")
    return text


def as_schedule(schedule: UnfreezingSchedule | Sequence[Phase]) -> UnfreezingSchedule:
    """`schedule` itself, or the one made of a sequence of phases."""
    if isinstance(schedule, UnfreezingSchedule):
        return schedule
    if isinstance(schedule, Phase):
        raise TypeError("A schedule is a list of phases: write [Phase(...)] for one alone.")
    return UnfreezingSchedule(schedule)


def schedule_of(
    recipe: Recipe,
    stages: keras.Model | Stages,
    depth: int | str,
    epochs: int,
    learning_rate: float | None,
) -> UnfreezingSchedule:
    """The schedule by which a recipe gets to a freeze depth.

    Every phase begins within `epochs`, the last one goes on to the end of `fit`, however long that is. Where
    there are more stages than epochs, several thaw at once; with a single epoch there is the last phase
    alone.

    Args:
        recipe: "frozen_head" trains the last stage alone. "head_then_all" does so for one epoch, then trains
            everything from `depth` on. "one_stage_at_a_time" thaws from the head down to `depth` in equal
            steps. "linear_probe_then_finetune" trains the head for half of the epochs, and then everything
            from `depth` on at a tenth of the learning rate.
        stages: A built model, or its `Stages`.
        depth: Where to end: a freeze depth or a stage's name.
        epochs: How many epochs there are for it.
        learning_rate: Base learning rate of the first phase; None leaves rates to the optimizer in all
            phases.

    Raises:
        ValueError: There is no such recipe or depth, or the depth leaves nothing to train.

    References:
        Howard & Ruder (2018), arXiv:1801.06146, section 3.3; Kumar et al. (2022), arXiv:2202.10054, section
        4.
    """
    return UnfreezingSchedule(
        recipes.recipe_phases(recipe, find_stages(stages), depth, epochs, learning_rate)
    )
