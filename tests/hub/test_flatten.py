"""Flattening: the private names that it needs, the inlining, and what reads of variables become."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasft.hub.flat_graph import node_of
from kerasft.hub.flatten import flatten, gradients_are_recorded


def load(path, training=False):
    """The concrete function of a folder, its data inputs, and its variables."""
    loaded = tf.saved_model.load(path)
    functions = loaded.__call__.concrete_functions
    function = next(
        f
        for f in functions
        if training in tf.nest.flatten(f.structured_input_signature)
        or not any(isinstance(v, bool) for v in tf.nest.flatten(f.structured_input_signature))
    )
    data = [t for t in function.inputs if t.dtype not in (tf.resource, tf.bool)]
    return loaded, function, data, list(function.variables)


def flat(path, training=False):
    loaded, function, data, variables = load(path, training)
    return flatten(function, data, function.outputs, variables, training), variables, loaded


class TestPrivateNames:
    """What TensorFlow does not promise; a release that changes it breaks these tests first."""

    def test_function_def_to_graph_def(self):
        from tensorflow.python.framework.function_def_to_graph import function_def_to_graph_def

        @tf.function
        def inner(x):
            return tf.split(x, 2, axis=1)[1] * 2.0

        concrete = inner.get_concrete_function(tf.TensorSpec((None, 4), tf.float32))
        definition = concrete.function_def
        graph, names = function_def_to_graph_def(definition)
        assert isinstance(graph, tf.compat.v1.GraphDef)
        arguments = [a.name for a in definition.signature.input_arg]
        assert [n.name for n in graph.node if n.op == "Placeholder"] == arguments
        for result in definition.signature.output_arg:  # nested name (node:output:0) to flat (node:0)
            name, index = names[definition.ret[result.name]].split(":")
            assert name in {n.name for n in graph.node} and index.isdigit()
        assert names["split:output:1"] == "split:1"

    def test_a_tape_shows_that_it_records(self):
        seen = []

        def look(x):
            seen.append(gradients_are_recorded())
            return x

        tf.function(look)(1.0)
        with tf.GradientTape():
            look(1.0)
        assert seen == [False, True]
        layers = [keras.layers.Lambda(look), keras.layers.Dense(1)]
        model = keras.Sequential([keras.Input((1,)), *layers])
        model.compile("sgd", "mse")
        seen.clear()
        model.fit(np.ones((1, 1)), np.ones((1, 1)), verbose=0)
        assert set(seen) == {True}
        seen.clear()
        model.predict(np.ones((1, 1)), verbose=0)
        assert set(seen) == {False}

    def test_captures_line_up_with_their_values(self, saved):
        _, function, _, _ = load(saved("residual"))
        inside, outside = function.graph.internal_captures, function.captured_inputs
        assert len(inside) == len(outside) == 19
        assert [t.dtype for t in inside] == [t.dtype for t in outside] == [tf.resource] * 19
        assert {t.name for t in inside} < {t.name for t in function.inputs}
        assert {id(t) for t in outside} == {id(v.handle) for v in function.variables}
        by_position = dict(zip([t.name for t in function.inputs][-19:], outside, strict=True))
        for t, value in zip(inside, outside, strict=True):
            assert by_position[t.name] is value

    def test_structured_signatures(self, saved):
        _, function, data, _ = load(saved("encoder"))
        args, kwargs = function.structured_input_signature
        assert sorted(args[0]) == ["input_mask", "input_type_ids", "input_word_ids"]
        assert [t.name.split(":")[0] for t in data] == sorted(args[0]) and not kwargs
        assert sorted(function.structured_outputs) == ["encoder_outputs", "pooled_output", "sequence_output"]


class TestFlatten:
    """One level of nodes, without handles."""

    @pytest.mark.parametrize("name", ["residual", "residual_tensor_flag", "encoder", "recurrent", "chain"])
    def test_no_calls_and_no_handles_are_left(self, name, saved):
        graph, variables, _ = flat(saved(name))
        operations = {n.op for n in graph.nodes.values()}
        assert not operations & {
            "PartitionedCall",
            "StatefulPartitionedCall",
            "ReadVariableOp",
            "VarHandleOp",
        }
        assert {graph.nodes[n].op for n in graph.reads} == {"Placeholder"}
        assert graph.variables(graph.outputs) == set(range(len(variables)))
        for node in graph.nodes.values():
            assert all(node_of(t) in graph.nodes for t in node.input)
            assert not any(key.startswith("_") for key in node.attr)

    def test_nested_functions_were_there(self, saved):
        _, function, _, _ = load(saved("encoder"))
        calls = [n for n in function.graph.as_graph_def().node if n.op == "StatefulPartitionedCall"]
        assert len(calls) == 2  # one for each encoder layer

    def test_gather_of_a_handle_becomes_one_of_a_value(self, saved):
        graph, _, _ = flat(saved("encoder"))
        operations = [n.op for n in graph.nodes.values()]
        assert "ResourceGather" not in operations and operations.count("GatherV2") >= 2

    def test_updates_of_the_training_graph_only(self, saved):
        assert flat(saved("residual"))[0].updates == []
        graph, variables, _ = flat(saved("residual"), training=True)
        found = sorted((variables[i].name, method) for i, method, _ in graph.updates)
        assert found == [("moving_mean:0", "assign")] * 3 + [("moving_variance:0", "assign_sub")] * 3

    def test_a_lookup_table_is_refused(self, saved):
        with pytest.raises(ValueError, match="no variable"):
            flat(saved("looks_up"))

    def test_loop_takes_values(self, saved):
        graph, _, _ = flat(saved("recurrent"))
        loops = [n for n in graph.nodes.values() if n.op in ("While", "StatelessWhile")]
        assert len(loops) == 1
        assert tf.resource.as_datatype_enum not in loops[0].attr["T"].list.type


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
