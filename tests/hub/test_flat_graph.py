"""FlatGraph: parts of a flat graph as functions."""

import numpy as np
import pytest
import tensorflow as tf
from flat_graphs import flat


class TestExtract:
    """Parts of a flat graph as functions."""

    @pytest.mark.parametrize("name", ["chain", "recurrent"])
    def test_whole_graph_equals_the_original(self, name, saved):
        graph, variables, loaded = flat(saved(name))
        function = graph.extract(graph.inputs, graph.outputs, range(len(variables)))
        shape = (2, 4) if name == "chain" else (2, 6, 3)
        x = tf.constant(np.random.default_rng(0).normal(size=shape).astype("float32"))
        values = [v.read_value() for v in variables]
        specs = [tf.TensorSpec(t.shape, t.dtype) for t in (x, *values)]
        np.testing.assert_allclose(function.concrete(specs)(x, *values)[0], loaded(x), atol=1e-6)
        zeros = [tf.zeros_like(v) for v in values]
        assert not np.any(function.concrete(specs)(x, *zeros)[0])

    def test_same_graph_gives_the_same_bytes(self, saved):
        graphs = [flat(saved("recurrent"))[0] for _ in range(2)]
        first, second = (g.extract(g.inputs, g.outputs, range(3)) for g in graphs)
        assert first == second
        other = graphs[0].extract(graphs[0].inputs, graphs[0].outputs, [2, 1, 0])
        assert first != other

    def test_ancestors_stop(self, saved):
        graph, _, _ = flat(saved("chain"))
        (output,) = graph.outputs
        everything = graph.ancestors([output])
        assert graph.ancestors([output], stop=[output]) == set()
        relu = [n for n in everything if graph.nodes[n].op == "Relu"]
        assert len(relu) == 2
        last = next(r for r in relu if len(graph.variables([f"{r}:0"])) == 2)
        assert len(graph.variables([output])) == 3
        assert len(graph.variables([output], stop=[f"{last}:0"])) == 1
