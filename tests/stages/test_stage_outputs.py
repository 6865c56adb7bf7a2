"""What stages hand on, against plain Keras models; linear CKA against its definition by features."""

import keras
import numpy as np
import pytest

from kerasft.stages import StageOutputs, find_stages, linear_cka


def gram(features):
    features = features.reshape(len(features), -1).astype("float64")
    features = features - features.mean(0)
    return features @ features.T


def test_cka_equals_the_feature_form():
    """Kornblith et al. (2019), equation 6 for linear kernels: ||Y'X||² / (||X'X|| ||Y'Y||)."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 7))
    y = x[:, :5] ** 2 + 0.1 * rng.normal(size=(20, 5))
    x, y = x - x.mean(0), y - y.mean(0)
    expected = np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    assert linear_cka(gram(x), gram(y)) == pytest.approx(expected, rel=1e-12)
    rotation = np.linalg.qr(rng.normal(size=(7, 7)))[0]
    assert linear_cka(gram(x), gram(3.0 * x @ rotation)) == pytest.approx(1.0, rel=1e-12)
    assert 0 < expected < 0.9
    assert np.isnan(linear_cka(gram(x), gram(np.ones((20, 2)))))


def test_outputs_of_a_nested_backbone(image_model, image_data):
    x = image_data[0][:6]
    stages = find_stages(image_model)
    assert stages.names == ["stem", "block_1", "block_2", "head"]
    found = StageOutputs(stages, 4).similarities(x)
    backbone = image_model.get_layer("backbone")
    scaled = x / 255
    adds = [layer for layer in backbone.layers if isinstance(layer, keras.layers.Add)]
    relus = [layer for layer in backbone.layers if isinstance(layer, keras.layers.ReLU)]
    assert len(adds) == 2 and len(relus) == 3
    # block_2 ends in the mean over pixels, which the head reads
    for number, relu in enumerate(relus[:2]):
        output = keras.Model(backbone.input, relu.output)(scaled, training=False).numpy()
        np.testing.assert_allclose(found[number], gram(output), rtol=1e-3, atol=1e-3)
    pooled = backbone(scaled, training=False).numpy().mean((1, 2))
    np.testing.assert_allclose(found[2], gram(pooled), rtol=1e-3, atol=1e-4)
    scores = image_model(x, training=False).numpy()
    np.testing.assert_allclose(found[3], gram(scores), rtol=1e-3, atol=1e-4)


def test_what_two_later_stages_read_is_one_output():
    """A U-Net's skip: the stage hands on both tensors."""
    inputs = keras.Input((4,))
    a = keras.layers.Dense(3, name="a")(inputs)
    b = keras.layers.Dense(2, name="b")(a)
    joined = keras.layers.Concatenate()([a, b])
    net = keras.Model(inputs, keras.layers.Dense(1, name="c")(joined))
    stages = find_stages(net, at=["a", "b", "c"])
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    found = StageOutputs(stages, 3).similarities(x)
    np.testing.assert_allclose(found[0], gram(keras.Model(inputs, a)(x).numpy()), rtol=1e-4, atol=1e-5)
    # the concatenation is computed with b's weights, and handed on
    np.testing.assert_allclose(found[1], gram(keras.Model(inputs, joined)(x).numpy()), rtol=1e-4, atol=1e-5)


def test_from_a_later_stage_on_it_gives_the_same(image_model, image_data):
    outputs, x = StageOutputs(find_stages(image_model), 4), image_data[0][:6]
    whole = outputs.similarities(x)
    for start in (1, 3):
        np.testing.assert_allclose(outputs.similarities(x, start), whole[start:], rtol=1e-3, atol=1e-4)
    kernel = image_model.get_layer("logits").kernel
    kernel.assign(2 * kernel.numpy())
    np.testing.assert_allclose(outputs.similarities(x, 3)[0], 4 * whole[3], rtol=1e-3, atol=1e-4)


def test_masks_reach_the_later_stages():
    layers = [keras.layers.Embedding(9, 4, mask_zero=True, name="a"), keras.layers.LSTM(3, name="b")]
    net = keras.Sequential([keras.Input((5,), dtype="int32"), *layers])
    x = np.array([[1, 2, 3, 0, 0], [4, 5, 0, 0, 0], [6, 7, 8, 1, 2]], "int32")
    outputs = StageOutputs(find_stages(net), 2)
    whole = outputs.similarities(x)
    np.testing.assert_allclose(whole[1], gram(net.predict(x, verbose=0)), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(outputs.similarities(x, 1), whole[1:], rtol=1e-4, atol=1e-7)


def test_a_subclassed_model_says_why_not():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.a, self.b = keras.layers.Dense(3, name="a"), keras.layers.Dense(1, name="b")

        def call(self, x):
            return self.b(self.a(x))

    net = Own()
    net(np.zeros((1, 4), "float32"))
    outputs = StageOutputs(find_stages(net, at=["a", "b"]), 2)
    assert "is a subclassed model" in outputs.reason
