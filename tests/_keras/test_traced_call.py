"""What a call draws and multiplies is traced; names of classes and of attributes tell nothing."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasft import _keras

layers = keras.layers
ops = keras.ops


class Odd(layers.Layer):
    """A layer whose call is written with the test."""

    def __init__(self, call, weight=None, **attributes):
        super().__init__()
        self.function, self.grains = call, keras.random.SeedGenerator(1)
        self.table = None if weight is None else self.add_weight(shape=weight, name="table")
        for name, value in attributes.items():
            setattr(self, name, value)

    def call(self, x, training=None):
        return self.function(self, x, training)

    def compute_output_spec(self, x, training=None):
        return keras.KerasTensor(
            (None, *self.function(self, ops.ones((2, *x.shape[1:]), x.dtype), None).shape[1:])
        )


def noise(scale):
    return lambda self, x, training: x + scale * keras.random.normal(ops.shape(x), seed=self.grains)


def in_training(call):
    return lambda self, x, training: call(self, x, training) if training else x


def depth_by_hand(self, x, training):
    keep = keras.random.uniform((ops.shape(x)[0], 1), seed=self.grains) < 0.5
    return x * ops.cast(keep, x.dtype)


class Composite(layers.Layer):
    def __init__(self, rate):
        super().__init__()
        self.inner, self.grit = layers.Dense(3), layers.Dropout(rate)

    def build(self, shape):
        self.inner.build(shape)
        self.built = True

    def call(self, x):
        return self.grit(self.inner(x))


def traced(layer, shape=(3,), dtype="float32"):
    inputs = keras.Input(shape, dtype=dtype)
    model = keras.Model(inputs, layer(inputs))
    program = _keras.program(model)
    (operation,) = program.operations
    return _keras.traced_call(program, operation), model


DRAWING = {
    "own generator": lambda: Odd(in_training(noise(1.0)), rate=0),  # the attribute says it doesn't
    "in inference as well": lambda: Odd(noise(1.0), dropout=0.0),
    "global generator": lambda: Odd(
        in_training(lambda self, x, training: x + keras.random.normal(ops.shape(x)))
    ),
    "of TensorFlow": lambda: Odd(in_training(lambda self, x, training: x * tf.random.uniform(()))),
    "of a TensorFlow generator": lambda: Odd(
        in_training(lambda self, x, training: x * self.numbers.uniform(())),
        numbers=tf.random.Generator.from_seed(1),
    ),
    "inside a tf.function": lambda: Odd(
        in_training(lambda self, x, training: tf.function(lambda t: t * tf.random.uniform(()))(x))
    ),
    "depth": lambda: Odd(in_training(depth_by_hand)),
    "gaussian": lambda: layers.GaussianNoise(0.1),
    "composite": lambda: Composite(0.5),
    "augmentation": lambda: layers.RandomFlip(),
}
STILL = {
    "a rate without numbers": lambda: Odd(lambda self, x, training: x * (1 - self.rate), rate=0.5),
    "a fixed seed": lambda: Odd(lambda self, x, training: x + keras.random.normal((3,), seed=7)),
    "no rate": lambda: layers.Dropout(0.0),
    "no rate inside": lambda: Composite(0.0),
    "statistics": lambda: layers.BatchNormalization(),
    "a generator at rest": lambda: Odd(lambda self, x, training: x, dropout=0.5),
}


@pytest.mark.parametrize(("kind", "draws"), [*((k, True) for k in DRAWING), *((k, False) for k in STILL)])
def test_whether_a_call_draws(kind, draws):
    keras.utils.set_random_seed(0)
    shape = (4, 4, 3) if kind == "augmentation" else (3,)
    found, model = traced((DRAWING | STILL)[kind](), shape)
    assert found.draws == draws
    x = np.random.default_rng(0).normal(size=(16, *shape)).astype("float32")
    step = tf.function(lambda t: model(t, training=True))
    first, *others = (step(x).numpy() for _ in range(3))
    assert any(not np.array_equal(first, other) for other in others) == draws


def test_a_mode_and_a_changed_rate_are_followed():
    layer = layers.Dropout(0.5)
    found, model = traced(layer)
    program = _keras.program(model)

    def draws():
        return _keras.traced_call(program, program.operations[0]).draws

    assert found.draws and draws()
    _keras.set_training_mode(layer, "inference")
    assert not draws()
    _keras.set_training_mode(layer, None)
    layer.rate = 0.0
    assert not draws()


def test_tracing_changes_nothing():
    layer = layers.BatchNormalization()
    _, model = traced(Composite(0.5))
    before = [v.numpy() for v in model.variables]
    _keras.traced_call(_keras.program(model), _keras.program(model).operations[0])
    traced(layer)
    np.testing.assert_array_equal(
        np.concatenate([v.ravel() for v in before]),
        np.concatenate([v.numpy().ravel() for v in model.variables]),
    )
    np.testing.assert_array_equal(layer.moving_mean, np.zeros(3))


def test_the_shapes_of_what_is_drawn():
    assert traced(layers.Dropout(0.5), (4, 4, 3))[0].drawn == ((None, 4, 4, 3),)
    assert traced(Odd(in_training(noise(1.0))), (4, 3))[0].drawn == ((None, 4, 3),)
    assert traced(layers.RandomFlip(), (4, 4, 3))[0].drawn == ((None, 1, 1, 1),)
    assert traced(layers.Dense(3))[0].drawn == ()


LOOKED_UP = {
    "embedding": lambda: layers.Embedding(7, 2),
    "take": lambda: Odd(lambda self, x, training: ops.take(self.table, x, axis=0), weight=(7, 2)),
    "gather": lambda: Odd(lambda self, x, training: tf.gather(self.table, x), weight=(7, 2)),
    "lookup": lambda: Odd(
        lambda self, x, training: tf.nn.embedding_lookup(ops.convert_to_tensor(self.table), x), weight=(7, 2)
    ),
    "half": lambda: layers.Embedding(7, 2, dtype="mixed_float16"),
    "inside a tf.function": lambda: Odd(
        lambda self, x, training: tf.function(tf.gather)(self.table.value, x), weight=(7, 2)
    ),
    "not read": lambda: Odd(lambda self, x, training: ops.cast(x, "float32"), weight=(7, 2)),
}
MULTIPLIED = {
    "one hot": lambda: Odd(lambda self, x, training: ops.one_hot(x, 7) @ self.table, weight=(7, 2)),
    "an Embedding in name": lambda: Transposed(7, 2),
    "scaled": lambda: Odd(lambda self, x, training: ops.take(2 * self.table, x, axis=0), weight=(7, 2)),
}


class Transposed(layers.Embedding):
    """Scores of all rows, as a tied output layer gives."""

    def call(self, x):
        return ops.cast(x, "float32") @ self.embeddings[:5]

    def compute_output_shape(self, shape):
        return (*shape[:-1], 2)


@pytest.mark.parametrize("kind", [*LOOKED_UP, *MULTIPLIED])
def test_which_weights_a_call_multiplies(kind):
    layer = (LOOKED_UP | MULTIPLIED)[kind]()
    found, _ = traced(layer, (5,), "int32")
    (weight,) = layer.weights
    assert found.multiplied == (frozenset() if kind in LOOKED_UP else {id(weight)})
