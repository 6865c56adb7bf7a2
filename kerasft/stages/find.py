"""find_stages: divide a model into its stages, from the input to the head.

A Functional model is cut at the tensors that every path from input to output passes through. The pieces
between two cuts are put together into blocks by the names of their layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import keras

from kerasft import _keras
from kerasft.stages.blocks import unique_names
from kerasft.stages.pieces import merge_blocks, pieces_of
from kerasft.stages.stage import Stage, Stages


def find_stages(model: keras.Model | Stages, at: Sequence[str] | None = None) -> Stages:
    """Divide a model into its stages, from the input to the head.

    Functional and Sequential models, nested ones included, are cut at the tensors that every path from
    input to output passes through; neighbours are put together into blocks by their layers' names. What
    follows a nested backbone is one stage, `head`.

    Args:
        model: A built model. Its flags and weights are read, never changed. A `Stages` comes back as it is.
        at: Names of layers that each start a stage, in model order; layers before the first join it.
            Needed for subclassed models, whose order of calls Keras does not know.

    Returns:
        The stages in order; together they hold every weight of the model once.

    Raises:
        TypeError: `model` is not a Keras model.
        ValueError: The model is unbuilt, has no weights, or is subclassed and `at` is missing; a name in
            `at` does not exist, is given twice, or is out of order.

    Example:
        >>> net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, name="body"),
        ...                         keras.layers.Dense(2, name="top")])
        >>> find_stages(net).names
        ['body', 'top']
    """
    if isinstance(model, Stages):
        return model
    if not isinstance(model, keras.Model):
        raise TypeError(f"find_stages expects a keras.Model, not {type(model).__name__}.")
    if not model.built or not model.weights:
        raise ValueError(
            f"The model {model.name!r} has no weights yet. Build it first: give it a keras.Input, or "
            "call it once on a batch."
        )
    if at is not None:
        return Stages(model, _stages_at(model, at))
    pieces = pieces_of(model)
    if pieces is None:
        raise ValueError(
            f"{model.name!r} is a subclassed model: Keras does not know in which order it calls its "
            f"layers. Name those that start a stage, for instance find_stages(model, at="
            f"{[layer.name for layer in model.layers if layer.weights]})."
        )
    reason = None
    if len(pieces) == 1 and len(pieces[0].layers) > 1:
        reason = (
            "Not cut: no single tensor lies on every path from input to output. "
            "Name layers that start a stage with at=[...]."
        )
    head = next((i for i in range(len(pieces) - 1, -1, -1) if pieces[i].nested), -1) + 1
    backbone = merge_blocks(pieces[:head] if head else pieces)
    stages = [*backbone]
    names = unique_names([name for name, _ in backbone])
    if head and head < len(pieces):  # the name `head` is the head's, whatever the backbone calls its own
        stages.append(("head", pieces[head:]))
        names = [*unique_names(["head", *(name for name, _ in backbone)])[1:], "head"]
    return Stages(
        model,
        [
            Stage(name, tuple(layer for p in block for layer in p.layers), block[-1].output_shape)
            for name, (_, block) in zip(names, stages, strict=True)
        ],
        reason,
    )


def _stages_at(model: keras.Model, at: Sequence[str]) -> list[Stage]:
    """Divide a model at the layers of these names."""
    if isinstance(at, str) or not at or len(set(at)) < len(at):
        raise ValueError(f"`at` lists the layers that start a stage, each once; received {at!r}.")
    order = list(_in_order(model))
    names = [layer.name for layer in order]
    missing = [name for name in at if name not in names]
    if missing:
        raise ValueError(f"`at` names layers that {model.name!r} lacks: {missing}. It has {names}.")
    starts = [names.index(name) for name in at]
    if starts != sorted(starts):
        raise ValueError(f"`at` is not in the order of the model, which is {sorted(at, key=names.index)}.")
    bounds = [0, *starts[1:], len(order)]
    stages = []
    for name, begin, end in zip(at, bounds[:-1], bounds[1:], strict=True):
        owners = tuple(layer for layer in order[begin:end] if _keras.own_variables(layer))
        if not owners:
            raise ValueError(f"The stage that `at` starts at {name!r} holds no weights; leave it out.")
        stages.append(Stage(name, owners))
    return stages


def _in_order(model: keras.Model) -> Iterator[keras.Layer]:
    """Yield all layers inside `model`, in order of their calls where known; parents before children."""
    calls = _keras.calls(model)
    children = model.layers if calls is None else [call.operation for call in calls]
    seen: set[int] = set()
    for child in children:
        if not isinstance(child, keras.Layer) or id(child) in seen:
            continue
        seen.add(id(child))
        yield child
        if isinstance(child, keras.Model):
            yield from _in_order(child)
        else:
            yield from list(_keras.sublayers(child))[1:]
