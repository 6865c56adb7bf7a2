"""The layers at the end of a model that take one tensor each, found by walking back from its output."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import keras

from .steps import problem

Before = Callable[[], tuple[Any, Any]]  # gives the inputs of a model and the tensor that a layer of it takes


@dataclass(frozen=True)
class Link:
    """One layer in a row.

    Attributes:
        layer: The layer.
        path: Its name, after those of the models that it is in.
        before: Gives the whole model's inputs, and what reaches the layer of them.
    """

    layer: keras.Layer
    path: str
    before: Before


@dataclass(frozen=True)
class Row:
    """The layers at the end of a model that can train on the device, in the order of the call.

    Attributes:
        links: The layers.
        end: Why the row does not begin earlier, as a sentence.
    """

    links: tuple[Link, ...]
    end: str


def row_of(model: keras.Model) -> Row:
    """The layers at the end of a model that can train on the device.

    Raises:
        ValueError: The model has several outputs.
    """
    if len(model.outputs) != 1:
        raise ValueError(
            f"Learning on the device needs a model with one output; {model.name!r} has {len(model.outputs)}."
        )
    found: list[Link] = []
    walk = _backwards(model, None, "")
    while True:
        try:
            link = next(walk)
        except StopIteration as end:
            return Row(tuple(reversed(found)), end.value or "the model begins there")
        if reason := problem(link.layer):
            return Row(tuple(reversed(found)), f"{named(link.path, link.layer)} stands before, {reason}")
        found.append(link)


def named(path: str, operation: Any) -> str:
    return f"{path!r} ({type(operation).__name__})"


def _backwards(model: Any, outer: Before | None, path: str) -> Generator[Link, None, str]:
    """The layers of a model from its output back, as long as each takes one tensor; then why they end."""
    if isinstance(model, keras.Sequential):
        for i, layer in reversed(list(enumerate(model.layers))):
            if end := (yield from _opened(layer, _within(model, i, outer), path)):
                return end
        return ""
    producers = {}
    for operation in model.operations:
        if not isinstance(operation, keras.layers.InputLayer):
            # a nested model's own `output` is inside of it
            made = keras.tree.flatten(keras.Operation.output.fget(operation))
            producers.update({id(t): operation for t in made})
    tensor = model.outputs[0]
    while not any(tensor is t for t in model.inputs):
        operation = producers.get(id(tensor))
        if operation is None:
            return "a layer stands before that is called in several models"
        given = keras.tree.flatten(keras.Operation.input.fget(operation))
        if len(given) != 1:
            at = named(path + operation.name, operation)
            return f"{at} stands before, which joins {len(given)} tensors: more than one crosses a cut there"
        (tensor,) = given
        if end := (yield from _opened(operation, _within(model, tensor, outer), path)):
            return end
    return ""


def _opened(operation: Any, before: Before, path: str) -> Generator[Link, None, str]:
    """The layers of a nested model, or the layer itself."""
    if isinstance(operation, keras.Model) and (
        isinstance(operation, keras.Sequential) or hasattr(operation, "operations")
    ):
        if len(operation.inputs) == len(operation.outputs) == 1:
            return (yield from _backwards(operation, before, f"{path}{operation.name}/"))
    yield Link(operation, path + operation.name, before)
    return ""


def _within(model: Any, place: Any, outer: Before | None) -> Before:
    """What reaches a tensor of a model, or a layer of a Sequential by its number."""

    def before() -> tuple[Any, Any]:
        sequential = isinstance(model, keras.Sequential)
        inputs = model.inputs[0] if sequential else model.input
        tensor = inputs if sequential else place
        if sequential:
            for layer in model.layers[:place]:
                tensor = layer(tensor)
        if outer is None:
            return inputs, tensor
        whole, given = outer()
        at_start = any(tensor is t for t in model.inputs)
        return whole, given if at_start else keras.Model(inputs, tensor, name=model.name)(given)

    return before
