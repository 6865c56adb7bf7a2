"""Weight decay towards the values that pre-trained weights had, in place of decay towards zero (L2-SP)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasft._keras.optimizer.keys import keys_of
from kerasft._keras.optimizer.phase_rate import PhaseRate
from kerasft._keras.optimizer.settings import as_number, native


class Anchors:
    """The pre-trained values that weights decay towards.

    Args:
        strength: The share of the distance, times the learning rate, that a step takes away.
        values: The values, by the weights' keys in their model.
        variables: All variables of that model, each with its key in `values`, or None.
        digests: What `digest` says of each value, where the values are not at hand: a configuration that
            was loaded.
    """

    def __init__(
        self,
        strength: float,
        values: Mapping[str, np.ndarray],
        variables: Iterable[tuple[keras.Variable, str | None]] = (),
        digests: Mapping[str, str] | None = None,
    ) -> None:
        self.strength = strength
        self.values = values
        self.digests = digests
        self._variables = list(variables)  # held, or else an `id` might come again
        self._keys = {id(variable): key for variable, key in self._variables}
        self.in_order: list[str | None] = []  # the keys of the optimizer's variables
        self.doubtful: set[str] = set()  # those whose slot began with another value than the one configured

    def keys_of(self, variables: Sequence[keras.Variable], known: Mapping[int, str]) -> list[str | None]:
        """The key of each variable of an optimizer; None for those without an anchor.

        Args:
            variables: The optimizer's variables: of the model that the values belong to, or of one like it.
            known: Keys of a loaded configuration, by the `id` of the variable.
        """
        if self.digests is None and any(id(v) in self._keys for v in variables):
            self.in_order = [self._keys.get(id(v)) for v in variables]
        elif self.digests is None:
            self.in_order = keys_of(variables, self.values, known)
        else:
            mine = {i: key for i, key in self._keys.items() if key is not None}
            self.in_order = keys_of(variables, self.digests, {**known, **mine})
            self._variables += zip(variables, self.in_order, strict=True)
            self._keys |= {id(v): k for v, k in zip(variables, self.in_order, strict=True) if k is not None}
        return self.in_order

    @property
    def listed(self) -> Mapping[str, str]:
        """The digest of each value."""
        if self.digests is None:
            return {key: digest(value) for key, value in self.values.items()}
        return self.digests

    def config(self) -> dict[str, Any]:
        """What a configuration holds; the values are in the optimizer's state."""
        return {"strength": self.strength, "digests": dict(self.listed)}

    def rename(self, names: Mapping[str, str]) -> None:
        """Take the names that variables have now for those of a loaded configuration."""
        if names and self.digests is not None:
            self.digests = {names.get(key, key): value for key, value in self.digests.items()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Anchors:
        """Anchors whose values the optimizer's state will bring."""
        return cls(config["strength"], {}, digests=config["digests"])


def digest(value: np.ndarray) -> str:
    """A short hash of an array's numbers."""
    return hashlib.blake2b(np.ascontiguousarray(value, "float32").tobytes(), digest_size=8).hexdigest()


class AnchoredDecay(PhaseRate):
    """Mixin over an optimizer's class: weights with an anchor decay towards it, the others as they did.

    Anchors are slots: they are saved, loaded and carried over to an optimizer of more variables by name, as
    moments are. A variable without an anchor has None.
    """

    def set_anchors(self, anchors: Anchors) -> None:
        """Let weights decay towards anchors from the next step that is traced on."""
        self._multiplier_state.anchors = anchors
        if self.built:
            self._add_anchors({}, vars(self).get("_anchors"))

    def _add_anchors(
        self, known: Mapping[int, str], slots: Sequence[keras.Variable | None] | None = None
    ) -> None:
        """Make the slots, and give values to those that there are.

        Args:
            known: Keys of a loaded configuration, by the `id` of the variable.
            slots: The slots that there are, one for each variable; None if there are none.
        """
        anchors = self._multiplier_state.anchors
        if anchors is None:
            return
        keys = anchors.keys_of(self._trainable_variables, known)
        made = list(slots or [None] * len(keys))
        for place, (variable, key) in enumerate(zip(self._trainable_variables, keys, strict=True)):
            value = anchors.values.get(key)
            if key is not None and made[place] is None:
                if value is None:
                    value = self._own_value(key, variable)
                made[place] = self._add_anchor(variable, value)
            elif value is not None:
                self._write(made[place], value)
        self._anchors = made

    def _own_value(self, key: str, variable: keras.Variable) -> np.ndarray:
        """The value of a variable whose anchor a configuration names, and loaded state may bring."""
        with tf.init_scope():  # the optimizer may be built while a step is traced
            value = keras.ops.convert_to_numpy(variable)
        anchors = self._multiplier_state.anchors
        if anchors is not None and digest(value) != anchors.listed[key]:
            anchors.doubtful.add(key)
        return value

    def _add_anchor(self, variable: keras.Variable, value: np.ndarray) -> keras.Variable:
        return self.add_variable_from_reference(
            variable,
            name="anchor",
            # not assigned later: `fit` builds optimizers in a scope that drops assignments
            initializer=lambda shape, dtype: keras.ops.cast(value, dtype),
        )

    def anchor_of(self, variable: keras.Variable | tf.Variable) -> keras.Variable | None:
        """What a variable decays towards; None if that is zero."""
        anchors, place = self._multiplier_state.anchors, self._get_variable_index(variable)
        return None if anchors is None or anchors.in_order[place] is None else self._anchors[place]

    def decay_of(self, variable: keras.Variable) -> float:
        """The share that decay takes off `variable`, or off its distance to its anchor, at the next step."""
        state = self._multiplier_state
        if state.anchors is not None and self.anchor_of(variable) is not None:
            decay: float | None = state.anchors.strength
        else:
            decay = getattr(self, "weight_decay", None)
        if decay is None or not self._use_weight_decay(variable):
            return 0.0
        factor = state.factors[self._get_variable_index(variable)]
        scale = factor if state.scale_weight_decay else float(factor != 0)
        return float(decay) * as_number(self.learning_rate) * as_number(self._warmup_factor()) * scale

    def _apply_weight_decay(self, variables: Sequence[keras.Variable]) -> None:
        self._check_anchors()
        for variable in variables:
            anchor = self.anchor_of(variable)
            if anchor is None:
                super()._apply_weight_decay([variable])
            elif self._use_weight_decay(variable):
                self._pull(variable, anchor)

    def _pull(self, variable: keras.Variable, anchor: keras.Variable) -> None:
        """Move a variable towards its anchor, in all replicas; as Keras applies its weight decay."""
        strength = self._multiplier_state.anchors.strength

        def move(v: tf.Variable, towards: tf.Tensor) -> None:
            v.assign_sub(tf.cast(self.learning_rate, v.dtype) * strength * (v - tf.cast(towards, v.dtype)))

        def everywhere(distribution: tf.distribute.Strategy, v: tf.Variable, towards: tf.Variable) -> None:
            distribution.extended.update(v, move, args=(towards,), group=False)

        tf.__internal__.distribute.interim.maybe_merge_call(
            everywhere, self._distribution_strategy, native(variable), native(anchor)
        )

    def _check_anchors(self) -> None:
        """Raise if a configuration was loaded, and not the values that weights should decay towards."""
        anchors = self._multiplier_state.anchors
        if anchors is None or not anchors.doubtful:
            return
        with tf.init_scope():  # while a step is traced
            slots = dict(zip(anchors.in_order, self._anchors, strict=True))
            wrong = [k for k in anchors.doubtful if digest(slots[k].numpy()) != anchors.listed[k]]
        if wrong:
            raise ValueError(
                "The optimizer decays weights towards pre-trained values (L2-SP). It was made from a "
                f"configuration, which does not hold them, and its state has other values for "
                f"{sorted(wrong)[:3]}. Load its state too, or call kerasft.with_l2_sp(optimizer, strength, "
                "model, reference=original) again."
            )
        anchors.doubtful.clear()

    def _plain_variables(self) -> list[keras.Variable]:
        added = [a for a in vars(self).get("_anchors", ()) if a is not None]
        return [v for v in super()._plain_variables() if not any(v is a for a in added)]
