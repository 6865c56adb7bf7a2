"""What stays frozen at every freeze depth, because the user froze it or has named it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import keras

from kerasft import _keras
from kerasft.stages.user_flags import UserFlags, can_train, recorded


class KeptFrozen:
    """What stays frozen at every freeze depth, by what the user wants of the flags.

    - A weight that is off while its layer is on stays off, and so does one that LoRA adapts.
    - A layer that is off in the first stage that is on, or after it, stays off: no freeze depth could mean
      it.
    - Layers that are off before that stage are a frozen prefix, which is a freeze depth: it is thawed as any
      other. But if LoRA alone makes that stage train, and other layers from there on are off, the layers
      below were frozen for LoRA, and stay off as well.
    - What stayed off by these rules before stays off, even if the user has switched off more since.
    - A layer that is named in `keep_frozen` stays off.

    Args:
        model: The model.
        stages: The layers of each stage, in order.
    """

    def __init__(self, model: keras.Model, stages: Sequence[Sequence[keras.Layer]]) -> None:
        self._stages = stages
        self._wanted = {id(layer): UserFlags.of(layer) for stage in stages for layer in stage}
        if any(self.wanted(layer).has_lora and _had_no_lora(layer) for stage in stages for layer in stage):
            # whoever enables LoRA has looked at all flags, though some may have been off before
            afresh = {id(x): _read_afresh(x) for stage in stages for x in stage}
            if self._is_frozen_for_lora(afresh):
                self._wanted = afresh
        for container in _keras.sublayers(model):
            if _was_switched_off(container):  # which changes no flag in it where kerasft has set them off
                self._switch_off(container)
        first = self._first_on(self._wanted)
        if self._is_frozen_for_lora(self._wanted):
            first = 0
        place = {id(x): index for index, stage in enumerate(stages) for x in stage}
        off = {key for key, user in self._wanted.items() if user.is_off}
        self._off = {key for key in off if place[key] >= first or self._wanted[key].is_kept}
        self._prefix = off - self._off
        self._layers = self._off | {key for key, user in self._wanted.items() if user.keep_frozen}

    def wanted(self, layer: keras.Layer) -> UserFlags:
        """What the user wants of the flags of a layer of the stages."""
        return self._wanted[id(layer)]

    def keeps(self, layer: keras.Layer) -> bool:
        """Whether a layer of the stages stays frozen at every depth."""
        return id(layer) in self._layers

    def is_kept_by_flags(self, layer: keras.Layer) -> bool:
        """Whether a layer of the stages is kept frozen because the user has switched it off."""
        return id(layer) in self._off

    def is_in_prefix(self, layer: keras.Layer) -> bool:
        """Whether the user has switched a layer off as a part of a frozen prefix, which is a freeze depth."""
        return id(layer) in self._prefix

    def flag_of(self, container: keras.Layer) -> bool:
        """The flag of a layer that owns no weights: the user's, but on if something in it is thawed."""
        inside = [layer for layer in _keras.sublayers(container) if id(layer) in self._wanted]
        thawed = any(self.is_in_prefix(layer) and not self.keeps(layer) for layer in inside)
        return thawed or not UserFlags.of(container).is_off

    def trains(self, index: int) -> bool:
        """Whether training changes the stage at `index` once it is thawed."""
        return any(not self.keeps(x) and self.wanted(x).can_train(x) for x in self._stages[index])

    def trains_at(self, depth: int) -> bool:
        """Whether training changes anything at a freeze depth."""
        return any(self.trains(index) for index in range(depth, len(self._stages)))

    def names(self, index: int) -> list[str]:
        """The layers, and the paths of single weights, that stay frozen in the stage at `index`."""
        found = []
        for layer in self._stages[index]:
            if self.keeps(layer):
                found += [layer.name] if _could_train(layer) else []
            else:
                found += [v.path for v in self.wanted(layer).untrained]
        return found

    def places(self) -> list[list[int]]:
        """Where each weight that stays frozen stands: its stage, its layer there, its number there."""
        return [
            [i, j, k]
            for i, stage in enumerate(self._stages)
            for j, layer in enumerate(stage)
            for k, weight in enumerate(can_train(layer))
            if self.keeps(layer) or any(weight is v for v in self.wanted(layer).untrained)
        ]

    def mark(self, index: int, trains_now: bool) -> str:
        """How a table says whether the stage at `index` trains now, and what of it stays frozen."""
        kept = len(self.names(index))
        if kept and not self.trains(index):
            return "kept frozen"
        return f"{'yes' if trains_now else 'no'}{f', {kept} kept frozen' if kept else ''}"

    def thawed_layers(self, depth: int) -> int:
        """How many layers that the user switched off train at a freeze depth."""
        prefix = [x for stage in self._stages[depth:] for x in stage if self.is_in_prefix(x)]
        return sum(not self.keeps(layer) and _could_train(layer) for layer in prefix)

    def _switch_off(self, container: keras.Layer) -> None:
        """Note that the user has switched off all layers in a layer that only holds others."""
        for layer in _keras.sublayers(container):
            known = self._wanted.get(id(layer))
            if known is not None and known.seen.is_off:
                self._wanted[id(layer)] = replace(known, is_off=True)

    def _first_on(self, wanted: dict[int, UserFlags]) -> int:
        """The index of the first stage in which the user left a layer on; their number if there is none."""
        on = (any(_is_on(layer, wanted) for layer in stage) for stage in self._stages)
        return next((index for index, is_on in enumerate(on) if is_on), len(self._stages))

    def _is_frozen_for_lora(self, wanted: dict[int, UserFlags]) -> bool:
        """Whether the first stage that is on trains by LoRA alone, with layers off in it or after it."""
        first = self._first_on(wanted)
        if first == len(self._stages):
            return False
        on = [layer for layer in self._stages[first] if _is_on(layer, wanted)]
        off = any(wanted[id(layer)].is_off for stage in self._stages[first:] for layer in stage)
        return off and all(wanted[id(layer)].has_lora for layer in on)


def _is_on(layer: keras.Layer, wanted: dict[int, UserFlags]) -> bool:
    flags = wanted[id(layer)]
    return not flags.is_off and flags.can_train(layer)


def _could_train(layer: keras.Layer) -> bool:
    """Whether training would change a layer with all its flags on."""
    return UserFlags.of(layer).all_on(layer).can_train(layer)


def _was_switched_off(layer: keras.Layer) -> bool:
    known = recorded(layer)
    return known is not None and known.seen.layer and not layer.trainable


def _read_afresh(layer: keras.Layer) -> UserFlags:
    known = recorded(layer)
    return replace(UserFlags.first(layer), keep_frozen=known is not None and known.keep_frozen)


def _had_no_lora(layer: keras.Layer) -> bool:
    known = recorded(layer)
    return known is not None and not known.has_lora
