"""GraphFunction: a graph without variables that survives being written as JSON."""

import json

import numpy as np
import pytest
import tensorflow as tf

from kerasft.hub.graph_function import GraphFunction


def graph_function(body, *specs):
    """`body` of placeholders as a GraphFunction."""
    with tf.Graph().as_default() as graph:
        ends = [tf.compat.v1.placeholder(s.dtype, s.shape, name=f"x{i}") for i, s in enumerate(specs)]
        results = [tf.identity(t, name=f"y{i}") for i, t in enumerate(body(*ends))]
    return GraphFunction(
        graph.as_graph_def().SerializeToString(),
        tuple(t.name for t in ends),
        tuple(t.name for t in results),
    )


VECTOR = tf.TensorSpec((None, 3), tf.float32)


def test_runs_and_has_gradients():
    function = graph_function(lambda x, w: [x * w, x + 1.0], VECTOR, VECTOR).concrete([VECTOR, VECTOR])
    x, w = tf.constant([[1.0, 2.0, 3.0]]), tf.constant([[4.0, 5.0, 6.0]])
    with tf.GradientTape() as tape:
        tape.watch(w)
        product, more = function(x, w)
    np.testing.assert_allclose(product, [[4.0, 10.0, 18.0]])
    np.testing.assert_allclose(more, [[2.0, 3.0, 4.0]])
    np.testing.assert_allclose(tape.gradient(product, w), x)


def test_inputs_come_in_order():
    function = graph_function(lambda a, b: [a - b], VECTOR, VECTOR)
    turned = GraphFunction(function.graph, function.inputs[::-1], function.outputs)
    one, two = tf.ones((1, 3)), tf.fill((1, 3), 2.0)
    np.testing.assert_allclose(function.concrete([VECTOR] * 2)(one, two)[0], [[-1.0] * 3])
    np.testing.assert_allclose(turned.concrete([VECTOR] * 2)(one, two)[0], [[1.0] * 3])


def test_config_is_json_and_comes_back():
    function = graph_function(lambda x: [tf.nn.relu(x)], VECTOR)
    text = json.dumps(function.to_config())
    assert GraphFunction.from_config(json.loads(text)) == function
    other = graph_function(lambda x: [tf.nn.relu6(x)], VECTOR)
    assert GraphFunction.from_config(other.to_config()) != function


def test_check_ops_lets_arithmetic_pass():
    graph_function(lambda x: [tf.nn.softmax(tf.matmul(x, x, transpose_b=True))], VECTOR).check_ops()


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("ReadFile", lambda x: [tf.io.read_file("/dev/null")]),
        ("WriteFile", lambda x: [x, tf.raw_ops.WriteFile(filename="a", contents="b")][:1]),
        ("PrintV2", lambda x: [x, tf.print(x)][:1]),
        ("EagerPyFunc", lambda x: [tf.py_function(lambda v: v, [x], tf.float32)]),
        ("VarHandleOp", lambda x: [tf.raw_ops.VarHandleOp(dtype="float32", shape=(2,))]),
    ],
)
def test_check_ops_refuses(operation, body):
    function = graph_function(body, VECTOR)
    with pytest.raises(ValueError, match=rf"not known to be safe: \[.*'{operation}'.*safe_mode=False"):
        function.check_ops()


def test_check_ops_looks_into_functions():
    @tf.function
    def inner(x):
        return x + tf.cast(tf.strings.length(tf.io.read_file("/dev/null")), tf.float32)

    function = graph_function(lambda x: [inner(x)], VECTOR)
    graph = tf.compat.v1.GraphDef.FromString(function.graph)
    assert "ReadFile" not in {n.op for n in graph.node}
    with pytest.raises(ValueError, match="'ReadFile'"):
        function.check_ops()


def test_check_ops_is_not_deceived_by_a_function_named_as_an_operation():
    function = graph_function(lambda x: [tf.io.read_file("/dev/null")], VECTOR)
    graph = tf.compat.v1.GraphDef.FromString(function.graph)
    graph.library.function.add().signature.name = "ReadFile"
    tampered = GraphFunction(graph.SerializeToString(), function.inputs, function.outputs)
    with pytest.raises(ValueError, match="'ReadFile'"):
        tampered.check_ops()


def test_concrete_needs_as_many_specs_as_inputs():
    function = graph_function(lambda x: [x], VECTOR)
    with pytest.raises(ValueError, match=r"zip\(\)"):
        function.concrete([VECTOR, VECTOR])


def test_asked_for_again_it_is_the_same():
    function = graph_function(lambda x: [tf.nn.relu(x)], VECTOR)
    copy = GraphFunction.from_config(function.to_config())
    assert function.concrete([VECTOR]) is function.concrete([VECTOR]) is copy.concrete([VECTOR])
    assert function.concrete([tf.TensorSpec((2, 3), tf.float32)]) is not function.concrete([VECTOR])
    other = graph_function(lambda x: [tf.nn.relu6(x)], VECTOR)
    assert other.concrete([VECTOR]) is not function.concrete([VECTOR])


def test_what_draws_numbers_begins_anew_for_each_who_asks():
    function = graph_function(lambda x: [x + tf.random.uniform((1, 3), seed=3)], VECTOR)
    x = tf.zeros((1, 3))
    one, two = function.concrete([VECTOR]), function.concrete([VECTOR])
    drawn = [one(x)[0].numpy(), one(x)[0].numpy()]
    assert not np.array_equal(*drawn)
    np.testing.assert_array_equal(two(x)[0], drawn[0])


def test_what_is_not_known_is_not_shared():
    function = graph_function(lambda x: [x + tf.cast(tf.timestamp(), tf.float32)], VECTOR)
    assert function.concrete([VECTOR]) is not function.concrete([VECTOR])
