"""Stage and Stages: a block of a model, and the model as an ordered list of its blocks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import overload

import keras
from rich.table import Table

from kerasft import _keras
from kerasft.stages.kept_frozen import KeptFrozen
from kerasft.tables import plain_text


@dataclass(frozen=True, eq=False)
class Stage:
    """A block of neighbouring layers that is frozen or thawed as one.

    Attributes:
        name: Readable and unique in its model, such as `block_6`.
        layers: The layers that own this stage's weights, parents before their children.
        output_shape: Shape of the tensor handed to the next stage, batch first; None if unknown.
    """

    name: str
    layers: tuple[keras.Layer, ...]
    output_shape: tuple[int | None, ...] | None = None

    @property
    def weights(self) -> list[keras.Variable]:
        """All weights of the stage, moving statistics included."""
        return [v for layer in self.layers for v in _keras.own_variables(layer)]

    @property
    def parameters(self) -> int:
        """Number of scalars in all weights."""
        return sum(math.prod(v.shape) for v in self.weights)

    @property
    def trainable(self) -> bool:
        """Whether any weight of the stage is set to train."""
        return any(v.trainable for v in self.weights)


class Stages(Sequence[Stage]):
    """The stages of a model in order; `print` shows them as a table.

    A stage that stays frozen at every freeze depth is marked "kept frozen"; where layers or single weights of
    a stage do, the table counts them.

    Attributes:
        model: The model that was divided.
        reason: Why there is a single stage, if the model could not be cut; else None.
    """

    def __init__(self, model: keras.Model, stages: Iterable[Stage], reason: str | None = None) -> None:
        self.model = model
        self.reason = reason
        self._stages = tuple(stages)

    @overload
    def __getitem__(self, index: int) -> Stage: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Stage]: ...
    def __getitem__(self, index: int | slice) -> Stage | Sequence[Stage]:
        return self._stages[index]

    def __len__(self) -> int:
        return len(self._stages)

    @property
    def names(self) -> list[str]:
        """The stages' names in order."""
        return [stage.name for stage in self]

    def depth(self, depth: int | str) -> int:
        """The freeze depth that `depth` names: a number, or a stage's name ("up to, but not including").

        Raises:
            TypeError: `depth` is neither an integer nor a string.
            ValueError: It is out of range, or no stage has that name.
        """
        if isinstance(depth, str):
            if depth not in self.names:
                raise ValueError(
                    f"No stage is named {depth!r}. The stages of {self.model.name!r} are "
                    f"{self.names}. Name one of them, or give a depth from 0 to {len(self)}."
                )
            return self.names.index(depth)
        if isinstance(depth, bool) or not hasattr(depth, "__index__"):
            raise TypeError(
                f"A freeze depth is an integer or a stage's name, not {depth!r} ({type(depth).__name__})."
            )
        depth = depth.__index__()
        if not 0 <= depth <= len(self):
            raise ValueError(
                f"Freeze depth {depth} is out of range: {self.model.name!r} has {len(self)} stages, so "
                f"it goes from 0 (everything trains) to {len(self)} (everything is frozen)."
            )
        return depth

    def __rich__(self) -> Table:
        title = f"{self.model.name}: {len(self)} stages"
        table = Table("depth", "stage", "layers", "parameters", "trainable", "output", title=title)
        kept = KeptFrozen(self.model, [stage.layers for stage in self])
        for index, stage in enumerate(self):
            shape = "?" if stage.output_shape is None else str(tuple(stage.output_shape))
            flag = kept.mark(index, stage.trainable)
            row = (str(index), stage.name, str(len(stage.layers)), f"{stage.parameters:,}", flag, shape)
            table.add_row(*row)
        if self.reason:
            table.caption = self.reason
        return table

    def __str__(self) -> str:
        return plain_text(self.__rich__())

    def __repr__(self) -> str:
        return f"<Stages of {self.model.name!r}: {', '.join(self.names)}>"
