"""Layers are found by the names of the operations that they make."""

import keras
import pytest
from kerasft.export.model.layer_names import layer_at, layers_named_in
from kerasft.export.model.signature import serving_of

layers = keras.layers


@pytest.fixture(scope="module")
def model():
    inner = keras.Sequential(
        [keras.Input((6, 4)), layers.LSTM(3, return_sequences=True, name="memory")], name="inner"
    )
    inputs = keras.Input((6, 4))
    both = layers.Bidirectional(layers.GRU(3), name="both")(inner(inputs))
    return keras.Model(
        inputs, layers.Dense(2, name="dense_1")(layers.Dense(2, name="dense")(both)), name="net"
    )


def test_every_operation_with_weights_has_its_layer(model):
    operations = serving_of(model, 1).graph.get_operations()
    multiplied = {layer_at(model, o.name)[0] for o in operations if o.type == "MatMul"}
    assert multiplied == {"dense", "dense_1", "inner/memory", "both/forward_gru", "both/backward_gru"}
    loops = {layer_at(model, o.name)[0] for o in operations if o.type in ("While", "StatelessWhile")}
    assert loops == {"inner/memory", "both/forward_gru", "both/backward_gru"}


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("net_1/dense_1/MatMul", "dense"),
        ("net_1/dense_1_1/MatMul", "dense_1"),
        ("net_1/dense/MatMul", "dense"),
        ("net_1/inner_1/memory_1/while/lstm_cell_1/add", "inner/memory"),
        ("tfl.dequantize", ""),
        ("nothing/at/all", ""),
    ],
)
def test_scopes_are_numbered(model, operation, expected):
    assert layer_at(model, operation)[0] == expected


def test_messages_name_layers_once(model):
    text = "A (net_1/both_1/forward_gru_1/while;net_1/both_1/forward_gru_1/add1), B (net_1/dense_1/Add)"
    found = layers_named_in(model, text)
    assert found == ["'both/forward_gru' (GRU)", "'dense' (Dense)"]
    assert layers_named_in(model, "no operation") == []
