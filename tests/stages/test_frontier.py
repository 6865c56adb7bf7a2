"""cheapest_frontier: what crosses from a part of a network to the rest."""

import itertools
import math

import numpy as np
import pytest

from kerasft.stages.frontier import cheapest_frontier


def test_a_chain_is_divided_at_one_value_the_latest_of_the_smallest():
    steps = [(["x"], ["a"]), (["a"], ["b"]), (["b"], ["c"]), (["c"], ["y"])]
    sizes = {"x": 9, "a": 9, "b": 4, "c": 4, "y": 1}
    found = cheapest_frontier(steps, first=[0], later=[3], outputs=["y"], size=sizes.__getitem__)
    assert found == ["c"]


def test_what_a_skip_carries_crosses_as_well():
    steps = [(["x"], ["skip"]), (["skip"], ["down"]), (["down"], ["up"]), (["up", "skip"], ["y"])]
    assert cheapest_frontier(steps, [0, 1], [2, 3], ["y"], lambda value: 1) == ["skip", "down"]
    assert cheapest_frontier(steps, [0], [2, 3], ["y"], lambda value: 1) == ["skip"]


def test_an_input_that_the_rest_reads_crosses_and_an_output_of_the_first_part_too():
    steps = [(["x"], ["a"]), (["a"], ["out"]), (["a", "m"], ["y"])]
    assert cheapest_frontier(steps, [0, 1], [2], ["y", "out"], lambda value: 1) == ["m", "a", "out"]


def test_no_frontier_of_finite_size_is_an_error():
    steps = [(["x"], ["a"]), (["a"], ["y"])]
    with pytest.raises(ValueError, match="No values of finite size"):
        cheapest_frontier(steps, [0], [1], ["y"], lambda value: math.inf if value == "a" else 1)


@pytest.mark.parametrize("seed", range(30))
def test_against_all_closed_sets(seed):
    """The right value comes from trying every first part that is closed under "comes before"."""
    rng = np.random.default_rng(seed)
    count = 7
    steps = []
    for i in range(count):
        before = ["x", *range(i)]
        reads = rng.choice(len(before), size=min(len(before), int(rng.integers(1, 3))), replace=False)
        steps.append(([before[k] for k in reads], [i]))
    sizes = {"x": int(rng.integers(1, 9)), **{i: int(rng.integers(1, 9)) for i in range(count)}}
    first = {int(rng.integers(0, count - 1))}
    for i in sorted(first, reverse=True):
        stack = [i]
        while stack:
            for value in steps[stack.pop()][0]:
                if value != "x" and value not in first:
                    first.add(value)
                    stack.append(value)
    later = {count - 1}
    outputs = [count - 1]
    best = math.inf
    for part in itertools.product([False, True], repeat=count):
        inside = {i for i in range(count) if part[i]}
        closed = all(v == "x" or v in inside for i in inside for v in steps[i][0])
        if first <= inside and not later & inside and closed:
            read = {v for i in range(count) if i not in inside for v in steps[i][0]} | set(outputs)
            best = min(best, sum(sizes[v] for v in read if v == "x" or v in inside))
    found = cheapest_frontier(steps, first, later, outputs, sizes.__getitem__)
    assert sum(sizes[v] for v in found) == best
