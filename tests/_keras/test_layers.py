"""A layer's own parts; each private name of Keras that they use is pinned here."""

import keras
import numpy as np

from kerasft._keras.layers import (
    has_lora,
    in_safe_mode,
    lora_bases,
    lora_values,
    own_variables,
    random_state,
    set_lora_values,
    set_random_state,
    sublayers,
    takes_training,
)


def test_keras_still_has_the_names_of_layers(dense_model):
    assert isinstance(dense_model._layers, list)
    assert hasattr(dense_model, "_functional")
    layer = dense_model.layers[0]
    assert layer._trainable_variables == [layer.kernel, layer.bias]
    assert layer._non_trainable_variables == []


def test_sublayers_come_once_parents_first(image_model):
    layers = list(sublayers(image_model))
    assert layers[0] is image_model
    assert len({id(layer) for layer in layers}) == len(layers)
    names = [layer.name for layer in layers]
    assert names.index("backbone") < names.index("stem_conv")
    assert {id(v) for layer in layers for v in own_variables(layer)} == {id(v) for v in image_model.weights}


def test_a_shared_layer_comes_after_all_that_hold_it():
    shared, inputs = keras.layers.Dense(3, name="shared"), keras.Input((3,))
    one = keras.Sequential([keras.Input((3,)), shared], name="one")
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, name="own"), shared], name="other")
    model = keras.Model(inputs, other(one(inputs)))
    names = [s.name for s in sublayers(model) if not isinstance(s, keras.layers.InputLayer)]
    assert names[1:] == ["one", "other", "own", "shared"]


def test_the_weights_that_lora_adapts():
    """Those that plain Keras no longer trains once LoRA is enabled."""
    layers = [
        (keras.layers.Dense(3), (None, 4)),
        (keras.layers.EinsumDense("ab,bc->ac", (3,), bias_axes="c"), (None, 4)),
        (keras.layers.Conv2D(3, 2), (None, 4, 4, 2)),
        (keras.layers.Embedding(5, 4), (None, 4)),
    ]
    for layer, shape in layers:
        layer.build(shape)
        assert lora_bases(layer) == []
        before = layer.trainable_weights
        layer.enable_lora(2)
        (base,) = lora_bases(layer)
        assert [base.name] == [v.name for v in before if not v.trainable]
        layer.trainable = False
        assert lora_bases(layer)[0] is base
    assert lora_bases(keras.layers.ReLU()) == [] and not has_lora(keras.layers.ReLU())


def test_lora_over_a_quantized_kernel():
    """Keras holds it among the weights that never train, so there is none to keep from training."""
    layer = keras.layers.Dense(3)
    layer.build((None, 4))
    layer.quantize("int8")
    layer.enable_lora(2)
    assert has_lora(layer) and lora_bases(layer) == []
    model = keras.Sequential([keras.Input((4,)), layer])
    values = lora_values(model)
    assert len(values) == len(layer.weights)
    layer.lora_kernel_b.assign(np.ones((2, 3)))
    set_lora_values(model, [])
    assert np.all(layer.lora_kernel_b == 1)
    set_lora_values(model, values)
    assert np.all(layer.lora_kernel_b == 0)


def test_safe_mode_is_on_unless_it_is_switched_off():
    assert in_safe_mode()


def test_random_states_come_back():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5)])
    model.compile("sgd", "mse")
    state = random_state(model)
    x = np.ones((64, 4), "float32")
    first = model(x, training=True).numpy()
    assert not np.array_equal(first, model(x, training=True))
    set_random_state(model, state)
    assert np.array_equal(first, model(x, training=True))


def test_which_layers_are_told_whether_the_model_trains():
    told = [keras.layers.BatchNormalization(), keras.layers.Dropout(0.1), keras.Sequential()]
    assert all(takes_training(layer) for layer in told)
    assert not any(takes_training(layer) for layer in (keras.layers.Conv2D(1, 1), keras.layers.ReLU()))
