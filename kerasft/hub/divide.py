"""divide: cut a flattened SavedModel into stages, each with its weights, its graphs and a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from kerasft.hub.flat_graph import FlatGraph
from kerasft.hub.graph_def import node_of
from kerasft.hub.graph_function import GraphFunction
from kerasft.hub.normalization import scales_and_offsets
from kerasft.hub.stage_names import blocks_of, layer_name
from kerasft.stages import cut_points, unique_names


@dataclass(frozen=True)
class Part:
    """One stage of a SavedModel.

    Attributes:
        name: Readable and unique.
        variables: Indices of the variables that it owns.
        sources: Where its inputs come from: -1 for the stage before, else the index of a model input.
        emits: Indices of the model's outputs that it makes; if it is not the last, its first result is
            the tensor that the next stage takes.
        inference: The stage as a function of its inputs and its variables' values.
        training: The same in training mode, followed by the values of the updates; or None.
        updates: Assignments in training mode: (position in `variables`, method of tf.Variable).
        scales: Positions in `variables` of the scales and offsets of batch normalization.
        unclear: Positions of moving statistics whose scale and offset are not known.
    """

    name: str
    variables: tuple[int, ...]
    sources: tuple[int, ...]
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
) -> tuple[list[Part], str | None]:
    """Cut a SavedModel's graph into stages.

    Args:
        inference: The graph for inference.
        training: The graph for training, cut at the same places; None to do without.
        variables: The SavedModel's variables.
        stages: Merge neighbours into that many, balanced by parameters; None: one per block.

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
    main = _main_output(inference)
    chains = [_cuts(graph, main, common) for graph in graphs]
    keys = [k for k in chains[0] if all(k in c and _alike(graphs, chains, k) for c in chains)]

    def pieces_at(keys: list[frozenset[int]]) -> list[set[int]]:
        owned: list[set[int]] = [set() for _ in range(len(keys) + 1)]
        for graph, chain in zip(graphs, chains, strict=True):  # seeds are read in training mode only
            for i, group in enumerate(owned):
                group |= _owned(graph, main, [chain[key] for key in keys], i)
        for index, _, _ in training.updates if training is not None else ():
            if not any(index in group for group in owned):
                owned[-1].add(index)
        return owned

    owned = pieces_at(keys)
    shared = _shared_ranges(owned)
    keys = [k for i, k in enumerate(keys) if not any(a <= i < b for a, b in shared)]
    owned = pieces_at(keys)
    reason = None
    if not keys:
        reason = (
            "Not cut: a weight is used in distant parts of the network."
            if shared
            else "Not cut: no single tensor lies on every path from an input to the output."
        )
    spans = blocks_of(owned, inference, variables, stages)
    keep = [span[-1] for _, span in spans[:-1]]
    cuts = [[chain[keys[i]] for i in keep] for chain in chains]
    names = unique_names([layer_name(name) for name, _ in spans])
    statistics = {i for i, _, _ in (training.updates if training else ()) if variables[i].dtype.is_floating}
    scales, unclear = scales_and_offsets(inference, variables, statistics)
    parts = []
    for i, (name, (_, span)) in enumerate(zip(names, spans, strict=True)):
        mine = sorted(set().union(*(owned[j] for j in span)))
        parts.append(_part(name, i, mine, graphs, main, cuts, scales, unclear))
    return parts, reason


def _main_output(graph: FlatGraph) -> int:
    """The output that depends on most of the network."""
    weighted = set(graph.weighted())
    return max(
        range(len(graph.outputs)),
        key=lambda i: (len(graph.ancestors([graph.outputs[i]]) & weighted), -i),
    )


def _cuts(graph: FlatGraph, main: int, common: set[int]) -> dict[frozenset[int], str]:
    """The legal cuts by the weights that lie before them; of those with the same, the last."""
    weighted = graph.weighted()
    output = graph.outputs[main]
    if node_of(output) not in weighted:
        return {}
    before = weighted.subgraph(graph.ancestors([output]))
    total = graph.variables([output]) & common
    cuts: dict[frozenset[int], str] = {}
    for node in cut_points(before, [node_of(output)]):
        used = graph.used_outputs(node)
        if len(used) != 1 or used == {output}:
            continue
        (tensor,) = used
        key = frozenset(graph.variables([tensor]) & common)
        if key and key != total and graph.tensor(tensor).dtype.is_floating:
            cuts[key] = tensor
    return cuts


def _alike(
    graphs: Sequence[FlatGraph], chains: Sequence[dict[frozenset[int], str]], key: frozenset[int]
) -> bool:
    tensors = [g.tensor(c[key]) for g, c in zip(graphs, chains, strict=True) if key in c]
    first = tensors[0]
    return all(t.dtype == first.dtype and t.shape.is_compatible_with(first.shape) for t in tensors)


def _emitted(graph: FlatGraph, main: int, cuts: Sequence[str], i: int) -> list[int]:
    """The outputs that stage `i` makes: the main one at the end, others after their last cut."""
    found = []
    weighted = set(graph.weighted()) if len(graph.outputs) > 1 else set()
    for index, output in enumerate(graph.outputs):
        place = len(cuts)
        while index != main and place > 0:
            cut = cuts[place - 1]
            after = graph.ancestors([output], stop=[cut]) & weighted
            if node_of(cut) in graph.ancestors([output]) and output != cut:
                if not after & graph.ancestors([cut]):
                    break
            place -= 1
        if place == i:
            found.append(index)
    return found


def _owned(graph: FlatGraph, main: int, cuts: Sequence[str], i: int) -> set[int]:
    before = [cuts[i - 1]] if i else []
    after = [cuts[i]] if i < len(cuts) else []
    ends = [graph.outputs[e] for e in _emitted(graph, main, cuts, i)]
    return graph.variables([*after, *ends], stop=before)


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
    cuts: Sequence[Sequence[str]],
    scales: set[int],
    unclear: set[int],
) -> Part:
    """Extract stage `i` from each graph, all with the same inputs, variables and results."""
    emits = _emitted(graphs[0], main, cuts[0], i)
    sources: set[int] = {-1} if i else set()
    wanted = []
    updates: list[tuple[int, str, str]] = []
    for graph, chain in zip(graphs, cuts, strict=True):
        ends = [chain[i]] if i < len(chain) else []
        ends += [graph.outputs[e] for e in emits]
        if graph is not graphs[0]:
            updates = [u for u in graph.updates if u[0] in owned]
            ends += [tensor for _, _, tensor in updates]
        before = [chain[i - 1]] if i else []
        needed = graph.ancestors(ends, stop=before)
        own = [t for t in graph.inputs if node_of(t) in needed]
        lacking = graph.lacking([*before, *own], ends, owned)[1].values()
        own += [tensor for tensor, _, _ in graph.size_sources([*before, *own], lacking).values()]
        sources |= {k for k, t in enumerate(graph.inputs) if t in own}
        foreign = graph.variables(ends, stop=before) - set(owned)
        if foreign:
            raise ValueError(
                f"In training mode the stage {name!r} depends on weights of other stages, so its moving "
                'statistics can\'t be updated by itself. Load the backbone with batch_norm="inference".'
            )
        wanted.append((graph, chain, ends))
    order = sorted(sources)
    functions = [
        graph.extract([chain[i - 1] if s < 0 else graph.inputs[s] for s in order], ends, owned)
        for graph, chain, ends in wanted
    ]
    return Part(
        name,
        tuple(owned),
        tuple(order),
        tuple(emits),
        functions[0],
        functions[1] if len(functions) > 1 else None,
        tuple((owned.index(index), method) for index, method, _ in updates),
        tuple(i for i, index in enumerate(owned) if index in scales),
        tuple(i for i, index in enumerate(owned) if index in unclear),
    )
