"""Divide a flattened SavedModel into stages: where to cut, what belongs together, what it is called."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import networkx
import tensorflow as tf

from kerasft.hub.flatten import FlatGraph, node_of
from kerasft.hub.graph_function import GraphFunction
from kerasft.stages import cut_points, group_blocks, unique_names


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
        updates: What training mode assigns: (position in `variables`, method of tf.Variable).
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
        raise ValueError("The outputs of the SavedModel depend on no variable: nothing could be trained.")
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
    spans = _blocks(owned, inference, variables, stages)
    keep = [span[-1] for _, span in spans[:-1]]
    cuts = [[chain[keys[i]] for i in keep] for chain in chains]
    names = unique_names([_layer_name(name) for name, _ in spans])
    statistics = {i for i, _, _ in (training.updates if training else ()) if variables[i].dtype.is_floating}
    scales, unclear = scales_and_offsets(inference, variables, statistics)
    parts = []
    for i, (name, (_, span)) in enumerate(zip(names, spans, strict=True)):
        mine = sorted(set().union(*(owned[j] for j in span)))
        parts.append(_part(name, i, mine, graphs, main, cuts, scales, unclear))
    return parts, reason


def _main_output(graph: FlatGraph) -> int:
    """The output that most of the network lies before."""
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


def _alike(graphs: Sequence[FlatGraph], chains: Sequence[dict[Any, str]], key: Any) -> bool:
    tensors = [g.tensor(c[key]) for g, c in zip(graphs, chains, strict=True) if key in c]
    first = tensors[0]
    return all(t.dtype == first.dtype and t.shape.is_compatible_with(first.shape) for t in tensors)


def _emitted(graph: FlatGraph, main: int, cuts: Sequence[str], i: int) -> list[int]:
    """The outputs that stage `i` makes: the main one at the end, others behind their last cut."""
    found = []
    weighted = set(graph.weighted()) if len(graph.outputs) > 1 else set()
    for index, output in enumerate(graph.outputs):
        place = len(cuts)
        while index != main and place > 0:
            cut = cuts[place - 1]
            behind = graph.ancestors([output], stop=[cut]) & weighted
            if node_of(cut) in graph.ancestors([output]) and output != cut:
                if not behind & graph.ancestors([cut]):
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
        sources |= {k for k, t in enumerate(graph.inputs) if node_of(t) in needed}
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


def scales_and_offsets(
    inference: FlatGraph, variables: Sequence[tf.Variable], statistics: set[int]
) -> tuple[set[int], set[int]]:
    """Find the scales and offsets of batch normalization by how they meet the moving statistics.

    In inference mode they do so before any data comes in: `x * s + (offset - mean * s)`, where
    `s = scale / sqrt(variance + epsilon)`, as TensorFlow and Keras compute it; or as arguments of one
    FusedBatchNorm. The names of variables are not looked at.

    Args:
        inference: The graph for inference.
        variables: The SavedModel's variables.
        statistics: Indices of the variables that training mode updates.

    Returns:
        Indices of the scales and offsets, and of the statistics for which these can't be told: those that
        meet data alone, as in `(x - mean) / deviation * scale + offset`, or weights of another size.
    """
    graph = inference.graph
    data = {node_of(t) for t in inference.inputs}
    data |= {n for root in data for n in networkx.descendants(graph, root)}
    roots = [name for name, index in inference.reads.items() if index in statistics]
    behind = {n for root in roots for n in networkx.descendants(graph, root)} & inference.needed
    scales: set[int] = set()
    alone = statistics & inference.variables(inference.outputs)
    mixed: set[int] = set()
    for name in behind:
        node = inference.nodes[name]
        fused = node.op.startswith("FusedBatchNorm")
        if name in data and not fused:
            continue
        met = inference.variables(node.input[1:5] if fused else node.input)
        if len({variables[i].shape.num_elements() for i in met}) > 1:
            mixed |= met & statistics
        elif len(met) > 1:
            alone -= met
            scales |= met - statistics
    return scales, alone | mixed


# --- blocks and names ----------------------------------------------------------------------------------


def layer_paths(graph: FlatGraph, variables: Sequence[tf.Variable]) -> dict[int, str]:
    """The path of the layer that each variable belongs to, without what all have in common.

    It comes from the variables' names, or, where these say nothing (Keras 3 calls them all `kernel`), from
    the scope in which the graph reads them.
    """
    used = sorted(graph.variables(graph.outputs))
    names = {i: variables[i].name.split(":")[0] for i in used}
    if sum("/" in name for name in names.values()) < len(names) / 2:
        scopes: dict[int, str] = {}
        for node, index in graph.reads.items():
            words = node.removeprefix("n_").split("/")
            words = [w for w in words if not re.fullmatch(r"(Stateful)?PartitionedCall(_\d+)?", w)]
            scopes.setdefault(index, "/".join(words[:-2]))
        names = {i: f"{scopes[i]}/{names[i]}" for i in used if i in scopes}
    paths = {i: name.split("/") for i, name in names.items()}
    columns = zip(*(p[:-1] for p in paths.values()), strict=False)
    common = sum(1 for _ in itertools.takewhile(lambda column: len(set(column)) == 1, columns))
    return {i: "/".join(p[common:-1] or p[-1:]) for i, p in paths.items()}


def _blocks(
    owned: Sequence[set[int]],
    graph: FlatGraph,
    variables: Sequence[tf.Variable],
    stages: int | None,
) -> list[tuple[str, range]]:
    paths = layer_paths(graph, variables)
    names = [[paths[i] for i in sorted(group) if i in paths] or ["stage"] for group in owned]
    kernels = [sum(len(variables[i].shape) > 1 for i in group) for group in owned]
    blocks = group_blocks(names, kernels)
    if stages is None:
        return blocks
    if not isinstance(stages, int) or isinstance(stages, bool) or not 1 <= stages <= len(owned):
        raise ValueError(
            f"stages is a number from 1 to {len(owned)}, as many as the graph can be cut into; "
            f"received {stages!r}."
        )
    if stages > len(blocks):
        blocks = [(group[0], range(i, i + 1)) for i, group in enumerate(names)]
    sizes = [sum(variables[i].shape.num_elements() for j in span for i in owned[j]) for _, span in blocks]
    merged = []
    for begin, end in itertools.pairwise(balance(sizes, stages)):
        first, last = blocks[begin], blocks[end - 1]
        name = first[0] if end - begin == 1 else f"{first[0]}-{last[0]}"
        merged.append((name, range(first[1][0], last[1][-1] + 1)))
    return merged


def balance(sizes: Sequence[int], groups: int) -> list[int]:
    """Bounds that divide `sizes`, in order, into `groups` so that the largest sum is as small as can be.

    Returns:
        `groups + 1` bounds, from 0 to `len(sizes)`; no group is empty.
    """
    totals = [0, *itertools.accumulate(sizes)]
    count = len(sizes)
    best = {(0, 0): (0, 0)}  # (groups, end) -> (largest sum, begin of the last group)
    for g in range(1, groups + 1):
        for end in range(g, count - groups + g + 1):
            best[g, end] = min(
                (max(best[g - 1, begin][0], totals[end] - totals[begin]), begin)
                for begin in range(g - 1, end)
                if (g - 1, begin) in best
            )
    bounds = [count]
    for g in range(groups, 0, -1):
        bounds.append(best[g, bounds[-1]][1])
    return bounds[::-1]


def _layer_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.\-]+", "_", name).strip("_") or "stage"
