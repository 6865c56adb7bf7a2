"""The seam with Keras: the one place, beside `hub/graph.py`, that touches what Keras keeps private.

Everything else in kerasft reaches Keras's layer tree, call graph, optimizer slots and training function
through the few functions below, so that a Keras release that moves a private name breaks this file's
tests and nothing else.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

if TYPE_CHECKING:
    from typing import Any as OptimizerBase
else:
    OptimizerBase = object

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        f"kerasft trains with Keras's TensorFlow backend, but Keras runs on {keras.backend.backend()!r}. "
        'Set the environment variable KERAS_BACKEND="tensorflow" before Keras is imported.'
    )


# --- layers and calls --------------------------------------------------------------------------------


def sublayers(layer: keras.Layer) -> Iterator[keras.Layer]:
    """Yield `layer` and all layers inside it once each, parents before their children."""
    seen: set[int] = set()

    def visit(node: keras.Layer) -> Iterator[keras.Layer]:
        if id(node) in seen:
            return
        seen.add(id(node))
        yield node
        for child in node._layers:
            yield from visit(child)

    return visit(layer)


def own_variables(layer: keras.Layer) -> list[keras.Variable]:
    """The weights that `layer` holds itself, those of its sublayers excluded."""
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def own_trainable_variables(layer: keras.Layer) -> list[keras.Variable]:
    """The weights of `layer` itself that a thaw would train, whatever its flag says now."""
    return list(layer._trainable_variables)


@dataclass(frozen=True, eq=False)
class Call:
    """One call of an operation in a Functional model: tensors are Keras's symbolic ones."""

    operation: Any
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]


def calls(model: keras.Model) -> list[Call] | None:
    """The calls of a Functional or built Sequential model, inputs first; None for any other model."""
    graph = getattr(model, "_functional", None) or model
    by_depth = getattr(graph, "_nodes_by_depth", None)
    if by_depth is None:
        return None
    return [
        Call(node.operation, tuple(node.input_tensors), tuple(node.outputs))
        for depth in sorted(by_depth, reverse=True)
        for node in by_depth[depth]
    ]


def in_safe_mode() -> bool:
    """Whether Keras is loading a model whose file must not be trusted (its default)."""
    from keras.src.saving.serialization_lib import in_safe_mode as keras_in_safe_mode

    return keras_in_safe_mode() is not False


# --- optimizers --------------------------------------------------------------------------------------


@keras.saving.register_keras_serializable("kerasft")
class LrMultipliers(OptimizerBase):
    """Mixin over an optimizer's class: a learning-rate factor and a step count for every variable.

    Keras corrects Adam's bias by one count for all variables. A variable that is thawed at step 5,000 has
    moments of age zero, so that its first step comes out several times too large; here each variable's
    count begins with its own first step. Use `kerasft.with_lr_multipliers`, which validates.
    """

    lr_multipliers: Mapping[str, float]
    scale_weight_decay: bool
    weight_decay: Any
    _local_iterations: Any = None
    _scalars: Any = None

    @property
    def iterations(self) -> Any:
        """The step count: of the variable being updated, or of the optimizer as a whole."""
        if self._local_iterations is not None:
            return self._local_iterations
        return super().iterations

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self._add_multiplier_state()

    def _add_multiplier_state(self) -> None:
        count = len(self._trainable_variables)
        self.factors = [_by_path(self.lr_multipliers, v.path, 1.0) for v in self._trainable_variables]
        self._variable_steps = self.add_variable(
            (count,), dtype="int64", aggregation="only_first_replica", name="variable_steps"
        )
        factors = list(self.factors)
        self._factor_values = self.add_variable(
            (count,),
            # not assigned later: `fit` builds optimizers in a scope that drops assignments
            initializer=lambda shape, dtype: keras.ops.convert_to_tensor(factors, dtype),
            dtype="float32",
            aggregation="only_first_replica",
            name="factors",
        )

    def set_multipliers(self, multipliers: Mapping[str, float]) -> None:
        """Replace the factors (by variable path). A change from or to 0 asks for a retrace."""
        self.lr_multipliers = multipliers
        if self.built:
            self.factors = [_by_path(multipliers, v.path, 1.0) for v in self._trainable_variables]
            self._factor_values.assign(self.factors)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        index = self._get_variable_index(variable)
        if self.factors[index] == 0:
            return  # momentum would move it even at a rate of zero
        if self._scalars is None:  # called outside `apply`
            self._scalars = self._read_scalars(learning_rate)
            try:
                self.update_step(gradient, variable, learning_rate)
            finally:
                self._scalars = None
            return
        steps, rates = self._scalars
        self._local_iterations = steps[index]
        try:
            super().update_step(gradient, variable, rates[index])
        finally:
            self._local_iterations = None

    def _read_scalars(self, learning_rate: Any) -> tuple[Any, Any]:
        """Each variable's step count and learning rate, read in one go: a read apiece would cost time."""
        rates = keras.ops.convert_to_tensor(learning_rate, "float32") * self._factor_values.value
        return keras.ops.unstack(self._variable_steps.value), keras.ops.unstack(rates)

    def _backend_update_step(self, grads: Any, trainable_variables: Any, learning_rate: Any) -> None:
        self._scalars = self._read_scalars(learning_rate)
        try:
            super()._backend_update_step(grads, trainable_variables, learning_rate)
        finally:
            self._scalars = None
        stepped = np.zeros(len(self.factors), "int64")
        stepped[[self._get_variable_index(v) for v in trainable_variables]] = 1
        self._variable_steps.assign_add(stepped * (np.array(self.factors) != 0))

    def _apply_weight_decay(self, variables: Any) -> None:
        decay = self.weight_decay
        if decay is None:
            return
        for variable in variables:
            index = self._get_variable_index(variable)
            if self.factors[index] == 0:
                continue
            if self.scale_weight_decay:
                self.weight_decay = decay * self._factor_values.value[index]
            try:
                super()._apply_weight_decay([variable])
            finally:
                self.weight_decay = decay

    def _overwrite_model_variables_with_average_value(self, trainable_variables: Any) -> None:
        # Keras pairs by position, which writes one layer's average into another when some are frozen.
        for variable in trainable_variables:
            average = self._model_variables_moving_average[self._get_variable_index(variable)]
            if average is not None:
                self._distribution_strategy.extended.update(
                    getattr(variable, "value", variable),
                    lambda target, source: target.assign(source),
                    args=(average,),
                )

    # State is stored by name: a model saved with other layers frozen finds its own slots again.

    def _state(self) -> tuple[dict[str, keras.Variable], dict[str, dict[str, Any]]]:
        """Single variables by attribute; slots by attribute and path, `steps` among them."""
        slots, scalars = _optimizer_state(self)
        own = {k: v for k, v in scalars.items() if k not in ("_variable_steps", "_factor_values")}
        paths = [v.path.replace("/", "|") for v in self._trainable_variables]
        paths = [p if paths.index(p) == i else f"{p}#{i}" for i, p in enumerate(paths)]
        return own, {k: dict(zip(paths, entries, strict=True)) for k, entries in slots.items()}

    def save_own_variables(self, store: Any) -> None:
        scalars, slots = self._state()
        for name, variable in scalars.items():
            store[name] = variable.numpy()
        for slot, entries in slots.items():
            for path, entry in entries.items():
                if entry is not None:
                    store[f"{slot}:{path}"] = entry.numpy()
        for path, steps in zip(self._paths_of(slots), self._variable_steps.numpy(), strict=True):
            store[f"steps:{path}"] = steps

    def _paths_of(self, slots: dict[str, dict[str, Any]]) -> list[str]:
        if slots:
            return list(next(iter(slots.values())))
        return [f"{v.path.replace('/', '|')}#{i}" for i, v in enumerate(self._trainable_variables)]

    def load_own_variables(self, store: Any) -> None:
        keys = list(store.keys())
        if all(key.isdigit() for key in keys):
            super().load_own_variables(store)
            return
        scalars, slots = self._state()
        for name in scalars.keys() & set(keys):
            scalars[name].assign(np.asarray(store[name]))
        stored: dict[str, dict[str, str]] = {}
        for key in keys:
            if ":" in key:
                slot, path = key.split(":", 1)
                stored.setdefault(slot, {})[path] = key
        for slot, entries in slots.items():
            for path, entry in entries.items():
                key = _by_path(stored.get(slot, {}), path, None, "|")
                if entry is not None and key is not None:
                    entry.assign(np.asarray(store[key]))
        steps = self._variable_steps.numpy()
        for position, path in enumerate(self._paths_of(slots)):
            key = _by_path(stored.get("steps", {}), path, None, "|")
            if key is not None:
                steps[position] = np.asarray(store[key])
        self._variable_steps.assign(steps)

    def get_config(self) -> dict[str, Any]:
        inner = type(self).optimizer_class.from_config(super().get_config())
        return {
            "optimizer": keras.saving.serialize_keras_object(inner),
            "multipliers": dict(self.lr_multipliers),
            "scale_weight_decay": self.scale_weight_decay,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        inner = keras.saving.deserialize_keras_object(config["optimizer"], custom_objects)
        return count_steps(inner, config["multipliers"], config["scale_weight_decay"])


def _by_path(entries: Mapping[str, Any], path: str, default: Any, separator: str = "/") -> Any:
    """The entry of a variable; a loaded Sequential model leaves out its own name in front of the path."""
    if path in entries:
        return entries[path]
    near = [k for k in entries if k.endswith(separator + path) or path.endswith(separator + k)]
    return entries[near[0]] if len(near) == 1 else default


@functools.cache
def _mixed_class(optimizer_class: type) -> type:
    name = LrMultipliers.__name__
    mixed = type(name, (LrMultipliers, optimizer_class), {"optimizer_class": optimizer_class})
    mixed.__module__ = LrMultipliers.__module__
    return keras.saving.register_keras_serializable("kerasft")(mixed)


def inner_optimizer(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer that takes the steps: inside a `LossScaleOptimizer`, or `optimizer` itself."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return inner_optimizer(optimizer.inner_optimizer)
    return optimizer


def count_steps(
    optimizer: keras.optimizers.Optimizer,
    multipliers: Mapping[str, float] | None = None,
    scale_weight_decay: bool = True,
) -> keras.optimizers.Optimizer:
    """Turn `optimizer` in place into one with a step count and a factor for each variable."""
    inner = inner_optimizer(optimizer)
    if isinstance(inner, LrMultipliers):
        if multipliers is not None:
            inner.scale_weight_decay = scale_weight_decay
            inner.set_multipliers(multipliers)
        return optimizer
    optimizer_class: Any = type(inner)
    inner.__class__ = _mixed_class(optimizer_class)
    inner.lr_multipliers = dict(multipliers or {})
    inner.scale_weight_decay = scale_weight_decay
    if inner.built:
        inner._add_multiplier_state()
        inner._variable_steps.assign(np.full(len(inner.factors), int(inner.iterations)))
    return optimizer


def _optimizer_state(
    optimizer: Any,
) -> tuple[dict[str, list[keras.Variable | None]], dict[str, keras.Variable]]:
    """State by attribute: slots aligned with the optimizer's variables, and single variables."""
    count = len(optimizer._trainable_variables)
    slots, scalars = {}, {}
    for name, value in vars(optimizer).items():
        if isinstance(value, keras.Variable):
            scalars[name] = value
        elif name in ("_trainable_variables", "_variables") or not isinstance(value, list):
            continue
        elif count == len(value) and all(v is None or isinstance(v, keras.Variable) for v in value):
            slots[name] = list(value)
    return slots, scalars


def extend_optimizer(optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]) -> None:
    """Build `optimizer` for `variables` (in model order), keeping every state that it has.

    Variables new to it begin with fresh slots and a step count of zero. Variables that it knows and that
    `variables` lacks keep their state at the end of the list.
    """
    if not optimizer.built:
        optimizer.build(list(variables))
        return
    inner: Any = inner_optimizer(optimizer)
    known = {id(v): i for i, v in enumerate(inner._trainable_variables)}
    if all(id(v) in known for v in variables):
        return
    count_steps(optimizer)
    superset = [*variables]
    listed = {id(v) for v in superset}
    superset += [v for v in inner._trainable_variables if id(v) not in listed]
    slots, scalars = _optimizer_state(inner)
    kept = (inner._iterations, inner._learning_rate)
    for variable in inner.variables:
        if not any(variable is k for k in kept):
            inner._untrack_variable(variable)
    inner._trainable_variables_indices = {}
    inner.built = False
    inner.build(superset)
    if optimizer is not inner:
        super(keras.optimizers.LossScaleOptimizer, optimizer).build(superset)

    new_slots, new_scalars = _optimizer_state(inner)
    for name, entries in new_slots.items():
        for variable, entry in zip(superset, entries, strict=True):
            if entry is None:
                continue
            if id(variable) in known:
                entry.assign(slots[name][known[id(variable)]])
            elif name == "_model_variables_moving_average":
                entry.assign(variable)
    steps = np.zeros(len(superset), "int64")
    for position, variable in enumerate(superset):
        if id(variable) in known:
            steps[position] = scalars["_variable_steps"].numpy()[known[id(variable)]]
    inner._variable_steps.assign(steps)
    for name, entry in new_scalars.items():
        old = scalars.get(name)
        if old is not None and old is not entry and old.shape == entry.shape:
            if name not in ("_variable_steps", "_factor_values"):
                entry.assign(old)


def follow_flags(model: keras.Model, variables: Sequence[keras.Variable] = ()) -> None:
    """Let a compiled `model` see flags that changed: its optimizer, and the next training step.

    `variables` are those that will train later; slots for them are made now. Keras traces its training
    step once and goes on with it, whatever the flags say later; here it is traced anew.
    """
    if not model.compiled or getattr(model, "optimizer", None) is None:
        return
    if model.optimizer.built or variables:
        count_steps(model.optimizer)
        extend_optimizer(model.optimizer, list(variables) or list(model.trainable_variables))
    if model.train_function is not None:
        model.make_train_function(force=True)


def learning_rate_is_settable(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether the optimizer's rate is a number, rather than a schedule or a function."""
    return isinstance(optimizer._learning_rate, keras.Variable)
