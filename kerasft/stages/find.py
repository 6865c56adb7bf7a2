"""Stages: a model as an ordered list of blocks, from the input to the head.

Everything in kerasft is said on this one axis. Freeze depth `d` means that stages `0 … d-1` are frozen
and the rest train. `find_stages` cuts a Functional model at the tensors that every path from input to
output passes through, and puts what lies between two cuts together into blocks by the layers' names.
"""

from __future__ import annotations

import collections
import io
import itertools
import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import keras
import networkx
from rich.console import Console
from rich.table import Table

from kerasft import _keras


@dataclass(frozen=True, eq=False)
class Stage:
    """A block of neighbouring layers that is frozen or thawed as one.

    Attributes:
        name: Readable and unique in its model, such as `block_6`.
        layers: The layers that own this stage's weights, parents before their children.
        output_shape: Shape of the tensor handed to the next stage, batch first; None if unknown.
    """

    name: str
    layers: tuple[keras.Layer, ...]
    output_shape: tuple[int | None, ...] | None = None

    @property
    def weights(self) -> list[keras.Variable]:
        """All weights of the stage, moving statistics included."""
        return [v for layer in self.layers for v in _keras.own_variables(layer)]

    @property
    def parameters(self) -> int:
        """Number of scalars in all weights."""
        return sum(_size(v) for v in self.weights)

    @property
    def trainable(self) -> bool:
        """Whether any weight of the stage is set to train."""
        return any(v.trainable for v in self.weights)


class Stages(Sequence[Stage]):
    """The stages of a model in order; `print` shows them as a table.

    Attributes:
        model: The model that was divided.
        reason: Why there is a single stage, if the model could not be cut; else None.
    """

    def __init__(self, model: keras.Model, stages: Iterable[Stage], reason: str | None = None) -> None:
        self.model = model
        self.reason = reason
        self._stages = tuple(stages)

    @overload
    def __getitem__(self, index: int) -> Stage: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Stage]: ...
    def __getitem__(self, index: int | slice) -> Stage | Sequence[Stage]:
        return self._stages[index]

    def __len__(self) -> int:
        return len(self._stages)

    @property
    def names(self) -> list[str]:
        """The stages' names in order."""
        return [stage.name for stage in self]

    def depth(self, depth: int | str) -> int:
        """The freeze depth that `depth` names: a number, or a stage's name ("up to and without").

        Raises:
            TypeError: `depth` is neither an integer nor a string.
            ValueError: It is out of range, or no stage has that name.
        """
        if isinstance(depth, str):
            if depth not in self.names:
                raise ValueError(
                    f"No stage is named {depth!r}. The stages of {self.model.name!r} are "
                    f"{self.names}. Name one of them, or give a depth from 0 to {len(self)}."
                )
            return self.names.index(depth)
        if isinstance(depth, bool) or not hasattr(depth, "__index__"):
            raise TypeError(
                f"A freeze depth is an integer or a stage's name, not {depth!r} ({type(depth).__name__})."
            )
        depth = depth.__index__()
        if not 0 <= depth <= len(self):
            raise ValueError(
                f"Freeze depth {depth} is out of range: {self.model.name!r} has {len(self)} stages, so "
                f"it goes from 0 (everything trains) to {len(self)} (everything is frozen)."
            )
        return depth

    def __rich__(self) -> Table:
        title = f"{self.model.name}: {len(self)} stages"
        table = Table("depth", "stage", "layers", "parameters", "trainable", "output", title=title)
        for index, stage in enumerate(self):
            shape = "?" if stage.output_shape is None else str(tuple(stage.output_shape))
            flag = "yes" if stage.trainable else "no"
            row = (str(index), stage.name, str(len(stage.layers)), f"{stage.parameters:,}", flag, shape)
            table.add_row(*row)
        if self.reason:
            table.caption = self.reason
        return table

    def __str__(self) -> str:
        console = Console(file=io.StringIO(), width=110, color_system=None)
        console.print(self)
        return console.file.getvalue().rstrip()  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        return f"<Stages of {self.model.name!r}: {', '.join(self.names)}>"


def find_stages(model: keras.Model | Stages, at: Sequence[str] | None = None) -> Stages:
    """Divide a model into its stages, from the input to the head.

    Functional and Sequential models, nested ones included, are cut at the tensors that every path from
    input to output passes through; neighbours are put together into blocks by their layers' names. What
    follows a nested backbone is one stage, `head`.

    Args:
        model: A built model. Its flags and weights are read, never changed. A `Stages` comes back as it is.
        at: Names of layers that each begin a stage, in model order; layers before the first join it.
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
    if _keras.calls(model) is None:
        raise ValueError(
            f"{model.name!r} is a subclassed model: Keras does not know in which order it calls its "
            f"layers. Name those that begin a stage, for instance find_stages(model, at="
            f"{[layer.name for layer in model.layers if layer.weights]})."
        )
    pieces = _pieces(model)
    reason = None
    if len(pieces) == 1 and len(pieces[0].layers) > 1:
        reason = (
            "Not cut: no single tensor lies on every path from input to output. "
            "Name layers that begin a stage with at=[...]."
        )
    head = next((i for i in range(len(pieces) - 1, -1, -1) if pieces[i].nested), -1) + 1
    backbone = _merge_blocks(pieces[:head] if head else pieces)
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


# --- cutting a graph: shared with kerasft.hub ----------------------------------------------------------


def cut_points(graph: networkx.DiGraph, sinks: Iterable[Hashable]) -> list[Any]:
    """The nodes through which every path from a root of `graph` to any of `sinks` passes, in order.

    They are the immediate dominators of a virtual sink, walked up to a virtual source that joins the roots.

    References:
        Lengauer & Tarjan (1979), A fast algorithm for finding dominators in a flowgraph.
    """
    graph = graph.copy()
    source, sink = object(), object()
    graph.add_edges_from((source, n) for n in list(graph) if graph.in_degree(n) == 0)
    graph.add_edges_from((n, sink) for n in sinks)
    if sink not in graph or source not in graph:
        return []
    above = networkx.immediate_dominators(graph, source)
    chain = []
    node = above.get(sink, source)
    while node is not source and node is not None:
        chain.append(node)
        node = above[node]
    return chain[::-1]


def segments(graph: networkx.DiGraph, cuts: Sequence[Hashable]) -> dict[Hashable, int]:
    """For each node of `graph` the index of the first cut at or after it; `len(cuts)` after the last."""
    index: dict[Hashable, int] = {}
    for position, cut in enumerate(cuts):
        stack = [cut]
        while stack:
            node = stack.pop()
            if node not in index:
                index[node] = position
                stack.extend(graph.predecessors(node))
    return {node: index.get(node, len(cuts)) for node in graph}


# --- blocks by name: shared with kerasft.hub -----------------------------------------------------------

_NUMBERED = re.compile(r"[A-Za-z]*\d+[a-z]?")
_DIMENSION = re.compile(r"[A-Za-z]*[123]d")


def _prefixes(name: str) -> list[str]:
    """Prefixes of a layer's path that end in a number: `conv2_block1_1_conv` → conv2, conv2_block1, …"""
    found = []
    for token in re.finditer(r"[^/_.\-]+", name):
        if _NUMBERED.fullmatch(token.group()) and not _DIMENSION.fullmatch(token.group()):
            found.append(name[: token.end()])
    return found


def _shared(names: Sequence[str]) -> list[str]:
    """The numbered prefixes that most of a piece's layers share, shortest first."""
    counts = collections.Counter(p for name in set(names) for p in _prefixes(name))
    return sorted((p for p, n in counts.items() if 2 * n > len(set(names))), key=len)


def _words(names: Sequence[str]) -> str:
    """The common leading words of several names, or an empty string."""
    letters = zip(*(f"{name}_" for name in names), strict=False)
    prefix = "".join(c[0] for c in itertools.takewhile(lambda c: len(set(c)) == 1, letters))
    return re.sub(r"[/_.\-]+[^/_.\-]*$", "", prefix)


def group_blocks(names: Sequence[Sequence[str]], kernels: Sequence[int]) -> list[tuple[str, range]]:
    """Put neighbouring pieces of a network together into its blocks (residual units and the like).

    Args:
        names: For each piece, in order, the paths of its layers.
        kernels: For each piece, how many of its weights have two or more axes. A piece without any
            (a normalization) joins the piece before it.

    Returns:
        One (name, range of pieces) for each block, in order.
    """
    prefixes = [_shared(piece) for piece in names]
    # How deep numbers nest in this network's names (block_3: 1, conv2_block3: 2) shows in the pieces
    # that hold a whole unit, those with a shortcut around several kernels.
    depths = collections.Counter(
        len(p)
        for p, piece, k in zip(prefixes, names, kernels, strict=True)
        if p and k > 1 and len(set(piece)) > 1
    )
    depth = depths.most_common(1)[0][0] if depths else 1
    labels = [p[min(depth, len(p)) - 1] if p else None for p in prefixes]
    has_blocks = sum(n > 1 for n in collections.Counter(filter(None, labels)).values()) + len(depths)

    blocks: list[list[int]] = []
    for i, label in enumerate(labels):
        if blocks:
            last = labels[blocks[-1][-1]]
            same = label is not None and label in (last, labels[blocks[-1][0]])
            words = [n for j in (blocks[-1][-1], i) for n in names[j]]
            sibling = has_blocks and label is last is None and _words(words)
            if same or sibling or (not kernels[i] and (label is None or label not in labels[i + 1 :])):
                blocks[-1].append(i)
                continue
        blocks.append([i])
    if len(blocks) > 1 and not any(kernels[i] for i in blocks[0]):
        blocks[:2] = [blocks[0] + blocks[1]]

    titles = []
    for block in blocks:
        main = next((i for i in block if kernels[i]), block[0])
        titles.append(labels[main] or _words([n for i in block for n in names[i]]) or names[main][0])
    return [(title, range(block[0], block[-1] + 1)) for title, block in zip(titles, blocks, strict=True)]


def unique_names(names: Sequence[str]) -> list[str]:
    """The same names, those that come again with a number behind them."""
    seen: collections.Counter[str] = collections.Counter()
    unique = []
    for name in names:
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return unique


# --- pieces of a Keras model -------------------------------------------------------------------------


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


def _stages_at(model: keras.Model, at: Sequence[str]) -> list[Stage]:
    if isinstance(at, str) or not at or len(set(at)) < len(at):
        raise ValueError(f"`at` lists the layers that begin a stage, each once; received {at!r}.")
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
            raise ValueError(f"The stage that `at` begins at {name!r} holds no weights; leave it out.")
        stages.append(Stage(name, owners))
    return stages


def _in_order(model: keras.Model) -> Iterator[keras.Layer]:
    """All layers below `model`, calls in order where they are known; parents before children."""
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


def _size(variable: keras.Variable) -> int:
    size = 1
    for axis in variable.shape:
        size *= int(axis)
    return size
