"""Flattening: the private names that it needs, and the inlining."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from flat_graphs import flat, load

from kerasft.hub.flatten import gradients_are_recorded, parse_saved_model
from kerasft.hub.graph_def import RESOURCE, node_of


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

    def test_the_protocol_buffer_of_a_saved_model(self, saved):
        with open(f"{saved('chain')}/saved_model.pb", "rb") as file:
            model = parse_saved_model(file.read())
        (graph,) = model.meta_graphs
        assert graph.HasField("object_graph_def") and graph.graph_def.library.function
        with pytest.raises(ValueError, match=r"saved_model\.pb can't be read"):
            parse_saved_model(b"\xff" * 99)

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

    def test_updates_of_the_training_graph_only(self, saved):
        assert flat(saved("residual"))[0].updates == []
        graph, variables, _ = flat(saved("residual"), training=True)
        found = sorted((variables[i].name, method) for i, method, _ in graph.updates)
        assert found == [("moving_mean:0", "assign")] * 3 + [("moving_variance:0", "assign_sub")] * 3

    def test_a_lookup_table_becomes_constants(self, saved):
        graph, *_ = flat(saved("looks_up"))
        assert not [n.op for n in graph.nodes.values() if "Table" in n.op or n.attr["dtype"].type == RESOURCE]
        constants = {tuple(n.attr["value"].tensor.string_val) for n in graph.nodes.values()}
        assert constants & {(b"a", b"b"), (b"b", b"a")}
