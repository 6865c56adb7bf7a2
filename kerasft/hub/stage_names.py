"""The layers that a SavedModel had, by the names of its nodes, and the stages that they make."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import tensorflow as tf

from kerasft.hub.flat_graph import FlatGraph
from kerasft.stages import group_blocks


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


def blocks_of(
    owned: Sequence[set[int]],
    graph: FlatGraph,
    variables: Sequence[tf.Variable],
    stages: int | None,
) -> list[tuple[str, range]]:
    """Put the pieces of a graph together into named blocks.

    Args:
        owned: For each piece, in order, the indices of its variables.
        graph: The graph for inference.
        variables: The SavedModel's variables.
        stages: As in `divide`.

    Returns:
        One (name, range of pieces) for each block, in order.

    Raises:
        ValueError: `stages` is not a number from 1 to the number of pieces.
    """
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


def layer_name(name: str) -> str:
    """Turn a path of layers into a name that Keras accepts."""
    return re.sub(r"[^A-Za-z0-9_.\-]+", "_", name).strip("_") or "stage"
