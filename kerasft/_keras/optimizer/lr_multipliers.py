"""A learning-rate factor and a step count for every variable, as a mixin over an optimizer's class."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from typing import Any as LossScaleBase
    from typing import Any as OptimizerBase
else:
    LossScaleBase, OptimizerBase = keras.optimizers.LossScaleOptimizer, object
from kerasft._keras.optimizer.settings import (
    _by_path,
    _key_of,
    _number,
    inner_optimizer,
    newer_optimizer,
)
from kerasft._keras.optimizer.slots import _optimizer_state


class _MultiplierState:
    """What kerasft keeps on an optimizer beside its variables.

    One plain object, because TensorFlow wraps dicts and lists that are set on an optimizer, and would
    checkpoint them.
    """

    def __init__(self, multipliers: Mapping[str, float], scale_weight_decay: bool) -> None:
        self.multipliers = dict(multipliers)
        self.scale_weight_decay = scale_weight_decay
        self.factors: list[float] = []
        self.measure_gradients = False
        # while a step is traced
        self.given: list[int] = []  # positions of the variables that have gradients
        self.trained: list[int] = []  # those that it moves
        self.scalars: _Scalars | None = None
        self.replicas = 0  # of a distribution strategy, which trace in threads that take turns
        self.position: int | None = None  # of the variable in hand
        self.scaled = True  # whether the rate that is asked for has the variable's factor in it
        # while a file is written or read
        self.companion: Callable[[], Mapping[str, Any]] | None = None  # gives arrays to be saved as well
        self.excluded: list[str] = []  # paths of variables without weight decay, not built yet
        self.loaded: dict[str, np.ndarray] = {}  # what a companion once gave
        self.unclaimed: dict[str, dict[str, np.ndarray]] = {}  # slots of variables that are not built yet


@dataclass
class _Scalars:
    """Numbers of one step, read in one go: a read for each variable would cost time."""

    steps: list[Any]  # that each variable has taken before
    factors: list[Any]
    warmup: Any
    products: list[Any]  # Nadam's


@keras.saving.register_keras_serializable("kerasft")
class LrMultipliers(OptimizerBase):
    """Mixin over an optimizer's class: a learning-rate factor and a step count for every variable.

    Keras corrects Adam's bias by one count for all variables. A variable that is thawed at step 5,000 has
    moments of age zero, so that its first step comes out several times too large; here each variable's
    count begins with its own first step. Use `kerasft.with_lr_multipliers`, which validates.
    """

    _kerasft: _MultiplierState

    @property
    def lr_multipliers(self) -> dict[str, float]:
        """The factors by variable path."""
        return self._kerasft.multipliers

    @property
    def iterations(self) -> Any:
        """The step count: of the variable being updated, or of the optimizer as a whole."""
        extra = self._kerasft
        if extra.position is not None and extra.scalars is not None:
            return extra.scalars.steps[extra.position]
        return super().iterations

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        if paths := self._kerasft.excluded:  # read from a file; Keras wants them before it builds
            pattern = getattr(self, "_exclude_from_weight_decay_pattern", None)
            listed = [v for v in variables if _key_of(dict.fromkeys(paths), v.path) is not None]
            self.exclude_from_weight_decay(listed, [pattern.pattern] if pattern else None)
        super().build(variables)
        self._add_multiplier_state()

    def _add_multiplier_state(self) -> None:
        extra = self._kerasft
        extra.factors = [_by_path(extra.multipliers, v.path, 1.0) for v in self._trainable_variables]
        self._variable_steps = self._add_vector("variable_steps", 0, "int64")
        self._factor_values = self._add_vector("factors", list(extra.factors), keras.config.floatx())
        self._gradient_norms = self._add_vector("gradient_norms", 0.0, "float32")
        # the step at which a warm-up began, and how many it takes
        self._warmup = self._add_vector("warmup", 0, "int64", 2)

    def _add_vector(self, name: str, values: Any, dtype: str, length: int | None = None) -> keras.Variable:
        """A vector, with one entry for each variable unless `length` says otherwise."""
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
            Whether the training step has to be traced anew: variables with a factor of 0 are left out of it.
        """
        extra = self._kerasft
        extra.multipliers = dict(multipliers)
        if not self.built:
            return False
        before = [factor == 0 for factor in extra.factors]
        extra.factors = [_by_path(extra.multipliers, v.path, 1.0) for v in self._trainable_variables]
        self._factor_values.assign(extra.factors)
        return before != [factor == 0 for factor in extra.factors]

    def start_warmup(self, steps: int) -> None:
        """Let the rate rise linearly over the next `steps` steps; 0 ends a warm-up."""
        self._warmup.assign([int(_number(super().iterations)), steps])

    def measure_gradients(self, on: bool) -> None:
        """Whether steps traced from now on sum up the norms of gradients, before any clipping."""
        self._kerasft.measure_gradients = on

    def take_gradient_norms(self) -> dict[int, float]:
        """The summed norms by `id` of the variable, which begin at zero again."""
        norms = self._gradient_norms.numpy()
        self._gradient_norms.assign(np.zeros_like(norms))
        return {id(v): float(n) for v, n in zip(self._trainable_variables, norms, strict=True)}

    def knows(self, variable: keras.Variable) -> bool:
        """Whether the optimizer is built for `variable`."""
        return self._var_key(variable) in self._trainable_variables_indices

    def rate_of(self, variable: keras.Variable) -> float:
        """The learning rate of `variable` at the next step."""
        factor = self._kerasft.factors[self._get_variable_index(variable)]
        return _number(self.learning_rate) * _number(self._warmup_factor()) * factor

    def decay_of(self, variable: keras.Variable) -> float:
        """The share of `variable` that weight decay takes away at the next step."""
        decay = getattr(self, "weight_decay", None)
        if decay is None or not self._use_weight_decay(variable):
            return 0.0
        factor = self._kerasft.factors[self._get_variable_index(variable)]
        scale = factor if self._kerasft.scale_weight_decay else float(factor != 0)
        return float(decay) * _number(self.learning_rate) * _number(self._warmup_factor()) * scale

    def steps_of(self, variable: keras.Variable) -> int:
        """How many steps `variable` has taken."""
        return int(self._variable_steps.numpy()[self._get_variable_index(variable)])

    def at_window_boundary(self) -> bool:
        """Whether no gradients have been accumulated since the last step."""
        return int(_number(self._iterations)) % (self.gradient_accumulation_steps or 1) == 0

    def drop_window(self) -> None:
        """Forget the gradients that have been accumulated since the last step."""
        self._backend_reset_gradient_accumulators()
        window = self.gradient_accumulation_steps
        self._iterations.assign(-(-int(_number(self._iterations)) // window) * window)

    def snapshot(self, variables: Sequence[keras.Variable]) -> dict[str, np.ndarray]:
        """Slots and step counts of `variables`, averages included, accumulated gradients left out."""
        paths = self._paths()
        wanted = {paths[self._get_variable_index(v)] for v in variables}
        taken = {
            f"{name}:{path}": entry.numpy()
            for name, entries in self.slots().items()
            for path, entry in entries.items()
            if entry is not None and path in wanted and name != "_accumulated_gradients"
        }
        for name, vector in self._vectors().items():
            values = zip(paths, vector.numpy(), strict=True)
            taken |= {f"{name}:{path}": value for path, value in values if path in wanted}
        return taken

    def restore(self, snapshot: Mapping[str, np.ndarray]) -> None:
        """Put back what `snapshot` took."""
        slots, paths = self.slots(), self._paths()
        vectors = {name: vector.numpy() for name, vector in self._vectors().items()}
        for key, value in snapshot.items():
            name, _, path = key.partition(":")
            if name in vectors:
                vectors[name][paths.index(path)] = value
            else:
                slots[name][path].assign(value)  # type: ignore[union-attr]
        for name, vector in self._vectors().items():
            vector.assign(vectors[name])

    def attach(self, companion: Callable[[], Mapping[str, Any]] | None) -> None:
        """Save the arrays that `companion` returns together with the optimizer's state; None ends that."""
        self._kerasft.companion = companion
        self._kerasft.loaded = {}

    def loaded(self) -> dict[str, np.ndarray]:
        """The arrays of a companion in the file that was loaded last."""
        return self._kerasft.loaded

    # --- one step

    def _backend_apply_gradients(self, grads: Any, trainable_variables: Any) -> None:
        extra = self._kerasft
        extra.given = [self._get_variable_index(v) for v in trainable_variables]
        extra.trained = [p for p in extra.given if extra.factors[p] != 0]
        with self._reading():
            super()._backend_apply_gradients(grads, trainable_variables)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        extra = self._kerasft
        extra.replicas += 1
        try:
            extra.scalars = _Scalars(
                keras.ops.unstack(self._variable_steps.value),
                keras.ops.unstack(self._factor_values.value),
                self._warmup_factor(),
                [],
            )
            yield
        finally:
            extra.replicas -= 1
            if not extra.replicas:
                extra.scalars = None

    @contextlib.contextmanager
    def _updating(self, position: int, scaled: bool = True) -> Iterator[None]:
        """Within it, `iterations` and `learning_rate` are those of one variable."""
        extra = self._kerasft
        extra.position, extra.scaled = position, scaled
        try:
            yield
        finally:
            extra.position = None

    def _warmup_factor(self) -> Any:
        begin, length = keras.ops.unstack(self._warmup.value)
        dtype = keras.config.floatx()
        passed = keras.ops.cast(super().iterations - begin + 1, dtype)
        share = passed / keras.ops.cast(keras.ops.maximum(length, 1), dtype)
        return keras.ops.where(length > 0, keras.ops.minimum(share, 1.0), keras.ops.ones_like(share))

    def _get_current_learning_rate(self) -> Any:
        rate = super()._get_current_learning_rate()
        extra = self._kerasft
        return rate if extra.position is None else self._own_rate(rate)

    def _own_rate(self, rate: Any) -> Any:
        """`rate` of the whole optimizer for the variable in hand."""
        extra = self._kerasft
        assert extra.scalars is not None and extra.position is not None
        rate = keras.ops.cast(rate, keras.config.floatx()) * extra.scalars.warmup
        return rate * extra.scalars.factors[extra.position] if extra.scaled else rate

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        position = self._get_variable_index(variable)
        if self._kerasft.factors[position] == 0:
            return  # momentum would move it even at a rate of zero
        if self._kerasft.scalars is None:  # called outside `apply`
            with self._reading():
                self.update_step(gradient, variable, learning_rate)
            return
        with self._updating(position):
            super().update_step(gradient, variable, self._own_rate(learning_rate))

    def _backend_update_step(self, grads: Any, trainable_variables: Any, learning_rate: Any) -> None:
        super()._backend_update_step(grads, trainable_variables, learning_rate)
        self._variable_steps.assign_add(self._trained_mask().astype("int64"))

    def _trained_mask(self) -> np.ndarray:
        mask = np.zeros(len(self._trainable_variables), bool)
        mask[self._kerasft.trained] = True
        return mask

    def _apply_weight_decay(self, variables: Any) -> None:
        for variable in variables:
            position = self._get_variable_index(variable)
            if self._kerasft.factors[position] != 0:
                with self._updating(position, scaled=self._kerasft.scale_weight_decay):
                    super()._apply_weight_decay([variable])

    def _clip_gradients(self, grads: Any) -> Any:
        if self._kerasft.measure_gradients:
            norms = keras.ops.zeros((len(self._trainable_variables),), "float32")
            values = [keras.ops.cast(tf.linalg.global_norm([g]), "float32") for g in grads]
            where = [[position] for position in self._kerasft.given]
            self._gradient_norms.assign_add(keras.ops.scatter_update(norms, where, keras.ops.stack(values)))
        return super()._clip_gradients(grads)

    # An average begins at a variable's own first step, and frozen variables are left as they are: Keras
    # would pair by position, and an average of equal values can differ from them in the last bit.

    def _update_model_variables_moving_average(self, trainable_variables: Any) -> None:
        extra = self._kerasft
        if not self.use_ema or extra.scalars is None:
            return
        for position in extra.trained:
            variable = self._trainable_variables[position]
            average = self._model_variables_moving_average[position]
            if average is not None:
                started = keras.ops.cast(extra.scalars.steps[position] != 0, variable.dtype)
                momentum = started * self.ema_momentum
                average.assign(momentum * average + (1 - momentum) * variable)

    def _overwrite_model_variables_with_average_value(self, trainable_variables: Any) -> None:
        extra = self._kerasft
        within_step = extra.scalars is not None
        steps = keras.ops.unstack(self._variable_steps.value)
        for variable in trainable_variables:
            position = self._get_variable_index(variable)
            average = self._model_variables_moving_average[position]
            left_out = position not in extra.trained if within_step else extra.factors[position] == 0
            if average is None or left_out:
                continue
            value = keras.ops.where(steps[position] > 0, average, variable)
            self._distribution_strategy.extended.update(
                getattr(variable, "value", variable), lambda target, new: target.assign(new), args=(value,)
            )

    # --- state in files: by name, so that a model saved with other layers frozen finds its own again

    def _paths(self) -> list[str]:
        paths = [v.path.replace("/", "|") for v in self._trainable_variables]
        return [p if paths.index(p) == i else f"{p}#{i}" for i, p in enumerate(paths)]

    def _vectors(self) -> dict[str, keras.Variable]:
        """State with one entry for each variable."""
        return {"steps": self._variable_steps}

    def slots(self) -> dict[str, dict[str, keras.Variable | None]]:
        """State of each variable, by attribute and by path."""
        slots = _optimizer_state(self)[0]
        return {name: dict(zip(self._paths(), entries, strict=True)) for name, entries in slots.items()}

    def scalars(self) -> dict[str, keras.Variable]:
        """State of the optimizer as a whole; `other…` is what has no attribute of its own."""
        slots, scalars = _optimizer_state(self)
        vectors = [*self._vectors().values(), self._factor_values, self._gradient_norms]
        own = {k: v for k, v in scalars.items() if not any(v is vector for vector in vectors)}
        known = [*own.values(), *vectors, *(v for entries in slots.values() for v in entries)]
        others = [v for v in self.variables if not any(v is k for k in known)]
        return own | {f"other{i}": v for i, v in enumerate(others)}

    def save_own_variables(self, store: Any) -> None:
        for name, variable in self.scalars().items():
            store[name] = variable.numpy()
        for name, entries in self.slots().items():
            for path, entry in entries.items():
                if entry is not None:
                    store[f"{name}:{path}"] = entry.numpy()
        for name, vector in self._vectors().items():
            for path, value in zip(self._paths(), vector.numpy(), strict=True):
                store[f"{name}:{path}"] = value
        companion = self._kerasft.companion
        for name, value in (companion() if companion else {}).items():
            store[f"kerasft:{name}"] = value

    def load_own_variables(self, store: Any) -> None:
        keys = list(store.keys())
        self._kerasft.loaded = {}
        if all(key.isdigit() for key in keys):
            self._load_plain(store, len(keys))
            return
        stored: dict[str, dict[str, np.ndarray]] = {}
        for key in keys:
            name, _, path = key.partition(":")
            stored.setdefault(name, {})[path] = np.asarray(store[key])
        for name, variable in self.scalars().items():
            if name in stored:
                variable.assign(stored.pop(name)[""])
        self._kerasft.loaded = stored.pop("kerasft", {})
        self._kerasft.unclaimed = stored
        self._claim(range(len(self._trainable_variables)))

    def _claim(self, positions: Iterable[int]) -> None:
        """Give variables the state that a loaded file has for them."""
        unclaimed, paths, slots = self._kerasft.unclaimed, self._paths(), self.slots()
        vectors = {name: vector.numpy() for name, vector in self._vectors().items()}
        for position in positions:
            path = paths[position]
            for name, entries in unclaimed.items():
                key = _key_of(entries, path, "|")
                if key is None:
                    continue
                if name in vectors:
                    vectors[name][position] = entries.pop(key)
                elif name in slots and slots[name][path] is not None:
                    slots[name][path].assign(entries.pop(key))  # type: ignore[union-attr]
        for name, vector in self._vectors().items():
            vector.assign(vectors[name])

    def _load_plain(self, store: Any, count: int) -> None:
        """Load what the optimizer without kerasft has saved: its variables in order, one step count."""
        extra = [*self._vectors().values(), self._factor_values, self._gradient_norms, self._warmup]
        own = [v for v in self.variables if not any(v is e for e in extra)]
        if len(own) != count:
            super().load_own_variables(store)  # which says that it does not fit
            return
        for index, variable in enumerate(own):
            variable.assign(store[str(index)])
        self._age_all()

    def _age_all(self) -> None:
        """Let each variable be as old as the optimizer."""
        self._variable_steps.assign(np.full(len(self._trainable_variables), int(_number(super().iterations))))

    def get_config(self) -> dict[str, Any]:
        inner = type(self).optimizer_class.from_config(super().get_config())
        return {
            "optimizer": keras.saving.serialize_keras_object(inner),
            "multipliers": dict(self.lr_multipliers),
            "scale_weight_decay": self._kerasft.scale_weight_decay,
            "without_weight_decay": self._without_weight_decay(),
        }

    def _without_weight_decay(self) -> dict[str, Any]:
        """What `exclude_from_weight_decay` was told, which Keras forgets when it saves."""
        listed: set[Any] = getattr(self, "_exclude_from_weight_decay", set())
        pattern = getattr(self, "_exclude_from_weight_decay_pattern", None)
        paths = [v.path for v in self._trainable_variables if self._var_key(v) in listed]
        return {"pattern": pattern.pattern if pattern else None, "paths": paths or self._kerasft.excluded}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        inner = keras.saving.deserialize_keras_object(config["optimizer"], custom_objects)
        optimizer = add_step_counts(inner, config["multipliers"], config["scale_weight_decay"])
        without = config.get("without_weight_decay", {})
        if without.get("pattern"):
            optimizer.exclude_from_weight_decay(var_names=[without["pattern"]])
        optimizer._kerasft.excluded = list(without.get("paths", ()))
        return optimizer


class _NadamMultipliers(LrMultipliers):
    """Nadam multiplies a momentum schedule up over all steps: here over those of each variable."""

    def _add_multiplier_state(self) -> None:
        super()._add_multiplier_state()
        self._u_products = self._add_vector("u_products", 1.0, keras.config.floatx())

    def _vectors(self) -> dict[str, keras.Variable]:
        return {**super()._vectors(), "u_products": self._u_products}

    @property
    def _u_product(self) -> Any:
        extra = self._kerasft
        if extra.position is not None and extra.scalars is not None:
            return extra.scalars.products[extra.position]
        return vars(self).get("_u_product")

    @_u_product.setter
    def _u_product(self, value: Any) -> None:
        self.__dict__["_u_product"] = value

    def _backend_update_step(self, grads: Any, trainable_variables: Any, learning_rate: Any) -> None:
        extra = self._kerasft
        assert extra.scalars is not None
        steps = keras.ops.cast(keras.ops.stack(extra.scalars.steps) + 1, self._u_products.dtype)
        old = self._u_products.value
        new = old * self.beta_1 * (1.0 - 0.5 * keras.ops.power(0.96, steps))
        new = keras.ops.where(self._trained_mask(), new, old)
        extra.scalars.products = keras.ops.unstack(new)
        self._u_products.assign(new)
        super()._backend_update_step(grads, trainable_variables, learning_rate)

    def _age_all(self) -> None:
        super()._age_all()
        product = vars(self)["_u_product"].numpy()
        self._u_products.assign(np.full(len(self._trainable_variables), product))


class _ScheduleFreeMultipliers(LrMultipliers):
    """ScheduleFreeAdamW's `momentum` begins at the weights: as they are when a variable takes its first step.

    Keras copies them when it is built, which in `fit` is a scope that drops the copy.
    """

    def _apply_weight_decay(self, variables: Any) -> None:
        extra = self._kerasft
        assert extra.scalars is not None
        for position in extra.trained:
            variable, momentum = self._trainable_variables[position], self._momentums[position]
            if momentum is not None:
                first = extra.scalars.steps[position] == 0
                momentum.assign(keras.ops.where(first, variable, momentum))
        super()._apply_weight_decay(variables)


@keras.saving.register_keras_serializable("kerasft")
class ScaledLrMultipliers(LossScaleBase):
    """A `LossScaleOptimizer` that leaves its inner optimizer's state to the inner optimizer.

    Keras saves it twice, the second time by position, which does not fit a model with other layers frozen.
    """

    def save_own_variables(self, store: Any) -> None:
        for name in ("step_counter", "dynamic_scale"):
            store[name] = getattr(self, name).numpy()

    def load_own_variables(self, store: Any) -> None:
        keys = list(store.keys())
        names = {"step_counter": "2", "dynamic_scale": "3"}  # Keras: after a count and a rate of no use
        for name, position in names.items():
            getattr(self, name).assign(np.asarray(store[name if name in keys else position]))


@functools.cache
def _mixed_class(optimizer_class: Any) -> type:
    mixin: type = LrMultipliers
    if issubclass(optimizer_class, keras.optimizers.Nadam):
        mixin = _NadamMultipliers
    elif issubclass(optimizer_class, newer_optimizer("ScheduleFreeAdamW")):
        mixin = _ScheduleFreeMultipliers
    name = LrMultipliers.__name__
    mixed = type(name, (mixin, optimizer_class), {"optimizer_class": optimizer_class})
    mixed.__module__ = LrMultipliers.__module__
    return keras.saving.register_keras_serializable("kerasft")(mixed)


def must_trace_for(optimizer: Any, multipliers: Mapping[str, float], scale_weight_decay: bool) -> bool:
    """Whether a training step that was traced would ignore a part of these factors."""
    inner = inner_optimizer(optimizer)
    if not isinstance(inner, LrMultipliers) or not inner.built or int(_number(inner._iterations)) == 0:
        return False
    extra = inner._kerasft
    factors = [_by_path(multipliers, v.path, 1.0) for v in inner._trainable_variables]
    same_zeros = [f == 0 for f in factors] == [f == 0 for f in extra.factors]
    return not same_zeros or scale_weight_decay != extra.scale_weight_decay


def add_step_counts(
    optimizer: keras.optimizers.Optimizer,
    multipliers: Mapping[str, float] | None = None,
    scale_weight_decay: bool = True,
) -> keras.optimizers.Optimizer:
    """Turn `optimizer` in place into one with a step count and a factor for each variable."""
    inner = inner_optimizer(optimizer)
    if isinstance(inner, newer_optimizer("MultiOptimizer")):
        raise ValueError(
            "kerasft can't count the steps of Keras's MultiOptimizer. Use one optimizer, with rates for its "
            "layers by kerasft.with_lr_multipliers."
        )
    if type(optimizer) is keras.optimizers.LossScaleOptimizer:
        optimizer.__class__ = ScaledLrMultipliers
    if isinstance(inner, LrMultipliers):
        if multipliers is not None:
            inner._kerasft.scale_weight_decay = scale_weight_decay
            inner.set_multipliers(multipliers)
        return optimizer
    extra = _MultiplierState(multipliers or {}, scale_weight_decay)
    inner._kerasft = extra
    optimizer_class: Any = type(inner)
    inner.__class__ = _mixed_class(optimizer_class)
    if inner.built:
        inner._add_multiplier_state()
        inner._age_all()
    return optimizer
