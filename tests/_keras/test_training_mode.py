"""What a layer is told of `training`; the names of Keras that this needs are pinned here."""

import copy
import inspect
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasft import _keras

ONES = np.ones((4, 3), "float32")


@keras.saving.register_keras_serializable("test_training_mode")
class Told(keras.layers.Layer):
    """Notes what it is told."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.told = []

    def call(self, x, training=None):
        self.told.append(training)
        return x


@keras.saving.register_keras_serializable("test_training_mode")
class Holder(keras.layers.Layer):
    """Calls others without a word on training, or with one."""

    def __init__(self, first, second, says=None, **kwargs):
        super().__init__(**kwargs)
        self.first, self.second, self.says = first, second, says

    def call(self, x):
        return self.second(self.first(x) if self.says is None else self.first(x, training=self.says))


def trained(model):
    model.compile("sgd", "mse")
    model.fit(ONES, ONES[:, :1], verbose=0)
    return model


def around(layer):
    inputs = keras.Input((3,))
    return keras.Model(inputs, keras.layers.Dense(1)(layer(inputs)))


def test_keras_still_has_the_names_of_calls():
    from keras.src.backend.common.global_state import get_global_attribute

    seen = []

    class Looks(keras.layers.Layer):
        def call(self, x, training=None):
            seen.append(get_global_attribute("current_call_ctx"))
            return x

    Looks()(ONES, training=True)
    assert seen[0].training is True
    assert get_global_attribute("current_call_ctx") is None
    assert list(inspect.signature(keras.Layer.__call__).parameters) == ["self", "args", "kwargs"]


def test_a_functional_model_tells_its_layers_what_fit_says_whatever_a_nested_call_said():
    told = Told()
    inner_in = keras.Input((3,))
    inner = keras.Model(inner_in, told(inner_in))
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inner(inputs, training=False)))
    told.told.clear()
    trained(model)
    assert told.told == [True]  # which is why a policy is needed


def test_a_layer_in_inference_is_told_so_and_others_are_not():
    held, free = Told(name="held"), Told(name="free")
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(1)(free(held(inputs))))
    _keras.set_training_mode(held, "inference")
    held.told.clear(), free.told.clear()
    trained(model)
    assert (held.told, free.told) == ([False], [True])
    _keras.set_training_mode(held, None)
    assert _keras.training_mode(held) is None
    held.told.clear()
    model.make_train_function(force=True)
    model.fit(ONES, ONES[:, :1], verbose=0)
    assert held.told == [True]


def test_what_a_layer_is_told_does_not_reach_the_layers_after_it():
    held, free = Told(), Told()
    model = around(Holder(held, free))
    _keras.set_training_mode(held, "inference")
    held.told.clear(), free.told.clear()
    trained(model)
    assert (held.told, free.told) == ([False], [True])


def test_a_layer_that_takes_no_training_hands_it_down():
    one, two = Told(), Told()
    holder = Holder(one, two)
    model = around(holder)
    _keras.set_training_mode(holder, "inference")
    one.told.clear(), two.told.clear()
    trained(model)
    assert (one.told, two.told) == ([False], [False])


def test_train_follows_the_outermost_call():
    one, two = Told(), Told()
    model = around(Holder(one, two, says=False))
    one.told.clear()
    trained(model)
    assert one.told == [False]
    _keras.set_training_mode(one, "train")
    one.told.clear()
    model.make_train_function(force=True)
    model.fit(ONES, ONES[:, :1], verbose=0)
    model.predict(ONES, verbose=0)
    assert one.told == [True, False]


def test_arguments_given_by_position_stay_in_their_places():
    class Adds(keras.layers.Layer):
        def call(self, x, training=None, more=None):
            return x if more is None else x + more

    layer = Adds()
    _keras.set_training_mode(layer, "inference")
    assert float(tf.reduce_max(layer(ONES, None, ONES))) == 2.0
    assert float(tf.reduce_max(layer(ONES, None))) == 1.0


def test_a_model_that_is_built_keeps_the_arguments_that_were_written():
    held, free = Told(name="told"), Told(name="told")
    _keras.set_training_mode(held, "inference")
    nodes = []
    for layer in (held, free):
        (entry,) = [x for x in around(layer).get_config()["layers"] if x["name"] == "told"]
        nodes.append(entry["inbound_nodes"][0]["kwargs"])
    assert nodes == [{}, {}]


def test_copies_and_files_know_nothing_of_it(tmp_path):
    held = keras.layers.Dropout(0.5, name="drop", seed=1)
    model = around(held)
    before = model.to_json()
    _keras.set_training_mode(held, "inference")
    assert model.to_json() == before
    assert type(held) is keras.layers.Dropout
    model.save(tmp_path / "m.keras")
    others = [
        keras.models.load_model(tmp_path / "m.keras"),
        keras.models.clone_model(model),
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
    ]
    for other in others:
        assert _keras.training_mode(other.get_layer("drop")) is None
    assert _keras.training_mode(held) == "inference"


@pytest.mark.parametrize("autograph", [True, False])
def test_a_step_of_ones_own_is_told_as_well(autograph):
    held = keras.layers.Dropout(0.5)
    model = around(held)
    _keras.set_training_mode(held, "inference")
    step = tf.function(lambda x: model(x, training=True), autograph=autograph)
    assert np.array_equal(step(ONES), model(ONES, training=False))


def test_an_error_in_a_call_leaves_nothing_behind():
    class Breaks(keras.layers.Layer):
        def call(self, x, training=None):
            raise ArithmeticError("broken")

    breaks, told = Breaks(), Told()
    _keras.set_training_mode(breaks, "inference")
    with pytest.raises(ArithmeticError):
        breaks(ONES, training=True)
    told(ONES)
    assert told.told == [None]
