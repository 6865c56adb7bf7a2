"""layer_paths and balance: the layers a SavedModel had, and how they make stages."""

import itertools

import numpy as np
from flat_graphs import graphs

from kerasft.hub.stage_names import balance, layer_name, layer_paths


class TestLayerPaths:
    """Paths of layers."""

    def test_from_names(self, saved):
        (graph,), variables = graphs(saved("encoder"))
        paths = layer_paths(graph, variables)
        found = {variables[i].name.split(":")[0]: path for i, path in paths.items()}
        assert len(found) == 11
        assert found["embeddings/word/table"] == "embeddings/word"
        assert found["encoder/layer_1/q/kernel"] == "encoder/layer_1/q"
        assert found["pooler/kernel"] == "pooler"

    def test_from_scopes(self, saved):
        (graph,), variables = graphs(saved("residual"))
        assert {v.name for v in variables} == {
            "kernel:0",
            "gamma:0",
            "beta:0",
            "moving_mean:0",
            "moving_variance:0",
        }
        paths = layer_paths(graph, variables)
        units = [f"{u}/{k}" for u in ("stem", "block_1", "block_2") for k in ("conv", "project", "bn")]
        assert set(paths.values()) == {*units, "top/dense"}
        for i, path in paths.items():
            assert ("kernel" in variables[i].name) == (not path.endswith("/bn"))


class TestBalance:
    """Dividing a row of sizes."""

    def test_known(self):
        assert balance([1, 1, 1, 9], 2) == [0, 3, 4]
        assert balance([5, 1, 1, 5], 2) == [0, 2, 4]
        assert balance([3, 4, 5], 3) == [0, 1, 2, 3]
        assert balance([3, 4, 5], 1) == [0, 3]

    def test_against_all_divisions(self):
        rng = np.random.default_rng(0)
        for _ in range(50):
            sizes = rng.integers(0, 20, rng.integers(1, 8)).tolist()
            groups = int(rng.integers(1, len(sizes) + 1))

            def largest(bounds, sizes=sizes):
                return max(sum(sizes[a:b]) for a, b in itertools.pairwise(bounds))

            options = itertools.combinations(range(1, len(sizes)), groups - 1)
            best = min(largest([0, *inner, len(sizes)]) for inner in options)
            bounds = balance(sizes, groups)
            assert bounds[0] == 0 and bounds[-1] == len(sizes) and len(bounds) == groups + 1
            assert all(a < b for a, b in itertools.pairwise(bounds))
            assert largest(bounds) == best


def test_names_of_layers():
    assert layer_name("encoder/layer_1") == "encoder_layer_1"
    assert layer_name("block 1:conv-2.a") == "block_1_conv-2.a"
    assert layer_name("//") == "stage"
