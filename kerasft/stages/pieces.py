"""Pieces: the parts of a Keras model between two cuts, and the blocks that neighbouring pieces make."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import keras
import networkx

from kerasft import _keras
from kerasft.stages.blocks import group_blocks
from kerasft.stages.dominators import cut_points, segments
from kerasft.stages.stage_layer import StageLayer


@dataclass(frozen=True, eq=False)
class Piece:
    """The part of a model between two cuts, with weights.

    Attributes:
        layers: The layers that own its weights.
        output_shape: Shape of its result, batch first.
        nested: Whether it comes from a model within the model, or is a stage by itself.
        whole: Whether it is a stage by itself.
    """

    layers: tuple[keras.Layer, ...]
    output_shape: tuple[int | None, ...] | None
    nested: bool = False
    whole: bool = False


def pieces_of(model: keras.Model) -> list[Piece] | None:
    """Divide a model at every cut, those of nested models included.

    Returns:
        The pieces in order; None for a model whose calls Keras does not know.
    """
    calls = _keras.calls(model)
    if calls is None:
        return None
    producer = {id(t): i for i, call in enumerate(calls) for t in call.outputs}
    graph = networkx.DiGraph()
    for i, call in enumerate(calls):  # a path counts from the first weight on: masks and casts don't
        before = [producer[id(t)] for t in call.inputs if producer.get(id(t)) in graph]
        if before or getattr(call.operation, "weights", None):
            graph.add_node(i)
            graph.add_edges_from((b, i) for b in before)
    sinks = [producer[id(t)] for t in model.outputs if producer.get(id(t)) in graph]
    cuts = [i for i in cut_points(graph, sinks) if len(calls[i].outputs) == 1]
    where = segments(graph, cuts)
    by_segment: dict[int, list[int]] = collections.defaultdict(list)
    for i in sorted(graph):
        by_segment[where[i]].append(i)

    pieces: list[Piece] = []
    seen: set[int] = set()
    for segment in sorted(by_segment):
        members = by_segment[segment]
        output = calls[cuts[segment] if segment < len(cuts) else members[-1]].outputs[0]
        operations = list({id(calls[i].operation): calls[i].operation for i in members}.values())
        weighted = [op for op in operations if getattr(op, "weights", None) and id(op) not in seen]
        seen.update(id(op) for op in weighted)
        shape = tuple(output.shape)
        if not weighted:
            if pieces:  # an activation or a pooling after a stage belongs to it
                pieces[-1] = replace(pieces[-1], output_shape=shape)
            continue
        inner = pieces_of(weighted[0]) if len(weighted) == 1 else None
        if inner is not None:
            nested = not isinstance(weighted[0], keras.Sequential)
            pieces += [replace(piece, nested=nested or piece.nested) for piece in inner]
            continue
        layers = {id(s): s for op in weighted for s in _keras.sublayers(op) if _keras.own_variables(s)}
        is_stage = any(isinstance(op, StageLayer) for op in weighted)
        pieces.append(Piece(tuple(layers.values()), shape, nested=is_stage, whole=is_stage))
    return pieces


def merge_blocks(pieces: Sequence[Piece]) -> list[tuple[str, list[Piece]]]:
    """Put neighbouring pieces together into named blocks; a piece that is a stage by itself stays one."""
    blocks: list[tuple[str, list[Piece]]] = []
    for whole, group in itertools.groupby(pieces, key=lambda p: p.whole):
        members = list(group)
        if whole:
            blocks += [(p.layers[0].name, [p]) for p in members]
            continue
        names = [[layer.name for layer in p.layers] for p in members]
        kernels = [
            sum(len(v.shape) > 1 for layer in p.layers for v in _keras.own_variables(layer)) for p in members
        ]
        blocks += [(name, [members[i] for i in span]) for name, span in group_blocks(names, kernels)]
    return blocks
