"""A model at another image size computes what its weights say there, or the layer that can't is named."""

import keras
import numpy as np
import pytest
from kerasft.export.model.image_size import at_image_size

layers = keras.layers


def backbone(side=16, name="backbone"):
    inputs = x = keras.Input((side, side, 3))
    for block in range(2):
        y = layers.Conv2D(6, 3, strides=2 - block, padding="same", name=f"{block}_conv")(x)
        y = layers.ReLU()(layers.BatchNormalization(name=f"{block}_bn")(y))
        x = layers.Add()([x, y]) if x.shape == y.shape else y
    return keras.Model(inputs, x, name=name)


def nested(side=16):
    inputs = keras.Input((side, side, 3), name="image")
    x = backbone(side)(layers.Rescaling(1 / 255)(inputs))
    head = keras.Sequential(
        [keras.Input(x.shape[1:]), layers.GlobalAveragePooling2D(), layers.Dense(4, name="top")], name="head"
    )
    return keras.Model(inputs, keras.ops.tanh(head(x)), name="net")


def sequential(side=16):
    layers_of = [layers.Conv2D(5, 3, name="conv"), layers.GlobalMaxPooling2D(), layers.Dense(3, name="top")]
    return keras.Sequential([keras.Input((side, side, 3), name="image"), *layers_of], name="row")


def shared(side=16):
    """One convolution at two places, and a multiplication by one's own mean."""
    inputs = x = keras.Input((side, side, 3), name="image")
    conv = layers.Conv2D(3, 3, padding="same", name="conv")
    x = conv(layers.ReLU()(conv(x)))
    x = x * keras.ops.mean(x, axis=(1, 2), keepdims=True)
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(x))


def random_weights(model):
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.1, 0.9, w.shape) for w in model.get_weights()])
    return model


@pytest.mark.parametrize("build", [backbone, nested, sequential, shared])
@pytest.mark.parametrize("size", [(24, 24), (9, 20), (16, 16)])
def test_it_computes_what_a_model_built_at_that_size_does(build, size):
    """Keras's own layers, built at the new size from the start, are the independent side."""
    model = random_weights(build())
    before = [w.copy() for w in model.get_weights()]
    found = at_image_size(model, *size)
    assert tuple(found.input.shape) == (None, *size, 3) and found.name == model.name
    x = np.random.default_rng(1).uniform(0, 255, (2, *size, 3)).astype("float32")
    if size[0] == size[1]:
        expected = build(size[0])
        expected.set_weights(before)
    else:  # the same layers without a fixed size
        expected = build(None)
        expected.set_weights(before)
    np.testing.assert_allclose(found.predict(x, verbose=0), expected.predict(x, verbose=0), rtol=1e-5)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    found.set_weights([np.zeros_like(w) for w in before])  # and shares nothing with it
    assert all(np.any(w) for w in model.get_weights())


def test_names_dtypes_and_an_open_batch_stay():
    model = nested()
    found = at_image_size(model, 24, 24)
    assert found.input.name == "image" and found.input.dtype == model.input.dtype
    assert [layer.name for layer in found.layers] == [layer.name for layer in model.layers]
    fixed = keras.Input((16, 16, 3), batch_size=1)
    whole = keras.Model(fixed, layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(fixed)))
    assert at_image_size(whole, 8, 8).input.shape == (1, 8, 8, 3)


class Positions(layers.Layer):
    """A table with a row for each place, as vision transformers have it."""

    def build(self, shape):
        self.table = self.add_weight(shape=shape[1:], name="table")

    def call(self, x):
        return x + self.table


def ending(layer_of):
    inputs = keras.Input((16, 16, 3), name="image")
    x = layers.Conv2D(4, 3, strides=2, padding="same", name="conv")(inputs)
    return keras.Model(inputs, layer_of(x), name="net")


def flat_head(x):
    inner = [keras.Input((8, 8, 4)), layers.Flatten(), layers.Dense(3, name="inner")]
    return layers.Dense(2)(keras.Sequential(inner, name="head")(x))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (
            lambda x: layers.Dense(3, name="top")(layers.Flatten()(x)),
            r"'top' \(Dense\).*\(256, 3\).*\(576, 3\)",
        ),
        (lambda x: Positions(name="places")(x), r"'places' \(Positions\).*'table'.*8, 8, 4.*12, 12, 4"),
        (layers.Reshape((64, 4), name="rows"), r"'rows' \(Reshape\) can't take.*\(None, 12, 12, 4\)"),
        (flat_head, r"'inner' \(Dense\).*'kernel'.*\(256, 3\)"),
    ],
)
def test_what_belongs_to_one_size_is_named(build, words):
    with pytest.raises(ValueError, match=rf"(?s){words}.*leave the size as it is") as caught:
        at_image_size(ending(build), 24, 24)
    assert "24 × 24 pixels" in str(caught.value) and "Arguments received" not in str(caught.value)


class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(2)

    def call(self, x):
        return self.dense(x)


class Task(type(keras.Model(tensor := keras.Input((2,)), layers.Identity()(tensor)))):
    """A functional model with a class of its own, as KerasHub's tasks are."""


def test_other_models_are_refused():
    rows = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    with pytest.raises(ValueError, match=r"one input \(batch, height, width, channels\).*\(None, 4\)"):
        at_image_size(rows, 8, 8)
    inputs = keras.Input((16, 16, 3))
    task = Task(inputs, layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(inputs)))
    with pytest.raises(ValueError, match="Task is a class of its own.*24 × 24 pixels"):
        at_image_size(task, 24, 24)
    own = Own()
    own(np.zeros((1, 4), "float32"))
    with pytest.raises(ValueError, match="subclassed model"):
        at_image_size(own, 8, 8)
    with pytest.raises(TypeError, match="keras.Model"):
        at_image_size("model.keras", 8, 8)
