"""divide, balance and layer_paths: where a flat graph is cut, and what the parts own."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from kerasft.hub.divide import divide
from kerasft.hub.flatten import flatten
from kerasft.hub.normalization import scales_and_offsets
from kerasft.hub.stage_names import balance, layer_paths


def graphs(path, modes=(False,)):
    """Flat graphs of a folder for each mode, and the variables."""
    loaded = tf.saved_model.load(path)
    functions = {
        any(v is True for v in tf.nest.flatten(f.structured_input_signature)): f
        for f in loaded.__call__.concrete_functions
    }
    variables = list({id(v.handle): v for f in functions.values() for v in f.variables}.values())
    found = []
    for mode in modes:
        function = functions[mode]
        data = [t for t in function.inputs if t.dtype not in (tf.resource, tf.bool)]
        found.append(flatten(function, data, function.outputs, variables, mode))
    return found, variables


class TestScalesAndOffsets:
    """What belongs to batch normalization, told by the graph for inference."""

    @pytest.mark.parametrize(
        ("kind", "expected", "unclear"),
        [
            ("folded", ["body_bn/beta", "body_bn/gamma"], []),
            ("fused", ["body_bn/beta", "body_bn/gamma"], []),
            ("no_scale", [], []),
            ("by_hand", [], ["body_bn/moving_mean", "body_bn/moving_variance"]),
            ("in_kernel", ["body_bn/beta", "body_bn/gamma"], ["body_bn/moving_variance"]),
        ],
    )
    def test_by_how_it_is_written(self, kind, expected, unclear, saved):
        (inference, training), variables = graphs(saved(f"normed_{kind}"), (False, True))
        statistics = {index for index, _, _ in training.updates}
        found = scales_and_offsets(inference, variables, statistics)
        names = [sorted(variables[i].name.split(":")[0] for i in group) for group in found]
        assert names == [expected, unclear]
        parts, _ = divide(inference, training, variables)
        names = [
            sorted(variables[p.variables[i]].name.split(":")[0] for p in parts for i in getattr(p, key))
            for key in ("scales", "unclear")
        ]
        assert names == [expected, unclear]
        assert scales_and_offsets(inference, variables, set()) == (set(), set())

    @pytest.mark.parametrize("name", ["tf_keras", "residual", "residual_tensor_flag"])
    def test_in_a_network(self, name, saved, tf_keras_cnn):
        if name == "residual_tensor_flag":
            loaded = tf.saved_model.load(saved(name))
            (function,) = loaded.__call__.concrete_functions
            data = [t for t in function.inputs if t.dtype not in (tf.resource, tf.bool)]
            variables = list(function.variables)
            modes = [flatten(function, data, function.outputs, variables, mode) for mode in (False, True)]
        else:
            modes, variables = graphs(tf_keras_cnn if name == "tf_keras" else saved(name), (False, True))
        scales, unclear = scales_and_offsets(modes[0], variables, {i for i, _, _ in modes[1].updates})
        assert not unclear
        expected = [v.name for v in variables if "gamma" in v.name or "beta" in v.name]
        assert sorted(variables[i].name for i in scales) == sorted(expected) and expected


class TestDivide:
    """Stages of a graph."""

    def test_chain(self, saved):
        (graph,), variables = graphs(saved("chain"))
        parts, reason = divide(graph, None, variables)
        assert reason is None
        assert [p.name for p in parts] == ["first", "second", "third"]
        assert [[variables[i].name for i in p.variables] for p in parts] == [
            ["first/kernel:0"],
            ["second/kernel:0"],
            ["third/kernel:0"],
        ]
        assert [p.sources for p in parts] == [(0,), (-1,), (-1,)]
        assert [p.emits for p in parts] == [(), (), (0,)]
        assert all(p.training is None and p.updates == () for p in parts)

    def test_activations_belong_to_the_stage_before(self, saved):
        (graph,), variables = graphs(saved("chain"))
        for part in divide(graph, None, variables)[0]:
            nodes = tf.compat.v1.GraphDef.FromString(part.inference.graph).node
            operations = sorted(n.op for n in nodes if n.op not in ("Identity", "Placeholder"))
            assert operations == (["MatMul"] if part.name == "third" else ["MatMul", "Relu"])

    def test_every_weight_has_one_owner_and_updates_stay_with_it(self, saved):
        (inference, training), variables = graphs(saved("residual"), (False, True))
        parts, _ = divide(inference, training, variables)
        owned = [i for p in parts for i in p.variables]
        assert sorted(owned) == list(range(19))
        updates = [[variables[p.variables[i]].name.split(":")[0] for i, _ in p.updates] for p in parts]
        statistics = ["moving_mean", "moving_variance"]
        assert [sorted(u) for u in updates] == [statistics, statistics, statistics, []]

    def test_side_inputs_and_outputs(self, saved):
        (graph,), variables = graphs(saved("encoder"))
        parts, _ = divide(graph, None, variables)
        mask = 0  # inputs are in the order of their names: mask, type, words
        assert [p.sources for p in parts] == [(1, 2), (-1, mask), (-1, mask), (-1,)]
        assert sorted(i for p in parts for i in p.emits) == [0, 1, 2, 3]

    def test_not_cut(self, saved):
        for name, why in (("parallel", "no single tensor"), ("tied", "used in distant parts")):
            (graph,), variables = graphs(saved(name))
            parts, reason = divide(graph, None, variables)
            assert len(parts) == 1 and why in reason
            assert parts[0].variables == tuple(range(len(variables)))

    @pytest.mark.parametrize("stages", [1, 2, 3])
    def test_number_of_stages(self, stages, saved):
        (graph,), variables = graphs(saved("chain"))
        parts, _ = divide(graph, None, variables, stages)
        assert len(parts) == stages
        assert [i for p in parts for i in p.variables] == sorted(i for p in parts for i in p.variables)
        with pytest.raises(ValueError, match=r"from 1 to 3, .* received 4"):
            divide(graph, None, variables, 4)

    def test_no_weights(self, saved):
        (graph,), variables = graphs(saved("weightless"))
        with pytest.raises(ValueError, match="depend on no variable"):
            divide(graph, None, variables)


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
