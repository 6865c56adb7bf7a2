"""Two models are the same or not by what they compute, whatever their names are."""

import json

import keras
import numpy as np
import pytest

from kerasft._keras.structure import plain_data, settings, structure

layers = keras.layers


def graph(activation="relu", twice=False, factor=2.0, swap=False):
    """A graph with a nested model in a wrapper, a function, an operation, and two branches."""
    inputs = keras.Input((3,))
    x = layers.Dense(3, activation=activation)(inputs)
    y = layers.Dense(3)(x if twice else inputs)
    inner = keras.Sequential([keras.Input((3,)), layers.Dense(3), layers.Dense(3, activation="tanh")])
    nested_in = keras.Input((3,))
    nested = keras.Model(nested_in, layers.Dense(3)(layers.Dense(3)(nested_in)))
    z = layers.TimeDistributed(nested)(layers.Reshape((1, 3))(inner(x)))
    z = layers.Lambda(lambda t: t[:, 0] * factor if factor > 3 else t[:, 0] * 2.0)(z)
    left, right = (y, z) if swap else (z, y)
    return keras.Model(inputs, keras.ops.subtract(left, right))


def digests(model):
    return [(kind, digest) for kind, _, digest in structure(model)]


def test_a_graph_that_is_built_again_is_the_same():
    one, other = graph(), graph()
    assert [v.path for v in one.weights] != [v.path for v in other.weights]
    assert digests(one) == digests(other)
    assert json.loads(json.dumps(structure(one))) == structure(one)


@pytest.mark.parametrize(
    "options", [{"activation": "tanh"}, {"twice": True}, {"swap": True}, {"factor": 4.0}]
)
def test_another_graph_with_the_same_weights_is_another(options):
    """Settings, connections, the order of inputs, and what a function has in its closure."""
    one, other = graph(), graph(**options)
    assert [v.shape for v in one.weights] == [v.shape for v in other.weights]
    assert digests(one) != digests(other)


def test_flags_and_seeds_are_no_part_of_it_and_policies_are():
    def model(seed=1, dtype="float32"):
        return keras.Sequential(
            [keras.Input((2,)), layers.Dropout(0.5, seed=seed), layers.Dense(2, dtype=dtype)]
        )

    one, other = model(), model(seed=2)
    other.layers[-1].trainable = False
    assert digests(one) == digests(other) != digests(model(dtype="mixed_bfloat16"))


def test_a_subclassed_model_is_its_layers():
    class Own(keras.Model):
        def __init__(self, activation):
            super().__init__()
            self.dense, self.drop = layers.Dense(2, activation=activation), layers.Dropout(0.1)

    assert digests(Own("relu")) == digests(Own("relu")) != digests(Own("tanh"))
    assert [kind for kind, _ in digests(Own("relu"))] == ["Own", "Dense", "Dropout"]


def test_what_a_configuration_can_hold_is_plain_and_the_same_in_each_process():
    class Odd(layers.Layer):
        def get_config(self):
            return {
                "array": np.arange(3),
                "thing": object(),
                "range": range(3),
                "seed": 5,
                "inner": {"name": "a"},
            }

    (kind, found) = settings(Odd())
    assert kind == "Odd" and found["thing"] == "object" and found["range"] == "range(0, 3)"
    assert found["inner"] == {} and "seed" not in found
    assert found["array"] == settings(Odd())[1]["array"] != plain_data(np.arange(1, 4))

    class Broken(layers.Layer):
        def get_config(self):
            raise KeyError("no")

    assert settings(Broken()) == ["Broken"] and settings(None) == ["NoneType", {}]


def test_a_function_is_its_code_not_its_place():
    """A cell of a notebook that runs again compiles the same lines under another file's name."""
    source = "lambda t: t + 1"
    one, other = (eval(compile(source, name, "eval")) for name in ("cell_1", "cell_2"))
    one, other, third = (layers.Lambda(f, output_shape=(2,)) for f in (one, other, lambda t: t + 2))
    assert settings(one) == settings(other) != settings(third)
