"""One step of an optimizer with a learning-rate factor and a step count for every variable."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from kerasft._keras.optimizer.anchored_decay import AnchoredDecay, Anchors
from kerasft._keras.optimizer.keys import keys_of, path_of, without_number
from kerasft._keras.optimizer.multiplier_state import MultiplierState, StepScalars, Tensors
from kerasft._keras.optimizer.named_state import FileState
from kerasft._keras.optimizer.settings import as_number, inner_optimizer, newer_optimizer

Variables: TypeAlias = Sequence[keras.Variable]
Variant = TypeVar("Variant", bound=type)
_VARIANTS: list[tuple[type | tuple[()], type]] = []
_REPLACEMENTS: dict[type, type] = {}


@keras.saving.register_keras_serializable("kerasft")
class LrMultipliers(AnchoredDecay):
    """Mixin over an optimizer's class: a learning-rate factor and a step count for every variable.

    Keras corrects Adam's bias by one count for all variables. A variable that is thawed at step 5,000 has
    moments of age zero, so that its first step comes out several times too large; here each variable's
    count begins with its own first step. Use `kerasft.with_lr_multipliers`, which validates.
    """

    _multiplier_state: MultiplierState

    @property
    def lr_multipliers(self) -> dict[str, float]:
        """The factors by variable path."""
        return dict(self._multiplier_state.multipliers)

    @property
    def iterations(self) -> keras.Variable | tf.Tensor:
        """The step count: of the variable being updated, or of the optimizer as a whole."""
        state = self._multiplier_state
        return super().iterations if state.position is None else state.in_step.steps[state.position]

    def build(self, variables: Variables) -> None:
        if self.built:
            return
        state, listed = self._multiplier_state, [path for path, _ in self._file_state.configured]
        names: dict[str, str] = {}
        if [without_number(key) for key in listed] == [path_of(v) for v in variables]:
            state.keys |= {id(v): key for v, key in zip(variables, listed, strict=True)}
        else:
            names = self._names_since_configured(variables)
        state.multipliers = {names.get(path, path): factor for path, factor in state.multipliers.items()}
        if state.anchors is not None:
            state.anchors.rename(names)
        self._exclude_loaded(variables, names)
        super().build(variables)
        self._add_multiplier_state()

    def _add_multiplier_state(self) -> None:
        state = self._multiplier_state
        self._add_anchors(state.keys)
        state.factors = self._take_factors()
        self._variable_steps = self._add_vector("variable_steps", 0, "int64")
        self._factor_values = self._add_vector("factors", list(state.factors), keras.config.floatx())
        self._gradient_norms = self._add_vector("gradient_norms", 0.0, "float32")
        # the step at which a warm-up, and a schedule of the rate, began, and how many the warm-up takes
        self._warmup = self._add_vector("warmup", 0, "int64", 2)

    def _add_vector(
        self, name: str, values: npt.ArrayLike, dtype: str, length: int | None = None
    ) -> keras.Variable:
        """Add a vector, with one entry for each variable unless there is a `length`."""
        return self.add_variable(
            (len(self._trainable_variables) if length is None else length,),
            # not assigned later: `fit` builds optimizers in a scope that drops assignments
            initializer=lambda shape, dtype: keras.ops.cast(np.broadcast_to(values, shape), dtype),
            dtype=dtype,
            aggregation="only_first_replica",
            name=name,
        )

    def set_multipliers(self, multipliers: Mapping[str, float]) -> bool:
        """Replace the factors, by variable path, from the next step on.

        Returns:
            Whether the training step has to be traced again: variables with a factor of 0 are left out of it.
        """
        state = self._multiplier_state
        state.multipliers, state.resolved = dict(multipliers), multipliers
        if not self.built:
            return False
        before = [factor == 0 for factor in state.factors]
        state.factors = self._take_factors()
        self._factor_values.assign(state.factors)
        return before != [factor == 0 for factor in state.factors]

    def _keys_in(self, multipliers: Mapping[str, float], resolved: Mapping[str, float]) -> list[str | None]:
        """The key of each variable in `multipliers`, where `resolved` may know some of them."""
        return keys_of(self._trainable_variables, multipliers, self._multiplier_state.keys, resolved)

    def factors_in(self, multipliers: Mapping[str, float]) -> list[float]:
        """The factor that each variable would have by these."""
        keys = self._keys_in(multipliers, multipliers)
        return [1.0 if key is None else multipliers[key] for key in keys]

    def _take_factors(self) -> list[float]:
        """The factor of each variable, whose key is remembered."""
        state = self._multiplier_state
        keys = self._keys_in(state.multipliers, state.resolved)
        state.keys = {id(v): k for v, k in zip(self._trainable_variables, keys, strict=True) if k is not None}
        return [1.0 if key is None else state.multipliers[key] for key in keys]

    def start_warmup(self, steps: int) -> None:
        """Let the rate rise linearly over the next `steps` steps; 0 ends a warm-up."""
        self._warmup.assign([int(as_number(super().iterations)), steps])

    def measure_gradients(self, on: bool) -> None:
        """Switch on or off that steps traced from now on sum up norms of gradients, before any clipping."""
        self._multiplier_state.measure_gradients = on

    def take_gradient_norms(self) -> dict[int, float]:
        """Return the summed norms by `id` of the variable, and begin at zero again."""
        norms = self._gradient_norms.numpy()
        self._gradient_norms.assign(np.zeros_like(norms))
        return {id(v): float(n) for v, n in zip(self._trainable_variables, norms, strict=True)}

    def knows(self, variable: keras.Variable) -> bool:
        """Whether the optimizer is built for `variable`."""
        return self._var_key(variable) in self._trainable_variables_indices

    def rate_of(self, variable: keras.Variable) -> float:
        """The learning rate of `variable` at the next step."""
        return self.rates_of([variable])[0]

    def rates_of(self, variables: Iterable[keras.Variable]) -> list[float]:
        """The learning rate of each variable at the next step."""
        base = as_number(self.learning_rate) * as_number(self._warmup_factor())
        return [base * self._multiplier_state.factors[self._get_variable_index(v)] for v in variables]

    def steps_of(self, variable: keras.Variable) -> int:
        """How many steps `variable` has taken."""
        return int(self._variable_steps.numpy()[self._get_variable_index(variable)])

    def at_window_boundary(self) -> bool:
        """Whether no gradients have been accumulated since the last step."""
        return int(as_number(self._iterations)) % (self.gradient_accumulation_steps or 1) == 0

    def drop_window(self) -> None:
        """Forget the gradients that have been accumulated since the last step."""
        self._backend_reset_gradient_accumulators()
        window = self.gradient_accumulation_steps
        self._iterations.assign(-(-int(as_number(self._iterations)) // window) * window)

    def _backend_apply_gradients(self, grads: Tensors, trainable_variables: Variables) -> None:
        state = self._multiplier_state
        state.given = [self._get_variable_index(v) for v in trainable_variables]
        state.trained = [p for p in state.given if state.factors[p] != 0]
        with self._reading():
            super()._backend_apply_gradients(grads, trainable_variables)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Read the numbers of a step for the block."""
        state = self._multiplier_state
        state.replicas += 1
        try:
            state.scalars = StepScalars(
                keras.ops.unstack(self._variable_steps.value),
                keras.ops.unstack(self._factor_values.value),
                self._warmup_factor(),
                [],
            )
            yield
        finally:
            state.replicas -= 1
            if not state.replicas:
                state.scalars = None

    @contextlib.contextmanager
    def _updating(self, position: int, scaled: bool = True) -> Iterator[None]:
        """Let `iterations` and `learning_rate` be those of one variable within the block."""
        state = self._multiplier_state
        state.position, state.scaled = position, scaled
        try:
            yield
        finally:
            state.position = None

    def _warmup_factor(self) -> tf.Tensor:
        begin, length = keras.ops.unstack(self._warmup.value)
        dtype = keras.config.floatx()
        passed = keras.ops.cast(super().iterations - begin + 1, dtype)
        share = passed / keras.ops.cast(keras.ops.maximum(length, 1), dtype)
        return keras.ops.where(length > 0, keras.ops.minimum(share, 1.0), keras.ops.ones_like(share))

    def _get_current_learning_rate(self) -> keras.Variable | tf.Tensor:
        rate = super()._get_current_learning_rate()
        state = self._multiplier_state
        return rate if state.position is None else self._own_rate(rate, state.position)

    def _own_rate(self, rate: keras.Variable | tf.Tensor, position: int) -> tf.Tensor:
        """The rate of the variable at `position` where that of the optimizer is `rate`."""
        state = self._multiplier_state
        rate = keras.ops.cast(rate, keras.config.floatx()) * state.in_step.warmup
        return rate * state.in_step.factors[position] if state.scaled else rate

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor) -> None:
        position = self._get_variable_index(variable)
        if self._multiplier_state.factors[position] == 0:
            return  # momentum would move it even at a rate of zero
        if self._multiplier_state.scalars is None:  # called outside `apply`
            with self._reading():
                self.update_step(gradient, variable, learning_rate)
            return
        with self._updating(position):
            super().update_step(gradient, variable, self._own_rate(learning_rate, position))

    def _backend_update_step(
        self, grads: Tensors, trainable_variables: Variables, learning_rate: tf.Tensor
    ) -> None:
        super()._backend_update_step(grads, trainable_variables, learning_rate)
        self._variable_steps.assign_add(self._trained_mask().astype("int64"))

    def _trained_mask(self) -> np.ndarray:
        mask = np.zeros(len(self._trainable_variables), bool)
        mask[self._multiplier_state.trained] = True
        return mask

    def _apply_weight_decay(self, variables: Variables) -> None:
        for variable in variables:
            position = self._get_variable_index(variable)
            if self._multiplier_state.factors[position] != 0:
                with self._updating(position, scaled=self._multiplier_state.scale_weight_decay):
                    super()._apply_weight_decay([variable])

    def _clip_gradients(self, grads: Tensors) -> Tensors:
        if self._multiplier_state.measure_gradients:
            norms = keras.ops.zeros((len(self._trainable_variables),), "float32")
            values = [keras.ops.cast(tf.linalg.global_norm([g]), "float32") for g in grads]
            where = [[position] for position in self._multiplier_state.given]
            self._gradient_norms.assign_add(keras.ops.scatter_update(norms, where, keras.ops.stack(values)))
        return super()._clip_gradients(grads)

    def get_config(self) -> dict[str, Any]:
        inner = type(self).optimizer_class.from_config(super().get_config())
        anchors = self._multiplier_state.anchors
        return {
            "optimizer": keras.saving.serialize_keras_object(inner),
            "multipliers": dict(self.lr_multipliers),
            "scale_weight_decay": self._multiplier_state.scale_weight_decay,
            "without_weight_decay": self._without_weight_decay(),
            **({} if anchors is None else {"l2_sp": anchors.config()}),
            "variables": [
                [self._multiplier_state.keys.get(id(v)) or path_of(v), list(v.shape)]
                for v in self._trainable_variables
            ],
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> keras.optimizers.Optimizer:
        inner = keras.saving.deserialize_keras_object(config["optimizer"], custom_objects)
        optimizer = add_step_counts(inner, config["multipliers"], config["scale_weight_decay"])
        optimizer._load_exclusions(config.get("without_weight_decay", {}))
        if "l2_sp" in config:
            optimizer.set_anchors(Anchors.from_config(config["l2_sp"]))
        optimizer._file_state.configured = [(p, tuple(s)) for p, s in config.get("variables", ())]
        return optimizer


def mixin_for(base: type | tuple[()]) -> Callable[[Variant], Variant]:
    """Mix the decorated class into optimizers of class `base`, in place of `LrMultipliers`."""

    def register(mixin: Variant) -> Variant:
        _VARIANTS.append((base, mixin))
        return mixin

    return register


def in_place_of(wrapper: type) -> Callable[[Variant], Variant]:
    """Give the decorated class to wrappers that are exactly of class `wrapper`."""

    def register(replacement: Variant) -> Variant:
        _REPLACEMENTS[wrapper] = replacement
        return replacement

    return register


@functools.cache
def _mixed_class(optimizer_class: type) -> type:
    mixin = next((m for base, m in _VARIANTS if issubclass(optimizer_class, base)), LrMultipliers)
    mixed = type(LrMultipliers.__name__, (mixin, optimizer_class), {"optimizer_class": optimizer_class})
    mixed.__module__ = LrMultipliers.__module__
    return keras.saving.register_keras_serializable("kerasft")(mixed)


def must_trace_for(
    optimizer: keras.optimizers.Optimizer,
    multipliers: Mapping[str, float],
    scale_weight_decay: bool,
    decay_vectors: bool,
) -> bool:
    """Whether a training step that was traced would ignore a part of these factors."""
    inner = inner_optimizer(optimizer)
    if not isinstance(inner, LrMultipliers) or not inner.built or int(as_number(inner._iterations)) == 0:
        return False
    state = inner._multiplier_state
    factors = inner.factors_in(multipliers)
    same_zeros = [f == 0 for f in factors] == [f == 0 for f in state.factors]
    decay = (state.scale_weight_decay, inner._file_state.decay_vectors)
    return not same_zeros or decay != (scale_weight_decay, decay_vectors)


def add_step_counts(
    optimizer: keras.optimizers.Optimizer,
    multipliers: Mapping[str, float] | None = None,
    scale_weight_decay: bool = True,
    decay_vectors: bool = True,
) -> keras.optimizers.Optimizer:
    """Turn `optimizer` in place into one with a step count and a factor for each variable."""
    inner = inner_optimizer(optimizer)
    if isinstance(inner, newer_optimizer("MultiOptimizer")):
        raise ValueError(
            "kerasft can't count the steps of Keras's MultiOptimizer. Use one optimizer, with rates for its "
            "layers by kerasft.with_lr_multipliers."
        )
    if type(optimizer) in _REPLACEMENTS:
        optimizer.__class__ = _REPLACEMENTS[type(optimizer)]
    if isinstance(inner, LrMultipliers):
        if multipliers is not None:
            inner._multiplier_state.scale_weight_decay = scale_weight_decay
            inner._file_state.decay_vectors = decay_vectors
            inner._exclude_from_weight_decay_cache = {}  # answers of before
            inner.set_multipliers(multipliers)
        return optimizer
    inner._multiplier_state = MultiplierState(multipliers or {}, scale_weight_decay)
    inner._file_state = FileState(decay_vectors=decay_vectors)
    inner._exclude_from_weight_decay_cache = {}
    inner.__class__ = _mixed_class(inner.__class__)
    if inner.built:
        inner._add_multiplier_state()
        inner._age_all()
    return optimizer
