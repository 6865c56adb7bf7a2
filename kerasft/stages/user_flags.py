"""What the user wants of a layer's flags, told apart from what kerasft has set."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace

import keras

from kerasft import _keras
from kerasft.stages.stage_layer import StageLayer


@dataclass(frozen=True)
class SeenFlags:
    """The flags of a layer, and of those of its own weights that can train, at some moment."""

    layer: bool
    weights: tuple[tuple[keras.Variable, bool], ...]

    @classmethod
    def of(cls, layer: keras.Layer) -> SeenFlags:
        """The flags of `layer` now."""
        return cls(bool(layer.trainable), tuple((v, v.trainable) for v in can_train(layer)))

    @property
    def is_off(self) -> bool:
        """Whether nothing is on, neither the layer nor a weight."""
        return not self.layer and not any(flag for _, flag in self.weights)

    def changed(self, later: SeenFlags) -> list[tuple[keras.Variable, bool]]:
        """The weights whose flags are others later, with these; a new weight has had its layer's flag."""
        before = {id(v): flag for v, flag in self.weights}
        return [(v, flag) for v, flag in later.weights if flag is not before.get(id(v), self.layer)]


@dataclass(frozen=True)
class UserFlags:
    """What the user wants of the flags of one layer.

    It is read from the flags before kerasft first sets them. Later the evidence is what differs from the
    flags that kerasft saw or set last: that difference is the user's.

    Attributes:
        flag: The layer's own flag while it trains.
        is_off: Whether the user has switched the layer off as a whole.
        is_kept: Whether it was kept frozen for that when kerasft last set flags. It still is when the user
            switches off more than before, until the user switches it on.
        untrained: The weights that stay off while the layer trains: those that were switched off one by one,
            and those that LoRA adapts.
        keep_frozen: Whether the user has named it in `keep_frozen`.
        has_lora: Whether LoRA was enabled when the flags were read.
        seen: The flags that kerasft saw or set last.
    """

    flag: bool
    is_off: bool
    is_kept: bool
    untrained: tuple[keras.Variable, ...]
    keep_frozen: bool
    has_lora: bool
    seen: SeenFlags

    @classmethod
    def first(cls, layer: keras.Layer) -> UserFlags:
        """Read the flags as they are, whatever was recorded."""
        seen = SeenFlags.of(layer)
        off = [] if seen.is_off else [v for v, flag in seen.weights if not flag and not _is_held(layer, v)]
        untrained = _union(off, _keras.lora_bases(layer))
        return cls(seen.layer, seen.is_off, False, untrained, False, _keras.has_lora(layer), seen)

    @classmethod
    def of(cls, layer: keras.Layer) -> UserFlags:
        """What was recorded of `layer`, and what the user has changed since; nothing is recorded."""
        known = recorded(layer)
        return cls.first(layer) if known is None else known._with_changes(layer)

    @property
    def flag_when_thawed(self) -> bool:
        """The layer's own flag once it trains."""
        return self.flag or self.is_off

    def all_on(self, layer: keras.Layer) -> UserFlags:
        """The same layer with nothing switched off, not even what LoRA adapts."""
        on = replace(self, flag=True, is_off=False, is_kept=False)
        return replace(on, untrained=(), has_lora=_keras.has_lora(layer))

    def can_train(self, layer: keras.Layer) -> bool:
        """Whether training would change the layer if it were thawed."""
        weights = can_train(layer)
        if weights:
            return any(not _holds(self.untrained, v) for v in weights)
        if isinstance(layer, StageLayer):
            return layer.has_updates
        return isinstance(layer, keras.layers.BatchNormalization)

    def _with_changes(self, layer: keras.Layer) -> UserFlags:
        now, bases = SeenFlags.of(layer), _keras.lora_bases(layer)
        untrained = self.untrained if self.has_lora else _union(self.untrained, bases)
        known = replace(self, untrained=untrained, has_lora=_keras.has_lora(layer), seen=now)
        changed = self.seen.changed(now)
        if now.layer is self.seen.layer and not changed:
            return known
        if now.is_off:  # as a whole, which says nothing of single weights
            return replace(known, is_off=True)
        on = [v for v, flag in changed if flag and not _holds(bases, v)]
        off = [v for v, flag in changed if not flag and not _is_held(layer, v)]
        return replace(
            known,
            flag=self.flag if now.layer is self.seen.layer else now.layer,
            is_off=False,
            is_kept=False,
            untrained=_union([v for v in untrained if not _holds(on, v)], off),
        )


_records: weakref.WeakKeyDictionary[keras.Layer, UserFlags] = weakref.WeakKeyDictionary()


def recorded(layer: keras.Layer) -> UserFlags | None:
    """What was recorded of a layer; None if nothing was."""
    return _records.get(layer)


def record(layer: keras.Layer, flags: UserFlags | None) -> None:
    """Record what the user wants of a layer; None forgets it."""
    if flags is None:
        _records.pop(layer, None)
    else:
        _records[layer] = flags


def can_train(layer: keras.Layer) -> Sequence[keras.Variable]:
    """The weights of `layer` itself that train once it is thawed and all its flags are on."""
    return (
        layer.trainable_when_thawed
        if isinstance(layer, StageLayer)
        else _keras.own_trainable_variables(layer)
    )


def _is_held(layer: keras.Layer, weight: keras.Variable) -> bool:
    """Whether a policy for batch normalization keeps a weight of a stage layer off, and not the user."""
    held = isinstance(layer, StageLayer) and layer.holds_scales
    return held and _holds(layer.scales_and_offsets, weight)


def _holds(weights: Sequence[keras.Variable], weight: keras.Variable) -> bool:
    return any(v is weight for v in weights)  # Keras compares weights by their values


def _union(one: Sequence[keras.Variable], other: Sequence[keras.Variable]) -> tuple[keras.Variable, ...]:
    return (*one, *(v for v in other if not _holds(one, v)))
