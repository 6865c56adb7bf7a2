"""divide: where a flat graph is cut, and what the parts own."""

import pytest
import tensorflow as tf
from flat_graphs import graphs

from kerasft.hub.divide import divide


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
        assert [p.sources for p in parts] == [(0,), parts[0].gives, parts[1].gives]
        assert [len(p.gives) for p in parts] == [1, 1, 0]
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
        gives = [p.gives for p in parts]
        assert [p.sources for p in parts] == [(1, 2), (*gives[0], mask), (*gives[1], mask), gives[2]]
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
