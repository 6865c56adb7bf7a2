"""What can be cached in a model, and why nothing can be."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasft import _keras
from kerasft.cache.coverage import LEAST_SHARE, explained_cut, shortfall, too_little
from kerasft.cache.cuts import NoCutError, trace_prefix
from kerasft.cache.samples import are_close

_LENGTHS = (4, 16, 64, 1024)  # of made-up data, on axes without one: the first that a model takes
_SCALES = (1.0, 100.0)


@dataclass(frozen=True)
class PrefixReport:
    """What `PrefixCache` would do with a model as it is frozen now; `print` writes it as a sentence.

    Attributes:
        cut: The layer whose output would be recorded, or those whose outputs would, joined by " + "; None if
            nothing would be.
        shape: Shape of that output, batch first; None if there are several.
        bytes_per_sample: Of what is recorded for a sample, its targets left out.
        share: The part of the forward pass, by floating-point operations, that is saved: all that lies before
            the cut, but for what has to be computed again after it. Roughly, by the sizes of weights and
            outputs, where the shape of the inputs is not known.
        reason: Why nothing would be recorded, or why not all that is frozen; else None.
    """

    cut: str | None = None
    shape: tuple[int | None, ...] | None = None
    bytes_per_sample: int | None = None
    share: float = 0.0
    reason: str | None = None

    def __str__(self) -> str:
        if self.cut is None:
            return f"Nothing can be cached. {self.reason}"
        size = "of varying size" if self.bytes_per_sample is None else f"{self.bytes_per_sample:,} bytes"
        shape = "" if self.shape is None else f", shape {self.shape}"
        cached = f"Cached up to {self.cut!r}: {self.share:.1%} of the forward pass, {size} a sample{shape}."
        return cached if self.reason is None else f"{cached} {self.reason}"


def inspect_prefix(model: keras.Model) -> PrefixReport:
    """Say what `PrefixCache` would record of a model as it is frozen now, and why not if it would not.

    Args:
        model: A built model; it is traced, and not changed.

    Returns:
        The cut, its size, and how much of the forward pass it saves.

    Raises:
        TypeError: `model` is not a Keras model.

    Example:
        >>> net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, trainable=False, name="body"),
        ...                         keras.layers.Dense(2, name="top")])
        >>> print(inspect_prefix(net))
        Cached up to 'body': 67.9% of the forward pass, 32 bytes a sample, shape (None, 8).
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"inspect_prefix expects a Keras model, not {type(model).__name__}.")
    nondeterministic: set[int] = set()
    try:
        program = divisible_program(model)
        signature = program.signature
        prefix = trace_prefix(
            lambda known: [explained_cut(program, known)], signature, True, nondeterministic
        )
    except NoCutError as error:
        return PrefixReport(reason=str(error))
    cut = prefix.cuts[0]
    if cut.share < LEAST_SHARE:
        return PrefixReport(reason=too_little(program, cut, LEAST_SHARE, nondeterministic))
    inputs = dict(zip(program.inputs, keras.tree.flatten(signature), strict=True))
    sizes = [*map(_bytes, cut.tensors), *(_bytes(inputs[n]) for n in cut.extra_inputs)]

    share = cut.share
    taken = keras.tree.flatten(signature)
    if all(None not in s.shape[1:] and s.dtype != tf.string for s in taken):  # else much is not counted
        specs = {n: tf.TensorSpec(t.shape, t.dtype) for n, t in zip(cut.values, cut.tensors, strict=True)}
        specs |= {n: inputs[n] for n in cut.extra_inputs}
        whole = _keras.floating_point_operations(lambda x: model(x, training=False), signature)

        def rest(given: Any) -> Any:
            known = dict(zip(specs, given, strict=True))
            return cut.suffix([known.pop(n) for n in cut.values], known, training=False)

        after = _keras.floating_point_operations(rest, list(specs.values()))
        share = (whole - after) / whole if whole else 0.0
    return PrefixReport(
        cut.name,
        tuple(cut.tensors[0].shape) if len(cut.tensors) == 1 else None,
        None if None in sizes else sum(s for s in sizes if s is not None),
        share,
        shortfall(program, cut, nondeterministic),
    )


def why_never(model: keras.Model) -> str | None:
    """Say why a model is not divided, whatever is frozen; None if it can be."""
    try:
        divisible_program(model)
    except NoCutError as error:
        return str(error)
    return None


def divisible_program(model: keras.Model) -> _keras.Program:
    """Return the calls of a model that can be divided if enough of it is frozen.

    Raises:
        NoCutError: It can't be, whatever is frozen.
    """
    if _keras.is_distributed(model):
        raise NoCutError("A distribution strategy trains the model.")
    if getattr(model, "run_eagerly", False):
        raise NoCutError("The model runs eagerly (run_eagerly=True).")
    if own := _keras.overridden_methods(model):
        raise NoCutError(f"The model has its own {', '.join(own)}, which may need the whole model's input.")
    if isinstance(model, keras.Sequential) and not model.built:
        raise NoCutError(
            "The model is not built: it does not know its input yet. Give it a keras.Input, or data."
        )
    program = _keras.program(model)
    if program is None:
        raise NoCutError(
            "The model is subclassed or has its own `call`: Keras does not know in which order it calls its "
            "layers. Functional and Sequential models can be divided."
        )
    if _keras.has_own_call(model) and not _calls_only_its_layers(program):
        raise NoCutError(
            "The model has its own __call__, which gives something else than its layers called in order, or "
            "can't be tried on made-up data. Do what it does in a layer."
        )
    return program


def _calls_only_its_layers(program: _keras.Program) -> bool:
    """Whether a model gives for made-up data what its layers give that are called in order."""
    rng = np.random.default_rng(0)

    def gives_the_same(length: int, scale: float) -> bool:
        def made_up(spec: tf.TensorSpec) -> tf.Tensor:
            shape = [2, *(length if axis is None else axis for axis in spec.shape[1:])]
            numbers = rng.normal(scale=scale, size=shape)
            return tf.cast(numbers if spec.dtype.is_floating else numbers > 0, spec.dtype)

        x = keras.tree.map_structure(made_up, program.signature)
        values = program.enter(x)
        program.run(program.operations, values, training=False)
        pairs = zip(*map(keras.tree.flatten, (program.leave(values), program.model(x))), strict=True)
        return all(are_close(a, b) for a, b in pairs)

    for length in _LENGTHS:
        with contextlib.suppress(Exception):  # of a user's code: too long or too short, say
            return all(gives_the_same(length, scale) for scale in _SCALES)
    return False


def _bytes(tensor: Any) -> int | None:
    """Bytes of one sample of a symbolic tensor."""
    size = tf.as_dtype(tensor.dtype).size
    for axis in tensor.shape[1:]:
        if axis is None:
            return None
        size *= axis
    return int(size)
