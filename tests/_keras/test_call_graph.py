"""A model as its calls, and as a program that can be run in parts."""

import keras
import numpy as np
import tensorflow as tf

from kerasft._keras.call_graph import calls, program
from kerasft._keras.layers import has_losses


def test_calls_are_in_order_and_none_for_subclassed_models(dense_model):
    made = set()
    for call in calls(dense_model):
        assert all(id(t) in made for t in call.inputs)
        made |= {id(t) for t in call.outputs}

    class Own(keras.Model):
        pass

    assert calls(Own()) is None


def test_keras_keeps_what_a_program_is_made_of(image_model):
    whole = program(image_model)
    names = [o.layer.name for o in whole.operations if o.layer is not None]
    assert names[0] == "rescaling" or names[0].startswith("rescaling")
    assert "stem_conv" in names and "logits" in names and "backbone" not in names
    assert sum(o.layer is None for o in whole.operations) == 1  # the way into the nested model
    x = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype("float32")
    values = whole.enter(x)
    whole.run(whole.operations, values, training=False)
    np.testing.assert_array_equal(whole.leave(values), image_model(x))
    assert whole.signature == tf.TensorSpec((None, 8, 8, 3))


def test_a_model_with_a_call_of_its_own_is_no_program():
    class Own(keras.Model):
        def call(self, x):
            return x

    inputs = keras.Input((3,))
    assert program(Own(inputs, keras.layers.Dense(2)(inputs))) is None
    inner = Own(inputs, keras.layers.Dense(2)(inputs))
    inputs = keras.Input((3,))
    whole = program(keras.Model(inputs, inner(inputs)))
    assert [o.layer for o in whole.operations] == [inner]  # not opened


def test_losses_of_a_part_are_those_of_its_last_call(dense_model):
    layer = keras.layers.ActivityRegularization(l2=1.0)
    model = keras.Sequential([keras.Input((2,)), layer, keras.layers.Dense(1)])
    whole = program(model)
    for _ in range(2):
        values = whole.enter(np.ones((1, 2), "float32"))
        whole.run(whole.operations, values, training=True)
        assert len(model.losses) == 1 and has_losses(layer)
    assert not has_losses(model.layers[1])
