"""Cut: a model divided at one tensor."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kerasft import _keras


@dataclass(frozen=True, eq=False)
class Cut:
    """A model divided at one tensor.

    Attributes:
        program: The whole model, call by call.
        position: SampleIndex of the last call of the prefix.
        before: The calls of the prefix.
        after: The calls of the suffix.
        extra_inputs: Numbers of the model's inputs that the suffix reads besides the cut (token
            masks, say).
    """

    program: _keras.Program
    position: int
    before: tuple[_keras.Operation, ...]
    after: tuple[_keras.Operation, ...]
    extra_inputs: tuple[int, ...]

    @property
    def name(self) -> str:
        """The layer whose output is recorded."""
        return str(getattr(self.program.operations[self.position].layer, "name", "the input"))

    @property
    def value(self) -> int:
        """Number of the value that is recorded."""
        return self.program.operations[self.position].writes[0]

    @property
    def tensor(self) -> Any:
        """Keras's symbolic tensor at the cut."""
        return self.program.operations[self.position].outputs[0]

    @property
    def layers(self) -> list[keras.Layer]:
        """The layers of the prefix, each once."""
        layers = (operation.layer for operation in self.before)
        return list({id(x): x for x in layers if isinstance(x, keras.Layer)}.values())

    @property
    def weights(self) -> list[keras.Variable]:
        """All weights of the prefix."""
        return list({id(v): v for layer in self.layers for v in layer.weights}.values())

    @property
    def digest(self) -> str:
        """A name for what the prefix computes: its layers' settings, their connections and their weights."""
        calls = [[_keras.settings(o.layer), o.reads, o.writes] for o in self.before]
        return hashlib.blake2b(
            json.dumps([calls, self.weights_digest], sort_keys=True, default=repr).encode(), digest_size=16
        ).hexdigest()

    @functools.cached_property
    def cost(self) -> float:
        """What the prefix costs, in multiplications of a sample, roughly."""
        return sum(_cost(operation) for operation in self.before)

    @property
    def share(self) -> float:
        """The part of the whole model's cost that the prefix has, roughly."""
        whole = self.cost + sum(_cost(operation) for operation in self.after)
        return self.cost / whole if whole else 0.0

    @property
    def weights_digest(self) -> str:
        """A name for the values of the prefix's weights."""
        found = hashlib.blake2b(digest_size=16)
        for weight in self.weights:
            found.update(np.ascontiguousarray(weight.numpy()).view(np.uint8).data)
        return found.hexdigest()

    def prefix(self, x: Any, training: bool) -> Any:
        """The value at the cut for data `x`, computed layer by layer."""
        values = self.program.enter(x)
        self.program.run(self.before, values, training)
        return values[self.value]

    def suffix(self, value: Any, extra_inputs: Mapping[int, Any], training: bool) -> Any:
        """The model's outputs from the value at the cut and the inputs that it reads, by their numbers."""
        values = {self.value: value, **extra_inputs}
        self.program.run(self.after, values, training)
        return self.program.leave(values)


class NoCutError(Exception):
    """There is no cut; the message says why, as a sentence."""


def _cost(operation: _keras.Operation) -> float:
    """What a call costs, in multiplications of a sample, roughly; 0 for a layer without weights."""
    sizes = [math.prod(v.shape) for v in getattr(operation.layer, "weights", ())]
    return sum(sizes) * math.prod(axis or 1 for axis in operation.outputs[0].shape[1:-1]) if sizes else 0
