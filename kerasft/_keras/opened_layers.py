"""Which layers are opened: those that are made of blocks in series, and blocks of that kind inside them."""

from __future__ import annotations

import math
import re
import textwrap
import weakref
from typing import TYPE_CHECKING

import keras

from kerasft._keras.inner_calls import InnerCalls, is_made_of_layers
from kerasft._keras.layers import children

if TYPE_CHECKING:
    from keras.src.ops.node import Node

_MORE_THAN_A_BLOCK = (
    4  # layers that are made of others; a decoder's block has two attentions and feed-forward
)


def inner_calls(node: Node) -> InnerCalls | None:
    """The calls inside a layer that has blocks in series; None for any other one, or if they can't be told.

    They are found once for each call. A block that holds most of the layer's weights and has blocks in series
    itself is opened as well, and so are the blocks beside it that have some.
    """
    if node not in _known:
        try:
            _known[node] = _found(node) if _may_have_blocks(node.operation) else None
        except Exception as error:  # of a layer's own code: it stays in one piece
            message = _COLOURS.sub("", f"{type(error).__name__}: {error}")
            _known[node] = textwrap.shorten(message, 200)
    found = _known[node]
    return found if isinstance(found, InnerCalls) and found.blocks else None


def why_not_divided(node: Node) -> str | None:
    """Why a layer that holds blocks is not opened, as the end of a sentence; None if it is, or holds none."""
    if inner_calls(node) is not None:
        return None
    found = _known[node]
    if isinstance(found, str):
        return f"its calls can't be traced ({found})"
    made = _made(node.operation)
    if len(made) < _MORE_THAN_A_BLOCK and not any(map(_made, made)):
        return None  # one block: attention and feed-forward, say
    return "it does not call the layers in it that are made of others one after the other"


def _made(layer: keras.Layer) -> list[keras.Layer]:
    return [child for child in children(layer) if is_made_of_layers(child)]


def _may_have_blocks(layer: keras.Layer) -> bool:
    return len(_made(layer)) > 1


def _found(node: Node) -> InnerCalls:
    found = InnerCalls(node)
    while found.blocks:
        made = [call.layer for call in found.calls if _may_have_blocks(call.layer)]
        largest = max(made, key=_size, default=None)
        if largest is None or 2 * _size(largest) <= _size(found.layer):
            break
        deeper = InnerCalls(node, [*found.opened, *made])
        in_series = [layer for layer in made if deeper.blocks_in(layer)]
        if len(in_series) < len(made):
            deeper = InnerCalls(node, [*found.opened, *in_series])
        if not deeper.blocks or not any(layer is largest for layer in in_series):
            break
        found = deeper
    return found


def _size(layer: keras.Layer) -> int:
    return sum(math.prod(v.shape) for v in layer.weights)


_COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # that Keras writes into messages

# Of each call the calls inside; None where there can be no blocks, or the error that tracing ended with.
_known: weakref.WeakKeyDictionary[Node, InnerCalls | str | None] = weakref.WeakKeyDictionary()
