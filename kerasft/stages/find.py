"""find_stages: divide a model into its stages, from the input to the head.

A Functional model is cut where a model nested in it, its backbone, begins and ends, at the tensors that every
path from input to output passes through, and, in a part without such tensors, where the fewest tensors cross.
The pieces between two cuts are put together into blocks by the names of their layers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import keras

from kerasft import _keras
from kerasft.stages.addresses import layer_paths
from kerasft.stages.blocks import unique_names
from kerasft.stages.given_starts import stages_at
from kerasft.stages.pieces import Piece, merge_blocks, pieces_of
from kerasft.stages.stage import Stage, Stages

_WAY_OUT = "Name layers that start a stage with at=[...]."
_LARGER_THAN_A_UNIT = 4  # layers with weights; a small network may be half one residual unit


def find_stages(model: keras.Model | Stages, at: Sequence[str] | None = None) -> Stages:
    """Divide a model into its stages, from the input to the head.

    Functional and Sequential models, nested ones included, are cut at the tensors that every path from
    input to output passes through. A part in which there is none, but which is more than one block, is cut
    where the fewest tensors cross: U-Nets, feature pyramids, decoders that read an encoder, and branches side
    by side, which come one after the other. Neighbours are put together into blocks by their layers' names,
    or, in transformers without such names, as attention and feed-forward repeat. A block is named after what
    its layers' names have in common, or after its first layer; a number tells it from another stage, or from
    a layer elsewhere, of that name.

    A layer that is made of blocks in series is opened, and so is a block in it that holds most of its weights
    and is made of blocks itself. Where one that holds most of the model's weights can't be opened,
    `Stages.reason` says why.

    A Functional model in the model is a backbone, whether it is called once or several times, has one output
    or several, or is wrapped (TimeDistributed). First come the layers that it is computed from and its own
    stages; all that it is not computed from is one stage, `head`. A Sequential model in the model is only a
    list of layers. Where backbones stand side by side, neither comes before the other: they are one stage,
    and `Stages.reason` says how to divide it.

    Args:
        model: A built model. Its flags and weights are read, never changed. A `Stages` comes back as it is.
        at: Layers that each start a stage, in model order, by their names, or by their paths
            (`encoder/block_2`) where a name means several; layers before the first join it. Of models side
            by side, either may come first. Needed for subclassed models, whose order of calls Keras does not
            know.

    Returns:
        The stages in order; together they hold every weight of the model once.

    Raises:
        TypeError: `model` is not a Keras model.
        ValueError: The model is unbuilt, has no weights, or is subclassed and `at` is missing; a name in
            `at` does not exist, means several layers, is given twice, or is out of order.

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
        return Stages(model, stages_at(model, at))
    pieces = pieces_of(model)
    if pieces is None:
        raise ValueError(
            f"{model.name!r} is a subclassed model: Keras does not know in which order it calls its "
            f"layers. Name those that start a stage, for instance find_stages(model, at="
            f"{[layer.name for layer in model.layers if layer.weights]})."
        )
    head = next((i for i in range(len(pieces) - 1, -1, -1) if pieces[i].nested), -1) + 1
    backbone = merge_blocks(pieces[:head] if head else pieces)
    stages = [*backbone]
    titles = _short([_path(name, block) for name, block in backbone])
    foreign, outside = _names_elsewhere(model, [block for _, block in backbone])
    names = unique_names(titles, foreign, outside)
    if head and head < len(pieces):  # the name `head` is the head's, whatever the backbone calls its own
        stages.append(("head", pieces[head:]))
        names = [*unique_names(["head", *titles], [(), *foreign], [(), *outside])[1:], "head"]
    return Stages(
        model,
        [
            Stage(name, tuple(layer for p in block for layer in p.layers), block[-1].output_shape)
            for name, (_, block) in zip(names, stages, strict=True)
        ],
        _reason(dict(zip(names, (block for _, block in stages[: len(backbone)]), strict=False))),
    )


def _path(name: str, block: Sequence[Piece]) -> str:
    """The path of a block inside a layer whose own name tells nothing but the layer's; else its name."""
    inside = next((n for piece in block for n in piece.names if "/" in n), name)
    return inside if inside.startswith(f"{name}/") else name


def _short(paths: Sequence[str]) -> list[str]:
    """The last parts of the paths of blocks inside layers, where they tell the blocks apart."""
    ends = [path.rsplit("/", 1)[-1] for path in paths]
    return [end if ends.count(end) == 1 else path for path, end in zip(paths, ends, strict=True)]


def _names_elsewhere(
    model: keras.Model, blocks: Sequence[Sequence[Piece]]
) -> tuple[list[set[str]], list[set[str]]]:
    """For each block, the names that mean layers with weights elsewhere and none of its own, and those of
    all layers elsewhere, of which it holds none or only a part."""
    named = [(layer.name, {id(v) for v in layer.weights}) for _, layer in layer_paths(model)]
    foreign, outside = [], []
    for block in blocks:
        held = {id(v) for piece in block for layer in piece.layers for v in _keras.own_variables(layer)}
        own = {name for name, weights in named if weights and weights <= held}
        foreign.append({name for name, weights in named if weights - held} - own)
        outside.append({name for name, weights in named if not weights or weights - held})
    return foreign, outside


def _reason(stages: Mapping[str, Sequence[Piece]]) -> str | None:
    """Why some of the stages, each of some pieces, were not divided further; None if there is no such."""
    pieces = [piece for block in stages.values() for piece in block]
    if reasons := dict.fromkeys(piece.reason for piece in pieces if piece.reason is not None):
        return " ".join(reasons)
    count = sum(len(piece.names) for piece in pieces)
    if len(pieces) == 1 < count:
        return f"Not cut: all of it hangs together. {_WAY_OUT}"
    for name, block in stages.items():
        largest = max(len(piece.names) for piece in block)
        if 2 * largest > count and largest >= _LARGER_THAN_A_UNIT:
            return (
                f"The stage {name!r} could not be cut: all of it hangs together. It "
                f"holds {largest} of {count} layers. {_WAY_OUT}"
            )
    return _why_unopened(pieces)


def _why_unopened(pieces: Sequence[Piece]) -> str | None:
    """Why the layer that holds most of the weights was not divided; None if there is no such layer."""
    sizes = [
        sum(math.prod(v.shape) for x in piece.layers for v in _keras.own_variables(x)) for piece in pieces
    ]
    for piece, size in zip(pieces, sizes, strict=True):
        if piece.unopened and 2 * size > sum(sizes) and len(piece.layers) > _LARGER_THAN_A_UNIT:
            return f"{piece.unopened} It holds {size / sum(sizes):.0%} of the weights."
    return None
