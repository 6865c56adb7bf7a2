"""Stage and Stages: a block of a model, and the model as an ordered list of its blocks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import overload

import keras

from kerasft import _keras
from kerasft.stages.addresses import check_stage_name, is_pattern, layer_paths, layers_at, matches
from kerasft.stages.kept_frozen import KeptFrozen
from kerasft.tables import FittingTable, html_of, plain_text


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
        held = {id(v): v for layer in self.layers for v in _keras.own_variables(layer)}
        return list(held.values())  # a wrapper may hold a weight of the layer that it wraps

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
        reason: Why the model, or a part of it, could not be divided into stages; None if it could.
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
        """The freeze depth that `depth` names: a number, a stage's name ("up to, but not including"), or the
        name or path of the layer that starts a stage.

        Raises:
            TypeError: `depth` is neither an integer nor a string.
            ValueError: It is out of range, no stage has that name, the layer of that name lies inside a
                stage, or layers in several stages have it.
        """
        if isinstance(depth, str):
            return self._stage_named(depth) if depth in self.names else self._stage_that_starts_at(depth)
        if isinstance(depth, bool) or not hasattr(depth, "__index__"):
            raise TypeError(
                f"A freeze depth is an integer or a stage's name, not {depth!r} ({type(depth).__name__}): it "
                "is one place in the model. To train some layers and no others, give the rest the rate 0: "
                "multipliers={'name': 1.0, '*': 0.0}."
            )
        depth = depth.__index__()
        if not 0 <= depth <= len(self):
            raise ValueError(
                f"Freeze depth {depth} is out of range: {self.model.name!r} has {len(self)} stages, so "
                f"it goes from 0 (everything trains) to {len(self)} (everything is frozen)."
            )
        return depth

    def _stage_named(self, name: str) -> int:
        """The index of the stage of that name, unless the name means layers in several stages."""
        index = self.names.index(name)
        first: dict[int, int] = {}
        for position, stage in enumerate(self):
            for layer in stage.layers:
                first.setdefault(id(layer), position)
        paths = layer_paths(self.model)
        inside = {}
        for _, layer in paths:
            if held := [first[id(part)] for part in _keras.sublayers(layer) if id(part) in first]:
                inside[id(layer)] = min(held) == index
        check_stage_name(paths, name, inside, "A freeze depth")
        return index

    def _stage_that_starts_at(self, address: str) -> int:
        """The index of the stage whose first layer is, or lies in, the layer at `address`."""
        paths = layer_paths(self.model)
        if not any(matches(address, path) for path, _ in paths):
            raise ValueError(
                f"No stage is named {address!r}. The stages of {self.model.name!r} are {self.names}. Name "
                f"one of them, or the layer that starts it, or give a depth from 0 to {len(self)}."
            )
        if is_pattern(address):
            raise ValueError(
                f"No stage is named {address!r}, and a freeze depth is one place in the model, not a choice "
                f"of layers. The stages of {self.model.name!r} are {self.names}. To train the layers that a "
                f"pattern means and no others, give the rest the rate 0: multipliers={{{address!r}: 1.0, "
                "'*': 0.0}. keep_frozen= keeps single layers frozen at every depth, and find_stages(model, "
                "at=[...]) chooses where stages start."
            )
        (layer,) = layers_at(paths, address, "A freeze depth")
        parts = {id(part) for part in _keras.sublayers(layer)}
        holders = [i for i, stage in enumerate(self) if any(id(part) in parts for part in stage.layers)]
        if not holders:
            raise ValueError(
                f"The layer {address!r} holds no weights, so no stage starts there. The stages of "
                f"{self.model.name!r} are {self.names}."
            )
        stage = self[holders[0]]
        if id(stage.layers[0]) not in parts:
            raise ValueError(
                f"The layer {address!r} lies inside the stage {stage.name!r}, which starts at "
                f"{stage.layers[0].name!r}. Give the name of a stage, or start one at this layer with "
                f"find_stages(model, at=[..., {address!r}, ...])."
            )
        return holders[0]

    def __rich__(self) -> FittingTable:
        title = f"{self.model.name}: {len(self)} stages"
        table = FittingTable("depth", "stage", "layers", "parameters", "trainable", "output", title=title)
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

    def _repr_html_(self) -> str:
        return html_of(self.__rich__())

    def __repr__(self) -> str:
        return f"<Stages of {self.model.name!r}: {', '.join(self.names)}>"
