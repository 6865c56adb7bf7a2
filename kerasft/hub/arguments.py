"""Which of a SavedModel's functions is meant: by the names and values of its arguments.

A SavedModel holds a function as often as it was traced, each time with other values for arguments such as
`training` or `scale`. What the caller does not name has the default of the function's own signature.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

Function: TypeAlias = tf.types.experimental.ConcreteFunction
Arguments: TypeAlias = Mapping[str, Any] | None

_OPEN = object()  # the value of an argument that has no default


@dataclass(frozen=True)
class Bound:
    """A concrete function whose arguments have values, but for the inputs.

    Attributes:
        function: The function.
        inputs: The specs of each argument that is an input.
        placeholders: Their tensors in the function's graph, in order.
        constants: Values for tensors of its graph, by name.
    """

    function: Function
    inputs: Mapping[str, Any]
    placeholders: Sequence[tf.Tensor]
    constants: Mapping[str, np.ndarray]


def choose(call: Any, arguments: Arguments, what: str = "__call__") -> tuple[Bound, Bound | None]:
    """The function for inference and, if there is one, that for training.

    Args:
        call: A restored function of a SavedModel.
        arguments: Values by name, as in `kerasft.hub.load_backbone`.
        what: Its name, for messages.

    Raises:
        ValueError: The function has no argument of a name, or was not traced with these values.
    """
    functions = list(getattr(call, "concrete_functions", [call]))
    if not functions:
        raise ValueError(
            f"The SavedModel's `{what}` was never traced, so it holds no graph. Call it once, or give it "
            "an input_signature, before saving."
        )
    given = dict(arguments or {})
    traces = [(function, _parameters(function)) for function in functions]
    names = list(dict.fromkeys(name for _, found in traces for name in found))
    inputs = [name for name in names[:1] if any(not _is_value(found.get(name)) for _, found in traces)]
    exist = [name for name in names if name not in (*inputs, "training")]
    if "training" in given:
        raise ValueError(
            "arguments names 'training', for which both values are used: a stage runs its graph for training "
            "while it is thawed and the model trains, as batch_norm says."
        )
    if unknown := sorted(given.keys() - {*exist}):
        raise ValueError(f"arguments names {unknown}, but `{what}` has {exist} beside its inputs.")
    wanted = {**_defaults(call), **given}
    fits = [
        (function, found)
        for function, found in traces
        if given.keys() <= found.keys()
        and all(_agrees(bound, wanted.get(n, _OPEN)) for n, bound in found.items() if n != "training")
    ]
    kinds = {repr(_values(found)) for _, found in fits}
    if len(kinds) != 1:
        asked = {name: wanted[name] for name in exist if name in wanted}
        traced = " and with ".join(sorted(kinds or {repr(_values(found)) for _, found in traces}))
        raise ValueError(
            f"The SavedModel's `{what}` was {'traced more than once' if fits else 'not traced'} with {asked} "
            f"(what is not named has its default). It was traced with {traced}: pass one of these as "
            "arguments=, or save the module after a call with the values that you need."
        )
    return _modes(fits, wanted, what)


def _modes(
    fits: Sequence[tuple[Function, dict[str, Any]]], wanted: Mapping[str, Any], what: str
) -> tuple[Bound, Bound | None]:
    """Of functions that differ in `training` alone, or in shapes, the first of each mode."""
    modes: dict[bool, list[Bound]] = {False: [], True: []}
    for function, found in fits:
        flag = found.get("training")
        for mode in (False, True) if isinstance(flag, tf.TensorSpec) else (bool(flag),):
            modes[mode].append(_bound(function, found, {**wanted, "training": mode}))
    if not modes[False]:
        raise ValueError(
            f"The SavedModel's `{what}` was traced with training=True alone, so it has no graph for "
            "inference. Call it with training=False, too, before saving."
        )
    inference = modes[False][0]
    for bound in modes[True]:
        if bound.inputs == inference.inputs:
            return inference, bound
    return inference, modes[True][0] if modes[True] else None


def _parameters(function: Function) -> dict[str, Any]:
    """What each argument of a concrete function is: a value, or specs of tensors."""
    args, kwargs = function.structured_input_signature
    named = [p.name for p in function.function_type.parameters.values() if p.name not in kwargs]
    named += [f"argument_{i}" for i in range(len(named), len(args))]
    return {**dict(zip(named, args, strict=False)), **{key: kwargs[key] for key in sorted(kwargs)}}


def _defaults(call: Any) -> dict[str, Any]:
    """The values of the arguments that a caller may leave out."""
    spec = getattr(getattr(call, "function_spec", None), "fullargspec", None)
    if spec is None:
        return {}
    defaults = spec.defaults or ()
    names = spec.args[len(spec.args) - len(defaults) :]
    return {**dict(zip(names, defaults, strict=True)), **(spec.kwonlydefaults or {})}


def _is_value(bound: Any) -> bool:
    return not any(isinstance(leaf, tf.TypeSpec) for leaf in tf.nest.flatten(bound))


def _values(found: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that are no inputs, without `training`."""
    return {name: bound for name, bound in found.items() if _is_value(bound) and name != "training"}


def _agrees(bound: Any, wanted: Any) -> bool:
    """Whether an argument that was traced so can have a value."""
    if wanted is _OPEN or (wanted is None and not _is_value(bound)):
        return True
    if isinstance(bound, tf.TensorSpec):
        return _constant(bound, wanted) is not None
    return isinstance(bound, bool) == isinstance(wanted, bool) and bool(bound == wanted)


def _constant(spec: tf.TensorSpec, value: Any) -> np.ndarray | None:
    """A value as a tensor of that spec; None if it is none."""
    try:
        tensor = tf.constant(value, spec.dtype)
    except (TypeError, ValueError):
        return None
    return tensor.numpy() if spec.shape.is_compatible_with(tensor.shape) else None


def _bound(function: Function, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> Bound:
    """The function with these values for those of its arguments that are tensors, but for the inputs."""
    tensors = iter(function.inputs)
    inputs: dict[str, Any] = {}
    placeholders: list[tf.Tensor] = []
    constants: dict[str, np.ndarray] = {}
    for name, bound in found.items():
        leaves = [leaf for leaf in tf.nest.flatten(bound) if isinstance(leaf, tf.TypeSpec)]
        if not leaves:
            continue
        mine = [next(tensors) for leaf in leaves for _ in range(_count(leaf))]
        value = _constant(bound, wanted[name]) if wanted.get(name) is not None else None
        if value is None:
            inputs[name] = bound
            placeholders += mine
        else:
            constants[mine[0].op.name] = value
    return Bound(function, inputs, placeholders, constants)


def _count(spec: tf.TypeSpec) -> int:
    """How many tensors make up a value of a spec."""
    return 1 if isinstance(spec, tf.TensorSpec) else len(tf.nest.flatten(spec, expand_composites=True))
