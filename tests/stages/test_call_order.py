"""CallOrder: what comes before what among the operations of a model."""

import keras

from kerasft.stages.call_order import call_order

layers = keras.layers


def names(order, nodes):
    return [layer.name for layer in order.operations(nodes)]


def node_of(order, name):
    return next(node for node in order.graph if name in names(order, [node]))


def test_calls_side_by_side_are_one_node_and_a_later_call_holds_nothing():
    shared, tied = layers.Dense(4, name="shared"), layers.Dense(4, name="tied")
    left, right = keras.Input((4,)), keras.Input((4,))
    joined = layers.Add()([shared(left), shared(right)])
    outputs = tied(layers.Dense(4, name="middle")(tied(joined)))
    order = call_order(keras.Model([left, right], outputs))
    assert names(order, order.graph) == ["shared", "tied", "middle"]
    assert names(order, order.before([node_of(order, "tied")])) == ["shared"]
    assert [[op.name for op in s.operations] for s in order.divide(set(order.graph), order.sinks)] == [
        ["shared"], [], ["tied"], ["middle"], [],
    ]  # fmt: skip


def test_layers_that_two_branches_call_in_opposite_order_are_one_node():
    a, b = layers.Dense(4, name="a"), layers.Dense(4, name="b")
    left, right = keras.Input((4,)), keras.Input((4,))
    order = call_order(keras.Model([left, right], layers.Add()([b(a(left)), a(b(right))])))
    assert sorted(names(order, [node_of(order, "a")])) == ["a", "b"]
    assert node_of(order, "a") == node_of(order, "b")


def test_groups_in_series():
    x = inputs = keras.Input((4,))
    for name in "ab":
        x = layers.Dense(4, name=name)(x)
    x = layers.Add()([layers.Dense(4, name=name)(x) for name in "cd"])
    order = call_order(keras.Model(inputs, layers.Dense(4, name="e")(x)))
    nodes = [node_of(order, name) for name in "abcde"]
    groups = [sorted(names(order, group)) for group in order.in_series(nodes)]
    assert groups == [["a"], ["b"], ["c", "d"], ["e"]]


def test_a_result_from_on_the_way_is_no_sink():
    inputs = keras.Input((4,))
    x = layers.Dense(4, name="a")(inputs)
    y = layers.Dense(4, name="b")(x)
    ends = [layers.ReLU(name="tap")(x), layers.Dense(1, name="c")(y), layers.Dense(1, name="d")(y)]
    order = call_order(keras.Model(inputs, ends))
    assert sorted(names(order, order.sinks)) == ["c", "d"]


def test_a_model_with_unknown_calls_has_no_order():
    assert call_order(keras.Model()) is None
