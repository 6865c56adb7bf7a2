"""divide: cut a flattened SavedModel into stages, each with its weights, its graphs and a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from kerasft.hub.batch import BatchFirst
from kerasft.hub.cuts import Cuts, Frontier, Key, alike
from kerasft.hub.flat_graph import FlatGraph
from kerasft.hub.graph_def import node_of
from kerasft.hub.graph_function import GraphFunction
from kerasft.hub.normalization import scales_and_offsets
from kerasft.hub.stage_names import blocks_of, layer_name, layer_paths
from kerasft.stages import unique_names


@dataclass(frozen=True)
class Part:
    """One stage of a SavedModel.

    Attributes:
        name: Readable and unique.
        variables: Indices of the variables that it owns.
        sources: Where its inputs come from: a tensor that a stage before gives, by name, or the index of a
            model input.
        dtypes: The dtypes of its inputs.
        gives: Names of its first results, which stages after it take.
        emits: Indices of the model's outputs that are its other results.
        inference: The stage as a function of its inputs and its variables' values.
        training: The same in training mode, followed by the values of the updates; or None.
        updates: Assignments in training mode: (position in `variables`, method of tf.Variable).
        scales: Positions in `variables` of the scales and offsets of batch normalization.
        unclear: Positions of moving statistics whose scale and offset are not known.
    """

    name: str
    variables: tuple[int, ...]
    sources: tuple[str | int, ...]
    dtypes: tuple[str, ...]
    gives: tuple[str, ...]
    emits: tuple[int, ...]
    inference: GraphFunction
    training: GraphFunction | None
    updates: tuple[tuple[int, str], ...]
    scales: tuple[int, ...]
    unclear: tuple[int, ...]


def divide(
    inference: FlatGraph,
    training: FlatGraph | None,
    variables: Sequence[tf.Variable],
    stages: int | None = None,
    map_batch: bool = False,
) -> tuple[list[Part], str | None]:
    """Cut a SavedModel's graph into stages.

    Args:
        inference: The graph for inference, which holds no operation that may not run.
        training: The graph for training, cut at the same places; None to do without.
        variables: The SavedModel's variables.
        stages: Merge neighbours into that many, balanced by parameters; None: one per block.
        map_batch: Whether the graphs are of one sample, without a batch axis.

    Returns:
        The stages in order, and the reason if there is a single one because the graph can't be cut.

    Raises:
        ValueError: The graph has no weights, can't be cut into `stages`, or an update in training mode
            depends on other stages.
    """
    graphs = [inference] if training is None else [inference, training]
    common = set.intersection(*(g.variables(g.outputs) for g in graphs))
    if not common:
        frozen = sum(inference.tensor(f"{n}:0").shape.num_elements() or 0 for n in inference.constants())
        why = f" Its graph is frozen: it holds {frozen} numbers as constants." if frozen > 1 else ""
        raise ValueError(
            f"The outputs of the SavedModel depend on no variable: nothing could be trained.{why}"
        )
    assigned = [i for i, _, _ in training.updates if variables[i].dtype.is_floating] if training else []
    if twice := sorted({variables[i].name for i in assigned if assigned.count(i) > 1}):
        raise ValueError(
            f"In training mode the SavedModel assigns {twice} more than once, as where a layer with moving "
            'statistics is used twice, which a stage can\'t repeat. Load it with batch_norm="inference".'
        )
    main = _main_output(inference)
    batched = [None if map_batch else BatchFirst(graph, variables) for graph in graphs]
    cuts = [Cuts(graph, main, common, where) for graph, where in zip(graphs, batched, strict=True)]
    found = [dict(c.single) for c in cuts]
    keys = [k for k in found[0] if alike(cuts, [f.get(k) for f in found])]

    def chains(keys: Sequence[Key]) -> list[list[Frontier]]:
        return [[f[key] for key in keys] for f in found]

    def pieces_at(keys: Sequence[Key]) -> list[set[int]]:
        owned: list[set[int]] = [set() for _ in range(len(keys) + 1)]
        for graph, chain in zip(graphs, chains(keys), strict=True):  # seeds are read in training mode only
            for i, group in enumerate(owned):
                group |= _owned(graph, main, chain, i)
        for index, _, _ in training.updates if training is not None else ():
            if not any(index in group for group in owned):
                owned[-1].add(index)
        return owned

    def apart(keys: Sequence[Key]) -> list[Key]:
        """Those keys on both sides of which no weight is used."""
        shared = _shared_ranges(pieces_at(keys))
        return [k for i, k in enumerate(keys) if not any(a <= i < b for a, b in shared)]

    layers = layer_paths(inference, variables)
    single = apart(keys)
    opened: list[Key] = []
    for i, last in enumerate([*single, frozenset(common)]):
        segments = [_segment(g, main, chain, i) for g, chain in zip(graphs, chains(single), strict=True)]
        for inner in cuts[0].keys_in(segments[0][0], segments[0][2], layers):
            key = inner | (single[i - 1] if i else frozenset())
            frontiers = [c.frontier(*s, key) for c, s in zip(cuts, segments, strict=True)]
            if key < last and key not in found[0] and alike(cuts, frontiers):
                opened.append(key)
                for f, frontier in zip(found, frontiers, strict=True):
                    f[key] = frontier or ()
        opened += [last] if i < len(single) else []
    before = keys
    keys = apart(opened)
    owned = pieces_at(keys)
    reason = None
    if not keys:
        reason = (
            "Not cut: a weight is used in distant parts of the network."
            if before
            else "Not cut: no single tensor lies on every path from an input to the output and has a row for "
            "each sample."
        )
    spans = blocks_of(owned, inference, variables, stages)
    keep = [span[-1] for _, span in spans[:-1]]
    kept = chains([keys[i] for i in keep])
    names = unique_names([layer_name(name) for name, _ in spans])
    statistics = {i for i, _, _ in (training.updates if training else ()) if variables[i].dtype.is_floating}
    scales, unclear = scales_and_offsets(inference, variables, statistics)
    parts = []
    for i, (name, (_, span)) in enumerate(zip(names, spans, strict=True)):
        mine = sorted(set().union(*(owned[j] for j in span)))
        parts.append(_part(name, i, mine, graphs, main, kept, scales, unclear))
    return parts, reason


def _main_output(graph: FlatGraph) -> int:
    """The output that depends on most of the network."""
    weighted = set(graph.weighted)
    return max(
        range(len(graph.outputs)),
        key=lambda i: (len(graph.ancestors([graph.outputs[i]]) & weighted), -i),
    )


def _emitted(graph: FlatGraph, main: int, cuts: Sequence[Frontier], i: int) -> list[int]:
    """The outputs that stage `i` makes: the main one at the end, others after their last cut."""
    return [k for k, place in enumerate(_places(graph, main, tuple(cuts))) if place == i]


def _places(graph: FlatGraph, main: int, cuts: tuple[Frontier, ...]) -> list[int]:
    """For each output the stage that makes it."""
    if (main, cuts) in graph.memory:
        return list(graph.memory[main, cuts])
    places = graph.memory[main, cuts] = []
    weighted = set(graph.weighted) if len(graph.outputs) > 1 else set()
    before = [graph.ancestors(cut) for cut in cuts] if len(graph.outputs) > 1 else []
    for index, output in enumerate(graph.outputs):
        place = len(cuts)
        needs = graph.ancestors([output]) if index != main else set()
        while index != main and place > 0:
            cut = cuts[place - 1]
            if output not in cut and not needs.isdisjoint(map(node_of, cut)):
                after = graph.ancestors([output], stop=cut) & weighted
                if not after & before[place - 1]:
                    break
            place -= 1
        places.append(place)
    return places


def _segment(
    graph: FlatGraph, main: int, cuts: Sequence[Frontier], i: int
) -> tuple[set[str], Frontier, list[str]]:
    """The nodes of stage `i` that carry data, the tensors that it is given, and those that it makes."""
    given = cuts[i - 1] if i else ()
    ends = [*(cuts[i] if i < len(cuts) else ())]
    ends += [graph.outputs[e] for e in _emitted(graph, main, cuts, i)]
    return graph.ancestors(ends, stop=given) & set(graph.weighted), given, ends


def _owned(graph: FlatGraph, main: int, cuts: Sequence[Frontier], i: int) -> set[int]:
    ends = [*(cuts[i] if i < len(cuts) else ())]
    ends += [graph.outputs[e] for e in _emitted(graph, main, cuts, i)]
    return graph.variables(ends, stop=cuts[i - 1] if i else ())


def _shared_ranges(owned: Sequence[set[int]]) -> list[tuple[int, int]]:
    """Ranges of stages that use one variable together, first and last."""
    ranges = []
    for variable in set().union(*owned):
        users = [i for i, group in enumerate(owned) if variable in group]
        if users[0] != users[-1]:
            ranges.append((users[0], users[-1]))
    return ranges


def _part(
    name: str,
    i: int,
    owned: list[int],
    graphs: Sequence[FlatGraph],
    main: int,
    cuts: Sequence[Sequence[Frontier]],
    scales: set[int],
    unclear: set[int],
) -> Part:
    """Extract stage `i` from each graph, all with the same inputs, variables and results."""
    emits = _emitted(graphs[0], main, cuts[0], i)
    taken: set[int] = set()  # positions in the cut before
    inputs: set[int] = set()
    given = [chain[i - 1] if i else () for chain in cuts]
    after = [chain[i] if i < len(chain) else () for chain in cuts]
    passed = [[tensor in g for tensor in f] for g, f in zip(given, after, strict=True)]
    if any(p != passed[0] for p in passed):
        raise ValueError(f"In training mode other tensors pass by the stage {name!r} than in inference.")
    wanted = []
    updates: list[tuple[int, str, str]] = []
    for graph, before, crossing in zip(graphs, given, after, strict=True):
        ends = [tensor for tensor in crossing if tensor not in before]
        ends += [graph.outputs[e] for e in emits]
        if graph is not graphs[0]:
            updates = [u for u in graph.updates if u[0] in owned]
            ends += [tensor for _, _, tensor in updates]
        foreign = graph.variables(ends, stop=before) - set(owned)
        if foreign:
            raise ValueError(
                f"In training mode the stage {name!r} depends on weights of other stages, so its moving "
                'statistics can\'t be updated by itself. Load the backbone with batch_norm="inference".'
            )
        used = graph.used(ends, before)
        own = [t for t in graph.inputs if node_of(t) in graph.ancestors(ends, stop=before)]
        lacking = graph.lacking([*before, *own], ends, owned)[1].values()
        sizes = graph.size_sources([*used, *own, *before], lacking)
        used |= {tensor for tensor, _, _ in sizes.values()}
        taken |= {k for k, t in enumerate(before) if t in used}
        inputs |= {k for k, t in enumerate(graph.inputs) if t in {*own, *used}}
        wanted.append((graph, before, ends))
    functions = [
        graph.extract(
            [before[k] for k in sorted(taken)] + [graph.inputs[k] for k in sorted(inputs)], ends, owned
        )
        for graph, before, ends in wanted
    ]
    names = [given[0][k] for k in sorted(taken)]
    tensors = names + [graphs[0].inputs[k] for k in sorted(inputs)]
    return Part(
        name,
        tuple(owned),
        (*names, *sorted(inputs)),
        tuple(graphs[0].tensor(t).dtype.name for t in tensors),
        tuple(t for t in after[0] if t not in given[0]),
        tuple(emits),
        functions[0],
        functions[1] if len(functions) > 1 else None,
        tuple((owned.index(index), method) for index, method, _ in updates),
        tuple(i for i, index in enumerate(owned) if index in scales),
        tuple(i for i, index in enumerate(owned) if index in unclear),
    )
