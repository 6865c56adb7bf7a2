"""Cut: a model divided at one tensor, or at several that cross together."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasft import _keras

_STRING_BYTES = 10**12
_TEXT_COST = 100_000  # to split a text into 20 words and look them up takes 10 to 20 microseconds


@dataclass(frozen=True, eq=False)
class Cut:
    """A model divided at one tensor, or at several that cross together.

    Attributes:
        program: The whole model, call by call.
        values: Numbers of the values that are recorded, in the order in which they are computed.
        before: The calls of the prefix.
        after: The calls of the suffix.
        extra_inputs: Numbers of the model's inputs that the suffix reads besides the values (token
            masks, say).
    """

    program: _keras.Program
    values: tuple[int, ...]
    before: tuple[_keras.Operation, ...]
    after: tuple[_keras.Operation, ...]
    extra_inputs: tuple[int, ...]

    @functools.cached_property
    def position(self) -> int:
        """A number that tells it from the program's other cuts: for one value the index of its call."""
        if len(self.values) == 1:
            for i, call in enumerate(self.program.operations):
                if call.writes == self.values:
                    return i
        return -sum(1 << number for number in self.values)

    @property
    def name(self) -> str:
        """The layers whose outputs are recorded."""
        return " + ".join(call.name for call, _ in self._ends)

    @property
    def tensors(self) -> list[Any]:
        """Keras's symbolic tensors of the values."""
        return [tensor for _, tensor in self._ends]

    @functools.cached_property
    def _ends(self) -> list[tuple[_keras.Operation, Any]]:
        ends = {n: (call, t) for call in self.before for n, t in zip(call.writes, call.outputs, strict=True)}
        return [ends[number] for number in self.values]

    @property
    def layers(self) -> list[keras.Layer]:
        """The layers of the prefix, each once."""
        layers = (operation.layer for operation in self.before)
        return list({id(x): x for x in layers if isinstance(x, keras.Layer)}.values())

    @property
    def weights(self) -> list[keras.Variable]:
        """All weights of the prefix."""
        return list({id(v): v for operation in self.before for v in operation.weights}.values())

    @property
    def digest(self) -> str:
        """A name for what the prefix computes: its layers' settings, their connections and their weights."""
        calls = [[_keras.settings(o.layer), o.reads, o.writes] for o in self.before]
        calls += [[_keras.settings(o.part_of), o.name] for o in self.before if o.part_of is not None]
        which = [self.values] if len(self.values) > 1 else []  # one value is that of the last call
        return hashlib.blake2b(
            json.dumps([calls, self.weights_digest, *which], sort_keys=True, default=repr).encode(),
            digest_size=16,
        ).hexdigest()

    @functools.cached_property
    def cost(self) -> float:
        """What the prefix costs, in multiplications of a sample, roughly."""
        return sum(cost_of(self.program, operation) for operation in self.before)

    @property
    def share(self) -> float:
        """The part of the whole model's cost that steps from the cut on are spared, roughly."""
        costs = {id(call): cost_of(self.program, call) for call in (*self.before, *self.after)}
        whole = sum(costs.values())
        return (whole - sum(costs[id(call)] for call in self.after)) / whole if whole else 0.0

    @property
    def weights_digest(self) -> str:
        """A name for the values of the prefix's weights."""
        found = hashlib.blake2b(digest_size=16)
        for weight in self.weights:
            found.update(np.ascontiguousarray(weight.numpy()).view(np.uint8).data)
        return found.hexdigest()

    def comes_before(self, other: Cut) -> bool:
        """Whether all of its prefix belongs to the prefix of another cut, which has more."""
        calls, more = {id(call) for call in self.before}, {id(call) for call in other.before}
        return calls < more

    def prefix(self, x: Any, training: bool) -> list[Any]:
        """The values at the cut for data `x`, computed layer by layer."""
        values = self.program.enter(x)
        self.program.run(self.before, values, training)
        return [values[number] for number in self.values]

    def suffix(self, values: Sequence[Any], extra_inputs: Mapping[int, Any], training: bool) -> Any:
        """The model's outputs from the values at the cut and the inputs that it reads, by their numbers."""
        known = {**dict(zip(self.values, values, strict=True)), **extra_inputs}
        self.program.run(self.after, known, training)
        return self.program.leave(known)


class NoCutError(Exception):
    """There is no cut; the message says why, as a sentence."""


def cost_of(program: _keras.Program, operation: _keras.Operation) -> int:
    """What a call costs, in multiplications of a sample, roughly; to look up rows of a table is none.

    A call that reads strings splits them into words, which no weight tells.
    """
    if any(program.tensors[number].dtype == "string" for number in operation.reads):
        return _TEXT_COST
    if not operation.weights or not isinstance(operation.layer, keras.Layer):
        return 0
    multiplied = _keras.multiplied_weights(program, operation)
    size = sum(math.prod(v.shape) for v in operation.weights if id(v) in multiplied)
    return int(size * math.prod(axis or 1 for axis in operation.outputs[0].shape[1:-1]))


def sample_bytes(tensor: Any) -> float:
    """How many bytes a symbolic tensor takes for a sample; axes of unknown length count as one.

    Strings can't be recorded: they count as more than anything else.
    """
    dtype = tf.as_dtype(tensor.dtype)
    size = _STRING_BYTES if dtype == tf.string else dtype.size
    return size * math.prod(axis or 1 for axis in tensor.shape[1:])
