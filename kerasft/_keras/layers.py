"""The seam with Keras: the one place, beside `hub/graph.py`, that touches what Keras keeps private.

Everything else in kerasft reaches Keras's layer tree, call graph, optimizer slots and training function
through the few functions below, so that a Keras release that moves a private name breaks this file's
tests and nothing else.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import warnings
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


# --- a model as a program: nested models opened, each call with numbered values -----------------------


@dataclass(frozen=True, eq=False)
class Operation:
    """One call of a layer in a `Program`.

    Attributes:
        layer: What is called; None where the inputs of a nested model are converted for it.
        reads: Numbers of the values that it takes.
        writes: Numbers of the values that it gives.
        outputs: Keras's symbolic tensors of the latter.
        run: Takes the values read and whether the model trains; returns the values written.
    """

    layer: Any
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    outputs: tuple[Any, ...]
    run: Callable[[Sequence[Any], bool], list[Any]]


@dataclass(frozen=True, eq=False)
class Program:
    """A Functional or Sequential model as a list of calls, those inside of nested models included."""

    model: keras.Model
    operations: tuple[Operation, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def signature(self) -> Any:
        """`tf.TensorSpec`s of the inputs, in the structure that the model declares."""
        return keras.tree.map_structure(
            lambda t: tf.TensorSpec(t.shape, t.dtype), _graph(self.model)._inputs_struct
        )

    def enter(self, x: Any) -> dict[int, Any]:
        """The values of the inputs for data `x`, in whatever structure the model takes."""
        return dict(zip(self.inputs, _standardized(self.model, x), strict=True))

    def run(self, operations: Iterable[Operation], values: dict[int, Any], training: bool) -> None:
        """Compute the values that `operations` write, into `values`."""
        with _one_call_of(self.model):
            for operation in operations:
                results = operation.run([values[i] for i in operation.reads], training)
                values.update(zip(operation.writes, results, strict=True))

    def leave(self, values: Mapping[int, Any]) -> Any:
        """The model's outputs in the structure that it returns."""
        graph = _graph(self.model)
        packed = keras.tree.pack_sequence_as(graph._outputs_struct, [values[i] for i in self.outputs])
        return packed[0] if isinstance(packed, list | tuple) and len(packed) == 1 else packed


def program(model: keras.Model) -> Program | None:
    """`model` as a program; None if it isn't a Functional or built Sequential one, or calls differently."""
    top = _graph(model)
    if top is None:
        return None
    slots: dict[tuple[int, int], int] = {}
    operations: list[Operation] = []
    numbers, scopes = itertools.count(), itertools.count()

    def visit(graph: Any, given: Sequence[int]) -> list[int]:
        scope = next(scopes)
        slots.update({(scope, id(t)): n for t, n in zip(graph.inputs, given, strict=True)})
        for depth in sorted(graph._nodes_by_depth, reverse=True):
            for node in graph._nodes_by_depth[depth]:
                if node.is_input or any((scope, id(t)) not in slots for t in node.input_tensors):
                    continue
                reads = tuple(slots[scope, id(t)] for t in node.input_tensors)
                inner = _graph(node.operation)
                if inner is not None and _takes_inputs_alone(node, inner):
                    entered = tuple(next(numbers) for _ in inner.inputs)
                    run = functools.partial(_enter, node)
                    operations.append(Operation(None, reads, entered, tuple(inner.inputs), run))
                    results = visit(inner, entered)
                else:
                    results = [next(numbers) for _ in node.outputs]
                    run = functools.partial(_call, node)
                    outputs = tuple(node.outputs)
                    operations.append(Operation(node.operation, reads, tuple(results), outputs, run))
                slots.update({(scope, id(t)): n for t, n in zip(node.outputs, results, strict=True)})
        return [slots[scope, id(t)] for t in graph.outputs]

    inputs = tuple(next(numbers) for _ in top.inputs)
    outputs = tuple(visit(top, inputs))
    return Program(model, tuple(operations), inputs, outputs)


def _graph(layer: Any) -> Any:
    """What holds the graph of a model that is called as Keras calls it; None for anything else."""
    from keras.src.models.functional import Functional

    call = getattr(type(layer), "call", None)
    if "call" in getattr(layer, "__dict__", {}):
        return None
    if call is Functional.call:
        return layer
    return layer._functional if call is keras.Sequential.call else None


def _takes_inputs_alone(node: Any, inner: Any) -> bool:
    """Whether a nested model is called on its inputs, and on no other tensor (a mask, say)."""
    arguments = node.arguments
    return (
        len(arguments.args) == 1
        and len(keras.tree.flatten(arguments.args[0])) == len(arguments.keras_tensors) == len(inner.inputs)
    )  # fmt: skip


def _filled_in(node: Any, values: Sequence[Any]) -> tuple[Any, dict[str, Any]]:
    by_tensor = {id(t): v for t, v in zip(node.input_tensors, values, strict=True)}
    args, kwargs = node.arguments.fill_in(by_tensor)
    return args, dict(kwargs)


def _enter(node: Any, values: Sequence[Any], training: bool) -> list[Any]:
    if any(mask_of(value) is not None for value in values):
        raise NotDivisibleError(f"a mask goes into the nested model {node.operation.name!r}")
    args, _ = _filled_in(node, values)
    return _standardized(node.operation, args[0])


def _call(node: Any, values: Sequence[Any], training: bool) -> list[Any]:
    args, kwargs = _filled_in(node, values)
    if "training" in getattr(node.operation, "_call_context_args", {}):
        kwargs["training"] = training
    return list(keras.tree.flatten(node.operation(*args, **kwargs)))


def _standardized(model: Any, x: Any) -> list[Any]:
    """The inputs of a model as the model itself would convert them."""
    if model._convert_input_args:
        convert = functools.partial(
            model.dtype_policy.convert_input, autocast=model.autocast, dtype=model.input_dtype
        )
        x = keras.tree.map_structure(convert, x)
    return list(_graph(model)._standardize_inputs(x))


@contextlib.contextmanager
def _one_call_of(model: Any) -> Iterator[None]:
    """Calls within it are part of one call of `model`, whose losses are collected anew."""
    model._get_call_context()
    try:
        yield
    finally:
        model._maybe_reset_call_context()


class NotDivisibleError(Exception):
    """A model can't be run in parts; the message says why, as the end of a sentence."""


def mask_of(tensor: Any) -> Any:
    """The mask that Keras has attached to a tensor, or None."""
    return getattr(tensor, "_keras_mask", None)


def with_mask(tensor: Any, mask: Any) -> Any:
    """`tensor` with a mask attached; None attaches none."""
    if mask is not None:
        tensor._keras_mask = mask
    return tensor


def has_losses(layer: Any) -> bool:
    """Whether a layer, or one inside it, has called `add_loss` since the last call of its model began."""
    return isinstance(layer, keras.Layer) and any(part._losses for part in sublayers(layer))


def random_variables(layer: Any) -> list[keras.Variable]:
    """States of the random generators in a layer."""
    if not isinstance(layer, keras.Layer):
        return []
    weights = {id(v) for v in layer.weights}
    return [g.state for s in sublayers(layer) for g in s._seed_generators if id(g.state) not in weights]


def takes_training(layer: Any) -> bool:
    """Whether a layer's `call` is told whether the model trains."""
    return bool(layer._call_has_training_arg)


_CONTAINERS = ("PartitionedCall", "StatefulPartitionedCall", "While", "If", "Case")
_READS = ("ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VariableShape", "VarHandleOp", "Assert")


def impure_operations(graph: Any) -> list[str]:
    """Types of the operations in a traced graph that write something, draw numbers or leave TensorFlow."""
    from tensorflow.python.framework import op_def_registry

    definition = graph.as_graph_def()
    nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
    found = {n.op for n in nodes if n.op not in (*_CONTAINERS, *_READS)}
    known = {op: op_def_registry.get(op) for op in found}
    return sorted(op for op, said in known.items() if said is None or said.is_stateful)


def floating_point_operations(function: Callable[..., Any], signature: Any) -> int:
    """Those of one call for one sample, as TensorFlow's profiler counts them."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
    from tensorflow.python.util import deprecation

    def with_one_sample(spec: Any) -> tf.TensorSpec:
        return tf.TensorSpec((1, *spec.shape[1:]), spec.dtype)

    one = keras.tree.map_structure(with_one_sample, signature)
    concrete = tf.function(function, autograph=False).get_concrete_function(one)
    graph = convert_variables_to_constants_v2(concrete).graph
    with graph.as_default(), deprecation.silence():  # the profiler's own
        options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
        options["output"] = "none"
        return int(tf.compat.v1.profiler.profile(graph, options=options).total_float_ops)


# --- Keras's steps ------------------------------------------------------------------------------------


class _StandIn:
    """A model in everything but its call."""

    def __init__(self, model: keras.Model, forward: Callable[..., Any]) -> None:
        self._model, self._forward = model, forward

    def __call__(self, x: Any, training: bool = False) -> Any:
        return self._forward(x, training)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def step_with(model: keras.Model, forward: Callable[[Any, bool], Any], train: bool) -> Callable[[Any], Any]:
    """Keras's own training or test step for `model`, with `forward(x, training)` in place of its call."""
    step = keras.Model.train_step if train else keras.Model.test_step
    return functools.partial(step, _StandIn(model, forward))


@contextlib.contextmanager
def released_steps() -> Iterator[None]:
    """Let go of the training steps that were traced in a block, once it ends.

    Each trace of a Keras training step calls TensorFlow's `all_reduce`, whose gradient TensorFlow enters into
    a table that it never clears: with it stay the step's graph and the weights of the model that it trained.
    What the block has entered for those graphs is taken out again; steps that are still to run are not
    harmed, as nothing asks for the gradient of a training step.
    """
    from tensorflow.python.framework import ops

    table = ops.gradient_registry._registry
    before = set(table)
    try:
        yield
    finally:
        graphs: dict[str, set[int]] = {}
        steps: set[int] = set()
        for name in set(table) - before:
            inner = _closed_over(_closed_over(table[name]["type"]).get("tape_grad_fn"))
            results = [t for t in tf.nest.flatten(inner.get("result")) if tf.is_symbolic_tensor(t)]
            graphs[name] = {id(t.graph) for t in results}
            if getattr(inner.get("grad_fn"), "__qualname__", "").startswith("ReplicaContextBase.all_reduce"):
                steps |= graphs[name]
        for name in graphs:
            if graphs[name] & steps:
                del table[name]


def _closed_over(function: Any) -> dict[str, Any]:
    """The variables that a function has from the one that defined it, by name."""
    if getattr(function, "__closure__", None) is None:
        return {}
    pairs = zip(function.__code__.co_freevars, function.__closure__, strict=True)
    return {name: cell.cell_contents for name, cell in pairs}


def customized(model: keras.Model) -> list[str]:
    """Which of the methods that make up a step are not Keras's own."""
    names = (
        "train_step",
        "test_step",
        "compute_loss",
        "compute_metrics",
        "make_train_function",
        "make_test_function",
    )
    return [n for n in names if getattr(type(model), n) is not getattr(keras.Model, n) or n in vars(model)]


def is_distributed(model: keras.Model) -> bool:
    """Whether a distribution strategy trains the model."""
    return model._distribute_strategy is not None or tf.distribute.has_strategy()


def in_safe_mode() -> bool:
    """Whether Keras is loading a model whose file must not be trusted (its default)."""
    from keras.src.saving.serialization_lib import in_safe_mode as keras_in_safe_mode

    return keras_in_safe_mode() is not False


# --- optimizers --------------------------------------------------------------------------------------


class _Extra:
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

    _kerasft: _Extra

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
        optimizer = count_steps(inner, config["multipliers"], config["scale_weight_decay"])
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


def _number(value: Any) -> float:
    """A scalar as a number; `float` does not take a variable that several replicas have."""
    return float(keras.ops.convert_to_numpy(value))


def _key_of(entries: Mapping[str, Any], path: str, separator: str = "/") -> str | None:
    """The key of a variable; a loaded Sequential model leaves out its own name in front of the path."""
    if path in entries:
        return path
    near = [k for k in entries if k.endswith(separator + path) or path.endswith(separator + k)]
    return near[0] if len(near) == 1 else None


def _by_path(entries: Mapping[str, Any], path: str, default: Any) -> Any:
    key = _key_of(entries, path)
    return default if key is None else entries[key]


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


def newer_optimizer(name: str) -> Any:
    """An optimizer's class for `isinstance`, even if this Keras has no such optimizer."""
    return getattr(keras.optimizers, name, ())


def inner_optimizer(optimizer: keras.optimizers.Optimizer) -> Any:
    """The optimizer that takes the steps: inside a `LossScaleOptimizer`, or `optimizer` itself."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return inner_optimizer(optimizer.inner_optimizer)
    return optimizer


def must_trace_for(optimizer: Any, multipliers: Mapping[str, float], scale_weight_decay: bool) -> bool:
    """Whether a training step that was traced would ignore a part of these factors."""
    inner = inner_optimizer(optimizer)
    if not isinstance(inner, LrMultipliers) or not inner.built or int(_number(inner._iterations)) == 0:
        return False
    extra = inner._kerasft
    factors = [_by_path(multipliers, v.path, 1.0) for v in inner._trainable_variables]
    same_zeros = [f == 0 for f in factors] == [f == 0 for f in extra.factors]
    return not same_zeros or scale_weight_decay != extra.scale_weight_decay


def count_steps(
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
    extra = _Extra(multipliers or {}, scale_weight_decay)
    inner._kerasft = extra
    optimizer_class: Any = type(inner)
    inner.__class__ = _mixed_class(optimizer_class)
    if inner.built:
        inner._add_multiplier_state()
        inner._age_all()
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

    Variables new to it begin with the state that a loaded file has for them, or with fresh slots and a step
    count of zero. Variables that it knows and that `variables` lacks keep their state at the end of the list.

    Raises:
        ValueError: The optimizer keeps state in a form that can't be carried over.
    """
    if not optimizer.built:
        optimizer.build(list(variables))
        return
    inner = inner_optimizer(optimizer)
    known = {id(v): i for i, v in enumerate(inner._trainable_variables)}
    if all(id(v) in known for v in variables):
        return
    count_steps(optimizer)
    if others := [name for name in inner.scalars() if name.startswith("other")]:
        raise ValueError(
            f"{type(inner).optimizer_class.__name__} keeps {len(others)} variables outside of attributes and "
            "lists with one entry for each weight, so its state can't follow a thaw. Build it on all weights "
            "before you freeze: optimizer.build(model.trainable_variables)."
        )
    listed = {id(v) for v in variables}
    superset = [*variables, *(v for v in inner._trainable_variables if id(v) not in listed)]
    slots, scalars = _optimizer_state(inner)
    vectors = {name: vector.numpy() for name, vector in inner._vectors().items()}
    _forget_variables(inner)
    inner._trainable_variables_indices = {}
    inner.built = False
    inner.build(superset)
    if optimizer is not inner:
        super(keras.optimizers.LossScaleOptimizer, optimizer).build(superset)

    new_slots, new_scalars = _optimizer_state(inner)
    for name, entries in new_slots.items():
        for variable, entry in zip(superset, entries, strict=True):
            if entry is not None and id(variable) in known:
                entry.assign(slots[name][known[id(variable)]])
    for name, vector in inner._vectors().items():
        values = vector.numpy()
        for position, variable in enumerate(superset):
            if id(variable) in known:
                values[position] = vectors[name][known[id(variable)]]
        vector.assign(values)
    for name, entry in new_scalars.items():
        old = scalars.get(name)
        if old is not None and old is not entry and name in inner.scalars():
            entry.assign(old)
    inner._claim(p for p, v in enumerate(superset) if id(v) not in known)


def _untracked() -> Any:
    """A scope in which Keras does not look at what is set on an object."""
    from keras.src.utils import tracking

    return tracking.DotNotTrackScope()


def _forget_variables(optimizer: Any) -> None:
    """Let `optimizer` hold its step count and rate alone, in a list that TensorFlow sees as a new one.

    It refuses to write a checkpoint of a list from which something was removed.
    """
    tracker = optimizer._tracker
    kept = [v for v in (optimizer._iterations, optimizer._learning_rate) if isinstance(v, keras.Variable)]
    with _untracked():  # or the new list tracks what the tracker puts into it
        optimizer._variables = kept
    tracker.config["variables"] = (tracker.config["variables"][0], optimizer._variables)
    tracker.stored_ids["variables"] = {id(v) for v in kept}


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


def class_name(optimizer: Any) -> str:
    """The name of an optimizer's class, whether it counts steps or not."""
    return str(getattr(type(optimizer), "optimizer_class", type(optimizer)).__name__)


def description(optimizer: Any) -> dict[str, Any]:
    """An optimizer's class and settings, without a rate that is a number: it changes while it trains."""
    inner = inner_optimizer(optimizer)
    optimizer_class = getattr(type(inner), "optimizer_class", type(inner))
    config = optimizer_class.get_config(inner)
    left_out = ("name", "learning_rate") if learning_rate_is_settable(inner) else ("name",)
    return {"class": class_name(inner), **{k: v for k, v in config.items() if k not in left_out}}


def learning_rate_is_settable(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether the optimizer's rate is a number, rather than a schedule or a function."""
    return isinstance(optimizer._learning_rate, keras.Variable)


def optimizer_variables(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """Everything an optimizer holds: slots, counts, rate, a loss scale, and what Keras forgets to track."""
    inner = inner_optimizer(optimizer)
    slots, scalars = _optimizer_state(inner)
    listed = [*optimizer.variables, *scalars.values(), *(v for group in slots.values() for v in group)]
    return list({id(v): v for v in listed if v is not None}.values())


def optimizer_state(optimizer: keras.optimizers.Optimizer) -> dict[str, np.ndarray]:
    """All that an optimizer that counts steps saves, by name; a loss scale and companions included."""
    arrays: dict[str, np.ndarray] = {}
    inner_optimizer(optimizer).save_own_variables(arrays)
    if isinstance(optimizer, ScaledLrMultipliers):
        scale: dict[str, np.ndarray] = {}
        optimizer.save_own_variables(scale)
        arrays |= {f"scale:{name}": value for name, value in scale.items()}
    return {name: np.asarray(value) for name, value in arrays.items()}


def set_optimizer_state(optimizer: keras.optimizers.Optimizer, arrays: Mapping[str, np.ndarray]) -> None:
    """Put back what `optimizer_state` returned into an optimizer that is built and counts steps."""
    scale = {name[6:]: value for name, value in arrays.items() if name.startswith("scale:")}
    if scale and isinstance(optimizer, ScaledLrMultipliers):
        optimizer.load_own_variables(scale)
    own = {name: value for name, value in arrays.items() if not name.startswith("scale:")}
    inner_optimizer(optimizer).load_own_variables(own)


@contextlib.contextmanager
def settable_rate(model: keras.Model) -> Iterator[keras.optimizers.Optimizer]:
    """The model's optimizer with a rate that can be assigned, even if it has a schedule, for a while."""
    inner: Any = inner_optimizer(model.optimizer)
    schedule = inner._learning_rate
    if learning_rate_is_settable(inner):
        yield inner
        return
    rate = keras.Variable(_number(inner.learning_rate), dtype="float32", trainable=False)
    with _untracked():  # or it stays among the optimizer's variables
        inner._learning_rate = rate
    try:
        model.make_train_function(force=True)
        yield inner
    finally:
        inner._learning_rate = schedule
        model.make_train_function(force=True)


def random_state(model: keras.Model) -> list[list[int]]:
    """The states of the model's random generators (dropout's, say), which no weights file holds."""
    return [v.numpy().tolist() for v in _generators(model)]


def set_random_state(model: keras.Model, states: Sequence[Sequence[int]]) -> None:
    """Put back what `random_state` returned."""
    for variable, state in zip(_generators(model), states, strict=True):
        variable.assign(np.array(state, variable.dtype))


def _generators(model: keras.Model) -> list[keras.Variable]:
    others = {id(v) for v in [*model.weights, *model.metrics_variables]}
    return [v for v in model.variables if id(v) not in others]


# --- a running fit -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunningFit:
    """What `model.fit` keeps to itself while it runs."""

    callbacks: list[Any]
    epoch_iterator: Any
    first_epoch: int


def running_fit(model: keras.Model) -> RunningFit | None:
    """The `fit` of `model` that calls from below us on the stack; None outside of one."""
    code = inspect.unwrap(keras.Model.fit).__code__
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code is code and frame.f_locals.get("self") is model:
            local = frame.f_locals
            callbacks = list(local["callbacks"].callbacks)
            return RunningFit(callbacks, local["epoch_iterator"], local["initial_epoch"])
        frame = frame.f_back
    return None


def build_for(model: keras.Model, epoch_iterator: Any) -> None:
    """Build a Sequential model that has no input yet for the data of a `fit`, as its first step would."""
    if isinstance(model, keras.Sequential) and not model.built:
        x, _, _ = keras.utils.unpack_x_y_sample_weight(epoch_iterator._distributed_dataset.element_spec)
        if isinstance(x, tf.TensorSpec) and x.shape.rank is not None:
            model.build(tuple(x.shape))


def replay_epochs(model: keras.Model, epochs: int, read: bool = True) -> bool:
    """Let the data of a running `fit` pass by for `epochs` epochs without training, once.

    What comes next is then what would come in a run that had trained on them: in the same order, if the
    data are shuffled with a seed. `read=False` only notes that it shall not be done.

    Returns:
        Whether there is a `fit` whose data could be replayed.
    """
    fit = running_fit(model)
    if fit is None:
        return False
    iterator = fit.epoch_iterator
    already = getattr(iterator, "kerasft_replayed", 0)
    for _ in range(already, epochs if read else 0):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras warns when data end, of whatever length they are
            with iterator.catch_stop_iteration():
                for begin, end, batches in iterator:
                    for _ in range(begin, end + 1):
                        if next(batches, None) is None:
                            break
    iterator.kerasft_replayed = max(already, epochs)
    return True


def reads_arrays(epoch_iterator: Any) -> bool:
    """Whether the data of a `fit` are arrays, all of which come in each epoch."""
    from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter

    adapter = epoch_iterator.data_adapter
    return isinstance(adapter, ArrayDataAdapter) and epoch_iterator.num_batches == adapter.num_batches


def keeps_order(epoch_iterator: Any) -> bool:
    """Whether the data of a `fit` are arrays that are not shuffled."""
    return reads_arrays(epoch_iterator) and not epoch_iterator.data_adapter._shuffle


def validation_iterator(model: keras.Model) -> Any:
    """The iterator over the validation data of a running `fit`; None if there is none yet."""
    return getattr(model, "_eval_epoch_iterator", None)


def start_at(model: keras.Model, epoch: int | None) -> None:
    """Let the `fit` whose `on_train_begin` runs start at `epoch`; None takes that back for later fits."""
    model._initial_epoch = epoch or None


def steps_per_call(model: keras.Model) -> int:
    """How many steps one call of the training function takes."""
    return int(model.steps_per_execution)
