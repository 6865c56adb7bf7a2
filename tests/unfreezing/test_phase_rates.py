"""Learning rates of phases: warm-ups and measured factors."""

import keras
import numpy as np

import kerasft
from kerasft import GradualUnfreezing, Phase


def test_warm_up_raises_the_rate_linearly(dense_model):
    x, y = np.ones((4, 4), "float32"), np.zeros((4, 3), "float32")
    optimizer = keras.optimizers.Adam(0.01)
    dense_model.compile(optimizer, "mse")
    moves = []

    class Moves(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.before = dense_model.get_layer("top").kernel.numpy()

        def on_epoch_end(self, epoch, logs=None):
            moves.append(np.abs(dense_model.get_layer("top").kernel.numpy() - self.before).max())

    phases = [Phase("top", 1), Phase("top", warmup_steps=4)]
    dense_model.fit(x, y, epochs=7, verbose=0, callbacks=[GradualUnfreezing(phases), Moves()])
    # Adam's steps are about the rate; the warm-up takes 1/4, 2/4, 3/4 of it, and then all
    np.testing.assert_allclose(moves[:6], np.array([1, 0.25, 0.5, 0.75, 1, 1]) * 0.01, rtol=0.08)


def test_automatic_rates_follow_the_gradients(dense_model):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, 4)).astype("float32"), rng.normal(size=(16, 3)).astype("float32")
    dense_model.compile(keras.optimizers.SGD(1e-9), "mse")  # so that gradients stay what they are
    import tensorflow as tf

    norms = {}
    for begin in (0, 8):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((dense_model(x[begin : begin + 8]) - y[begin : begin + 8]) ** 2)
        for v, g in zip(dense_model.weights, tape.gradient(loss, dense_model.trainable_variables)):
            norms[id(v)] = norms.get(id(v), 0) + float(tf.norm(g))
    from kerasft.learning_rates.gradient_norms import relative_gradient_norms

    expected = relative_gradient_norms(kerasft.find_stages(dense_model), norms)
    callback = GradualUnfreezing([Phase(0)], auto_rates=True)
    dense_model.fit(x, y, epochs=1, batch_size=8, shuffle=False, verbose=0, callbacks=[callback])
    factors = dense_model.optimizer.lr_multipliers
    measured = [factors[f"net/{name}/kernel"] for name in ("first", "second", "top")]
    np.testing.assert_allclose(measured, expected, rtol=1e-4)
    assert max(measured) == 1.0 and min(measured) < 1.0
