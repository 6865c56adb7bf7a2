"""Pieces: the smallest parts that a Keras model is divided into, and the blocks that neighbours make."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import keras

from kerasft import _keras
from kerasft.stages.blocks import group_blocks
from kerasft.stages.call_order import CallOrder, call_order
from kerasft.stages.stage_layer import StageLayer


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of a model that holds weights and is not divided further.

    Attributes:
        names: The names of the operations that the model calls for it.
        layers: The layers that own its weights: those operations, or layers inside them.
        output_shape: Shape of its result, batch first; None if it has several.
        nested: Whether it is a part of a backbone: of a model within the model, or a stage by itself.
        unit: Whether it holds several operations, or one that is made of other layers.
        kind: What tells the structure of a unit of several operations; else None.
        name: The name of its stage, if it is a stage by itself; else None.
        reason: Why it was not divided, where a model within it could be; else None.
        unopened: Why it was not divided, if it is one layer that is made of others; else None.
    """

    names: tuple[str, ...]
    layers: tuple[keras.Layer, ...]
    output_shape: tuple[int | None, ...] | None
    nested: bool = False
    unit: bool = False
    kind: Hashable = None
    name: str | None = None
    reason: str | None = None
    unopened: str | None = None

    @property
    def whole(self) -> bool:
        """Whether it is a stage by itself."""
        return self.name is not None


def pieces_of(model: keras.Model) -> list[Piece] | None:
    """Divide a model at every cut, those of nested models included.

    The pieces are in an order in which everything that a piece is computed from comes before it. Those of
    a backbone (a Functional model in the model, or a stage by itself) follow what it is computed from, and
    what is not needed for any backbone follows the last one.

    Returns:
        The pieces in order; None for a model whose calls Keras does not know.
    """
    order = call_order(model)
    if order is None:
        return None
    backbones = [node for node in order.graph if any(map(holds_backbone, order.operations([node])))]
    groups = order.in_series(backbones)
    after = [order.operations(set(order.graph) - order.before(group) - {*group}) for group in groups]
    if len(groups) > 1 and len(groups[-1]) > 1 and not after[-1]:
        groups.pop()  # models side by side that end the model are its heads
    pieces: list[Piece] = []
    taken: set[int] = set()
    for group, later in zip(groups, after, strict=False):
        before = order.before(group) - taken
        sinks = {p for node in group for p in order.graph.predecessors(node)}
        pieces += _cut(order, before, sinks)
        pieces += _backbones(order.as_listed(order.operations(group)), order.shape_of(group[0]), later)
        taken |= before | {*group}
    pieces += _cut(order, set(order.graph) - taken, order.sinks)
    return list(_each_weight_once(pieces))


def holds_backbone(operation: keras.Layer) -> bool:
    """Whether a layer is, or holds, a Functional model that can train, or is a stage by itself."""
    return any(map(_is_backbone, _keras.sublayers(operation)))


def _is_backbone(layer: keras.Layer) -> bool:
    if _keras.calls(layer) is None or isinstance(layer, keras.Sequential):
        return isinstance(layer, StageLayer)
    return any(_keras.own_trainable_variables(part) for part in _keras.sublayers(layer))


def opened(layer: keras.Layer) -> keras.Model | None:
    """The Functional or Sequential model that a layer is, or that it wraps; None for any other layer.

    A layer wraps a model if it holds no other weights, as TimeDistributed does. What else a layer with a
    Sequential inside does can't be told, unless it is one of Keras's wrappers.
    """
    if _keras.calls(layer) is not None:
        return layer
    holders = [child for child in _keras.children(layer) if child.weights]
    if len(holders) != 1 or _keras.own_variables(layer) or isinstance(layer, StageLayer):
        return None
    inner = opened(holders[0])
    is_block = isinstance(inner, keras.Sequential) and not isinstance(layer, keras.layers.Wrapper)
    return None if is_block else inner


def _owners(operations: Iterable[keras.Layer]) -> tuple[keras.Layer, ...]:
    layers = [s for op in operations for s in _keras.sublayers(op) if _keras.own_variables(s)]
    return tuple({id(layer): layer for layer in layers}.values())


def _inside(inner: _keras.InnerCalls) -> Iterator[Piece]:
    """Divide a layer that has blocks in series at its calls; what it owns itself comes with the first."""
    seen: set[int] = set()
    for index, call in enumerate(inner.calls):
        held = [x for x in (inner.layer, *call.holders) if id(x) not in seen and _keras.own_variables(x)]
        layers = [*held, *_owners([call.layer])]
        if index == len(inner.calls) - 1:  # what is never called has no place; earlier pieces keep theirs
            layers += _owners([inner.layer])
        if layers:
            seen |= {id(holder) for holder in held}
            shape = tuple(call.outputs[0].shape) if len(call.outputs) == 1 else None
            names = (f"{inner.layer.name}/{call.path}",)
            owners = tuple({id(layer): layer for layer in layers}.values())
            yield Piece(names, owners, shape, unit=_keras.is_made_of_layers(call.layer))


def _structure(layers: Iterable[keras.Layer]) -> Hashable:
    return tuple((type(x).__name__, tuple(tuple(v.shape) for v in _keras.own_variables(x))) for x in layers)


def _backbones(
    operations: Sequence[keras.Layer], shape: tuple[int | None, ...] | None, later: Sequence[keras.Layer]
) -> Iterator[Piece]:
    """Divide one backbone; several side by side have no common order, and stay one piece.

    Args:
        operations: The backbones.
        shape: The shape of the result of a single one, if it has one result.
        later: The operations with weights that come after them.
    """
    names = _names(operations)
    if len(operations) > 1:
        yield _side_by_side(Piece(names, _owners(operations), None, nested=True), operations, later)
        return
    (operation,) = operations
    model = opened(operation)
    inner = None if model is None else pieces_of(model)
    if inner is not None:
        nested = not isinstance(model, keras.Sequential)
        yield from (replace(piece, nested=nested or piece.nested) for piece in inner)
        return
    reason = None if isinstance(operation, StageLayer) else _unknown_order(operation)
    yield Piece(names, _owners(operations), shape, nested=True, name=names[0], reason=reason)


def _cut(order: CallOrder, nodes: set[int], sinks: Iterable[int]) -> Iterator[Piece]:
    """Divide a part without backbones; a piece without layers is an activation or a pooling."""

    def towers_in(some: Collection[int]) -> list[int]:
        """The models that stand side by side at the beginning of the whole graph."""
        towers = [n for n in some if any(opened(op) is not None for op in order.operations([n]))]
        if len(towers) < 2 or len(nodes) < len(order.graph) or not order.before(some) <= {*some}:
            return []
        widest = max(order.in_series(towers), key=len, default=[])
        return widest if len(widest) > 1 else []

    for segment in order.divide(nodes, sinks, lambda some: bool(towers_in(some))):
        operations = segment.operations
        models = [model for op in operations if (model := opened(op)) is not None]
        inner = pieces_of(models[0]) if len(operations) == len(models) == 1 else None
        if inner is not None:
            yield from (replace(piece, nested=False) for piece in inner)
            yield Piece((), (), segment.shape)
            continue
        if any(segment.inner):
            for operation, calls in zip(operations, segment.inner, strict=True):
                if calls is None:
                    yield Piece((operation.name,), _owners([operation]), None)
                else:
                    yield from _inside(calls)
            yield Piece((), (), segment.shape)
            continue
        owners = _owners(operations)
        unit = len(operations) > 1 or (segment.last in operations and segment.last not in owners)
        kind = _structure(owners) if len(operations) > 1 else None
        whys = [
            _not_divided(op, f"{why}.") for op, why in zip(operations, segment.why_whole, strict=True) if why
        ]
        unopened = whys[0] if len(operations) == len(whys) == 1 else None
        piece = Piece(_names(operations), owners, segment.shape, unit=unit, kind=kind, unopened=unopened)
        if towers := towers_in(segment.nodes):
            later = [op for op in order.operations(nodes) if op not in operations]
            piece = _side_by_side(piece, order.as_listed(order.operations(towers)), later)
        yield piece


def _side_by_side(piece: Piece, models: Sequence[keras.Layer], later: Sequence[keras.Layer]) -> Piece:
    """Make models side by side a stage of its own, which says how to divide them."""
    names = _names(models)
    reason = (
        f"{' and '.join(map(repr, names))} stand side by side, so their stages have no common order: any of "
        "them may be frozen first. Name the layers that start a stage, one model after the other, with "
        f"at={[*names, *_names(later[:1])]}, or layers inside by their paths."
    )
    return replace(piece, name="+".join(names), reason=reason)


def _names(operations: Iterable[keras.Layer]) -> tuple[str, ...]:
    return tuple(op.name for op in operations)


def _unknown_order(layer: keras.Layer) -> str | None:
    held = [child for child in _keras.children(layer) if child.weights]
    if all(isinstance(child, StageLayer) for child in held):
        return None
    return _not_divided(layer, f"Keras does not know in which order it calls {[*_names(held)]}.")


def _not_divided(layer: keras.Layer, why: str) -> str:
    first = next(child.name for child in _keras.children(layer) if child.weights)
    return (
        f"{layer.name!r} was not divided: {why} Name the layers that start a stage, by their paths, with "
        f"at=[{f'{layer.name}/{first}'!r}, ...]."
    )


def _each_weight_once(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Leave layers to the first piece that holds them; what has none gives its shape to the piece before."""
    last: Piece | None = None
    seen: set[int] = set()
    for piece in pieces:
        layers = tuple(layer for layer in piece.layers if id(layer) not in seen)
        seen.update(map(id, layers))
        if layers:
            if last is not None:
                yield last
            last = replace(piece, layers=layers)
        elif last is not None and not piece.layers:
            last = replace(last, output_shape=piece.output_shape)
    if last is not None:
        yield last


def merge_blocks(pieces: Sequence[Piece]) -> list[tuple[str, list[Piece]]]:
    """Put neighbouring pieces together into named blocks; a piece that is a stage by itself stays one."""
    blocks: list[tuple[str, list[Piece]]] = []
    for whole, group in itertools.groupby(pieces, key=lambda p: p.whole):
        members = list(group)
        if whole:
            blocks += [(p.name, [p]) for p in members if p.name is not None]
            continue
        kernels = [
            sum(len(v.shape) > 1 for layer in p.layers for v in _keras.own_variables(layer)) for p in members
        ]
        kinds = [p.kind for p in members]
        found = group_blocks([p.names for p in members], kernels, [p.unit for p in members], kinds)
        blocks += [(name, [members[i] for i in span]) for name, span in found]
    return blocks
