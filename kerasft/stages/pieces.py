"""What lies between two cuts of a Keras model, and the blocks that such pieces make."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import networkx

from kerasft import _keras
from kerasft.stages.blocks import group_blocks
from kerasft.stages.dominators import cut_points, segments


@dataclass(frozen=True, eq=False)
class _Piece:
    """What lies between two cuts and holds weights; `nested`: it comes from a model within the model."""

    layers: tuple[keras.Layer, ...]
    output_shape: tuple[int | None, ...] | None
    nested: bool = False
    whole: bool = False


def _pieces(model: keras.Model) -> list[_Piece]:
    calls = _keras.calls(model)
    assert calls is not None
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

    pieces: list[_Piece] = []
    seen: set[int] = set()
    for segment in sorted(by_segment):
        members = by_segment[segment]
        output = calls[cuts[segment] if segment < len(cuts) else members[-1]].outputs[0]
        operations = list({id(calls[i].operation): calls[i].operation for i in members}.values())
        weighted = [op for op in operations if getattr(op, "weights", None) and id(op) not in seen]
        seen.update(id(op) for op in weighted)
        shape = tuple(output.shape)
        if not weighted:
            if pieces:  # an activation or a pooling behind a stage belongs to it
                pieces[-1] = _Piece(pieces[-1].layers, shape, pieces[-1].nested, pieces[-1].whole)
            continue
        if len(weighted) == 1 and _keras.calls(weighted[0]) is not None:
            inner = _pieces(weighted[0])
            nested = not isinstance(weighted[0], keras.Sequential)
            pieces += [_Piece(p.layers, p.output_shape, nested or p.nested, p.whole) for p in inner]
            continue
        layers = {id(s): s for op in weighted for s in _keras.sublayers(op) if _keras.own_variables(s)}
        marked = any(getattr(op, "is_stage", False) for op in weighted)
        pieces.append(_Piece(tuple(layers.values()), shape, nested=marked, whole=marked))
    return pieces


def _merge_blocks(pieces: Sequence[_Piece]) -> list[tuple[str, list[_Piece]]]:
    """Blocks of neighbouring pieces; a piece that is a stage already (a Hub stage) stays one."""
    blocks: list[tuple[str, list[_Piece]]] = []
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
